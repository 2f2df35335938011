"""Cameras that are off by whole frames: found exactly, said clearly, and set right by config."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import INTEGER_PIXEL_CENTRES, CameraRig
from pose_splatter.plots import HELDOUT_COLOR
from pose_splatter.synchronization import (
    MAX_OFFSET,
    Outlines,
    Synchronization,
    check_recording,
    choose_windows,
    describe,
    find_offsets,
    frames_with_masks,
    read_outlines,
    save_synchronization,
    tangent_planes,
)
from pose_splatter.synchronization_plots import plot_synchronization
from pose_splatter.video import RecordingDescription

from ..conftest import ring_rig, silhouettes, walking_balls, write_video

DEMO = Path(__file__).parents[2] / "resources/demo"
MASKS = [DEMO / f"masks/camera{camera}.mp4" for camera in range(6)]
HELDOUT = ("1", "5")
FIRST, LAST = 40, 260  # of the demo's frames: what is left when cameras are shifted


@pytest.fixture(scope="module")
def rig() -> CameraRig:
    return read_calibration(DEMO / "calibration.h5", tuple("012345"), 576, 512)


@pytest.fixture(scope="module")
def demo(rig):
    """The hulls of the demo's silhouettes, [camera][frame]."""
    outlines = read_outlines(rig, MASKS, range(300), [0] * 6)
    return [np.split(one.points, np.cumsum(one.counts)[:-1]) for one in outlines]


def shift(demo, offsets: dict[int, int], noise: float = 0.0, still: bool = False) -> list[Outlines]:
    """What cameras show that are off by so many frames; edges moved at random, in pixels."""
    rng = np.random.default_rng(0)
    cameras = []
    for camera, hulls in enumerate(demo):
        shown = [hulls[0 if still else n - offsets.get(camera, 0)] for n in range(FIRST, LAST)]
        cameras.append(Outlines.of([hull + rng.normal(0, noise, hull.shape) for hull in shown]))
    return cameras


def find(rig, outlines, heldout=HELDOUT) -> Synchronization:
    return find_offsets(rig.undistorted(), outlines, [range(FIRST, LAST)], heldout, "demo")


def offsets_of(found: Synchronization) -> list[int | None]:
    return [camera.offset for camera in found.cameras]


@pytest.mark.parametrize(
    "offsets",
    [
        {},
        *({camera: sign * 7} for camera in range(6) for sign in (1, -1)),
        {2: 7, 4: -12},
        {0: 3, 3: 1},
        {1: 30, 3: -29},
    ],
    ids=str,
)
def test_offsets_are_found_exactly(rig, demo, offsets):
    found = find(rig, shift(demo, offsets))
    assert offsets_of(found) == [offsets.get(camera, 0) for camera in range(6)]
    assert found.verdict == ("off" if offsets else "ok")
    assert found.corrected_offsets == {str(camera): n for camera, n in offsets.items()}
    assert min(camera.confidence for camera in found.cameras) == 1
    assert found.reference == next(n for n in "023" if int(n) not in offsets)


@pytest.mark.parametrize("offset", [40, -39])
def test_a_camera_that_is_off_by_more_than_is_looked_for(rig, demo, offset):
    found = find(rig, shift(demo, {3: offset}))
    assert offsets_of(found) == [0, 0, 0, None, 0, 0]
    assert found.cameras[3].beyond
    assert found.verdict == "off"
    assert found.corrected_offsets == {}
    assert "camera 3 seems to be off by more than 30 frames" in describe(found)[0]


def test_rough_masks(rig, demo):
    """Edges that are off by 4 pixels at random: more than the animal moves in a frame."""
    found = find(rig, shift(demo, {2: 7}, noise=4.0))
    assert offsets_of(found) == [0, 0, 7, 0, 0, 0]


def test_an_animal_that_rests_tells_nothing(rig, demo):
    for noise in (0.0, 0.3, 1.0):
        found = find(rig, shift(demo, {}, noise, still=True))
        assert offsets_of(found) == [None] * 6
        assert found.verdict == "cannot tell"
        assert found.corrected_offsets == {}
    assert "moves too little" in describe(found)[0]


