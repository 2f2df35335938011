"""Cameras that are off by whole frames, found from silhouettes and calibration alone.

The line between two cameras and a point of the world span a plane. The planes that just touch the
animal, on either side, are the same seen from both cameras, whatever its shape (frontier points:
Cipolla and Giblin, Visual Motion of Curves and Surfaces, 2000). So a silhouette gives two angles,
which agree between two cameras of a calibrated pair in every frame, unless one shows another
moment: then they differ by what the animal moved in between.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig, undistortion_maps
from pose_splatter.files import save_json
from pose_splatter.frames import foreground
from pose_splatter.progress import track
from pose_splatter.video import RecordingDescription, read_frames, shifted

MAX_OFFSET = 31  # frames of shift; the outermost tell only that it is more than that
WINDOWS, WINDOW = 10, 150  # runs of frames that are looked at, spread over a long recording
BLOCKS = 12  # of a window: frames that follow each other are alike, runs of them hardly are
MIN_RESIDUAL = 0.05  # pixels: what is less is the rounding of a mask's edge to pixels
MAX_WIDTH = np.pi / 2  # of a silhouette, seen from the line between two cameras
MIN_CONFIDENCE = 0.95
MIN_MARGIN = 1.02  # by this factor, at least, the next best shift must leave more
DRAWS = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CameraTiming:
    """By how many frames a camera is off, and how sure that is.

    What the reference shows in frame n, the camera shows in frame n + `offset`; None where the
    animal moves too little to tell. `confidence` is the share of random draws of stretches of the
    recording that find the same shift. `residuals` are what is left between the silhouettes at
    every shift (pixels, geometric mean over the other observed cameras and over time; None where
    nothing could be compared), `windows` the offsets in each run of frames alone.
    """

    name: str
    offset: int | None
    confidence: float
    residuals: tuple[float | None, ...]
    windows: tuple[int | None, ...]

    @property
    def beyond(self) -> bool:
        """Whether it is off by more than is looked for: the largest shift fits best."""
        residuals = np.array(self.residuals, float)
        certain = self.offset is None and self.confidence >= MIN_CONFIDENCE
        return certain and lowest_shift(residuals) in (0, len(residuals) - 1)

    @property
    def drifts(self) -> bool:
        """Whether the offset is one early and another later, as after frames that were dropped."""
        return len(set(self.windows) - {None}) > 1


@dataclass(frozen=True)
class Synchronization:
    """What was found of a recording's cameras, in the rig's order.

    `frame_offsets` are those of config, with which the masks were read: what was found comes on
    top of them.
    """

    recording: str
    cameras: tuple[CameraTiming, ...]
    shifts: range
    windows: tuple[range, ...]
    reference: str
    frame_offsets: Mapping[str, int]

    @property
    def verdict(self) -> str:
        """In a word or two: ok, off, drifting or cannot tell."""
        if any(camera.drifts for camera in self.cameras):
            return "drifting"
        if any(camera.offset or camera.beyond for camera in self.cameras):
            return "off"
        return "cannot tell" if any(c.offset is None for c in self.cameras) else "ok"

    @property
    def corrected_offsets(self) -> dict[str, int]:
        """The frame_offsets that set right what was found."""
        totals = dict(self.frame_offsets)
        for camera in self.cameras:
            if camera.offset and not camera.drifts:
                totals[camera.name] = totals.get(camera.name, 0) + camera.offset
        return {name: total for name, total in totals.items() if total}

    @property
    def config_line(self) -> str:
        """The line of config that sets right what was found."""
        offsets = [f"{name}: {offset}" for name, offset in self.corrected_offsets.items()]
        return f"frame_offsets: {{{', '.join(offsets)}}}"


# --- silhouettes -------------------------------------------------------------------------------


def choose_windows(frames: range) -> tuple[range, ...]:
    """Runs of consecutive frames, at most WINDOWS of about WINDOW frames, evenly spread."""
    first, last = frames[0], frames[-1] + 1
    count = min(max((last - first) // WINDOW, 1), WINDOWS)
    if last - first < (count + 1) * WINDOW:  # what there is, whole
        edges = np.linspace(first, last, count + 1).astype(int).tolist()
        return tuple(range(*ends) for ends in pairwise(edges))
    starts = np.linspace(first, last - WINDOW, count).astype(int).tolist()
    return tuple(range(start, start + WINDOW) for start in starts)


def frames_with_masks(frames: range) -> list[int]:
    """Of the frames that a recording uses, and of those that are compared, the masks are needed."""
    return sorted({*frames, *chain.from_iterable(choose_windows(frames))})


@dataclass(frozen=True)
class Outlines:
    """The convex hulls of one camera's silhouettes, in consecutive frames.

    `points` are those of all frames one after the other (undistorted pixels), `counts` how many are
    each frame's: none where the mask is empty or reaches the picture's edge, beyond which the
    animal may go on.
    """

    points: Float[ndarray, "point 2"]
    counts: Int[ndarray, " frame"]

    @classmethod
    def of(cls, hulls: Sequence[Float[ndarray, "_ 2"]]) -> "Outlines":
        """One array of points for each frame."""
        points = np.concatenate([np.empty((0, 2)), *hulls])
        return cls(points, np.array([len(hull) for hull in hulls], int))


def read_outlines(
    rig: CameraRig, masks: Sequence[str | Path], frames: Sequence[int], offsets: Sequence[int]
) -> list[Outlines]:
    """The outlines of every camera in the given frames.

    `rig` is that of the videos; camera c's frame n + offsets[c] is read for frame n.
    """
    outlines = []
    for camera, path in enumerate(track(masks, "reading masks", len(masks))):
        maps = undistortion_maps(rig, camera)
        pictures = read_frames(path, shifted(frames, offsets[camera]), "grey")
        outlines.append(Outlines.of([_convex_hull(picture, maps) for picture in pictures]))
    return outlines


def _convex_hull(
    picture: UInt8[ndarray, "height width"],
    maps: tuple[Float[ndarray, "height width"], Float[ndarray, "height width"]] | None,
) -> Float[ndarray, "point 2"]:
    mask = foreground(picture)
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        return np.empty((0, 2))
    if maps is not None:
        mask = foreground(cv2.remap(picture, *maps, cv2.INTER_LINEAR))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.empty((0, 2))
    return cv2.convexHull(max(contours, key=cv2.contourArea))[:, 0] + 0.5


def tangent_planes(
    rig: CameraRig, pair: tuple[int, int], outlines: Sequence[Outlines]
) -> tuple[Float[ndarray, "frame 2"], Float[ndarray, "frame 2"]]:
    """The two planes through both cameras of a pair that touch the silhouette, as either sees them.

    Angles about the line between the cameras, as the pixels by which the plane's picture moves;
    NaN where the animal is not seen or that line runs through it. `rig` holds plain pinholes.
    """
    rays = [_rays(rig, camera, outlines[camera].points) for camera in pair]
    axis = rig.centers[pair[1]] - rig.centers[pair[0]]
    axis = axis / np.linalg.norm(axis)
    ahead = rays[0].mean(axis=0) if len(rays[0]) else rig.rotations[pair[0], 2]
    ahead = ahead - (ahead @ axis) * axis
    ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-30)
    basis = np.stack([ahead, np.cross(axis, ahead)], axis=1)
    # A plane that turns by a small angle moves in the picture by focal length times the sine of
    # what lies between ray and axis.
    focal = rig.intrinsics[list(pair), 0, 0].mean()
    pixels = focal * _median(np.linalg.norm(rays[0] @ basis, axis=1))
    first, second = (
        pixels * _angular_extent(ray @ basis, outlines[camera].counts)
        for camera, ray in zip(pair, rays, strict=True)
    )
    return first, second


def _rays(
    rig: CameraRig, camera: int, points: Float[ndarray, "point 2"]
) -> Float[ndarray, "point 3"]:
    """Unit vectors, in the world, from the camera to points of its picture."""
    to_world = np.linalg.inv(rig.intrinsics[camera]).T @ rig.rotations[camera]
    rays = np.column_stack([points, np.ones(len(points))]) @ to_world
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _angular_extent(
    directions: Float[ndarray, "point 2"], counts: Int[ndarray, " frame"]
) -> Float[ndarray, "frame 2"]:
    """The least and the greatest angle of each frame's directions."""
    extent = np.full((len(counts), 2), np.nan)
    seen = counts > 0
    if seen.any():
        angles = np.arctan2(directions[:, 1], directions[:, 0])
        starts = (np.cumsum(counts) - counts)[seen]
        ends = np.minimum.reduceat(angles, starts), np.maximum.reduceat(angles, starts)
        extent[seen] = np.stack(ends, axis=1)
        extent[extent[:, 1] - extent[:, 0] > MAX_WIDTH] = np.nan
    return extent


