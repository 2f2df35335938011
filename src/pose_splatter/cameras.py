"""Camera rigs: calibration in one canonical form, and which way is up.

Conventions (docs/conventions.md): OpenCV world-to-camera, x_cam = R x + t; pixel centres at
half-integers, so that downsampling by d divides the first two rows of K by d exactly.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import create_h5, load_npz, open_h5, save_npz, sound

# OpenCV and MATLAB calibrations put the centre of the first pixel at 0, we put it at 0.5.
INTEGER_PIXEL_CENTRES = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])

# The variance, in square pixels, by which rasterizing widens every Gaussian in a picture: a pixel
# is no point. gsplat's.
EPS2D = 0.3
MIN_AGREEMENT = 0.6  # cosine between the path's normal and the cameras' rough idea of up

# What `up:` in config may name: an axis of the calibration's world
WORLD_AXES = {
    sign + name: axis if sign == "" else -axis + 0.0
    for sign in ("", "-")
    for name, axis in zip("xyz", np.eye(3), strict=True)
}

KNOWN_UP = (
    "name the axis of the calibration's world that points up (up: z), or a file of vertical lines, "
    "under up: in config"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CameraRig:
    """The C calibrated cameras of a recording; lengths in the calibration's unit.

    `distortions` are OpenCV's k1, k2, p1, p2, k3 and, where a camera needs them, on to the 8, 12 or
    14 coefficients that OpenCV knows; zero for a pinhole. Those of the cameras named in `fisheye`
    are the k1 to k4 of OpenCV's fisheye model.
    """

    names: tuple[str, ...]
    width: int
    height: int
    intrinsics: Float[ndarray, "camera 3 3"]
    rotations: Float[ndarray, "camera 3 3"]
    translations: Float[ndarray, "camera 3"]
    distortions: Float[ndarray, "camera coefficient"]
    fisheye: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def viewmats(self) -> Float[ndarray, "camera 4 4"]:
        """World-to-camera transforms as homogeneous matrices."""
        viewmats = np.tile(np.eye(4), (len(self), 1, 1))
        viewmats[:, :3, :3] = self.rotations
        viewmats[:, :3, 3] = self.translations
        return viewmats

    @property
    def projections(self) -> Float[ndarray, "camera 3 4"]:
        """P = K [R | t] of each camera, without distortion."""
        return self.intrinsics @ self.viewmats[:, :3]

    @property
    def centers(self) -> Float[ndarray, "camera 3"]:
        """Where the cameras stand in the world."""
        return -np.einsum("cji,cj->ci", self.rotations, self.translations)

    def subset(self, cameras: list[int]) -> "CameraRig":
        """The rig of the given camera indices, in that order."""
        return replace(
            self,
            names=tuple(self.names[camera] for camera in cameras),
            intrinsics=self.intrinsics[cameras],
            rotations=self.rotations[cameras],
            translations=self.translations[cameras],
            distortions=self.distortions[cameras],
        )

    def without(self, names: Sequence[str]) -> list[int]:
        """The indices of all cameras but the named ones."""
        return [camera for camera, name in enumerate(self.names) if name not in names]

    def downsampled(self, factor: int) -> "CameraRig":
        """The rig of images averaged over factor x factor pixels (a rest of pixels is cut off)."""
        scale = np.array([1 / factor, 1 / factor, 1.0])[:, None]
        return replace(
            self,
            width=self.width // factor,
            height=self.height // factor,
            intrinsics=self.intrinsics * scale,
        )

    def undistorted(self) -> "CameraRig":
        """The plain pinholes that `undistortion_maps` turns the images into."""
        intrinsics = self.intrinsics.copy()
        intrinsics[:, 0, 1] = 0.0
        return replace(
            self, intrinsics=intrinsics, distortions=np.zeros_like(self.distortions), fisheye=()
        )

    def rotated(self, rotation: Float[ndarray, "3 3"]) -> "CameraRig":
        """The same cameras in a world turned by `rotation` (x_new = rotation x_old)."""
        return replace(self, rotations=self.rotations @ rotation.T)

    def project(
        self, points: Float[ndarray, "*point 3"]
    ) -> tuple[Float[ndarray, "camera *point 2"], Float[ndarray, "camera *point"]]:
        """Pixel coordinates (without distortion) and depths of world points in every camera."""
        homogeneous = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
        image = np.einsum("cij,...j->c...i", self.projections, homogeneous)
        return image[..., :2] / image[..., 2:], image[..., 2]


def undistortion_maps(
    rig: CameraRig, camera: int
) -> tuple[Float[ndarray, "height width"], Float[ndarray, "height width"]] | None:
    """cv2.remap's maps from distorted, skewed pixels to the pinhole; None where nothing changes."""
    skew = rig.intrinsics[camera, 0, 1]
    fisheye = rig.names[camera] in rig.fisheye  # without coefficients it is still no pinhole
    if not (fisheye or rig.distortions[camera].any() or skew):
        return None
    # cv2 works with integer pixel centres; it applies K as given, but ignores skew: add it here.
    pinhole = rig.undistorted().intrinsics[camera] - INTEGER_PIXEL_CENTRES
    size, distortion = (rig.width, rig.height), rig.distortions[camera]
    if fisheye:
        map_x, map_y = cv2.fisheye.initUndistortRectifyMap(
            pinhole, distortion[:4], np.eye(3), pinhole, size, cv2.CV_32FC1
        )
    else:
        map_x, map_y = cv2.initUndistortRectifyMap(
            pinhole, distortion, None, pinhole, size, cv2.CV_32FC1
        )
    return map_x + np.float32(skew) * (map_y - np.float32(pinhole[1, 2])) / np.float32(
        pinhole[1, 1]
    ), map_y


