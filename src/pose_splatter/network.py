"""The networks: 3D U-Nets that refine the carved volume, and an MLP that decodes each voxel."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

SMALL = 20_480  # numbers in a volume, its last axis not counted (aten's use_mkldnn, PyTorch 2.13)


class _Conv3d(nn.Conv3d):
    """nn.Conv3d, on a CPU by oneDNN however small the volume is.

    PyTorch gives a single small volume in single precision to an implementation of its own, which
    takes up to four times as long.
    """

    def forward(self, input: Float[Tensor, "1 c x y z"]) -> Float[Tensor, "1 out x y z"]:
        if _needs_onednn(input):
            return super().forward(input.to_mkldnn()).to_dense()
        return super().forward(input)


def _needs_onednn(volume: Float[Tensor, "1 c x y z"]) -> bool:
    return (
        volume.device.type == "cpu"
        and volume.dtype == torch.float32
        and volume.numel() // volume.shape[-1] <= SMALL
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _at_points(layer: nn.Conv3d, values: Float[Tensor, "point c"]) -> Float[Tensor, "point out"]:
    """What a convolution of 1x1x1 makes of single points, without the volume around them."""
    return functional.linear(values, layer.weight.flatten(1), layer.bias)


def _convolutions(channels_in: int, channels_out: int, groups: int) -> nn.Sequential:
    """Two 3x3x3 convolutions; group norm, since one frame at a time is no batch to norm over."""
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [
            _Conv3d(channels, channels_out, 3, padding=1),
            nn.GroupNorm(groups, channels_out),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)


class UNet3d(nn.Module):
    """A 3D U-Net (Cicek et al. 2016): halves the volume at every further entry of `channels`.

    Returns as many channels as it was given; the input is added, so that it starts near identity.
    """

    def __init__(self, channels_in: int, channels: Sequence[int], groups: int = 8) -> None:
        super().__init__()
        pairs = list(zip((channels_in, *channels[:-1]), channels, strict=True))
        self.down = nn.ModuleList(_convolutions(i, o, groups) for i, o in pairs)
        ups = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(_convolutions(i + o, o, groups) for i, o in ups)
        self.last = nn.Conv3d(channels[0], channels_in, 1)

    def forward(self, volume: Float[Tensor, "1 c x y z"]) -> Float[Tensor, "1 c x y z"]:
        skips = [self.down[0](volume)]
        for block in self.down[1:]:
            skips.append(block(functional.max_pool3d(skips[-1], 2)))
        features = skips.pop()
        for block in self.up:
            skip = skips.pop()
            larger = functional.interpolate(features, size=skip.shape[2:], mode="nearest")
            features = block(torch.cat([larger, skip], dim=1))
        return volume + self.last(features)


class VolumeEncoder(nn.Module):
    """A feature vector per occupied voxel, from a stack of U-Nets over the whole volume.

    The U-Nets work on blocks of stride^3 voxels (their values side by side as channels: nothing
    is lost), and each block's result is dealt out again to its voxels. So fine voxels cost little:
    the dense part grows with the number of blocks, the rest with the occupied voxels alone.
    """

    def __init__(
        self,
        channels_in: int,
        unets: int,
        channels: Sequence[int],
        stride: int,
        features: int,
    ) -> None:
        super().__init__()
        self.stride, self.features = stride, features
        self.multiple = 2 ** (len(channels) - 1)
        self.stem = nn.Conv3d(channels_in * stride**3, channels[0], 1)
        self.unets = nn.ModuleList(UNet3d(channels[0], channels) for _ in range(unets))
        self.deal = nn.Conv3d(channels[0], features * stride**3, 1)

    def forward(
        self, indices: Int[Tensor, "voxel 3"], values: Float[Tensor, "voxel c"]
    ) -> Float[Tensor, "voxel f"]:
        if not len(indices):
            return values.new_zeros(0, self.features)
        blocks, places = indices // self.stride, indices % self.stride
        # The U-Nets see the box around the occupied voxels, not the empty rest of the grid.
        blocks = blocks - blocks.amin(dim=0)
        size = [self._padded(int(length) + 1) for length in blocks.amax(dim=0)]
        numbers = (blocks[:, 0] * size[1] + blocks[:, 1]) * size[2] + blocks[:, 2]
        place = (places[:, 0] * self.stride + places[:, 1]) * self.stride + places[:, 2]
        occupied, block = numbers.unique(return_inverse=True)
        inside = values.new_zeros(len(occupied), self.stride**3, values.shape[1])
        inside[block, place] = values
        known = _at_points(self.stem, inside.flatten(1))
        empty = _at_points(self.stem, inside.new_zeros(1, self.stem.in_channels))
        hidden = empty.expand(size[0] * size[1] * size[2], -1).index_copy(0, occupied, known)
        hidden = hidden.T.unflatten(1, size)[None]
        for unet in self.unets:
            hidden = unet(hidden)
        dealt = _at_points(self.deal, hidden[0].flatten(1).T[occupied])
        return dealt.unflatten(-1, (self.stride**3, self.features))[block, place]

    def _padded(self, size: int) -> int:
        """The next size that every level of the U-Nets halves without a rest."""
        return -(-size // self.multiple) * self.multiple


class VoxelDecoder(nn.Module):
    """A small MLP; its last layer starts at zero, so that the first output is the prior."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels_in, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.last = nn.Linear(hidden, channels_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Float[Tensor, "voxel c"]) -> Float[Tensor, "voxel out"]:
        return self.last(self.layers(features))
