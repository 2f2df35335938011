"""Writing files: whole or not at all, and never over what somebody else put there."""

import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from pose_splatter import files
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import (
    atomic_path,
    create_h5,
    load_fields,
    load_json,
    load_npz,
    open_h5,
    resumable_path,
    save_fields,
    save_npz,
    save_text,
    sound,
)

from ..conftest import DAMAGES


def killed(folder: Path, writing, *arguments, age: float = 60) -> None:
    """Leave what a process leaves that is killed while it writes, so many seconds ago."""
    with writing(*arguments) as temporary:
        temporary.mkdir()
        (temporary / "half").touch()
        shutil.copytree(temporary, folder / "kept")
    shutil.rmtree(arguments[0])
    for path in (*(folder / "kept").iterdir(), folder / "kept"):
        os.utime(path, times=(files.STARTED - age, files.STARTED - age))
    (folder / "kept").rename(temporary)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    save_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        save_text(path, "half \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_does_not_replace_a_folder(tmp_path):
    kept = tmp_path / "a.txt/kept.txt"
    kept.parent.mkdir()
    kept.write_text("kept")
    with pytest.raises(PoseSplatterError, match=r"a\.txt: a folder lies where a file is to be"):
        save_text(kept.parent, "new")
    assert kept.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [kept.parent]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "store"
    for name in ("old", "new"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_one_file_do_not_meet(tmp_path):
    """A job whose Snakemake was killed goes on beside the next: what is in place is whole."""
    path = tmp_path / "a.txt"
    with atomic_path(path) as orphan:
        orphan.write_text("half of the orp")
        with atomic_path(path) as successor:
            successor.write_text("successor's")
        assert path.read_text() == "successor's"
        orphan.write_text("all of the orphan's")
    assert path.read_text() == "all of the orphan's"
    assert names(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path):
    killed(tmp_path, atomic_path, tmp_path / "a.zarr")
    killed(tmp_path, atomic_path, tmp_path / "a.b.zarr")
    assert len(names(tmp_path)) == 2
    with atomic_path(tmp_path / "a.zarr") as temporary:
        temporary.mkdir()
    assert "a.zarr" in names(tmp_path)
    assert [name[:5] for name in names(tmp_path) if name != "a.zarr"] == [".a.b."]


def test_what_another_process_still_writes_is_left_alone(tmp_path):
    killed(tmp_path, atomic_path, tmp_path / "a.zarr", age=60)
    (left,) = tmp_path.iterdir()
    os.utime(left / "half")  # only the file in it: the folder itself is old
    with atomic_path(tmp_path / "a.zarr") as temporary:
        temporary.mkdir()
    assert names(tmp_path) == [left.name, "a.zarr"]


def test_a_long_job_goes_on_from_what_one_of_its_kind_left(tmp_path):
    path = tmp_path / "a[1].zarr"  # what means something to glob
    killed(tmp_path, resumable_path, path, "kind")
    (left,) = tmp_path.iterdir()
    shutil.copytree(left, left.with_name(left.name.replace(".kind.", ".other.")))
    with resumable_path(path, "kind") as partial:
        assert (partial / "half").exists()
        assert len(names(tmp_path)) == 1
    assert names(path) == ["half"]
    assert names(tmp_path) == ["a[1].zarr"]


def test_a_long_job_does_not_take_what_is_still_written(tmp_path):
    path = tmp_path / "a.zarr"
    with resumable_path(path, "kind") as orphan:
        orphan.mkdir()
        with resumable_path(path, "kind") as successor:
            assert not successor.exists()
            successor.mkdir()
    assert names(tmp_path) == ["a.zarr"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power loss may leave the name, and nothing under it."""
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def spy(*arguments, name=name, real=real):
            order.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, spy)
    save_text(tmp_path / "a.txt", "text")
    assert order == ["fsync", "replace"]


# --- a full disk ---------------------------------------------------------------------------------


NOISE = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)


def write_h5(path):
    with create_h5(path) as file:
        file["noise"] = NOISE


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.h5", write_h5),
        ("a.npz", lambda path: save_npz(path, noise=NOISE)),
        ("a.txt", lambda path: save_text(path, "x" * (1 << 20))),
    ],
)
def test_a_full_disk_is_named_and_nothing_is_half_written(small_disk, name, write):
    small_disk.resize(512)
    path = small_disk.folder / name
    path.write_text("as it was")
    (small_disk.folder / "good.txt").write_text("good")
    with pytest.raises(PoseSplatterError, match=rf"{name}: the disk is full; free some space"):
        write(path)
    assert names(small_disk.folder) == sorted([name, "good.txt"])
    assert path.read_text() == "as it was"
    small_disk.resize(4096)
    write(path)
    assert names(small_disk.folder) == sorted([name, "good.txt"])


WRITER = """
import sys
import numpy as np
from pose_splatter.files import create_h5
from pose_splatter.progress import job

noise = np.random.default_rng(0).integers(0, 256, (9, 100, 100), np.uint8)
with job(None), create_h5(sys.argv[1]) as file:
    for name in "ab":
        file.create_dataset(name, data=noise, chunks=(1, 100, 100), compression="gzip")
"""


@pytest.mark.parametrize("kilobytes", [8, 64])
def test_hdf5_does_not_crash_where_the_disk_is_full(small_disk, kilobytes):
    """It does at the end of a process, where it holds back chunks that it could not write."""
    small_disk.resize(kilobytes)
    command = [sys.executable, "-c", WRITER, str(small_disk.folder / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "a.h5: the disk is full" in done.stderr.splitlines()[-1]
    assert not names(small_disk.folder)


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_npz_is_named(tmp_path, damage):
    save_npz(tmp_path / "a.npz", values=np.random.default_rng(0).normal(size=100))
    DAMAGES[damage](tmp_path / "a.npz")
    with pytest.raises(
        PoseSplatterError, match=r"a\.npz: the file is damaged \(.*\); delete a\.npz and run"
    ):
        load_npz(tmp_path / "a.npz")


@dataclass(frozen=True)
class Kept:
    values: np.ndarray
    count: int
    share: float


def test_dataclasses_come_back_as_they_were(tmp_path):
    save_fields(tmp_path / "a.npz", Kept(np.arange(3), 2, 0.5))
    kept = load_fields(tmp_path / "a.npz", Kept)
    assert (kept.values.tolist(), kept.count, kept.share) == ([0, 1, 2], 2, 0.5)
    assert type(kept.count) is int


def test_a_file_of_before_a_field_was_added_is_named(tmp_path):
    save_npz(tmp_path / "a.npz", values=np.arange(3), count=2)
    with pytest.raises(PoseSplatterError, match=r"a\.npz: holds no share, .*; delete a\.npz"):
        load_fields(tmp_path / "a.npz", Kept)


@pytest.mark.parametrize("damage", ["cut short", "empty"])
def test_damaged_json_and_hdf5_are_named(tmp_path, damage):
    save_text(tmp_path / "a.json", '{"a": [1, 2]}')
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(1000)
    for name, load in (("a.json", load_json), ("a.h5", open_h5)):
        DAMAGES[damage](tmp_path / name)
        with pytest.raises(PoseSplatterError, match=rf"{name}: the file is damaged"):
            load(tmp_path / name)


def test_what_is_not_there_is_not_called_damaged(tmp_path):
    for name, load in (("a.npz", load_npz), ("a.json", load_json), ("a.h5", open_h5)):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / name)


def test_an_error_without_words_is_named_by_its_kind():
    damaged = pytest.raises(PoseSplatterError, match=r"a\.npz: the file is damaged \(error\)")
    with damaged, sound("a.npz"):
        raise zlib.error
