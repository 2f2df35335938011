"""Rasterization on a GPU: gsplat, with the settings that the whole project relies on."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pose_splatter.devices import alone
from pose_splatter.errors import PoseSplatterError


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
    import gsplat  # here, because importing it takes long

    if means.is_cuda:
        require_kernels()
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


@cache
def require_kernels() -> None:
    """Let gsplat compile its kernels, once for all jobs; PoseSplatterError where it cannot.

    A process that has them does not ask again, which would have it wait for whoever compiles.
    """
    try:
        # It deletes the lock and the files of whoever else compiles.
        with alone(_extensions() / "pose-splatter.lock"):
            from gsplat.cuda._backend import _C
        reason = "no CUDA compiler is here"
    except (ImportError, OSError, RuntimeError) as error:  # as the compiler fails
        _C, reason = None, str(error).strip().partition("\n")[0]
    if _C is None:
        raise PoseSplatterError(
            f"gsplat cannot compile its kernels for the GPU ({reason}); install NVIDIA's CUDA "
            f"toolkit {torch.version.cuda} and a C++ compiler (module load cuda gcc, on many "
            "clusters), or run in the container of docs/containers.md."
        )


def _extensions() -> Path:
    """Where PyTorch keeps what it has compiled, on a cluster for all nodes."""
    from torch.utils.cpp_extension import get_default_build_root  # looks for CUDA, which takes long

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
