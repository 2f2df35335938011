"""SIGKILL at random moments of every stage: nothing is lost, nothing is wrong, and it resumes."""

import os
import random
import sys
from pathlib import Path

import pytest

from .kills import Workflow, contents, differing, durations, leftovers, run_with_kills

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
EXPERIMENT = "results/experiments/baseline"
TARGETS = (
    "results/recordings/demo/default/contact_sheet.png",
    f"{EXPERIMENT}/training_curves.png",
    f"{EXPERIMENT}/demo/metrics_test.csv",
    f"{EXPERIMENT}/demo/visualization/comparison.png",
    f"{EXPERIMENT}/demo/embedding/embedding.csv",
    f"{EXPERIMENT}/demo/export",
)
AT_ONCE = 7  # kills in one run from videos to metrics


def workflow_in(folder: Path) -> Workflow:
    """The tiny recording's workflow, with all that it makes in `folder`."""
    folder.mkdir()
    (folder / "resources").symlink_to(ROOT / "resources")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles/default"), "--cores", "2"),
        *("--configfile", str(ROOT / "config/config.yaml")),
        *(str(Path(__file__).with_name("tiny.yaml")), "--", *TARGETS),
    ]
    return Workflow(command, folder, {**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_at_random_moments(tmp_path, request):
    rounds, seed = (request.config.getoption(f"--fault-{name}") for name in ("rounds", "seed"))
    undisturbed, rng = workflow_in(tmp_path / "undisturbed"), random.Random(seed)
    seconds = durations(undisturbed)
    rules, done, failures = sorted(seconds.keys() - {"all"}), 0, []
    print(f"\nundisturbed: {len(contents(undisturbed.folder))} files, {len(rules)} rules")
    waiting: list[str] = []
    while done < rounds:
        if not waiting:
            waiting = rng.sample(rules, len(rules))
        killed = workflow_in(tmp_path / f"killed after {done} rounds")
        chosen, met = waiting[: min(AT_ONCE, rounds - done)], []
        for each in run_with_kills(killed, chosen, seconds, rng):
            done += 1
            met.append(each.rule)
            broken = differing(killed.folder, undisturbed.folder)
            failures += [f"round {done}: {name}" for name in broken]
            print(
                f"round {done:2d}: {each.rule:24s} after {each.after:5.2f} s, killed {each.way}; "
                f"running: {', '.join(each.running) or 'none'}; "
                + (f"NOT EQUAL: {broken}" if broken else "all files whole and equal"),
                flush=True,
            )
        waiting = [rule for rule in waiting if rule not in met]
        broken = differing(killed.folder, undisturbed.folder)
        missing = contents(undisturbed.folder).keys() - contents(killed.folder).keys()
        stray = leftovers(killed.folder)
        print(
            f"  ended: differing {broken}, missing {sorted(missing)}, left over {stray}", flush=True
        )
        failures += [f"end after round {done}: {name}" for name in (*broken, *missing, *stray)]
    assert not failures
