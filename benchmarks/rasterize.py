"""Time of one forward and backward pass of the CPU rasterizer, beside a plain PyTorch one.

    OMP_WAIT_POLICY=passive python benchmarks/rasterize.py --gaussians 1000 10000 100000

The variable keeps PyTorch's idle threads from spinning, which on a busy machine makes the plain one
look up to ten times worse than it is.

The plain one is tests/reference/rasterization_reference.py, by tiles of 16 x 16 pixels. It is timed
once (`make bench`: three times), up to --reference-limit Gaussians; ours is timed --repeats times
after a warm-up, and the fastest and the median are printed. Ratios are of the medians. Behind them
stand the largest differences of pictures, and of gradients as shares of the largest.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rows import Row
from torch import Tensor

from pose_splatter.rasterize import rasterization

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import rasterization_reference

CAMERAS = 6
SIZE = (288, 256)
MAX_DIFFERENCE = 1e-4
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


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: what it gave and how many seconds it took."""

    outputs: tuple[Tensor, Tensor]  # pictures and alpha
    gradients: tuple[Tensor, ...]
    forward: float
    backward: float

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


def run_pass(rasterize: Callable, inputs: list[Tensor], *view) -> Pass:
    """Render, and pull gradients of ones back to the inputs."""
    start = time.perf_counter()
    render, alpha, _ = rasterize(*inputs, *view)
    middle = time.perf_counter()
    gradients = torch.autograd.grad(
        [render, alpha], inputs, [torch.ones_like(render), torch.ones_like(alpha)]
    )
    end = time.perf_counter()
    outputs = render.detach(), alpha.detach()
    return Pass(outputs, gradients, middle - start, end - middle)


@dataclass(frozen=True)
class Agreement:
    """The largest differences of two passes: pictures absolutely, gradients of their largest."""

    picture: float
    gradient: float

    @classmethod
    def of(cls, a: Pass, b: Pass) -> "Agreement":
        pictures = zip(a.outputs, b.outputs, strict=True)
        gradients = zip(a.gradients, b.gradients, strict=True)
        return cls(
            max(float((x - y).abs().max()) for x, y in pictures),
            max(float((x - y).abs().max() / y.abs().max()) for x, y in gradients),
        )

    def check(self) -> None:
        assert max(self.picture, self.gradient) < MAX_DIFFERENCE, self

    def __str__(self) -> str:
        return f"pictures to {self.picture:.0e}, gradients to {self.gradient:.0e} of the largest"


def scene(place: Callable, n: int) -> list[Tensor]:
    """The same n Gaussians at every call."""
    generator = torch.Generator().manual_seed(0)
    return gaussians(place(n, generator), generator)


def time_ours(inputs: list[Tensor], view: tuple, repeats: int) -> list[Pass]:
    """Passes after a warm-up."""
    run_pass(rasterization, inputs, *view)
    return [run_pass(rasterization, inputs, *view) for _ in range(repeats)]


def median(passes: list[Pass]) -> float:
    return statistics.median(each.seconds for each in passes)


def measure(n: int = 10_000, many: int = 100_000, repeats: int = 10) -> list[Row]:
    """Against the reference at n Gaussians, and ours at ten times as many against itself."""
    view = view_of(CAMERAS, *SIZE)
    inputs = scene(animal, n)
    passes = time_ours(inputs, view, repeats)
    references = [run_pass(plain, inputs, *view) for _ in range(3)]
    agreement = Agreement.of(passes[0], references[0])
    agreement.check()
    ours = median(passes)
    more = scene(animal, many)
    passes = time_ours(more, view, max(repeats // 3, 3))
    most = median(passes)
    with torch.no_grad():
        render, alpha, _ = plain(*more, *view)
    pictures = zip(passes[0].outputs, (render, alpha), strict=True)
    difference = max(float((x - y).abs().max()) for x, y in pictures)
    assert difference < MAX_DIFFERENCE, difference
    step = f"CPU rasterizer, forward + backward, {n:,} Gaussians, {CAMERAS} cameras"
    linear = f"its time per 1,000 Gaussians, {many:,} of them against {n:,} (plain)"
    times = f"{1000 * most:.0f} / {1000 * ours:.0f} ms; pictures to {difference:.0e}"
    return [
        Row(step, 1000 * ours, 1000 * median(references), "ms", "20x", str(agreement)),
        Row(linear, 1e6 * most / many, 1e6 * ours / n, "ms", "linear", times),
    ]


def view_of(n_cameras: int, width: int, height: int) -> tuple:
    """The arguments of a rasterizer after the Gaussians."""
    return *cameras(n_cameras, width, height), width, height


def plain(*arguments) -> tuple[Tensor, Tensor, Tensor]:
    """The reference by tiles, which leaves the picture as it is and takes less time."""
    return rasterization_reference.rasterization(*arguments, tile=16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gaussians", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--cameras", type=int, default=CAMERAS)
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("W", "H"))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--reference-limit", type=int, default=10_000)
    options = parser.parse_args()

    view = view_of(options.cameras, *options.size)
    width, height = options.size
    print(f"{options.cameras} cameras of {width} x {height}, {torch.get_num_threads()} threads")
    print(
        f"{'scene':8}{'gaussians':>10}{'forward':>10}{'backward':>10}{'fastest':>10}"
        f"{'median':>10}{'per 1000':>10}{'PyTorch':>11}{'ratio':>8}   (ms)"
    )
    for place in (animal, spread):
        for n in options.gaussians:
            inputs = scene(place, n)
            passes = time_ours(inputs, view, options.repeats)
            line = f"{place.__name__:8}{n:10}"
            for seconds in (
                statistics.median(each.forward for each in passes),
                statistics.median(each.backward for each in passes),
                min(each.seconds for each in passes),
                median(passes),
                median(passes) / n * 1000,
            ):
                line += f"{1000 * seconds:10.2f}"
            if n <= options.reference_limit:
                reference = run_pass(plain, inputs, *view)
                line += f"{1000 * reference.seconds:11.0f}{reference.seconds / median(passes):8.0f}"
                agreement = Agreement.of(passes[0], reference)
                agreement.check()
                line += f"   {agreement}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
