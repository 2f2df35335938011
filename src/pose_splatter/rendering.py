"""Renders of many frames in one file: rendered_images.h5."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import (
    Recording,
    RecordingFiles,
    Volume,
    camera_tensors,
    carve_frame,
    load_recordings,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import create_h5
from pose_splatter.frames import create_array
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import PoseSplatter, Rendering, render
from pose_splatter.progress import track
from pose_splatter.training import choose_device, use_threads


def apply_model(
    checkpoint: str | Path,
    heldout_cameras: Mapping[str, Sequence[str]],
    files: RecordingFiles,
    device: str,
    threads: int,
) -> tuple[PoseSplatter, Recording, str]:
    """A model, the one recording that it is applied to, and the device that it is on."""
    (recording,) = load_recordings(heldout_cameras, files)
    device = choose_device(device)
    use_threads(threads)
    return load_checkpoint(checkpoint).model(device), recording, device


@torch.no_grad()
def decode_frame(
    model: PoseSplatter, recording: Recording, frame: int, device: str
) -> tuple[Volume, Gaussians]:
    """One frame carved from the observed cameras, and its Gaussians in the world, one a voxel."""
    if not recording.track.visible[frame]:
        raise PoseSplatterError(
            f"recording {recording.name}: the animal is not in video frame "
            f"{recording.store.source_frames[frame]}; choose another."
        )
    volume = carve_frame(recording, frame, recording.observed).to(device)
    return volume, model(volume)


@torch.no_grad()
def render_frame(model: PoseSplatter, recording: Recording, frame: int, device: str) -> Rendering:
    """Render one frame, carved from the observed cameras, into all cameras of the rig."""
    _, gaussians = decode_frame(model, recording, frame, device)
    rig = recording.rig
    return render(gaussians, *camera_tensors(rig, device), rig.width, rig.height)


def render_rgba(
    model: PoseSplatter, recording: Recording, frame: int, device: str
) -> UInt8[ndarray, "camera h w 4"]:
    """The same as rendered_images.h5 holds it: a frame without the animal is white and clear."""
    if recording.track.visible[frame]:
        return to_rgba(render_frame(model, recording, frame, device))
    rig = recording.rig
    return np.tile(np.array([255, 255, 255, 0], np.uint8), (len(rig), rig.height, rig.width, 1))


def write_renders(
    path: str | Path,
    model: PoseSplatter,
    recording: Recording,
    frames: Sequence[int],
    device: str,
) -> None:
    """Write /images uint8 (frame camera h w 4) and /frame_index, positions in images.h5.

    The colours lie over white; the fourth channel is the alpha. Frames without the animal are
    empty: white and transparent.
    """
    rig = recording.rig
    shape = (len(frames), len(rig), rig.height, rig.width, 4)
    with create_h5(path) as file:
        file.attrs.update(recording=recording.name, cameras=list(rig.names))
        file["frame_index"] = np.asarray(frames, np.int64)
        images = create_array(file, "images", shape)
        for index, frame in enumerate(track(frames, "rendering", len(frames))):
            images[index] = render_rgba(model, recording, frame, device)


def to_rgba(rendering: Rendering) -> UInt8[ndarray, "camera h w 4"]:
    """Pictures over white with their alpha, as rendered_images.h5 holds them."""
    rgba = torch.cat([rendering.images, rendering.alphas[..., None]], dim=-1)
    return (rgba.clamp(0, 1) * 255).round().byte().cpu().numpy()
