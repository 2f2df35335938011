"""Benchmarks run, small; those that take minutes or the demo's results are type-checked only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RATIO = r"ratio\s+\d+\.\d"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "printed"),
    [
        ("preprocessing", "--frames 40 --rounds 1", RATIO),
        ("carving", "--size 24 --frames 1", RATIO),
        ("colors", "--size 32", RATIO),
        (
            "rasterize",
            "--gaussians 50 --cameras 1 --size 48 40 --repeats 1 --reference-limit 50",
            r"animal +50 ",
        ),
        ("engine", "--recordings 1 --experiments 1", r"run with nothing to do +\d+\.\d s"),
    ],
)
def test_a_benchmark_runs(name, options, printed):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(printed, done.stdout), done.stdout
