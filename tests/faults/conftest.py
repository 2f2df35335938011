"""Real runs of the tiny recording, each in a folder of its own."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from .kills import Workflow, durations

ROOT = Path(__file__).parents[2]
EXPERIMENT = "results/experiments/baseline"
# From these, all rules but those that bring the example of a person.
TARGETS = (
    "all",
    "results/report.html",
    f"{EXPERIMENT}/release",
    f"{EXPERIMENT}/embedding/map.html",
    f"{EXPERIMENT}/demo/embedding/embedding.h5",
    f"{EXPERIMENT}/demo/export",
    f"{EXPERIMENT}/demo/viewer",
)


def workflow_in(folder: Path) -> Workflow:
    """The tiny recording's workflow, with all that it makes in `folder`."""
    folder.mkdir(exist_ok=True)
    if not (folder / "resources").exists():
        (folder / "resources").symlink_to(ROOT / "resources")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles/default"), "--cores", "2"),
        *("--configfile", str(ROOT / "config/config.yaml")),
        *(str(Path(__file__).with_name("tiny.yaml")), "--", *TARGETS),
    ]
    return Workflow(command, folder, {**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> tuple[Workflow, dict[str, float]]:
    """A run from videos to metrics that nothing happened to, and how long its rules took."""
    workflow = workflow_in(tmp_path_factory.mktemp("run") / "undisturbed")
    return workflow, durations(workflow)


@pytest.fixture
def finished(undisturbed, tmp_path) -> Workflow:
    """A copy of it, Snakemake's memory of it included."""
    shutil.copytree(undisturbed[0].folder, tmp_path / "copy", symlinks=True)
    return workflow_in(tmp_path / "copy")
