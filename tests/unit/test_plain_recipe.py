"""The plain way to train is the original's, as far as numbers are known of that."""

from dataclasses import replace

import numpy as np
import torch
from benchmarks.plain.recipe import (
    CARVED,
    FEATURES,
    LOSS,
    MAX_GAUSSIANS,
    PlainPoseSplatter,
    UNet,
    choose_voxels,
    dense,
    one_camera,
    splat,
    train_plain,
)

from pose_splatter.dataset import FrameDataset
from pose_splatter.losses import compute_losses
from pose_splatter.volume import Crop

from ..conftest import balls_recording


def balls():
    crop = Crop(32, 150.0, ((0, 32), (0, 32), (0, 32)), 1.0, 0.5)
    return replace(balls_recording(np.arange(4), np.zeros(4)), crop=crop)


def test_it_has_as_many_parameters_as_on_the_mouse_of_its_users():
    unets = [UNet(channels, (96, 80, 64)) for channels in (CARVED, CARVED, FEATURES)]
    counts = [sum(p.numel() for p in unet.parameters()) for unet in unets]
    assert round(sum(counts) / 1e6) == 52
    bottleneck = sum(p.numel() for p in unets[0].bottleneck.parameters())
    assert bottleneck > 0.9 * counts[0]


def test_what_it_learns_is_not_the_shape():
    """Opacities follow from carving, and two of its three U-Nets stay as they are."""
    recording = balls()
    batch = one_camera(FrameDataset([(recording, [0])])[0], np.random.default_rng(0))
    model = PlainPoseSplatter(recording.crop)
    volume = dense(batch.volume, 0.5)
    assert volume[0, 0].unique().tolist() == [0.0, 0.5, 1.0]
    torch.testing.assert_close(model.unets[0](volume), volume)
    gaussians = model(batch.volume)
    assert len(gaussians.opacities.unique()) == 2
    assert 0.5 < gaussians.opacities.min() < gaussians.opacities.max() < 0.74
    rendering = splat(gaussians, batch.viewmats, batch.Ks, 80, 60)
    compute_losses(rendering, batch, LOSS)["loss"].backward()
    learning = [any(p.grad.any() for p in unet.parameters()) for unet in model.unets]
    assert learning == [False, False, True]
    assert model.decoder[0].weight.grad.any()


def test_the_likeliest_voxels_become_gaussians():
    occupancy = torch.zeros(64, 32, 32)
    occupancy[:4], occupancy[4:8] = 4.0, 2.0
    indices, probability = choose_voxels(occupancy)
    assert len(indices) == 8 * 32 * 32
    assert (probability > 0.25).all()
    occupancy[4:24] = 2.0
    indices, _ = choose_voxels(occupancy)
    assert len(indices) == 4 * 32 * 32, "all of the second kind are too many"
    occupancy[:24] = 4.0
    indices, probability = choose_voxels(occupancy)
    assert len(indices) == MAX_GAUSSIANS
    assert indices[:, 0].max() == 23
    assert probability.max() < 0.28, "just above the threshold"


def test_it_trains():
    recording = balls()
    trained = train_plain(recording, range(2), 1.0)
    assert trained.steps > 0
    assert trained.model.log_scale.grad is not None
