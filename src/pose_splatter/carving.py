"""Shape carving: which voxels the cameras agree on, and what colour they are.

A voxel belongs to the visual hull where the cameras see foreground at its centre (Laurentini 1994).
The kernels work in index coordinates: one 3x4 matrix per camera takes (i + 0.5, j + 0.5, k + 0.5)
straight to pixels, so posing the grid costs nothing per voxel. They release the GIL and use one
thread; callers run frames side by side. What a kernel calls is put into it: a run that compiles it
and one that loads it from the cache might otherwise call two versions that round differently. They
are marked `no_type_check` because jaxtyping's import hook would otherwise wrap them in Python,
which Numba cannot compile.
"""

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8
from numba import njit
from numpy import ndarray

from pose_splatter.cameras import CameraRig

kernel = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
part_of_kernel = njit(cache=True, nogil=True, fastmath=True, error_model="numpy", forceinline=True)


@dataclass(frozen=True)
class VoxelGrid:
    """A box of cubic voxels in the animal's own frame: origin at its centre, x ahead, z up."""

    shape: tuple[int, int, int]
    voxel_size: float
    lower: tuple[float, float, float]

    @classmethod
    def cube(cls, size: int, length: float) -> "VoxelGrid":
        """size^3 voxels that fill a cube of edge `length` about the animal's centre."""
        return cls((size, size, size), length / size, (-length / 2,) * 3)

    def cropped(self, box: tuple[tuple[int, int], ...]) -> "VoxelGrid":
        """The voxels from `start` to `stop` along each of x, y and z."""
        (x0, x1), (y0, y1), (z0, z1) = box
        lower = np.array(self.lower) + self.voxel_size * np.array([x0, y0, z0])
        x, y, z = map(float, lower)
        return VoxelGrid((x1 - x0, y1 - y0, z1 - z0), self.voxel_size, (x, y, z))

    @property
    def edges(self) -> Float[ndarray, "3"]:
        """How long, wide and high the box is (world units)."""
        return self.voxel_size * np.array(self.shape)

    @property
    def middle(self) -> Float[ndarray, "3"]:
        """The box's middle in the animal's frame."""
        return np.array(self.lower) + self.edges / 2

    def positions(self, indices: Int[ndarray, "voxel 3"]) -> Float[ndarray, "voxel 3"]:
        """Voxel centres in the animal's frame."""
        return np.array(self.lower) + self.voxel_size * (indices + 0.5)


def to_world(
    points: Float[ndarray, "*point 3"], center: Float[ndarray, "3"], angle: float
) -> Float[ndarray, "*point 3"]:
    """Points of the frame of an animal that stands at `center` and heads for `angle` (radians)."""
    return center + points @ heading_rotation(angle).T


def heading_rotation(angle: float) -> Float[ndarray, "3 3"]:
    """The turn about +z that takes the animal's frame to the world's."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def index_projections(
    rig: CameraRig, grid: VoxelGrid, center: Float[ndarray, "3"], angle: float
) -> Float32[ndarray, "camera 3 4"]:
    """Matrices from homogeneous voxel indices (i, j, k, 1) to homogeneous pixels.

    The grid stands at `center` in the world, turned by `angle` (radians) about +z.
    """
    index_to_world = np.eye(4)
    rotation = heading_rotation(angle)
    index_to_world[:3, :3] = rotation * grid.voxel_size
    index_to_world[:3, 3] = center + rotation @ (np.array(grid.lower) + 0.5 * grid.voxel_size)
    return (rig.projections @ index_to_world).astype(np.float32)


def carve(
    masks: UInt8[ndarray, "camera height width"],
    projections: Float32[ndarray, "camera 3 4"],
    shape: tuple[int, int, int],
    min_views: int,
) -> UInt8[ndarray, "x y z"]:
    """Count, for every voxel, the cameras whose mask is set at its centre.

    Voxels that fewer than `min_views` cameras see get 0; a point outside an image counts as not
    seen. `projections` come from `index_projections`.
    """
    counts = np.zeros(shape, np.uint8)
    masks = np.ascontiguousarray(masks)
    _carve(masks, _integral_images(masks), projections, min_views, counts)
    return counts


def voxels_of(hull: Bool[ndarray, "x y z"]) -> Int[ndarray, "voxel 3"]:
    """The indices of a hull's voxels; `np.argwhere`, many times as fast in a grid mostly empty."""
    return np.stack(np.unravel_index(np.flatnonzero(hull), hull.shape), axis=-1)


