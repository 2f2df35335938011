"""Where the animal is and which way it points, from moments of its visual hull.

Per frame, the hull (voxels that all observed cameras but one see) gives a centre and an axis.
Voxels count by their squared depth below the hull's surface, so that the trunk weighs and a long
thin tail does not, and voxels that every camera sees count most, since the rest of the hull is fat.
Through time, the axis is followed without half turns and signed by the direction of travel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import scipy  # whose parts are loaded when they are used
from jaxtyping import Bool, Float, Int32, Shaped, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig, triangulate, undistortion_maps
from pose_splatter.carving import (
    VoxelGrid,
    candidate_views,
    carve,
    extent_views,
    index_projections,
    squared_depth,
    voxels_of,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import load_fields, save_fields
from pose_splatter.frames import FrameStore, foreground, mask_box, mask_middles
from pose_splatter.progress import track
from pose_splatter.video import cheap_frames, read_frames, shifted

DISPUTED_WEIGHT = 0.05  # of what one camera does not see: decides only where that camera is wrong
MAX_MISS = 0.06  # of the width: how far masks' middles may lie from one point's projections
MARGIN = 1.25  # of the box around the masks, for what the hull has and the masks' corners lack
BEYOND = 1.5  # times its radii: so far a hull may reach, whose thin ends coarse voxels miss
DIRECTIONS = 16  # around the vertical, in which a hull is measured: 0.5 % are lost at most


@dataclass(frozen=True)
class HullMoments:
    """What tracking keeps of a frame's hull, or of many frames' stacked; NaN where `visible` is 0.

    `axis` is a unit vector along the trunk in the horizontal plane, of either sign; `elongation`
    (0 to 1) says how far it can be trusted: 0 for a ball or an upright trunk. `radii` are how far
    the hull reaches from its centre, `spans` how far from end to end, both horizontally (the
    farthest of all directions) and vertically (world units), by `extent_views`.
    """

    visible: Bool[ndarray, "*frame"]
    center: Float[ndarray, "*frame 3"]
    cov: Float[ndarray, "*frame 3 3"]
    axis: Float[ndarray, "*frame 2"]
    elongation: Float[ndarray, "*frame"]
    radii: Float[ndarray, "*frame 2"]
    spans: Float[ndarray, "*frame 2"]

    @classmethod
    def absent(cls) -> "HullMoments":
        """The moments of a frame without an animal."""
        shapes: tuple[tuple[int, ...], ...] = ((3,), (3, 3), (2,), (), (2,), (2,))
        return cls(np.array(False), *(np.full(shape, np.nan) for shape in shapes))

    @classmethod
    def stack(cls, moments: "list[HullMoments]") -> "HullMoments":
        """Many frames as one, along a new first axis."""
        return cls(*(np.stack([getattr(m, f.name) for m in moments]) for f in fields(cls)))

    @classmethod
    def concatenate(cls, moments: "list[HullMoments]") -> "HullMoments":
        """Consecutive runs of frames as one."""
        return cls(*(np.concatenate([getattr(m, f.name) for m in moments]) for f in fields(cls)))


@dataclass(frozen=True)
class Track:
    """The animal's pose in every frame: centre (world units) and heading (radians about +z)."""

    visible: Bool[ndarray, " frame"]
    centers: Float[ndarray, "frame 3"]
    angles: Float[ndarray, " frame"]
    covs: Float[ndarray, "frame 3 3"]
    radii: Float[ndarray, "frame 2"]
    spans: Float[ndarray, "frame 2"]

    def __len__(self) -> int:
        return len(self.angles)


def mask_center(
    masks: UInt8[ndarray, "camera height width"], rig: CameraRig
) -> Float[ndarray, "3"] | None:
    """The point triangulated from the masks' centroids; None where fewer than two masks are set."""
    return _common_center(mask_middles(masks), rig)


def _common_center(
    middles: Float[ndarray, "camera 2"], rig: CameraRig
) -> Float[ndarray, "3"] | None:
    """The point triangulated from masks' centroids; None where fewer than two are not NaN."""
    seen = np.isfinite(middles[:, 0])
    return triangulate(rig, middles, seen) if seen.sum() >= 2 else None


def tracking_grid(
    masks: UInt8[ndarray, "camera height width"],
    rig: CameraRig,
    center: Float[ndarray, "3"],
    size: int,
) -> VoxelGrid:
    """A cube about `center` that the masks fit into, by their extent and the cameras' distance."""
    half = 0.0
    pixels, depths = rig.project(center)
    for camera in np.flatnonzero(masks.any(axis=(1, 2))):
        rows, columns = mask_box(masks[camera])
        first = np.array([columns.start, rows.start]) + 0.5
        last = np.array([columns.stop, rows.stop]) - 0.5
        reach = np.abs(np.stack([first, last]) - pixels[camera]).max()
        half = max(half, reach * depths[camera] / rig.intrinsics[camera, 0, 0])
    return VoxelGrid.cube(size, 2 * MARGIN * half)


