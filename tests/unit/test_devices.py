"""Jobs side by side, on made-up GPUs: no two have the same one, and a killed job leaves none."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pose_splatter import devices
from pose_splatter.devices import own_gpus, visible_gpus
from pose_splatter.errors import PoseSplatterError
from pose_splatter.training import choose_device

ROOT = Path(__file__).parents[2]
MAIN = 'if __name__ == "__main__":'
TWO = """\
GPU 0: NVIDIA RTX A5000 (UUID: GPU-aaaa1111-22aa)
GPU 1: NVIDIA GeForce RTX 3090 (UUID: GPU-bbbb3333-44bb)
"""
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa1111-22aa)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb3333-44bb)
"""
BOTH = ("GPU-aaaa1111-22aa", "GPU-bbbb3333-44bb")
# Takes GPUs, says which, and keeps them until its standard input ends.
PROGRAM = """
import logging, os, subprocess, sys
from pose_splatter import devices
logging.basicConfig(level=logging.INFO, format="%(message)s")
devices.PATIENCE = 0.05
with devices.own_gpus(int(sys.argv[1]), sys.argv[2]):
    {inside}
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without GPUs or nvidia-smi, with locks in a folder of its own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("POSE_SPLATTER_LOCKS", str(tmp_path))
    monkeypatch.setattr(devices, "PATIENCE", 0.05)
    # Set, so that what a test puts there is taken back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


def install_driver(machine: Path, listing: str, apps: str = "", code: int = 0) -> None:
    """A program nvidia-smi that prints such a list of GPUs and of processes on them."""
    program = machine / "bin/nvidia-smi"
    (machine / "listing").write_text(listing)
    (machine / "apps").write_text(apps)
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -L ] && file=listing || file=apps\n/bin/cat "{machine}/$file"\n'
        f"exit {code}\n"
    )
    program.chmod(0o755)


class Job:
    """A process that has GPUs, or waits for them."""

    def __init__(self, count: int, holder: str, inside: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(inside=inside or "pass"), str(count), holder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Who waits in vain is ended, and the test with it.
        self.patience = threading.Timer(30, self.process.kill)
        self.patience.start()

    def gpus(self) -> str:
        """What it shows CUDA, as soon as it has all that it wants."""
        return self.process.stdout.readline().strip()

    def message(self) -> str:
        return self.process.stderr.readline().strip()

    def kill(self) -> None:
        self.patience.cancel()
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*jobs: Job):
    try:
        yield jobs
    finally:
        for job in jobs:
            job.kill()
            for stream in (job.process.stdin, job.process.stdout, job.process.stderr):
                stream.close()


# --- which GPUs there are ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listing", "chosen", "gpus"),
    [
        (None, None, ()),
        (None, "", ()),
        (None, "0,1", ("0", "1")),
        (None, "1", ("1",)),
        (None, "0, 2 ,0", ("0", "2")),
        (None, "0,-1,1", ("0",)),
        (None, "NoDevFiles", ()),
        (None, "MIG-GPU-aaaa/1/0", ("MIG-GPU-aaaa/1/0",)),
        (TWO, None, BOTH),
        (TWO, "", ()),
        (TWO, "1", BOTH[1:]),
        (TWO, "1,0", BOTH[::-1]),
        (TWO, "0,2,1", BOTH[:1]),
        (TWO, "GPU-bbbb", BOTH[1:]),
        (TWO, "GPU-of-another-machine", ("GPU-of-another-machine",)),
        (MIG, None, ("MIG-cccc", "MIG-dddd", BOTH[1])),
        (MIG, "MIG-dddd", ("MIG-dddd",)),
        (MIG, "0", ("MIG-cccc",)),
        ("No devices were found\n", None, ()),
    ],
)
def test_gpus_are_those_of_the_driver_that_the_variable_leaves(
    machine, monkeypatch, listing, chosen, gpus
):
    if listing is not None:
        install_driver(machine, listing)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == gpus


def test_a_driver_that_fails_has_no_gpus_and_says_so(machine, monkeypatch, caplog):
    install_driver(machine, TWO, code=9)
    assert visible_gpus() == ()
    with own_gpus(1, "a"):
        assert caplog.text == ""
    (machine / "version").touch()
    monkeypatch.setattr(devices, "DRIVER", machine / "version")
    with own_gpus(0, "a"):
        assert caplog.text == ""
    with own_gpus(1, "a") as gpus:
        assert gpus == ()
        assert "nvidia-smi names no GPU, though a driver is here" in caplog.text


# --- who has which -----------------------------------------------------------------------------


def test_each_job_sees_a_gpu_of_its_own(machine, monkeypatch):
    """With the variable set in one terminal and not in the other."""
    install_driver(machine, TWO)
    with running(Job(1, "a"), Job(1, "b")) as jobs:
        assert {job.gpus() for job in jobs} == set(BOTH)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with running(Job(1, "a")) as (job,):
        first = job.gpus()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with own_gpus(1, "b") as gpus:
            assert (first, *gpus) == BOTH
            assert os.environ["CUDA_VISIBLE_DEVICES"] == gpus[0]


def test_who_waits_is_told_for_whom_and_a_killed_job_leaves_its_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with running(Job(1, "logs/train/a.log"), Job(1, "logs/train/b.log")) as (a, b):
        of_a = a.gpus()
        assert {of_a, b.gpus()} == {"0", "1"}
        with running(Job(1, "logs/train/c.log")) as (c,):
            told = c.message()
            assert told.startswith("waiting for a GPU: 0 is held by process ")
            for job, name in ((a, "a"), (b, "b")):
                assert f"process {job.process.pid} (logs/train/{name}.log in {Path.cwd()}," in told
            time.sleep(0.3)  # it looks again, more than once
            a.kill()
            assert c.gpus() == of_a
            assert c.message() == f"on {of_a}", "it was told but once"


def test_a_gpu_is_given_back_when_the_job_is_done(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with own_gpus(1, "a") as gpus:
        assert gpus == ("7",)
    with running(Job(1, "b")) as (job,):
        assert job.gpus() == "7"
        assert job.message() == "on 7"


@pytest.mark.parametrize(
    "inside",
    [
        "os.fork() or os.execv('/bin/sleep', ['sleep', '60'])",
        "os.fork() or __import__('time').sleep(60)",
        "subprocess.Popen(['/bin/sleep', '60'], close_fds=False)",
        "__import__('multiprocessing').get_context('fork').Process("
        "target=__import__('time').sleep, args=(60,)).start()",
    ],
    ids=["fork and exec", "fork", "subprocess", "multiprocessing"],
)
def test_a_killed_jobs_children_keep_no_gpu(monkeypatch, inside):
    """Processes that load frames outlive a killed training by seconds, programs for ever."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with running(Job(1, "a", inside)) as (parent,):
        assert parent.gpus() == "0"
        children = Path(f"/proc/{parent.process.pid}/task/{parent.process.pid}/children")
        (child,) = map(int, children.read_text().split())
        parent.kill()
        try:
            with running(Job(1, "b")) as (job,):
                assert job.gpus() == "0"
                assert job.message() == "on 0", "it did not have to wait"
            os.kill(child, 0)  # still there
        finally:
            os.kill(child, signal.SIGKILL)


