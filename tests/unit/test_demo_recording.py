"""The checked-in demo recording: complete, consistent with its calibration, and small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import h5py
import numpy as np
import pandas as pd
import pytest

DEMO = Path(__file__).parents[2] / "resources" / "demo"
CAMERAS = range(6)
BEHAVIORS = {"walk", "turn", "rear", "rest"}
SAMPLED_FRAMES = (0, 40, 75, 110, 150, 185, 220, 260, 299)


@dataclass(frozen=True)
class Calibration:
    """The calibration file's content."""

    intrinsic: np.ndarray  # (C, 3, 3)
    rotation: np.ndarray  # (C, 3, 3)
    translation: np.ndarray  # (C, 3) mm
    attributes: dict

    def project(self, points: np.ndarray, camera: int) -> np.ndarray:
        """(N, 2) pixels of (N, 3) world points, pixel centres at integers."""
        seen = points @ self.rotation[camera].T + self.translation[camera]
        pixels = seen @ self.intrinsic[camera].T
        return pixels[:, :2] / pixels[:, 2:]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    with h5py.File(DEMO / "calibration.h5") as file:
        parameters = file["camera_parameters"]
        return Calibration(
            parameters["intrinsic"][()],
            parameters["rotation"][()],
            parameters["translation"][()],
            dict(file.attrs),
        )


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    with h5py.File(DEMO / "truth.h5") as file:
        datasets = {name: file[name][()] for name in file}
        return datasets | {name: np.asarray(value) for name, value in file.attrs.items()}


@pytest.fixture(scope="module", params=CAMERAS)
def camera(request: pytest.FixtureRequest) -> int:
    return request.param


def frames(folder: str, camera: int) -> Iterator[av.VideoFrame]:
    """Decode a video, frame after frame."""
    with av.open(str(DEMO / folder / f"camera{camera}.mp4")) as container:
        container.streams.video[0].thread_type = "AUTO"
        yield from container.decode(video=0)


@dataclass(frozen=True)
class Masks:
    """One camera's masks."""

    boxes: np.ndarray  # (F, 4) first and last column, first and last row; -1 where none
    sampled: dict[int, np.ndarray]  # the grey images of SAMPLED_FRAMES


@pytest.fixture(scope="module")
def masks(camera: int) -> Masks:
    boxes, sampled = [], {}
    for number, frame in enumerate(frames("masks", camera)):
        mask = frame.to_ndarray(format="gray")
        columns, rows = np.flatnonzero((mask >= 128).any(0)), np.flatnonzero((mask >= 128).any(1))
        found = len(columns) > 0
        boxes.append([columns[0], columns[-1], rows[0], rows[-1]] if found else [-1] * 4)
        if number in SAMPLED_FRAMES:
            sampled[number] = mask
    return Masks(np.array(boxes), sampled)


