"""nerfstudio's transforms.json: intrinsics of all or of each frame, and a pose per frame.

`transform_matrix` is camera-to-world with OpenGL's axes (y up, z backward). fl_x, fl_y, cx, cy, w,
h and k1, k2, k3, p1, p2, or distortion_params, stand in the frame or, for all frames, at the top;
`is_fisheye` is instant-ngp's. Pixel centres are at half-integers already: nerfstudio shoots the ray
of pixel (0, 0) through (0.5, 0.5). Every frame is a camera, named after its image.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pose_splatter.calibration.camera import (
    OPENGL_AXES,
    CalibratedCamera,
    calibrated_camera,
    first_bytes,
    image_names,
    numbers,
)
from pose_splatter.errors import PoseSplatterError

NAME = "nerfstudio's transforms.json"
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")  # as in distortion_params


def recognises(path: Path) -> bool:
    start = first_bytes(path)
    return start.lstrip().startswith(b"{") and b'"transform_matrix"' in start


def read(path: Path) -> list[CalibratedCamera]:
    content = json.loads(path.read_text())
    frames = [content | frame for frame in content["frames"]]
    names = image_names([str(frame["file_path"]) for frame in frames])
    return [_camera(path, name, frame) for name, frame in zip(names, frames, strict=True)]


def _camera(path: Path, name: str, frame: dict[str, Any]) -> CalibratedCamera:
    where = f"{path}: camera {name}"
    missing = [key for key in ("fl_x", "w", "h") if key not in frame]
    if missing:
        raise PoseSplatterError(
            f"{where} lacks {', '.join(missing)}; write the focal length and the size in pixels."
        )
    fisheye = bool(frame.get("is_fisheye", False))
    model = frame.get("camera_model", "OPENCV_FISHEYE" if fisheye else "OPENCV")
    fisheye |= model == "OPENCV_FISHEYE"
    if model not in PINHOLES and not fisheye:
        raise PoseSplatterError(
            f"{where} has the camera model {model}; use OPENCV, OPENCV_FISHEYE or PINHOLE."
        )
    k1, k2, k3, k4, p1, p2 = _coefficients(where, frame)
    if k4 and not fisheye:
        raise PoseSplatterError(
            f"{where} has a fourth radial coefficient (k4), which OpenCV's model lacks; calibrate "
            "without it."
        )
    width, height, focal = frame["w"], frame["h"], frame["fl_x"]
    camera_to_world = numbers(where, "transform_matrix", frame["transform_matrix"], (4, 4), (3, 4))
    rotation = OPENGL_AXES @ camera_to_world[:3, :3].T
    return calibrated_camera(
        where,
        [
            [focal, 0, frame.get("cx", width / 2)],
            [0, frame.get("fl_y", focal), frame.get("cy", height / 2)],
            [0, 0, 1],
        ],
        rotation,
        -rotation @ camera_to_world[:3, 3],
        np.array([k1, k2, k3, k4] if fisheye else [k1, k2, p1, p2, k3]),
        name=name,
        size=(width, height),
        fisheye=fisheye,
        pixel_centers="half-integer",
    )


def _coefficients(where: str, frame: dict[str, Any]) -> list[float]:
    """A lens's COEFFICIENTS: as one list, which nerfstudio prefers, or one by one."""
    if "distortion_params" in frame:
        return numbers(where, "distortion_params", frame["distortion_params"], (6,)).tolist()
    return [float(frame.get(key, 0)) for key in COEFFICIENTS]