FAR = 1e30  # stands for infinity, which fastmath may not compare
BLOCK = 8  # voxels along the edge of the blocks that are rejected whole


def _integral_images(masks: UInt8[ndarray, "camera h w"]) -> Int[ndarray, "camera h+1 w+1"]:
    return np.stack([cv2.integral(mask) for mask in masks])


@kernel
@no_type_check
def _carve(masks, integrals, projections, min_views, counts):
    """Coarse to fine: only blocks whose projections touch enough masks are looked at closely."""
    nx, ny, nz = counts.shape
    for i in range(0, nx, BLOCK):
        for j in range(0, ny, BLOCK):
            for k in range(0, nz, BLOCK):
                stop = (min(i + BLOCK, nx), min(j + BLOCK, ny), min(k + BLOCK, nz))
                if _block_may_be_seen(integrals, projections, (i, j, k), stop, min_views):
                    _carve_block(masks, projections, (i, j, k), stop, min_views, counts)


@part_of_kernel
@no_type_check
def _block_may_be_seen(integrals, projections, start, stop, min_views):
    """Whether at least `min_views` masks have a pixel in the box around the block's projection.

    A convex body in front of a camera projects into the box around its corners' projections.
    """
    n_cameras, height, width = integrals.shape
    misses, allowed = 0, n_cameras - min_views
    for camera in range(n_cameras):
        p = projections[camera]
        u0, u1, v0, v1, nearest = FAR, -FAR, FAR, -FAR, FAR
        for corner in range(8):
            i = stop[0] - 1 if corner & 1 else start[0]
            j = stop[1] - 1 if corner & 2 else start[1]
            k = stop[2] - 1 if corner & 4 else start[2]
            depth = p[2, 0] * i + p[2, 1] * j + p[2, 2] * k + p[2, 3]
            nearest = min(nearest, depth)
            if depth <= 0:
                break
            u = (p[0, 0] * i + p[0, 1] * j + p[0, 2] * k + p[0, 3]) / depth
            v = (p[1, 0] * i + p[1, 1] * j + p[1, 2] * k + p[1, 3]) / depth
            u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
        if nearest <= 0:  # the block straddles the camera's plane: look closely
            continue
        # One pixel of slack takes up the rounding of the corners.
        left = int(min(max(u0 - 1, 0), width - 1))
        right = int(min(max(u1 + 2, 0), width - 1))
        top = int(min(max(v0 - 1, 0), height - 1))
        bottom = int(min(max(v1 + 2, 0), height - 1))
        n = integrals[camera]
        if n[bottom, right] - n[top, right] - n[bottom, left] + n[top, left] == 0:
            misses += 1
            if misses > allowed:
                return False
    return True


@part_of_kernel
@no_type_check
def _carve_block(masks, projections, start, stop, min_views, counts):
    n_cameras, height, width = masks.shape
    allowed = n_cameras - min_views
    for i in range(start[0], stop[0]):
        for j in range(start[1], stop[1]):
            for k in range(start[2], stop[2]):
                misses = 0
                for camera in range(n_cameras):
                    p = projections[camera]
                    depth = p[2, 0] * i + p[2, 1] * j + p[2, 2] * k + p[2, 3]
                    seen = False
                    if depth > 0:
                        u = (p[0, 0] * i + p[0, 1] * j + p[0, 2] * k + p[0, 3]) / depth
                        v = (p[1, 0] * i + p[1, 1] * j + p[1, 2] * k + p[1, 3]) / depth
                        if 0 <= u < width and 0 <= v < height:
                            seen = masks[camera, int(v), int(u)] > 0
                    if not seen:
                        misses += 1
                        if misses > allowed:
                            break
                if misses <= allowed:
                    counts[i, j, k] = n_cameras - misses


def squared_depth(hull: Bool[ndarray, "x y z"]) -> Int32[ndarray, "x y z"]:
    """The squared distance in voxels from each voxel of a hull to the nearest that is not of it.

    So is all that lies beyond the array; voxels that are not of the hull have 0. Exact, along one
    axis after the other (Saito and Toriwaki 1994); as few steps as the hull is thick.
    """
    depths = np.where(hull, np.int32(2**30), np.int32(0))
    for axis in range(3):
        _lower_along_last(np.moveaxis(depths, axis, -1))
    return depths


