"""Chosen frames of a recording for other programs: Gaussians, coloured points, the cameras."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from pose_splatter.dataset import Recording
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, save_json
from pose_splatter.frames import frame_indices
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import PoseSplatter
from pose_splatter.progress import track
from pose_splatter.rendering import decode_frame
from pose_splatter.splats import (
    FRAMES,
    GAUSSIANS,
    POINTS,
    Splats,
    ply_name,
    write_points,
    write_splats,
)
from pose_splatter.video import spread

MIN_OPACITY = 1 / 255  # rasterizers draw nothing fainter: leaving it out changes no picture
POINT_OPACITY = 0.1  # fainter Gaussians are a haze around the animal, not points of it

logger = logging.getLogger(__name__)


def choose_frames(
    frames: str | Sequence[int], count: int, source_frames: Int[ndarray, " frame"], test: range
) -> list[int]:
    """The frames to export, as indices into the store, in order of time.

    `frames` is "auto", for at most `count` of the `test` frames, evenly spaced, or a list of
    numbers in the video. Raises PoseSplatterError where the recording has none of these.
    """
    if isinstance(frames, str):
        return spread(test, count)
    return frame_indices(source_frames, frames, "config: export: frames")


def to_splats(gaussians: Gaussians) -> Splats:
    """The Gaussians that are visible, as arrays."""
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in vars(gaussians).items()}
    return Splats(**arrays).at_least(MIN_OPACITY)


@torch.no_grad()
def write_export(
    path: str | Path,
    model: PoseSplatter,
    recording: Recording,
    frames: Sequence[int],
    fps: float,
    device: str,
) -> None:
    """Write a folder with gaussians/ and points/, a .ply per frame in the world, and frames.json.

    `frames` are indices into the store; those without the animal are left out. `fps` is the
    videos' frame rate.
    """
    visible = recording.track.visible
    numbers = {frame: int(recording.store.source_frames[frame]) for frame in frames}
    present = {frame: number for frame, number in numbers.items() if visible[frame]}
    if absent := [number for frame, number in numbers.items() if frame not in present]:
        logger.info("the animal is absent in video frames %s, which are left out", absent)
    if not present:
        raise PoseSplatterError(
            f"recording {recording.name}: the animal is absent in every frame to be exported; "
            "name others in config, under export: frames."
        )
    with atomic_path(path) as folder:
        for frame, number in track(present.items(), "exporting", len(present)):
            _, gaussians = decode_frame(model, recording, frame, device)
            splats = to_splats(gaussians)
            write_splats(folder / GAUSSIANS / ply_name(number), splats)
            solid = splats.at_least(POINT_OPACITY)
            colors = (solid.colors * 255).round().astype(np.uint8)
            write_points(folder / POINTS / ply_name(number), solid.means, colors)
        save_json(folder / FRAMES, describe(recording, list(present.values()), fps))


def describe(recording: Recording, numbers: Sequence[int], fps: float) -> dict[str, Any]:
    """The content of frames.json: which frames there are, and the cameras they were seen by."""
    rig = recording.rig
    return {
        "recording": recording.name,
        "fps": fps,
        "frames": list(numbers),
        "cameras": [
            {
                "name": name,
                "role": "heldout" if camera in recording.heldout else "observed",
                "width": rig.width,
                "height": rig.height,
                "K": rig.intrinsics[camera].tolist(),
                "viewmat": rig.viewmats[camera].tolist(),
            }
            for camera, name in enumerate(rig.names)
        ],
    }
