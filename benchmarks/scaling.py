"""What every stage costs per frame, from the benchmark files of your own results, and what that
makes of a large study.

    python benchmarks/scaling.py [results] [--cores 16]

A frame is one moment in all cameras. Costs are core-seconds (CPU time); bytes are those of outputs
that are kept. Where recordings were run of which one is twice as long as another, the start of a
stage's jobs is told from what their frames cost (least squares, neither below 0); else it is in
what a frame costs, which is too high then. What is made of the test part alone counts over all
frames. Training counts by steps, in seconds of the machine that it ran on, and is in no study. All
other stages look at some frames or at tables: they take about as long whatever a recording's
length, and count by recording.

In the studies, parts are of CHUNK frames. Jobs that are not divided into parts run one after the
other at worst: the last column, in which `chunks` changes nothing. Studies are counted without what
is only made when it is asked for, and, where it was measured, with it. Prints Markdown.
"""

import argparse
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

DAY = 86_400.0
CHUNK = 20_000
PART = re.compile(r"\.\d+-of-\d+$")
# Stages by frame, with the outputs that stay; training is by steps and has a line of its own.
STAGES = {
    "cameras": [
        "recordings/*/cameras.h5",
        "recordings/*/videos.json",
        "recordings/*/video_index.npz",
    ],
    "masks_part": [],
    "mask_video": ["recordings/*/masks/*.mkv", "recordings/*/masks/*.index.npz"],
    "images_part": [],
    "images": ["recordings/*/*/images.h5"],
    "images_zarr": ["recordings/*/*/images.zarr"],
    "hull_moments": [],
    "center_rotation": ["recordings/*/*/center_rotation.npz"],
    "hull_sum": [],
    "hull_metrics_part": [],
    "hull_metrics_test": ["recordings/*/*/hull_metrics_test.csv"],
    "render_part": [],
    "render": ["experiments/*/*/rendered_images.h5"],
    "metrics_part": [],
    "metrics_test": ["experiments/*/*/metrics_test*.csv"],
    "analysis": ["experiments/*/*/analysis"],
    "camera_videos": ["experiments/*/*/visualization/cameras"],
    "features_part": [],
    "features": ["experiments/*/*/embedding/features.zarr"],
    "transforms": ["experiments/*/embedding/transforms.npz"],
    "embedding": ["experiments/*/*/embedding/*.npy", "experiments/*/*/embedding/*.csv"],
    "embedding_h5": ["experiments/*/*/embedding/*.h5"],
    "embedding_map": ["experiments/*/embedding/map.csv", "experiments/*/embedding/map.png"],
    "embedding_page": ["experiments/*/embedding/map.html"],
}
BY_STEPS = "train"
BY_CAMERA = {"mask_video", "background"}  # a job for each
# Whose jobs are named by an experiment, alone or before the recording.
OF_EXPERIMENT = {"transforms", "embedding_map", "embedding_page"}
APPLIED = {"render_part", "render", "metrics_part", "metrics_test", "analysis", "camera_videos"}
APPLIED |= {"features_part", "features", "embedding", "embedding_h5"}
# Made only when asked for: masks of the videos alone, pose and appearance as numbers.
MASKS = {"masks_part", "mask_video", "background", "floor"}
EMBEDDING = {"features_part", "features", "embedding", "embedding_h5"} | OF_EXPERIMENT
OPTIONAL = MASKS | EMBEDDING
# Recordings, and frames of each.
STUDIES = {
    "a 10-hour recording at 100 frames/s": (1, 10 * 3600 * 100),
    "1,000 recordings of 10 minutes at 30 frames/s": (1000, 600 * 30),
}


@dataclass(frozen=True)
class Run:
    """A stage's jobs on one recording (and preset or experiment), and how many frames it has."""

    jobs: int
    frames: int
    seconds: float
    parts: bool


