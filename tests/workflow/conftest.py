"""Real Snakemake runs, each in a folder of its own, on the demo made small."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parent / "small.yaml"


@dataclass
class Run:
    """What a finished Snakemake run said."""

    code: int
    output: str

    def rules(self) -> set[str]:
        """The rules of a dry run's job table."""
        table = self.output.split("Job stats:")[-1].split("total")[0]
        return {line.split()[0] for line in table.splitlines() if line[-1:].isdigit()}


class Workspace:
    """A folder with the demo's resources in it, in which Snakemake runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "resources").symlink_to(ROOT / "resources")

    def run(self, *targets: str, dry: bool = False, overrides: dict | None = None) -> Run:
        """Ask Snakemake for targets, everything by default, with `overrides` over the config."""
        extra = self.folder / "overrides.yaml"
        extra.write_text(yaml.safe_dump(overrides or {}))
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
            *("--directory", self.folder, "--cores", "2", *(["--dry-run"] if dry else [])),
            *("--configfile", ROOT / "config/config.yaml", SMALL, extra, "--", *targets),
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            env=environment,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def dry_run(self, *targets: str, overrides: dict | None = None) -> Run:
        run = self.run(*targets, dry=True, overrides=overrides)
        assert run.code == 0, run.output
        return run


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """A workspace in which everything has been made, of two experiments."""
    workspace = Workspace(tmp_path_factory.mktemp("a finished run"))
    run = workspace.run()
    assert run.code == 0, run.output
    return workspace
