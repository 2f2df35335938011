"""Preprocessed recordings as the model reads them: one frame's volume and its supervision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from pose_splatter.cameras import CameraRig, load_upright_rig
from pose_splatter.carving import carve_colored, index_projections
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore
from pose_splatter.tracking import Track, load_track
from pose_splatter.volume import Crop, load_crop


@dataclass(frozen=True)
class Recording:
    """A preprocessed recording: frames, upright cameras, the animal's track and the model's grid.

    `observed` and `heldout` are camera indices; only evaluation looks at the held-out ones.
    """

    name: str
    store: FrameStore
    rig: CameraRig
    track: Track
    crop: Crop
    observed: tuple[int, ...]
    heldout: tuple[int, ...]


def load_recording(
    name: str,
    heldout_cameras: Sequence[str],
    images: str | Path,
    center_rotation: str | Path,
    crop: str | Path,
    cameras: str | Path,
    vertical_lines: str | Path,
) -> Recording:
    """Open everything that preprocessing made of a recording."""
    store = FrameStore.open(images)
    rig = load_upright_rig(cameras, vertical_lines, store.downsample)
    observed = rig.without(heldout_cameras)
    return Recording(
        name=name,
        store=store,
        rig=rig,
        track=load_track(center_rotation),
        crop=load_crop(crop),
        observed=tuple(observed),
        heldout=tuple(camera for camera in range(len(rig)) if camera not in observed),
    )


@runtime_checkable
class RecordingFiles(Protocol):
    """The files of some recordings, one of each kind per recording."""

    images: Sequence[str]
    center_rotation: Sequence[str]
    crop: Sequence[str]
    cameras: Sequence[str]
    vertical_lines: Sequence[str]


def load_recordings(
    heldout_cameras: Mapping[str, Sequence[str]], files: RecordingFiles
) -> list[Recording]:
    """Open recordings, given by name with their held-out cameras, in the order of `files`."""
    paths = zip(
        files.images,
        files.center_rotation,
        files.crop,
        files.cameras,
        files.vertical_lines,
        strict=True,
    )
    return [
        load_recording(name, heldout, *each)
        for (name, heldout), each in zip(heldout_cameras.items(), paths, strict=True)
    ]


@dataclass(frozen=True)
class Volume:
    """One frame's carved volume, sparse, and where it stands in the world (see CarvedVolume).

    `half_length` is half of Crop.length (world units): what positions are told in.
    """

    shape: tuple[int, int, int]
    indices: Int[Tensor, "voxel 3"]
    features: Float[Tensor, "voxel 7"]
    lower: Float[Tensor, "3"]
    voxel_size: float
    half_length: float
    center: Float[Tensor, "3"]
    angle: float

    def to(self, device: torch.device | str) -> "Volume":
        return _to(self, device)


@dataclass(frozen=True)
class FrameBatch:
    """One frame: its volume, and the images (0 to 1) of the cameras to render it into."""

    volume: Volume
    images: Float[Tensor, "camera height width 3"]
    masks: Float[Tensor, "camera height width"]
    viewmats: Float[Tensor, "camera 4 4"]
    Ks: Float[Tensor, "camera 3 3"]
    recording: str
    frame: int
    source_frame: int

    def to(self, device: torch.device | str) -> "FrameBatch":
        return replace(_to(self, device), volume=self.volume.to(device))


def _to(batch, device):
    """The same dataclass with its tensors on `device`."""
    tensors = {
        field.name: value.to(device, non_blocking=True)
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    return replace(batch, **tensors)


def carve_frame(
    recording: Recording,
    frame: int,
    cameras: Sequence[int],
    *,
    turn: float = 0.0,
    shift: Float[ndarray, "3"] | None = None,
) -> Volume:
    """Carve one frame from the given cameras, the grid optionally turned (radians) and shifted."""
    center, angle = recording.track.centers[frame], float(recording.track.angles[frame]) + turn
    return carve_views(
        recording.store.read_images(frame)[list(cameras)],
        recording.store.read_masks(frame)[list(cameras)],
        recording.rig.subset(list(cameras)),
        recording.crop,
        center if shift is None else center + shift,
        angle,
    )


def carve_views(
    images: UInt8[ndarray, "camera h w 3"],
    masks: UInt8[ndarray, "camera h w"],
    rig: CameraRig,
    crop: Crop,
    center: Float[ndarray, "3"],
    angle: float,
) -> Volume:
    """Carve the pictures of all cameras of a rig, on a grid at `center` that heads for `angle`."""
    grid = crop.grid
    carved = carve_colored(
        images, masks, index_projections(rig, grid, center, angle), grid.shape, crop.fill_color
    )
    return Volume(
        shape=grid.shape,
        indices=torch.from_numpy(carved.indices).long(),
        features=torch.from_numpy(carved.features),
        lower=torch.tensor(grid.lower, dtype=torch.float32),
        voxel_size=grid.voxel_size,
        half_length=crop.length / 2,
        center=torch.from_numpy(center).float(),
        angle=angle,
    )


@dataclass(frozen=True)
class Augmentation:
    """How training frames are varied; all zero for validation and test.

    `drop_camera` is the chance that one observed camera is left out of carving (it still
    supervises, so the model learns what a view it has not seen looks like); `mirror` the chance
    that left and right are swapped; `turn` is the largest turn of the grid (degrees), `shift` its
    largest move (voxels).
    """

    drop_camera: float = 0.0
    mirror: float = 0.0
    turn: float = 0.0
    shift: float = 0.0

    def pose(
        self, random: np.random.Generator, voxel_size: float
    ) -> tuple[float, Float[ndarray, "3"]]:
        """By how much (radians, world units) a grid is turned and moved this time."""
        turn = np.deg2rad(self.turn) * random.uniform(-1, 1)
        return turn, self.shift * voxel_size * random.uniform(-1, 1, 3)


def camera_tensors(
    rig: CameraRig, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "camera 4 4"], Float[Tensor, "camera 3 3"]]:
    """World-to-camera matrices and intrinsics of a rig, as rendering takes them."""
    viewmats, Ks = torch.from_numpy(rig.viewmats), torch.from_numpy(rig.intrinsics)
    return viewmats.float().to(device), Ks.float().to(device)


class FrameDataset(torch.utils.data.Dataset[FrameBatch]):
    """The frames of some recordings in which the animal is visible, as FrameBatch.

    Randomness depends on seed, epoch and index alone, so workers and restarts change nothing.
    """

    def __init__(
        self,
        frames: Sequence[tuple[Recording, Sequence[int]]],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.items = [
            (recording, frame)
            for recording, numbers in frames
            for frame in numbers
            if recording.track.visible[frame]
        ]
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> FrameBatch:
        recording, frame = self.items[index]
        random = np.random.default_rng((self.seed, self.epoch, index))
        options, carving_cameras = self.augmentation, list(recording.observed)
        if random.random() < options.drop_camera and len(carving_cameras) > 2:
            carving_cameras.remove(random.choice(carving_cameras))
        turn, shift = options.pose(random, recording.crop.grid.voxel_size)
        volume = carve_frame(recording, frame, carving_cameras, turn=turn, shift=shift)
        if not len(volume.indices):
            raise PoseSplatterError(
                f"recording {recording.name}: the model's grid holds nothing of the animal in "
                f"video frame {recording.store.source_frames[frame]}; check that frame's masks, "
                "and ell in the preset."
            )
        batch = load_views(recording, frame, recording.observed, volume)
        return mirrored(batch) if random.random() < options.mirror else batch


def load_views(
    recording: Recording, frame: int, cameras: Sequence[int], volume: Volume
) -> FrameBatch:
    """A frame's volume together with the images of `cameras`."""
    rig, chosen = recording.rig.subset(list(cameras)), list(cameras)
    images = recording.store.read_images(frame)[chosen]
    masks = recording.store.read_masks(frame)[chosen]
    viewmats, Ks = camera_tensors(rig)
    return FrameBatch(
        volume=volume,
        images=torch.from_numpy(images).float() / 255,
        masks=torch.from_numpy(masks).float(),
        viewmats=viewmats,
        Ks=Ks,
        recording=recording.name,
        frame=frame,
        source_frame=int(recording.store.source_frames[frame]),
    )


