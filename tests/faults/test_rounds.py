"""SIGKILL at random moments of every stage: nothing is lost, nothing is wrong, and it resumes."""

import random

import pytest

from .conftest import workflow_in
from .kills import contents, differing, leftovers, run_with_kills

pytestmark = pytest.mark.faults
AT_ONCE = 7  # kills in one run from videos to metrics


def test_killed_at_random_moments(undisturbed, tmp_path, request):
    """Each rule is killed in its turn; after every kill, all that has its own name is whole."""
    rounds, seed = (request.config.getoption(f"--fault-{name}") for name in ("rounds", "seed"))
    (whole, seconds), rng = undisturbed, random.Random(seed)
    rules, done, failures = sorted(seconds.keys() - {"all"}), 0, []
    rounds = rounds or len(rules)
    print(f"\nundisturbed: {len(contents(whole.folder))} files, {len(rules)} rules")
    waiting: list[str] = []
    hit: set[str] = set()
    while done < rounds:
        if not waiting:
            waiting = rng.sample(rules, len(rules))
        killed = workflow_in(tmp_path / f"killed after {done} rounds")
        chosen, met = waiting[: min(AT_ONCE, rounds - done)], []
        for each in run_with_kills(killed, chosen, seconds, rng):
            done += 1
            met.append(each.rule)
            hit.update(each.running)
            broken = differing(killed.folder, whole.folder)
            failures += [f"round {done}: {name}" for name in broken]
            print(
                f"round {done:2d}: {each.rule:24s} after {each.after:5.2f} s, killed {each.way}; "
                f"running: {', '.join(each.running) or 'none'}; "
                + (f"NOT EQUAL: {broken}" if broken else "all files whole and equal"),
                flush=True,
            )
        waiting = [rule for rule in waiting if rule not in met]
        broken = differing(killed.folder, whole.folder)
        missing = contents(whole.folder).keys() - contents(killed.folder).keys()
        stray = leftovers(killed.folder)
        print(
            f"  ended: differing {broken}, missing {sorted(missing)}, left over {stray}", flush=True
        )
        failures += [f"end after round {done}: {name}" for name in (*broken, *missing, *stray)]
    print(f"never killed in: {', '.join(sorted(set(rules) - hit)) or 'none'}")
    assert not failures
