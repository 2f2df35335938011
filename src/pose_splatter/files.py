"""Writing files so that nobody ever sees half of one."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pose_splatter.errors import PoseSplatterError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = 1 << 16  # bytes left on a disk that is full: the last block may stay free


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; move it into place if the block ends well, else delete.

    Works for files and for folders (Zarr). The temporary name keeps the suffix, since writers
    such as `np.savez` and matplotlib choose their format from it. What a killed process left under
    it is deleted by the next one. Raises PoseSplatterError where the folder may not be written to
    or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        with _explained(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(temporary)
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
    ending = f".{fingerprint}.partial{path.suffix}"
    partial = path.with_name(f".{path.stem}{ending}")
    with _explained(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".*.partial{path.suffix}"):
            if not left.name.endswith(ending):
                _remove(left)
        yield partial
        _move(partial, path)


@contextmanager
def _explained(path: Path, temporary: Path) -> Iterator[None]:
    """What keeps `path` from being written, in a sentence; errors that are not of it stay theirs.

    The writers of HDF5 and of PyTorch hardly say that a disk is full, so it is looked at.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        code, name = getattr(error, "errno", None), getattr(error, "filename", None)
        ours = str(temporary) in str(error) or (name and Path(name) in (path, *path.parents))
        if code in NOT_ALLOWED and ours:
            raise PoseSplatterError(
                f"{path}: may not be written ({os.strerror(code)}); make its folder writable, or "
                "run in a folder of your own."
            ) from error
        folder = path.parent
        no_room = folder.exists() and _is_full(folder)
        if code in DISK_FULL or f"errno = {errno.ENOSPC}" in str(error) or no_room:
            raise PoseSplatterError(
                f"{path}: the disk is full; free some space, then run the same command again."
            ) from error
        raise


def _is_full(folder: Path) -> bool:
    disk = shutil.disk_usage(folder)
    return disk.total > 0 and disk.free < FULL  # what is no disk, as /proc, has a total of 0


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
