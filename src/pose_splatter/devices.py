"""GPUs of one's own: jobs that run side by side on a machine never get the same one.

Snakemake counts the GPUs that jobs take, but does not tell a job which of them are its own
(snakemake issue 281). So a job locks as many as it declares, and shows CUDA no others. Locks are
POSIX record locks, which belong to a process alone: the kernel gives them back when it ends, in
whatever way, and no child inherits them.
"""

import fcntl
import logging
import os
import random
import re
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, takewhile
from pathlib import Path
from typing import TextIO

from pose_splatter.errors import PoseSplatterError

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Where locks lie: the same folder for all jobs of a machine, whatever their TMPDIR.
LOCKS, USUAL_LOCKS = "POSE_SPLATTER_LOCKS", "/tmp"
DRIVER = Path("/proc/driver/nvidia/version")
PATIENCE = 1.0  # seconds, on average, between two looks at GPUs that are taken
GPU_NAME = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")

logger = logging.getLogger(__name__)


@contextmanager
def own_gpus(count: int, holder: str) -> Iterator[tuple[str, ...]]:
    """Keep so many GPUs for this process alone, and show CUDA no others; wait for them if need be.

    To be entered before CUDA is first asked for anything, since it reads CUDA_VISIBLE_DEVICES but
    once. Where there are no GPUs, or none are asked for, nothing changes. Whoever waits is told the
    `holder` that the GPUs were taken for. Jobs of other users are not waited for, but GPUs that
    they compute on come last. Raises PoseSplatterError where there are fewer GPUs than `count`.
    """
    gpus = visible_gpus() if count else ()
    if not gpus:
        if count and DRIVER.exists() and VISIBLE not in os.environ:
            logger.warning(
                "nvidia-smi names no GPU, though a driver is here: none is locked, and jobs side "
                "by side may take the same one; set %s for each, or mend nvidia-smi",
                VISIBLE,
            )
        yield ()
        return
    if len(gpus) < count:
        raise PoseSplatterError(
            f"the job needs {count} GPUs, but may use {len(gpus)} here ({', '.join(gpus)}); "
            f"correct training: processes in config, or {VISIBLE}."
        )
    busy = _processes_by_gpu()
    gpus = tuple(sorted(gpus, key=lambda gpu: gpu in busy))
    with ExitStack() as locks:
        taken = _wait_for(gpus, count, holder, locks)
        for gpu in taken:
            if gpu in busy:
                logger.warning(
                    "%s is used by others too (process %s): expect less speed and less memory",
                    gpu,
                    ", ".join(busy[gpu]),
                )
        os.environ[VISIBLE] = ",".join(taken)
        logger.info("on %s", ", ".join(taken))
        yield taken


# --- which GPUs there are ----------------------------------------------------------------------


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES where it is set, else all.

    They are named by UUID, which is the same for every process, as far as the driver tells it.
    Numbers are those that nvidia-smi gives. Torch is not asked, since that alone would settle
    which GPUs it sees.
    """
    known = _gpus_of_driver()
    chosen = os.environ.get(VISIBLE)
    if chosen is None:
        return tuple(chain.from_iterable(known))
    # As in CUDA, what follows a name that is none (-1, NoDevFiles) does not count.
    names = takewhile(GPU_NAME.fullmatch, (name.strip() for name in chosen.split(",")))
    uuids = takewhile(bool, (_uuid(name, known) for name in names))
    return tuple(dict.fromkeys(uuids))


def _gpus_of_driver() -> list[list[str]]:
    """The UUIDs of each GPU, by its number: its own, or those of its MIG instances."""
    gpus: list[list[str]] = []
    for line in _nvidia_smi("-L"):
        if found := re.match(r"\s*(GPU|MIG) .*\(UUID: ([\w/-]+)\)", line):
            kind, uuid = found.groups()
            if kind == "GPU":
                gpus.append([uuid])
            else:
                gpus[-1].append(uuid)
    # A GPU that is cut into instances cannot be used whole.
    return [instances or [gpu] for gpu, *instances in gpus]


def _uuid(name: str, known: Sequence[Sequence[str]]) -> str:
    """A GPU's full UUID; nothing, where the driver has no such number."""
    if not known:
        return name
    if name.isdigit():
        return known[int(name)][0] if int(name) < len(known) else ""
    return next((uuid for uuid in chain.from_iterable(known) if uuid.startswith(name)), name)


def _processes_by_gpu() -> dict[str, list[str]]:
    """The processes that compute on each GPU, anybody's, as far as the driver shows them."""
    found: dict[str, list[str]] = {}
    for line in _nvidia_smi("--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"):
        gpu, _, process = line.partition(", ")
        found.setdefault(gpu, []).append(process)
    return found


def _nvidia_smi(*options: str) -> list[str]:
    """The lines that nvidia-smi prints; none, where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *options], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


# --- locks -------------------------------------------------------------------------------------


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time do it, of all that see this file; others wait for their turn.

    Also those on other machines, where its file system passes locks on, as NFS does. Where nothing
    may be written, or nothing locked, nobody waits.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.lockf(stack.enter_context(_open(path)), fcntl.LOCK_EX)
        except OSError as error:
            logger.info("%s: no lock (%s)", path, error.strerror)
        yield


def _wait_for(gpus: Sequence[str], count: int, holder: str, locks: ExitStack) -> tuple[str, ...]:
    """Lock `count` of the GPUs, all at once, so that nobody waits with one GPU for another."""
    folder = _lock_folder()
    told = False
    while True:
        held: dict[str, str] = {}
        with ExitStack() as attempt:
            taken: list[str] = []
            for gpu in gpus:
                lock = attempt.enter_context(_open(folder / _lock_name(gpu)))
                if _locked(lock):
                    taken.append(gpu)
                    _sign(lock, holder)
                else:
                    held[gpu] = lock.read().strip()
                if len(taken) == count:
                    locks.enter_context(attempt.pop_all())
                    return tuple(taken)
        if not told:
            told = True
            holders = "; ".join(f"{gpu} is held by {who}" for gpu, who in held.items())
            logger.info("waiting for %s: %s", "a GPU" if count == 1 else f"{count} GPUs", holders)
        # Of two that are in each other's way, one is the first to look again.
        time.sleep(PATIENCE * random.uniform(0.5, 1.5))


def _lock_folder() -> Path:
    """This user's folder for locks on this machine, which nobody else can write to."""
    user = os.getuid()
    folder = Path(
        os.environ.get(LOCKS) or USUAL_LOCKS, f"pose-splatter-{user}-{socket.gethostname()}"
    )
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    others = stat.S_IWGRP | stat.S_IWOTH
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & others:
        raise PoseSplatterError(
            f"{folder}: is to be a folder that only you can write to, since locks of GPUs lie in "
            f"it; delete it, or set {LOCKS} to another folder of this machine."
        )
    return folder


def _lock_name(gpu: str) -> str:
    """Slurm gives GPUs to allocations, also parts of one; within each, jobs share them out."""
    parts = [gpu, *filter(None, [os.environ.get("SLURM_JOB_ID")]), "lock"]
    return re.sub(r"[^\w.-]", "_", ".".join(parts))


def _open(path: Path) -> TextIO:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    return os.fdopen(file, "r+", encoding="utf-8", errors="replace")


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # as systems differ
        return False
    return True


def _sign(lock: TextIO, holder: str) -> None:
    """Say in the file who holds it, for those that wait."""
    lock.truncate(0)
    lock.write(f"process {os.getpid()} ({holder} in {Path.cwd()}, since {time.strftime('%H:%M')})")
    lock.flush()
