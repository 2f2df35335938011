"""The model's voxel grid: how large its voxels are, and which of them the animal ever needs."""

import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Int32
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import VoxelGrid, carve, extent_views, index_projections
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, load_fields, load_json, save_fields, save_json
from pose_splatter.frames import FrameStore
from pose_splatter.progress import track
from pose_splatter.tracking import BEYOND, Track

logger = logging.getLogger(__name__)

CROP_MULTIPLE = 16  # four halvings by the U-Nets leave whole voxels
SPARE = 16  # voxels that a box may be longer than the animal: tails swing, headings waver
REACH = 1.0  # of the animal's length: no part of it is farther from its centre


@dataclass(frozen=True)
class Crop:
    """crop.json: the box of voxels that the model sees, and what it was chosen by.

    `grid_size` voxels are `length` (world units) long. `box` is from which voxel to which along x,
    y and z, counted from the lower corner of a cube of that size about the animal's centre; it may
    lie outside, since a tail reaches far behind the centre and nothing as far ahead of it.
    """

    grid_size: int
    length: float
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    coverage: float
    fill_color: float

    @property
    def grid(self) -> VoxelGrid:
        """The voxels of the box, in the animal's own frame."""
        return VoxelGrid.cube(self.grid_size, self.length).cropped(self.box)


def measure_length(animal: Track, frames: range) -> float:
    """The hull's length or height (world units) in nearly all frames, tail and rearing too."""
    return float(np.quantile(_seen(animal, animal.spans, frames).max(axis=1), 0.98))


def measure_reach(animal: Track, frames: range) -> tuple[float, float]:
    """How far hulls may reach from their centres, horizontally and vertically (world units)."""
    horizontal, vertical = BEYOND * _seen(animal, animal.radii, frames).max(axis=0)
    return float(horizontal), float(vertical)


def _seen(
    animal: Track, values: Float[ndarray, "frame c"], frames: range
) -> Float[ndarray, "seen c"]:
    """Those of `frames` in which the animal is visible, at least one."""
    seen = values[frames][animal.visible[frames]]
    if not len(seen):
        raise PoseSplatterError(
            "no training frame shows the animal in two cameras at once; check the masks."
        )
    return seen


@dataclass(frozen=True)
class HullSum:
    """Occupancy and the animal's brightness, summed over frames.

    `counts` (x y z) says in how many frames a voxel was in the hull, on a `search_grid` of
    `grid_size` and `length`; `grey` is the sum of red, green and blue (0 to 255) over `pixels`
    pixels of the animal.
    """

    counts: Int32[ndarray, "x y z"]
    grid_size: int
    length: float
    grey: int
    pixels: int

    @classmethod
    def add(cls, sums: "Iterable[HullSum]") -> "HullSum":
        """The sum over all parts of a recording, one of which is in memory at a time."""
        return reduce(cls._plus, sums)

    def _plus(self, other: "HullSum") -> "HullSum":
        return replace(
            self,
            counts=self.counts + other.counts,
            grey=self.grey + other.grey,
            pixels=self.pixels + other.pixels,
        )


def search_grid(grid_size: int, length: float, reach: tuple[float, float]) -> VoxelGrid:
    """Where a box is looked for, about the animal's centre: all that its hulls may reach.

    Voxels are `length` / `grid_size` large. `reach` counts up to REACH of the length, so that a
    frame with something else in its masks costs neither time nor memory without end.
    """
    horizontal, vertical = (_search_margin(grid_size, min(r / length, REACH)) for r in reach)
    box = tuple((-m, grid_size + m) for m in (horizontal, horizontal, vertical))
    return VoxelGrid.cube(grid_size, length).cropped(box)


def _search_margin(grid_size: int, reach: float) -> int:
    """How many voxels are on each side of a cube of `grid_size`, negative if it is cut.

    `reach` is a share of the cube's edge. It comes to a multiple of 16 voxels, as boxes do, so that
    any box around what is in there fits.
    """
    half = CROP_MULTIPLE // 2
    return half * math.ceil(2 * reach * grid_size / CROP_MULTIPLE) - grid_size // 2