@pytest.mark.parametrize("step", [2, 3, 7, 31, 40])
@pytest.mark.parametrize("offset", [0, 1, 7])
def test_masks_of_some_frames_alone_tell_nothing(rig, demo, step, offset):
    """Shifts by the step can be compared with each other, but not with those between."""
    outlines = []
    for whole in shift(demo, {2: offset}):
        hulls = np.split(whole.points, np.cumsum(whole.counts)[:-1])
        kept = [hull if n % step == 0 else hull[:0] for n, hull in enumerate(hulls)]
        outlines.append(Outlines.of(kept))
    found = find(rig, outlines)
    assert offsets_of(found) == [None] * 6
    assert found.verdict == "cannot tell"


def test_held_out_cameras_change_nothing_of_the_others(rig, demo):
    right, wrong = shift(demo, {2: 7}), shift(demo, {2: 7})
    wrong[1], wrong[5] = Outlines.of([np.empty((0, 2))] * (LAST - FIRST)), wrong[0]
    one, other = find(rig, right), find(rig, wrong)
    for camera in (0, 2, 3, 4):
        assert one.cameras[camera] == other.cameras[camera]
    assert other.cameras[1].offset is None


def test_frames_that_were_dropped_on_the_way(rig, demo):
    """Camera 3 loses a frame at 150: in step before, ahead of the others after it."""
    hulls = [list(camera) for camera in demo]
    del hulls[3][150]
    windows = [range(150), range(150, 299)]
    outlines = [Outlines.of(camera[:299]) for camera in hulls]
    found = find_offsets(rig.undistorted(), outlines, windows, HELDOUT, "demo")
    assert [camera.drifts for camera in found.cameras] == [False, False, False, True, False, False]
    assert found.cameras[3].windows == (0, -1)
    assert found.verdict == "drifting"
    assert "0 in frames 0 to 149, -1 in frames 150 to 298" in describe(found)[0]
    assert found.corrected_offsets == {}, "no shift corrects that"


def test_planes_that_touch_a_ball_are_the_same_from_both_sides():
    """Up to the rounding of edges to pixels, whatever the pair of cameras."""
    rig, balls = ring_rig(4, width=640, height=480), walking_balls(5)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    outlines = [_outlines(camera) for camera in masks]
    for pair in ((0, 1), (1, 2), (0, 3)):
        first, second = tangent_planes(rig, pair, outlines)
        assert np.isfinite(first).all()
        np.testing.assert_allclose(first, second, atol=1.5)
        assert np.ptp(first[:, 0]) > 5, "it moves"


def _outlines(masks: np.ndarray) -> Outlines:
    """All pixels of the masks: their extent is that of their hulls."""
    return Outlines.of([np.argwhere(mask)[:, ::-1] + 0.5 for mask in masks])


def test_masks_at_the_pictures_edge_do_not_count(tmp_path):
    rig = ring_rig(2)
    masks = np.zeros((4, 120, 160), np.uint8)
    masks[:3, 40:80, 40:80] = 255
    masks[1, 60:70, :60] = 255
    paths = [tmp_path / f"{camera}.mp4" for camera in range(2)]
    for path in paths:
        write_video(path, masks)
    first, second = read_outlines(rig, paths, [0, 1, 2], [0, 1])
    assert (first.counts > 0).tolist() == [True, False, True]
    assert (second.counts > 0).tolist() == [False, True, False], "camera 1 is read a frame later"
    assert first.points.min() == pytest.approx(40.5, abs=1)


