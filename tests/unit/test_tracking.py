"""Tracking: centre and heading of known bodies, no flips, no pull by a tail."""

from dataclasses import replace

import numpy as np
import pytest
import zarr

from pose_splatter.cameras import estimate_up, rotation_to_z
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore, chunk_of, mask_middles
from pose_splatter.tracking import (
    HullMoments,
    _largest_component,
    _spans,
    follow,
    hull_moments,
    load_moments,
    load_track,
    mask_center,
    measure_frames,
    sample_path,
    save_moments,
    save_track,
    tracking_grid,
)
from pose_splatter.video import read_frames
from pose_splatter.volume import (
    HullSum,
    load_hull_sum,
    make_crop,
    save_crop,
    save_hull_sum,
    save_volume_sum,
    sum_hulls,
)

from ..conftest import balls_recording, ring_rig, silhouettes, walking_balls, write_video


def body_with_tail(angle: float, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Ball centres of a trunk along `angle` and of a thin tail that leaves it sideways."""
    ahead = np.array([np.cos(angle), np.sin(angle), 0])
    side = np.array([-np.sin(angle), np.cos(angle), 0])
    trunk = np.linspace(-30, 30, 7)[:, None] * ahead
    s = np.linspace(0, 100, 40)[:, None]
    tail = -45 * ahead - s * (np.cos(bend) * ahead - np.sin(bend) * side)
    return trunk, tail


def moments_with_tail(angle: float, bend: float, tail_radius: float) -> HullMoments:
    """What is measured of `body_with_tail`, seen by six cameras."""
    rig = ring_rig(width=320, height=240)
    trunk, tail = body_with_tail(angle, bend)
    masks = silhouettes(rig, trunk, 22) | silhouettes(rig, tail, tail_radius)
    return hull_moments(masks, rig, grid_size=64)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, -2.5])
def test_a_bent_tail_does_not_bend_the_heading(angle):
    moments = moments_with_tail(angle, bend=1.2, tail_radius=3)
    axis = np.array([np.cos(angle), np.sin(angle)])
    assert np.degrees(np.arccos(abs(moments.axis @ axis))) < 4
    assert np.linalg.norm(moments.center) < 4
    assert moments.radii[0] > 100, "the tail still counts for how far the animal reaches"


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, -2.5])
def test_an_animal_is_as_long_as_from_its_nose_to_the_tip_of_its_tail(angle):
    """Trunk from 52 ahead to 52 behind, tail to 148 behind: thinner than a voxel's diagonal."""
    moments = moments_with_tail(angle, bend=0, tail_radius=2)
    assert moments.spans[0] == pytest.approx(200, abs=6)
    assert 44 < moments.spans[1] < 75, "no camera looks from below"


def test_spans_are_lengths_in_the_horizontal_direction_where_it_is_most_and_heights():
    """Of a thin rod, to the half percent that so many directions allow, however it is turned."""
    for angle in np.linspace(0, np.pi, 50):
        rod = np.linspace(0, 100, 9)[:, None] * np.array([np.cos(angle), np.sin(angle), 0.3])
        np.testing.assert_allclose(_spans(rod + 7), [100, 30], rtol=0.005)


def test_voxels_edges_count_for_lengths():
    """From the first one's face to the last one's: as long in large voxels as in small ones."""
    rig = ring_rig(width=320, height=240)
    masks = silhouettes(rig, np.zeros((1, 3)), 40)
    lengths = [hull_moments(masks, rig, grid_size=size).spans[0] for size in (16, 32, 64)]
    assert np.ptp(lengths) < 3


def test_parts_that_touch_by_corners_hang_together():
    hull = np.zeros((6, 6, 6), bool)
    hull[:2, :2, :2] = hull[2, 2, 2] = hull[3, 3, 3] = True
    hull[5, 0, 0] = True
    assert _largest_component(hull).sum() == 10


def test_one_camera_that_is_wrong_does_no_harm():
    """Four cameras see the body, one lost its mask: the hull of all is empty, tracking goes on."""
    rig = ring_rig(5)
    masks = silhouettes(rig, body_with_tail(0.4, 0)[0], 22)
    masks[3] = 0
    moments = hull_moments(masks, rig, grid_size=48)
    assert moments.visible
    assert np.linalg.norm(moments.center) < 8


def test_masks_about_the_principal_points_have_their_middle_at_the_origin(rig):
    """Every camera looks at the origin: half a pixel's error would be 1.7 units there."""
    masks = np.zeros((6, rig.height, rig.width), np.uint8)
    masks[:, rig.height // 2 - 9 : rig.height // 2 + 9, rig.width // 2 - 5 : rig.width // 2 + 5] = 1
    np.testing.assert_allclose(mask_center(masks, rig), 0, atol=1e-6)


def border_masks(rig):
    """Masks in the corners, one column, the whole image and an empty one."""
    masks = np.zeros((6, rig.height, rig.width), np.uint8)
    masks[0, :3, :7] = 1
    masks[1, -5:, -2:] = 1
    masks[2, -1, -1] = 1
    masks[3, :, 9] = 1
    masks[4] = 1
    return masks


def test_middles_are_means_of_pixel_centres(rig):
    masks = border_masks(rig)
    expected = [np.argwhere(mask)[:, ::-1].mean(axis=0) + 0.5 for mask in masks[:5]]
    middles = mask_middles(masks)
    np.testing.assert_array_equal(middles[:5], expected)
    assert np.isnan(middles[5]).all()


def test_the_tracking_grid_reaches_every_pixel_of_the_masks(rig):
    """Its half edge is 1.25 times the farthest pixel's distance from the centre, at its depth."""
    masks, center = border_masks(rig), np.array([10.0, -20.0, 30.0])
    pixels, depths = rig.project(center)
    reach = [
        np.abs(np.argwhere(mask)[:, ::-1] + 0.5 - pixel).max() * depth / 300
        for mask, pixel, depth in zip(masks[:5], pixels, depths, strict=False)
    ]
    grid = tracking_grid(masks, rig, center, 40)
    assert grid.voxel_size == pytest.approx(2 * 1.25 * max(reach) / 40)


def test_a_smaller_body_beside_the_animal_is_left_out():
    """Two bodies that all cameras see: the hull of the larger one alone is measured."""
    rig = ring_rig(5, width=320, height=240)
    animal, other = np.array([[-60.0, -40, 10]]), np.array([[130.0, 100, 0]])
    masks = silhouettes(rig, animal, 45) | silhouettes(rig, other, 12)
    moments = hull_moments(masks, rig, grid_size=64)
    assert np.linalg.norm(moments.center - animal[0]) < 6
    assert (moments.radii < 65).all()


def test_of_three_cameras_all_tell_how_far_the_animal_reaches():
    """Two agree on what reaches 64 to the sides and 42 up; the body reaches 52 and 22."""
    rig = ring_rig(3, width=320, height=240)
    moments = hull_moments(silhouettes(rig, body_with_tail(0.4, 0)[0], 22), rig, grid_size=64)
    assert moments.radii[0] == pytest.approx(52, abs=6)
    assert moments.radii[1] == pytest.approx(22, abs=8)


def test_an_absent_animal_is_marked():
    rig = ring_rig(4)
    masks = np.zeros((4, rig.height, rig.width), np.uint8)
    assert not hull_moments(masks, rig, 32).visible
    masks[1, 50:60, 50:60] = 1
    assert not hull_moments(masks, rig, 32).visible


def made_moments(angles: np.ndarray, centers: np.ndarray, signs: np.ndarray) -> HullMoments:
    n = len(angles)
    return HullMoments(
        visible=np.ones(n, bool),
        center=centers,
        cov=np.tile(np.diag([400.0, 100, 100]), (n, 1, 1)),
        axis=signs[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1),
        elongation=np.full(n, 0.5),
        radii=np.tile([50.0, 20.0], (n, 1)),
        spans=np.tile([100.0, 40.0], (n, 1)),
    )


def walk(angles: np.ndarray, speeds: np.ndarray) -> np.ndarray:
    steps = speeds[:, None] * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)
    return np.cumsum(steps, axis=0)


def test_headings_follow_travel_whatever_the_axes_signs():
    """A walk through two full circles; backing up a little on the way turns nobody round."""
    random = np.random.default_rng(0)
    angles = np.linspace(0, 4 * np.pi, 200)
    speeds = np.full(200, 3.0)
    speeds[90:100] = -2.0
    moments = made_moments(angles, walk(angles, speeds), random.choice([-1.0, 1.0], 200))
    errors = np.angle(np.exp(1j * (follow(moments, smoothing=1.0).angles - angles)))
    assert np.degrees(np.abs(errors)).max() < 3


def test_absent_frames_are_left_out():
    angles = np.linspace(0, 1, 30)
    moments = made_moments(angles, walk(angles, np.full(30, 3.0)), np.ones(30))
    moments.visible[10:14] = False
    for array in (moments.center, moments.axis, moments.elongation):
        array[10:14] = np.nan
    animal = follow(moments, smoothing=1.0)
    assert np.isnan(animal.angles[10:14]).all()
    seen = animal.visible
    assert np.abs(animal.angles[seen] - angles[seen]).max() < 0.1


def test_files_round_trip(tmp_path):
    moments = made_moments(np.zeros(3), np.zeros((3, 3)), np.ones(3))
    save_moments(tmp_path / "m.npz", moments)
    again = HullMoments.concatenate([load_moments(tmp_path / "m.npz")] * 2)
    assert len(again.visible) == 6
    save_track(tmp_path / "center_rotation.npz", follow(again, 0.0))
    animal = load_track(tmp_path / "center_rotation.npz")
    with np.load(tmp_path / "center_rotation.npz") as arrays:
        assert {"centers", "angles", "covs"} <= set(arrays)
    assert len(animal) == 6


@pytest.mark.parametrize("count", [3, 8])
def test_tracks_and_crops_are_the_same_in_any_number_of_parts(tmp_path, count):
    """The third frame shows no animal, and with eight parts some hold one frame."""
    recording = balls_recording(np.arange(12), np.zeros(12))

    def measured(n_parts: int) -> tuple[bytes, bytes, bytes]:
        folder = tmp_path / str(n_parts)
        folder.mkdir()
        of_recording = recording.store, recording.rig, list(recording.observed)
        names = [f"{part + 1}-of-{n_parts}" for part in range(n_parts)]
        for name in names:
            moments = measure_frames(*of_recording, chunk_of(range(12), name), 32)
            save_moments(folder / f"moments.{name}.npz", moments)
        moments = [load_moments(folder / f"moments.{name}.npz") for name in names]
        save_track(folder / "track.npz", follow(HullMoments.concatenate(moments), 1.5))
        animal = load_track(folder / "track.npz")
        for name in names:
            part = chunk_of(range(9), name)
            total = sum_hulls(*of_recording, animal, part, 32, 150.0, (75.0, 75.0))
            save_hull_sum(folder / f"sum.{name}.npz", total)
        total = HullSum.add(load_hull_sum(folder / f"sum.{name}.npz") for name in names)
        save_volume_sum(folder / "volume_sum.npy", total)
        save_crop(folder / "crop.json", make_crop(total, 0.999, "auto"))
        files = [folder / name for name in ("track.npz", "volume_sum.npy", "crop.json")]
        return tuple(path.read_bytes() for path in files)

    assert measured(count) == measured(1)


def test_up_from_mask_videos_of_a_tilted_rig(tmp_path):
    tilt = rotation_to_z(np.array([0.36, 0.48, 0.8]))
    rig, balls = ring_rig(4), walking_balls(40)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    paths = [tmp_path / f"{camera}.mp4" for camera in range(4)]
    for path, mask in zip(paths, masks, strict=True):
        write_video(path, mask * np.uint8(255))
    tilted = rig.rotated(tilt)
    up = estimate_up(tilted, sample_path(tilted, paths, range(40)))
    assert np.degrees(np.arccos(up @ tilt[:, 2])) < 2


@pytest.mark.parametrize(
    ("n_samples", "expected"),
    [
        (12, [6, 10, 14, 18, 22, 26, 30, 34]),  # key frames of the first video, in every camera
        (30, [*range(6, 38, 2)]),  # too few key frames for that: all that are asked for
    ],
)
def test_a_long_recording_is_sampled_at_key_frames(tmp_path, monkeypatch, n_samples, expected):
    """Of 40 frames the first camera's video starts with frame 2, and every second is used."""
    rig, balls = ring_rig(4), walking_balls(40)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    paths, starts = [tmp_path / f"{camera}.mp4" for camera in range(4)], [2, 0, 5, 2]
    for path, mask, start, gop in zip(paths, masks, starts, [4, 4, 10, 7], strict=True):
        write_video(path, mask[start:] * np.uint8(255), gop=gop)
    read = []

    def noted(path, frames, kind):
        read.append(list(frames))
        return read_frames(path, frames, kind)

    monkeypatch.setattr("pose_splatter.tracking.read_frames", noted)
    path = sample_path(rig, paths, range(6, 38, 2), [-start for start in starts], n_samples)
    assert read == [[frame - start for frame in expected] for start in starts]
    assert estimate_up(rig, path) @ [0, 0, 1] > 0.99


def test_frames_that_one_observed_camera_misses_are_absent():
    rig = ring_rig(5)
    masks = np.stack([silhouettes(rig, body_with_tail(0.4, 0)[0], 22)] * 3)
    masks[1, 3] = 0
    masks[2, 4] = 0
    store = FrameStore(zarr.array(masks), zarr.array(masks), np.arange(3), rig.names, 1)
    moments = measure_frames(store, rig, [0, 1, 2, 3], range(3), 32)
    np.testing.assert_array_equal(moments.visible, [True, False, True])


@pytest.mark.parametrize("spoil", ["size", "order"])
def test_masks_that_do_not_fit_the_calibration(tmp_path, spoil):
    rig, balls = ring_rig(4), walking_balls(20)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    paths = [tmp_path / f"{camera}.mp4" for camera in range(4)]
    for path, mask in zip(paths, masks, strict=True):
        write_video(path, mask * np.uint8(255))
    if spoil == "size":
        rig = replace(rig, intrinsics=rig.intrinsics * np.array([0.75, 0.75, 1])[:, None])
    else:
        paths[1], paths[2] = paths[2], paths[1]
    with pytest.raises(PoseSplatterError, match=r"0\.mp4 .*do not fit the calibration"):
        sample_path(rig, paths, range(20))
