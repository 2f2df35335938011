"""The original's recipe, by its paper, its published code and its users' settings.

Three U-Nets over the whole dense volume, batch norm, a fully connected bottleneck that holds most
of their parameters (52 million on its mouse's grid of 96 x 80 x 64 voxels); one random observed
camera a step, Adam at a constant 1e-4, float32. The loss is silhouette IoU and half the L1 over the
animal, summed over colours, without SSIM.

Its U-Nets pass on what they were given, and add channels to it: the first two, which have no more
channels than that, double the volume and learn nothing. So how opaque a Gaussian is follows from
carving alone, through two sigmoids: between 0.5 and 0.73, for voxels above a threshold that is
raised until no more than MAX_GAUSSIANS are left. What is learnt is places, sizes and colours.

Where the original had its own, carving, colours, tracking, the choice of the box, decoding and
splatting are ours, and memory is laid out with channels last, which saves the plain way time.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pose_splatter.carving import DISPUTED
from pose_splatter.dataset import (
    FrameBatch,
    FrameDataset,
    Recording,
    Volume,
    camera_tensors,
    carve_frame,
)
from pose_splatter.gaussians import Gaussians
from pose_splatter.losses import LossWeights, compute_losses
from pose_splatter.model import Rendering, render
from pose_splatter.volume import Crop

LEARNING_RATE = 1e-4
LOSS = LossWeights(image=3 * 0.5)  # ours is the mean over three colours
CARVED, FEATURES = 4, 8  # channels of the volume, and of what the last U-Net makes of it
CHANNELS = (8, 16, 32, 64, 128)
BOTTLENECK, HIDDEN = 512, 128
NEAR_ZERO = 1e-4  # standard deviation of weights at the start
OUTPUTS = (4, 3, 1, 3, 3)  # quaternion, log scale, an opacity that is not used, colour, offset
START_SCALE = 2.08  # voxels: exp(-5.5) m where 112 voxels are 0.22 m
MAX_OFFSET = 2.0  # voxels
MIN_GAUSSIANS, MAX_GAUSSIANS = 1024, 16_000
LIKELY, THRESHOLD, THRESHOLD_STEP = 0.25, 0.25, 0.05
RADIUS_CLIP = 2.0  # pixels: smaller Gaussians are not drawn
LAYOUT = torch.channels_last_3d


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [
            nn.Conv3d(channels, channels_out, 3, padding=1),
            nn.BatchNorm3d(channels_out),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Four halvings, and at the bottom an MLP over all that is left of the volume."""

    def __init__(self, channels_out: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        steps = list(zip((CARVED, *CHANNELS[:-1]), CHANNELS, strict=True))
        self.down = nn.ModuleList(_block(i, o) for i, o in steps)
        bottom = CHANNELS[-1] * int(np.prod([size // 16 for size in shape]))
        self.bottleneck = nn.Sequential(
            nn.Linear(bottom, BOTTLENECK),
            nn.ReLU(),
            nn.Linear(BOTTLENECK, BOTTLENECK),
            nn.Linear(BOTTLENECK, bottom),
        )
        self.enlarge = nn.ModuleList(nn.ConvTranspose3d(o, i, 2, 2) for i, o in steps[:0:-1])
        self.up = nn.ModuleList(_block(2 * i, i) for i, _ in steps[:0:-1])
        self.last = nn.Conv3d(CHANNELS[0], channels_out, 1)
        self._start_near_identity()

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        """Nothing but the first level passes the volume on at first."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
                nn.init.normal_(module.weight, std=NEAR_ZERO)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for part in (self.down[0], self.up[-1], self.last):
            for module in part.modules():
                if isinstance(module, nn.Conv3d):
                    middle = module.kernel_size[0] // 2
                    for channel in range(min(CARVED, module.out_channels)):
                        module.weight[channel, channel, middle, middle, middle] = 1.0

    def forward(self, volume: Float[Tensor, "1 4 x y z"]) -> Float[Tensor, "1 c x y z"]:
        skips = [self.down[0](volume)]
        for block in self.down[1:]:
            skips.append(block(functional.max_pool3d(skips[-1], 2)))
        features = skips.pop()
        features = self.bottleneck(features.flatten()).view_as(features)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            features = block(torch.cat([skips.pop(), enlarge(features)], dim=1))
        return torch.cat([volume, self.last(features)[:, CARVED:]], dim=1)


class PlainPoseSplatter(nn.Module):
    """A dense volume to Gaussians, at most MAX_GAUSSIANS of its likeliest voxels."""

    def __init__(self, crop: Crop) -> None:
        super().__init__()
        self.fill_color = crop.fill_color
        widths = (CARVED, CARVED, FEATURES)
        self.unets = nn.ModuleList(UNet(width, crop.grid.shape) for width in widths)
        self.decoder = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, sum(OUTPUTS))
        )
        self.log_scale = nn.Parameter(torch.tensor(START_SCALE).log())

    def forward(self, volume: Volume) -> Gaussians:
        full = dense(volume, self.fill_color)
        for unet in self.unets[:-1]:
            full = full + unet(full)
        refined = self.unets[-1](full)[0]
        indices, probability = choose_voxels(refined[0])
        x, y, z = indices.unbind(-1)
        decoded = self.decoder(refined[:, x, y, z].T).split(OUTPUTS, dim=-1)
        quat, scale, _, color, offset = decoded
        above = (probability - LIKELY) / (1 - LIKELY)
        local = MAX_OFFSET * offset.tanh() + indices + 0.5
        return Gaussians(
            means=volume.lower + volume.voxel_size * local,
            quats=functional.normalize(quat, dim=-1),
            scales=volume.voxel_size * (scale + self.log_scale).exp(),
            opacities=above.clamp(0, 1).sigmoid(),
            colors=color.sigmoid().clamp(max=0.99),
        ).placed(volume.center, volume.angle)


def choose_voxels(
    occupancy: Float[Tensor, "x y z"],
) -> tuple[Int[Tensor, "voxel 3"], Float[Tensor, " voxel"]]:
    """The voxels that become Gaussians, and how likely each is: above LIKELY.

    A sigmoid is shifted until no more than MAX_GAUSSIANS are; where equal ones leave too few by
    that, it is shifted back, and some are drawn.
    """
    step = 0
    while int(_is_likely(occupancy, step).sum()) > MAX_GAUSSIANS:
        step += 1
    while int(_is_likely(occupancy, step).sum()) < MIN_GAUSSIANS:
        step -= 1
    indices = _is_likely(occupancy, step).nonzero()
    if len(indices) > MAX_GAUSSIANS:
        indices = indices[torch.randperm(len(indices))[:MAX_GAUSSIANS]]
    x, y, z = indices.unbind(-1)
    return indices, torch.sigmoid(occupancy[x, y, z] - _threshold(step))


def _threshold(step: int) -> float:
    return THRESHOLD + step * THRESHOLD_STEP


def _is_likely(occupancy: Float[Tensor, "x y z"], step: int) -> Bool[Tensor, "x y z"]:
    return torch.sigmoid(occupancy - _threshold(step)) > LIKELY


def dense(volume: Volume, fill_color: float) -> Float[Tensor, "1 4 x y z"]:
    """Occupancy and colour of all voxels: half of each where one camera does not see a voxel.

    A camera sees one where its mask, interpolated, is at least half.
    """
    full = volume.features.new_full((1, CARVED, *volume.shape), fill_color)
    full[:, 0] = 0.0
    seen_by_all = volume.features[:, 0] > DISPUTED + (1 - DISPUTED) / 2  # half of a pixel is
    occupancy = torch.where(seen_by_all, 1.0, 0.5)[:, None]
    color = occupancy * volume.features[:, 1:CARVED] + (1 - occupancy) * fill_color
    x, y, z = volume.indices.unbind(-1)
    full[0, :, x, y, z] = torch.cat([occupancy, color], dim=1).T
    return full.to(memory_format=LAYOUT)


def splat(
    gaussians: Gaussians,
    viewmats: Float[Tensor, "camera 4 4"],
    Ks: Float[Tensor, "camera 3 3"],
    width: int,
    height: int,
) -> Rendering:
    """Pictures of Gaussians on white, without the smallest of them."""
    rendering = render(gaussians, viewmats, Ks, width, height, radius_clip=RADIUS_CLIP)
    return replace(rendering, images=rendering.images.clamp(0, 1))


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
    model = PlainPoseSplatter(recording.crop).train()
    model.to(memory_format=LAYOUT)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    dataset = FrameDataset([(recording, frames)])
    start, steps = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        batch = one_camera(dataset[int(random.integers(len(dataset)))], random)
        height, width = batch.masks.shape[1:]
        rendering = splat(model(batch.volume), batch.viewmats, batch.Ks, width, height)
        loss = compute_losses(rendering, batch, LOSS)["loss"]
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
    viewmats, Ks = camera_tensors(rig)
    pictures = []
    for camera in range(len(rig)):
        one = slice(camera, camera + 1)
        rendering = splat(gaussians, viewmats[one], Ks[one], rig.width, rig.height)
        pictures.append(torch.cat([rendering.images, rendering.alphas[..., None]], dim=-1)[0])
    return (torch.stack(pictures) * 255).round().byte().numpy()
