"""Writing files: whole or not at all, and never over what somebody else put there."""

import pytest

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, save_text


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
