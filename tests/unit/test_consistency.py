"""Masks that do not fit the calibration, and the mistake that explains it."""

from dataclasses import replace

import numpy as np
import pytest

from pose_splatter.cameras import CameraRig
from pose_splatter.consistency import (
    agreement,
    find_correction,
    find_culprits,
    hull_views,
    mean_agreement,
)

from ..conftest import ring_rig, silhouettes, walking_balls

ALL = range(6)


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """What six cameras see of the walking balls, in six frames."""
    return np.stack([silhouettes(ring_rig(), balls, 25.0) for balls in walking_balls(30)[::5]])


def reordered(rig: CameraRig, order: list[int]) -> CameraRig:
    return replace(rig.subset(order), names=rig.names)


def test_a_rig_that_fits_agrees(masks, rig):
    values = agreement(masks, rig, ALL)
    assert values.shape == (6, 6)
    assert values.min() > 0.75
    assert find_correction(masks, rig) is None
    assert find_culprits(masks, rig) == []


def test_the_hull_holds_the_animal_and_little_more(rig):
    ball = silhouettes(rig, np.array([[20.0, -30.0, 10.0]]), 50.0)
    views, volume = hull_views(ball, rig, ALL)
    assert 1.0 < volume / (4 / 3 * np.pi * 50**3) < 1.25
    assert (views & ball).sum() > 0.98 * ball.sum()


def test_held_out_cameras_are_seen_but_do_not_carve(masks, rig):
    """A camera that is wrong spoils its own agreement alone where it is held out."""
    wrong = masks.copy()
    wrong[:, 1] = masks[:, 1, ::-1, ::-1]
    values = np.nanmean(agreement(wrong, rig, [0, 2, 3, 4, 5]), axis=0)
    assert values[1] < 0.6
    assert values[[0, 2, 3, 4, 5]].min() > 0.75
    assert mean_agreement(wrong, rig, ALL) < 0.6


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([0, 1, 4, 3, 2, 5], "cameras 2 and 4 seem to be swapped"),
        ([1, 0, 2, 3, 4, 5], "cameras 0 and 1 seem to be swapped"),
        ([1, 0, 2, 5, 4, 3], "cameras 0 and 1, 3 and 5 seem to be swapped"),
        (
            [0, 3, 1, 2, 4, 5],
            "another order: 1 is the calibration's 2, 2 is the calibration's 3, "
            "3 is the calibration's 1",
        ),
    ],
)
def test_a_wrong_order_is_found_and_undone(masks, rig, order, words):
    """The calibration lists its cameras so; the videos are as they are."""
    found = find_correction(masks, reordered(rig, order))
    assert words in found.mistake
    np.testing.assert_array_equal(found.rig.rotations, rig.rotations)
    listed = [rig.names[camera] for camera in order]
    assert f"cameras: [{', '.join(listed)}]" in found.fix


def test_of_orders_that_fit_alike_the_one_that_moves_fewest_is_named(masks, rig, monkeypatch):
    """The ring turned by half, after the swap, fits as well; here by chance a little better."""
    wrong = reordered(rig, [0, 1, 4, 3, 2, 5])

    def flattered(masks, rig, cameras):
        moved = (rig.translations != wrong.translations).any(axis=1).sum()
        return mean_agreement(masks, rig, cameras) + 0.01 * (moved > 2)

    monkeypatch.setattr("pose_splatter.consistency.mean_agreement", flattered)
    assert find_correction(masks, wrong).mistake == "cameras 2 and 4 seem to be swapped"


def test_the_order_of_many_cameras_is_found_by_swaps():
    rig = ring_rig(9)
    masks = np.stack([silhouettes(rig, balls, 25.0) for balls in walking_balls(30)[::6]])
    found = find_correction(masks, reordered(rig, [0, 1, 6, 3, 4, 5, 2, 7, 8]))
    assert "cameras 2 and 6 seem to be swapped" in found.mistake


def mirrored(rig: CameraRig) -> CameraRig:
    """The same cameras in a world whose x axis points the other way."""
    mirror = np.diag([-1.0, 1.0, 1.0])
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 2] = rig.width - intrinsics[:, 0, 2]
    return replace(
        rig,
        intrinsics=intrinsics,
        rotations=mirror @ rig.rotations @ mirror,
        translations=rig.translations @ mirror,
    )


def inverted(rig: CameraRig) -> CameraRig:
    return replace(rig, rotations=np.swapaxes(rig.rotations, 1, 2), translations=rig.centers)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (mirrored, "mirror images of each other"),
        (inverted, "take the camera to the world"),
        (
            lambda rig: replace(rig, rotations=np.swapaxes(rig.rotations, 1, 2)),
            "rotations are transposed",
        ),
        (
            lambda rig: replace(rig, translations=rig.centers),
            "translations are the places where the cameras stand",
        ),
        (
            lambda rig: replace(
                rig,
                rotations=np.diag([1.0, -1, -1]) @ rig.rotations,
                translations=rig.translations * [1, -1, -1],
            ),
            "cameras look along -z",
        ),
    ],
)
def test_a_calibration_of_another_convention_is_found(masks, rig, spoil, words):
    found = find_correction(masks, spoil(rig))
    assert words in found.mistake
    assert mean_agreement(masks, found.rig, ALL) > 0.75


@pytest.mark.parametrize(
    ("flip", "cameras", "words"),
    [
        (np.s_[..., ::-1], list(ALL), "mirror images of each other"),
        (np.s_[..., ::-1, ::-1], list(ALL), "the videos are upside down"),
        (np.s_[..., ::-1, :], list(ALL), "rows run the other way"),
        (np.s_[..., ::-1, ::-1], [3], "the video of camera 3 is upside down"),
        (np.s_[..., ::-1], [4], "the video of camera 4 is mirrored"),
    ],
)
def test_pictures_that_are_turned_are_found(rig, flip, cameras, words):
    """Balls that walk to one side, beside the lens's axis: symmetry would hide what is mirrored."""
    rig = replace(rig, intrinsics=rig.intrinsics + np.array([[0, 0, 9.0], [0, 0, 7], [0, 0, 0]]))
    aside = walking_balls(30)[::5] + np.array([60.0, -40.0, 30.0])
    masks = np.stack([silhouettes(rig, balls, 25.0) for balls in aside])
    masks[:, cameras] = masks[:, cameras][flip]
    found = find_correction(masks, rig)
    assert words in found.mistake
    assert mean_agreement(masks, found.rig, ALL) > 0.85


def test_nobody_is_blamed_for_what_many_do(masks, rig):
    """In every frame two cameras miss half of the animal: without any one, the others do better."""
    eaten = masks.copy()
    for frame in range(6):
        for camera in (frame, (frame + 2) % 6):
            columns = np.flatnonzero(masks[frame, camera].any(axis=0))
            eaten[frame, camera, :, : columns[len(columns) // 2]] = 0
    assert find_culprits(eaten, rig) == []


def test_a_camera_that_was_moved_is_named(masks, rig):
    translations = rig.translations.copy()
    translations[2] += [80.0, 0, 0]
    moved = replace(rig, translations=translations)
    assert find_correction(masks, moved) is None
    assert find_culprits(masks, moved) == [2]


def test_empty_masks_agree_with_nothing(masks, rig):
    assert not np.isfinite(agreement(np.zeros_like(masks), rig, ALL)).any()
    assert mean_agreement(np.zeros_like(masks), rig, ALL) == 0
    assert find_correction(np.zeros_like(masks), rig) is None
