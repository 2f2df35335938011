"""Do the masks fit the calibration, and if not, which mistake explains it?

The hull that cameras carve is seen again from each of them. Where all is well its silhouette is the
mask; where one camera is wrong, the hull is thin or empty. Then mistakes that people make are tried
one by one (two cameras swapped, a mirrored rig, camera-to-world for world-to-camera): what makes
the masks agree is what happened.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import FAR, carve, depth_buffers, index_projections, voxels_of
from pose_splatter.evaluation import silhouette_iou
from pose_splatter.frames import mask_middles
from pose_splatter.tracking import mask_center, tracking_grid

GRID = 64  # voxels along the edge of the cube that is carved
MOST_PERMUTED = 7  # cameras of which every order is tried; of more, swaps after swaps
CONVINCING = 0.6  # agreement, at least, that a mistake's correction has to reach
GAIN = 0.15  # by which it has to be better than the calibration as it is
OUTLIER = 0.1  # gain of agreement among the others that tells a camera which does not fit
BLAMED = 2  # cameras, at most: where leaving out any of many helps, it is not they
FARTHEST = 10.0  # picture widths: no middle counts as farther off than that
VERIFIED = 4  # corrections, of those that bring the masks' middles together best, that are carved
TIE = 0.02  # agreement: as in an even ring of cameras, which fits as well when it is turned

Masks = UInt8[ndarray, "frame camera height width"]


@dataclass(frozen=True)
class Correction:
    """A mistake, how to undo it, and the rig without it.

    `rig` has the cameras in the masks' order; `order` says which of the calibration's cameras took
    each of the videos.
    """

    mistake: str
    fix: str
    rig: CameraRig
    order: tuple[int, ...] | None = None

    @property
    def moved(self) -> int:
        """How many cameras are elsewhere in order; none, where the order is right."""
        return sum(place != camera for camera, place in enumerate(self.order or ()))


# --- agreement ---------------------------------------------------------------------------------


@np.errstate(divide="ignore", invalid="ignore")  # cameras that stand in the animal
def hull_views(
    masks: UInt8[ndarray, "camera height width"], rig: CameraRig, observed: Sequence[int]
) -> tuple[UInt8[ndarray, "camera height width"], float]:
    """What every camera sees of the hull that all observed ones carve, and the hull's volume."""
    seen, part = masks[list(observed)], rig.subset(list(observed))
    silhouettes = np.zeros_like(masks)
    center = mask_center(seen, part)
    if center is None or not np.isfinite(center).all():
        return silhouettes, 0.0
    grid = tracking_grid(seen, part, center, GRID)
    if not 0 < grid.voxel_size < np.inf:
        return silhouettes, 0.0
    counts = carve(seen, index_projections(part, grid, center, 0.0), grid.shape, len(part))
    voxels = voxels_of(counts > 0).astype(np.int32)
    if len(voxels):
        projections = index_projections(rig, grid, center, 0.0)
        depths = depth_buffers(voxels, np.ones(len(voxels), bool), projections, masks.shape[1:])
        silhouettes = (depths < FAR).view(np.uint8)
    return silhouettes, float(len(voxels) * grid.voxel_size**3)


def agreement(
    masks: Masks, rig: CameraRig, observed: Sequence[int]
) -> Float[ndarray, "frame camera"]:
    """The IoU (0 to 1) of every mask with what its camera sees of the observed cameras' hull.

    NaN where a mask is empty, and in frames that not all observed cameras see the animal in.
    """
    return _compared(masks, rig, observed, lambda hull, mask: silhouette_iou(hull, mask)[0])


def coverage(
    masks: Masks, rig: CameraRig, observed: Sequence[int]
) -> Float[ndarray, "frame camera"]:
    """The share of every mask that the observed cameras' hull covers.

    The hull holds the animal: all of the mask, in a camera that is held out too, for which it is
    too large. NaN as in `agreement`.
    """
    return _compared(masks, rig, observed, lambda hull, mask: hull[mask > 0].mean())


def _compared(
    masks: Masks,
    rig: CameraRig,
    observed: Sequence[int],
    compare: Callable[[Float[ndarray, "height width"], UInt8[ndarray, "height width"]], float],
) -> Float[ndarray, "frame camera"]:
    """What a comparison says of every mask and what its camera sees of the hull."""
    result = np.full(masks.shape[:2], np.nan)
    for frame, views in enumerate(masks):
        seen = views.any(axis=(1, 2))
        if seen[list(observed)].all():
            silhouettes, _ = hull_views(views, rig, observed)
            for camera in np.flatnonzero(seen):
                hull = silhouettes[camera].astype(np.float64)
                result[frame, camera] = compare(hull, views[camera])
    return result


def mean_agreement(masks: Masks, rig: CameraRig, cameras: Sequence[int]) -> float:
    """The mean agreement of some cameras among themselves; 0 where nothing can be compared."""
    values = agreement(masks, rig, cameras)[:, list(cameras)]
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