# Marks each GPU that it has as in use, and finds it marked by nobody who lives.
MARK = """
import os, random, sys, time
from pathlib import Path
from pose_splatter import devices
devices.PATIENCE = 0.02
count, folder = int(sys.argv[1]), Path(sys.argv[2])
with devices.own_gpus(count, "a") as gpus:
    assert len(set(gpus)) == count and os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)
    for gpu in gpus:
        mark = folder / f"mark{gpu}"
        other = mark.read_text() if mark.exists() else ""
        assert not other or not Path("/proc", other).exists(), f"{gpu} is also {other}'s"
        mark.write_text(str(os.getpid()))
    time.sleep(random.uniform(0.05, 0.2))
    for gpu in gpus:
        assert (folder / f"mark{gpu}").read_text() == str(os.getpid())
        (folder / f"mark{gpu}").unlink()
"""


def test_many_jobs_never_share_one_of_two_gpus(tmp_path, monkeypatch):
    """Some want both GPUs, and some are killed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    counts = [1, 2, 1, 1, 2, 1, 1, 2, 1, 1]
    jobs = [
        subprocess.Popen([sys.executable, "-c", MARK, str(count), str(tmp_path)])
        for count in counts
    ]
    killed = jobs[::4]
    time.sleep(0.3)
    for job in killed:
        job.kill()
        job.wait()  # gone from /proc, too
    codes = [job.wait(timeout=60) for job in jobs]
    assert [code for job, code in zip(jobs, codes, strict=True) if job not in killed] == [0] * 7


ALONE = """
import sys, time
from pathlib import Path
from pose_splatter.devices import alone
mark = Path(sys.argv[1])
with alone(mark.parent / "folder/lock"):
    mark.touch(exist_ok=False)
    time.sleep(0.1)
    mark.unlink()
