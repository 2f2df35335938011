"""The model: it starts at the coloured hull, learns, and is not bound to a place or a unit."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from pose_splatter.carving import DISPUTED, VoxelGrid, carve_colored, index_projections
from pose_splatter.dataset import FrameBatch, Volume
from pose_splatter.losses import LossWeights, compute_losses, image_loss, iou_loss
from pose_splatter.model import NetworkConfig, PoseSplatter, Rendering, render
from pose_splatter.network import UNet3d, VolumeEncoder, _Conv3d

from ..conftest import ring_rig, silhouettes

SMALL = NetworkConfig(unets=1, channels=(8, 16), stride=2, features=4, hidden=16)


@pytest.fixture(scope="module")
def batch() -> FrameBatch:
    """A two-coloured body in six cameras, carved on a grid that is turned and off centre."""
    rig = ring_rig()
    masks = silhouettes(rig, np.array([[0.0, 0, 0], [25, 10, 0], [-25, -10, 0]]), 30)
    images = np.full((*masks.shape, 3), 255, np.uint8)
    images[masks > 0] = [200, 120, 40]
    grid, center = VoxelGrid.cube(32, 180.0), np.array([4.0, -3.0, 2.0])
    carved = carve_colored(
        images, masks, index_projections(rig, grid, center, 0.5), grid.shape, 0.4
    )
    return FrameBatch(
        volume=Volume(
            shape=grid.shape,
            indices=torch.from_numpy(carved.indices).long(),
            features=torch.from_numpy(carved.features),
            lower=torch.tensor(grid.lower),
            voxel_size=grid.voxel_size,
            half_length=90.0,
            center=torch.from_numpy(center).float(),
            angle=0.5,
        ),
        images=torch.from_numpy(images).float() / 255,
        masks=torch.from_numpy(masks).float(),
        viewmats=torch.from_numpy(rig.viewmats).float(),
        Ks=torch.from_numpy(rig.intrinsics).float(),
        recording="body",
        frame=0,
        source_frame=0,
    )


def forward(model: PoseSplatter, batch: FrameBatch) -> Rendering:
    height, width = batch.masks.shape[1:]
    return render(model(batch.volume), batch.viewmats, batch.Ks, width, height)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, unets=0)], ids=["unet", "ablation"])
def test_the_first_render_is_the_coloured_hull(batch, config):
    with torch.no_grad():
        rendering = forward(PoseSplatter(config), batch)
    assert iou_loss((rendering.alphas > 0.5).float(), batch.masks) < 0.25
    inside = (batch.masks > 0) & (rendering.alphas > 0.95)
    colors = rendering.images[inside]
    np.testing.assert_allclose(
        colors.median(dim=0).values, [200 / 255, 120 / 255, 40 / 255], atol=0.03
    )


def test_disputed_voxels_start_nearly_transparent(batch):
    gaussians = PoseSplatter(SMALL)(batch.volume)
    occupancy = batch.volume.features[:, 0]
    assert gaussians.opacities[occupancy > 0.99].min() > 0.85
    assert gaussians.opacities[occupancy < DISPUTED + 0.01].max() < 0.1


def test_training_steps_lower_the_loss(batch):
    torch.manual_seed(0)
    model = PoseSplatter(SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = compute_losses(forward(model, batch), batch, LossWeights(ssim=0.1))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_what_has_no_weight_is_not_computed(batch):
    rendering = forward(PoseSplatter(SMALL), batch)
    whole = compute_losses(rendering, batch, LossWeights(image=0.5))
    assert whole["loss"] == whole["iou"] + 0.5 * whole["image"]
    silhouettes = compute_losses(rendering, batch, LossWeights(image=0.0))
    assert silhouettes == {"loss": whole["iou"], "iou": whole["iou"]}


def test_another_unit_of_length_changes_nothing(batch):
    """A calibration in metres instead of millimetres gives the same pictures."""
    torch.manual_seed(1)
    model = PoseSplatter(SMALL)
    torch.nn.init.normal_(model.decoder.last.weight, std=0.1)
    viewmats = batch.viewmats.clone()
    viewmats[:, :3, 3] /= 1000
    volume = replace(
        batch.volume,
        lower=batch.volume.lower / 1000,
        voxel_size=batch.volume.voxel_size / 1000,
        half_length=batch.volume.half_length / 1000,
        center=batch.volume.center / 1000,
    )
    metres = replace(batch, volume=volume, viewmats=viewmats)
    with torch.no_grad():
        one, other = forward(model, batch), forward(model, metres)
    assert (one.alphas - other.alphas).abs().max() < 1e-3


def test_encoder_sees_the_same_wherever_the_body_lies_in_the_grid():
    """Shifted by whole blocks, the voxels keep their features: the box around them is the same."""
    torch.manual_seed(0)
    encoder = VolumeEncoder(4, 1, (8, 16), stride=2, features=4)
    indices = torch.randint(0, 12, (50, 3)).unique(dim=0)
    values = torch.rand(len(indices), 4)
    shifted = encoder(indices + torch.tensor([4, 8, 2]), values)
    torch.testing.assert_close(encoder(indices, values), shifted)


def test_each_voxel_gets_its_own_features():
    """A change of one voxel changes its block neighbour's features and its own, differently."""
    torch.manual_seed(0)
    encoder = VolumeEncoder(4, 1, (8,), stride=2, features=3)
    indices = torch.tensor([[0, 0, 0], [0, 0, 1], [7, 7, 7]])
    features = encoder(indices, torch.ones(3, 4))
    assert features.shape == (3, 3)
    assert not torch.allclose(features[0], features[1])