def filmed_pixels(
    rig: CameraRig, camera: int, points: Float[ndarray, "point 3"]
) -> Float[ndarray, "point 2"]:
    """Where a camera's own video shows world points: with the distortion and skew of its lens.

    What `undistortion_maps` undoes. Points behind the camera, or far out of its picture, come out
    anywhere.
    """
    K, distortion = rig.intrinsics[camera], rig.distortions[camera]
    shifted, (turn, _) = K - INTEGER_PIXEL_CENTRES, cv2.Rodrigues(rig.rotations[camera])
    move = rig.translations[camera]
    if rig.names[camera] in rig.fisheye:
        seen, _ = cv2.fisheye.projectPoints(
            points[:, None].astype(np.float64), turn, move, shifted, distortion[:4]
        )
    else:
        seen, _ = cv2.projectPoints(points, turn, move, shifted, distortion)
    pixels = seen.reshape(-1, 2) + 0.5
    pixels[:, 0] += K[0, 1] * (pixels[:, 1] - K[1, 2]) / K[1, 1]  # the skew, which cv2 ignores
    return pixels


def filmed_rays(
    rig: CameraRig, camera: int, pixels: Float[ndarray, "pixel 2"]
) -> Float[ndarray, "pixel 3"]:
    """The directions in which pixels of a camera's own video look: what `filmed_pixels` undoes."""
    K, distortion = rig.intrinsics[camera], rig.distortions[camera]
    shifted = K - INTEGER_PIXEL_CENTRES
    seen = pixels - 0.5
    seen[:, 0] -= K[0, 1] * (pixels[:, 1] - K[1, 2]) / K[1, 1]
    shifted[0, 1] = 0.0
    if rig.names[camera] in rig.fisheye:
        plain = cv2.fisheye.undistortPoints(seen[:, None], shifted, distortion[:4])
    else:
        plain = cv2.undistortPoints(seen[:, None], shifted, distortion)
    directions = np.column_stack([plain[:, 0], np.ones(len(plain))])
    return directions @ rig.rotations[camera]


def triangulate(
    rig: CameraRig, pixels: Float[ndarray, "camera 2"], weights: Bool[ndarray, " camera"]
) -> Float[ndarray, "3"]:
    """The world point nearest to the rays through `pixels` of the cameras that `weights` admits.

    Linear triangulation (Hartley and Zisserman, Multiple View Geometry, section 12.2).
    """
    projections = rig.projections[weights]
    rows = pixels[weights][:, :, None] * projections[:, 2:3] - projections[:, :2]
    rows = rows.reshape(-1, 4)
    rows = rows / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    solution, *_ = np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)
    return solution


# --- files -------------------------------------------------------------------------------------


def save_cameras(path: str | Path, rig: CameraRig) -> None:
    """Write cameras.h5: one dataset per field of the rig, pixel centres at half-integers.

    `fisheye`, the names of the cameras with such a lens, is there only where there are any.
    """
    with create_h5(path, small=True) as file:
        file.attrs.update(width=rig.width, height=rig.height, pixel_centers="half-integer")
        file["names"] = list(rig.names)
        for field in ("intrinsics", "rotations", "translations", "distortions"):
            file.create_dataset(field, data=getattr(rig, field), fletcher32=True)
        if rig.fisheye:
            file["fisheye"] = list(rig.fisheye)


def load_cameras(path: str | Path) -> CameraRig:
    """Read cameras.h5, in the calibration's own world."""
    with open_h5(path) as file, sound(path):
        return CameraRig(
            names=tuple(file["names"].asstr()[:]),
            width=int(file.attrs["width"]),
            height=int(file.attrs["height"]),
            intrinsics=file["intrinsics"][:],
            rotations=file["rotations"][:],
            translations=file["translations"][:],
            distortions=file["distortions"][:],
            fisheye=tuple(file["fisheye"].asstr()[:]) if "fisheye" in file else (),
        )


