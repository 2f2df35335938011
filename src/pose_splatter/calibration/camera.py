"""One camera as a calibration file states it, brought to this project's conventions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from pose_splatter.cameras import INTEGER_PIXEL_CENTRES
from pose_splatter.errors import PoseSplatterError

OPENGL_AXES = np.diag([1.0, -1.0, -1.0])  # y up and z backward, to OpenCV's y down and z ahead
OPENCV_COEFFICIENTS = (5, 8, 12, 14)  # as many as cv2 takes, from the shortest


@dataclass(frozen=True)
class CalibratedCamera:
    """A camera: OpenCV world-to-camera, pixel centres at half-integers, the file's unit of length.

    `name` is None where the file names no cameras, `size` (width, height) where it says nothing of
    the images. `distortion` has OpenCV's order, or k1 to k4 of its fisheye model.
    """

    name: str | None
    intrinsics: Float[ndarray, "3 3"]
    rotation: Float[ndarray, "3 3"]
    translation: Float[ndarray, "3"]
    distortion: Float[ndarray, " coefficient"]
    size: tuple[int, int] | None = None
    fisheye: bool = False


def calibrated_camera(
    where: str,
    intrinsics: Any,
    rotation: Any,
    translation: Any,
    distortion: Any = (),
    *,
    pixel_centers: Literal["integer", "half-integer"],
    name: str | None = None,
    size: Any = None,
    fisheye: bool = False,
) -> CalibratedCamera:
    """A camera from what was read, whose shapes are not known to be right.

    `rotation` is a matrix or a rotation vector. Half a pixel is added to the principal point where
    the format puts the centre of the first pixel at 0. Raises PoseSplatterError, with `where`
    (the file and the camera), for what is missing, no number or of another shape.
    """
    K = numbers(where, "the intrinsic matrix", intrinsics, (3, 3))
    R = numbers(where, "the rotation", rotation, (3, 3), (3,))
    if R.shape == (3,):
        R = cv2.Rodrigues(R)[0]
    coefficients = numbers(where, "the distortion", distortion).ravel()
    if size is not None:
        size = numbers(where, "the size of the images", size, (2,)).tolist()
    limit = 4 if fisheye else OPENCV_COEFFICIENTS[-1]
    if coefficients[limit:].any():
        raise PoseSplatterError(
            f"{where} has {len(coefficients)} distortion coefficients, of which at most {limit} "
            f"are known{' with a fisheye lens' if fisheye else ''}; calibrate with fewer."
        )
    return CalibratedCamera(
        name=name,
        intrinsics=K + INTEGER_PIXEL_CENTRES if pixel_centers == "integer" else K,
        rotation=R,
        translation=numbers(where, "the translation", translation, (3,)),
        distortion=coefficients[:limit],
        size=None if size is None else (round(size[0]), round(size[1])),
        fisheye=fisheye,
    )


def numbers(where: str, what: str, values: Any, *shapes: tuple[int, ...]) -> Float[ndarray, "..."]:
    """`values` as an array of one of the shapes; axes of length 1 (3 x 1 vectors) do not count."""
    try:
        array = None if values is None else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or (shapes and array.squeeze().shape not in shapes):
        found = "is missing or no array of numbers" if array is None else f"has shape {array.shape}"
        wanted = " or ".join(" x ".join(map(str, shape)) for shape in shapes) or "any"
        raise PoseSplatterError(
            f"{where}: {what} {found}, but {wanted} numbers are needed; export it again."
        )
    return array.squeeze() if shapes else array


def first_bytes(path: Path, count: int = 2**16) -> bytes:
    """How a file begins, which tells its format; the whole may be gigabytes of something else.

    What is no file begins with nothing.
    """
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(count)


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sorts cam2 before cam10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def image_names(paths: Sequence[str]) -> list[str]:
    """Names of cameras from the paths of one image each: file names, else folders, else paths."""
    pure = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    for names in ([path.stem for path in pure], [path.parent.name for path in pure]):
        if len(set(names)) == len(names):
            return names
    return list(paths)
