"""The demo as benchmarks use it: preprocessed by the workflow, with its configuration."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from numpy import ndarray

from pose_splatter.config import resolve
from pose_splatter.dataset import Recording, load_recording
from pose_splatter.evaluation import METRICS, Views, evaluate_renders, summarise
from pose_splatter.frames import FrameSplit, split_frames

ROOT = Path(__file__).parents[1]
PRESET = "results/recordings/demo/default"
FILES = (
    f"{PRESET}/images.zarr",
    f"{PRESET}/center_rotation.npz",
    f"{PRESET}/crop.json",
    "results/recordings/demo/cameras.h5",
    "results/recordings/demo/vertical_lines.npz",
)


def configuration() -> dict[str, Any]:
    """config/config.yaml, checked and complete."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return resolve(config, ROOT / "config/schemas")


def demo_recording() -> Recording:
    """The demo's files in results/, made by Snakemake where they are stale or not there."""
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--", *FILES]
    subprocess.run(command, cwd=ROOT, check=True)
    heldout = configuration()["recordings"]["demo"]["heldout_cameras"]
    return load_recording("demo", heldout, *(ROOT / name for name in FILES))


def demo_split(recording: Recording) -> FrameSplit:
    """The demo's training, validation and test frames."""
    return split_frames(len(recording.track), configuration()["presets"]["default"]["split"])


def demo_views(recording: Recording) -> Views:
    """The names of a recording's cameras, and which are held out."""
    names = recording.rig.names
    return Views(names, tuple(names[camera] for camera in recording.heldout))


def quality(
    recording: Recording, frames: range, render: Callable[[int], ndarray]
) -> dict[str, dict[str, float]]:
    """Means of all metrics over `frames`, for observed and held-out cameras.

    `render(frame)` gives uint8 (camera h w 4) for all cameras of the recording.
    """
    renders = ((frame, render(frame)) for frame in frames)
    visible, views = recording.track.visible, demo_views(recording)
    table = summarise(evaluate_renders(renders, recording.store, visible, views))
    means = table.set_index("camera")[list(METRICS)]
    return {role: means.loc[f"mean_{role}"].to_dict() for role in ("observed", "heldout")}
