"""A sphere of cameras around the animal, and functions on it in spherical harmonics."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Real
from numpy import ndarray
from scipy.special import sph_harm_y
from torch import Tensor

from pose_splatter.embedding.body import body_size
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import Rendering, render
from pose_splatter.tracking import Track

DEGREE = 3  # of the harmonics, as in the paper
DISTANCE = 1.0  # of the cameras from the animal's centre
FIELD_OF_VIEW = np.deg2rad(7.5)
# Half a picture's edge in body sizes (see `body_size`): this holds the demo's rat in every frame,
# tail and all.
REACH = 5.0


@dataclass(frozen=True)
class ViewSphere:
    """Directions to look from, which integrate products of two harmonics up to `degree` exactly.

    Gauss-Legendre nodes in the cosine of the polar angle (so no camera stands at a pole), and
    azimuths in equal steps. Views are counted ring by ring, the azimuth running fastest.
    """

    degree: int
    polar: Float[ndarray, " view"]
    azimuth: Float[ndarray, " view"]
    weight: Float[ndarray, " view"]

    @classmethod
    def of_degree(cls, degree: int = DEGREE, azimuths: int | None = None) -> "ViewSphere":
        """`degree + 1` rings of `2 (degree + 1)` views, or of as many azimuths as are given.

        More azimuths are exact for steeper functions: an order m is mistaken for m - azimuths.
        """
        azimuths = azimuths or 2 * (degree + 1)
        nodes, weights = np.polynomial.legendre.leggauss(degree + 1)
        step = 2 * np.pi / azimuths
        polar, azimuth = np.meshgrid(np.arccos(nodes), step * np.arange(azimuths), indexing="ij")
        weight = np.broadcast_to(step * weights[:, None], polar.shape)
        return cls(degree, polar.ravel(), azimuth.ravel(), weight.ravel())

    def __len__(self) -> int:
        return len(self.polar)

    @property
    def harmonics(self) -> list[tuple[int, int]]:
        """(degree, order) of every harmonic that counts for a real function: no negative orders."""
        return [(n, m) for n in range(self.degree + 1) for m in range(n + 1)]

    def cameras(self, size: int) -> tuple[Float[Tensor, "view 4 4"], Float[Tensor, "view 3 3"]]:
        """World-to-camera matrices and intrinsics of square pictures with +z up, in pixels."""
        sin_p, cos_p = np.sin(self.polar), np.cos(self.polar)
        sin_a, cos_a = np.sin(self.azimuth), np.cos(self.azimuth)
        viewmats = np.tile(np.eye(4), (len(self), 1, 1))
        viewmats[:, 0, :2] = np.stack([-sin_a, cos_a], axis=-1)
        viewmats[:, 1, :3] = np.stack([cos_p * cos_a, cos_p * sin_a, -sin_p], axis=-1)
        viewmats[:, 2, :3] = -np.stack([sin_p * cos_a, sin_p * sin_a, cos_p], axis=-1)
        viewmats[:, 2, 3] = DISTANCE
        focal = size / 2 / np.tan(FIELD_OF_VIEW / 2)
        K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
        return torch.from_numpy(viewmats).float(), K.float().repeat(len(self), 1, 1)

    def coefficients(
        self, values: Real[ndarray, "view channel"]
    ) -> Complex[ndarray, "harmonic channel"]:
        """Of real functions, given at the views, in `scipy.special.sph_harm_y`."""
        basis = [sph_harm_y(n, m, self.polar, self.azimuth) for n, m in self.harmonics]
        return (np.conj(basis) * self.weight) @ values

    def magnitudes(
        self, values: Real[ndarray, "view channel"]
    ) -> Float[ndarray, "harmonic channel"]:
        """How strong each (degree, order) is: what a turn about +z leaves as it is.

        Orders m and -m of a real function are equally strong and count together, so the sum of
        squares is the function's mean square times 4 pi.
        """
        both = np.array([2.0 if m else 1.0 for _, m in self.harmonics])
        return np.sqrt(both)[:, None] * np.abs(self.coefficients(values))


def recording_scale(animal: Track) -> float:
    """What lengths of a recording are multiplied by to fit the animal into the views.

    One number for a recording: units and the animal's growth cancel, while stretching and rearing
    do not. It goes by the body's size, not by how far the animal reaches, since the tail and
    rearing reach farther in one recording than in another of the same animal.
    """
    return float(DISTANCE * np.tan(FIELD_OF_VIEW / 2) / (REACH * body_size(animal)))


def render_sphere(gaussians: Gaussians, sphere: ViewSphere, size: int, scale: float) -> Rendering:
    """Pictures, `size` pixels wide and high, of Gaussians centred at the origin."""
    fitted = Gaussians(
        gaussians.means * scale,
        gaussians.quats,
        gaussians.scales * scale,
        gaussians.opacities,
        gaussians.colors,
    )
    viewmats, Ks = sphere.cameras(size)
    device = gaussians.means.device
    return render(fitted, viewmats.to(device), Ks.to(device), size, size)
