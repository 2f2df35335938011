"""What every stage costs per frame, from the benchmark files of your own results, and what that
makes of a large study.

    python benchmarks/scaling.py [results] [--cores 16]

A frame is one moment in all cameras. Costs are core-seconds (CPU time) of all jobs of a stage over
all frames of the recordings that it was run on, start of Python included; bytes are those of its
outputs that are kept. What is made of the test part alone counts over all frames, too. Training
counts by steps, in seconds of the machine that it ran on. All other stages look at some frames or
at tables: they take about as long whatever a recording's length, and count by recording. Jobs that
are not divided into parts run one after the other at worst: the last column, in which `chunks`
changes nothing. Studies are counted without what is only made when it is asked for, and, where it
was measured, with it. Prints Markdown.
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
BY_CAMERA = {"mask_video", "background"}  # a job for each
# Made only when asked for: masks of the videos alone, pose and appearance as numbers.
MASKS = {"masks_part", "mask_video", "background", "floor"}
EMBEDDING = {"features_part", "features", "transforms", "embedding", "embedding_h5"}
OPTIONAL = MASKS | EMBEDDING | {"embedding_map", "embedding_page"}
# Recordings, and frames of each.
STUDIES = {
    "a 10-hour recording at 100 frames/s": (1, 10 * 3600 * 100),
    "1,000 recordings of 10 minutes at 30 frames/s": (1000, 600 * 30),
}


@dataclass(frozen=True)
class Cost:
    """What a stage takes: jobs that were measured, and core-seconds and bytes.

    They are those of a frame, or of a recording whatever its length. `whole` where a recording is
    one job.
    """

    stage: str
    jobs: int
    seconds: float
    bytes: float = 0.0
    whole: bool = True


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


def run_of(stage: str, job: Path) -> tuple[str, ...]:
    """What a job is one of: its name, by its wildcards, without its part or its camera."""
    names = [name for name in job.stem.split(".") if "-of-" not in name]
    return tuple(names[:1] if stage in BY_CAMERA else names)


def by_frame(results: Path, counts: dict[str, int]) -> list[Cost]:
    """Every stage that counts by frame: means over recordings, presets and experiments."""
    costs = []
    for stage, outputs in STAGES.items():
        if jobs := list(results.glob(f"benchmarks/{stage}/*.tsv")):
            runs = {run_of(stage, job) for job in jobs}
            frames = sum(counts[name] for run in runs for name in run if name in counts)
            kept = sum(size_of(path) for pattern in outputs for path in results.glob(pattern))
            seconds = sum(map(core_seconds, jobs))
            cost = Cost(stage, len(jobs), seconds / frames, kept / frames, len(runs) == len(jobs))
            costs.append(cost)
    return costs


def by_recording(results: Path) -> list[Cost]:
    """Every stage that counts by recording, or by experiment."""
    costs = []
    for folder in sorted(results.glob("benchmarks/*")):
        if folder.name not in STAGES and folder.name != BY_STEPS:
            jobs = list(folder.glob("*.tsv"))
            runs = {run_of(folder.name, job) for job in jobs}
            costs.append(Cost(folder.name, len(jobs), sum(map(core_seconds, jobs)) / len(runs)))
    return costs


def training_step(results: Path) -> tuple[float, int]:
    """Seconds of a training step, its share of validation included; steps measured."""
    logs = [pd.read_csv(path) for path in results.glob("experiments/*/training_log.csv")]
    steps = sum(int(log["steps"].iloc[-1]) for log in logs)
    return sum(float(log["seconds"].sum()) for log in logs) / max(steps, 1), steps


def study(
    frames: list[Cost], others: list[Cost], name: str, recordings: int, length: int, cores: int
) -> str:
    """A row: what a number of recordings of so many frames each comes to."""
    a_frame, kept = sum(c.seconds for c in frames), sum(c.bytes for c in frames)
    seconds = recordings * (length * a_frame + sum(c.seconds for c in others))
    one_piece = length * sum(c.seconds for c in frames if c.whole)
    return (
        f"| {name} | {recordings * length:,} | {seconds / 3600:.0f} "
        f"| {recordings * length * kept / 1e12:.2f} | {seconds / (DAY * cores):.2f} "
        f"| {one_piece / 3600:.1f} |"
    )


def necessary(costs: list[Cost]) -> list[Cost]:
    return [cost for cost in costs if cost.stage not in OPTIONAL]


def markdown(
    frames: list[Cost], others: list[Cost], step: tuple[float, int], cores: int
) -> list[str]:
    """The tables' lines: costs by frame, by recording, and of the studies."""

    def in_all(name: str, costs: list[Cost]) -> str:
        seconds, kept = sum(c.seconds for c in costs), sum(c.bytes for c in costs)
        return f"| {name} | | {1000 * seconds:.2f} | {kept / 1000:.2f} |"

    extras = {cost.stage for cost in (*frames, *others)} & OPTIONAL
    with_extras = " and ".join(
        name
        for name, stages in (("masks made", MASKS), ("an embedding", EMBEDDING))
        if extras & stages
    )
    lines = [
        "| stage | jobs measured | core-milliseconds a frame | kB kept a frame |",
        "|---|---|---|---|",
        *(
            f"| {c.stage} | {c.jobs} | {1000 * c.seconds:.2f} | {c.bytes / 1000:.2f} |"
            for c in frames
        ),
        in_all("all", necessary(frames)),
        *([in_all(f"all, {with_extras}", frames)] if extras else []),
        "",
        "| stage, of whatever length | jobs measured | core-seconds a recording |",
        "|---|---|---|",
        *(f"| {c.stage} | {c.jobs} | {c.seconds:.1f} |" for c in others),
        "",
        f"A training step takes {step[0]:.2f} s ({step[1]} steps measured).",
        "",
        f"| study | frames | core-hours | terabytes | machines of {cores} cores to end in a day "
        "| hours of a recording's undivided jobs |",
        "|---|---|---|---|---|---|",
    ]
    for name, (recordings, length) in STUDIES.items():
        size = (recordings, length, cores)
        lines.append(study(necessary(frames), necessary(others), name, *size))
        if extras:
            lines.append(study(frames, others, f"the same, {with_extras}", *size))
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
