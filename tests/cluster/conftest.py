"""A Slurm of its own on this machine: munge, the controller and three nodes, thrown away again.

Nothing of it is in the system's places: files lie in one temporary folder, ports are free ones.
"""

import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ..workflow.conftest import SMALL, Run, Workspace

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
PLUGIN = "snakemake_executor_plugin_slurm"
CPU_NODES, GPU_NODES = ("cpu1", "cpu2"), ("gpu1",)
NODES = CPU_NODES + GPU_NODES
GPU_MODEL = "fake"
IMPATIENT = Path(__file__).parent / "impatient.py"
PROFILE = "profiles/slurm/config.yaml"
# More processors and memory than there are: jobs wait for each other's files, not for a place.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000
ReturnToService=0
MinJobAge=3600
KillWait=2
GresTypes=gpu
NodeName=cpu1 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]} {size}
NodeName=cpu2 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]} {size}
NodeName=gpu1 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[3]} {size} Gres=gpu:{gpu}:1
PartitionName=cpu Nodes=cpu1,cpu2 Default=YES
PartitionName=gpu Nodes=gpu1
"""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job; `rule` is the rule, or the group, that it was submitted for."""

    id: str
    state: str
    node: str
    memory: str
    limit: str
    rule: str


class Slurm:
    """A running cluster, and the runs of Snakemake that were started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: list[subprocess.Popen] = []
        # srun inside jobs is the folder's: Snakemake's jobs keep nothing of SLURM_* but numbers.
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLURM_")},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        }

    def write_files(self) -> None:
        host, conf = socket.gethostname().split(".")[0], self.folder / "slurm.conf"
        conf.write_text(
            SLURM_CONF.format(
                folder=self.folder,
                host=host,
                ports=free_ports(1 + len(NODES)),
                user=getpass.getuser(),
                size="CPUs=16 RealMemory=64000",
                gpu=GPU_MODEL,
            )
        )
        (self.folder / "gres.conf").write_text(
            f"NodeName=gpu1 Name=gpu Type={GPU_MODEL} File=/dev/null\n"
        )
        (self.folder / "cgroup.conf").touch()
        for name in ("state", "bin", *NODES):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)

    def daemons(self) -> list[list[str]]:
        files = {
            name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log")
        }
        munge = ["munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket"]
        return [
            [*munge, *files.values(), f"--seed-file={self.folder}/munge.seed"],
            ["slurmctld", "-D"],
            *(["slurmd", "-D", "-N", node] for node in NODES),
        ]

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands."""
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    def jobs(self) -> list[Job]:
        """All jobs that there were, in the order of their submission."""
        rows = self.ask(
            *("squeue", "--states=all", "--noheader", "--sort=i", "--format=%i|%T|%N|%m|%l|%k")
        )
        jobs = []
        for *columns, comment in (row.split("|") for row in rows.splitlines()):
            rule = comment.removeprefix("rule_").split("_wildcards_")[0]
            jobs.append(Job(*columns, rule=rule))
        return jobs

    def jobs_of(self, rule: str) -> list[Job]:
        return [job for job in self.jobs() if job.rule == rule]

    def restarts(self, job: str) -> int:
        """How often Slurm queued a job again."""
        return int(self.ask("scontrol", "show", "job", job).split("Restarts=")[1].split()[0])

    def set_node(self, node: str, state: str) -> None:
        self.ask("scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=a test")

    def ready(self) -> bool:
        try:
            return self.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * 3
        except subprocess.CalledProcessError:
            return False

    def started(self, command: list[str], environment: list[str]) -> bool:
        """Whether a process is one of the cluster's daemons, or of its jobs."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf" in environment
        daemon = command[0].startswith(("munged", "slurm"))
        return ours and (daemon or any(word.startswith("SLURM_JOB_ID=") for word in environment))

    def cancel_all(self) -> None:
        self.ask("scancel", "--full", f"--user={getpass.getuser()}")
        wait_until(lambda: not self.ask("squeue", "--noheader"), 30, "jobs are still there")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(condition: Callable[[], object], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


def processes(of: Callable[[list[str], list[str]], bool]) -> list[int]:
    """All processes whose command and environment, in words, are such."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (
                os.fsdecode((process / name).read_bytes()).split("\0")
                for name in ("cmdline", "environ")
            )
        except OSError:  # it has just ended
            continue
        if of(command, environment):
            found.append(int(process.name))
    return found


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A cluster of two nodes without a GPU and one with, each in a partition of its kind."""
    if "TEST_CLUSTER" not in os.environ:
        pytest.skip("a Slurm of its own is started by `make test-cluster` alone")
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    assert not lacking, f"{', '.join(lacking)}: not there; apt-get install slurm-wlm munge"
    assert importlib.util.find_spec(PLUGIN), f"{PLUGIN}: not there; pip install it"
    # Not pytest's folder, whose path may be longer than a socket's may be.
    cluster = Slurm(Path(tempfile.mkdtemp(prefix="slurm-")))
    daemons: list[subprocess.Popen] = []
    try:
        cluster.write_files()
        with (cluster.folder / "daemons.log").open("w") as log:
            for command in cluster.daemons():
                daemons.append(
                    subprocess.Popen(
                        command,
                        env=cluster.environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
                if command[0] == "munged":
                    wait_until((cluster.folder / "munge.socket").exists, 20, "munge does not start")
        wait_until(cluster.ready, 60, "Slurm does not start")
        yield cluster
        cluster.cancel_all()
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        # The controller's own helper ends a moment after it; what ran on a node that was taken down
        # may not, and is ended.
        deadline = time.monotonic() + 10
        while (left := processes(cluster.started)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(cluster.folder)
    wait_until(lambda: not processes(cluster.started), 10, f"processes do not end: {left}")


@pytest.fixture(autouse=True)
def clean_up(slurm: Slurm) -> Iterator[None]:
    """After every test: no run, no jobs, and all nodes up."""
    yield
    for run in slurm.runs:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    slurm.cancel_all()
    states = slurm.ask("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
    for node, state in (line.split() for line in states if line):
        if state != "idle":
            slurm.set_node(node, "resume")
    wait_until(slurm.ready, 60, "nodes do not come back")


class LoginNode:
    """Where Snakemake runs: a workspace whose profile was edited as docs/cluster.md says."""

    def __init__(self, workspace: Workspace, slurm: Slurm) -> None:
        self.workspace, self.slurm = workspace, slurm
        self.folder = workspace.folder
        self.output = self.folder / "snakemake.log"

    def set_up(self) -> None:
        profile = self.folder / PROFILE
        text = profile.read_text()
        for line, ours in {
            "slurm_partition: null": "slurm_partition: cpu",
            "gpu_model: null": f"gpu_model: {GPU_MODEL}",
            "# slurm_partition: gpu": "slurm_partition: gpu",
        }.items():
            assert text.count(f"  {line}") == 1, line
            text = text.replace(f"  {line}", f"  {ours}")
        profile.write_text(text)

    def start(self, *targets: str, overrides: dict) -> subprocess.Popen:
        extra = self.folder / "overrides.yaml"
        extra.write_text(yaml.safe_dump(overrides))
        command = [
            *(sys.executable, str(IMPATIENT), "--workflow-profile", "profiles/slurm"),
            # One folder on one machine, of two processors. One thread, as in `Workspace.run`: with
            # more, sums have other last bits.
            *("--latency-wait", "5", "--set-threads", "train=1", "render_part=1"),
            *("--configfile", "config/config.yaml", str(SMALL), str(extra), "--", *targets),
        ]
        with self.output.open("w") as output:
            run = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.slurm.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.slurm.runs.append(run)
        return run

    def finish(self, process: subprocess.Popen, seconds: float) -> Run:
        """Wait for a run. One that hangs is killed: to SIGTERM, it would wait for its jobs."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"not done in {seconds} s:\n{self.output.read_text()}\n{self.slurm.jobs()}")
        return Run(process.returncode, self.output.read_text())

    def run(self, *targets: str, seconds: float, overrides: dict | None = None) -> Run:
        return self.finish(self.start(*targets, overrides=overrides or {}), seconds)


@pytest.fixture(scope="session")
def login_node(slurm, tmp_path_factory) -> LoginNode:
    node = LoginNode(Workspace.new(tmp_path_factory.mktemp("login")), slurm)
    node.set_up()
    return node
