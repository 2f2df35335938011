"""What a path in the configuration stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from pose_splatter.errors import PoseSplatterError

CAMERA = "{camera}"  # where a camera's name goes
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")

Kind = Literal["video", "pictures", "hdf5", "zarr", "coco"]


def with_camera(pattern: str | Path, name: str) -> Path:
    """The path of one camera's own file."""
    return Path(str(pattern).replace(CAMERA, name))


def files_of(path: str | Path, cameras: Sequence[str]) -> list[Path]:
    """The file; that of each camera, with {camera} in the path; all in it, if it is a folder."""
    if CAMERA in str(path):
        return [with_camera(path, name) for name in cameras]
    path = Path(path)
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


@dataclass(frozen=True)
class MaskFiles:
    """Where one camera's masks lie: a file or folder, and the way on inside of it."""

    kind: Kind
    path: Path
    inside: str = ""


def find_masks(pattern: str, camera: str) -> MaskFiles:
    """What a pattern of config means for one camera, judged by what is there.

    Where nothing is, it is a missing video: reading it says so. Raises PoseSplatterError where a
    pattern names one and the same video, folder or COCO file for all cameras.
    """
    files = _find(pattern, camera)
    if CAMERA not in pattern and files.kind not in ("hdf5", "zarr"):
        raise PoseSplatterError(
            f"{pattern}: masks in config needs {{camera}} in its path; only HDF5 and Zarr hold all "
            "cameras in one file."
        )
    return files


def _find(pattern: str, camera: str) -> MaskFiles:
    text = pattern.replace(CAMERA, camera)
    if "{frame}" in text:
        folder, name = text.rsplit("/", 1) if "/" in text else (".", text)
        if "{frame}" in folder:
            raise PoseSplatterError(
                f"{pattern}: {{frame}} must stand in the file's name, not in a folder's; correct "
                "masks in config."
            )
        return MaskFiles("pictures", Path(folder), name)
    path = Path(text)
    for outer in (path, *path.parents):
        inside = path.relative_to(outer).as_posix() if outer != path else ""
        if outer.is_file():
            return MaskFiles(_kind_of_file(outer), outer, inside)
        if any((outer / name).is_file() for name in ZARR_FILES):
            return _outermost_zarr(outer, inside)
        if outer.is_dir():
            break
    return MaskFiles("pictures" if path.is_dir() else "video", path)


def _outermost_zarr(path: Path, inside: str) -> MaskFiles:
    """A Zarr group's folders are groups and arrays themselves: the file is the outermost."""
    while any((path.parent / name).is_file() for name in ZARR_FILES):
        path, inside = path.parent, f"{path.name}/{inside}".rstrip("/")
    return MaskFiles("zarr", path, inside)


def _kind_of_file(path: Path) -> Kind:
    if h5py.is_hdf5(path):
        return "hdf5"
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    return "coco" if path.suffix.lower() == ".json" or start[:1] in (b"{", b"[") else "video"