def test_lenses_are_straightened(tmp_path):
    """A mask as a lens shows it gives the outline that a pinhole sees."""
    plain = ring_rig(1)
    mask = silhouettes(plain, np.array([[0.0, 150, 0], [0, 190, 0]]), radius=30)[0]
    lens = replace(plain, distortions=np.array([[-0.8, 0.1, 0, 0, 0]]))
    pixels = np.stack(np.meshgrid(np.arange(160), np.arange(120)), axis=-1).astype(np.float64)
    K = lens.intrinsics[0] - INTEGER_PIXEL_CENTRES
    seen = cv2.undistortPoints(pixels.reshape(-1, 1, 2), K, lens.distortions[0], P=K)
    maps = seen.reshape(120, 160, 2).astype(np.float32)
    bent = cv2.remap(mask * np.uint8(255), maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    write_video(tmp_path / "0.mp4", bent[None])
    rows, columns = np.nonzero(mask)
    limits = [columns.min() + 0.5, rows.min() + 0.5], [columns.max() + 0.5, rows.max() + 0.5]
    (straight,) = read_outlines(lens, [tmp_path / "0.mp4"], [0], [0])
    (crooked,) = read_outlines(plain, [tmp_path / "0.mp4"], [0], [0])
    for points, close in ((straight.points, True), (crooked.points, False)):
        found = np.array([points.min(axis=0), points.max(axis=0)])
        assert (np.abs(found - limits).max() <= 1.01) == close


@pytest.mark.parametrize("n_frames", [1, 2, 3, 7, 24])
def test_recordings_that_are_short(n_frames):
    rig, balls = ring_rig(4), walking_balls(n_frames)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    found = find_offsets(rig, [_outlines(camera) for camera in masks], [range(n_frames)])
    assert {camera.offset for camera in found.cameras} == {0 if n_frames == 24 else None}
    plt.close(plot_synchronization(found, []))


def test_windows_of_a_recording():
    assert choose_windows(range(300)) == (range(150), range(150, 300))
    assert choose_windows(range(10, 40, 5)) == (range(10, 36),)
    windows = choose_windows(range(100, 1_000_000))
    assert [len(window) for window in windows] == [150] * 10
    assert (windows[0].start, windows[-1].stop) == (100, 1_000_000)


def test_masks_are_needed_of_what_is_used_and_what_is_compared():
    assert frames_with_masks(range(3, 400)) == list(range(3, 400))
    assert frames_with_masks(range(10, 40, 5)) == list(range(10, 36))
    frames = frames_with_masks(range(0, 60_000, 10))
    assert len(frames) == 6000 + 10 * 150 - 10 * 15
    assert set(frames) >= {*range(0, 60_000, 10), *range(150), *range(59_841, 59_991)}


def test_what_config_says_now_is_added_to(rig, caplog, tmp_path):
    """Masks read 5 frames late by config, which are in step: config has to take that back."""
    description = RecordingDescription(576, 512, 30.0, 0, 100, 1, (0, 0, 5, 0, 0, 0))
    with caplog.at_level(logging.WARNING):
        found = check_recording(rig, MASKS, description, HELDOUT, "demo")
    assert found.cameras[2].offset == -5
    assert found.corrected_offsets == {}
    warning = "WARNING: camera 2 is off by 5 frames, on top of config's frame_offsets: what camera "
    assert warning + "0 shows in frame n, it shows in frame n - 5." in caplog.text
    assert "write frame_offsets: {} under recordings: demo in config" in caplog.text
    save_synchronization(tmp_path / "synchronization.json", found)
    content = json.loads((tmp_path / "synchronization.json").read_text())
    assert content["verdict"] == "off"
    assert content["frame_offsets"] == {"2": 5}
    assert content["cameras"]["2"]["offset"] == -5
    residuals = content["cameras"]["2"]["residuals"]
    assert content["shifts"][0] + int(np.argmin(residuals)) == -5


def test_the_figure_shows_the_offset_and_the_line_of_config(rig, demo):
    figure = plot_synchronization(find(rig, shift(demo, {2: 7})), HELDOUT)
    assert "off, config needs frame_offsets: {2: 7}" in figure.get_suptitle()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[2] == "camera 2\noff by 7"
    assert titles[5] == "camera 5, held out\nin step"
    for camera, axis in enumerate(figure.axes):
        _, curve, best = axis.lines
        assert best.get_xdata() == [7 if camera == 2 else 0]
        assert len(curve.get_xdata()) == 2 * MAX_OFFSET + 1
        heldout = to_hex(curve.get_color()).upper() == HELDOUT_COLOR
        assert heldout == (camera in (1, 5))
    plt.close(figure)
