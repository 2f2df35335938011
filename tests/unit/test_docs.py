"""Commands in the documentation are what snakemake and pose-splatter take."""

import re
import shlex
from pathlib import Path

import pytest
from snakemake.cli import parse_args

from pose_splatter.cli import make_parser

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMENTED = (*sorted((ROOT / "config").rglob("*.yaml")), *(ROOT / "benchmarks").glob("*.py"))


def commands(program: str) -> list[tuple[str, str]]:
    """Every line of a page, or of a comment, that calls a program, and where it is."""
    found = []
    for path in (*PAGES, *COMMENTED):
        text = re.sub(r"\\+\n", " ", path.read_text())
        lines = re.findall(rf"^#?    (?:[\w=]+ |sbatch .*)*({program} .*)$", text, re.MULTILINE)
        lines += re.findall(rf"`({program} [^`]*)`", text)
        calls = [line for line in lines if not re.search(r"…|--help|^\S+ \w+$|&&", line)]
        found += [(path.relative_to(ROOT).as_posix(), line) for line in calls]
    return found


SNAKEMAKE, OURS = commands("snakemake"), commands("pose-splatter")


def test_commands_are_found():
    assert len(SNAKEMAKE) > 30
    assert len(OURS) > 8
    assert {"README.md", "docs/cluster.md", "docs/guide.md", "benchmarks/embedding.py"} <= {
        place for place, _ in SNAKEMAKE
    }


@pytest.mark.parametrize(("place", "line"), SNAKEMAKE)
def test_snakemake_takes_a_command(place, line):
    """And takes no target for a file of the option before it."""
    _, options = parse_args(shlex.split(line.rstrip('"'), comments=True)[1:])
    for path in options.configfile or []:
        assert path.suffix in (".yaml", ".yml"), f"{path} needs a -- before it"
    for target in options.targets or []:
        assert target == "all" or target.startswith("results/")
    profile = options.workflow_profile
    assert profile in (None, "profiles/mine") or (ROOT / profile).is_dir()


@pytest.mark.parametrize(("place", "line"), OURS)
def test_pose_splatter_takes_a_command(place, line):
    make_parser().parse_args(shlex.split(line, comments=True)[1:])
