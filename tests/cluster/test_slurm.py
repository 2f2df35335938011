"""The workflow on a real Slurm: where its jobs run, and what happens to them on bad days.

Times are limits, not expectations: a run that hangs is killed, jobs and all.
"""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import zarr

from .conftest import CPU_NODES, GPU_NODES, Job, LoginNode, Slurm, processes, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

APPLIED = "results/experiments/baseline/demo"
METRICS = f"{APPLIED}/metrics_test.csv"
IMAGES = "results/recordings/demo/default/images.h5"
CHECKPOINT = "results/experiments/baseline/checkpoint.pt"
STORES = "stores_images_images_zarr"  # the group of two rules, in one job
ON_CPU_NODES = {
    **{"cameras": 1, "vertical_lines": 1, STORES: 1, "render": 1},
    **dict.fromkeys(("images_part", "hull_moments", "hull_sum", "metrics_part"), 3),
}
ON_GPU_NODES = {"train": 1, "render_part": 3}
LOCAL = {"center_rotation", "crop", "metrics_test"}
# Seconds after which a run hangs, or a moment does not come: several times what they take.
LIMIT, WAIT = 900.0, 180.0


@pytest.fixture(scope="module")
def finished(login_node: LoginNode) -> LoginNode:
    """The demo made small, from videos to metrics, by jobs of Slurm."""
    run = login_node.run(METRICS, seconds=LIMIT, overrides={"chunks": 3})
    assert run.code == 0, f"{run.output}\n{login_node.slurm.jobs()}"
    return login_node


@pytest.fixture
def another(finished: LoginNode, tmp_path: Path) -> LoginNode:
    """The same, finished, in a folder of its own."""
    return LoginNode(finished.workspace.copied(tmp_path), finished.slurm)


def test_the_demo_runs_from_videos_to_metrics(finished, slurm):
    jobs = slurm.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    counts = pd.Series([job.rule for job in jobs]).value_counts().to_dict()
    assert counts == ON_CPU_NODES | ON_GPU_NODES, "and those of LOCAL were not submitted"
    for job in jobs:
        assert job.node in (GPU_NODES if job.rule in ON_GPU_NODES else CPU_NODES), job
    assert {job.memory for job in jobs if job.rule == "images_part"} == {"4000M"}
    assert {job.limit for job in jobs if job.rule == "images_part"} == {"2:00:00"}
    (training,) = slurm.jobs_of("train")
    assert (training.memory, training.limit) == ("16000M", "12:00:00")
    assert all((finished.folder / f"logs/{rule}").is_dir() for rule in LOCAL), "but they did run"
    table = pd.read_csv(finished.folder / METRICS).set_index("camera")
    assert table.loc["mean_observed", "iou"] > 0.6
    assert not list((finished.folder / "results").rglob("parts/*"))


def test_one_part_without_slurm_has_the_same_bytes_as_three_with_it(finished, tmp_path):
    """The same training, since the stores are the same: rendered and measured in one part."""
    local = finished.workspace.copied(tmp_path)
    run = local.run(METRICS, overrides={"chunks": 1})
    assert run.code == 0, run.output
    assert "Job stats" in run.output
    for name in (METRICS, METRICS.replace(".csv", "_frames.csv"), f"{APPLIED}/rendered_images.h5"):
        assert (local.folder / name).read_bytes() == (finished.folder / name).read_bytes(), name
    one, three = (
        zarr.open_group(w.folder / IMAGES.replace("h5", "zarr")) for w in (local, finished)
    )
    assert one.attrs["digest"] == three.attrs["digest"]


# --- bad days ------------------------------------------------------------------------------------


def stop_one(node: LoginNode, rule: str) -> tuple[int, str]:
    """Let a job hang that runs a rule's script: its process, and its job's number in Slurm."""
    start, end, number = str(node.folder), f".{rule}.py", "SLURM_JOB_ID="

    def runs_script(command: list[str], environment: list[str]) -> bool:
        return any(word.startswith(start) and word.endswith(end) for word in command)

    (process, *_) = processes(runs_script)
    os.kill(process, signal.SIGSTOP)
    words = Path(f"/proc/{process}/environ").read_text().split("\0")
    (job,) = (word.removeprefix(number) for word in words if word.startswith(number))
    return process, job


def node_of(slurm: Slurm, job: str) -> str:
    (node,) = (each.node for each in slurm.jobs() if each.id == job)
    return node


