"""A plain PyTorch rasterizer: every Gaussian against every pixel, gradients by autograd.

It follows the definitions and nothing else, so that tests can hold the CPU kernels against it. Two
decisions are shared with the kernels, so that both fall on the same side of the cut-offs: the
projection is computed in float64 and rounded, and the falloff's terms are added in one order.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MIN_ALPHA = 1.0 / 255.0
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4


class Splats(NamedTuple):
    """The Gaussians that one camera sees, nearest first."""

    gaussian: Tensor  # [splat]
    means: Tensor  # [splat 2], pixels
    conics: Tensor  # [splat 3], inverse covariance xx, xy, yy
    opacities: Tensor  # [splat]
    colors: Tensor  # [splat channel]
    depths: Tensor  # [splat]
    radii: Tensor  # [splat 2], whole pixels


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    tile: int | None = None,
    margin: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render as `pose_splatter.rasterize.rasterization` does.

    Args:
        tile: edge of square tiles (pixels); each is given only the Gaussians whose radius reaches
            it, which leaves the picture as it is and takes far less time. None gives all to all.
        margin: relative half-width of the band around the cut-offs that marks a pixel as unsure.

    Returns:
        Pictures [camera height width channel], alpha [camera height width 1], and bool
        [camera height width]: whether some alpha or transmittance lies within the margin of its
        cut-off, where rounding may decide.
    """
    pictures = []
    for viewmat, K in zip(viewmats, Ks, strict=True):
        splats = project(
            means, quats, scales, opacities, colors, viewmat, K, width, height,
            near_plane, far_plane, radius_clip, eps2d,
        )  # fmt: skip
        pictures.append(_picture(splats, width, height, tile, margin))
    render, alpha, unsure = (torch.stack(parts) for parts in zip(*pictures, strict=True))
    return render, alpha, unsure


def project(
    means, quats, scales, opacities, colors, viewmat, K, width, height,
    near_plane, far_plane, radius_clip, eps2d,
) -> Splats:  # fmt: skip
    """The splats of one camera, by depth; only those that can reach the picture."""
    dtype = means.dtype
    viewmat, K = viewmat.double(), K.double()
    points = means.double() @ viewmat[:3, :3].T + viewmat[:3, 3]
    depths = points[:, 2]
    candidates = (depths >= near_plane) & (depths <= far_plane) & (opacities >= MIN_ALPHA)
    gaussian = candidates.nonzero()[:, 0]
    points, depths = points[gaussian], depths[gaussian]

    focal, centre = K.diagonal()[:2], K[:2, 2]
    size = torch.tensor([width, height], dtype=torch.float64)
    slopes = points[:, :2] / depths[:, None]
    means2d = slopes * focal + centre
    slack = 0.15 * size / focal
    held = slopes.clamp(min=-centre / focal - slack, max=(size - centre) / focal + slack)
    jacobians = torch.zeros(len(points), 2, 3, dtype=torch.float64)
    jacobians[:, 0, 0], jacobians[:, 1, 1] = (focal / depths[:, None]).unbind(1)
    jacobians[:, :, 2] = -focal * held / depths[:, None]

    spreads = rotations(quats[gaussian].double()) * scales[gaussian].double()[:, None, :]
    maps = jacobians @ viewmat[:3, :3] @ spreads
    covariances = maps @ maps.mT + eps2d * torch.eye(2, dtype=torch.float64)
    variances = covariances.diagonal(dim1=1, dim2=2)
    determinants = covariances.det()
    conics = torch.stack(
        [variances[:, 1], -covariances[:, 0, 1], variances[:, 0]], dim=1
    ) / determinants.clamp(min=1e-300).unsqueeze(1)

    extents = (2 * (255 * opacities[gaussian].detach().double()).log()).sqrt().clamp(max=3.33)
    radii = (extents[:, None] * variances.detach().sqrt()).ceil()
    on_picture = ((means2d + radii > 0) & (means2d - radii < size)).all(dim=1)
    keep = on_picture & (determinants > 0) & (radii > radius_clip).any(dim=1)
    # Depths are compared as float32, so that ties are ties everywhere.
    keep = keep.nonzero()[:, 0][depths[keep].float().argsort(stable=True)]
    gaussian = gaussian[keep]
    return Splats(
        gaussian, means2d[keep].to(dtype), conics[keep].to(dtype), opacities[gaussian],
        colors[gaussian], depths[keep].to(dtype), radii[keep],
    )  # fmt: skip


def rotations(quats: Tensor) -> Tensor:
    """Rotation matrices [gaussian 3 3] by Rodrigues' formula: I + 2 w [v] + 2 [v]^2."""
    w, v = torch.nn.functional.normalize(quats, dim=1).split([1, 3], dim=1)
    cross = torch.linalg.cross(
        v[:, None, :].expand(-1, 3, -1), torch.eye(3, dtype=v.dtype).expand(len(v), -1, -1), dim=2
    ).mT
    return torch.eye(3, dtype=v.dtype) + 2 * w[:, :, None] * cross + 2 * cross @ cross


def _picture(splats: Splats, width: int, height: int, tile: int | None, margin: float):
    """Blend in pieces of bounded memory: tiles, or runs of whole rows."""
    n_rows = tile or max(1, 2**22 // (width * max(1, len(splats.gaussian))))
    n_columns = tile or width
    rows = []
    for top in range(0, height, n_rows):
        pieces = []
        for left in range(0, width, n_columns):
            bottom, right = min(top + n_rows, height), min(left + n_columns, width)
            near = _near(splats, left, top, right, bottom) if tile else splats
            pixels = torch.cartesian_prod(torch.arange(top, bottom), torch.arange(left, right))
            pixels = pixels.flip(1).to(splats.means.dtype) + 0.5
            features = near.means, near.conics, near.opacities, near.colors
            if tile and len(near.gaussian) == 0:
                parts = _blend(pixels, *(part.detach() for part in features), margin)
            else:
                parts = checkpoint(
                    _blend, pixels, *features, margin,
                    use_reentrant=False, preserve_rng_state=False,
                )  # fmt: skip
            pieces.append([part.unflatten(0, (bottom - top, right - left)) for part in parts])
        rows.append([torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True)])
    return tuple(torch.cat(parts, dim=0) for parts in zip(*rows, strict=True))


def _near(splats: Splats, left: int, top: int, right: int, bottom: int) -> Splats:
    low, high = splats.means - splats.radii, splats.means + splats.radii
    reach = (high[:, 0] > left) & (low[:, 0] < right) & (high[:, 1] > top) & (low[:, 1] < bottom)
    return Splats(*(field[reach] for field in splats))


def _blend(pixels, means, conics, opacities, colors, margin):
    """Colour [pixel channel], alpha [pixel 1] and unsureness [pixel] of pixels [pixel 2]."""
    dx, dy = (means[None] - pixels[:, None]).unbind(2)
    xx, xy, yy = conics.unbind(1)
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    alpha = torch.where((sigma >= 0) & (alpha >= MIN_ALPHA), alpha, 0.0)
    after = (1 - alpha).cumprod(dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weights = torch.where(after > MIN_TRANSMITTANCE, alpha * before, 0.0)
    unsure = torch.zeros(len(pixels), dtype=torch.bool)
    if margin > 0:
        with torch.no_grad():
            density = opacities * torch.exp(-sigma)
            near_cutoff = (density / MIN_ALPHA - 1).abs() < margin
            near_stop = (after / MIN_TRANSMITTANCE - 1).abs() < margin
            unsure = (near_cutoff | near_stop).any(dim=1)
    return weights @ colors, weights.sum(dim=1, keepdim=True), unsure