# --- which mistake explains it -----------------------------------------------------------------


def find_correction(masks: Masks, rig: CameraRig) -> Correction | None:
    """The mistake that explains masks that do not agree; None where none of those known does."""
    now = mean_agreement(masks, rig, range(len(rig)))
    middles = np.stack([mask_middles(views) for views in masks])
    candidates = [*_conventions(rig), *_orders(middles, rig), *_single_cameras(rig)]
    candidates.sort(key=lambda candidate: _distance(middles, candidate.rig))
    reached = [mean_agreement(masks, c.rig, range(len(rig))) for c in candidates[:VERIFIED]]
    least = max(CONVINCING, now + GAIN)
    # Of those that fit alike, the one that moves the fewest cameras is the likeliest mistake.
    tied = [n for n, value in enumerate(reached) if value > least and value >= max(reached) - TIE]
    fewest = min(tied, key=lambda n: (candidates[n].moved, -reached[n]), default=None)
    return None if fewest is None else candidates[fewest]


def find_culprits(masks: Masks, rig: CameraRig) -> list[int]:
    """The cameras, if few, without any of which the others agree clearly better, worst first."""
    everyone = range(len(rig))
    if len(rig) < 4:  # of three, each is as much in disagreement with the others
        return []
    values = agreement(masks, rig, everyone)
    gains = {}
    for camera in everyone:
        others = [other for other in everyone if other != camera]
        with_it = values[:, others]
        before = float(np.nanmean(with_it)) if np.isfinite(with_it).any() else 0.0
        gains[camera] = mean_agreement(masks, rig, others) - before
    least = max(OUTLIER, 0.7 * max(gains.values()))
    found = sorted((c for c in gains if gains[c] > least), key=lambda c: -gains[c])
    return found if len(found) <= BLAMED else []


def _conventions(rig: CameraRig) -> Iterator[Correction]:
    """The whole rig read in another convention than it was written in."""
    yield Correction(
        "calibration and videos are mirror images of each other",
        "flip all videos and masks left to right (ffmpeg -i IN -vf hflip OUT), or calibrate with "
        "pictures that are not mirrored",
        _flipped(rig, -1, 1),
    )
    yield Correction(
        "the videos are upside down to the calibration",
        "turn all videos and masks by 180 degrees (ffmpeg -i IN -vf hflip,vflip OUT), or calibrate "
        "with pictures as they are",
        _flipped(rig, -1, -1),
    )
    yield Correction(
        "the videos' rows run the other way than the calibration's",
        "flip all videos and masks top to bottom (ffmpeg -i IN -vf vflip OUT)",
        _flipped(rig, 1, -1),
    )
    inverse = np.swapaxes(rig.rotations, 1, 2)
    places = -np.einsum("cij,cj->ci", inverse, rig.translations)
    opengl = np.diag([1.0, -1.0, -1.0])
    yield Correction(
        "rotations and translations take the camera to the world",
        "write the inverse into the calibration: R transposed, and -R transposed t",
        replace(rig, rotations=inverse, translations=places),
    )
    yield Correction(
        "rotations are transposed",
        "transpose every rotation in the calibration",
        replace(rig, rotations=inverse),
    )
    yield Correction(
        "translations are the places where the cameras stand",
        "write t = -R C into the calibration, C being the camera's place",
        replace(rig, translations=-np.einsum("cij,cj->ci", rig.rotations, rig.translations)),
    )
    yield Correction(
        "cameras look along -z, as OpenGL's do",
        "negate the second and third row of every rotation and translation",
        replace(rig, rotations=opengl @ rig.rotations, translations=rig.translations @ opengl),
    )


def _flipped(rig: CameraRig, x: int, y: int, cameras: Sequence[int] | None = None) -> CameraRig:
    """The cameras (all, or some) whose pictures are the given ones, flipped along x, y or both.

    A flipped camera is a mirrored rotation and a principal point on the other side.
    """
    signs = np.array([x, y, 1.0])
    chosen = list(range(len(rig)) if cameras is None else cameras)
    intrinsics, rotations = rig.intrinsics.copy(), rig.rotations.copy()
    translations = rig.translations.copy()
    for axis, size in enumerate((rig.width, rig.height)):
        if signs[axis] < 0:
            intrinsics[chosen, axis, 2] = size - intrinsics[chosen, axis, 2]
    rotations[chosen] = signs[:, None] * rotations[chosen]
    translations[chosen] = signs * translations[chosen]
    return replace(rig, intrinsics=intrinsics, rotations=rotations, translations=translations)


def _single_cameras(rig: CameraRig) -> Iterator[Correction]:
    """One camera alone was mirrored or stood on its head."""
    for camera, name in enumerate(rig.names):
        for x, y, what, way in (
            (-1, 1, "is mirrored", "hflip"),
            (-1, -1, "is upside down", "hflip,vflip"),
        ):
            yield Correction(
                f"the video of camera {name} {what}",
                f"turn it and its masks (ffmpeg -i IN -vf {way} OUT)",
                _flipped(rig, x, y, [camera]),
            )


