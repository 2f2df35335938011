"""Kill a running workflow at seeded random moments, and hold what it made against another's."""

import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import av
import pandas as pd
import psutil
import torch

BEGUN = re.compile(r"^(?:Job \d+:|localrule) (\w+):", re.MULTILINE)
ENDED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.MULTILINE)
WAYS = ("Snakemake and its jobs", "its jobs alone", "Snakemake alone")
# How long something took, and whether it was the first try, are not results.
NOT_RESULTS = ["seconds", "waiting", "memory_mb", "resumed"]
TIMES_OF_TRAINING = ["seconds_trained"]
# Pages in which Bokeh names parts at random, or with movies in them.
NAMED_AT_RANDOM = ("map.html", "novel_views.html", "report.html")
LIMIT = 900.0  # seconds, for all that is waited for


class Workflow:
    """A Snakemake command, the folder that it runs in, and the log of its present run."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.command, self.folder, self.environment = list(command), folder, environment
        self.log = folder / "snakemake.log"

    def start(self) -> psutil.Popen:
        """Start it as the leader of a process group of its own."""
        with self.log.open("w") as log:
            return psutil.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self) -> tuple[int, str]:
        """Run it to its end; its exit status, and what it said."""
        return self.ended(self.start())

    def ended(self, process: psutil.Popen) -> tuple[int, str]:
        """The same of a run that goes on."""
        try:
            code = process.wait(LIMIT)
        finally:
            kill_group(process)
        return code, self.log.read_text()

    def unlock(self) -> None:
        """What a person does after Snakemake was killed."""
        options = self.command[: self.command.index("--")]
        subprocess.run(
            [*options, "--unlock"],
            cwd=self.folder,
            env=self.environment,
            check=True,
            timeout=LIMIT,
            capture_output=True,
        )

    def running(self) -> list[str]:
        """The rules whose jobs have begun and not ended, by the log."""
        text = self.log.read_text()
        left = BEGUN.findall(text)
        for rule in ENDED.findall(text):
            left.remove(rule)
        return left

    def begun(self, process: psutil.Popen, rules: Collection[str]) -> str | None:
        """Wait until a job of one of the rules begins; None where the run ends before."""
        deadline = time.monotonic() + LIMIT
        while process.poll() is None:
            assert time.monotonic() < deadline, self.log.read_text()
            if met := set(rules).intersection(self.running()):
                return min(met)
            time.sleep(0.05)
        return None


def kill_group(process: psutil.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LIMIT)


def jobs_of(process: psutil.Popen) -> list[psutil.Process]:
    return [
        child
        for child in process.children(recursive=True)
        if any(".snakemake/scripts/" in word for word in child.cmdline())
    ]


@dataclass(frozen=True)
class Round:
    """One kill: the rule that was waited for, and what ran when it fell."""

    rule: str
    after: float
    way: str
    running: tuple[str, ...]


def durations(workflow: Workflow) -> dict[str, float]:
    """Run it undisturbed; how many seconds each rule took, at most."""
    process, begun, seconds = workflow.start(), {}, {}
    try:
        while process.poll() is None:
            running = set(workflow.running())
            now = time.monotonic()
            for rule in running - begun.keys():
                begun[rule] = now
            for rule in begun.keys() - running - seconds.keys():
                seconds[rule] = now - begun[rule]
            time.sleep(0.05)
        assert process.returncode == 0, workflow.log.read_text()
        return seconds
    finally:
        kill_group(process)


def run_with_kills(
    workflow: Workflow, rules: Sequence[str], seconds: dict[str, float], rng: random.Random
) -> Iterator[Round]:
    """Run it to its end, killed once in each of the rules, and yield after every kill.

    Each restart is the same command. A rule that ended in the same moment as another was
    killed is not met again, and is left out.
    """
    left, orphans, ways = set(rules), [], cycle(rng.sample(WAYS, len(WAYS)))
    while True:
        process = workflow.start()
        try:
            rule = workflow.begun(process, left)
            if rule is None:
                assert process.wait(LIMIT) == 0, workflow.log.read_text()
                break
            left.remove(rule)
            after = rng.uniform(0.1, 1.0) * seconds[rule]
            time.sleep(after)
            way, running = _kill(process, next(ways)), tuple(workflow.running())
            orphans += jobs_of_session(process) if way == "Snakemake alone" else []
            yield Round(rule, after, way, running)
            if way != "its jobs alone":
                workflow.unlock()
        except BaseException:
            kill_group(process)
            raise
    psutil.wait_procs(orphans, timeout=60)


def jobs_of_session(process: psutil.Popen) -> list[psutil.Process]:
    """What lives on of a process group after its leader was killed."""
    alive = []
    for other in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(other.pid) == process.pid:
                alive.append(other)
    return alive


def _kill(process: psutil.Popen, way: str) -> str:
    """Kill it that way, or all of it where there is no job just then; how it was done."""
    if way == "its jobs alone" and process.poll() is None and (jobs := jobs_of(process)):
        for job in jobs:
            job.kill()
        process.wait(LIMIT)
        return way
    if way == "Snakemake alone":
        process.kill()
        process.wait(LIMIT)
        return way
    kill_group(process)
    return WAYS[0]


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of results at its own name, by path; of tables, what is a result."""
    digests = {}
    for path in sorted((folder / "results").rglob("*")):
        name = str(path.relative_to(folder / "results"))
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if not path.is_file() or hidden or name.startswith("benchmarks/"):
            continue
        if path.name == "training_log.csv":
            content = pd.read_csv(path).drop(columns=NOT_RESULTS).to_csv().encode()
        elif path.name == "comparison.csv":
            content = pd.read_csv(path).drop(columns=TIMES_OF_TRAINING).to_csv().encode()
        elif path.name in ("comparison.md", "comparison.png"):
            content = b""  # made of that table, times and all
        elif path.name in NAMED_AT_RANDOM:
            assert path.read_text().rstrip().endswith("</html>")
            content = b""
        elif path.suffix == ".mp4":
            content = str(count_frames(path)).encode()  # x264 differs by a few bits now and then
        elif path.name == "training_state.pt":
            torch.load(path, weights_only=True)  # whole at any moment, but of a different epoch
            continue
        else:
            content = path.read_bytes()
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def count_frames(path: Path) -> int:
    """How many frames a video holds, all of which can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def differing(folder: Path, undisturbed: Path) -> list[str]:
    """The files of results that are not, or not whole, as the undisturbed run made them.

    Parts, which Snakemake deletes once they are joined, are not compared.
    """
    ours, theirs = contents(folder), contents(undisturbed)
    return [name for name in ours if "/parts/" not in name and ours[name] != theirs.get(name)]


def leftovers(folder: Path) -> list[str]:
    """Hidden names in results that are not Snakemake's, and parts."""
    return [
        str(path.relative_to(folder))
        for path in (folder / "results").rglob("*")
        if (path.name.startswith(".") and path.name != ".snakemake_timestamp")
        or path.parent.name == "parts"
    ]
