"""What a path in the configuration stands for."""

from collections.abc import Sequence
from pathlib import Path

CAMERA = "{camera}"  # where a camera's name goes


def with_camera(pattern: str | Path, name: str) -> Path:
    """The path of one camera's own file."""
    return Path(str(pattern).replace(CAMERA, name))


def files_of(path: str | Path, cameras: Sequence[str]) -> list[Path]:
    """The file; that of each camera, with {camera} in the path; all in it, if it is a folder."""
    if CAMERA in str(path):
        return [with_camera(path, name) for name in cameras]
    path = Path(path)
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
