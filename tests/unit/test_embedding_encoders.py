"""Image encoders: weights that know what they see, features of the right shape, clear refusals."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from pose_splatter.embedding.encoders import (
    EfficientNetLite0Encoder,
    ResNet18Encoder,
    ScatteringEncoder,
    make_encoder,
)
from pose_splatter.errors import PoseSplatterError


def pictures(size: int = 32, count: int = 3) -> torch.Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def sample(name: str, size: int = 224) -> torch.Tensor:
    """The central square of one of scikit-image's pictures."""
    picture = getattr(data, name)()
    edge = min(picture.shape[:2])
    top, left = ((length - edge) // 2 for length in picture.shape[:2])
    square = picture[top : top + edge, left : left + edge]
    return torch.from_numpy(resize(square, (size, size), anti_aliasing=True)).float()[None]


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0Encoder:
    return make_encoder("efficientnet_lite0", "cpu")


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("coffee", {967}),  # espresso
        ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("rocket", {657, 744}),  # missile, projectile
    ],
)
def test_lite0_names_what_it_sees(lite0, name, classes):
    with torch.no_grad():
        chances = lite0.logits(sample(name))[0].softmax(dim=0)
    assert int(chances.argmax()) in classes
    assert chances[list(classes)].sum() > 0.3


def test_encoders_give_a_vector_per_picture_that_no_other_picture_changes(lite0, tmp_path):
    torch.save(resnet_state(), tmp_path / "weights.pth")
    encoders = {
        1280: lite0,
        512: make_encoder("resnet18", "cpu", tmp_path / "weights.pth"),
        3 * (1 + 4 * 4 + 6 * 16): make_encoder("scattering", "cpu"),
    }
    for channels, encode in encoders.items():
        features = encode(pictures())
        assert features.shape == (3, channels)
        assert features.isfinite().all()
        assert not features.requires_grad
        torch.testing.assert_close(encode(pictures()[1:2]), features[1:2], rtol=1e-4, atol=1e-5)
        assert (features[0] - features[1]).norm() > 1e-3


def test_scattering_ignores_small_shifts_and_sees_orientation():
    encode = ScatteringEncoder()
    x = np.linspace(-1, 1, 64)
    bar = 1 - np.exp(-((x[:, None] / 0.5) ** 2) - (x / 0.1) ** 2)
    image = torch.from_numpy(np.repeat(bar[..., None], 3, axis=-1)).float()[None]
    features, shifted, turned = (
        encode(picture) for picture in (image, image.roll((3, 5), (1, 2)), image.transpose(1, 2))
    )
    torch.testing.assert_close(features, shifted, rtol=1e-3, atol=1e-5)
    assert (features - turned).norm() > 0.3 * features.norm()
    empty = encode(torch.ones(1, 64, 64, 3))
    assert empty.abs().max() == 0, "nothing but white has no features"


def test_scattering_counts_strong_and_weak_channels_alike():
    """A tenth of the contrast is one logarithm less, in every channel."""
    encode, images = ScatteringEncoder(), pictures(size=64)
    less = encode(images) - encode(1 - (1 - images) / 10)
    torch.testing.assert_close(less, torch.full_like(less, np.log(10)), rtol=0.2, atol=0)


def resnet_state() -> dict[str, torch.Tensor]:
    """Random weights in the layout of torchvision's file: its names, shapes and classifier."""
    state = {"conv1.weight": torch.randn(64, 3, 7, 7) / 12, **batch_norm("bn1", 64)}
    inputs = 64
    for layer, outputs in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            scale = (9 * outputs) ** 0.5
            state[f"{name}.conv1.weight"] = torch.randn(outputs, inputs, 3, 3) / scale
            state[f"{name}.conv2.weight"] = torch.randn(outputs, outputs, 3, 3) / scale
            state |= batch_norm(f"{name}.bn1", outputs) | batch_norm(f"{name}.bn2", outputs)
            if inputs != outputs:
                shortcut = torch.randn(outputs, inputs, 1, 1) / inputs**0.5
                state[f"{name}.downsample.0.weight"] = shortcut
                state |= batch_norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    return {**state, "fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


def batch_norm(name: str, channels: int) -> dict[str, torch.Tensor]:
    ones, zeros = torch.ones(channels), torch.zeros(channels)
    return {
        f"{name}.weight": ones,
        f"{name}.bias": zeros,
        f"{name}.running_mean": zeros,
        f"{name}.running_var": ones,
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = resnet_state()
    del state["layer4.1.conv2.weight"]
    torch.save(state, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(PoseSplatterError, match=r"other\.pth holds the weights of another network"):
        ResNet18Encoder(tmp_path / "other.pth")
    with pytest.raises(PoseSplatterError, match=r"text\.pth holds no weights"):
        ResNet18Encoder(tmp_path / "text.pth")
    with pytest.raises(PoseSplatterError, match=r"missing\.pth is no file; give weights: the path"):
        ResNet18Encoder(tmp_path / "missing.pth")
    with pytest.raises(PoseSplatterError, match="resnet18 comes without weights"):
        make_encoder("resnet18", "cpu")
