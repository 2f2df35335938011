"""The GPU benchmark runs, as far as a CPU allows: every stage is timed, in either precision."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import gpu

BENCHMARK = Path(__file__).parents[2] / "benchmarks/gpu.py"


def test_differences_of_backends_are_of_all_that_splatting_takes(monkeypatch):
    """One that is brighter by a hundredth is off by that in every gradient."""
    source = gpu.recording(32)
    gaussians = gpu.uneven_gaussians(source)
    assert gpu.backend_differences(gaussians, source.rig, ("cpu", "cpu")) == (
        0,
        dict.fromkeys(["means", "quats", "scales", "opacities", "colors"], 0),
    )
    factors = iter([1.0, 1.01])

    def brighter(*arguments):
        factor = next(factors)
        picture, alpha, rest = splat(*arguments)
        return factor * picture, factor * alpha, rest

    splat = gpu.rasterization
    monkeypatch.setattr(gpu, "rasterization", brighter)
    pixel, shares = gpu.backend_differences(gaussians, source.rig, ("cpu", "cpu"))
    assert 0.001 < pixel < 0.011
    assert shares == pytest.approx(dict.fromkeys(shares, 0.01), rel=0.01)


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
