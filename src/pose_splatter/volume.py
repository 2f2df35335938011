"""The model's voxel grid: how long its edge is, and which part of it the animal ever needs."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import VoxelGrid, carve, extent_views, index_projections
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, load_json, load_npz, save_json, save_npz
from pose_splatter.frames import FrameStore
from pose_splatter.progress import track
from pose_splatter.tracking import Track

CROP_MULTIPLE = 16  # four halvings by the U-Nets leave whole voxels


@dataclass(frozen=True)
class Crop:
    """crop.json: the cube of grid_size^3 voxels, `length` long, and the box of it that is kept."""

    grid_size: int
    length: float
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    coverage: float
    fill_color: float

    @property
    def grid(self) -> VoxelGrid:
        """The cropped grid that the model sees."""
        return VoxelGrid.cube(self.grid_size, self.length).cropped(self.box)


def measure_length(animal: Track, frames: range) -> float:
    """A cube edge (world units) that holds the hull in nearly all frames, tail and rearing too."""
    radii = animal.radii[frames][animal.visible[frames]]
    if not len(radii):
        raise PoseSplatterError(
            "no training frame shows the animal in two cameras at once; check the masks."
        )
    return float(2 * np.quantile(radii.max(axis=1), 0.98))


@dataclass(frozen=True)
class HullSum:
    """Occupancy and the animal's brightness, summed over frames on the uncropped grid.

    `counts` (x y z) says in how many frames a voxel was in the hull; `length` is the grid's edge;
    `grey` is the sum of red, green and blue (0 to 255) over `pixels` pixels of the animal.
    """

    counts: Int[ndarray, "x y z"]
    length: float
    grey: int
    pixels: int

    @classmethod
    def add(cls, sums: "list[HullSum]") -> "HullSum":
        """The sum over all parts of a recording."""
        return cls(
            np.sum([part.counts for part in sums], axis=0),
            sums[0].length,
            sum(part.grey for part in sums),
            sum(part.pixels for part in sums),
        )


def sum_hulls(
    store: FrameStore,
    rig: CameraRig,
    observed: list[int],
    animal: Track,
    frames: range,
    grid_size: int,
    length: float,
) -> HullSum:
    """Carve the frames in the animal's own frame, by the observed cameras, and add them up."""
    grid = VoxelGrid.cube(grid_size, length)
    rig = rig.subset(observed)
    counts, grey, pixels = np.zeros(grid.shape, np.int64), 0, 0
    for frame in track(frames, "carving", len(frames)):
        if not animal.visible[frame]:
            continue
        masks = store.read_masks(frame)[observed]
        images = store.read_images(frame)[observed]
        pose = animal.centers[frame], float(animal.angles[frame])
        projections = index_projections(rig, grid, *pose)
        counts += carve(masks, projections, grid.shape, extent_views(len(rig))) > 0
        foreground = images[masks > 0]
        # Whole numbers: their sum is the same in however many parts it was taken.
        grey += int(foreground.sum(dtype=np.int64))
        pixels += len(foreground)
    return HullSum(counts, length, grey, pixels)


def make_crop(total: HullSum, coverage: float, fill_color: float | Literal["auto"]) -> Crop:
    """Choose the crop of a recording, and measure its fill colour where config does not set it."""
    box = choose_crop(total.counts, coverage)
    return Crop(
        grid_size=len(total.counts),
        length=total.length,
        box=box,
        coverage=covered_share(total.counts, box),
        fill_color=total.grey / (3 * 255 * total.pixels)
        if fill_color == "auto"
        else float(fill_color),
    )


def choose_crop(
    volume_sum: Int[ndarray, "x y z"], coverage: float
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The smallest box, in multiples of 16 voxels along each axis, that keeps `coverage` of hulls.

    Each axis may lose an equal share of what is to be lost, half of it at either end; rounding up
    to the multiple then gives most of that back.
    """
    if not volume_sum.any():
        raise PoseSplatterError("no training frame has a visual hull; check the masks.")
    lost = (1 - coverage) / 3
    x, y, z = (
        _choose_interval(volume_sum.sum(axis=tuple({0, 1, 2} - {axis})), lost) for axis in range(3)
    )
    return x, y, z


def _choose_interval(profile: Int[ndarray, " n"], lost: float) -> tuple[int, int]:
    cumulative = np.concatenate([[0], np.cumsum(profile)]) / profile.sum()
    start = int(np.searchsorted(cumulative, lost / 2, side="right")) - 1
    stop = int(np.searchsorted(cumulative, 1 - lost / 2, side="left"))
    size = min(-(-(stop - start) // CROP_MULTIPLE) * CROP_MULTIPLE, len(profile))
    start = max(0, min((start + stop - size) // 2, len(profile) - size))
    return start, start + size


def covered_share(volume_sum: Int[ndarray, "x y z"], box: tuple[tuple[int, int], ...]) -> float:
    """The share of the summed hulls' voxels that lies in the box."""
    inside = volume_sum[tuple(slice(*interval) for interval in box)]
    return float(inside.sum() / volume_sum.sum())


def save_hull_sum(path: str | Path, total: HullSum) -> None:
    """Write the sum of one part."""
    save_npz(path, **{field.name: getattr(total, field.name) for field in fields(total)})


def load_hull_sum(path: str | Path) -> HullSum:
    """Read what `save_hull_sum` wrote."""
    part = load_npz(path)
    return HullSum(part["counts"], float(part["length"]), int(part["grey"]), int(part["pixels"]))


def save_volume_sum(path: str | Path, total: HullSum) -> None:
    """Write volume_sum.npy: the counts alone."""
    with atomic_path(path) as temporary:
        np.save(temporary, total.counts)


def save_crop(path: str | Path, crop: Crop) -> None:
    """Write crop.json."""
    save_json(path, asdict(crop))


def load_crop(path: str | Path) -> Crop:
    """Read crop.json."""
    content = load_json(path)
    content["box"] = tuple(tuple(interval) for interval in content["box"])
    return Crop(**content)
