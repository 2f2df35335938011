"""Frames a second from the store to RGBA pictures of six cameras, against the original's way.

    python benchmarks/inference.py [--frames 20]

The plain way, one process and one frame at a time: carved as ours, three dense U-Nets, one camera
rendered after the other. Ours is the `render` job. Neither is trained. Their networks differ, and
so do their pictures; so one frame of ours is rendered plainly as well, by the rasterizer's
reference, one camera at a time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
from demo import configuration, demo_recording, demo_split
from plain.recipe import PlainPoseSplatter, render_plain
from rows import Row, table

from pose_splatter.cameras import EPS2D
from pose_splatter.dataset import Recording, camera_tensors
from pose_splatter.model import NetworkConfig, PoseSplatter, Rendering
from pose_splatter.rendering import decode_frame, to_rgba, write_renders
from pose_splatter.training import use_threads

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/reference"))
import rasterization_reference

THREADS = 2


def frames_per_second(function: Callable[[], None], n_frames: int) -> float:
    start = time.perf_counter()
    function()
    return n_frames / (time.perf_counter() - start)


@torch.no_grad()
def largest_difference(model: PoseSplatter, recording: Recording, frame: int) -> int:
    """In grey levels, of what `render` writes and the reference, one camera at a time."""
    with tempfile.TemporaryDirectory() as folder:
        write_renders(Path(folder, "renders.h5"), model, recording, [frame], "cpu")
        with h5py.File(Path(folder, "renders.h5")) as file:
            pictures = file["images"][0].astype(int)
    _, gaussians = decode_frame(model, recording, frame, "cpu")
    viewmats, Ks = camera_tensors(recording.rig, "cpu")
    differences = []
    for camera, picture in enumerate(pictures):
        view = slice(camera, camera + 1)
        colors, alphas, _ = rasterization_reference.rasterization(
            *vars(gaussians).values(),
            viewmats[view],
            Ks[view],
            recording.rig.width,
            recording.rig.height,
            eps2d=EPS2D,
            tile=16,
        )
        plain = to_rgba(Rendering(images=colors + (1 - alphas), alphas=alphas[..., 0]))[0]
        differences.append(np.abs(picture - plain).max())
    return int(max(differences))


def measure(n_frames: int = 20) -> list[Row]:
    recording = demo_recording()
    use_threads(THREADS)
    frames = demo_split(recording).test[:n_frames]
    network = NetworkConfig.of(configuration()["experiments"]["baseline"]["network"])
    model, plain = PoseSplatter(network).eval(), PlainPoseSplatter(recording.crop)

    def ours(frames=frames) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_renders(Path(folder, "renders.h5"), model, recording, frames, "cpu")

    def theirs(frames=frames) -> None:
        for frame in frames:
            render_plain(plain, recording, frame)

    for warm_up in (ours, theirs):
        warm_up(frames[:1])
    difference = largest_difference(model, recording, frames[0])
    assert difference <= 1, f"ours differ from the reference by {difference} of 255"
    return [
        Row(
            step="inference, store to RGBA of 6 cameras",
            ours=frames_per_second(ours, n_frames),
            plain=frames_per_second(theirs, n_frames),
            unit="frames/s",
            goal="3x",
            agreement=f"ours rendered plainly: to {difference} of 255",
            better="higher",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20)
    print(table(measure(parser.parse_args().frames)))


if __name__ == "__main__":
    main()
