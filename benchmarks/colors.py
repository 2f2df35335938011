"""Time the colouring of voxels with visibility against two plain ways, on one core.

    python benchmarks/colors.py [--size 112] [--frame 0]

One frame of the demo, in the four observed cameras, at 288x256. Carving is not timed: which voxels
there are is given to all. The plain ways (plain/colors.py) are a dictionary per pixel, and NumPy's
scatter over all voxels of the grid; the faster one counts. A third one, a scatter over the hull's
voxels alone, is faster than both, and told beside.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
from numpy import ndarray
from plain.colors import Depths, color_voxels, depths_by_dictionary, depths_by_scatter
from rows import Row, timed

from pose_splatter import carving
from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import rotation_to_z
from pose_splatter.frames import prepare_frame
from pose_splatter.tracking import mask_center, tracking_grid
from pose_splatter.video import read_frames

DEMO = Path(__file__).parents[1] / "resources/demo"
OBSERVED = [0, 2, 3, 4]
DOWNSAMPLE = 2
FILL_COLOR = 0.5
REPEATS = 10
SAME = 1 / 255  # colours that differ by less count as the same
MIN_SHARE = 0.999
DICTIONARY, SCATTER = "dictionary", "scatter over all voxels"
HULL_SCATTER = "scatter over the hull's"


@dataclass(frozen=True)
class Scene:
    """One frame, and its voxels: all that colouring needs."""

    images: ndarray  # uint8 [camera h w 3]
    masks: ndarray  # uint8 [camera h w]
    projections: ndarray  # float32 [camera 3 4], from voxel indices to pixels
    shape: tuple[int, int, int]
    indices: ndarray  # int32 [voxel 3]
    solid: ndarray  # bool [voxel], seen by all cameras


def load_scene(frame: int, size: int) -> Scene:
    """Carve one frame of the demo on a cube of size^3 voxels about the animal."""
    views = []
    for camera in OBSERVED:
        (image,) = read_frames(DEMO / f"videos/camera{camera}.mp4", [frame])
        (mask,) = read_frames(DEMO / f"masks/camera{camera}.mp4", [frame], "grey")
        views.append(prepare_frame(image, (mask >= 128).astype(np.uint8), DOWNSAMPLE))
    images, masks = map(np.stack, zip(*views, strict=True))
    with h5py.File(DEMO / "truth.h5") as truth:
        upright = rotation_to_z(truth.attrs["up"])
    height, width = (DOWNSAMPLE * side for side in masks.shape[1:])
    rig = read_calibration(DEMO / "calibration.h5", tuple("012345"), width, height)
    rig = rig.subset(OBSERVED).downsampled(DOWNSAMPLE).rotated(upright)
    center = mask_center(masks, rig)
    assert center is not None, "the demo's cameras all see the rat"
    grid = tracking_grid(masks, rig, center, size)
    projections = carving.index_projections(rig, grid, center, 0.0)
    counts = carving.carve(masks, projections, grid.shape, carving.candidate_views(len(rig)))
    indices = np.argwhere(counts).astype(np.int32)
    solid = counts[tuple(indices.T)] == len(rig)
    return Scene(images, masks, projections, grid.shape, indices, solid)


def color(scene: Scene) -> ndarray:
    """Occupancies, colours and directions (voxel 7)."""
    views = scene.images, scene.masks, scene.projections
    return carving.voxel_features(*views, scene.indices, scene.solid, FILL_COLOR)


def color_plainly(scene: Scene, nearest_depths: Depths) -> ndarray:
    """Colours (voxel 3)."""
    views = scene.images, scene.masks, scene.projections
    return color_voxels(*views, scene.indices, scene.solid, FILL_COLOR, nearest_depths)


def check_steps(scene: Scene) -> None:
    """What is timed here is what carving for the model does."""
    views = scene.images, scene.masks, scene.projections
    volume = carving.carve_colored(*views, scene.shape, FILL_COLOR)
    assert np.array_equal(volume.indices, scene.indices)
    assert np.array_equal(volume.features, color(scene))


def all_voxels(scene: Scene) -> Scene:
    """The same frame with every voxel of the grid, of which the hull's alone hide others."""
    solid = np.zeros(scene.shape, bool)
    solid[tuple(scene.indices[scene.solid].T)] = True
    every = np.argwhere(np.ones(scene.shape, bool)).astype(np.int32)
    return replace(scene, indices=every, solid=solid.ravel())


def measure(size: int = 112, frame: int = 0) -> list[Row]:
    """Time all ways on one frame; the plain ways have to give our colours."""
    cv2.setNumThreads(1)
    scene = load_scene(frame, size)
    check_steps(scene)  # compiles, too
    features, seconds = timed(partial(color, scene), 10 * REPEATS)
    ours = 1000 * seconds
    print(f"{size}^3 voxels, of which {len(scene.indices)} in the hull; {len(OBSERVED)} cameras")
    print(f"ours                     {ours:8.2f} ms a frame")
    grid, hull = all_voxels(scene), np.ravel_multi_index(tuple(scene.indices.T), scene.shape)
    ways: dict[str, Callable[[], ndarray]] = {
        DICTIONARY: partial(color_plainly, scene, depths_by_dictionary),
        SCATTER: lambda: color_plainly(grid, depths_by_scatter)[hull],
        HULL_SCATTER: partial(color_plainly, scene, depths_by_scatter),
    }
    times, shares = {}, {}
    for name, way in ways.items():
        colors, seconds = timed(way, REPEATS)
        times[name] = 1000 * seconds
        differences = np.abs(colors - features[:, 1:4]).max(axis=1)
        shares[name] = float((differences < SAME).mean())
        print(f"{name:24} {times[name]:8.2f} ms a frame, {100 * shares[name]:.2f} % alike")
    assert min(shares.values()) > MIN_SHARE, shares
    plain = min(DICTIONARY, SCATTER, key=lambda name: times[name])
    step = f"voxel colours with visibility, {size}^3, {len(OBSERVED)} cameras (plain: {plain})"
    agreement = (
        f"{100 * shares[plain]:.2f} % of voxels have the same colour; a {HULL_SCATTER} takes "
        f"{times[HULL_SCATTER]:.3g} ms, {times[HULL_SCATTER] / ours:.1f}x"
    )
    return [Row(step, ours, times[plain], "ms", "10x", agreement)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--frame", type=int, default=0)
    options = parser.parse_args()
    for row in measure(options.size, options.frame):
        print(f"ratio       {row.ratio:8.1f}")


if __name__ == "__main__":
    main()
