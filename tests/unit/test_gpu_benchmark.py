"""The GPU benchmark runs, as far as a CPU allows: every stage is timed, in either precision."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/gpu.py"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_stage_is_timed(precision):
    options = ["--device", "cpu", "--steps", "1", "--grid", "32", "--precision", precision]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *options], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f"networks in {precision}")
    shares = [float(line.split()[0]) for line in lines if " %  " in line]
    assert len(shares) == 7
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert float(lines[-1].split()[0]) > 0, "frames/s of inference"
