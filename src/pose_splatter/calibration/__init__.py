"""Reading calibration files of any format into a CameraRig; docs/calibration.md lists them.

A module per family of formats, each with `recognises(path)`, which looks at the content and not at
the name, and `read(path)`, the cameras in the file's order.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pose_splatter.calibration import (
    anipose,
    colmap,
    dannce,
    hdf5,
    mammal,
    nerfstudio,
    opencv,
    qualisys,
)
from pose_splatter.calibration.camera import OPENCV_COEFFICIENTS, CalibratedCamera
from pose_splatter.calibration.checks import check_rig, check_size
from pose_splatter.cameras import CameraRig
from pose_splatter.errors import PoseSplatterError
from pose_splatter.paths import CAMERA, with_camera

# MATLAB's files may be HDF5 too, and OpenCV's may be any YAML or JSON: the stricter come first.
FORMATS = (dannce, hdf5, mammal, qualisys, anipose, nerfstudio, colmap, opencv)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """The cameras that a calibration file holds, and the name of its format."""

    format: str
    cameras: tuple[CalibratedCamera, ...]


def read_calibration(path: str | Path, names: Sequence[str], width: int, height: int) -> CameraRig:
    """Read the calibration of a recording's cameras, of any known format.

    `path` is a file, a folder, or a pattern with {camera} in it, which stands for a file per
    camera. `names` are the recording's cameras, `width` and `height` their videos'. Where the file
    names its cameras, those of the same names are taken, whatever their order, and further ones are
    left alone; where none of the names is known to it, its cameras are taken in its order. Raises
    PoseSplatterError where the file is not understood, or its cameras cannot have taken the videos.
    """
    if CAMERA in str(path):
        cameras = [_single(with_camera(path, name), name) for name in names]
    else:
        cameras = _matched(path, read_cameras(path).cameras, names)
    for camera, name in zip(cameras, names, strict=True):
        check_size(path, camera, name, (width, height))
    rig = CameraRig(
        names=tuple(names),
        width=width,
        height=height,
        intrinsics=np.stack([camera.intrinsics for camera in cameras]),
        rotations=np.stack([camera.rotation for camera in cameras]),
        translations=np.stack([camera.translation for camera in cameras]),
        distortions=_stacked([camera.distortion for camera in cameras]),
        fisheye=tuple(n for n, camera in zip(names, cameras, strict=True) if camera.fisheye),
    )
    sized = [name for name, c in zip(names, cameras, strict=True) if c.size is not None]
    check_rig(path, rig, sized=sized)
    return rig


def read_cameras(path: str | Path) -> Calibration:
    """All cameras of a calibration file or folder, whose format its content tells."""
    path = Path(path)
    if not path.exists():
        raise PoseSplatterError(f"{path}: no such calibration; correct calibration in config.")
    try:
        module = next((module for module in FORMATS if module.recognises(path)), None)
    except OSError as error:
        raise PoseSplatterError(
            f"{path}: cannot read the calibration ({error.strerror}); give yourself the permission."
        ) from error
    if module is None:
        known = "; ".join(module.NAME for module in FORMATS)
        raise PoseSplatterError(
            f"{path}: cannot read the calibration: its content is of no known format ({known}); "
            "export it as one of these."
        )
    try:
        cameras = tuple(module.read(path))
    except PoseSplatterError:
        raise
    except Exception as error:  # what parsers raise at a damaged file is anybody's guess
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PoseSplatterError(
            f"{path}: cannot read the calibration ({reason}): it begins like {module.NAME}, but is "
            "damaged or cut short; copy or export it again."
        ) from error
    if not cameras:
        raise PoseSplatterError(f"{path}: the calibration has no cameras; export it again.")
    return Calibration(module.NAME, cameras)


def _single(path: Path, name: str) -> CalibratedCamera:
    """The camera of a file that is one camera's own; its name there does not matter."""
    cameras = read_cameras(path).cameras
    if len(cameras) != 1:
        raise PoseSplatterError(
            f"{path}: the file holds {len(cameras)} cameras, but is camera {name}'s alone; "
            f"give a calibration without {CAMERA} in config if all are in one file."
        )
    return replace(cameras[0], name=name)


def _matched(
    path: str | Path, cameras: Sequence[CalibratedCamera], names: Sequence[str]
) -> list[CalibratedCamera]:
    """The cameras of the recording, by name or in the file's order."""
    known = [camera.name for camera in cameras if camera.name is not None]
    unknown = [name for name in names if name not in known]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise PoseSplatterError(
            f"{path}: the file holds more than one camera {twice[0]}; give each its own name."
        )
    if not unknown:
        logger.info("%s: cameras are taken by their names", path)
        return [cameras[known.index(name)] for name in names]
    there = f": {', '.join(known)}" if known else ""
    if len(unknown) < len(names):
        raise PoseSplatterError(
            f"{path}: the file has no camera {unknown[0]}, but has others of the recording{there}; "
            "correct the names under cameras in config."
        )
    if len(cameras) != len(names):
        counted = "1 camera" if len(cameras) == 1 else f"{len(cameras)} cameras"
        raise PoseSplatterError(
            f"{path}: the file holds {counted}{there}, but the recording lists "
            f"{len(names)} ({', '.join(names)}); list in config, under cameras, one name per "
            "calibrated camera, or the file's own names."
        )
    for name, camera in zip(names, cameras, strict=True):
        if camera.name is not None:
            logger.info("%s: camera %s is the file's %s, by its place", path, name, camera.name)
    return list(cameras)


def _stacked(distortions: Sequence[np.ndarray]) -> np.ndarray:
    """(camera coefficient): as few coefficients as OpenCV takes and no camera loses any by."""
    needed = max((np.flatnonzero(row).max(initial=-1) + 1 for row in distortions), default=0)
    count = next(count for count in OPENCV_COEFFICIENTS if count >= needed)
    stacked = np.zeros((len(distortions), count))
    for row, coefficients in zip(stacked, distortions, strict=True):
        row[: min(count, len(coefficients))] = coefficients[:count]
    return stacked
