"""The sphere of views: harmonics are exact, and a turn of the animal leaves their magnitudes."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch import Tensor

from pose_splatter.embedding.sphere import ViewSphere, recording_scale, render_sphere
from pose_splatter.errors import PoseSplatterError
from pose_splatter.gaussians import Gaussians
from pose_splatter.tracking import Track

SIZE = 32
SCALE = 0.01  # of the test's animal, about 5 units long


@pytest.fixture(scope="module")
def sphere() -> ViewSphere:
    return ViewSphere.of_degree(3)


@pytest.fixture(scope="module")
def animal() -> Gaussians:
    """A lopsided animal of a few hundred Gaussians, its colours changing along it."""
    random = torch.Generator().manual_seed(0)
    means = torch.randn(300, 3, generator=random) * torch.tensor([1.6, 0.7, 0.5])
    means[:, 2] += 0.2 * means[:, 0]
    return Gaussians(
        means=means,
        quats=torch.nn.functional.normalize(torch.randn(300, 4, generator=random), dim=-1),
        scales=0.1 + 0.3 * torch.rand(300, 3, generator=random),
        opacities=0.2 + 0.7 * torch.rand(300, generator=random),
        colors=torch.sigmoid(means + torch.randn(300, 3, generator=random)),
    )


def moments(images: Tensor) -> np.ndarray:
    """A plain encoder: mean colour, and mean and mean square position of every colour."""
    dark = (1 - images.double()).numpy()
    place = np.linspace(-1, 1, images.shape[1])
    rows, columns = place[:, None, None], place[None, :, None]
    weights = (1, rows, columns, rows**2, columns**2, rows * columns)
    return np.concatenate([(dark * weight).mean(axis=(1, 2)) for weight in weights], axis=-1)


def magnitudes(sphere: ViewSphere, gaussians: Gaussians, encode=moments) -> np.ndarray:
    images = render_sphere(gaussians, sphere, SIZE, SCALE).images
    return sphere.magnitudes(np.asarray(encode(images)))


def turned(gaussians: Gaussians, angle: float) -> Gaussians:
    return gaussians.placed(torch.zeros(3), angle)


def relative_change(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_there_are_views_for_degree_3(sphere):
    assert len(sphere) == 4 * 8
    assert len(sphere.harmonics) == 10
    assert sphere.weight.sum() == pytest.approx(4 * np.pi)


@pytest.mark.parametrize("degree", [0, 1, 3, 5])
def test_band_limited_functions_are_recovered(degree):
    sphere, random = ViewSphere.of_degree(degree), np.random.default_rng(0)
    truth = random.normal(size=(len(sphere.harmonics), 4)) + 1j * random.normal(
        size=(len(sphere.harmonics), 4)
    )
    values = np.zeros((len(sphere), 4))
    for (n, m), coefficients in zip(sphere.harmonics, truth, strict=True):
        if m == 0:
            coefficients.imag = 0  # or the function is not real
        basis = sph_harm_y(n, m, sphere.polar, sphere.azimuth)
        values += (2 if m else 1) * (basis[:, None] * coefficients).real
    np.testing.assert_allclose(sphere.coefficients(values), truth, atol=1e-6)
    power = (sphere.weight @ values**2, (sphere.magnitudes(values) ** 2).sum(axis=0))
    np.testing.assert_allclose(*power, rtol=1e-6)


def test_cameras_look_at_the_centre_and_stand_upright(sphere):
    viewmats, Ks = sphere.cameras(SIZE)
    center, above = torch.tensor([0.0, 0, 0, 1]), torch.tensor([0.0, 0, 0.05, 1])
    for viewmat, K in zip(viewmats, Ks, strict=True):
        pixels = [K @ (viewmat @ point)[:3] for point in (center, above)]
        (u, v), (u_above, v_above) = (pixel[:2] / pixel[2] for pixel in pixels)
        assert u.item() == v.item() == SIZE / 2
        assert u_above.item() == pytest.approx(SIZE / 2, abs=1e-4)
        assert v_above < v - 1
        assert torch.linalg.det(viewmat).item() == pytest.approx(1, abs=1e-6)
    eyes = -(viewmats[:, :3, :3].mT @ viewmats[:, :3, 3:])[..., 0]
    np.testing.assert_allclose(eyes.norm(dim=-1), 1, atol=1e-6)
    np.testing.assert_allclose(eyes[:, 2], np.cos(sphere.polar), atol=1e-6)
    np.testing.assert_allclose(
        torch.atan2(eyes[:, 1], eyes[:, 0]) % (2 * torch.pi), sphere.azimuth, atol=1e-5
    )


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_turns_by_whole_steps_change_nothing(sphere, animal, steps):
    """Whatever the encoder: the same pictures come in another order."""

    def rough(images: Tensor) -> Tensor:
        return (images[:, ::3, ::5].flatten(1) - 0.7).relu()

    for encode in (moments, rough):
        before = magnitudes(sphere, animal, encode)
        after = magnitudes(sphere, turned(animal, steps * np.pi / 4), encode)
        assert relative_change(after, before) < 1e-5


@pytest.mark.parametrize("angle", [0.1, np.pi / 8, 1.0])
def test_turns_by_any_angle_change_little(sphere, animal, angle):
    """For features that change slowly from view to view; degree 0 alone would hide the rest."""
    before, after = (magnitudes(sphere, a) for a in (animal, turned(animal, angle)))
    assert relative_change(after, before) < 1e-2
    assert relative_change(after[1:], before[1:]) < 5e-2


def test_more_azimuths_make_a_turn_change_less(animal):
    def change(azimuths: int) -> float:
        sphere = ViewSphere.of_degree(3, azimuths)
        before, after = (magnitudes(sphere, a) for a in (animal, turned(animal, 0.3)))
        return relative_change(after[1:], before[1:])

    assert change(16) < change(8) / 4


def test_another_animal_changes_much(sphere, animal):
    shorter = Gaussians(
        animal.means * torch.tensor([0.6, 1, 1]),
        animal.quats,
        animal.scales,
        animal.opacities,
        animal.colors,
    )
    assert relative_change(magnitudes(sphere, shorter), magnitudes(sphere, animal)) > 0.1


def track(unit: float, frames: int = 3) -> Track:
    covs = np.tile(np.diag([9.0, 4.0, 3.0]) * unit**2, (frames, 1, 1))
    covs[1:2] *= 1.2**2
    return Track(
        visible=np.arange(frames + 1) < frames,
        centers=np.zeros((frames + 1, 3)),
        angles=np.zeros(frames + 1),
        covs=np.concatenate([covs, np.full((1, 3, 3), np.nan)]),
        radii=np.full((frames + 1, 2), np.nan),
        spans=np.full((frames + 1, 2), np.nan),
    )


def test_units_do_not_matter(sphere, animal):
    in_mm = Gaussians(
        1000 * animal.means, animal.quats, 1000 * animal.scales, animal.opacities, animal.colors
    )
    pictures = [
        render_sphere(gaussians, sphere, SIZE, recording_scale(track(unit))).images
        for gaussians, unit in ((animal, 0.5), (in_mm, 500.0))
    ]
    assert recording_scale(track(1.0)) * 4 * 5 == pytest.approx(np.tan(np.deg2rad(3.75)))
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)
    assert pictures[0].min() < 0.9, "the animal is in the picture"


def test_an_animal_that_is_never_seen_has_no_size():
    with pytest.raises(PoseSplatterError, match="no frame shows the animal"):
        recording_scale(track(1.0, frames=0))
