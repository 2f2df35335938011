"""Gaussians: placing them turns means and orientations together."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pose_splatter.carving import heading_rotation
from pose_splatter.gaussians import Gaussians, quaternion_product


def random_gaussians(n: int, seed: int) -> Gaussians:
    random = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(n, 3, generator=random),
        quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=random), dim=-1),
        scales=torch.rand(n, 3, generator=random),
        opacities=torch.rand(n, generator=random),
        colors=torch.rand(n, 3, generator=random),
    )


def matrices(quats: torch.Tensor) -> np.ndarray:
    return Rotation.from_quat(quats.numpy(), scalar_first=True).as_matrix()


@given(st.integers(0, 1000), st.floats(-7, 7))
def test_placing_is_a_rigid_motion(seed, angle):
    gaussians, center = random_gaussians(5, seed), torch.tensor([1.0, -2.0, 3.0])
    placed = gaussians.placed(center, angle)
    turn = heading_rotation(angle)
    expected = gaussians.means.numpy() @ turn.T + center.numpy()
    np.testing.assert_allclose(placed.means.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(matrices(placed.quats), turn @ matrices(gaussians.quats), atol=1e-5)


@given(st.integers(0, 1000))
def test_quaternion_product_composes_rotations(seed):
    a, b = random_gaussians(4, seed).quats, random_gaussians(4, seed + 1).quats
    np.testing.assert_allclose(
        matrices(quaternion_product(a, b)), matrices(a) @ matrices(b), atol=1e-5
    )
