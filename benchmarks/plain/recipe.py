"""The original's recipe, as its paper and its users describe it: the plain way to train.

Three stacked U-Nets over the whole dense volume, batch norm, a fully connected bottleneck that
holds most of 52 million parameters; opacity through two sigmoids, and a search for the threshold
above which voxels become Gaussians; one random observed camera a step, Adam at a constant 1e-4,
float32. Widths are chosen for two known numbers: the parameters, and about a second a step on two
cores. Carving and splatting are ours, and memory is laid out with channels last, which spares the
plain way more time than it ever had.
"""

import time
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pose_splatter.dataset import FrameBatch, FrameDataset, Recording, Volume, carve_frame
from pose_splatter.gaussians import Gaussians
from pose_splatter.losses import LossWeights, compute_losses
from pose_splatter.model import render

LEARNING_RATE = 1e-4
MAX_GAUSSIANS = 16_000
PARAMETERS = 52e6
CHANNELS = (4, 8, 16, 32, 32)
FEATURES = 8
LAYOUT = torch.channels_last_3d
OUTPUTS = (3, 4, 3, 1, 3)  # offset, quaternion, log scale, opacity, colour


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, padding=1), nn.BatchNorm3d(channels_out), nn.ReLU()
    )


class UNet(nn.Module):
    """Four halvings, and at the bottom an MLP over all that is left of the volume."""

    def __init__(self, channels_in: int, channels_out: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        pairs = zip((channels_in, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.down = nn.ModuleList(_convolution(i, o) for i, o in pairs)
        bottom = CHANNELS[-1] * int(np.prod([size // 16 for size in shape]))
        hidden = int(PARAMETERS / 3 / (2 * bottom))
        self.bottleneck = nn.Sequential(
            nn.Linear(bottom, hidden), nn.ReLU(), nn.Linear(hidden, bottom)
        )
        pairs = zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True)
        self.up = nn.ModuleList(_convolution(i + o, o) for i, o in pairs)
        self.last = nn.Conv3d(CHANNELS[0], channels_out, 1)

    def forward(self, volume: Float[Tensor, "1 c x y z"]) -> Float[Tensor, "1 out x y z"]:
        skips = [self.down[0](volume)]
        for block in self.down[1:]:
            skips.append(block(functional.max_pool3d(skips[-1], 2)))
        features = skips.pop()
        features = features + self.bottleneck(features.flatten()).view_as(features)
        for block in self.up:
            features = functional.interpolate(features, scale_factor=2)
            features = block(torch.cat([features, skips.pop()], dim=1))
        return self.last(features)


class PlainPoseSplatter(nn.Module):
    """A dense volume to Gaussians, at most MAX_GAUSSIANS of its likeliest voxels."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        widths = (4, FEATURES, FEATURES, 1 + FEATURES)
        self.unets = nn.Sequential(*(UNet(i, o, shape) for i, o in pairwise(widths)))
        self.decoder = nn.Sequential(
            nn.Linear(1 + FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()
        )
        self.last = nn.Linear(64, sum(OUTPUTS))

    def forward(self, volume: Volume) -> Gaussians:
        refined = self.unets(dense(volume))[0]
        probability = refined[0].sigmoid()
        indices = (probability > self._threshold(probability.detach())).nonzero()
        features = refined[:, indices[:, 0], indices[:, 1], indices[:, 2]].T
        hidden = self.decoder(features)
        offset, quat, scale, opacity, color = self.last(hidden).split(OUTPUTS, dim=-1)
        kept = probability[indices[:, 0], indices[:, 1], indices[:, 2]]
        return Gaussians(
            means=volume.lower + volume.voxel_size * (indices + 0.5 + offset.tanh()),
            quats=functional.normalize(quat, dim=-1),
            scales=volume.voxel_size * scale.exp().clamp(max=5.0),
            opacities=opacity[:, 0].sigmoid() * kept,
            colors=color.sigmoid(),
        ).placed(volume.center, volume.angle)

    def _threshold(self, probability: Tensor) -> float:
        """By bisection, the least threshold above which no more than MAX_GAUSSIANS voxels lie."""
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            if int((probability > middle).sum()) > MAX_GAUSSIANS:
                low = middle
            else:
                high = middle
        return high


def dense(volume: Volume) -> Float[Tensor, "1 4 x y z"]:
    """The sparse volume with its empty voxels; only what every camera sees is occupied."""
    full = volume.features.new_zeros(1, 4, *volume.shape)
    seen = volume.features[:, 0] > 0.999
    x, y, z = volume.indices[seen].unbind(-1)
    full[0, :, x, y, z] = volume.features[seen, :4].T
    return full.to(memory_format=LAYOUT)


@dataclass
class Trained:
    """A plain model, how many steps it took and in how many seconds."""

    model: PlainPoseSplatter
    steps: int
    seconds: float


def train_plain(recording: Recording, frames: range, seconds: float, seed: int = 0) -> Trained:
    """Train for so many seconds, one random camera of one random frame a step."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = PlainPoseSplatter(recording.crop.grid.shape).train()
    model.to(memory_format=LAYOUT)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    dataset = FrameDataset([(recording, frames)])
    start, steps = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        batch = one_camera(dataset[int(random.integers(len(dataset)))], random)
        height, width = batch.masks.shape[1:]
        rendering = render(model(batch.volume), batch.viewmats, batch.Ks, width, height)
        loss = compute_losses(rendering, batch, LossWeights())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    return Trained(model, steps, time.monotonic() - start)


def one_camera(batch: FrameBatch, random: np.random.Generator) -> FrameBatch:
    """The same volume, with a random one of its views to compare with."""
    view = slice(camera := int(random.integers(len(batch.masks))), camera + 1)
    parts = ("images", "masks", "viewmats", "Ks")
    return replace(batch, **{name: getattr(batch, name)[view] for name in parts})


@torch.no_grad()
def render_plain(model: PlainPoseSplatter, recording: Recording, frame: int) -> np.ndarray:
    """Render a frame camera by camera: uint8 (camera h w 4)."""
    rig = recording.rig
    volume = carve_frame(recording, frame, recording.observed)
    gaussians = model.eval()(volume)
    viewmats, Ks = (torch.from_numpy(part).float() for part in (rig.viewmats, rig.intrinsics))
    pictures = []
    for camera in range(len(rig)):
        one = slice(camera, camera + 1)
        rendering = render(gaussians, viewmats[one], Ks[one], rig.width, rig.height)
        pictures.append(torch.cat([rendering.images, rendering.alphas[..., None]], dim=-1)[0])
    return (torch.stack(pictures).clamp(0, 1) * 255).round().byte().numpy()
