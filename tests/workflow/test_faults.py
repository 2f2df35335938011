"""Runs that are killed or started twice: a few rounds; tests/faults has all of them."""

import random

import pytest

from ..faults.kills import Workflow, differing, kill_group, leftovers, run_with_kills
from .conftest import Workspace, remove

pytestmark = pytest.mark.slow
TRACK = "results/recordings/demo/default/center_rotation.npz"
CHECKPOINT = "results/experiments/ablation/checkpoint.pt"
REFUSAL = "Error: Directory cannot be locked."


def workflow(workspace: Workspace, target: str) -> Workflow:
    return Workflow(workspace.command(target), workspace.folder, workspace.environment)


def test_preprocessing_killed_and_started_again(finished, tmp_path):
    """Three kills, a way each: bit for bit what was there before. For training see staleness."""
    killed = finished.copied(tmp_path)
    remove(killed.folder / "results/recordings/demo/default")
    seed = random.randrange(1000)
    print(f"seed {seed}")
    rules = ("images_part", "images_zarr", "center_rotation")
    run = workflow(killed, TRACK)
    for each in run_with_kills(run, rules, dict.fromkeys(rules, 3.0), random.Random(seed)):
        print(each)
        assert differing(killed.folder, finished.folder) == []
    assert (killed.folder / TRACK).exists()
    assert differing(killed.folder, finished.folder) == leftovers(killed.folder) == []


def test_a_second_snakemake_is_refused(finished, tmp_path):
    """The first goes on unharmed; what a killed one left of its lock is told how to be removed."""
    workspace = finished.copied(tmp_path)
    first = workflow(workspace, CHECKPOINT)
    remove((workspace.folder / CHECKPOINT).parent)
    process = first.start()
    try:
        assert first.begun(process, ["train"]), first.log.read_text()
        second = workspace.run(CHECKPOINT)
        assert second.code != 0
        assert REFUSAL in second.output
        assert "--unlock" in second.output
        assert process.wait(200) == 0, first.log.read_text()
        assert (workspace.folder / CHECKPOINT).exists()
        assert differing(workspace.folder, finished.folder) == []
        remove((workspace.folder / CHECKPOINT).parent)
        process = first.start()
        assert first.begun(process, ["train"]), first.log.read_text()
    finally:
        kill_group(process)
    again = workspace.run(CHECKPOINT)
    assert again.code != 0
    assert REFUSAL in again.output
    first.unlock()
    again = workspace.run(CHECKPOINT)
    assert again.code == 0, again.output
    assert (workspace.folder / CHECKPOINT).exists()
    assert differing(workspace.folder, finished.folder) == []
