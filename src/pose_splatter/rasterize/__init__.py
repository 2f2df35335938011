"""Rasterization of 3D Gaussians: one function, on a GPU by gsplat, on a CPU by our own kernels."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

BACKENDS = ("auto", "gsplat", "cpu")


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
    backend: str = "auto",
) -> tuple[
    Float[Tensor, "camera {height} {width} channel"],
    Float[Tensor, "camera {height} {width} 1"],
    dict[str, Any],
]:
    """Render Gaussians into every camera, over no background.

    Signature and meaning are those of `gsplat.rasterization` (1.5.3) with packed=False, RGB,
    classic mode, pinhole cameras; the backends agree to rounding. Differentiable in means, quats,
    scales, opacities and colors (the gsplat backend in viewmats too).

    Args:
        means: centres, in the world's unit.
        quats: orientations, wxyz, of any length but 0.
        scales: standard deviations along the axes, in the world's unit (not their logarithms).
        opacities: in [0, 1].
        colors: any number of channels.
        viewmats: world-to-camera (OpenCV: x right, y down, z ahead).
        Ks: intrinsics in pixels without skew; pixel centres lie at half-integers.
        width, height: size of the pictures in pixels.
        near_plane, far_plane: Gaussians centred outside this range of depths are left out.
        radius_clip: so are those whose radius in the picture is at most this, in pixels.
        eps2d: added to the variances in the picture, in square pixels.
        backend: "gsplat", "cpu", or "auto" for the one that fits the tensors' device.

    Returns:
        The pictures, premultiplied by alpha; alpha; and a dictionary of what was found on the way,
        among it radii int32 [camera gaussian 2] (0 if unseen), means2d [camera gaussian 2] and
        depths [camera gaussian] (both defined where the radius is not 0).

    Raises:
        ValueError: unknown backend, tensors on several devices, or a backend that cannot run there.

    Example:
        >>> render, alpha, info = rasterization(
        ...     means=torch.tensor([[0.0, 0.0, 2.0]]), quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        ...     scales=torch.full((1, 3), 0.1), opacities=torch.ones(1), colors=torch.ones(1, 3),
        ...     viewmats=torch.eye(4)[None], width=64, height=48,
        ...     Ks=torch.tensor([[[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]]]),
        ... )
        >>> render.shape
        torch.Size([1, 48, 64, 3])
    """
    tensors = (means, quats, scales, opacities, colors, viewmats, Ks)
    if _choose_backend(backend, tensors) == "gsplat":
        from pose_splatter.rasterize.gsplat_backend import rasterization as run
    else:
        from pose_splatter.rasterize.cpu import rasterization as run
    return run(*tensors, width, height, near_plane, far_plane, radius_clip, eps2d)


def _choose_backend(backend: str, tensors: tuple[Tensor, ...]) -> str:
    """The backend to run, "gsplat" or "cpu"."""
    if backend not in BACKENDS:
        raise ValueError(f"Unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}.")
    devices = {str(tensor.device) for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(
            f"All tensors must be on one device, but they are on {', '.join(sorted(devices))}."
        )
    needed = {"cuda": "gsplat", "cpu": "cpu"}.get(tensors[0].device.type)
    if needed is None or backend not in ("auto", needed):
        raise ValueError(f"Backend {backend!r} cannot render tensors on {devices.pop()}.")
    return needed