def sum_hulls(
    store: FrameStore,
    rig: CameraRig,
    observed: list[int],
    animal: Track,
    frames: range,
    grid_size: int,
    length: float,
    reach: tuple[float, float],
) -> HullSum:
    """Carve the frames in the animal's own frame, by the observed cameras, and add them up."""
    grid = search_grid(grid_size, length, reach)
    rig = rig.subset(observed)
    counts, grey, pixels = np.zeros(grid.shape, np.int32), 0, 0
    for frame in track(frames, "carving", len(frames)):
        if not animal.visible[frame]:
            continue
        masks = store.read_masks(frame)[observed]
        images = store.read_images(frame)[observed]
        pose = animal.centers[frame], float(animal.angles[frame])
        projections = index_projections(rig, grid, *pose)
        hull = carve(masks, projections, grid.shape, extent_views(len(rig))) > 0
        counts.reshape(-1)[np.flatnonzero(hull)] += 1  # few of all
        foreground = images[masks > 0]
        # Whole numbers: their sum is the same in however many parts it was taken.
        grey += int(foreground.sum(dtype=np.int64))
        pixels += len(foreground)
    return HullSum(counts, grid_size, length, grey, pixels)


def make_crop(total: HullSum, coverage: float, fill_color: float | Literal["auto"]) -> Crop:
    """Choose the crop of a recording, and measure its fill colour where config does not set it.

    Warns where the longest box that `grid_size` allows loses twice what `coverage` gives up.
    """
    largest = total.grid_size + SPARE
    box = choose_crop(total.counts, coverage, largest)
    margins = [(size - total.grid_size) // 2 for size in total.counts.shape]
    x, y, z = ((start - m, stop - m) for (start, stop), m in zip(box, margins, strict=True))
    covered = covered_share(total.counts, box)
    if 1 - covered > 2 * (1 - coverage) and any(stop - start == largest for start, stop in box):
        logger.warning(
            "the model's grid, as long as it may be, loses %.2g %% of the animal's hulls: give a "
            "larger ell than %.4g in the preset, or look for masks with pieces of something else "
            "and for headings that turn around.",
            100 * (1 - covered),
            total.length,
        )
    return Crop(
        grid_size=total.grid_size,
        length=total.length,
        box=(x, y, z),
        coverage=covered,
        fill_color=total.grey / (3 * 255 * total.pixels)
        if fill_color == "auto"
        else float(fill_color),
    )


def choose_crop(
    volume_sum: Int[ndarray, "x y z"], coverage: float, largest: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The smallest box, in multiples of 16 voxels along each axis, that keeps `coverage` of hulls.

    Each axis may lose an equal share of what is to be lost, half of it at either end; rounding up
    to the multiple then gives most of that back. Along an axis that would need more than `largest`
    voxels, itself such a multiple, the box keeps as much as so many can.
    """
    if not volume_sum.any():
        raise PoseSplatterError("no training frame has a visual hull; check the masks.")
    lost = (1 - coverage) / 3
    x, y, z = (
        _choose_interval(volume_sum.sum(axis=tuple({0, 1, 2} - {axis})), lost, largest)
        for axis in range(3)
    )
    return x, y, z


def _choose_interval(profile: Int[ndarray, " n"], lost: float, largest: int) -> tuple[int, int]:
    sums = np.concatenate([[0], np.cumsum(profile)])
    cumulative = sums / sums[-1]
    start = int(np.searchsorted(cumulative, lost / 2, side="right")) - 1
    stop = int(np.searchsorted(cumulative, 1 - lost / 2, side="left"))
    size = -(-(stop - start) // CROP_MULTIPLE) * CROP_MULTIPLE
    if size > largest:
        held = sums[largest:] - sums[:-largest]
        best = np.flatnonzero(held == held.max())
        start = int(best[len(best) // 2])
        return start, start + largest
    start = max(0, min((start + stop - size) // 2, len(profile) - size))
    return start, start + size


def covered_share(volume_sum: Int[ndarray, "x y z"], box: tuple[tuple[int, int], ...]) -> float:
    """The share of the summed hulls' voxels that lies in the box."""
    inside = volume_sum[tuple(slice(*interval) for interval in box)]
    return float(inside.sum() / volume_sum.sum())


def save_hull_sum(path: str | Path, total: HullSum) -> None:
    """Write the sum of one part."""
    save_fields(path, total)


def load_hull_sum(path: str | Path) -> HullSum:
    """Read what `save_hull_sum` wrote."""
    return load_fields(path, HullSum)


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
