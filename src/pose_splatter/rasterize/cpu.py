"""Rasterization on the CPU with gsplat's meaning: Numba kernels under one autograd function.

The kernels run on Python threads, as many as PyTorch may use, and not on Numba's own pool: where
that is OpenMP's, its idle threads spin, and so do PyTorch's, each slowing down the other fourfold.
It also makes rendering safe in several threads and in forked processes.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pose_splatter.rasterize import _kernels as kernels

Info = dict[str, Any]

# Several, as some ranges hold far more work than others.
RANGES_PER_THREAD = 8


@dataclass(frozen=True)
class View:
    """What is fixed while Gaussians vary: cameras, picture size and culling limits."""

    viewmats: Float[Tensor, "camera 4 4"]
    Ks: Float[Tensor, "camera 3 3"]
    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles across and down."""
        across = math.ceil(self.width / kernels.TILE_WIDTH)
        return across, math.ceil(self.height / kernels.TILE_HEIGHT)


class TileLists(NamedTuple):
    """Which splats each tile blends, in which order."""

    entries: np.ndarray  # int32 [entry], splat indices, tile by tile, nearest first
    offsets: np.ndarray  # int64 [tile + 1], where each tile's entries start


class Blended(NamedTuple):
    """The pictures, and what the backward pass needs to take them apart again."""

    render: np.ndarray  # float32 [camera height width channel]
    transmittance: np.ndarray  # float32 [camera height width]
    last: np.ndarray  # float32 [camera height width], position of the last splat in the tile's list
    used: np.ndarray  # int64 [tile], entries blended until all pixels were closed


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
) -> tuple[Float[Tensor, "camera h w channel"], Float[Tensor, "camera h w 1"], Info]:
    """Render Gaussians into every camera; see `pose_splatter.rasterize.rasterization`.

    Differentiable in the Gaussians, not in the cameras: ValueError if these require gradients.
    """
    if viewmats.requires_grad or Ks.requires_grad:
        raise ValueError("The cpu backend has no gradients for viewmats and Ks: detach them.")
    view = View(
        viewmats.detach(), Ks.detach(), width, height, near_plane, far_plane, radius_clip, eps2d
    )
    render, alpha, splats, depths, radii = _Rasterize.apply(
        means, quats, scales, opacities, colors, view
    )
    info = {
        "radii": radii,
        "means2d": splats[..., kernels.MEAN_X : kernels.MEAN_Y + 1],
        "depths": depths,
        "conics": splats[..., kernels.CONIC_XX : kernels.CONIC_YY + 1],
        "width": width,
        "height": height,
        "n_cameras": len(viewmats),
    }
    return render, alpha, info


class _Rasterize(torch.autograd.Function):
    """Projection, tile lists and blending as one differentiable step."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, view):
        gaussians = means, quats, scales, opacities, colors
        ctx.save_for_backward(*gaussians)
        *geometry, color_array = (_array(tensor) for tensor in gaussians)
        splats, depths, radii = _project(*geometry, view)
        lists = _list_tiles(splats, depths, radii, view)
        blended = _blend(splats, color_array, lists, view)
        ctx.view, ctx.splats, ctx.radii, ctx.lists, ctx.blended = (
            view,
            splats,
            radii,
            lists,
            blended,
        )
        alpha = 1 - blended.transmittance[..., None]
        outputs = tuple(
            torch.from_numpy(array) for array in (blended.render, alpha, splats, depths, radii)
        )
        ctx.mark_non_differentiable(*outputs[2:])
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_render, grad_alpha, *_):
        *geometry, colors = (_array(tensor) for tensor in ctx.saved_tensors)
        grad_pictures = _array(grad_render), _array(grad_alpha[..., 0])
        grad_splats = _blend_backward(
            ctx.splats, colors, ctx.lists, ctx.blended, ctx.view, *grad_pictures
        )
        gradients = _project_backward(
            *geometry, colors, ctx.splats, ctx.radii, ctx.view, grad_splats
        )
        return *(torch.from_numpy(gradient) for gradient in gradients), None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _run(kernel: Callable, n: int, *arguments) -> None:
    """Call kernel(start, stop, *arguments) on ranges that together make up range(n)."""
    n_threads = torch.get_num_threads()
    bounds = np.linspace(0, n, min(n, RANGES_PER_THREAD * n_threads) + 1).astype(int).tolist()
    pool = _thread_pool(n_threads, os.getpid())
    calls = [pool.submit(kernel, start, stop, *arguments) for start, stop in pairwise(bounds)]
    for call in calls:
        call.result()


@lru_cache(maxsize=1)
def _thread_pool(n_threads: int, process: int) -> ThreadPoolExecutor:
    """A pool for this process: threads do not survive a fork."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="rasterize")


