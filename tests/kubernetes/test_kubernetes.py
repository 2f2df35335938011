"""The workflow through profiles/kubernetes: pods share no folder, so nothing may count on one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ..workflow.conftest import SMALL, Workspace
from .conftest import Kubernetes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PROFILE = "profiles/kubernetes/config.yaml"
METRICS = "results/experiments/baseline/demo/metrics_test.csv"
LIMIT = 900.0  # seconds, after which a run hangs
IN_PODS = {
    *("images_zarr", "images", "hull_moments", "hull_sum", "train", "render_part", "render"),
    "metrics_part",
}
ON_GPUS = {"train", "render_part"}
# Where Snakemake runs, there is the recording: what reads its files, and what takes a second.
HERE = {"cameras", "vertical_lines", "images_part", "center_rotation", "crop", "metrics_test"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A checkout: what git knows of is what pods get, beside the run's configuration.

    As in a lab's, the recording is not among it.
    """
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    workspace = Workspace.new(checkout)
    (checkout / ".gitignore").write_text("resources\n")
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=workspace.folder, check=True)
    return workspace


def run(workspace: Workspace, cluster: Kubernetes, shared: Path) -> str:
    """Ask for the metrics of the demo made small, with the profile edited as it says."""
    profile = workspace.folder / PROFILE
    text = profile.read_text()
    assert "pose-splatter:/shared" in text
    profile.write_text(text.replace("/shared", str(shared)))
    extra = {**yaml.safe_load(SMALL.read_text()), "chunks": 2}
    (workspace.folder / "config/mine.yaml").write_text(yaml.safe_dump(extra))
    command = [
        *(sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/kubernetes"),
        *("--cores", "2", "--jobs", "2", "--seconds-between-status-checks", "1"),
        *("--configfile", "config/config.yaml", "config/mine.yaml", "--", METRICS),
    ]
    output = workspace.folder / "output.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=workspace.folder,
            env={**workspace.environment, "KUBECONFIG": str(cluster.folder / "config")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        code = process.wait(LIMIT)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    said = output.read_text()
    assert code == 0, said + "".join(cluster.log(name) for name in cluster.pods)
    return said


def test_the_demo_runs_in_pods_and_loses_one(workspace, kubernetes, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    kubernetes.doomed = {"hull_moments"}
    said = run(workspace, kubernetes, shared)
    rules = {
        name: kubernetes.said(name).split("--allowed-rules ")[1].split()[0]
        for name in kubernetes.pods
    }
    assert set(rules.values()) == IN_PODS
    counts = pd.Series(rules).value_counts().to_dict()
    two = dict.fromkeys(("hull_sum", "render_part", "metrics_part"), 2)
    assert counts == dict.fromkeys(IN_PODS, 1) | two | {"hull_moments": 3}, "a part was lost"
    assert kubernetes.lost == ["hull_moments"]
    assert all(f"{rule}: " in said for rule in HERE | IN_PODS)
    for name, pod in kubernetes.pods.items():
        limits = pod.container["resources"]["limits"]
        assert limits["ephemeral-storage"] == "100000M", "not what Snakemake guesses from inputs"
        assert limits.get("nvidia.com/gpu") == ("1" if rules[name] in ON_GPUS else None), rules
        (volume,) = (v for v in pod.container["volumeMounts"] if v["name"] == "pose-splatter")
        assert volume["mountPath"] == str(shared)
    results = shared / "pose-splatter"
    table = pd.read_csv(results / METRICS).set_index("camera")
    assert table.loc["mean_observed", "iou"] > 0.6
    assert (results / "logs/train/baseline.log").read_text()
    assert not list(results.rglob("parts/*")), "temporary parts are gone"
    assert not (workspace.folder / "results/experiments").exists(), "nothing of it is here"


def test_a_file_that_pods_cannot_reach_is_refused(workspace, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    run = workspace.run(
        "results/experiments/baseline/demo/embedding/embedding.npy",
        dry=True,
        overrides={"embedding": {"encoder": "resnet18", "weights": str(weights)}},
        options=["--default-storage-provider", "fs", "--default-storage-prefix", str(tmp_path)],
    )
    assert run.code != 0
    assert f"{weights}: embedding: weights in config names a file of your own" in run.output
