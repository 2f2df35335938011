"""Writing files so that nobody ever sees half of one."""

import errno
import io
import json
import math
import os
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from glob import escape
from pathlib import Path
from typing import Any, TypeVar, cast

import h5py
import numpy as np

from pose_splatter.errors import PoseSplatterError

T = TypeVar("T")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = 1 << 16  # bytes left on a disk that is full: the last block may stay free
STARTED = time.time()
# What readers raise at files that are cut short or have other bytes than were written.
DAMAGE = (OSError, ValueError, KeyError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile)
ANY_MARK = "?" * 8  # as a pattern, what tells the temporary names of one path apart


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; move it into place if the block ends well, else delete.

    Works for files and for folders (Zarr). The temporary name keeps the suffix, since writers
    such as `np.savez` and matplotlib choose their format from it, and is of this call alone: jobs
    that run on after their Snakemake was killed write beside those of the next, never into their
    files. What a killed process left is deleted by the next that writes `path`. Raises
    PoseSplatterError where the folder may not be written to or the disk is full.
    """
    path = Path(path)
    temporary = _hidden(path, "tmp")
    try:
        with _explained(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in _abandoned(path, f".{escape(path.stem)}.{ANY_MARK}.tmp"):
                _remove(left)
            yield temporary
            _move(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def create_h5(path: str | Path, small: bool = False) -> Iterator[h5py.File]:
    """Write a HDF5 file, atomically.

    HDF5 crashes a process that ends while it holds chunks that it could not write. So it holds none
    back; they are written whole and once anyway. A `small` file is made in memory, since HDF5 may
    crash even in closing one for which there is no room at all.
    """
    with atomic_path(path) as temporary:
        content = io.BytesIO()
        with h5py.File(content if small else temporary, "w", rdcc_nbytes=0) as file:
            yield file
        if small:
            temporary.write_bytes(content.getvalue())


@contextmanager
def resumable_path(path: str | Path, fingerprint: str) -> Iterator[Path]:
    """The same for long jobs: what a killed one left is there again for the next of its kind.

    Of its kind is a job of the same `fingerprint` (see `provenance.fingerprint`), which is part of
    the temporary name; what was left beside `path` under any other is deleted. So the
    fingerprint has to tell apart all that shapes the file, and to be the same for files that are
    made side by side in one folder. A job that takes over what was left gives it a name of its own.
    """
    path = Path(path)
    kind = f"{fingerprint}.partial"
    partial = _hidden(path, kind)
    with _explained(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in _abandoned(path, f".*.{ANY_MARK}.*.partial"):
            if not left.stem.endswith(f".{kind}"):
                _remove(left)
        for left in _abandoned(path, f".{escape(path.stem)}.{ANY_MARK}.{kind}"):
            if partial.exists():
                _remove(left)
            else:
                with suppress(FileNotFoundError):  # another job was faster
                    left.rename(partial)
        yield partial
        _move(partial, path)


def _hidden(path: Path, kind: str) -> Path:
    """A name beside `path` that nobody else has."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}.{kind}{path.suffix}")


def _abandoned(path: Path, pattern: str) -> list[Path]:
    """The temporary names beside `path` that no process has written to since this one started."""
    found = path.parent.glob(pattern + escape(path.suffix))
    return [left for left in found if _last_written(left) < STARTED]


def _last_written(path: Path) -> float:
    try:
        return max(part.stat().st_mtime for part in (path, *path.rglob("*")))
    except FileNotFoundError:  # by now it is in place, or deleted by whoever wrote it
        return math.inf


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


@contextmanager
def sound(path: str | Path, part: str = "the file") -> Iterator[None]:
    """Read a part of what lies at `path`, in results: where it is damaged, say what to delete."""
    try:
        yield
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PoseSplatterError(
            f"{path}: {part} is damaged ({reason}); delete {Path(path).name} and run the same "
            "command again: it is made anew."
        ) from error


def open_h5(path: str | Path) -> h5py.File:
    """A HDF5 file of results, opened for reading (see `sound`)."""
    with sound(path):
        return h5py.File(path, "r")


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
    if temporary.is_file():
        _flush(temporary)
    os.replace(temporary, path)


def _flush(path: Path) -> None:
    """Have the disk hold what is in a file: after a power loss its name may else be of nothing.

    Not for each of the many files of a folder, which would take longer than to write them: what
    is missing in those is found when they are read.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def save_npz(path: str | Path, **arrays: np.ndarray | float) -> None:
    """`np.savez_compressed`, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file of results (see `sound`)."""
    with sound(path), np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def save_fields(path: str | Path, content: Any) -> None:
    """A dataclass of arrays and numbers as an .npz file, atomically."""
    save_npz(path, **{field.name: getattr(content, field.name) for field in fields(content)})


def load_fields(path: str | Path, kind: type[T]) -> T:
    """The dataclass that `save_fields` wrote; what another version wrote is named."""
    names = [field.name for field in fields(cast(Any, kind))]
    arrays = load_npz(path)
    if missing := [name for name in names if name not in arrays]:
        raise PoseSplatterError(
            f"{path}: holds no {', '.join(missing)}, as another version wrote it; delete "
            f"{Path(path).name} and run the same command again: it is made anew."
        )
    content = {name: arrays[name] for name in names}
    return kind(**{name: array if array.ndim else array.item() for name, array in content.items()})


def save_text(path: str | Path, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def save_json(path: str | Path, content: dict[str, Any]) -> None:
    """Indented JSON, atomically."""
    save_text(path, json.dumps(content, indent=2) + "\n")


def load_json(path: str | Path) -> dict[str, Any]:
    """The content of a JSON file of results (see `sound`)."""
    with sound(path):
        return json.loads(Path(path).read_text())
