"""Benchmarks run, small; those that take minutes or the demo's results are type-checked only."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RATIO = r"ratio\s+\d+\.\d"


@pytest.mark.parametrize(
    ("seconds", "per_epoch", "epochs"),
    [(1200, 1200, 1), (1200, 2000, 1), (1200, 343, 1), (1200, 342, 2)],
)
def test_epochs_that_fit_into_a_time(monkeypatch, seconds, per_epoch, epochs):
    """All but the first rehearse, and take 2.5 times as long."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    training = importlib.import_module("training")
    assert training.fitting_epochs(seconds, per_epoch) == epochs
    assert training.fitting_epochs(seconds, per_epoch / 100) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "printed"),
    [
        ("preprocessing", "--frames 15 --rounds 1", RATIO),
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


def test_studies_count_frames_jobs_and_what_is_not_divided(tmp_path, monkeypatch):
    """Ten frames took 10 ms each in two parts, 20 ms each as a whole; a job of no length 36 s.

    Masks, made if asked for, took 30 ms a frame, and 9 s for each of two cameras.
    """
    monkeypatch.syspath_prepend(BENCHMARKS)
    scaling = importlib.import_module("scaling")
    jobs = {
        "images_part/a.p.1-of-2": 0.05,
        "images_part/a.p.2-of-2": 0.05,
        "images/a.p": 0.2,
        "crop/a.p": 36.0,
    }
    made = {"mask_video/a.0": 0.1, "mask_video/a.1": 0.2}
    made |= {"background/a.0": 9.0, "background/a.1": 9.0}

    def page(jobs):
        for name, seconds in jobs.items():
            path = tmp_path / f"benchmarks/{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\tcpu_time\n1\t{seconds}\n")
        costs = scaling.by_frame(tmp_path, scaling.frame_counts(tmp_path))
        return "\n".join(
            scaling.markdown(costs, scaling.by_recording(tmp_path), (1.0, 1), cores=10)
        )

    (tmp_path / "recordings/a").mkdir(parents=True)
    (tmp_path / "recordings/a/videos.json").write_text('{"start": 0, "stop": 10, "step": 1}')
    necessary = [
        "100 frames/s | 3,600,000 | 30 | 0.00 | 0.13 | 20.0 |",
        "30 frames/s | 18,000,000 | 160 | 0.00 | 0.67 | 0.1 |",
    ]
    alone = page(jobs)
    assert all(row in alone for row in necessary)
    assert "the same" not in alone
    with_masks = page(made)
    assert all(row in with_masks for row in necessary)
    assert "| background | 2 | 18.0 |" in with_masks
    assert "| all, masks made | | 60.00 | 0.00 |" in with_masks
    assert "| the same, masks made | 3,600,000 | 60 | 0.00 | 0.25 | 20.0 |" in with_masks
    assert "| the same, masks made | 18,000,000 | 315 | 0.00 | 1.31 | 0.1 |" in with_masks