# --- offsets -----------------------------------------------------------------------------------


def check_recording(
    rig: CameraRig,
    masks: Sequence[str | Path],
    description: RecordingDescription,
    heldout: Sequence[str],
    recording: str,
) -> Synchronization:
    """Look at the mask videos of a recording; what is wrong with their timing is logged.

    `rig` is that of the videos, as cameras.h5 holds it.
    """
    windows = choose_windows(description.source_frames)
    frames = [frame for window in windows for frame in window]
    outlines = read_outlines(rig, masks, frames, description.offsets)
    offsets = {n: o for n, o in zip(rig.names, description.offsets, strict=True) if o}
    found = find_offsets(rig.undistorted(), outlines, windows, heldout, recording, offsets)
    for sentence in describe(found):
        logger.warning("WARNING: %s", sentence)
    return found


def find_offsets(
    rig: CameraRig,
    outlines: Sequence[Outlines],
    windows: Sequence[range],
    heldout: Sequence[str] = (),
    recording: str = "",
    frame_offsets: Mapping[str, int] | None = None,
) -> Synchronization:
    """The whole frames by which cameras are off, up to MAX_OFFSET and a quarter of a window.

    `outlines` are those of all frames of the windows, one window after the other; `rig` holds plain
    pinholes. The offsets of the observed cameras are those at which the log residuals of all their
    pairs add up to least; held-out cameras are compared with these, and change nothing. 0 is
    where most observed cameras agree.
    """
    observed = rig.without(heldout)
    limit = max(min(MAX_OFFSET, min(len(window) for window in windows) // 4), 1)
    costs = _all_costs(rig, outlines, windows, observed, limit)
    offsets = _solve(_mean(costs, axis=0), observed, limit)
    cameras = []
    for camera, name in enumerate(rig.names):
        curves = _curves(costs, camera, offsets, limit)
        cameras.append(
            CameraTiming(
                name,
                _certain(curves, limit),
                _confidence(curves),
                tuple(_rounded(np.exp(_mean(curves, axis=0)))),
                tuple(_certain(part, limit) for part in np.split(curves, len(windows))),
            )
        )
    reference = next(camera for camera in observed if offsets[camera] == 0)
    return Synchronization(
        recording=recording,
        cameras=tuple(cameras),
        shifts=range(-limit, limit + 1),
        windows=tuple(windows),
        reference=rig.names[reference],
        frame_offsets=frame_offsets or {},
    )


def _all_costs(
    rig: CameraRig,
    outlines: Sequence[Outlines],
    windows: Sequence[range],
    observed: Sequence[int],
    limit: int,
) -> Float[ndarray, "block camera camera shift"]:
    """Log residuals between cameras a and b, b ahead of a by every shift from -2 to 2 limits.

    NaN of a camera with itself, of two held-out ones, and where nothing can be compared, as in a
    recording of less than two frames to a block.
    """
    count, shifts = len(rig), 4 * limit + 1
    costs = np.full((BLOCKS * len(windows), count, count, shifts), np.nan)
    if min(len(window) for window in windows) < 2 * BLOCKS:
        return costs
    for a, b in combinations(range(count), 2):
        if a in observed or b in observed:
            planes = tangent_planes(rig, (a, b), outlines)
            costs[:, a, b] = _pair_costs(*planes, windows, 2 * limit)
            costs[:, b, a] = costs[:, a, b, ::-1]
    return costs


def _pair_costs(
    first: Float[ndarray, "frame 2"],
    second: Float[ndarray, "frame 2"],
    windows: Sequence[range],
    limit: int,
) -> Float[ndarray, "block shift"]:
    """Log residuals of blocks: `first` in frame t against `second` in frame t + shift.

    What is there in half of all frames comes from the calibration or the masks, and is taken off.
    """
    lengths = [len(window) for window in windows]
    ends = np.cumsum(lengths)
    edges = [np.linspace(end - n, end, BLOCKS + 1) for n, end in zip(lengths, ends, strict=True)]
    starts = np.concatenate([edge[:-1] for edge in edges]).astype(int)
    costs = np.empty((len(starts), 2 * limit + 1))
    for column, shift in enumerate(range(-limit, limit + 1)):
        moved = np.full_like(second, np.nan)
        for length, end in zip(lengths, ends, strict=True):
            source = slice(end - length + max(shift, 0), end + min(shift, 0))
            target = slice(end - length + max(-shift, 0), end + min(-shift, 0))
            moved[target] = second[source]
        residuals = first - moved
        residuals -= [_median(side) for side in residuals.T]
        compared = np.isfinite(residuals)
        sums = np.add.reduceat(np.abs(np.where(compared, residuals, 0)).sum(axis=1), starts)
        counts = np.add.reduceat(compared.sum(axis=1), starts)
        costs[:, column] = np.where(counts, sums / np.maximum(counts, 1) + MIN_RESIDUAL, np.nan)
    return np.log(costs)


def _solve(
    costs: Float[ndarray, "camera camera shift"], observed: Sequence[int], limit: int
) -> dict[int, int]:
    """The offsets of the observed cameras that make the sum over their pairs least.

    Started from every camera in turn, each camera is moved to where it fits the others best until
    none moves any more.
    """
    found = []
    for start in observed:
        offsets = {start: 0}
        for camera in observed:
            if camera != start:
                curve = _curves(costs[None], camera, {start: 0}, limit)[0]
                offsets[camera] = lowest_shift(curve) - limit
        found.append(_descend(costs, offsets, limit))
    offsets = min(found, key=lambda offsets: _total(costs, offsets, limit))
    common = Counter(offsets[camera] for camera in observed).most_common(1)[0][0]
    return {c: int(np.clip(offsets[c] - common, -limit, limit)) for c in observed}


def _descend(
    costs: Float[ndarray, "camera camera shift"], offsets: dict[int, int], limit: int
) -> dict[int, int]:
    """Move each camera but the first to where it fits the others best, until none moves."""
    for _ in range(20):
        before = dict(offsets)
        for camera in list(offsets)[1:]:
            offsets[camera] = lowest_shift(_curves(costs[None], camera, offsets, limit)[0]) - limit
        if offsets == before:
            break
    return offsets


def _total(
    costs: Float[ndarray, "camera camera shift"], offsets: Mapping[int, int], limit: int
) -> float:
    middle = 2 * limit
    pairs = [costs[a, b, middle + offsets[b] - offsets[a]] for a, b in combinations(offsets, 2)]
    return float(np.nansum(pairs))


def _curves(
    costs: Float[ndarray, "block camera camera all_shifts"],
    camera: int,
    offsets: Mapping[int, int],
    limit: int,
) -> Float[ndarray, "block shift"]:
    """What one camera costs, at every shift within the limit, against others at their offsets."""
    against = [
        costs[:, other, camera, limit - offset : 3 * limit + 1 - offset]
        for other, offset in offsets.items()
        if other != camera
    ]
    return _mean(np.array(against), axis=0)


def _certain(curves: Float[ndarray, "block shift"], limit: int) -> int | None:
    """The shift of least cost; None where others, or larger ones, may do as well."""
    shift = lowest_shift(_mean(curves, axis=0)) - limit
    return shift if abs(shift) < limit and _confidence(curves) >= MIN_CONFIDENCE else None


def _confidence(curves: Float[ndarray, "block shift"]) -> float:
    """The share of draws of as many blocks, with replacement, that clearly agree on the shift.

    None do where shifts beside it cannot be compared with it, as when every other mask is empty.
    """
    mean = _mean(curves, axis=0)
    lowest = lowest_shift(mean)
    if not np.isfinite(mean[max(lowest - 1, 0) : lowest + 2]).all():
        return 0.0
    count = len(curves)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    known = np.isfinite(curves)
    weights = draws @ known.astype(float)
    sums = draws @ np.where(known, curves, 0.0)
    means = np.where(weights > 0, sums / np.maximum(weights, 1), 1e9)
    best, next_best = np.partition(means, 1, axis=1)[:, :2].T
    same = means.argmin(axis=1) == lowest
    return float(np.mean(same & (next_best - best > np.log(MIN_MARGIN))))


def _rounded(curve: Float[ndarray, " shift"]) -> list[float | None]:
    """To a thousandth, None for NaN: what JSON can hold."""
    return [round(float(value), 3) if np.isfinite(value) else None for value in curve]


def lowest_shift(curve: Float[ndarray, " shift"]) -> int:
    """The index of the shift that leaves least; NaN counts as the most."""
    return int(np.argmin(np.nan_to_num(curve, nan=np.inf)))


def _mean(values: Float[ndarray, "..."], axis: int) -> Float[ndarray, "..."]:
    """The mean of what is not NaN; NaN where all is."""
    return np.ma.masked_invalid(values).mean(axis=axis).filled(np.nan)


def _median(values: Float[ndarray, " value"]) -> float:
    """The median of what is not NaN; 0 where all is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


# --- what people see ---------------------------------------------------------------------------


def describe(found: Synchronization) -> list[str]:
    """What is wrong, a sentence each, and how to mend it; nothing where all is well."""
    beyond = ", on top of config's frame_offsets" if found.frame_offsets else ""
    sentences = []
    for camera in found.cameras:
        if camera.drifts:
            sentences.append(
                f"camera {camera.name} is off by {_course(camera, found.windows)}: frames were "
                "lost or repeated on the way, which no shift corrects; use the frames before or "
                f"after that (recordings: {found.recording}: frames in config)."
            )
        elif camera.beyond:
            sentences.append(
                f"camera {camera.name} seems to be off by more than {found.shifts[-2]} frames; cut "
                "its video and masks so that they start with the others', or check its calibration."
            )
        elif camera.offset is None:
            sentences.append(
                f"camera {camera.name} cannot be told to be in step with the others or not: the "
                "animal moves too little in what it sees, or its masks are too rough."
            )
        elif camera.offset:
            sentences.append(
                f"camera {camera.name} is off by {abs(camera.offset)} frames{beyond}: what camera "
                f"{found.reference} shows in frame n, it shows in frame n {_signed(camera.offset)}."
            )
    if any(camera.offset and not camera.drifts for camera in found.cameras):
        sentences.append(
            f"to correct this, write {found.config_line} under recordings: {found.recording} in "
            "config."
        )
    return sentences


def _course(camera: CameraTiming, windows: Sequence[range]) -> str:
    return ", ".join(
        f"{offset} in frames {window.start} to {window.stop - 1}"
        for offset, window in zip(camera.windows, windows, strict=True)
        if offset is not None
    )


def _signed(offset: int) -> str:
    return f"{'+' if offset > 0 else '-'} {abs(offset)}"


def save_synchronization(path: str | Path, found: Synchronization) -> None:
    """Write synchronization.json."""
    cameras = [asdict(camera) for camera in found.cameras]
    save_json(
        path,
        {
            "verdict": found.verdict,
            "remarks": describe(found),
            "reference": found.reference,
            "frame_offsets": dict(found.frame_offsets),
            "corrected_frame_offsets": found.corrected_offsets,
            "windows": [[window.start, window.stop] for window in found.windows],
            "shifts": [found.shifts[0], found.shifts[-1]],
            "cameras": {camera.pop("name"): camera for camera in cameras},
        },
    )
