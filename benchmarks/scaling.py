"""What every stage costs per frame, from the benchmark files of your own results, and what that
makes of a large study.

    python benchmarks/scaling.py [results] [--cores 16]

A frame is one moment in all cameras. Costs are core-seconds (CPU time) of all jobs of a stage over
all frames of the recordings that it was run on, start of Python included; bytes are those of its
outputs that are kept. What is made of the test part alone counts over all frames, too. Training
counts by steps, in seconds of the machine that it ran on. All other stages look at some frames or
at tables: they take about as long whatever a recording's length, count by job, and once a
recording in a study. Jobs that are not divided into parts run one after the other at worst: the
last column, in which `chunks` changes nothing. Prints Markdown.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

DAY = 86_400.0
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
    "camera_videos": ["experiments/*/*/visualization/cameras"],
    "features_part": [],
    "features": ["experiments/*/*/embedding/features.zarr"],
    "embedding": ["experiments/*/*/embedding/*.npy", "experiments/*/*/embedding/*.csv"],
    "embedding_h5": ["experiments/*/*/embedding/*.h5"],
}
BY_STEPS = "train"
BY_CAMERA = "mask_video"  # a job for each
# Recordings, and frames of each.
STUDIES = {
    "a 10-hour recording at 100 frames/s": (1, 10 * 3600 * 100),
    "1,000 recordings of 10 minutes at 30 frames/s": (1000, 600 * 30),
}


@dataclass(frozen=True)
class Cost:
    """What a stage takes: jobs that were measured, and per frame core-seconds and bytes.

    `whole` where a recording is one job, whatever its length.
    """

    stage: str
    jobs: int
    seconds: float
    bytes: float
    whole: bool


def frame_counts(results: Path) -> dict[str, int]:
    """The frames of every recording."""
    counts = {}
    for path in results.glob("recordings/*/videos.json"):
        video = json.loads(path.read_text())
        counts[path.parent.name] = len(range(video["start"], video["stop"], video["step"]))
    return counts


def core_seconds(path: Path) -> float:
    """The CPU time of a job, or its wall time where it was too short to be sampled."""
    row = pd.read_csv(path, sep="\t").iloc[-1]
    cpu = pd.to_numeric(row["cpu_time"], errors="coerce")
    return float(cpu) if cpu > 0 else float(row["s"])


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def cost(results: Path, stage: str, counts: dict[str, int]) -> Cost | None:
    """The mean over the recordings (and presets or experiments) that a stage was run on."""
    jobs = sorted(results.glob(f"benchmarks/{stage}/*.tsv"))
    if not jobs:
        return None
    # Jobs are named by their wildcards; parts of one recording, and its cameras, are one run over
    # its frames.
    names = [job.stem.split(".")[:1] if stage == BY_CAMERA else job.stem.split(".") for job in jobs]
    runs = {tuple(part for part in name if "-of-" not in part) for name in names}
    frames = sum(counts[name] for run in runs for name in run if name in counts)
    written = sum(size_of(path) for pattern in STAGES[stage] for path in results.glob(pattern))
    whole = stage != BY_CAMERA and not any("-of-" in part for name in names for part in name)
    return Cost(stage, len(jobs), sum(map(core_seconds, jobs)) / frames, written / frames, whole)


def per_job(results: Path) -> list[tuple[str, int, float]]:
    """Every stage that counts by job: its name, its jobs, and core-seconds of one."""
    stages = sorted({path.parent.name for path in results.glob("benchmarks/*/*.tsv")})
    return [
        (stage, len(jobs), sum(map(core_seconds, jobs)) / len(jobs))
        for stage in stages
        if stage not in STAGES and stage != BY_STEPS
        for jobs in [list(results.glob(f"benchmarks/{stage}/*.tsv"))]
    ]


def training_step(results: Path) -> tuple[float, int]:
    """Seconds of a training step, its share of validation included; steps measured."""
    logs = [pd.read_csv(path) for path in results.glob("experiments/*/training_log.csv")]
    steps = sum(int(log["steps"].iloc[-1]) for log in logs)
    return sum(float(log["seconds"].sum()) for log in logs) / max(steps, 1), steps


def markdown(
    costs: list[Cost], others: list[tuple[str, int, float]], step: tuple[float, int], cores: int
) -> str:
    rows = [
        f"| {c.stage} | {c.jobs} | {1000 * c.seconds:.2f} | {c.bytes / 1000:.2f} |" for c in costs
    ]
    total, written = sum(c.seconds for c in costs), sum(c.bytes for c in costs)
    lines = [
        "| stage | jobs measured | core-milliseconds a frame | kB kept a frame |",
        "|---|---|---|---|",
        *rows,
        f"| all | | {1000 * total:.2f} | {written / 1000:.2f} |",
        "",
        "| stage, of whatever length | jobs measured | core-seconds a job |",
        "|---|---|---|",
        *(f"| {stage} | {jobs} | {seconds:.1f} |" for stage, jobs, seconds in others),
        "",
        f"A training step takes {step[0]:.2f} s ({step[1]} steps measured).",
        "",
        f"| study | frames | core-hours | terabytes | machines of {cores} cores to end in a day "
        "| hours of a recording's undivided jobs |",
        "|---|---|---|---|---|---|",
    ]
    each = sum(seconds for *_, seconds in others)
    one_piece = sum(c.seconds for c in costs if c.whole)
    for name, (recordings, length) in STUDIES.items():
        frames = recordings * length
        seconds = frames * total + recordings * each
        lines.append(
            f"| {name} | {frames:,} | {seconds / 3600:.0f} | {frames * written / 1e12:.2f} "
            f"| {seconds / (DAY * cores):.2f} | {length * one_piece / 3600:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--cores", type=int, default=16)
    options = parser.parse_args()
    counts = frame_counts(options.results)
    costs = [c for stage in STAGES if (c := cost(options.results, stage, counts))]
    if not costs:
        raise SystemExit(f"{options.results}: no benchmark files there; run snakemake first.")
    step = training_step(options.results)
    print(markdown(costs, per_job(options.results), step, options.cores))


if __name__ == "__main__":
    main()