@kernel
@no_type_check
def _lower_along_last(depths):
    """Take the least of each squared distance and any other's in its line plus the squared way."""
    nx, ny, nz = depths.shape
    line = np.empty(nz, depths.dtype)
    for i in range(nx):
        for j in range(ny):
            line[:] = depths[i, j]
            for k in range(nz):
                least, way = line[k], 1
                while way * way < least:
                    before = line[k - way] if k >= way else 0
                    behind = line[k + way] if k + way < nz else 0
                    least = min(least, way * way + min(before, behind))
                    way += 1
                depths[i, j, k] = least


# --- colours -----------------------------------------------------------------------------------


SLACK = 3.0  # voxels or pixels that a voxel may lie behind the nearest one and still be seen
DISPUTED = 0.2  # the occupancy of voxels that one camera does not see; empty ones have 0


@dataclass(frozen=True)
class CarvedVolume:
    """The occupied voxels of one frame, sparse: most of a grid is empty.

    `features` are occupancy (DISPUTED where one camera does not see the voxel, rising to 1 where
    all do, by the mask at the voxel's centre in the camera that sees least of it); red, green, blue
    (0 to 1); and, in the grid's axes, the sum of the unit vectors to the cameras that see the voxel
    unobstructed, over the number of cameras: from which sides it is known.
    """

    shape: tuple[int, int, int]
    indices: Int32[ndarray, "voxel 3"]
    features: Float32[ndarray, "voxel 7"]


def candidate_views(n_cameras: int) -> int:
    """How many cameras have to see a voxel: all but one, and never fewer than two."""
    return max(n_cameras - 1, 2)


def extent_views(n_cameras: int) -> int:
    """How many cameras have to see a voxel for it to tell how far the animal reaches.

    All but one, as a candidate, but of three cameras all: what two of them agree on goes on far
    in front of and behind the animal.
    """
    return min(max(n_cameras - 1, 3), n_cameras)


def carve_colored(
    images: UInt8[ndarray, "camera height width 3"],
    masks: UInt8[ndarray, "camera height width"],
    projections: Float32[ndarray, "camera 3 4"],
    shape: tuple[int, int, int],
    fill_color: float,
) -> CarvedVolume:
    """Carve, and colour each voxel by the cameras that see it unobstructed.

    Candidates are the voxels that all cameras but one see. What all see is opaque and hides what
    lies behind it; voxels hidden from every camera get the grey `fill_color` (0 to 1).
    """
    n_cameras = len(masks)
    counts = carve(masks, projections, shape, candidate_views(n_cameras))
    indices = voxels_of(counts > 0).astype(np.int32)
    solid = counts[tuple(indices.T)] == n_cameras
    features = voxel_features(images, masks, projections, indices, solid, fill_color)
    return CarvedVolume(shape, indices, features)


def voxel_features(
    images: UInt8[ndarray, "camera height width 3"],
    masks: UInt8[ndarray, "camera height width"],
    projections: Float32[ndarray, "camera 3 4"],
    indices: Int32[ndarray, "voxel 3"],
    solid: Bool[ndarray, " voxel"],
    fill_color: float,
) -> Float32[ndarray, "voxel 7"]:
    """What CarvedVolume says of each voxel; those that are `solid` hide what lies behind them."""
    depths = depth_buffers(indices, solid, projections, masks.shape[1:])
    rays, offsets = projections[..., :3].astype(np.float64), projections[..., 3:]
    eyes = -np.linalg.solve(rays, offsets)[..., 0]  # where the cameras stand, in voxel indices
    features = np.empty((len(indices), 7), np.float32)
    _fill_features(
        np.ascontiguousarray(images),
        np.ascontiguousarray(masks),
        projections,
        eyes.astype(np.float32),
        depths,
        indices,
        np.float32(fill_color),
        features,
    )
    return features


def depth_buffers(
    indices: Int32[ndarray, "voxel 3"],
    solid: Bool[ndarray, " voxel"],
    projections: Float32[ndarray, "camera 3 4"],
    image_shape: tuple[int, int],
) -> Float32[ndarray, "camera height width"]:
    """The depth (world units) of the nearest solid voxel in every pixel; FAR where none is."""
    depths = np.full((len(projections), *image_shape), FAR, np.float32)
    for buffer, projection in zip(depths, projections, strict=True):
        _fill_depths(indices, solid, projection, buffer)
    return depths