@pytest.mark.parametrize("folder", ["videos", "masks"])
def test_every_video_is_h264_with_the_calibrated_size_and_the_true_length(
    folder, camera, calibration, truth
):
    with av.open(str(DEMO / folder / f"camera{camera}.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.width == calibration.attributes["image_width"]
        assert stream.height == calibration.attributes["image_height"]
        assert float(stream.average_rate) == pytest.approx(truth["fps"])
        assert sum(1 for _ in container.demux(stream) if _.size) == len(truth["center"])


def test_masks_show_the_whole_animal_in_every_frame(masks, calibration):
    width, height = (calibration.attributes[f"image_{side}"] for side in ("width", "height"))
    assert (masks.boxes >= 0).all(), "a mask is empty"
    left, right, top, bottom = masks.boxes.T
    assert left.min() > 0
    assert top.min() > 0
    assert right.max() < width - 1
    assert bottom.max() < height - 1
    share = (right - left + 1) / width
    assert 0.15 < share.mean() < 0.35, "the animal should fill about a quarter of the width"


def test_true_center_projects_into_the_mask(camera, masks, calibration, truth):
    assert len(masks.boxes) == len(truth["center"])
    u, v = calibration.project(truth["center"], camera).T
    left, right, top, bottom = masks.boxes.T
    for frame in SAMPLED_FRAMES:
        assert left[frame] <= u[frame] <= right[frame]
        assert top[frame] <= v[frame] <= bottom[frame]


def test_masks_are_black_and_white(masks):
    for mask in masks.sampled.values():
        assert ((mask > 64) & (mask < 192)).mean() < 0.002


def test_white_and_dark_fur_are_in_the_foreground(camera, masks):
    white = dark = 0
    for number, frame in enumerate(frames("videos", camera)):
        if number in masks.sampled:
            fur = frame.to_ndarray(format="rgb24")[masks.sampled[number] >= 128]
            white += (fur.min(axis=1) > 215).sum()
            dark += (fur.max(axis=1) < 70).sum()
    assert white > 50
    assert dark > 50


def test_calibration_is_a_real_camera_ring(calibration, truth):
    identity = np.broadcast_to(np.eye(3), calibration.rotation.shape)
    np.testing.assert_allclose(
        calibration.rotation @ calibration.rotation.transpose(0, 2, 1), identity, atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(calibration.rotation), 1)
    assert calibration.attributes["unit"] == "mm"
    assert calibration.attributes["pixel_centers"] == "integer"
    centers = -np.einsum("cji,cj->ci", calibration.rotation, calibration.translation)
    offsets = centers - truth["floor_point"]
    elevations = np.degrees(np.arcsin(offsets @ truth["up"] / np.linalg.norm(offsets, axis=1)))
    assert elevations.min() < 20
    assert elevations.max() > 55
    assert np.abs(truth["up"]).max() < 0.95, "up should not be an axis of the calibration"


def test_every_third_shows_every_behavior(truth):
    for third in np.array_split(truth["behavior"].astype(str), 3):
        names, counts = np.unique(third, return_counts=True)
        assert set(names) == BEHAVIORS
        assert counts.min() >= 10


def test_directions_are_unit_and_headings_lie_in_the_floor(truth):
    for name in ("trunk_direction", "heading"):
        np.testing.assert_allclose(np.linalg.norm(truth[name], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(truth["heading"] @ truth["up"], 0, atol=1e-6)
    trunk = truth["chest"] - truth["pelvis"]
    trunk /= np.linalg.norm(trunk, axis=1, keepdims=True)
    np.testing.assert_allclose(trunk, truth["trunk_direction"], atol=1e-6)


def test_rearing_lifts_the_trunk_and_walking_covers_ground(truth):
    rise = truth["trunk_direction"] @ truth["up"]
    behavior = truth["behavior"].astype(str)
    assert rise[behavior == "rear"].max() > 0.7
    assert np.abs(rise[behavior == "walk"]).max() < 0.5
    height = (truth["center"] - truth["floor_point"]) @ truth["up"]
    on_floor = truth["center"] - truth["floor_point"] - height[:, None] * truth["up"]
    assert (np.ptp(on_floor, axis=0) > 50).any()
    assert np.linalg.norm(on_floor, axis=1).max() < 250
    assert np.linalg.norm(np.diff(truth["center"], axis=0), axis=1).max() < 25, "it jumps"


def test_joint_angles_are_named_and_smooth(truth):
    assert truth["joint_angles"].shape == (len(truth["center"]), len(truth["joint_names"]))
    assert np.abs(np.diff(truth["joint_angles"], axis=0)).max() < 1.0


def test_csv_agrees_with_hdf5(truth):
    table = pd.read_csv(DEMO / "truth.csv")
    assert list(table.behavior) == list(truth["behavior"].astype(str))
    np.testing.assert_allclose(
        table[["center_x", "center_y", "center_z"]], truth["center"], atol=0.006
    )


def test_recording_is_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 10e6
