"""Benchmarks run, small; those that take minutes or the demo's results are type-checked only."""

import importlib
import json
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


def test_one_that_fails_lets_the_others_go_on(tmp_path, monkeypatch, capsys):
    """It loses its old rows; those of a benchmark that is not asked for stay."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench, rows = importlib.import_module("bench"), importlib.import_module("rows")

    def measure(name):
        if name == "carving":
            raise RuntimeError("no carving today")
        return [rows.Row("voxel colours", 2.0, 30.0, "ms", "10x", "the same")]

    monkeypatch.setattr(bench, "measure_apart", measure)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    out = tmp_path / "results.json"
    out.write_text('{"carving": {"rows": []}, "memory": {"rows": ["as it was"]}}')
    monkeypatch.setattr(sys, "argv", ["bench.py", "carving", "colors", "--out", str(out)])
    with pytest.raises(SystemExit, match="failed: carving"):
        bench.main()
    results = json.loads(out.read_text())
    assert list(results) == ["colors", "memory"]
    assert results["memory"] == {"rows": ["as it was"]}
    assert results["colors"]["rows"][0]["ratio"] == 15
    assert results["colors"]["code"]
    printed = capsys.readouterr().out
    assert re.search(r"voxel colours +2 ms +30 ms +15\.0x +10x +the same", printed)


def test_ratios_are_above_one_where_ours_is_better(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    rows = importlib.import_module("rows")
    assert rows.Row("time", 2.0, 10.0, "s", "", "").ratio == 5
    assert rows.Row("speed", 10.0, 2.0, "frames/s", "", "", better="higher").ratio == 5


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


@pytest.fixture
def scaling(tmp_path, monkeypatch):
    """The module, and what it prints of results with such benchmark files, in 10 cores."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("scaling")

    def page(frames, jobs):
        for name, count in frames.items():
            (tmp_path / f"recordings/{name}").mkdir(parents=True, exist_ok=True)
            video = {"start": 0, "stop": 2 * count, "step": 2}
            (tmp_path / f"recordings/{name}/videos.json").write_text(json.dumps(video))
        for name, seconds in jobs.items():
            path = tmp_path / f"benchmarks/{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\tcpu_time\n1\t{seconds}\n")
        costs = module.by_frame(tmp_path, module.frame_counts(tmp_path))
        lines = module.markdown(costs, module.by_recording(tmp_path), (1.0, 1), cores=10)
        return costs, "\n".join(lines)

    return page


def test_studies_count_frames_jobs_and_what_is_not_divided(scaling):
    """Ten frames took 10 ms each in two parts, 20 ms each as a whole; a job of no length 36 s.

    Masks, made if asked for, took 30 ms a frame, half of it for each of two cameras, and 9 s
    for each of them whatever the length.
    """
    jobs = {
        "images_part/a.p.1-of-2": 0.05,
        "images_part/a.p.2-of-2": 0.05,
        "images/a.p": 0.2,
        "crop/a.p": 36.0,
    }
    made = {"mask_video/a.0": 0.15, "mask_video/a.1": 0.15}
    made |= {"background/a.0": 9.0, "background/a.1": 9.0}
    needed = [
        "100 frames/s | 3,600,000 | 30 | 0.00 | 0.13 | 20.0 |",
        "30 frames/s | 18,000,000 | 160 | 0.00 | 0.67 | 0.1 |",
    ]
    _, alone = scaling({"a": 10}, jobs)
    assert all(row in alone for row in needed)
    assert "the same" not in alone
    _, page = scaling({"a": 10}, made)
    assert all(row in page for row in needed)
    assert "| background | 2 | 18.0 |" in page
    assert "| all, masks made | | | 60.00 | 0.00 |" in page
    assert "| the same, masks made | 3,600,000 | 60 | 0.00 | 0.25 | 35.0 |" in page
    assert "| the same, masks made | 18,000,000 | 315 | 0.00 | 1.31 | 0.2 |" in page


def test_jobs_starts_are_told_from_frames_by_recordings_of_two_lengths(scaling):
    """A start of 0.5 s and 20 ms a frame, in a job each for two parts; 1 s and 10 ms as a whole.

    A recording may have its preset's name, and dots in its own.
    """
    lengths = {"mine": 100, "longer.one": 400}
    jobs = {"images/mine.mine": 2.0, "images/longer.one.mine": 5.0}
    jobs |= {f"images_part/mine.mine.{n}-of-2": 1.5 for n in (1, 2)}
    jobs |= {f"images_part/longer.one.mine.{n}-of-2": 4.5 for n in (1, 2)}
    jobs |= {"render/mine.mine": 3.0, "render/mine.longer.one": 12.0}
    (parts, whole, render), page = scaling(lengths, jobs)
    assert (parts.start, parts.seconds) == pytest.approx((0.5, 0.02))
    assert (whole.start, whole.seconds) == pytest.approx((1.0, 0.01))
    assert render.seconds == pytest.approx(0.03), "of the second name, the recording's"
    assert parts.of(40_000) == pytest.approx(2 * 0.5 + 800), "parts of 20,000"
    assert (parts.undivided(40_000), whole.undivided(40_000)) == pytest.approx((0, 401))
    assert "| images_part | 4 | 0.50 | 20.00 | 0.00 |" in page


def test_lengths_that_hardly_differ_tell_no_start(scaling):
    (images,), _ = scaling({"a": 100, "b": 150}, {"images/a.p": 2.0, "images/b.p": 2.5})
    assert images.start is None
    assert images.seconds == pytest.approx(4.5 / 250)


@pytest.mark.parametrize(
    ("seconds", "cpu", "expected"),
    [(48.0, 36.0, 36.0 * 48 / 45), (10.2, 5.0, 5.0 * 10.2 / 10), (0.3, 0.1, 0.3), (2.0, "NA", 2.0)],
    ids=["3 s after the last look", "0.2 s after it", "too short for one", "not looked at"],
)
def test_what_comes_after_the_last_look_at_a_job_counts(
    tmp_path, monkeypatch, seconds, cpu, expected
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    (tmp_path / "job.tsv").write_text(f"s\tcpu_time\n{seconds}\t{cpu}\n")
    found = importlib.import_module("scaling").core_seconds(tmp_path / "job.tsv")
    assert found == pytest.approx(expected)
