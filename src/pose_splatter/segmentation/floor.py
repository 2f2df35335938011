"""The floor that shadows fall on: what is on it looks the same from everywhere, fur does not.

A shadow darkens a place of the floor by as much in every camera. A pixel of the animal hides a
place of the floor that other cameras see as it is, or they see another part of the animal there. So
where the floor is known, cameras tell shaded floor from shaded fur together, which none can alone.
The floor is found by the shadows themselves: it is the plane on which those of all cameras fall on
each other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from scipy.optimize import minimize

from pose_splatter.cameras import CameraRig, estimate_up, filmed_pixels, filmed_rays
from pose_splatter.files import load_npz, save_npz
from pose_splatter.segmentation.foreground import DIM, Change

AGREEING = 3  # cameras in which a shadow lies at the same place of the floor, at least
AGREED = 0.2  # of the shadows, at least: else there is no floor, or no shadow on it
CELLS = 100  # along the edge of the floor on which shadows are compared
HEIGHTS = 41  # of the plane under the animal that are tried
TILTS = 0.08  # radians by which it is tilted first
OUTSIDE = -1e6  # pixels
ALIKE = 0.07  # log ratio by which two cameras' shadings of one place differ, at most
COARSE = 4  # pixels: between those for which it is computed who else sees their floor
SOFT = 1 / 144  # of the picture's width: how much shadows are blurred, so that they meet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Floor:
    """A plane in the calibration's world: `normal` points up, `point` lies below the animal.

    `agreement` (0 to 1) is the share of the cameras' shadows that fall on each other there.
    """

    normal: Float[ndarray, "3"]
    point: Float[ndarray, "3"]
    agreement: float

    def square(self, half: float, cells: int) -> Float[ndarray, "cells cells 3"]:
        """Points of a square about `point`, from -half to half in two directions."""
        first, second = self.axes
        steps = np.linspace(-half, half, cells)
        return self.point + steps[:, None, None] * first + steps[None, :, None] * second

    @property
    def axes(self) -> tuple[Float[ndarray, "3"], Float[ndarray, "3"]]:
        """Two directions in the plane, at right angles."""
        first = np.cross(self.normal, np.eye(3)[np.abs(self.normal).argmin()])
        first /= np.linalg.norm(first)
        return first, np.cross(self.normal, first)

    def tilted(self, toward_first: float, toward_second: float, raised: float) -> "Floor":
        """The plane tilted about `point` (radians, small) and raised."""
        first, second = self.axes
        normal = self.normal + toward_first * first + toward_second * second
        normal /= np.linalg.norm(normal)
        return Floor(normal, self.point + raised * normal, self.agreement)


def find_floor(
    rig: CameraRig,
    shadows: Float32[ndarray, "frame camera height width"],
    scale: int,
    path: Float[ndarray, "point 3"],
) -> Floor | None:
    """The plane on which the shadows of all cameras fall on each other; None where there is none.

    So it is with fewer than three cameras: the shadows of two meet nearly everywhere.

    `shadows` says where each camera sees floor in shade (0 or 1), in frames spread over a
    recording, averaged over `scale` pixels of its video; `path` where the animal was. Up is first
    guessed from the path, then every height below it is tried, and the best plane tilted and
    raised.
    """
    if len(rig) < AGREEING or len(path) == 0 or not shadows.any():
        return None
    soft = np.stack([[_soften(view) for view in frame] for frame in shadows])
    start = Floor(estimate_up(rig, path), np.median(path, axis=0), 0.0)
    half = _reach(rig, path)

    def agreement(floor: Floor) -> float:
        return _agreement(rig, soft, floor.square(half, CELLS), scale)

    heights = np.linspace(0.25, -1, HEIGHTS) * half
    start = max((start.tilted(0, 0, height) for height in heights), key=agreement)
    step = half / HEIGHTS
    found = minimize(
        lambda change: -agreement(start.tilted(change[0], change[1], change[2] * step)),
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": np.vstack([np.zeros(3), np.diag([TILTS, TILTS, 1])])}
        | {"maxfev": 150, "xatol": 1e-3, "fatol": 1e-4},
    )
    best = start.tilted(found.x[0], found.x[1], found.x[2] * step)
    logger.info("shadows agree by %.2f on the best plane for a floor", -found.fun)
    return Floor(best.normal, best.point, -found.fun) if -found.fun >= AGREED else None


def _soften(view: Float32[ndarray, "height width"]) -> Float32[ndarray, "height width"]:
    return cv2.GaussianBlur(view, (0, 0), max(SOFT * view.shape[1], 0.5))


def _reach(rig: CameraRig, path: Float[ndarray, "point 3"]) -> float:
    """Half of what a camera sees at the animal's distance, in the median: where shadows may be."""
    depths = np.median(rig.project(path)[1], axis=1)
    return float(np.median(depths * rig.width / rig.intrinsics[:, 0, 0])) / 2


