"""All preprocessing as the original does it: three passes over the videos, NumPy in float64.

Every function that takes `frames` handles one part of the recording and writes one file, so that
parts can run side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import zarr
from numpy import ndarray
from zarr.codecs import BloscCodec

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import VoxelGrid, heading_rotation
from pose_splatter.tracking import mask_center, tracking_grid

GZIP_LEVEL = 2
LZ4 = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
ARRAYS = ("images", "masks")


@dataclass(frozen=True)
class Study:
    """A recording and its settings; `rig` is that of the downsampled images, +z up."""

    rig: CameraRig
    observed: list[int]
    videos: list[Path]
    masks: list[Path]
    downsample: int
    grid_size: int
    length: float  # world units, edge of the cube in which the crop is chosen

    @property
    def observed_rig(self) -> CameraRig:
        return self.rig.subset(self.observed)

    @property
    def observed_masks(self) -> list[Path]:
        return [self.masks[camera] for camera in self.observed]


# --- decoding ----------------------------------------------------------------------------------


def read_video(path: Path, frames: range) -> Iterator[ndarray]:
    """Yield consecutive frames of a video as OpenCV gives them, uint8 (height width BGR)."""
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, frames.start)
    for frame in frames:
        decoded, image = capture.read()
        if not decoded:
            raise ValueError(f"{path}: frame {frame} cannot be decoded")
        yield image
    capture.release()


def read_masks(paths: Sequence[Path], frames: range, downsample: int) -> Iterator[ndarray]:
    """Yield the masks of all cameras at every frame, uint8 0 or 1 (camera h w)."""
    for views in zip(*(read_video(path, frames) for path in paths), strict=True):
        yield np.stack([share(foreground(view), downsample) >= 0.5 for view in views]).astype(
            np.uint8
        )


def foreground(view: ndarray) -> ndarray:
    """0 or 1 (height width) from a decoded frame of a mask video."""
    return (view[..., 0] >= 128).astype(np.uint8)


def share(mask: ndarray, downsample: int) -> ndarray:
    """The share (0 to 1) of every block of pixels that belongs to the animal."""
    return shrink(mask.astype(np.float32), downsample)


def shrink(picture: ndarray, downsample: int) -> ndarray:
    height, width = picture.shape[:2]
    size = (width // downsample, height // downsample)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


# --- first pass: centre and heading ------------------------------------------------------------


def visual_hull(masks: ndarray, rig: CameraRig, points: ndarray, min_views: int) -> ndarray:
    """Which points (point 3) at least `min_views` cameras see: all points, all cameras."""
    counts = np.zeros(len(points), int)
    for mask, projection in zip(masks, rig.projections, strict=True):
        x, y, depth = np.einsum("ij,pj->ip", projection[:, :3], points) + projection[:, 3:]
        column, row = np.floor(x / depth).astype(int), np.floor(y / depth).astype(int)
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        counts[inside] += mask[row[inside], column[inside]] > 0
    return counts >= min_views


def moments(points: ndarray, hull: ndarray) -> tuple[ndarray, ndarray]:
    """Mean (3,) and covariance (3 3) of the hull, as weights (point) of all points (point 3)."""
    weights = hull / hull.sum()
    center = (points * weights[:, None]).sum(axis=0)
    offsets = points - center
    return center, (offsets * weights[:, None]).T @ offsets


def all_positions(grid: VoxelGrid) -> ndarray:
    """The centres of all voxels (voxel 3)."""
    return grid.positions(np.argwhere(np.ones(grid.shape, bool)))


def track_part(path: Path, study: Study, frames: range) -> None:
    """Write centres (frame 3) and angles (frame) of the hull that all cameras but one see."""
    rig, centers, angles = study.observed_rig, [], []
    for masks in read_masks(study.observed_masks, frames, study.downsample):
        middle = mask_center(masks, rig)
        assert middle is not None, "the demo's cameras all see the rat"
        points = middle + all_positions(tracking_grid(masks, rig, middle, study.grid_size))
        center, cov = moments(points, visual_hull(masks, rig, points, len(rig) - 1))
        axis = np.linalg.eigh(cov)[1][:, -1]
        centers.append(center)
        angles.append(np.arctan2(axis[1], axis[0]))
    np.savez(path, centers=centers, angles=angles)


def join_track(path: Path, parts: Sequence[Path]) -> None:
    tracks = [np.load(part) for part in parts]
    centers, angles = (
        np.concatenate([track[key] for track in tracks]) for key in ("centers", "angles")
    )
    np.savez(path, centers=centers, angles=angles)


# --- second pass: crop -------------------------------------------------------------------------


def sum_part(path: Path, study: Study, track: Path, frames: range) -> None:
    """Write in how many of the frames each voxel (x y z) is seen by all cameras but one."""
    rig = study.observed_rig
    grid = VoxelGrid.cube(study.grid_size, study.length)
    positions, poses = all_positions(grid), np.load(track)
    centers, angles = poses["centers"], poses["angles"]
    counts = np.zeros(len(positions), int)
    stream = read_masks(study.observed_masks, frames, study.downsample)
    for frame, masks in zip(frames, stream, strict=True):
        points = centers[frame] + positions @ heading_rotation(angles[frame]).T
        counts += visual_hull(masks, rig, points, len(rig) - 1)
    np.save(path, counts.reshape(grid.shape))


def choose_box(path: Path, parts: Sequence[Path]) -> None:
    """Write the summed occupancy `counts` and the `box` (3 2) around the voxels ever occupied."""
    counts = sum(np.load(part) for part in parts)
    occupied = np.argwhere(counts)
    np.savez(path, counts=counts, box=np.stack([occupied.min(0), occupied.max(0) + 1], axis=1))


# --- third pass: images ------------------------------------------------------------------------


def write_part(path: Path, study: Study, frames: range) -> None:
    """Write images (frame camera h w 3), white outside the mask, and masks (frame camera h w)."""
    shape = (len(frames), len(study.rig), study.rig.height, study.rig.width)
    videos = zip(*(read_video(video, frames) for video in study.videos), strict=True)
    masks = zip(*(read_video(mask, frames) for mask in study.masks), strict=True)
    with h5py.File(path, "w") as file:
        arrays = create(file, "images", (*shape, 3)), create(file, "masks", shape)
        for frame, views in enumerate(zip(videos, masks, strict=True)):
            prepared = [prepare(*view, study.downsample) for view in zip(*views, strict=True)]
            for array, content in zip(arrays, zip(*prepared, strict=True), strict=True):
                array[frame] = np.stack(content)


def prepare(image: ndarray, mask: ndarray, downsample: int) -> tuple[ndarray, ndarray]:
    """The downsampled RGB picture and mask: the animal's mean colour, white around it."""
    inside = foreground(mask)
    covered = share(inside, downsample)
    animal = cv2.bitwise_and(image, image, mask=inside)
    color = shrink(animal, downsample) / np.maximum(covered, 1e-6)[..., None]
    small = (covered >= 0.5).astype(np.uint8)
    color = np.where(small[..., None], np.rint(color).clip(0, 255), 255).astype(np.uint8)
    return color[..., ::-1], small


def create(file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """A compressed array in the chunks that h5py chooses."""
    return file.create_dataset(
        name, shape, np.uint8, compression="gzip", compression_opts=GZIP_LEVEL
    )


def concatenate(path: Path, parts: Sequence[Path]) -> None:
    """Join parts: decompress, compress again."""
    with h5py.File(path, "w") as target:
        for name in ARRAYS:
            arrays = []
            for part in parts:
                with h5py.File(part, "r") as source:
                    arrays.append(source[name][:])
            whole = np.concatenate(arrays)
            create(target, name, whole.shape)[:] = whole


def copy_to_zarr(path: Path, images: Path) -> None:
    """Copy array by array into Zarr, a chunk per frame: decompress, compress again (LZ4)."""
    group = zarr.create_group(path)
    with h5py.File(images, "r") as source:
        for name in ARRAYS:
            chunks = (1, *source[name].shape[1:])
            group.create_array(name, data=source[name][:], chunks=chunks, compressors=LZ4)
