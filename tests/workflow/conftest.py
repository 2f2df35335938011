"""Real Snakemake runs, each in a copy of the workflow of its own, on the demo made small."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "small.yaml"
WORKFLOW = ("Snakefile", "rules", "src", "config", "profiles", "envs")
LIMIT = 900  # seconds: a hang ends, a slow machine does not


@dataclass
class Run:
    """What a finished Snakemake run said."""

    code: int
    output: str

    def jobs(self) -> dict[str, int]:
        """How many jobs of each rule a dry run would run."""
        if "Nothing to be done" in self.output:
            return {}
        table = self.output.split("Job stats:")[-1].split("total")[0]
        rows = [line.split() for line in table.splitlines()[2:] if line.strip()]
        return {rule: int(count) for rule, count in rows if count.isdigit()}


PLANNER = """
import json, os, sys
from snakemake.cli import main
for line in sys.stdin:
    folder, log, arguments = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    main(arguments)  # exits
"""


@cache
def planner() -> subprocess.Popen:
    """A process that has imported Snakemake, half of the time of a dry run, and forks for each."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PLANNER]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def plan(arguments: Sequence[str], folder: Path) -> Run:
    """A dry run of Snakemake in a folder."""
    process = planner()
    with tempfile.NamedTemporaryFile("r") as log:
        asked = json.dumps([str(folder), log.name, list(arguments)])
        print(asked, file=process.stdin, flush=True)
        answered, _, _ = select.select([process.stdout], [], [], LIMIT)
        code = process.stdout.readline() if answered else ""
        assert code, f"no end to a dry run:\n{log.read()}"
        return Run(int(code), log.read())


class Workspace:
    """A folder with the workflow and the demo's files in it, in which Snakemake runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, folder: Path) -> "Workspace":
        for name in WORKFLOW:
            copy = copy_tree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        copy_tree(ROOT / "resources/demo", folder / "resources/demo")
        return cls(folder)

    def copied(self, folder: Path) -> "Workspace":
        """The same, results and Snakemake's memory of them included, elsewhere."""
        copy_tree(self.folder, folder)
        return Workspace(folder)

    def command(
        self,
        *targets: str,
        dry: bool = False,
        overrides: dict | None = None,
        options: Sequence[str] = (),
    ) -> list[str]:
        extra = self.folder / "overrides.yaml"
        extra.write_text(yaml.safe_dump(overrides or {}))
        return [
            *(sys.executable, "-m", "snakemake", "--cores", "2", *(["--dry-run"] if dry else [])),
            # Two jobs of a thread each: most of a small job is its start, which takes one thread.
            *("--max-threads", "1", "--resources", "gpu=2"),
            *options,
            *("--configfile", "config/config.yaml", str(SMALL), str(extra), "--", *targets),
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(
        self,
        *targets: str,
        dry: bool = False,
        overrides: dict | None = None,
        options: Sequence[str] = (),
    ) -> Run:
        """Ask Snakemake for targets, everything by default, with `overrides` over the config."""
        command = self.command(*targets, dry=dry, overrides=overrides, options=options)
        if dry:
            return plan(command[3:], self.folder)
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            env=self.environment,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def dry_run(self, *targets: str, overrides: dict | None = None) -> Run:
        run = self.run(*targets, dry=True, overrides=overrides)
        assert run.code == 0, run.output
        return run

    def with_rigs(self) -> dict[str, dict]:
        """The small recordings of tests/data/rigs, brought here, as the config names them."""
        (self.folder / "rigs").symlink_to(ROOT / "tests/data/rigs")
        return {
            name: {
                "calibration": f"rigs/{name}/calibration.h5",
                "cameras": list(range(count)),
                "videos": f"rigs/{name}/videos/camera{{camera}}.mp4",
                "masks": f"rigs/{name}/masks/camera{{camera}}.mp4",
                "heldout_cameras": [1],
            }
            for name, count in (("six", 6), ("five", 5), ("four", 4))
        }

    @contextmanager
    def changed(self, name: str) -> Iterator[Path]:
        """A file or folder to change or delete for a while; put back as it was, times included."""
        path, kept = self.folder / name, self.folder / "kept"
        copy = copy_tree if path.is_dir() else shutil.copy2
        copy(path, kept)
        try:
            yield path
        finally:
            remove(path)
            kept.rename(path)


def copy_tree(source: Path, target: Path) -> None:
    """Without the files that Numba and Python are just writing, which are gone a moment later."""
    passing = shutil.ignore_patterns("*.tmp.*", "*.pyc.*")
    shutil.copytree(source, target, ignore=passing, dirs_exist_ok=True)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.new(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """A workspace in which everything has been made, of two experiments: once for all processes."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    made, unfinished = shared / "made once", shared / "being made"
    with FileLock(shared / "made once.lock"):
        if not made.exists():
            remove(unfinished)
            unfinished.mkdir()
            making = Workspace.new(unfinished)
            # In place of its copy, so that what Numba compiles lies beside what others copy.
            remove(unfinished / "src")
            (unfinished / "src").symlink_to(ROOT / "src")
            run = making.run()
            assert run.code == 0, run.output
            unfinished.rename(made)
    return Workspace(made).copied(tmp_path_factory.mktemp("a finished run"))
