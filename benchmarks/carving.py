"""Time carving and its moments against the plain way, in one process and on one core.

    python benchmarks/carving.py [--size 112] [--frames 5]

The plain way projects every voxel of the grid into every camera with NumPy in float64. Both give
the hull's mean and covariance; their largest differences are printed as shares of the grid's edge.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.conftest import ring_rig, silhouettes

from pose_splatter.carving import VoxelGrid, carve, index_projections

EDGE = 400.0  # world units


def plain_hull(masks, rig, points, min_views) -> np.ndarray:
    """Which points at least `min_views` cameras see: all points, all cameras."""
    counts = np.zeros(len(points), int)
    pixels, _ = rig.project(points)
    for mask, uv in zip(masks, pixels, strict=True):
        column, row = np.floor(uv).astype(int).T
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        counts[inside] += mask[row[inside], column[inside]] > 0
    return counts >= min_views


def fast_hull(masks, rig, grid, min_views) -> np.ndarray:
    projections = index_projections(rig, grid, np.zeros(3), 0.0)
    return carve(masks, projections, grid.shape, min_views) > 0


def moments(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.mean(axis=0), np.cov(points.T, ddof=0)


def timed(function, repeats: int):
    """The result, and the median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--frames", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rig = ring_rig(6, width=288, height=256)
    body = np.linspace([-50.0, -10, 0], [50, 20, 10], 9)
    masks = silhouettes(rig, body, 25)
    grid = VoxelGrid.cube(options.size, EDGE)
    points = grid.positions(np.argwhere(np.ones(grid.shape, bool)))
    min_views = len(rig) - 1

    def plain():
        return moments(points[plain_hull(masks, rig, points, min_views)])

    def ours():
        hull = fast_hull(masks, rig, grid, min_views)
        return moments(grid.positions(np.argwhere(hull)))

    ours()  # compiles
    (mean, cov), plain_time = timed(plain, options.frames)
    (fast_mean, fast_cov), fast_time = timed(ours, 5 * options.frames)
    print(f"{options.size}^3 voxels, {len(rig)} cameras of {rig.width}x{rig.height}, one core")
    print(f"plain  {1000 * plain_time:8.1f} ms a frame")
    print(f"ours   {1000 * fast_time:8.1f} ms a frame")
    print(f"ratio  {plain_time / fast_time:8.1f}")
    print(f"means differ by                {np.abs(mean - fast_mean).max() / EDGE:.1e} of the edge")
    spread = np.abs(np.sqrt(np.linalg.eigvalsh(cov)) - np.sqrt(np.linalg.eigvalsh(fast_cov)))
    print(f"standard deviations differ by  {spread.max() / EDGE:.1e} of the edge")


if __name__ == "__main__":
    main()
