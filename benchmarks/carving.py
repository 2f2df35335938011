"""Time carving and its moments against the plain way, in one process and on one core.

    python benchmarks/carving.py [--size 112] [--frames 5]

The plain way (plain/preprocessing.py) projects every voxel of the grid into every camera with NumPy
in float64. Both give the hull's mean and covariance; their largest differences are printed as
shares of the grid's edge.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from plain.preprocessing import all_positions, visual_hull
from rows import Row, timed

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ring_rig, silhouettes

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import VoxelGrid, carve, index_projections, voxels_of

EDGE = 400.0  # world units
SAME = 1e-6  # of the edge: what rounding to float32 may move

Moments = tuple[np.ndarray, np.ndarray]


def fast_hull(masks: np.ndarray, rig: CameraRig, grid: VoxelGrid, min_views: int) -> np.ndarray:
    projections = index_projections(rig, grid, np.zeros(3), 0.0)
    return carve(masks, projections, grid.shape, min_views) > 0


def moments(points: np.ndarray) -> Moments:
    """Mean (3,) and covariance (3 3) of points (point 3)."""
    return points.mean(axis=0), np.cov(points.T, ddof=0)


def deviations(cov: np.ndarray) -> np.ndarray:
    """Standard deviations along the principal axes."""
    return np.sqrt(np.linalg.eigvalsh(cov))


def measure(size: int = 112, frames: int = 5) -> list[Row]:
    """Time both ways on one frame of a ring of cameras around a sausage."""
    cv2.setNumThreads(1)
    rig = ring_rig(6, width=288, height=256)
    body = np.linspace([-50.0, -10, 0], [50, 20, 10], 9)
    masks = silhouettes(rig, body, 25)
    grid = VoxelGrid.cube(size, EDGE)
    points = all_positions(grid)
    min_views = len(rig) - 1

    def plain() -> Moments:
        return moments(points[visual_hull(masks, rig, points, min_views)])

    def ours() -> Moments:
        hull = fast_hull(masks, rig, grid, min_views)
        return moments(grid.positions(voxels_of(hull)))

    ours()  # compiles
    (mean, cov), plain_time = timed(plain, frames)
    (fast_mean, fast_cov), fast_time = timed(ours, 5 * frames)
    center = np.abs(mean - fast_mean).max() / EDGE
    spread = np.abs(deviations(cov) - deviations(fast_cov)).max() / EDGE
    assert max(center, spread) < SAME, (center, spread)
    print(f"{size}^3 voxels, {len(rig)} cameras of {rig.width}x{rig.height}, one core")
    print(f"plain  {1000 * plain_time:8.1f} ms a frame")
    print(f"ours   {1000 * fast_time:8.1f} ms a frame")
    print(f"means differ by                {center:.1e} of the edge")
    print(f"standard deviations differ by  {spread:.1e} of the edge")
    step = f"carving + moments, {size}^3, {len(rig)} cameras"
    agreement = f"mean and deviations to {max(center, spread):.0e} of the edge"
    return [Row(step, 1000 * fast_time, 1000 * plain_time, "ms", "30x", agreement)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--frames", type=int, default=5)
    options = parser.parse_args()
    for row in measure(options.size, options.frames):
        print(f"ratio  {row.ratio:8.1f}")


if __name__ == "__main__":
    main()
