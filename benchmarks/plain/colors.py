"""Voxel colours with visibility: a Python dictionary per camera, or NumPy's scatter over voxels.

Both follow the definition of `pose_splatter.carving`: a solid voxel hides what lies behind it in
the pixels whose centres it covers, or in the one nearest to it, and a voxel is seen by a camera
where its own pixel is foreground and nothing solid lies more than a slack before it.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy import ndarray

from pose_splatter.carving import SLACK

Depths = Callable[[ndarray, ndarray, ndarray, tuple[int, int]], ndarray]


def project(projection: ndarray, indices: ndarray) -> tuple[ndarray, ndarray]:
    """Pixels (voxel 2) and depths (voxel) of voxels' centres; `indices` are (voxel 3)."""
    x, y, depths = np.einsum("ij,vj->iv", projection[:, :3], indices) + projection[:, 3:]
    return np.stack([x, y], axis=-1) / depths[:, None], depths


def voxel_pixels(projection: ndarray, depths: ndarray) -> ndarray:
    """The edge of a voxel at each of the depths, in pixels."""
    return np.linalg.norm(projection[0, :3]) / depths


def footprints(pixels: ndarray, edges: ndarray) -> tuple[ndarray, ndarray]:
    """First and last column and row (voxel 2) of the pixels whose centres each voxel covers."""
    half = np.maximum(edges / 2, 0.5)[:, None]
    return np.ceil(pixels - half - 0.5).astype(int), np.floor(pixels + half - 0.5).astype(int)


def depths_by_dictionary(
    pixels: ndarray, depths: ndarray, edges: ndarray, shape: tuple[int, int]
) -> ndarray:
    """The depth of the nearest voxel in each pixel (h w), kept pixel by pixel in a dictionary."""
    nearest: dict[tuple[int, int], float] = {}
    first, last = footprints(pixels, edges)
    for (left, top), (right, bottom), depth in zip(first, last, depths, strict=True):
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                if depth < nearest.get((row, column), math.inf):
                    nearest[row, column] = depth
    buffer = np.full(shape, np.inf)
    for (row, column), depth in nearest.items():
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            buffer[row, column] = depth
    return buffer


def depths_by_scatter(
    pixels: ndarray, depths: ndarray, edges: ndarray, shape: tuple[int, int]
) -> ndarray:
    """The depth of the nearest voxel in each pixel (h w), by one scatter per pixel of a voxel."""
    buffer = np.full(shape, np.inf)
    first, last = footprints(pixels, edges)
    width, height = (last - first).max(axis=0) + 1
    for offset in np.ndindex(width, height):
        places = first + offset
        inside = ((places <= last) & (places >= 0) & (places < [shape[1], shape[0]])).all(axis=1)
        column, row = places[inside].T
        np.minimum.at(buffer, (row, column), depths[inside])
    return buffer


def color_voxels(
    images: ndarray,
    masks: ndarray,
    projections: ndarray,
    indices: ndarray,
    solid: ndarray,
    fill_color: float,
    nearest_depths: Depths,
) -> ndarray:
    """Mean colours, 0 to 1 (voxel 3), over the cameras that see each of the voxels (voxel 3).

    `images` (camera h w 3) and `masks` (camera h w) are bytes, `solid` (voxel) says which voxels
    hide others, `nearest_depths` is one of the two functions above.
    """
    totals, weights = np.zeros((len(indices), 3)), np.zeros(len(indices))
    for image, mask, projection in zip(images, masks, projections.astype(float), strict=True):
        pixels, depths = project(projection, indices)
        edges = voxel_pixels(projection, depths)
        buffer = nearest_depths(pixels[solid], depths[solid], edges[solid], mask.shape)
        column, row = np.floor(pixels).astype(int).T
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        row, column = np.where(inside, row, 0), np.where(inside, column, 0)
        slack = SLACK * np.linalg.norm(projection[2, :3]) * np.maximum(1, 1 / edges)
        seen = inside & (mask[row, column] > 0) & (depths <= buffer[row, column] + slack)
        totals[seen] += image[row[seen], column[seen]]
        weights += seen
    colors = totals / (255 * np.maximum(weights, 1)[:, None])
    return np.where(weights[:, None] > 0, colors, fill_color)