@pytest.mark.parametrize(("precision", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_encoder_is_what_it_is_over_the_whole_dense_box(precision, error):
    """Empty blocks and the rest of a voxel's block count as zeros; gradients too."""
    torch.manual_seed(0)
    encoder = VolumeEncoder(4, 1, (8, 16), stride=2, features=3).to(precision)
    indices = torch.randint(0, 14, (80, 3))
    indices = torch.cat([indices, torch.tensor([[0, 0, 0], [13, 13, 13]])]).unique(dim=0)
    values = torch.rand(len(indices), 4, dtype=precision)
    dense = torch.zeros(16, 16, 16, 4, dtype=precision)  # 7 blocks: the U-Net halves 8
    dense[tuple(indices.T)] = values
    blocks = dense.view(8, 2, 8, 2, 8, 2, 4).permute(0, 2, 4, 1, 3, 5, 6).flatten(3)
    hidden = encoder.stem(blocks.permute(3, 0, 1, 2)[None])
    dealt = encoder.deal(encoder.unets[0](hidden))[0].permute(1, 2, 3, 0)
    dealt = dealt.view(8, 8, 8, 2, 2, 2, 3).permute(0, 3, 1, 4, 2, 5, 6).reshape(16, 16, 16, 3)
    expected = dealt[tuple(indices.T)]
    weights = list(encoder.parameters())
    wanted = torch.autograd.grad((expected**2).mean(), weights)
    found = encoder(indices, values)
    torch.testing.assert_close(found, expected, rtol=error, atol=error)
    gradients = torch.autograd.grad((found**2).mean(), weights)
    torch.testing.assert_close(gradients, wanted, rtol=error, atol=error)


@pytest.mark.parametrize("case", ["small", "large", "float64", "bfloat16", "switched off"])
def test_convolutions_are_pytorchs_and_small_ones_onednns(case):
    torch.manual_seed(0)
    precision = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(case, torch.float32)
    ours = _Conv3d(8, 6, 3, padding=1).to(torch.promote_types(precision, torch.float32))
    length = 70 if case == "large" else 5
    volume = torch.rand(1, length, 40, 3, 8, dtype=ours.weight.dtype).permute(0, 4, 1, 2, 3)
    volume.requires_grad_()
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=case == "bfloat16"),
        torch.backends.mkldnn.flags(enabled=case != "switched off"),
    ):
        found = ours(volume)
        expected = torch.nn.functional.conv3d(volume, ours.weight, ours.bias, padding=1)
    assert found.dtype == expected.dtype == precision
    by_onednn = case == "small" and torch.backends.mkldnn.is_available()
    assert ("ToDense" in type(found.grad_fn).__name__) == by_onednn
    torch.testing.assert_close(found, expected)
    of = [volume, ours.weight, ours.bias]
    gradients = [torch.autograd.grad((out.double() ** 2).mean(), of) for out in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_small_convolutions_can_be_compiled():
    """A compiler does not see through oneDNN's own layout, so it gets PyTorch's convolution.

    In a process without the tests' checks of shapes, which it does not see through either.
    """
    program = """
import torch
from pose_splatter.network import _Conv3d
ours, volume = _Conv3d(4, 4, 3, padding=1), torch.rand(1, 4, 5, 4, 3)
compiled = torch.compile(ours, backend="aot_eager", dynamic=True)
torch.testing.assert_close(compiled(volume), ours(volume))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_unet_keeps_shape_and_sees_far():
    torch.manual_seed(0)
    unet = UNet3d(3, (8, 16, 16))
    volume = torch.zeros(1, 3, 16, 16, 16, requires_grad=True)
    out = unet(volume)
    assert out.shape == volume.shape
    out[0, 0, 2, 8, 8].backward()
    assert volume.grad[0, :, 12, 8, 8].abs().max() > 0


def test_losses_by_hand():
    masks = torch.zeros(1, 4, 4)
    masks[0, :2] = 1
    alphas = torch.zeros(1, 4, 4)
    alphas[0, 1:3] = 1
    assert float(iou_loss(alphas, masks)) == pytest.approx(1 - 4 / 12)
    assert float(iou_loss(masks, masks)) == pytest.approx(0)
    truth = torch.ones(1, 4, 4, 3)
    images = truth.clone()
    images[0, 0, 0] = 0.5
    assert float(image_loss(images, truth, masks)) == pytest.approx(0.5 / 8)