@dataclass(frozen=True)
class Cost:
    """What a stage takes: core-seconds of a job's start and of a frame, bytes of a frame.

    `jobs` were measured. A recording is one job, unless it is cut into `parts` or has a job for
    each of `cameras`. `start` is None where it could not be told from the frames.
    """

    stage: str
    jobs: int
    start: float | None
    seconds: float
    bytes: float
    parts: bool
    cameras: int = 1

    def of(self, length: int) -> float:
        """Core-seconds of a recording of so many frames."""
        jobs = math.ceil(length / CHUNK) if self.parts else self.cameras
        return jobs * (self.start or 0) + length * self.seconds

    def undivided(self, length: int) -> float:
        """Core-seconds of the longest job that more parts do not shorten."""
        return 0.0 if self.parts else self.of(length) / self.cameras


def frame_counts(results: Path) -> dict[str, int]:
    """The frames of every recording."""
    counts = {}
    for path in results.glob("recordings/*/videos.json"):
        video = json.loads(path.read_text())
        counts[path.parent.name] = len(range(video["start"], video["stop"], video["step"]))
    return counts


def core_seconds(path: Path) -> float:
    """The CPU time of a job, or its wall time where it was too short to be looked at.

    Snakemake looks every half second at first, every half minute after 15 s, and not at the end:
    what came after the last look is taken to be like what came before.
    """
    row = pd.read_csv(path, sep="\t").iloc[-1]
    cpu, seconds = pd.to_numeric(row["cpu_time"], errors="coerce"), float(row["s"])
    looked = seconds // 0.5 * 0.5 if seconds < 15 else 15 + (seconds - 15) // 30 * 30
    return float(cpu) * seconds / looked if cpu > 0 and looked > 0 else seconds


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def frames_of(results: Path, stage: str, name: str, counts: dict[str, int]) -> int:
    """The frames that a run looked at, by its name: its wildcards, of which names may hold dots.

    0 where its recording is no longer there.
    """
    if stage in OF_EXPERIMENT:
        embedded = results.glob(f"experiments/{name}/*/embedding")
        return sum(counts.get(path.parent.name, 0) for path in embedded)
    for recording in sorted(counts, key=len, reverse=True):
        dotted = (
            name.endswith(f".{recording}")
            if stage in APPLIED
            else f"{name}.".startswith(f"{recording}.")
        )
        if dotted:
            return counts[recording]
    return 0


def runs_of(results: Path, stage: str) -> dict[str, list[Path]]:
    """The benchmark files of a stage's runs: parts, and a recording's cameras, are of one run."""
    runs: dict[str, list[Path]] = {}
    for path in sorted(results.glob(f"benchmarks/{stage}/*.tsv")):
        name = PART.sub("", path.stem)
        runs.setdefault(name.rpartition(".")[0] if stage in BY_CAMERA else name, []).append(path)
    return runs


def cost(results: Path, stage: str, counts: dict[str, int]) -> Cost | None:
    """A stage by its runs; None where there are none any more."""
    found = [
        Run(
            len(jobs),
            frames_of(results, stage, name, counts),
            sum(map(core_seconds, jobs)),
            any(PART.search(job.stem) for job in jobs),
        )
        for name, jobs in runs_of(results, stage).items()
    ]
    if not (runs := [run for run in found if run.frames]):
        return None
    frames, cameras = sum(run.frames for run in runs), runs[0].jobs if stage in BY_CAMERA else 1
    kept = sum(size_of(path) for pattern in STAGES[stage] for path in results.glob(pattern))
    start, seconds = fit(runs)
    parts = any(run.parts for run in runs)
    jobs = sum(run.jobs for run in runs)
    return Cost(stage, jobs, start, seconds, kept / frames, parts, cameras)


def fit(runs: Sequence[Run]) -> tuple[float | None, float]:
    """Seconds of a job's start, None where all jobs are about as long, and of a frame."""
    terms = np.array([[run.jobs, run.frames] for run in runs], float)
    seconds, lengths = np.array([run.seconds for run in runs]), terms[:, 1] / terms[:, 0]
    if lengths.max() < 2 * lengths.min():
        return None, seconds.sum() / terms[:, 1].sum()
    (start, frame), _ = nnls(terms, seconds)
    return float(start), float(frame)


def by_frame(results: Path, counts: dict[str, int]) -> list[Cost]:
    """Every stage that counts by frame."""
    return [c for stage in STAGES if (c := cost(results, stage, counts)) is not None]