def load_upright_rig(cameras: str | Path, vertical_lines: str | Path, downsample: int) -> CameraRig:
    """The pinhole cameras of the stored images, in a world whose +z is up."""
    up = load_npz(vertical_lines)["up"]
    return load_cameras(cameras).undistorted().downsampled(downsample).rotated(rotation_to_z(up))


# --- up ----------------------------------------------------------------------------------------


def rotation_to_z(up: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """The smallest rotation that turns the unit vector `up` onto +z (Rodrigues' formula)."""
    z = np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(up, z), float(up @ z)
    squared_sine = float(axis @ axis)
    if cosine < 0 and squared_sine < 1e-24:  # any half turn about a horizontal axis will do
        return np.diag([1.0, -1.0, -1.0])
    # (1 - cos) / sin², in the form that loses no digits: near a half turn 1 + cos is all rounding.
    factor = 1 / (1 + cosine) if cosine >= 0 else (1 - cosine) / squared_sine
    cross = np.array(
        [[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]], dtype=np.float64
    )
    return np.eye(3) + cross + factor * (cross @ cross)


def cameras_up(rig: CameraRig) -> Float[ndarray, "3"]:
    """Roughly up, from the cameras alone: they look from above and are not held upside down.

    A camera's upward image axis and the axis out of its back both point up, the one in a level
    camera, the other in one that looks straight down.
    """
    up = -(rig.rotations[:, 1] + rig.rotations[:, 2]).mean(axis=0)
    return up / np.linalg.norm(up)


def estimate_up(
    rig: CameraRig, path: Float[ndarray, "point 3"], *, min_spread: float = 0.25
) -> Float[ndarray, "3"]:
    """The floor's unit normal, from where the animal has been and where the cameras stand.

    The centres of an animal on a floor lie near a plane; rearing lifts some of them, so the plane
    is fitted with Cauchy weights (iteratively reweighted least squares). The cameras settle its
    sign. Where the animal kept to a line (the path's second spread is under `min_spread` of its
    first), they also settle what the line leaves open; where it kept to a spot, or the plane
    stands upright, they decide alone. Whatever they decide is logged as a warning: cameras are
    held as it suits.
    """
    rough = cameras_up(rig)
    weights = np.ones(len(path))
    normal = rough
    for _ in range(50):
        offsets = path - np.average(path, axis=0, weights=weights)
        values, axes = np.linalg.eigh((offsets * weights[:, None]).T @ offsets / weights.sum())
        if np.sqrt(values[1] / max(values[2], 1e-30)) < min_spread:
            normal = rough - (rough @ axes[:, 2]) * axes[:, 2]
            normal /= max(float(np.linalg.norm(normal)), 1e-30)
            logger.warning(
                "the animal kept to a line or a spot, which does not show the floor: up comes from "
                f"how the cameras are held; {KNOWN_UP}"
            )
            break
        normal = axes[:, 0]
        residuals = np.abs(offsets @ normal)
        scale = max(1.4826 * float(np.median(residuals)), 1e-9)
        weights = 1 / (1 + (residuals / (2 * scale)) ** 2)
    if abs(normal @ rough) < MIN_AGREEMENT:
        logger.warning(
            "the animal's path does not show the floor: up comes from how the cameras are held; "
            f"{KNOWN_UP}"
        )
        return rough
    return normal if normal @ rough > 0 else -normal


def up_from_lines(lines: Float[ndarray, "line 2 3"]) -> Float[ndarray, "3"]:
    """The mean direction of vertical lines, each given by its lower and its upper end."""
    directions = lines[:, 1] - lines[:, 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    up = directions.mean(axis=0)
    return up / np.linalg.norm(up)


def read_lines(path: str | Path) -> Float[ndarray, "line 2 3"]:
    """Read a text file with a vertical line a row: lower x y z, upper x y z, in world units."""
    try:
        rows = np.loadtxt(path, delimiter="," if "," in Path(path).read_text() else None, ndmin=2)
    except (OSError, ValueError) as error:
        raise PoseSplatterError(
            f"{path}: cannot read vertical lines ({error}); write six numbers a row: "
            "lower x y z, upper x y z."
        ) from error
    if rows.shape[1] != 6:
        raise PoseSplatterError(
            f"{path}: rows have {rows.shape[1]} numbers, not the six of a vertical line "
            "(lower x y z, upper x y z); correct the file."
        )
    return rows.reshape(-1, 2, 3)


def save_up(
    path: str | Path, up: Float[ndarray, "3"], lines: Float[ndarray, "line 2 3"] | None = None
) -> None:
    """Write vertical_lines.npz: `up`, and `lines` (line 2 3), empty where up was estimated."""
    save_npz(path, up=up, lines=np.empty((0, 2, 3)) if lines is None else lines)
