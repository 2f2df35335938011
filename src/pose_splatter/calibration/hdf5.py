"""Pose Splatter's own calibration: HDF5 with /camera_parameters/{intrinsic, rotation, translation}.

Arrays (camera 3 3), (camera 3 3) and (camera 3), and an optional `distortion` (camera coefficient),
OpenCV's order. OpenCV world-to-camera; pixel centres at integers, as the original's programs take
them from OpenCV.
"""

from pathlib import Path

import h5py
import numpy as np

from pose_splatter.calibration.camera import CalibratedCamera, calibrated_camera
from pose_splatter.errors import PoseSplatterError

NAME = "HDF5 with camera_parameters/{intrinsic,rotation,translation}"
KEYS = ("intrinsic", "rotation", "translation")


def recognises(path: Path) -> bool:
    return path.is_file() and h5py.is_hdf5(path)


def read(path: Path) -> list[CalibratedCamera]:
    with h5py.File(path, "r") as file:
        group = file.get("camera_parameters", {})
        missing = [key for key in KEYS if key not in group]
        if missing:
            raise PoseSplatterError(
                f"{path}: the group camera_parameters lacks {', '.join(missing)}; write the "
                f"arrays {', '.join(KEYS)} into it."
            )
        K, R, t = (np.asarray(group[key], np.float64) for key in KEYS)
        D = np.asarray(group.get("distortion", np.zeros((len(K), 5))), np.float64)
    if not K.shape[:1] == R.shape[:1] == t.shape[:1] == D.shape[:1]:
        raise PoseSplatterError(
            f"{path}: intrinsic, rotation, translation and distortion are of {len(K)}, {len(R)}, "
            f"{len(t)} and {len(D)} cameras; write as many of each."
        )
    return [
        calibrated_camera(f"{path}: camera {index}", *of_camera, pixel_centers="integer")
        for index, of_camera in enumerate(zip(K, R, t, D, strict=True))
    ]