@pytest.mark.parametrize("state", ["drain", "down"])
def test_a_node_that_is_lost_costs_a_chunk_at_most(another, slurm, state):
    """A node that drains ends its work and gets no more; one that is down loses it."""
    images, before = another.folder / IMAGES, len(slurm.jobs())
    whole = images.read_bytes()
    images.unlink()
    run = another.start(IMAGES, overrides={"chunks": 3})
    written = images.parent / "parts"
    wait_until(lambda: any(written.glob(".images.*.tmp.h5")), WAIT, "no part is decoded")
    process, job = stop_one(another, "images_part")

    def others_are_done() -> bool:
        states = [each.state for each in slurm.jobs()[before:] if each.id != job]
        return states == ["COMPLETED"] * 2

    wait_until(others_are_done, WAIT, "the other two parts are not done")
    lost = node_of(slurm, job)
    slurm.set_node(lost, state)
    if state == "drain":
        os.kill(process, signal.SIGCONT)
    else:
        wait_until(lambda: slurm.restarts(job), WAIT, "the part is not queued again")
        # Slurm would let it wait for two minutes.
        slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    done = another.finish(run, LIMIT)
    assert done.code == 0, done.output
    jobs = slurm.jobs()[before:]
    assert [each.rule for each in jobs] == ["images_part"] * 3 + ["stores_images"]
    assert {each.id: slurm.restarts(each.id) for each in jobs} == {
        each.id: int(each.id == job and state == "down") for each in jobs
    }
    assert jobs[-1].node != lost
    assert images.read_bytes() == whole


@pytest.fixture
def untrained(another: LoginNode) -> LoginNode:
    """The same, without what training made."""
    folder = (another.folder / CHECKPOINT).parent
    for name in ("checkpoint.pt", "training_log.csv", "training_state.pt"):
        (folder / name).unlink()
    (another.folder / "logs/train/baseline.log").unlink()
    return another


def training_log(node: LoginNode) -> pd.DataFrame:
    log = pd.read_csv((node.folder / CHECKPOINT).with_name("training_log.csv"))
    return log.drop(columns=["seconds", "waiting", "memory_mb", "resumed"])


def test_a_job_past_its_time_limit_goes_on_with_twice_the_time(untrained, finished, slurm):
    before = len(slurm.jobs())
    log = untrained.folder / "logs/train/baseline.log"
    run = untrained.start(CHECKPOINT, overrides={"chunks": 3})
    wait_until(lambda: log.exists() and "epoch 0 of" in log.read_text(), WAIT, "no epoch")
    _, job = stop_one(untrained, "train")
    slurm.ask("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    done = untrained.finish(run, LIMIT)
    assert done.code == 0, done.output
    first, second = slurm.jobs()[before:]
    assert (first.rule, first.state) == ("train", "TIMEOUT")
    assert (second.rule, second.state, second.limit) == ("train", "COMPLETED", "1-00:00:00")
    assert second.memory == "32000M"
    assert "going on after epoch 0" in log.read_text()
    pd.testing.assert_frame_equal(training_log(untrained), training_log(finished))


def killed_for_memory(node: LoginNode, job: Job) -> bool:
    """By what its log says: without accounting, the job itself is but failed."""
    log = node.folder / f".snakemake/slurm_logs/rule_train/baseline/{job.id}.log"
    return job.state in ("FAILED", "OUT_OF_MEMORY") and "memory limit" in log.read_text()


@pytest.mark.parametrize(("megabytes", "enough"), [(800, True), (60, False)])
def test_a_job_out_of_memory_is_tried_once_more_with_twice_of_it(
    untrained, finished, slurm, megabytes, enough
):
    before = len(slurm.jobs())
    rules = untrained.folder / "rules/train.smk"
    text = rules.read_text()
    assert "growing(16000)" in text
    rules.write_text(text.replace("growing(16000)", f"growing({megabytes})"))
    done = untrained.run(CHECKPOINT, seconds=LIMIT, overrides={"chunks": 3})
    first, second = slurm.jobs()[before:]
    assert killed_for_memory(untrained, first)
    assert [first.memory, second.memory] == [f"{megabytes}M", f"{2 * megabytes}M"]
    checkpoint = untrained.folder / CHECKPOINT
    if enough:
        assert done.code == 0, done.output
        assert second.state == "COMPLETED"
        pd.testing.assert_frame_equal(training_log(untrained), training_log(finished))
    else:
        assert done.code != 0
        assert killed_for_memory(untrained, second)
        assert not checkpoint.exists()


def test_what_is_stopped_by_hand_cancels_its_jobs(untrained, slurm):
    before = len(slurm.jobs())
    run = untrained.start(CHECKPOINT, overrides={"chunks": 3})

    def is_running() -> bool:
        return [job.state for job in slurm.jobs()[before:]] == ["RUNNING"]

    wait_until(is_running, WAIT, "training does not start")
    run.send_signal(signal.SIGINT)
    done = untrained.finish(run, LIMIT)
    assert done.code != 0
    (job,) = slurm.jobs()[before:]
    assert job.state == "CANCELLED"
    assert not list((untrained.folder / ".snakemake/locks").glob("*")), "the folder is not locked"