def hull_moments(
    masks: UInt8[ndarray, "camera height width"], rig: CameraRig, grid_size: int
) -> HullMoments:
    """Measure one frame's hull on a cube of grid_size^3 voxels about the animal."""
    center = mask_center(masks, rig)
    if center is None:
        return HullMoments.absent()
    grid = tracking_grid(masks, rig, center, grid_size)
    projections = index_projections(rig, grid, center, 0.0)
    counts = carve(masks, projections, grid.shape, candidate_views(len(rig)))
    if not counts.any():
        return HullMoments.absent()
    box = _occupied_box(counts)
    counts, corner = counts[box], [side.start for side in box]
    hull = _largest_component(counts > 0)
    points = grid.positions(voxels_of(hull) + corner)
    depth = _squared_depth(hull)
    sure_depth = _squared_depth(hull & (counts == len(rig)))
    weights = sure_depth[hull] + DISPUTED_WEIGHT * depth[hull]
    middle = np.average(points, axis=0, weights=weights)
    cov = np.cov(points.T, aweights=weights, ddof=0)
    variances, axes = np.linalg.eigh(cov)
    horizontal = float(np.hypot(*axes[:2, 2]))
    elongation = horizontal * (1 - np.sqrt(max(variances[1], 0.0) / max(variances[2], 1e-30)))
    sure = (counts >= extent_views(len(rig)))[hull]
    points = points[sure] if sure.any() else points
    reach = np.abs(points - middle)
    return HullMoments(
        visible=np.array(True),
        center=center + middle,
        cov=cov,
        axis=axes[:2, 2] / max(horizontal, 1e-30),
        elongation=np.asarray(elongation),
        radii=np.array([np.hypot(reach[:, 0], reach[:, 1]).max(), reach[:, 2].max()]),
        spans=_spans(points) + grid.voxel_size,
    )


def _spans(points: Float[ndarray, "point 3"]) -> Float[ndarray, "2"]:
    """From end to end of the points, in the horizontal direction where it is most, and in z."""
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    along = points[:, :2] @ np.stack([np.cos(angles), np.sin(angles)])
    return np.array([np.ptp(along, axis=0).max(), np.ptp(points[:, 2])])


def _occupied_box(voxels: Shaped[ndarray, "x y z"]) -> tuple[slice, ...]:
    """The smallest box that holds all voxels that are not 0, of which there is one at least."""
    sides = []
    for others in ((1, 2), (0, 2), (0, 1)):
        occupied = np.flatnonzero(voxels.any(axis=others))
        sides.append(slice(occupied[0], occupied[-1] + 1))
    return tuple(sides)


def _largest_component(hull: Bool[ndarray, "x y z"]) -> Bool[ndarray, "x y z"]:
    """The largest of the parts that hang together, if only by corners as a thin tail does."""
    labels, count = scipy.ndimage.label(hull, np.ones((3, 3, 3)))
    return hull if count <= 1 else labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _squared_depth(hull: Bool[ndarray, "x y z"]) -> Int32[ndarray, "x y z"]:
    """The squared distance in voxels to what is not of the hull, also beyond the box; 0 there."""
    depth = np.zeros(hull.shape, np.int32)
    if hull.any():
        box = _occupied_box(hull)
        depth[box] = squared_depth(hull[box])
    return depth


def measure_frames(
    store: FrameStore, rig: CameraRig, observed: list[int], frames: range, grid_size: int
) -> HullMoments:
    """Measure the hull of each of the frames, by the observed cameras alone.

    A frame in which one of them does not see the animal counts as absent.
    """
    rig, moments = rig.subset(observed), []
    for frame in track(frames, "measuring hulls", len(frames)):
        masks = store.read_masks(frame)[observed]
        seen = masks.any(axis=(1, 2)).all()
        moments.append(hull_moments(masks, rig, grid_size) if seen else HullMoments.absent())
    return HullMoments.stack(moments)


