"""MAMMAL's new_cam.pkl: a pickled list (or dict) of one dict per camera with K, R, T, mapx, mapy.

x_camera = R x_world + T and pixels by K, OpenCV's convention with pixel centres at integers: MAMMAL
projects its mesh so onto the videos in videos_undist. mapx and mapy (height width) are the maps by
which cv2.remap made those videos from the raw ones, so K is the pinhole's already: they give the
size of the images and are not applied. The raw videos do not fit this calibration.

A pickle is a program. This one is read by an unpickler that knows NumPy's arrays and nothing else.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pose_splatter.calibration.camera import (
    CalibratedCamera,
    calibrated_camera,
    first_bytes,
    numbers,
)
from pose_splatter.errors import PoseSplatterError

NAME = "MAMMAL's new_cam.pkl"
OPENINGS = (
    *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)),
    b"(lp",
    b"(dp",
    b"]q",
    b"}q",
)


def _latin1(text: str, encoding: str) -> bytes:
    """How NumPy's arrays keep bytes in old pickles."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


# The functions that arrays and numbers of NumPy ask for in their pickles, and those classes.
ADMITTED: dict[tuple[str, str], Any] = {
    ("multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that builds NumPy arrays and Python's own containers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 renamed numpy.core to numpy._core; pickles are of either.
        for core in ("numpy.core.", "numpy._core."):
            module = module.removeprefix(core)
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return ADMITTED[module, name]


def recognises(path: Path) -> bool:
    return first_bytes(path).startswith(OPENINGS)


def read(path: Path) -> list[CalibratedCamera]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file).load()
    except pickle.UnpicklingError as error:
        raise PoseSplatterError(
            f"{path}: the pickle is damaged or holds more than NumPy arrays ({error}); nothing in "
            "it was run: save K, R and T of each camera as plain arrays."
        ) from error
    cameras = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(cameras, list) or not all(
        isinstance(camera, dict) and {"K", "R", "T"} <= camera.keys() for camera in cameras
    ):
        raise PoseSplatterError(
            f"{path}: the pickle is no list of one dict per camera with K, R and T; save it so."
        )
    return [_camera(f"{path}: camera {index}", camera) for index, camera in enumerate(cameras)]


def _camera(where: str, camera: dict[str, Any]) -> CalibratedCamera:
    size = None
    if "mapx" in camera:
        size = numbers(where, "mapx", camera["mapx"]).shape[::-1]
    return calibrated_camera(
        where, camera["K"], camera["R"], camera["T"], size=size, pixel_centers="integer"
    )
