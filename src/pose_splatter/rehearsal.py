"""Training on the model's own animal, which can be seen from everywhere.

No observed camera shows what a hull is too fat by on the sides that none of them sees. But what a
model makes of a frame is an animal too, if not quite the right one: the observed cameras, carried
around it, carve a hull of it, and from yet other sides they show what that should become.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import heading_rotation
from pose_splatter.dataset import (
    Augmentation,
    FrameBatch,
    Recording,
    camera_tensors,
    carve_frame,
    carve_views,
    mirrored,
)
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import PoseSplatter, Rendering, render

SOLID = 0.5  # the opacity from which on a pixel belongs to the animal


class Rehearsal:
    """Makes batches of a model as it is now, which later training does not change.

    They are varied as `augmentation` says, but for cameras, none of which is left out. Randomness
    depends on seed, epoch, recording and frame alone.
    """

    def __init__(
        self,
        model: PoseSplatter,
        recordings: Sequence[Recording],
        augmentation: Augmentation,
        seed: int,
        epoch: int,
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        self.recordings = {recording.name: recording for recording in recordings}
        self.augmentation = augmentation
        self.seed, self.epoch = seed, epoch

    def __call__(self, batch: FrameBatch) -> FrameBatch:
        """The model's animal of the batch's frame, its silhouettes from sides at random.

        Where one of the cameras that are to carve sees nothing of it, it is the batch itself.
        """
        recording, frame = self.recordings[batch.recording], batch.frame
        number = list(self.recordings).index(batch.recording)
        random = np.random.default_rng((self.seed, self.epoch, frame, number))
        center, angle = recording.track.centers[frame], float(recording.track.angles[frame])
        rig = recording.rig.subset(list(recording.observed))
        gaussians = self._animal(recording, frame)
        carving = carried(rig, center, np.full(len(rig), random.uniform(0, 360)))
        others = carried(rig, center, random.uniform(0, 360, len(rig)))
        images, masks = _pictures(_render(gaussians, carving))
        if not masks.any(axis=(1, 2)).all():
            return batch
        turn, shift = self.augmentation.pose(random, recording.crop.grid.voxel_size)
        volume = carve_views(images, masks, carving, recording.crop, center + shift, angle + turn)
        if not len(volume.indices):
            return batch
        seen = _render(gaussians, others)
        viewmats, Ks = camera_tensors(others)
        rehearsed = FrameBatch(
            volume=volume,
            images=seen.images,
            masks=(seen.alphas >= SOLID).float(),
            viewmats=viewmats,
            Ks=Ks,
            recording=batch.recording,
            frame=frame,
            source_frame=batch.source_frame,
        )
        return mirrored(rehearsed) if random.random() < self.augmentation.mirror else rehearsed

    @torch.no_grad()
    def _animal(self, recording: Recording, frame: int) -> Gaussians:
        device = next(self.model.parameters()).device
        return self.model(carve_frame(recording, frame, recording.observed).to(device))


def carried(
    rig: CameraRig, center: Float[ndarray, "3"], yaws: Float[ndarray, " camera"]
) -> CameraRig:
    """Each camera of the rig carried around `center` by its own yaw (degrees about +z)."""
    turns = np.stack([heading_rotation(np.radians(yaw)) for yaw in yaws])
    rotations = rig.rotations @ turns.swapaxes(1, 2)
    # Where the centre lies in a camera's frame stays as it was.
    seen = rig.rotations @ center + rig.translations
    return replace(rig, rotations=rotations, translations=seen - rotations @ center)


@torch.no_grad()
def _render(gaussians: Gaussians, rig: CameraRig) -> Rendering:
    """Pictures in the memory of the processor, where frames are carved."""
    cameras = camera_tensors(rig, gaussians.means.device)
    rendering = render(gaussians, *cameras, rig.width, rig.height)
    return Rendering(images=rendering.images.cpu(), alphas=rendering.alphas.cpu())


def _pictures(
    rendering: Rendering,
) -> tuple[UInt8[ndarray, "camera h w 3"], UInt8[ndarray, "camera h w"]]:
    """Images and masks in bytes, as a store holds them."""
    masks = rendering.alphas >= SOLID
    return (255 * rendering.images.clamp(0, 1)).round().byte().numpy(), masks.byte().numpy()