# --- orders ------------------------------------------------------------------------------------


def _orders(middles: Float[ndarray, "frame camera 2"], rig: CameraRig) -> Iterator[Correction]:
    """The best other orders of the cameras: `order[c]` took the video of camera c."""
    costs = _OrderCosts(middles, rig)
    count = len(rig)
    if count <= MOST_PERMUTED:
        orders = np.array(list(permutations(range(count))))[1:]  # the first is the order as it is
        best = orders[np.argsort(costs(orders), kind="stable")[:2]]
    else:
        best = np.array([_swapped_on(costs, count)])
    for order in best.tolist():
        if order != list(range(count)):
            yield _order_correction(rig, tuple(order))


def _swapped_on(costs: "Callable[[Int[ndarray, 'order camera']], ndarray]", count: int) -> ndarray:
    """The order that swaps lead to, the best one after the other, while they help."""
    order, cost = np.arange(count), np.inf
    pairs = list(combinations(range(count), 2))
    while True:
        tried = np.tile(order, (len(pairs), 1))
        for row, (a, b) in zip(tried, pairs, strict=True):
            row[[a, b]] = row[[b, a]]
        values = costs(tried)
        if values.min() >= cost:
            return order
        order, cost = tried[values.argmin()], values.min()


def _order_correction(rig: CameraRig, order: tuple[int, ...]) -> Correction:
    names = rig.names
    moved = [camera for camera in range(len(rig)) if order[camera] != camera]
    listed = [names[order.index(place)] for place in range(len(rig))]
    pairs = [(a, b) for a, b in combinations(moved, 2) if order[a] == b and order[b] == a]
    if 2 * len(pairs) == len(moved):
        swaps = ", ".join(f"{names[a]} and {names[b]}" for a, b in pairs)
        mistake = f"cameras {swaps} seem to be swapped"
    else:
        course = ", ".join(f"{names[c]} is the calibration's {names[order[c]]}" for c in moved)
        mistake = f"the cameras are in another order: {course}"
    return Correction(
        mistake,
        f"where the calibration goes by place, write cameras: [{', '.join(listed)}]; where it goes "
        "by name, exchange these names in it, or rename the videos and masks",
        replace(rig.subset(list(order)), names=names),
        order,
    )


class _OrderCosts:
    """How far the masks' middles are from one point's projections, for any order of the cameras.

    Every camera's share of the normal equations (linear triangulation, as `cameras.triangulate`)
    is computed once for each video that it may have taken; an order only adds them up.
    """

    def __init__(self, middles: Float[ndarray, "frame camera 2"], rig: CameraRig) -> None:
        seen = np.isfinite(middles[..., 0]).all(axis=1)
        self.middles, self.rig = middles[seen], rig
        p = rig.projections  # (camera 3 4)
        # (frame video camera 2 4): two equations of each video's middle by each camera
        rows = self.middles[:, :, None, :, None] * p[:, None, 2] - p[:, :2]
        rows = rows / np.linalg.norm(rows[..., :3], axis=-1, keepdims=True)
        self.matrices = np.einsum("fvcki,fvckj->vcfij", rows[..., :3], rows[..., :3])
        self.vectors = -np.einsum("fvcki,fvck->vcfi", rows[..., :3], rows[..., 3])

    def __call__(self, orders: Int[ndarray, "order camera"]) -> Float[ndarray, " order"]:
        """The mean over frames of the mean distance (picture widths) of each order."""
        return np.concatenate([self._few(part) for part in np.array_split(orders, 16)])

    @np.errstate(divide="ignore", invalid="ignore")
    def _few(self, orders: Int[ndarray, "order camera"]) -> Float[ndarray, " order"]:
        if not len(orders) or not len(self.middles):
            return np.full(len(orders), np.inf)
        videos = np.arange(len(self.rig))
        matrices = self.matrices[videos, orders].sum(axis=1)  # (order frame 3 3)
        vectors = self.vectors[videos, orders].sum(axis=1)
        points = np.linalg.solve(matrices, vectors[..., None])[..., 0]
        pixels, _ = self.rig.project(points)  # (camera order frame 2)
        rows = np.arange(len(orders))[:, None]
        pixels = pixels[orders, rows]  # (order video frame 2)
        misses = np.linalg.norm(pixels - np.swapaxes(self.middles, 0, 1), axis=-1) / self.rig.width
        return np.fmin(misses, FARTHEST).mean(axis=(1, 2))


def _distance(middles: Float[ndarray, "frame camera 2"], rig: CameraRig) -> float:
    """What `_OrderCosts` says of a rig's own order."""
    return float(_OrderCosts(middles, rig)(np.arange(len(rig))[None])[0])