"""


def test_what_is_done_alone_is_done_by_one_at_a_time(tmp_path):
    command = [sys.executable, "-c", ALONE, str(tmp_path / "mark")]
    jobs = [subprocess.Popen(command) for _ in range(5)]
    assert [job.wait(timeout=60) for job in jobs] == [0] * 5


def test_where_nothing_may_be_written_nobody_waits(tmp_path):
    """An image has compiled what jobs need, and may not be written to."""
    (tmp_path / "file").touch()
    with devices.alone(tmp_path / "file/lock"):
        pass


# Its members heed no Ctrl+C, by which torch asks them to end when their job is killed.
TEAM = """
import os, signal, sys, time
from pathlib import Path
from pose_splatter.devices import own_gpus
from pose_splatter.distributed import launch

def member(folder, team):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = Path(folder, f"{team.rank}.tmp")
    told.write_text(f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}")
    told.rename(Path(folder, f"member{team.rank}"))
    time.sleep(300)

if __name__ == "__main__":
    with own_gpus(2, "a"):
        launch(member, 2, None, {"folder": sys.argv[1]})
"""


@pytest.mark.slow
def test_a_team_has_a_gpu_each_and_ends_with_its_job(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    (tmp_path / "team.py").write_text(TEAM)
    members = [tmp_path / "member0", tmp_path / "member1"]
    with subprocess.Popen([sys.executable, tmp_path / "team.py", tmp_path]) as team:
        try:
            wait_until(lambda: all(member.exists() for member in members))
        finally:
            team.kill()
    told = [member.read_text().split() for member in members]
    assert [gpus for _, gpus in told] == ["4,5", "4,5"], "rank says which of the two"
    with running(Job(3, "b")) as (job,):
        assert job.gpus() == "4,5,6"
        assert job.message() == "on 4, 5, 6", "it did not have to wait"
    wait_until(lambda: not any(is_running(process) for process, _ in told), seconds=10)


def wait_until(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- other users and Slurm ---------------------------------------------------------------------


def test_gpus_that_others_compute_on_come_last_and_are_named(machine, caplog):
    install_driver(machine, TWO, apps=f"{BOTH[0]}, 4711\n{BOTH[0]}, 4712\n")
    with caplog.at_level("INFO"), running(Job(1, "a")) as (job,):
        assert job.gpus() == BOTH[1]
        with own_gpus(1, "b") as gpus:
            assert gpus == BOTH[:1]
    assert f"{BOTH[0]} is used by others too (process 4711, 4712)" in caplog.text


def test_an_allocation_of_slurm_waits_for_itself_alone(monkeypatch):
    """Slurm counts each allocation's GPUs from 0, and may give parts of one to several."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with running(Job(1, "a")) as (first,):
        assert first.gpus() == "0"
        monkeypatch.setenv("SLURM_JOB_ID", "18")
        with own_gpus(1, "b") as gpus:
            assert gpus == ("0",)
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        with running(Job(1, "c")) as (third,):
            assert third.message().startswith("waiting for a GPU: 0 is held by process")


