"""SIGKILL at random moments of every stage: nothing is lost, nothing is wrong, and it resumes."""

import random
from collections import Counter

import pytest

from .conftest import workflow_in
from .kills import contents, differing, leftovers, run_with_kills

pytestmark = pytest.mark.faults
AT_ONCE = 7  # kills in one run from videos to report
TRIES = 3  # in a rule that has ended whenever it is to be killed


def test_killed_at_random_moments(undisturbed, tmp_path, request):
    """Each rule is killed in its turn; after every kill, all that has its own name is whole."""
    rounds, seed = (request.config.getoption(f"--fault-{name}") for name in ("rounds", "seed"))
    (whole, took), rng = undisturbed, random.Random(seed)
    rules, done, failures = sorted(took.keys() - {"all"}), 0, []
    print(f"\nundisturbed: {len(contents(whole.folder))} files, {len(rules)} rules")
    waiting, seconds = rng.sample(rules, len(rules)), dict(took)
    hit: set[str] = set()
    tries: Counter[str] = Counter()
    while done < rounds if rounds else waiting:
        if not waiting:
            waiting = rng.sample(rules, len(rules))
            tries.clear()
        killed = workflow_in(tmp_path / f"killed after {done} rounds")
        chosen = waiting[: min(AT_ONCE, rounds - done if rounds else AT_ONCE)]
        tries.update(chosen)
        for each in run_with_kills(killed, chosen, seconds, rng):
            done += 1
            hit.update(each.running)
            if each.rule in each.running:
                waiting.remove(each.rule)
            else:
                seconds[each.rule] /= 2  # it came too late
            broken = differing(killed.folder, whole.folder)
            failures += [f"round {done}: {name}" for name in broken]
            print(
                f"round {done:2d}: {each.rule:24s} after {each.after:5.2f} s, killed {each.way}; "
                f"running: {', '.join(each.running) or 'none'}; "
                + (f"NOT EQUAL: {broken}" if broken else "all files whole and equal"),
                flush=True,
            )
        waiting = [rule for rule in waiting if tries[rule] < TRIES]
        broken = differing(killed.folder, whole.folder)
        missing = contents(whole.folder).keys() - contents(killed.folder).keys()
        stray = leftovers(killed.folder)
        print(
            f"  ended: differing {broken}, missing {sorted(missing)}, left over {stray}", flush=True
        )
        failures += [f"end after round {done}: {name}" for name in (*broken, *missing, *stray)]
    print(f"never killed in: {', '.join(sorted(set(rules) - hit)) or 'none'}")
    assert not failures
