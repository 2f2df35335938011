"""Real Snakemake runs, each in a copy of the workflow of its own, on the demo made small."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "small.yaml"
WORKFLOW = ("Snakefile", "rules", "src", "config", "profiles", "envs")


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


class Workspace:
    """A folder with the workflow and the demo's files in it, in which Snakemake runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def new(cls, folder: Path) -> "Workspace":
        for name in WORKFLOW:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "resources/demo", folder / "resources/demo")
        return cls(folder)

    def copied(self, folder: Path) -> "Workspace":
        """The same, results and Snakemake's memory of them included, elsewhere."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
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
        done = subprocess.run(
            self.command(*targets, dry=dry, overrides=overrides, options=options),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
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
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, kept)
        try:
            yield path
        finally:
            remove(path)
            kept.rename(path)


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
    """A workspace in which everything has been made, of two experiments."""
    workspace = Workspace.new(tmp_path_factory.mktemp("a finished run"))
    run = workspace.run()
    assert run.code == 0, run.output
    return workspace
