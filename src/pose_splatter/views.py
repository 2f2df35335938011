"""Cameras that were never there: a rig's camera moved around the animal."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from pose_splatter.cameras import CameraRig, rotation_to_z
from pose_splatter.carving import heading_rotation


def orbit(
    rig: CameraRig,
    camera: int,
    center: Float[ndarray, "3"],
    yaws: Float[ndarray, " view"],
    pitches: Float[ndarray, " view"],
    offset: Sequence[float] = (0.0, 0.0, 0.0),
) -> CameraRig:
    """One camera of the rig carried around `center` (world units), a view per yaw and pitch.

    Angles are degrees: a yaw turns about +z, counter-clockwise from above; a pitch lifts the camera
    about its own horizontal axis, before that. Both keep the intrinsics, the distance and the pixel
    at which the centre is seen. `offset` then moves the camera along its own axes (right, down,
    ahead; world units). Views are named by their number.
    """
    rotation, translation = rig.rotations[camera], rig.translations[camera]
    lifts = Rotation.from_rotvec(np.outer(-pitches, rotation[0]), degrees=True)
    rotations = np.stack(
        [
            rotation @ (heading_rotation(np.radians(yaw)) @ lift).T
            for yaw, lift in zip(yaws, lifts.as_matrix(), strict=True)
        ]
    )
    views = rig.subset([camera] * len(rotations))
    return replace(
        views,
        names=tuple(str(view) for view in range(len(rotations))),
        rotations=rotations,
        # Where the centre lies in the camera's frame stays as it was.
        translations=rotation @ center + translation - rotations @ center - np.asarray(offset),
    )


def framed(views: CameraRig, center: Float[ndarray, "3"], radius: float, size: int) -> CameraRig:
    """The views turned straight to `center`, so that a ball about it fills square pictures.

    Each keeps its place; its focal length is what makes a ball of `radius` (world units) just fit
    into `size` x `size` pixels. Raises ValueError where a camera stands within the ball.
    """
    rotations, translations, intrinsics = [], [], []
    for rotation, translation in zip(views.rotations, views.translations, strict=True):
        seen = rotation @ center + translation
        distance = float(np.linalg.norm(seen))
        if distance <= radius:
            raise ValueError(f"A camera {distance:g} from the centre stands in its ball {radius:g}")
        turn = rotation_to_z(seen / distance)
        focal = size / 2 * np.sqrt(distance**2 - radius**2) / radius
        rotations.append(turn @ rotation)
        translations.append(turn @ translation)
        intrinsics.append([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return replace(
        views,
        width=size,
        height=size,
        intrinsics=np.array(intrinsics),
        rotations=np.array(rotations),
        translations=np.array(translations),
        distortions=np.zeros_like(views.distortions),
    )
