"""One training step and inference in the original's setting, stage by stage, on a GPU.

    python benchmarks/gpu.py [--device cuda] [--steps 50] [--precision bfloat16] [--grid 112]

Six cameras of 288x256 of which four are observed, on synthetic masks. Prints seconds a
step and the share of each stage, peak memory, frames a second of inference, the steps once more
with a compiled encoder, and by how much gsplat and the CPU backend differ. A step is one on a
frame, augmented as baseline's are, without a rehearsal after.
With --device cpu it runs anywhere, without what needs CUDA; --compile, which is for CUDA alone
otherwise, takes a C++ compiler there.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import zarr

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from demo import configuration
from tests.conftest import ring_rig, silhouettes, walking_balls

from pose_splatter.cameras import CameraRig
from pose_splatter.dataset import (
    Augmentation,
    FrameDataset,
    Recording,
    camera_tensors,
    carve_frame,
)
from pose_splatter.frames import FrameStore
from pose_splatter.gaussians import Gaussians
from pose_splatter.losses import LossWeights, compute_losses
from pose_splatter.model import NetworkConfig, PoseSplatter, render
from pose_splatter.rasterize import rasterization
from pose_splatter.rendering import render_frame
from pose_splatter.tracking import Track
from pose_splatter.training import choose_device
from pose_splatter.volume import Crop

N_FRAMES = 16


def recording(grid: int) -> Recording:
    """A body of balls that turns on the spot, patterned so that their colours matter."""
    rig = ring_rig(6, width=288, height=256)
    rig = replace(rig, intrinsics=rig.intrinsics @ np.diag([2.2, 2.2, 1]))
    balls = walking_balls(N_FRAMES)
    balls -= balls.mean(axis=1, keepdims=True)
    masks = np.stack([silhouettes(rig, frame, radius=25) for frame in balls])
    pattern = np.random.default_rng(0).integers(0, 200, (rig.height, rig.width, 3), np.uint8)
    images = np.where(masks[..., None] > 0, pattern, np.uint8(255))
    n = len(balls)
    return Recording(
        name="synthetic",
        store=FrameStore(zarr.array(images), zarr.array(masks), np.arange(n), rig.names, 1),
        rig=rig,
        track=Track(
            np.ones(n, bool),
            balls.mean(axis=1),
            np.linspace(0, 4, n),
            np.tile(np.eye(3), (n, 1, 1)),
            np.tile([60.0, 30.0], (n, 1)),
            np.tile([120.0, 60.0], (n, 1)),
        ),
        crop=Crop(grid, 160.0, ((0, grid),) * 3, 1.0, 0.5),
        observed=(0, 2, 3, 4),
        heldout=(1, 5),
    )


class Stopwatch:
    """Seconds of each stage, the GPU's work included."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - start


def train_steps(
    model: PoseSplatter, frames: FrameDataset, device: str, precision: str, steps: int
) -> Stopwatch:
    """Train as `pose_splatter.training` does, one stage after the other."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mixed = precision == "bfloat16"
    watch = Stopwatch(device)
    for step in range(steps):
        with watch.stage("read and carve (overlaps with workers)"):
            batch = frames[step % len(frames)]
        with watch.stage("copy to the device"):
            batch = batch.to(device)
        with watch.stage("networks"), torch.autocast(device, torch.bfloat16, enabled=mixed):
            gaussians = model(batch.volume)
        with watch.stage("splatting"):
            height, width = batch.masks.shape[1:]
            rendering = render(gaussians, batch.viewmats, batch.Ks, width, height)
        with watch.stage("loss"):
            loss = compute_losses(rendering, batch, LossWeights())["loss"]
        with watch.stage("backward"):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        with watch.stage("optimizer"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return watch


def report_steps(watch: Stopwatch, steps: int) -> None:
    total = sum(watch.seconds.values())
    print(f"{total / steps:8.4f} s a step (the original, on an RTX 3060: about 1.4)")
    for name, seconds in watch.seconds.items():
        print(f"{100 * seconds / total:8.1f} %  {name}")


def frames_per_second(model: PoseSplatter, source: Recording, device: str, frames: int) -> float:
    """From the store to pictures of all six cameras."""
    for frame in range(3):  # a warm-up
        render_frame(model, source, frame, device).images.cpu()
    start = time.perf_counter()
    for frame in range(frames):
        render_frame(model, source, frame % N_FRAMES, device).images.cpu()
    return frames / (time.perf_counter() - start)


@torch.no_grad()
def uneven_gaussians(source: Recording) -> Gaussians:
    """A frame's Gaussians as no training makes them: turned anyhow, no two of their axes alike."""
    gaussians = PoseSplatter(NetworkConfig())(carve_frame(source, 0, source.observed))
    random = torch.Generator().manual_seed(0)
    quats = torch.randn(gaussians.quats.shape, generator=random)
    stretch = torch.randn(gaussians.scales.shape, generator=random)
    return replace(
        gaussians,
        quats=torch.nn.functional.normalize(quats, dim=-1),
        scales=gaussians.scales * (0.5 * stretch).exp(),
    )