def by_recording(results: Path) -> dict[str, tuple[int, float]]:
    """Every other stage: jobs that were measured, and core-seconds of a run."""
    costs = {}
    for stage in sorted(path.name for path in results.glob("benchmarks/*")):
        if stage not in STAGES and stage != BY_STEPS:
            runs = runs_of(results, stage).values()
            seconds = [sum(map(core_seconds, jobs)) for jobs in runs]
            costs[stage] = (sum(map(len, runs)), sum(seconds) / len(seconds))
    return costs


def training_step(results: Path) -> tuple[float, int]:
    """Seconds of a training step, its share of validation included; steps measured."""
    logs = [pd.read_csv(path) for path in results.glob("experiments/*/training_log.csv")]
    steps = sum(int(log["steps"].iloc[-1]) for log in logs)
    return sum(float(log["seconds"].sum()) for log in logs) / max(steps, 1), steps


def study(
    frames: list[Cost], others: float, name: str, recordings: int, length: int, cores: int
) -> str:
    """A row: what a number of recordings of so many frames each comes to."""
    seconds = recordings * (sum(c.of(length) for c in frames) + others)
    kept = recordings * length * sum(c.bytes for c in frames)
    undivided = sum(c.undivided(length) for c in frames) / 3600
    return (
        f"| {name} | {recordings * length:,} | {seconds / 3600:.0f} | {kept / 1e12:.2f} "
        f"| {seconds / (DAY * cores):.2f} | {undivided:.1f} |"
    )


def markdown(
    frames: list[Cost], others: dict[str, tuple[int, float]], step: tuple[float, int], cores: int
) -> list[str]:
    """The tables' lines: costs by frame, by recording, and of the studies."""

    def in_all(name: str, costs: list[Cost]) -> str:
        seconds, kept = sum(c.seconds for c in costs), sum(c.bytes for c in costs)
        return f"| {name} | | | {1000 * seconds:.2f} | {kept / 1000:.2f} |"

    needed = [c for c in frames if c.stage not in OPTIONAL]
    extras = {*(c.stage for c in frames), *others} & OPTIONAL
    names = (("masks made", MASKS), ("an embedding", EMBEDDING))
    with_extras = " and ".join(name for name, stages in names if extras & stages)
    lines = [
        "| stage | jobs measured | core-seconds a start | core-milliseconds a frame "
        "| kB kept a frame |",
        "|---|---|---|---|---|",
        *(
            f"| {c.stage} | {c.jobs} | {'' if c.start is None else f'{c.start:.2f}'} "
            f"| {1000 * c.seconds:.2f} | {c.bytes / 1000:.2f} |"
            for c in frames
        ),
        in_all("all", needed),
        *([in_all(f"all, {with_extras}", frames)] if extras else []),
        "",
        "| stage, of whatever length | jobs measured | core-seconds a recording |",
        "|---|---|---|",
        *(f"| {stage} | {jobs} | {seconds:.1f} |" for stage, (jobs, seconds) in others.items()),
        "",
        f"A training step takes {step[0]:.2f} s ({step[1]} steps measured).",
        "",
        f"| study | frames | core-hours | terabytes | machines of {cores} cores to end in a day "
        "| core-hours of a recording's undivided jobs |",
        "|---|---|---|---|---|---|",
    ]
    some = sum(seconds for stage, (_, seconds) in others.items() if stage not in OPTIONAL)
    every = sum(seconds for _, seconds in others.values())
    for name, (recordings, length) in STUDIES.items():
        size = (recordings, length, cores)
        lines.append(study(needed, some, name, *size))
        if extras:
            lines.append(study(frames, every, f"the same, {with_extras}", *size))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--cores", type=int, default=16)
    options = parser.parse_args()
    frames = by_frame(options.results, frame_counts(options.results))
    if not frames:
        raise SystemExit(f"{options.results}: no benchmark files there; run snakemake first.")
    step = training_step(options.results)
    print(*markdown(frames, by_recording(options.results), step, options.cores), sep="\n")


if __name__ == "__main__":
    main()
