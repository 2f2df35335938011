"""The camera rig: where the cameras stand, and their calibration as OpenCV would state it.

MuJoCo's world is in metres with z up. The calibration's world is that of a tilted board, in
millimetres, as a real calibration's is: no axis of it is up.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

AIM = np.array([0.0, 0.0, 0.045])  # the arena's middle, m
FIELD = 0.80  # m across the arena's middle that the image's width shows
REFERENCE_WIDTH, REFERENCE_HEIGHT = 576, 512
SENSOR_WIDTH = 0.0058  # m; MuJoCo wants one, only ratios matter

# The default rig. Per camera: azimuth and elevation in degrees, distance in m.
DEFAULT_RIG = (
    (12.0, 13.0, 1.25),
    (63.0, 33.0, 1.12),
    (131.0, 61.0, 1.30),
    (203.0, 21.0, 1.18),
    (251.0, 43.0, 1.38),
    (307.0, 16.0, 1.22),
)


@dataclass(frozen=True)
class Rig:
    """Calibrated pinhole cameras. C cameras, half-integer pixel centres."""

    intrinsics: np.ndarray  # (C, 3, 3) px; pixel (0, 0) covers [0, 1)^2
    rotations: np.ndarray  # (C, 3, 3) MuJoCo world to camera, OpenCV axes
    centers: np.ndarray  # (C, 3) m, MuJoCo world
    width: int
    height: int

    def project(self, points: np.ndarray, camera: int) -> np.ndarray:
        """(N, 2) pixels of (N, 3) points in MuJoCo's world."""
        seen = (points - self.centers[camera]) @ self.rotations[camera].T
        pixels = seen @ self.intrinsics[camera].T
        return pixels[:, :2] / pixels[:, 2:]


@dataclass(frozen=True)
class World:
    """The calibration's world: x_calibration [mm] = 1000 rotation x_mujoco [m] + translation."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,) mm

    def points(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of MuJoCo's world (m) in the calibration's (mm)."""
        return 1000.0 * points @ self.rotation.T + self.translation

    def directions(self, directions: np.ndarray) -> np.ndarray:
        """(..., 3) directions of MuJoCo's world in the calibration's."""
        return directions @ self.rotation.T

    def extrinsics(self, rig: Rig) -> tuple[np.ndarray, np.ndarray]:
        """OpenCV's (C, 3, 3) R and (C, 3) t in mm: x_camera = R x + t."""
        rotations = rig.rotations @ self.rotation.T
        translations = -np.einsum("cij,cj->ci", rotations, self.points(rig.centers))
        return rotations, translations


def look_at(center: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """World-to-camera rotation with OpenCV's axes (x right, y down, z forward); roll in rad."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    upright = np.stack([right, np.cross(forward, right), forward])
    return Rotation.from_euler("z", roll).as_matrix() @ upright


def random_stands(
    count: int,
    rng: np.random.Generator,
    distance: tuple[float, float],
    elevation: tuple[float, float],
) -> list[tuple[float, float, float]]:
    """Stands all round the arena, elevations spread evenly from low to high in random order."""
    azimuths = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 360 / count
    azimuths += rng.uniform(0, 360)
    elevations = rng.permutation(np.linspace(*elevation, count))
    return list(zip(azimuths % 360, elevations, rng.uniform(*distance, count), strict=True))


def make_rig(
    name: str,
    count: int,
    width: int,
    height: int,
    seed: int = 0,
    distance: tuple[float, float] = (1.0, 1.5),
    elevation: tuple[float, float] = (12.0, 62.0),
) -> Rig:
    """The default rig, or a random one of any number of cameras.

    Focal lengths, aims, rolls and principal points differ a little from camera to camera.

    Raises:
        ValueError: the default rig has no `count` cameras.
    """
    rng = np.random.default_rng([seed, 3])
    if name == "default":
        if count > len(DEFAULT_RIG):
            raise ValueError(
                f"the default rig has {len(DEFAULT_RIG)} cameras, not {count}: use --rig random"
            )
        stands = list(DEFAULT_RIG[:count])
    else:
        stands = random_stands(count, rng, distance, elevation)
    scale = min(width / REFERENCE_WIDTH, height / REFERENCE_HEIGHT)
    intrinsics, rotations, centers = [], [], []
    for azimuth, rise, far in stands:
        a, e = np.radians([azimuth, rise])
        target = AIM + rng.uniform(-0.012, 0.012, 3)
        center = AIM + far * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        focal = scale * REFERENCE_WIDTH * far / FIELD * rng.uniform(0.96, 1.04)
        shift = scale * rng.uniform(-14, 14, 2)
        rotations.append(look_at(center, target, rng.uniform(-0.03, 0.03)))
        centers.append(center)
        intrinsics.append(
            [[focal, 0, width / 2 + shift[0]], [0, focal, height / 2 + shift[1]], [0, 0, 1]]
        )
    return Rig(np.array(intrinsics), np.array(rotations), np.array(centers), width, height)


def make_world(seed: int = 0) -> World:
    """A board lying askew somewhere in the room."""
    rng = np.random.default_rng([seed, 4])
    angles = np.array([118.0, -37.0, 64.0]) + rng.uniform(-15, 15, 3)
    return World(
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix(),
        np.round(rng.uniform(-600, 600, 3), 1),
    )


def add_cameras(spec: mujoco.MjSpec, rig: Rig) -> list[str]:
    """Add the rig's cameras to the scene and return their names.

    MuJoCo's cameras look along -z with y up; its principal point is given in pixels from the
    image's middle, counted to the left and up.
    """
    names = []
    for camera, (matrix, rotation, center) in enumerate(
        zip(rig.intrinsics, rig.rotations, rig.centers, strict=True)
    ):
        axes = rotation.T @ np.diag([1.0, -1.0, -1.0])
        added = spec.worldbody.add_camera(
            name=f"camera{camera}",
            pos=center,
            quat=np.roll(Rotation.from_matrix(axes).as_quat(), 1),
            resolution=[rig.width, rig.height],
            sensor_size=[SENSOR_WIDTH, SENSOR_WIDTH * rig.height / rig.width],
            focal_pixel=[matrix[0, 0], matrix[1, 1]],
            principal_pixel=[rig.width / 2 - matrix[0, 2], rig.height / 2 - matrix[1, 2]],
        )
        names.append(added.name)
    return names
