"""Known geometry that tests share: a ring of cameras around shapes whose outlines are exact."""

import cv2
import numpy as np
import pytest

from pose_splatter.cameras import CameraRig


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation of an OpenCV camera at `eye` that looks at `target`, level with the horizon."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def ring_rig(
    n_cameras: int = 6, width: int = 160, height: int = 120, distance: float = 1000.0
) -> CameraRig:
    """Cameras around the origin at mixed heights, which see about +-200 units of it."""
    rotations, translations = [], []
    for camera in range(n_cameras):
        azimuth, elevation = 2 * np.pi * camera / n_cameras, np.radians([15, 35, 60][camera % 3])
        direction = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)]
        eye = distance * np.array([*direction, np.sin(elevation)])
        rotation = look_at(eye, np.zeros(3))
        rotations.append(rotation)
        translations.append(-rotation @ eye)
    K = np.array([[300.0, 0, width / 2], [0, 300.0, height / 2], [0, 0, 1]])
    return CameraRig(
        names=tuple(str(camera) for camera in range(n_cameras)),
        width=width,
        height=height,
        intrinsics=np.tile(K, (n_cameras, 1, 1)),
        rotations=np.array(rotations),
        translations=np.array(translations),
        distortions=np.zeros((n_cameras, 5)),
    )


def silhouettes(rig: CameraRig, points: np.ndarray, radius: float) -> np.ndarray:
    """Masks of balls of one radius about world points: exact where the balls overlap densely."""
    masks = np.zeros((len(rig), rig.height, rig.width), np.uint8)
    pixels, depths = rig.project(points)
    for camera in range(len(rig)):
        for (u, v), depth in zip(pixels[camera], depths[camera], strict=True):
            center = (round((u - 0.5) * 16), round((v - 0.5) * 16))
            size = round(radius * rig.intrinsics[camera, 0, 0] / depth * 16)
            cv2.circle(masks[camera], center, size, 1, thickness=-1, shift=4)
    return masks


@pytest.fixture
def rig() -> CameraRig:
    return ring_rig()