def test_jobs_with_temporary_folders_of_their_own_share_locks(machine, monkeypatch):
    """As clusters and desktops give them to sessions."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(machine / "bin"))
    with running(Job(1, "a")) as (first,):
        assert first.gpus() == "0"
        monkeypatch.setenv("TMPDIR", str(machine))
        with running(Job(1, "b")) as (second,):
            assert second.message().startswith("waiting for a GPU: 0 is held by process")
    monkeypatch.delenv("POSE_SPLATTER_LOCKS")
    assert devices._lock_folder().parent == Path("/tmp")


def test_a_folder_of_locks_of_somebody_else_is_refused(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    user = os.getuid() + 1
    folder = machine / f"pose-splatter-{user}-{socket.gethostname()}"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: user)
    with pytest.raises(PoseSplatterError, match="only you can write"), own_gpus(1, "a"):
        pass
    assert not list(folder.iterdir())


@pytest.mark.parametrize("trap", ["symlink", "file", "open to all"])
def test_a_folder_of_locks_that_is_not_ours_alone_is_refused(machine, monkeypatch, trap):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with own_gpus(1, "a"):
        (folder,) = machine.glob("pose-splatter-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        (lock,) = folder.iterdir()
        assert lock.stat().st_mode & 0o777 == 0o600
    lock.unlink()
    folder.rmdir()
    if trap == "symlink":
        (machine / "elsewhere").mkdir()
        folder.symlink_to(machine / "elsewhere")
    elif trap == "file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with (
        pytest.raises(PoseSplatterError, match=rf"{folder}: .*only you can write.*; delete it, or"),
        own_gpus(1, "a"),
    ):
        pass
    assert not list((machine / "elsewhere").glob("*"))


def test_a_lock_that_is_a_link_is_not_followed(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with own_gpus(1, "a"):
        pass
    (lock,) = machine.glob("pose-splatter-*/*")
    lock.unlink()
    (machine / "precious").write_text("precious")
    lock.symlink_to(machine / "precious")
    with pytest.raises(OSError, match="symbolic link"), own_gpus(1, "a"):
        pass
    assert (machine / "precious").read_text() == "precious"


# --- where nothing is to be done ---------------------------------------------------------------


def test_without_gpus_nothing_changes(machine, monkeypatch):
    with own_gpus(1, "a") as gpus:
        assert gpus == ()
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with own_gpus(0, "a") as gpus:
        assert gpus == ()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert not list(machine.glob("pose-splatter-*"))


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with (
        pytest.raises(PoseSplatterError, match=r"needs 3 GPUs, but may use 2 here \(0, 1\); corr"),
        own_gpus(3, "a"),
    ):
        pass


def test_a_team_of_more_processes_than_gpus(monkeypatch):
    """Snakemake cuts what a rule declares down to what the profile has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto", 1) == "cuda"
    assert choose_device("cpu", 2) == "cpu"
    with pytest.raises(PoseSplatterError, match="processes is 2, but the job has 1 GPUs; lower it"):
        choose_device("auto", 2)


def test_every_rule_that_declares_gpus_takes_them_first():
    """And no other script does; before it, a script only imports and defines."""
    rules = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    blocks = re.split(r"^(?:rule|checkpoint) \w+:$", rules, flags=re.MULTILINE)[1:]
    declaring = {
        re.search(r"src/scripts/(\w+)\.py", block)[1]
        for block in blocks
        if re.search(r"^\s+gpu=", block, flags=re.MULTILINE)
    }
    first = "with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):"
    taking = set()
    for script in (ROOT / "src/scripts").glob("*.py"):
        text = script.read_text()
        statements = re.findall(r"^ *with .*:$", text, flags=re.MULTILINE)
        if statements and statements[0].strip() == first:
            taking.add(script.stem)
            for node in ast.parse(text).body:
                begins = ast.get_source_segment(text, node).partition("\n")[0]
                docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                defines = isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
                assert docstring or defines or begins in (first, MAIN), begins
        else:
            assert "own_gpus" not in text
    assert len(declaring) >= 7
    assert declaring == taking