def _cameras(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World-to-camera matrices, intrinsics, and limits of x/z and y/z [camera 4], in float64.

    Beyond the limits, 15 % of the picture's size outside it, the linearised projection would blow
    up, so there its slope is held.
    """
    viewmats, Ks = view.viewmats.double().numpy(), view.Ks.double().numpy()
    size = np.array([view.width, view.height])
    focal, centre = Ks[:, [0, 1], [0, 1]], Ks[:, :2, 2]
    low = (-centre - 0.15 * size) / focal
    high = (size - centre + 0.15 * size) / focal
    return viewmats, Ks, np.stack([low, high], axis=-1).reshape(-1, 4)


def _project(means, quats, scales, opacities, view: View):
    """Splats [camera gaussian field], depths [camera gaussian], radii [camera gaussian 2]."""
    n_splats = len(view.viewmats), len(means)
    splats = np.zeros((*n_splats, kernels.SPLAT_FIELDS), np.float32)
    depths = np.zeros(n_splats, np.float32)
    radii = np.zeros((*n_splats, 2), np.int32)
    limits = (view.near_plane, view.far_plane, view.radius_clip, view.eps2d)
    _run(
        kernels.project, len(means), means, quats, scales, opacities, *_cameras(view),
        view.width, view.height, *(float(limit) for limit in limits), splats, depths, radii,
    )  # fmt: skip
    return splats, depths, radii


def _list_tiles(splats, depths, radii, view: View) -> TileLists:
    n_cameras = len(splats)
    tiles_x, tiles_y = view.tiles
    counts = np.zeros((n_cameras, tiles_x * tiles_y), np.int64)
    _run(kernels.count_entries, n_cameras, splats, radii, tiles_x, tiles_y, counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    next_entry = offsets[:-1].reshape(counts.shape).copy()
    entries = np.empty(offsets[-1], np.int32)
    order = _depth_order(depths, radii)
    _run(
        kernels.fill_entries, n_cameras, splats, radii, tiles_x, tiles_y, order,
        next_entry, entries,
    )  # fmt: skip
    return TileLists(entries, offsets)


def _depth_order(depths: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Gaussian indices [camera gaussian] by depth, then by index; the unseen come last.

    Positive floats are ordered as their bits are, so depth and index fit into one integer to sort.
    """
    unseen = np.uint32(0xFFFFFFFF)
    depth_bits = np.where(radii[..., 0] > 0, depths.view(np.uint32), unseen).astype(np.uint64)
    keys = depth_bits << np.uint64(32) | np.arange(depths.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    return keys.astype(np.uint32)  # the lower half, which is the index


def _blend(splats, colors, lists: TileLists, view: View) -> Blended:
    shape = len(view.viewmats), view.height, view.width
    blended = Blended(
        render=np.zeros((*shape, colors.shape[1]), np.float32),
        transmittance=np.ones(shape, np.float32),
        last=np.zeros(shape, np.float32),
        used=np.zeros(len(lists.offsets) - 1, np.int64),
    )
    _run(kernels.blend, len(blended.used), _flat(splats), colors, *lists, *view.tiles, *blended)
    return blended


def _blend_backward(
    splats, colors, lists: TileLists, blended: Blended, view: View, grad_render, grad_alpha
):
    """Gradients of the splats [camera gaussian field], as `kernels` defines the fields."""
    _, transmittance, last, used = blended
    first_row = np.cumsum(used) - used
    rows = np.empty((used.sum(), kernels.MOMENT_FIELDS + colors.shape[1]), np.float32)
    _run(
        kernels.blend_backward, len(used), _flat(splats), colors, *lists, *view.tiles,
        transmittance, last, used, first_row, grad_render, grad_alpha, rows,
    )  # fmt: skip
    grad_splats = np.zeros((*splats.shape[:2], rows.shape[1]), np.float32)
    _run(kernels.sum_rows, len(splats), rows, *lists, used, first_row, grad_splats)
    return grad_splats


def _project_backward(
    means, quats, scales, opacities, colors, splats, radii, view: View, grad_splats
):
    """Gradients of the five inputs, in their order."""
    gradients = tuple(np.zeros_like(part) for part in (means, quats, scales, opacities, colors))
    _run(
        kernels.project_backward, len(means), means, quats, scales, *_cameras(view),
        splats, radii, grad_splats, *gradients,
    )  # fmt: skip
    return gradients


def _flat(splats: np.ndarray) -> np.ndarray:
    """Splats by their one index instead of camera and Gaussian."""
    return splats.reshape(-1, splats.shape[-1])