def sample_path(
    rig: CameraRig,
    masks: Sequence[str | Path],
    frames: range,
    offsets: Sequence[int] | None = None,
    n_samples: int = 100,
) -> Float[ndarray, "sample 3"]:
    """The animal's path in the calibration's world, sampled evenly over the mask videos.

    In a long recording the samples are key frames of the first video. `offsets` are the frames by
    which each camera is off, none if not given. Raises PoseSplatterError where the masks do not fit
    the calibration.
    """
    offsets = offsets or [0] * len(masks)
    chosen = shifted(cheap_frames(masks[0], shifted(frames, offsets[0]), n_samples), -offsets[0])
    streams = [
        read_frames(path, shifted(chosen, offset), "grey")
        for path, offset in zip(masks, offsets, strict=True)
    ]
    pinholes = rig.undistorted()
    maps = [undistortion_maps(rig, camera) for camera in range(len(rig))]
    path, misses = [], []
    for views in track(zip(*streams, strict=True), "sampling the path", len(chosen)):
        undistorted = [
            mask if m is None else cv2.remap(mask, *m, cv2.INTER_LINEAR)
            for mask, m in zip(views, maps, strict=True)
        ]
        middles = mask_middles(foreground(view) for view in undistorted)
        center = _common_center(middles, pinholes)
        if center is not None:
            path.append(center)
            misses.append(_largest_miss(middles, pinholes, center))
    if not path:
        raise PoseSplatterError(
            f"{masks[0]}: in none of {len(chosen)} sampled frames do two cameras see the animal; "
            "check the mask videos."
        )
    if (miss := float(np.median(misses))) > MAX_MISS * rig.width:
        raise PoseSplatterError(
            f"{masks[0]} and the other masks do not fit the calibration: by it, the animal's "
            f"middle is {miss:.0f} pixels off in half of the frames; use the calibration "
            "made at the videos' size, and list the cameras in its order (pose-splatter check "
            "says which are exchanged)."
        )
    return np.array(path)


def _largest_miss(
    middles: Float[ndarray, "camera 2"], rig: CameraRig, center: Float[ndarray, "3"]
) -> float:
    """How far the projected centre is from a mask's own middle, in the worst camera (pixels)."""
    pixels, _ = rig.project(center)
    return float(np.nanmax(np.linalg.norm(pixels - middles, axis=1)))


def follow(moments: HullMoments, smoothing: float) -> Track:
    """Turn unsigned axes into headings that neither flip nor walk backwards.

    The sign of every frame is chosen by dynamic programming (Viterbi): turning the axis from one
    frame to the next costs 1 - cos, moving against it costs the distance in body lengths. So half
    a body length of backing up flips nothing, and a whole track never faces backwards. Headings
    are then smoothed by a Gaussian of `smoothing` frames, in which frames count by elongation.
    """
    seen = np.flatnonzero(moments.visible)
    angles = np.full(len(moments.visible), np.nan)
    if len(seen):
        centers, axes = moments.center[seen], moments.axis[seen]
        body_length = 4 * np.sqrt(np.median(np.linalg.eigvalsh(moments.cov[seen])[:, -1]))
        steps = np.gradient(centers[:, :2], axis=0) if len(seen) > 1 else np.zeros((1, 2))
        progress = (steps * axes).sum(axis=1) / body_length
        signs = _choose_signs(axes, progress, moments.elongation[seen])
        directions = axes * signs[:, None] * moments.elongation[seen, None]
        if smoothing > 0:
            directions = scipy.ndimage.gaussian_filter1d(
                directions, smoothing, axis=0, mode="nearest"
            )
        angles[seen] = np.arctan2(directions[:, 1], directions[:, 0])
    return Track(moments.visible, moments.center, angles, moments.cov, moments.radii, moments.spans)


def _choose_signs(
    axes: Float[ndarray, "frame 2"],
    progress: Float[ndarray, " frame"],
    elongation: Float[ndarray, " frame"],
) -> Float[ndarray, " frame"]:
    """The signs (1 or -1) of least total cost; `progress` is the movement along each axis."""
    options = np.array([1.0, -1.0])
    costs = -progress[0] * options
    choices = np.zeros((len(axes), 2), int)
    for frame in range(1, len(axes)):
        turn = 1 - (axes[frame - 1] @ axes[frame]) * np.outer(options, options)
        total = costs[:, None] + turn * min(elongation[frame - 1], elongation[frame])
        choices[frame] = total.argmin(axis=0)
        costs = total.min(axis=0) - progress[frame] * options
    signs = np.zeros(len(axes))
    state = int(costs.argmin())
    for frame in range(len(axes) - 1, -1, -1):
        signs[frame] = options[state]
        state = choices[frame, state]
    return signs


# --- files -------------------------------------------------------------------------------------


def save_moments(path: str | Path, moments: HullMoments) -> None:
    """Write the moments of a chunk of frames."""
    save_fields(path, moments)


def load_moments(path: str | Path) -> HullMoments:
    """Read what `save_moments` wrote."""
    return load_fields(path, HullMoments)


def save_track(path: str | Path, animal: Track) -> None:
    """Write center_rotation.npz: visible, centers, angles, covs, radii, spans."""
    save_fields(path, animal)


def load_track(path: str | Path) -> Track:
    """Read center_rotation.npz."""
    return load_fields(path, Track)
