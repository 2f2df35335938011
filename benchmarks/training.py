"""Training on the demo against the original's recipe: time to its quality, and quality in its time.

    python benchmarks/training.py [--minutes 20] [--long]

The plain way (benchmarks/plain/recipe.py) trains for so many minutes. Ours, the demo's `baseline`
with the settings of short trainings (SHORT), is trained for 1, 2, 4, ... epochs until it is as good
in held-out IoU and in PSNR on the animal's box; then `baseline` as it is, once, for as many epochs
as the demo's configuration says, or fewer where these would take longer than the plain way, or for
as many as its time has room for (--long). Quality is that of every fifth test frame.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from demo import configuration, demo_recording, demo_split, demo_views, quality
from plain.recipe import render_plain, train_plain
from rows import Row, table

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import Augmentation, Recording
from pose_splatter.evaluation import summarise
from pose_splatter.hull import evaluate_hull
from pose_splatter.losses import LossWeights
from pose_splatter.model import NetworkConfig
from pose_splatter.rendering import render_frame, to_rgba
from pose_splatter.training import TrainingConfig, train

THREADS = 2
# Better colours than baseline's after one epoch, no better after seven (docs/performance.md).
SHORT = {"training": {"learning_rate": 3e-3, "warmup": 15}}
REHEARSED = 2.5  # times as long as an epoch that rehearses nothing: twice, and some room
Quality = dict[str, dict[str, float]]


def train_ours(
    recording: Recording, epochs: int, changes: dict[str, dict[str, float]]
) -> tuple[Path, float]:
    """The checkpoint of the demo's baseline after so many epochs, and the seconds it took."""
    config = configuration()
    baseline: dict[str, Any] = config["experiments"]["baseline"]
    settings = baseline | {name: baseline[name] | change for name, change in changes.items()}
    folder = Path(tempfile.mkdtemp())
    start = time.monotonic()
    train(
        [recording],
        config["presets"]["default"]["split"],
        NetworkConfig.of(settings["network"]),
        TrainingConfig(**(settings["training"] | {"epochs": epochs})),
        LossWeights(**settings["loss"]),
        Augmentation(**settings["augmentation"]),
        checkpoint=folder / "checkpoint.pt",
        log=folder / "training_log.csv",
        state=folder / "training_state.pt",
        fingerprint="",
        settings=settings,
        device="cpu",
        threads=THREADS,
    )
    return folder / "checkpoint.pt", time.monotonic() - start


def judge_ours(
    recording: Recording, frames: range, epochs: int, changes: dict[str, dict[str, float]]
) -> tuple[float, Quality]:
    """Seconds of so many epochs, and the quality after them, which is printed too."""
    checkpoint, seconds = train_ours(recording, epochs, changes)
    model = load_checkpoint(checkpoint).model("cpu")

    def render(frame: int):
        return to_rgba(render_frame(model, recording, frame, "cpu"))

    result = quality(recording, frames, render)
    describe(f"ours, {epochs} epochs, {seconds:.0f} s", result)
    return seconds, result


def measure(minutes: float = 20.0, long: bool = False) -> list[Row]:
    recording = demo_recording()
    split = demo_split(recording)
    frames = split.test[::5]
    torch.set_num_threads(THREADS)
    plain = train_plain(recording, split.train, 60 * minutes)
    theirs = quality(recording, frames, partial(render_plain, plain.model, recording))
    describe(f"plain, {plain.steps} steps, {plain.seconds:.0f} s", theirs)

    epochs, (seconds, ours) = 1, judge_ours(recording, frames, 1, SHORT)
    per_epoch = seconds
    while not as_good(ours, theirs) and seconds < plain.seconds:
        epochs *= 2
        seconds, ours = judge_ours(recording, frames, epochs, SHORT)
    fitting = fitting_epochs(plain.seconds, per_epoch)
    planned = configuration()["experiments"]["baseline"]["training"]["epochs"]
    final_epochs = fitting if long else min(planned, fitting)
    final_seconds, final = judge_ours(recording, frames, final_epochs, {})
    over_hull = final["heldout"]["iou"] - hull_iou(recording, frames)
    gain = {name: final["heldout"][name] - theirs["heldout"][name] for name in ("iou", "psnr_fg")}
    return [
        Row(
            step=f"training to the plain way's held-out IoU and box PSNR of {minutes:g} minutes",
            ours=seconds,
            plain=plain.seconds,
            unit="s",
            goal="10x",
            agreement=f"{'' if as_good(ours, theirs) else 'MISSED: '}"
            f"IoU {ours['heldout']['iou']:.3f} / {theirs['heldout']['iou']:.3f}, "
            f"box {ours['heldout']['psnr_fg']:.2f} / {theirs['heldout']['psnr_fg']:.2f} dB",
        ),
        Row(
            step="held-out IoU in no more wall time",
            ours=final["heldout"]["iou"],
            plain=theirs["heldout"]["iou"],
            unit="",
            goal="+0.08",
            agreement=f"{'' if final_seconds <= plain.seconds else 'TOOK LONGER: '}"
            f"{gain['iou']:+.3f}, {over_hull:+.3f} over the hull (goal +0.08); "
            f"{final_epochs} epochs, {final_seconds:.0f} / {plain.seconds:.0f} s",
            better="higher",
        ),
        Row(
            step="held-out PSNR on the box in no more wall time",
            ours=final["heldout"]["psnr_fg"],
            plain=theirs["heldout"]["psnr_fg"],
            unit="dB",
            goal="+2 dB",
            agreement=f"{gain['psnr_fg']:+.2f} dB",
            better="higher",
        ),
    ]


def fitting_epochs(seconds: float, per_epoch: float) -> int:
    """How many epochs fit into some time, if one without rehearsals takes `per_epoch`.

    All after the first rehearse, and take longer.
    """
    return 1 + max(int((seconds / per_epoch - 1) / REHEARSED), 0)


def as_good(ours: Quality, theirs: Quality) -> bool:
    return all(ours["heldout"][name] >= theirs["heldout"][name] for name in ("iou", "psnr_fg"))


def hull_iou(recording: Recording, frames: range) -> float:
    """The plain visual hull's silhouette IoU in the held-out cameras."""
    views = demo_views(recording)
    table = summarise(evaluate_hull(recording.store, recording.rig, recording.track, views, frames))
    return float(table.set_index("camera").loc["mean_heldout", "iou"])


def describe(name: str, result: Quality) -> None:
    parts = [
        f"{role} IoU {metrics['iou']:.3f}, box {metrics['psnr_fg']:.2f} dB"
        for role, metrics in result.items()
    ]
    print(f"{name}: {'; '.join(parts)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--long", action="store_true", help="train ours as long as the plain way")
    options = parser.parse_args()
    print(table(measure(options.minutes, options.long)))


if __name__ == "__main__":
    main()
