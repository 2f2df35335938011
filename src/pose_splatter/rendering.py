"""Renders of many frames in one file: rendered_images.h5."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.files import atomic_path
from pose_splatter.frames import DEFLATE_LEVEL
from pose_splatter.model import PoseSplatter, Rendering, render
from pose_splatter.progress import track


@torch.no_grad()
def render_frame(model: PoseSplatter, recording: Recording, frame: int, device: str) -> Rendering:
    """Render one frame, carved from the observed cameras, into all cameras of the rig."""
    volume = carve_frame(recording, frame, recording.observed).to(device)
    rig = recording.rig
    viewmats = torch.from_numpy(rig.viewmats).float().to(device)
    Ks = torch.from_numpy(rig.intrinsics).float().to(device)
    return render(model(volume), viewmats, Ks, rig.width, rig.height)


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
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(recording=recording.name, cameras=list(rig.names))
        file["frame_index"] = np.asarray(frames, np.int64)
        images = file.create_dataset(
            "images",
            shape,
            np.uint8,
            chunks=(1, *shape[1:]),
            compression="gzip",
            compression_opts=DEFLATE_LEVEL,
        )
        for index, frame in enumerate(track(frames, "rendering", len(frames))):
            if recording.track.visible[frame]:
                images[index] = to_rgba(render_frame(model, recording, frame, device))
            else:
                images[index] = np.array([255, 255, 255, 0], np.uint8)


def to_rgba(rendering: Rendering) -> UInt8[ndarray, "camera h w 4"]:
    """Pictures over white with their alpha, as rendered_images.h5 holds them."""
    rgba = torch.cat([rendering.images, rendering.alphas[..., None]], dim=-1)
    return (rgba.clamp(0, 1) * 255).round().byte().cpu().numpy()
