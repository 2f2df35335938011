"""Writing files so that nobody ever sees half of one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pose_splatter.errors import PoseSplatterError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; move it into place if the block ends well, else delete.

    Works for files and for folders (Zarr). The temporary name keeps the suffix, since writers
    such as `np.savez` and matplotlib choose their format from it. What a killed process left under
    it is deleted by the next one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        _move(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def resumable_path(path: str | Path, fingerprint: str) -> Iterator[Path]:
    """The same for long jobs: what a killed one left is there again for the next of its kind.

    Of its kind is a job of the same `fingerprint` (see `provenance.fingerprint`), for which the
    temporary name stands; what was left beside `path` under any other is deleted. So the
    fingerprint has to tell apart all that shapes the file, and to be the same for files that are
    made side by side in one folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = f".{fingerprint}.partial{path.suffix}"
    for left in path.parent.glob(f".*.partial{path.suffix}"):
        if not left.name.endswith(ending):
            _remove(left)
    partial = path.with_name(f".{path.stem}{ending}")
    yield partial
    _move(partial, path)


def _move(temporary: Path, path: Path) -> None:
    if path.is_dir():
        if not temporary.is_dir():
            raise PoseSplatterError(
                f"{path}: a folder lies where a file is to be written; move it away."
            )
        shutil.rmtree(path)  # os.replace cannot replace a folder that is not empty
    os.replace(temporary, path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def save_npz(path: str | Path, **arrays: np.ndarray | float) -> None:
    """`np.savez_compressed`, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def save_text(path: str | Path, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def save_json(path: str | Path, content: dict[str, Any]) -> None:
    """Indented JSON, atomically."""
    save_text(path, json.dumps(content, indent=2) + "\n")