@part_of_kernel
@no_type_check
def _pixel(p, voxel):
    """The pixel coordinates and depth of a voxel's centre, all in single precision."""
    i, j, k = np.float32(voxel[0]), np.float32(voxel[1]), np.float32(voxel[2])
    depth = p[2, 0] * i + p[2, 1] * j + p[2, 2] * k + p[2, 3]
    inverse = np.float32(1) / depth
    u = (p[0, 0] * i + p[0, 1] * j + p[0, 2] * k + p[0, 3]) * inverse
    v = (p[1, 0] * i + p[1, 1] * j + p[1, 2] * k + p[1, 3]) * inverse
    return u, v, depth


@part_of_kernel
@no_type_check
def _norm(row):
    """How fast the first (or third) row of a projection moves with the voxel's index."""
    return np.sqrt(row[0] * row[0] + row[1] * row[1] + row[2] * row[2])


@kernel
@no_type_check
def _fill_depths(indices, solid, p, depths):
    height, width = depths.shape
    half, least = np.float32(0.5), np.float32(0)
    edge = half * _norm(p[0])  # half a voxel's edge in pixels, at depth 1
    for voxel in range(len(indices)):
        if not solid[voxel]:
            continue
        u, v, depth = _pixel(p, indices[voxel])
        if depth <= 0:
            continue
        # The pixels whose centres lie within the voxel's edge about (u, v), but at least one.
        reach = max(edge / depth, half)
        top, left = int(max(v - reach + half, least)), int(max(u - reach + half, least))
        bottom, right = min(int(v + reach + half), height), min(int(u + reach + half), width)
        for row in range(top, bottom):
            for column in range(left, right):
                depths[row, column] = min(depths[row, column], depth)


@kernel
@no_type_check
def _fill_features(images, masks, projections, eyes, depths, indices, fill_color, features):
    n_cameras, height, width = masks.shape
    one, zero, everything = np.float32(1), np.float32(0), np.float32(255)
    slacks, pixels = np.empty(n_cameras, np.float32), np.empty(n_cameras, np.float32)
    for camera in range(n_cameras):
        slacks[camera] = np.float32(SLACK) * _norm(projections[camera, 2])
        pixels[camera] = one / _norm(projections[camera, 0])
    for voxel in range(len(indices)):
        occupancy, views, red, green, blue = one, zero, zero, zero, zero
        x, y, z = zero, zero, zero
        for camera in range(n_cameras):
            u, v, depth = _pixel(projections[camera], indices[voxel])
            if depth <= 0 or not (0 <= u < width and 0 <= v < height):
                occupancy = zero
                continue
            row, column = int(v), int(u)
            occupancy = min(occupancy, _bilinear(masks[camera], u, v))
            # Seen obliquely, a pixel's nearest voxel lies before its neighbours by up to a few
            # voxels or pixels, whichever are larger: they are seen all the same.
            slack = slacks[camera] * max(one, depth * pixels[camera])
            if masks[camera, row, column] and depth <= depths[camera, row, column] + slack:
                views += one
                red += np.float32(images[camera, row, column, 0])
                green += np.float32(images[camera, row, column, 1])
                blue += np.float32(images[camera, row, column, 2])
                to_x = eyes[camera, 0] - np.float32(indices[voxel, 0])
                to_y = eyes[camera, 1] - np.float32(indices[voxel, 1])
                to_z = eyes[camera, 2] - np.float32(indices[voxel, 2])
                inverse = one / np.sqrt(to_x * to_x + to_y * to_y + to_z * to_z)
                x, y, z = x + to_x * inverse, y + to_y * inverse, z + to_z * inverse
        features[voxel, 0] = DISPUTED + (1 - DISPUTED) * occupancy
        for channel, total in enumerate((red, green, blue)):
            features[voxel, 1 + channel] = total / (everything * views) if views else fill_color
        for axis, total in enumerate((x, y, z)):
            features[voxel, 4 + axis] = total / n_cameras


@part_of_kernel
@no_type_check
def _bilinear(mask, u, v):
    """The mask between the four pixel centres (at half-integers) around (u, v)."""
    height, width = mask.shape
    half, least = np.float32(0.5), np.float32(0)
    x, y = max(u - half, least), max(v - half, least)
    column, row = int(x), int(y)
    right, below = min(column + 1, width - 1), min(row + 1, height - 1)
    a, b = x - np.float32(column), y - np.float32(row)
    top = (1 - a) * mask[row, column] + a * mask[row, right]
    bottom = (1 - a) * mask[below, column] + a * mask[below, right]
    return (1 - b) * top + b * bottom