def _agreement(
    rig: CameraRig,
    shadows: Float32[ndarray, "frame camera height width"],
    square: Float[ndarray, "cells cells 3"],
    scale: float,
) -> float:
    """The share of the shadows on a square that so many cameras see at the same place."""
    seen = np.stack(
        [
            [_lay_out(view, places) for view in shadows[:, camera]]
            for camera, places in enumerate(_places(rig, square, scale))
        ]
    )
    ordered = np.sort(seen, axis=0)
    enough = max(AGREEING, len(rig) - 2)
    return float(ordered[-enough].sum() / max(float(ordered[-1].sum()), 1e-9))


def _places(
    rig: CameraRig, square: Float[ndarray, "row column 3"], scale: float = 1.0
) -> Float32[ndarray, "camera row column 2"]:
    """Where each camera's picture, made smaller by `scale`, shows points, as cv2.remap counts; far
    outside where it does not."""
    points = np.nan_to_num(square.reshape(-1, 3))
    known = np.isfinite(square[..., :1])
    found = []
    for camera in range(len(rig)):
        plain, depths = rig.subset([camera]).project(points)
        size = np.array([rig.width, rig.height])
        # Beyond that the polynomial of the distortion may lead back into the picture.
        near = (np.abs(plain[0] - size / 2) < size).all(axis=1) & (depths[0] > 0)
        pixels = filmed_pixels(rig, camera, points) / scale - 0.5
        pixels = np.where(near[:, None], pixels, OUTSIDE).reshape(*square.shape[:2], 2)
        found.append(np.where(known, pixels, OUTSIDE))
    return np.stack(found).astype(np.float32)


def _lay_out(
    view: Float32[ndarray, "height width *channel"], places: Float32[ndarray, "row column 2"]
) -> Float32[ndarray, "row column *channel"]:
    """What a picture shows at places; 0 outside of it."""
    return np.asarray(cv2.remap(view, places[..., 0], places[..., 1], cv2.INTER_LINEAR))


@dataclass(frozen=True)
class FloorViews:
    """Where `observed` cameras see the place of the floor that a pixel of any camera sees.

    `places` are coordinates as cv2.remap counts, of every COARSE-th pixel, far outside of a picture
    where the floor is not seen.
    """

    places: Float32[ndarray, "camera other row column 2"]
    observed: tuple[int, ...]

    @classmethod
    def of(cls, rig: CameraRig, floor: Floor, observed: Sequence[int]) -> "FloorViews":
        """The views of a rig's cameras, at the pixels of its videos, distortion included."""
        rows, columns = (np.arange(size // COARSE) for size in (rig.height, rig.width))
        pixels = (np.stack(np.meshgrid(columns, rows), axis=-1) + 0.5) * COARSE
        others = rig.subset(list(observed))
        places = [
            _places(others, _hit_by_rays(rig, camera, pixels, floor)) for camera in range(len(rig))
        ]
        return cls(np.stack(places), tuple(observed))

    def shaded(self, changes: Sequence[Change]) -> list[Bool[ndarray, "height width"]]:
        """Where in its box what changed in each camera is the floor's shade, as others see it too.

        Only observed cameras are compared with.
        """
        shadings = [change.shadings() for change in changes]
        return [
            (shadings[camera][change.box][..., 0] < DIM)
            & (self._differences(camera, change.box, shadings) < ALIKE)
            for camera, change in enumerate(changes)
        ]

    def _differences(
        self,
        camera: int,
        box: tuple[slice, slice],
        shadings: Sequence[Float32[ndarray, "height width 3"]],
    ) -> Float32[ndarray, "row column"]:
        """How much a camera's shading differs, at least, from what another sees at that place."""
        own = shadings[camera]
        differences = []
        for other, places in zip(self.observed, self.places[camera], strict=True):
            if other != camera:
                fine = cv2.resize(places, own.shape[1::-1], interpolation=cv2.INTER_LINEAR)
                seen = _lay_out(shadings[other], fine[box])
                differences.append(np.abs(own[box] - seen).max(axis=-1))
        return np.min(differences, axis=0)


def _hit_by_rays(
    rig: CameraRig, camera: int, pixels: Float[ndarray, "row column 2"], floor: Floor
) -> Float[ndarray, "row column 3"]:
    """The places of the floor that pixels of a camera see; NaN where they look above it."""
    rays = filmed_rays(rig, camera, pixels.reshape(-1, 2))
    center = rig.centers[camera]
    with np.errstate(divide="ignore", invalid="ignore"):
        far = ((floor.point - center) @ floor.normal) / (rays @ floor.normal)
    points = center + np.where(far > 0, far, np.nan)[:, None] * rays
    return points.reshape(*pixels.shape[:2], 3)


def save_floor(path: str | Path, floor: Floor | None) -> None:
    """Write floor.npz: `normal`, `point`, `agreement`; empty where no floor was found."""
    save_npz(path, **({} if floor is None else vars(floor)))


def load_floor(path: str | Path) -> Floor | None:
    """Read what `save_floor` wrote."""
    arrays = load_npz(path)
    return Floor(arrays["normal"], arrays["point"], float(arrays["agreement"])) if arrays else None
