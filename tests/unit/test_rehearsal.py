"""Rehearsal: the model's own animal, from where no camera stands, in one piece with its volume."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pose_splatter.dataset import Augmentation, FrameDataset, carve_frame
from pose_splatter.model import NetworkConfig, PoseSplatter, render
from pose_splatter.rehearsal import Rehearsal, carried
from pose_splatter.views import orbit

from ..conftest import balls_recording

NETWORK = NetworkConfig(unets=1, channels=(8, 16), stride=2, features=4, hidden=8)


@pytest.fixture(scope="module")
def recording():
    return balls_recording(np.arange(6), np.linspace(0, 2, 6))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PoseSplatter(NETWORK)


@pytest.fixture
def batch(recording):
    return FrameDataset([(recording, [4])])[0]


def silhouettes(model, volume, batch):
    with torch.no_grad():
        views = batch.viewmats, batch.Ks, batch.masks.shape[2], batch.masks.shape[1]
        return render(model(volume), *views).alphas >= 0.5


def test_what_supervises_is_what_the_model_makes_of_the_frame(recording, model, batch):
    rehearsed = Rehearsal(model, [recording], Augmentation(), 0, 0)(batch)
    animal = silhouettes(model, carve_frame(recording, 4, recording.observed), rehearsed)
    assert torch.equal(animal, rehearsed.masks > 0)
    assert (rehearsed.masks.sum(dim=(1, 2)) > 50).all()
    assert (rehearsed.recording, rehearsed.frame, rehearsed.source_frame) == ("balls", 4, 4)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_its_hull_holds_the_animal_from_all_sides(recording, model, batch, mirror):
    """Volume, cameras and silhouettes agree, turned, moved and mirrored as they are."""
    varied = Augmentation(mirror=mirror, turn=20, shift=1)
    for epoch in range(4):
        rehearsed = Rehearsal(model, [recording], varied, 0, epoch)(batch)
        hull = silhouettes(model, rehearsed.volume, rehearsed)
        animal = rehearsed.masks > 0
        assert (hull & animal).sum() > 0.95 * animal.sum()
        assert (hull & animal).sum() > 0.6 * (hull | animal).sum()


def test_its_grid_is_turned_and_moved(recording, model, batch):
    volume = Rehearsal(model, [recording], Augmentation(turn=20, shift=2), 0, 0)(batch).volume
    turn = abs(volume.angle - recording.track.angles[4])
    assert 0 < turn <= np.deg2rad(20)
    moved = np.abs(volume.center.numpy() - recording.track.centers[4]) / volume.voxel_size
    assert (moved > 0).all()
    assert (moved <= 2.001).all()


def test_recordings_have_chances_of_their_own(recording, model, batch):
    twin = replace(recording, name="twin")
    rehearsal = Rehearsal(model, [recording, twin], Augmentation(), 0, 0)
    views = rehearsal(batch).viewmats, rehearsal(replace(batch, recording="twin")).viewmats
    assert not torch.equal(*views)


def test_no_side_is_that_of_a_real_camera(recording, model, batch):
    rehearsed = Rehearsal(model, [recording], Augmentation(), 0, 0)(batch)
    real = torch.from_numpy(recording.rig.viewmats).float()
    apart = (rehearsed.viewmats[:, None] - real).abs().amax(dim=(2, 3))
    assert apart.min() > 0.01


def test_the_same_seed_epoch_and_frame_give_the_same(recording, model, batch):
    def masks(seed, epoch):
        return Rehearsal(model, [recording], Augmentation(), seed, epoch)(batch).masks

    assert torch.equal(masks(1, 2), masks(1, 2))
    assert not torch.equal(masks(1, 2), masks(1, 3))
    assert not torch.equal(masks(1, 2), masks(2, 2))


def test_later_training_does_not_change_it(recording, model, batch):
    rehearsal = Rehearsal(model, [recording], Augmentation(), 0, 0)
    before = rehearsal(batch).masks
    with torch.no_grad():
        model.decoder.last.bias[10] = -20.0
    assert torch.equal(before, rehearsal(batch).masks)


def test_where_there_is_nothing_to_see_the_frame_itself_is_trained_on(recording, model, batch):
    with torch.no_grad():
        model.decoder.last.bias[10] = -20.0  # opacity
    assert Rehearsal(model, [recording], Augmentation(), 0, 0)(batch) is batch


def test_frames_of_all_recordings_are_found(recording, model, batch):
    other = replace(balls_recording(np.arange(3), np.zeros(3)), name="other")
    rehearsal = Rehearsal(model, [recording, other], Augmentation(), 0, 0)
    rehearsed = rehearsal(replace(batch, recording="other", frame=1))
    assert rehearsed.recording == "other"
    animal = silhouettes(model, carve_frame(other, 1, other.observed), rehearsed)
    assert torch.equal(animal, rehearsed.masks > 0)


def test_a_carried_rig_is_each_camera_in_its_orbit(rig):
    center, yaws = np.array([10.0, -20.0, 30.0]), np.array([30.0, 200.0, -75.0, 0.0, 90.0, 400.0])
    moved = carried(rig, center, yaws)
    assert moved.names == rig.names
    for camera, yaw in enumerate(yaws):
        alone = orbit(rig, camera, center, np.array([yaw]), np.array([0.0]))
        np.testing.assert_allclose(moved.viewmats[camera], alone.viewmats[0], atol=1e-9)
        np.testing.assert_array_equal(moved.intrinsics[camera], rig.intrinsics[camera])