# --- the hull's own silhouette -----------------------------------------------------------------


def hull_silhouettes(
    masks: UInt8[ndarray, "observed height width"],
    rig: CameraRig,
    target: CameraRig,
    center: Float[ndarray, "3"],
    radius: float,
    step: float,
) -> UInt8[ndarray, "target height width"]:
    """The silhouettes, in the cameras of `target`, of the hull that all cameras of `rig` see.

    A pixel belongs to one where a point on its ray, within `radius` of `center` and sampled every
    `step` (world units), is foreground in every mask: the hull itself, with no voxels between.
    """
    masks = np.ascontiguousarray(masks)
    gaps = np.stack([_distances_to(mask) for mask in masks])
    speeds = _pixels_per_length(rig, center, radius) * step
    silhouettes = np.zeros((len(target), target.height, target.width), np.uint8)
    for camera in range(len(target)):
        to_ray = target.rotations[camera].T @ np.linalg.inv(target.intrinsics[camera])
        _march(
            gaps,
            speeds,
            rig.projections,
            target.centers[camera],
            to_ray,
            np.asarray(center, np.float64),
            radius,
            step,
            silhouettes[camera],
        )
    return silhouettes


def _distances_to(mask: UInt8[ndarray, "height width"]) -> Float32[ndarray, "height width"]:
    """How far each pixel is from the nearest one that is set (pixels): 0 where it is, FAR alone."""
    if not mask.any():
        return np.full(mask.shape, FAR, np.float32)
    background = (mask == 0).view(np.uint8)
    distances = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distances, np.float32)


def _pixels_per_length(
    rig: CameraRig, center: Float[ndarray, "3"], radius: float
) -> Float[ndarray, " camera"]:
    """How far, at most, what moves within a ball by one world unit moves in each picture.

    The gradients of pixel coordinates u and v, their lengths added in squares, where they are
    steepest: nearest to the camera and in a corner of the picture. Infinite for a camera in the
    ball.
    """
    focal, principal = rig.intrinsics[:, :2, :2], rig.intrinsics[:, :2, 2]
    corner = np.maximum(principal, [rig.width, rig.height] - principal)
    steepest = np.sqrt((focal**2).sum(axis=(1, 2)) + (corner**2).sum(axis=1))
    nearest = rig.project(center)[1] - radius
    return np.where(nearest > 0, steepest / np.maximum(nearest, 1 / FAR), FAR)


@kernel
@no_type_check
def _march(gaps, speeds, projections, eye, to_ray, center, radius, step, silhouette):
    """Step along the rays of all pixels; `gaps` tell how far a mask is and what can be skipped."""
    n_cameras, height, width = gaps.shape
    ox, oy, oz = center[0] - eye[0], center[1] - eye[1], center[2] - eye[2]
    for row in range(silhouette.shape[0]):
        for column in range(silhouette.shape[1]):
            u, v = column + 0.5, row + 0.5
            rx = to_ray[0, 0] * u + to_ray[0, 1] * v + to_ray[0, 2]
            ry = to_ray[1, 0] * u + to_ray[1, 1] * v + to_ray[1, 2]
            rz = to_ray[2, 0] * u + to_ray[2, 1] * v + to_ray[2, 2]
            norm = np.sqrt(rx * rx + ry * ry + rz * rz)
            rx, ry, rz = rx / norm, ry / norm, rz / norm
            middle = ox * rx + oy * ry + oz * rz
            reach = radius**2 - (ox * ox + oy * oy + oz * oz - middle**2)
            if reach <= 0:
                continue
            nearest = middle - np.sqrt(reach)
            n, last = 0, int(2 * np.sqrt(reach) / step)
            while n <= last:
                along = nearest + n * step
                x, y, z = eye[0] + along * rx, eye[1] + along * ry, eye[2] + along * rz
                skipped = 0
                for camera in range(n_cameras):
                    p = projections[camera]
                    depth = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
                    gap = np.float32(1)  # no more than a step where nothing is known
                    if depth > 0:
                        u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / depth
                        v = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / depth
                        if 0 <= u < width and 0 <= v < height:
                            gap = gaps[camera, int(v), int(u)]
                    if gap > 0:
                        # Two pixels less: both ends of a gap may lie anywhere in their pixels.
                        known = 1 + int(min(max(gap - 2, 0) / speeds[camera], last))
                        skipped = max(skipped, known)
                if skipped == 0:
                    silhouette[row, column] = 1
                    break
                n += skipped
