"""From a carved volume to Gaussians to pictures (Goffinet et al. 2025, section 3)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose_splatter.cameras import EPS2D
from pose_splatter.carving import DISPUTED
from pose_splatter.dataset import Volume
from pose_splatter.gaussians import Gaussians
from pose_splatter.network import VolumeEncoder, VoxelDecoder
from pose_splatter.rasterize import rasterization

# Of a Gaussian that starts where it was carved: standard deviation in voxels, and its opacity
# where one camera does not see the voxel and where all do.
START_SCALE = 0.6
START_OPACITY = (0.05, 0.9)
MAX_OFFSET = 1.0  # voxels
MAX_LOG_SCALE = 1.5
CARVED = 4  # occupancy and colour, which the decoder sees
# What the U-Nets see as well: from which sides a voxel is known, and where in the animal it lies.
ENCODED = CARVED + 3 + 3
OUTPUTS = (3, 4, 3, 1, 3)  # offset, quaternion, log scale, opacity, colour


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network. `unets: 0` is the ablation: voxels are decoded without context."""

    unets: int = 1
    channels: tuple[int, ...] = (16, 32, 64, 96)
    stride: int = 2
    features: int = 16
    hidden: int = 64

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "NetworkConfig":
        """From settings as YAML or JSON hold them, with lists for tuples."""
        return cls(**{**settings, "channels": tuple(settings["channels"])})


@dataclass(frozen=True)
class Rendering:
    """Pictures on a white background, and how opaque the animal is in every pixel."""

    images: Float[Tensor, "camera height width 3"]
    alphas: Float[Tensor, "camera height width"]


class PoseSplatter(nn.Module):
    """Refine a carved volume and decode one Gaussian per occupied voxel.

    An untrained model already renders the coloured visual hull: the networks learn what to change.
    All it learns is in units of voxels, so a model is not bound to a rig or a unit of length.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = (
            VolumeEncoder(ENCODED, config.unets, config.channels, config.stride, config.features)
            if config.unets
            else None
        )
        width = CARVED + (config.features if config.unets else 0)
        self.decoder = VoxelDecoder(width, config.hidden, sum(OUTPUTS))

    def forward(self, volume: Volume) -> Gaussians:
        """The frame's Gaussians, in the world."""
        carved = features = volume.features[:, :CARVED]
        centers = volume.lower + volume.voxel_size * (volume.indices + 0.5)
        if self.encoder is not None:
            inputs = torch.cat([volume.features, centers / volume.half_length], dim=-1)
            refined = self.encoder(volume.indices, inputs)
            features = torch.cat([carved, refined.float()], dim=-1)
        offset, quat, scale, opacity, color = self.decoder(features).float().split(OUTPUTS, dim=-1)
        low, high = START_OPACITY
        agreement = (carved[:, 0] - DISPUTED) / (1 - DISPUTED)
        prior = low + (high - low) * agreement
        local = Gaussians(
            means=centers + volume.voxel_size * MAX_OFFSET * offset.tanh(),
            quats=torch.nn.functional.normalize(
                quat + quat.new_tensor([1.0, 0.0, 0.0, 0.0]), dim=-1
            ),
            scales=volume.voxel_size * START_SCALE * (MAX_LOG_SCALE * scale.tanh()).exp(),
            opacities=torch.sigmoid(prior.logit() + opacity[:, 0]),
            colors=torch.sigmoid(carved[:, 1:].clamp(0.01, 0.99).logit() + color),
        )
        return local.placed(volume.center, volume.angle)


def render(
    gaussians: Gaussians,
    viewmats: Float[Tensor, "camera 4 4"],
    Ks: Float[Tensor, "camera 3 3"],
    width: int,
    height: int,
    eps2d: float = EPS2D,
    radius_clip: float = 0.0,
) -> Rendering:
    """Splat Gaussians into cameras, over white, blurred by a variance of `eps2d` square pixels.

    Those whose radius in a picture is at most `radius_clip` pixels are left out.
    """
    colors, alphas, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        viewmats,
        Ks,
        width,
        height,
        radius_clip=radius_clip,
        eps2d=eps2d,
    )
    return Rendering(images=colors + (1 - alphas), alphas=alphas[..., 0])