def mirrored(batch: FrameBatch) -> FrameBatch:
    """The frame of the mirror image of the animal: left and right of its heading swapped.

    Volume, pictures and cameras are reflected in the upright plane through the volume's centre
    along its heading, exactly: this is what the same rig behind a mirror would have recorded.
    """
    volume = batch.volume
    lower, indices = volume.lower.clone(), volume.indices.clone()
    lower[1] = -(volume.lower[1] + volume.voxel_size * volume.shape[1])
    indices[:, 1] = volume.shape[1] - 1 - indices[:, 1]
    features = volume.features.clone()
    features[:, 5] *= -1  # the direction to the cameras, along y
    heading = torch.tensor([np.cos(volume.angle), np.sin(volume.angle), 0.0]).float()
    left = torch.stack([-heading[1], heading[0], heading[2]])
    reflection = torch.eye(4)
    reflection[:3, :3] -= 2 * torch.outer(left, left)
    reflection[:3, 3] = 2 * left * (left @ volume.center)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    Ks = batch.Ks.clone()
    Ks[:, 0, 2] = batch.masks.shape[2] - Ks[:, 0, 2]
    return replace(
        batch,
        volume=replace(volume, lower=lower, indices=indices, features=features),
        images=batch.images.flip(2),
        masks=batch.masks.flip(2),
        viewmats=flip @ batch.viewmats @ reflection,
        Ks=Ks,
    )
