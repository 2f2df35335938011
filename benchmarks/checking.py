"""Time `pose-splatter check` on the demo, and on the demo over and over until it lasts hours.

    python benchmarks/checking.py [--hours 10]

The long recording has the demo's own packets, its time stamps carried on, in a temporary folder.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import yaml
from demo import ROOT, configuration

from pose_splatter.paths import with_camera
from pose_splatter.video import probe, read_frames


def repeat(source: Path, target: Path, hours: float) -> None:
    """Write the packets of a video again and again, nothing decoded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as short, av.open(str(target), "w") as long:
        stream = short.streams.video[0]
        packets = [packet for packet in short.demux(stream) if packet.size]
        sent = [(packet.pts or 0, packet.dts or 0) for packet in packets]
        assert stream.time_base is not None
        shown = sorted(pts for pts, _ in sent)
        length = shown[-1] - shown[0] + shown[1] - shown[0]
        copy = long.add_stream_from_template(stream)
        for repeated in range(round(hours * 3600 / float(length * stream.time_base))):
            for packet, (pts, dts) in zip(packets, sent, strict=True):
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts, packet.dts = pts + repeated * length, dts + repeated * length
                long.mux(packet)


def seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    options = parser.parse_args()
    settings = configuration()["recordings"]["demo"]
    with tempfile.TemporaryDirectory() as folder:
        command = str(Path(sys.executable).with_name("pose-splatter"))
        check = (command, "check", "--output", folder, "--config", "config/config.yaml")
        print(f"demo: {seconds(*check):.1f} s", flush=True)
        patterns = {kind: f"{folder}/{kind}/{{camera}}.mp4" for kind in ("videos", "masks")}
        for kind, pattern in patterns.items():
            for camera in settings["cameras"]:
                source = ROOT / with_camera(settings[kind], camera)
                repeat(source, with_camera(pattern, camera), options.hours)
        video = with_camera(patterns["videos"], settings["cameras"][0])
        n_frames = probe(video).n_frames
        print(f"{n_frames} frames a camera, {video.stat().st_size / 1e6:.0f} MB in the first")
        started = time.perf_counter()
        next(read_frames(video, [n_frames // 2]))
        print(
            f"its middle frame, once it was looked through: {time.perf_counter() - started:.3f} s"
        )
        config = Path(folder, "long.yaml")
        config.write_text(yaml.safe_dump({"recordings": {"demo": patterns}}))
        print(f"{options.hours:g} hours of it: {seconds(*check, str(config)):.1f} s")


if __name__ == "__main__":
    main()
