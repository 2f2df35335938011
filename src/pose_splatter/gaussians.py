"""3D Gaussians: the animal in one frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """Gaussians as gsplat takes them: wxyz quats, linear scales, opacities and colours 0 to 1."""

    means: Float[Tensor, "gaussian 3"]
    quats: Float[Tensor, "gaussian 4"]
    scales: Float[Tensor, "gaussian 3"]
    opacities: Float[Tensor, " gaussian"]
    colors: Float[Tensor, "gaussian 3"]

    def __len__(self) -> int:
        return len(self.means)

    def placed(self, center: Float[Tensor, "3"], angle: float) -> "Gaussians":
        """The same animal turned by `angle` (radians) about +z, then moved to `center`."""
        half = torch.tensor(angle / 2, dtype=self.means.dtype, device=self.means.device)
        zero = torch.zeros_like(half)
        turn = torch.stack([half.cos(), zero, zero, half.sin()])
        cosine, sine = (2 * half).cos(), (2 * half).sin()
        x, y, z = self.means.unbind(-1)
        means = torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], dim=-1)
        return Gaussians(
            means + center,
            quaternion_product(turn, self.quats),
            self.scales,
            self.opacities,
            self.colors,
        )


def quaternion_product(
    a: Float[Tensor, "*#n 4"], b: Float[Tensor, "*#n 4"]
) -> Float[Tensor, "*n 4"]:
    """The Hamilton product of wxyz quaternions: first the rotation b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
