"""Time of one forward and backward pass of the CPU rasterizer, beside a plain PyTorch one.

    OMP_WAIT_POLICY=passive python benchmarks/rasterize.py --gaussians 1000 10000 100000

The variable keeps PyTorch's idle threads from spinning, which on a busy machine makes the plain one
look up to ten times worse than it is.

The plain one is tests/reference/rasterization_reference.py, by tiles of 16 x 16 pixels. It is timed
once, up to --reference-limit Gaussians; ours is timed --repeats times after a warm-up, and the
fastest and the median are printed. Ratios are of the medians.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pose_splatter.rasterize import rasterization

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import rasterization_reference

DISTANCE = 3.0
FOCAL_LENGTH = 300.0  # so that 0.01 at the centre is a pixel


def animal(n: int, generator: torch.Generator) -> Tensor:
    """Centres in a solid ellipsoid, 70 pixels long and 35 across."""
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
    radii = torch.rand(n, 1, generator=generator) ** (1 / 3)
    return directions * radii * torch.tensor([0.35, 0.175, 0.175])


def spread(n: int, generator: torch.Generator) -> Tensor:
    """Centres all over the picture."""
    return 2.4 * (torch.rand(n, 3, generator=generator) - 0.5)


def gaussians(means: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Gaussians of 1 to 1.5 pixels at these centres."""
    n = len(means)
    quats = torch.randn(n, 4, generator=generator)
    scales = 0.010 + 0.005 * torch.rand(n, 3, generator=generator)
    opacities = 0.1 + 0.85 * torch.rand(n, generator=generator)
    colors = torch.rand(n, 3, generator=generator)
    return [part.requires_grad_() for part in (means, quats, scales, opacities, colors)]


def cameras(n: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """viewmats and Ks of cameras on a circle around +z, looking at the origin."""
    viewmats = torch.eye(4).repeat(n, 1, 1)
    for k in range(n):
        c, s = math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n)
        viewmats[k, :3, :3] = torch.tensor([[c, -s, 0.0], [0.0, 0.0, -1.0], [s, c, 0.0]])
        viewmats[k, 2, 3] = DISTANCE
    K = torch.tensor([[FOCAL_LENGTH, 0, width / 2], [0, FOCAL_LENGTH, height / 2], [0, 0, 1]])
    return viewmats, K.repeat(n, 1, 1)


def time_pass(rasterize: Callable, inputs: list[Tensor], *view) -> tuple[float, float]:
    """Seconds of one forward and one backward pass."""
    start = time.perf_counter()
    render, alpha, _ = rasterize(*inputs, *view)
    middle = time.perf_counter()
    torch.autograd.grad([render, alpha], inputs, [torch.ones_like(render), torch.ones_like(alpha)])
    return middle - start, time.perf_counter() - middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaussians", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=[288, 256], metavar=("W", "H"))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--reference-limit", type=int, default=10_000)
    options = parser.parse_args()

    view = (*cameras(options.cameras, *options.size), *options.size)
    plain = partial(rasterization_reference.rasterization, tile=16)
    width, height = options.size
    print(f"{options.cameras} cameras of {width} x {height}, {torch.get_num_threads()} threads")
    print(
        f"{'scene':8}{'gaussians':>10}{'forward':>10}{'backward':>10}{'fastest':>10}"
        f"{'median':>10}{'per 1000':>10}{'PyTorch':>11}{'ratio':>8}   (ms)"
    )
    for place in (animal, spread):
        for n in options.gaussians:
            generator = torch.Generator().manual_seed(0)
            inputs = gaussians(place(n, generator), generator)
            time_pass(rasterization, inputs, *view)
            passes = [time_pass(rasterization, inputs, *view) for _ in range(options.repeats)]
            forward, backward = (statistics.median(part) for part in zip(*passes, strict=True))
            fastest = min(map(sum, passes))
            median = statistics.median(map(sum, passes))
            line = f"{place.__name__:8}{n:10}"
            for seconds in (forward, backward, fastest, median, median / n * 1000):
                line += f"{1000 * seconds:10.2f}"
            if n <= options.reference_limit:
                seconds = sum(time_pass(plain, inputs, *view))
                line += f"{1000 * seconds:11.0f}{seconds / median:8.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
