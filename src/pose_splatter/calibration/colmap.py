"""COLMAP's sparse model: a folder with cameras and images, as text or binary.

An image's quaternion (w x y z) and translation are world-to-camera, its camera's parameters pixels,
with the centre of the first pixel at (0.5, 0.5) already (COLMAP's documentation, "Output format").
Every image is a camera of ours, named after its file. Lens models are OpenCV's with fewer or more
coefficients; the others (FOV, thin prism, division and so on) are refused by their names.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scipy.spatial.transform import Rotation

from pose_splatter.calibration.camera import (
    CalibratedCamera,
    calibrated_camera,
    image_names,
    natural_key,
)
from pose_splatter.errors import PoseSplatterError

NAME = "COLMAP's folder (cameras and images, .bin or .txt)"


@dataclass(frozen=True)
class _Model:
    """A lens model: its focal lengths, then cx, cy, then coefficients in OpenCV's order."""

    name: str
    n_focals: int
    n_coefficients: int
    fisheye: bool = False

    @property
    def n_params(self) -> int:
        return self.n_focals + 2 + self.n_coefficients


# By the number that binary files have for them.
MODELS = {
    0: _Model("SIMPLE_PINHOLE", 1, 0),
    1: _Model("PINHOLE", 2, 0),
    2: _Model("SIMPLE_RADIAL", 1, 1),
    3: _Model("RADIAL", 1, 2),
    4: _Model("OPENCV", 2, 4),
    5: _Model("OPENCV_FISHEYE", 2, 4, fisheye=True),
    6: _Model("FULL_OPENCV", 2, 8),
    8: _Model("SIMPLE_RADIAL_FISHEYE", 1, 1, fisheye=True),
    9: _Model("RADIAL_FISHEYE", 1, 2, fisheye=True),
    14: _Model("SIMPLE_FISHEYE", 1, 0, fisheye=True),
    15: _Model("FISHEYE", 2, 0, fisheye=True),
}
BY_NAME = {model.name: model for model in MODELS.values()}


@dataclass(frozen=True)
class _Lens:
    """One entry of cameras.bin or cameras.txt."""

    model: _Model
    size: tuple[int, int]
    params: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    """One entry of images.bin or images.txt."""

    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    lens: int
    path: str


def recognises(path: Path) -> bool:
    return path.is_dir() and _suffix(path) is not None


def _suffix(folder: Path) -> str | None:
    for suffix in (".bin", ".txt"):
        if all((folder / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def read(path: Path) -> list[CalibratedCamera]:
    if _suffix(path) == ".bin":
        lenses = dict(_binary_lenses(path / "cameras.bin"))
        images = list(_binary_images(path / "images.bin"))
    else:
        lenses = dict(_text_lenses(path / "cameras.txt"))
        images = list(_text_images(path / "images.txt"))
    images.sort(key=lambda image: natural_key(image.path))
    names = image_names([image.path for image in images])
    return [
        _camera(f"{path}: camera {name}", name, image, lenses[image.lens])
        for name, image in zip(names, images, strict=True)
    ]


def _camera(where: str, name: str, image: _Image, lens: _Lens) -> CalibratedCamera:
    focals, rest = lens.params[: lens.model.n_focals], lens.params[lens.model.n_focals :]
    w, *xyz = image.quaternion
    return calibrated_camera(
        where,
        [[focals[0], 0, rest[0]], [0, focals[-1], rest[1]], [0, 0, 1]],
        Rotation.from_quat([*xyz, w]).as_matrix(),
        image.translation,
        rest[2:],
        name=name,
        size=lens.size,
        fisheye=lens.model.fisheye,
        pixel_centers="half-integer",
    )


def _unknown(path: Path, model: str) -> PoseSplatterError:
    return PoseSplatterError(
        f"{path}: the lens model {model} is not known; calibrate with one of {', '.join(BY_NAME)}."
    )


def _text_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def _text_lenses(path: Path) -> Iterator[tuple[int, _Lens]]:
    for line in filter(str.strip, _text_lines(path)):
        number, model, width, height, *params = line.split()
        if model not in BY_NAME:
            raise _unknown(path, model)
        yield (
            int(number),
            _Lens(BY_NAME[model], (int(width), int(height)), tuple(map(float, params))),
        )


def _text_images(path: Path) -> Iterator[_Image]:
    # Every second line lists the image's points, and may be empty.
    for line in filter(str.strip, _text_lines(path)[::2]):
        _, *pose, lens, name = line.split(maxsplit=9)
        numbers = tuple(map(float, pose))
        yield _Image(numbers[:4], numbers[4:], int(lens), name)


def _binary_lenses(path: Path) -> Iterator[tuple[int, _Lens]]:
    with path.open("rb") as file:

        def take(layout: str) -> tuple:
            return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))

        for _ in range(take("Q")[0]):
            number, model, width, height = take("iiQQ")
            if model not in MODELS:
                raise _unknown(path, f"number {model}")
            yield number, _Lens(MODELS[model], (width, height), take(f"{MODELS[model].n_params}d"))


def _binary_images(path: Path) -> Iterator[_Image]:
    content, place = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        _, *pose, lens = struct.unpack_from("<i7di", content, place)
        place += struct.calcsize("<i7di")
        end = content.index(b"\0", place)
        yield _Image(tuple(pose[:4]), tuple(pose[4:]), lens, content[place:end].decode())
        (n_points,) = struct.unpack_from("<Q", content, end + 1)
        place = end + 9 + 24 * n_points  # two doubles and a point's number each
