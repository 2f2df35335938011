"""Which frames to show, and many of them at a glance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from jaxtyping import UInt8
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy import ndarray

from pose_splatter.dataset import Recording
from pose_splatter.evaluation import frame_scores
from pose_splatter.files import atomic_path
from pose_splatter.frames import FrameSplit, FrameStore, frame_indices
from pose_splatter.model import PoseSplatter
from pose_splatter.plots import (
    frame_label,
    mark_camera,
    plot_truth_against_prediction,
    save_figure,
    square_box,
)
from pose_splatter.progress import track
from pose_splatter.rendering import render_rgba
from pose_splatter.video import spread

EVENLY_SPACED = 5
GRID_ROWS = 10  # at most: a picture of more is neither looked at nor, in the end, drawn


@dataclass(frozen=True)
class Shot:
    """One moment in all cameras: its number in the videos, what was recorded and what rendered."""

    source_frame: int
    title: str
    images: UInt8[ndarray, "camera h w 3"]
    masks: UInt8[ndarray, "camera h w"]
    renders: UInt8[ndarray, "camera h w 4"]


def take_shots(
    model: PoseSplatter,
    recording: Recording,
    frames: Mapping[int, str],
    split: FrameSplit,
    device: str,
) -> list[Shot]:
    """Render the frames, given by index with a note on each; one without the animal is empty."""
    store, shots = recording.store, []
    for frame, note in track(frames.items(), "rendering", len(frames)):
        masks = store.read_masks(frame)
        number = int(store.source_frames[frame])
        notes = [frame_label(number), _part_of(frame, split), *([note] if note else [])]
        shots.append(
            Shot(
                source_frame=number,
                title=", ".join(notes),
                images=store.read_images(frame),
                masks=masks,
                renders=render_rgba(model, recording, frame, device),
            )
        )
    return shots


def _part_of(frame: int, split: FrameSplit) -> str:
    """What a frame served for."""
    parts = {"training": split.train, "validation": split.valid, "test": split.test}
    return next(f"{name} part" for name, frames in parts.items() if frame in frames)


def choose_frames(
    wanted: Sequence[int] | Literal["auto"], metrics: pd.DataFrame, store: FrameStore
) -> dict[int, str]:
    """The frames to show, by their index into the store, and what is special about each.

    `wanted` are numbers of the videos' frames; auto takes test frames, evenly spaced, and the one
    with the least mean IoU, over the held-out cameras where there are any. `metrics` is
    metrics_test_frames.csv.
    """
    if wanted != "auto":
        where = "config: visualization: frames"
        return dict.fromkeys(frame_indices(store.source_frames, wanted, where), "")
    scores = frame_scores(metrics)
    spaced = spread(scores.index.tolist(), EVENLY_SPACED)
    chosen = dict.fromkeys(spaced, "") | {scores.idxmin(): "the worst one"}
    return {int(frame): chosen[frame] for frame in sorted(chosen)}


def write_shots(
    folder: str | Path,
    shots: Sequence[Shot],
    cameras: Sequence[str],
    heldout: Sequence[str],
    title: str,
    dpi: int,
) -> None:
    """Write frame_{number}.png for every shot: truth, prediction, alpha and error."""
    with atomic_path(folder) as temporary:
        for shot in track(shots, "drawing", len(shots)):
            figure = plot_truth_against_prediction(
                shot.images,
                shot.masks,
                shot.renders,
                cameras,
                heldout,
                title=f"{title}, {shot.title}",
            )
            save_figure(temporary / f"frame_{shot.source_frame:06d}.png", figure, dpi)


def plot_shots(
    shots: Sequence[Shot], cameras: Sequence[str], heldout: Sequence[str], title: str
) -> Figure:
    """Shots (rows) in every camera (columns), truth above prediction, cut to the animal.

    `cameras` are the cameras' names, `heldout` those that the model never saw. Of more than
    GRID_ROWS shots so many are shown, evenly chosen, which the title says.
    """
    if len(shots) > GRID_ROWS:
        title += f": {GRID_ROWS} of {len(shots)} chosen frames, evenly spread"
        shots = spread(shots, GRID_ROWS)
    figure = plt.figure(figsize=(1.6 * len(cameras) + 0.6, 3.3 * len(shots) + 0.8))
    parts = figure.subfigures(len(shots), 1, squeeze=False)[:, 0]
    figure.set_layout_engine("constrained")
    rows = zip(parts, track(shots, "drawing a grid", len(shots)), strict=True)
    for row, (part, shot) in enumerate(rows):
        part.suptitle(shot.title, fontsize=10)
        axes = part.subplots(2, len(cameras), squeeze=False)
        for camera, name in enumerate(cameras):
            box = square_box(shot.masks[camera])
            for axis, picture in zip(axes[:, camera], (shot.images, shot.renders), strict=True):
                axis.imshow(picture[camera][box][..., :3])
            mark_camera(axes[:, camera], name, name in heldout)
            if row > 0:  # named once, above all of them
                axes[0, camera].set_title("")
        axes[0, 0].set_ylabel("truth")
        axes[1, 0].set_ylabel("prediction")
    figure.suptitle(title)
    return figure
