"""Code versions: what runs counts, and nothing else."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pose_splatter import provenance
from pose_splatter.frames import CameraFiles, chunk_of, gather_parts, write_part, write_zarr
from pose_splatter.provenance import code_version, fingerprint, training_fingerprint

from ..conftest import ring_rig

SCRIPTS = Path(__file__).parents[2] / "src/scripts"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package to edit, which `code_version` reads in place of the real one."""
    package = tmp_path / "pose_splatter"
    shutil.copytree(provenance.SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "SOURCE", package)
    return package


def version(script: str) -> str:
    provenance._read.cache_clear()
    return code_version(SCRIPTS / f"{script}.py")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_comments_and_docstrings_do_not_count(copy):
    before = version("crop")
    edit(copy / "volume.py", '"""', '"""Reworded. ')
    edit(copy / "volume.py", "CROP_MULTIPLE = 16", "# why\nCROP_MULTIPLE    =  16")
    assert version("crop") == before


NESTED = """
class Seldom:
    def used(self):
        'As it is said now.'
        try:
            from pose_splatter.starter import config_text
        except ImportError:
            pass
"""


def test_what_stands_within_functions_is_found(copy):
    with (copy / "carving.py").open("a") as file:
        file.write(NESTED)
    before = version("crop")
    edit(copy / "carving.py", "As it is said now.", "In other words.")
    assert version("crop") == before
    edit(copy / "starter.py", "import re", "import re\nX = 1")
    assert version("crop") != before


def test_code_counts_for_the_jobs_that_run_it(copy):
    names = ("crop", "train", "training_curves", "images")
    before = {name: version(name) for name in names}
    edit(copy / "carving.py", "BLOCK = 8", "BLOCK = 4")
    changed = {name for name in names if version(name) != before[name]}
    assert changed == {"crop", "train"}


def test_subpackages_are_followed(copy):
    before = version("train"), version("crop")
    edit(copy / "rasterize/_kernels.py", "import math", "import math\nX = 1")
    assert version("train") != before[0]
    assert version("crop") == before[1]


def test_fingerprint_follows_settings_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    files = [tmp_path / "a"]
    before = fingerprint({"rate": 1}, files)
    assert fingerprint({"rate": 2}, files) != before
    os.utime(tmp_path / "a", (0, 0))
    assert fingerprint({"rate": 1}, files) == before, "a time says nothing"
    (tmp_path / "a").write_text("2")
    assert fingerprint({"rate": 1}, files) != before


def test_a_releases_card_does_not_count(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("sums")
    (tmp_path / "README.md").write_text("licence: to be filled in")
    before = fingerprint({}, [tmp_path])
    (tmp_path / "README.md").write_text("licence: MIT")
    assert fingerprint({}, [tmp_path]) == before
    (tmp_path / "SHA256SUMS").write_text("others")
    assert fingerprint({}, [tmp_path]) != before


def changed(settings: dict) -> Iterator[tuple[str, dict]]:
    """The settings with one leaf changed, for every leaf."""
    for key, value in settings.items():
        if isinstance(value, dict):
            for name, other in changed(value):
                yield f"{key}.{name}", settings | {key: other}
        else:
            yield key, settings | {key: [value, "changed"]}


def test_a_training_of_other_settings_is_another(tmp_path):
    settings = {
        "train": ["demo"],
        "training": {"epochs": 5, "learning_rate": 1e-3},
        "loss": {"image": 0.5},
        "preset": {"name": "default", "split": [0.5, 0.25, 0.25]},
        "heldout_cameras": {"demo": ["1"]},
        "code": "abc",
    }
    before = training_fingerprint(settings, [])
    same = {name for name, other in changed(settings) if training_fingerprint(other, []) == before}
    assert same == {"training.epochs"}


def test_a_store_made_again_is_the_same(tmp_path, small_recording):
    """In 8 parts instead of 1, every file has the same bytes: training goes on with it."""
    rig = ring_rig()
    cameras = [
        CameraFiles(n, small_recording / f"video{n}.mp4", small_recording / f"mask{n}.mp4")
        for n in rig.names
    ]
    prints, contents = [], []
    for n_parts, frames, views in (
        (1, range(10), cameras),
        (8, range(10), cameras),
        (1, range(1, 11), cameras),
        (1, range(10), cameras[::-1]),  # the same frames of other videos
    ):
        parts = [tmp_path / f"{n}.h5" for n in range(n_parts)]
        for n, part in enumerate(parts):
            write_part(part, rig, views, chunk_of(frames, f"{n + 1}-of-{n_parts}"), 2)
        gather_parts(tmp_path / "images.h5", parts)
        write_zarr(tmp_path / "images.zarr", tmp_path / "images.h5")
        prints.append(fingerprint({}, [tmp_path / "images.zarr"]))
        files = [path for path in (tmp_path / "images.zarr").rglob("*") if path.is_file()]
        contents.append({str(path): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
