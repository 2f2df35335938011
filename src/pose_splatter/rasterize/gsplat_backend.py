"""Rasterization on a GPU: gsplat, with the settings that the whole project relies on."""

from typing import Any

from jaxtyping import Float
from torch import Tensor


def rasterization(
    means: Float[Tensor, "gaussian 3"],
    quats: Float[Tensor, "gaussian 4"],
    scales: Float[Tensor, "gaussian 3"],
    opacities: Float[Tensor, " gaussian"],
    colors: Float[Tensor, "gaussian channel"],
    viewmats: Float[Tensor, "camera 4 4"],
    Ks: Float[Tensor, "camera 3 3"],
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
) -> tuple[
    Float[Tensor, "camera height width channel"],
    Float[Tensor, "camera height width 1"],
    dict[str, Any],
]:
    """Render Gaussians into every camera; see `pose_splatter.rasterize.rasterization`."""
    import gsplat  # here, because importing it looks for a CUDA compiler

    return gsplat.rasterization(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=colors,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
        near_plane=near_plane,
        far_plane=far_plane,
        radius_clip=radius_clip,
        eps2d=eps2d,
        packed=False,
        backgrounds=None,
        render_mode="RGB",
        rasterize_mode="classic",
        camera_model="pinhole",
    )
