"""Code versions: what runs counts, and nothing else."""

import shutil
from pathlib import Path

import pytest

from pose_splatter import provenance
from pose_splatter.provenance import code_version, fingerprint

SCRIPTS = Path(__file__).parents[2] / "src/scripts"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package to edit, which `code_version` reads in place of the real one."""
    package = tmp_path / "pose_splatter"
    shutil.copytree(provenance.SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "SOURCE", package)
    return package


def version(script: str) -> str:
    for cached in (provenance._tree, provenance._version, provenance._imported):
        cached.cache_clear()
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


def test_fingerprint_follows_settings_and_files(tmp_path):
    (tmp_path / "a").write_text("1")
    files = [tmp_path / "a"]
    before = fingerprint({"rate": 1}, files)
    assert fingerprint({"rate": 1}, files) == before
    assert fingerprint({"rate": 2}, files) != before
    (tmp_path / "a").write_text("22")
    assert fingerprint({"rate": 1}, files) != before
