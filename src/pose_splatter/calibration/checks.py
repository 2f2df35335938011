"""Is this a rig that can have taken these videos? What cannot be is refused, one sentence each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import linprog

from pose_splatter.calibration.camera import CalibratedCamera
from pose_splatter.cameras import CameraRig
from pose_splatter.errors import PoseSplatterError

SAME_PLACE = 1e-3  # of the middle distance between cameras
PARALLEL = np.cos(np.radians(20))  # of the angle between axes that meet nowhere in particular
MILLIMETRES = 1000.0  # in a metre
OTHER_UNIT = 100.0  # millimetres among metres are 1000, inches 40: a rig itself is seldom so uneven


def check_size(
    path: str | Path, camera: CalibratedCamera, name: str, size: tuple[int, int]
) -> None:
    """Refuse a camera that was calibrated with images of another size than its video's.

    One pixel is forgiven: some programs write the last pixel's number.
    """
    if camera.size is None or max(abs(np.subtract(camera.size, size))) <= 1:
        return
    swapped = max(abs(np.subtract(camera.size, size[::-1]))) <= 1
    raise PoseSplatterError(
        f"{path}: camera {name} was calibrated with images of {camera.size[0]} x {camera.size[1]} "
        f"pixels, but its video has {size[0]} x {size[1]}; "
        + (
            "width and height are swapped: turn the videos as they were when calibrated."
            if swapped
            else "use the calibration made at the videos' size."
        )
    )


def check_rig(path: str | Path, rig: CameraRig, *, sized: Sequence[str]) -> None:
    """Refuse numbers that cannot be cameras that took these images together.

    `sized` names the cameras whose images' size the file gave, which was found right. Of the others
    the principal points have to tell whether it is: they lie near the middle of an image.
    """
    places = [f"{path}: camera {name} (index {index})" for index, name in enumerate(rig.names)]
    for camera, where in enumerate(places):
        _check_numbers(where, rig, camera)
    if not sized:
        _check_orientation(path, rig)
    for camera, where in enumerate(places):
        _check_lens(where, rig, camera, sized=rig.names[camera] in sized)
    _check_units(path, rig)
    _check_places(path, rig)
    _check_common_view(path, rig)


def _check_numbers(where: str, rig: CameraRig, camera: int) -> None:
    fields = (rig.intrinsics, rig.rotations, rig.translations, rig.distortions)
    if not all(np.isfinite(field[camera]).all() for field in fields):
        raise PoseSplatterError(f"{where} has a NaN or infinite number; calibrate it again.")
    rotation = rig.rotations[camera]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        raise PoseSplatterError(
            f"{where} has a rotation whose rows are not orthonormal; calibrate it again."
        )
    if np.linalg.det(rotation) < 0:
        raise PoseSplatterError(
            f"{where} has a mirrored rotation (determinant -1); flip one axis in the file."
        )


def _check_lens(where: str, rig: CameraRig, camera: int, *, sized: bool) -> None:
    intrinsics, size = rig.intrinsics[camera], np.array([rig.width, rig.height])
    if not np.allclose([intrinsics[1, 0], *intrinsics[2]], [0, 0, 0, 1], atol=1e-6):
        raise PoseSplatterError(
            f"{where} has an intrinsic matrix that is not fx, s, cx; 0, fy, cy; 0, 0, 1; if it is "
            "transposed, transpose it."
        )
    focal, principal = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    if (focal <= 0).any():
        raise PoseSplatterError(
            f"{where} has focal lengths {focal.round(1).tolist()}, which are not above 0; "
            "calibrate it again."
        )
    off_center = np.abs(principal / size - 0.5).max()  # 0.5 is the edge
    lens = (
        f"focal lengths {focal.round(1).tolist()} and principal point {principal.round(1).tolist()}"
    )
    if sized and off_center > 0.5:
        raise PoseSplatterError(
            f"{where} has {lens}, which lies outside its images of {rig.width} x {rig.height} "
            "pixels; calibrate it again."
        )
    if not sized and off_center > 0.25:
        raise PoseSplatterError(
            f"{where} has {lens}, which do not fit its video of {rig.width} x {rig.height} pixels; "
            "use the calibration made at the videos' size (if it is, and its sensor is cropped: "
            "docs/calibration.md)."
        )


def _check_orientation(path: str | Path, rig: CameraRig) -> None:
    """Refuse principal points that lie in the middle of images of swapped width and height."""
    principal, size = rig.intrinsics[:, :2, 2], np.array([rig.width, rig.height])
    as_it_is, swapped = (
        np.median(np.abs(principal / sides - 0.5).max(axis=1)) for sides in (size, size[::-1])
    )
    if as_it_is > 0.1 and swapped < 0.05:
        raise PoseSplatterError(
            f"{path}: the principal points lie in the middle of images of {rig.height} x "
            f"{rig.width} pixels, but the videos have {rig.width} x {rig.height}: width and height "
            "are swapped; turn the videos as they were when calibrated."
        )


def _check_places(path: str | Path, rig: CameraRig) -> None:
    if len(rig) < 2:
        return
    distances = np.linalg.norm(rig.centers[:, None] - rig.centers, axis=-1)
    first, second = np.triu_indices(len(rig), k=1)
    pairs = distances[first, second]
    nearest = int(np.argmin(pairs))
    if pairs[nearest] > SAME_PLACE * np.median(pairs):
        return
    who = (
        "all cameras stand"
        if np.median(pairs) <= 1e-9 * max(1.0, np.abs(rig.centers).max())
        else f"cameras {rig.names[first[nearest]]} and {rig.names[second[nearest]]} stand"
    )
    raise PoseSplatterError(
        f"{path}: {who} at one place; give every camera its own rotation and translation."
    )


def _check_units(path: str | Path, rig: CameraRig) -> None:
    """Refuse a camera whose translation is in another unit than the others'.

    A camera near the world's origin is no proof: it may be the one that the world was laid into.
    But then it also looks where the others do. Of two cameras nobody knows which is wrong.
    """
    if len(rig) < 3:
        if len(rig) == 2:
            _check_two_units(path, rig)
        return
    distances = np.linalg.norm(rig.translations, axis=1)
    for camera, name in enumerate(rig.names):
        others = _but(rig, camera)
        usual = float(np.median(distances[others]))
        if not distances[camera] or not usual:
            continue
        factor = distances[camera] / usual
        if 1 / OTHER_UNIT < factor < OTHER_UNIT:
            continue
        if not _looks_at(rig, camera, _focus(rig.subset(others))):
            raise PoseSplatterError(
                f"{path}: camera {name} is {distances[camera]:.4g} from the world's origin, the "
                f"others about {usual:.4g}; write all translations in one unit (millimetres or "
                "metres)."
            )


def _check_two_units(path: str | Path, rig: CameraRig) -> None:
    """Refuse two cameras that look at one place only with both translations in one unit.

    Nearly parallel or opposed axes do not tell; then `check` finds that there is no hull.
    """
    distances = np.linalg.norm(rig.translations, axis=1)
    if not distances.all() or distances.max() < OTHER_UNIT * distances.min():
        return
    first, second = rig.rotations[:, 2]
    if abs(first @ second) > PARALLEL or _converge(rig):
        return
    # The nearer in metres; the farther in millimetres is the same rig, scaled.
    factors = np.where(distances == distances.min(), MILLIMETRES, 1.0)
    if _converge(replace(rig, translations=rig.translations * factors[:, None])):
        one, other = (
            f"camera {name} is {distance:.4g}"
            for name, distance in zip(rig.names, distances, strict=True)
        )
        raise PoseSplatterError(
            f"{path}: {one} from the world's origin, {other}; write both translations in one unit "
            "(millimetres or metres)."
        )


def _converge(rig: CameraRig) -> bool:
    """Whether all cameras look at the point nearest to their axes."""
    focus = _focus(rig)
    return all(_looks_at(rig, camera, focus) for camera in range(len(rig)))


def _focus(rig: CameraRig) -> Float[ndarray, "3"]:
    """The point nearest to the cameras' optical axes, in the sense of least squares."""
    axes = rig.rotations[:, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    moments = np.einsum("cij,cj->i", across, rig.centers)
    return np.linalg.lstsq(across.sum(axis=0), moments, rcond=None)[0]


def _looks_at(rig: CameraRig, camera: int, focus: Float[ndarray, "3"]) -> bool:
    """Whether a camera sees a point, and not from a hundredth or a hundredfold of its fellows'."""
    pixels, depths = rig.project(focus)
    usual = np.median(np.delete(depths, camera))
    inside = (pixels[camera] > 0) & (pixels[camera] < [rig.width, rig.height])
    return bool(inside.all() and usual / OTHER_UNIT < depths[camera] < usual * OTHER_UNIT)


def _check_common_view(path: str | Path, rig: CameraRig) -> None:
    if _share_view(rig):
        return
    culprits = [
        name for camera, name in enumerate(rig.names) if _share_view(rig.subset(_but(rig, camera)))
    ]
    who = (
        f"camera {culprits[0]} looks away from what the others see together"
        if len(culprits) == 1
        else "the cameras look away from each other: no point is in the view of all of them"
    )
    raise PoseSplatterError(
        f"{path}: {who}; check the order of the cameras, and that rotations and translations take "
        "the world to the camera."
    )


def _but(rig: CameraRig, camera: int) -> list[int]:
    return [other for other in range(len(rig)) if other != camera]


def _share_view(rig: CameraRig) -> bool:
    """Whether a point lies inside the pictures of all cameras: linear programming.

    The four sides of each camera's view are planes through its centre; what is asked for is the
    largest ball that touches none of them.
    """
    first, second, third = np.moveaxis(rig.projections, 1, 0)
    sides = np.concatenate([first, rig.width * third - first, second, rig.height * third - second])
    sides /= np.linalg.norm(sides[:, :3], axis=1, keepdims=True)
    middle = rig.centers.mean(axis=0)
    reach = float(np.linalg.norm(rig.centers - middle, axis=1).max()) or 1.0
    # In units of the rig's size, about its middle: n x + d >= r.
    offsets = (sides[:, :3] @ middle + sides[:, 3]) / reach
    found = linprog(
        [0, 0, 0, -1],
        A_ub=np.column_stack([-sides[:, :3], np.ones(len(sides))]),
        b_ub=offsets,
        bounds=[(None, None)] * 3 + [(None, 1)],
    )
    return bool(found.success and -found.fun > 1e-6)
