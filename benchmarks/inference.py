"""Frames a second from the store to RGBA pictures of six cameras, against the original's way.

    python benchmarks/inference.py [--frames 20]

The plain way, one process and one frame at a time: every voxel projected into every camera, three
dense U-Nets, one camera rendered after the other. Ours is the `render` job. Both untrained: the
work is the same.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from demo import configuration, demo_recording, demo_split
from plain.recipe import PlainPoseSplatter, render_plain
from rows import Row, table

from pose_splatter.model import NetworkConfig, PoseSplatter
from pose_splatter.rendering import write_renders
from pose_splatter.training import use_threads

THREADS = 2


def frames_per_second(function: Callable[[], None], n_frames: int) -> float:
    start = time.perf_counter()
    function()
    return n_frames / (time.perf_counter() - start)


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
    return [
        Row(
            step="inference, store to RGBA of 6 cameras",
            ours=frames_per_second(ours, n_frames),
            plain=frames_per_second(theirs, n_frames),
            unit="frames/s",
            goal="3x",
            agreement="other networks: pictures are not to agree",
            better="higher",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20)
    print(table(measure(parser.parse_args().frames)))


if __name__ == "__main__":
    main()
