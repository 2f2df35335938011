"""The demo as benchmarks use it: preprocessed by the workflow, with its configuration."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pose_splatter.config import resolve
from pose_splatter.dataset import Recording, load_recording
from pose_splatter.evaluation import image_metrics
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


def quality(recording: Recording, frames, render) -> dict[str, dict[str, float]]:
    """Means of all metrics over `frames`, for observed and held-out cameras.

    `render(frame)` gives uint8 (camera h w 4) for all cameras of the recording.
    """
    rows: dict[str, list[dict[str, float]]] = {"observed": [], "heldout": []}
    for frame in frames:
        rgba = render(frame)
        images, masks = recording.store.read_images(frame), recording.store.read_masks(frame)
        for camera in range(len(images)):
            role = "heldout" if camera in recording.heldout else "observed"
            rows[role].append(image_metrics(rgba[camera], images[camera], masks[camera]))
    return {
        role: {name: float(np.mean([row[name] for row in metrics])) for name in metrics[0]}
        for role, metrics in rows.items()
    }