def backend_differences(
    gaussians: Gaussians, rig: CameraRig, devices: tuple[str, str]
) -> tuple[float, dict[str, float]]:
    """The largest difference of two devices: of a pixel, and of each gradient.

    Gradients are those of a weighted sum of the pictures, their differences a share of the largest.
    """
    outcomes = []
    for device in devices:
        inputs = [part.detach().to(device).requires_grad_() for part in vars(gaussians).values()]
        means, quats, scales, opacities, colors = inputs
        cameras = camera_tensors(rig, device)
        picture, alpha, _ = rasterization(
            means, quats, scales, opacities, colors, *cameras, rig.width, rig.height
        )
        weights = torch.linspace(0, 1, picture.numel(), device=device).view_as(picture)
        found = torch.autograd.grad((picture * weights).sum() + alpha.sum(), inputs)
        outcomes.append((picture.detach().cpu(), [gradient.cpu() for gradient in found]))
    (picture, gradients), (other, others) = outcomes
    shares = {
        name: float((one - two).abs().max() / one.abs().max())
        for name, one, two in zip(vars(gaussians), gradients, others, strict=True)
    }
    return float((picture - other).abs().max()), shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "cpu"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--grid", type=int, default=112)
    parser.add_argument("--compile", action="store_true", help="the encoder, on a CPU too")
    options = parser.parse_args()
    device = choose_device(options.device)
    source = recording(options.grid)
    varied = Augmentation(**configuration()["experiments"]["baseline"]["augmentation"])
    frames = FrameDataset([(source, range(N_FRAMES))], varied)
    model = PoseSplatter(NetworkConfig()).to(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, networks in {options.precision}")
    train_steps(model, frames, device, options.precision, 3)
    report_steps(
        train_steps(model, frames, device, options.precision, options.steps), options.steps
    )
    print(f"{frames_per_second(model, source, device, options.steps):8.1f} frames/s of inference")
    if device != "cpu":
        used, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        print(
            f"{used / 2**20:8.0f} MB at most on the GPU, {held / 2**20:.0f} with what PyTorch "
            "keeps for later (the original, as its card showed: 5,900)"
        )
    if device != "cpu" or options.compile:
        model.encoder = torch.compile(model.encoder, dynamic=True)  # type: ignore[assignment]
        train_steps(model, frames, device, options.precision, 10)
        print("with a compiled encoder:")
        report_steps(
            train_steps(model, frames, device, options.precision, options.steps), options.steps
        )
    if device != "cpu":
        pixel, shares = backend_differences(uneven_gaussians(source), source.rig, ("cpu", device))
        print(f"gsplat and the CPU backend differ by {pixel:.1e} in a pixel, and in gradients, by")
        print("shares of the largest: " + ", ".join(f"{n} {s:.1e}" for n, s in shares.items()))


if __name__ == "__main__":
    main()
