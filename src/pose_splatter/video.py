"""Decoding of synchronised videos and mask videos, any range of frames."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import save_json


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, its frames counted."""

    path: Path
    n_frames: int
    width: int
    height: int
    fps: float


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video; whatever FFmpeg says on the way becomes one sentence."""
    path = Path(path)
    if not path.is_file():
        raise PoseSplatterError(
            f"{path}: no such video; correct the path pattern or the camera names in config."
        )
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise PoseSplatterError(f"{path}: the file holds no video stream; replace it.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except FFmpegError as error:
        raise PoseSplatterError(
            f"{path}: cannot read the video ({error.strerror}); copy or encode it again."
        ) from error


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video and read its size, without decoding it."""
    with _opened(path) as (container, stream):
        n_frames = sum(1 for packet in container.demux(stream) if packet.size)
        if n_frames == 0:
            raise PoseSplatterError(f"{path}: the video has no frames; replace it.")
        rate = stream.average_rate or stream.guessed_rate or 0
        return VideoInfo(Path(path), n_frames, stream.width, stream.height, float(rate))


@dataclass(frozen=True)
class RecordingDescription:
    """What a recording's videos have in common, and the range of their frames that is used."""

    width: int
    height: int
    fps: float
    start: int
    stop: int
    step: int

    @property
    def source_frames(self) -> range:
        """The numbers, in the videos, of the frames that are used."""
        return range(self.start, self.stop, self.step)


def describe_recording(
    videos: Sequence[str | Path],
    masks: Sequence[str | Path],
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
) -> RecordingDescription:
    """Probe the videos and mask videos of a recording; refuse what does not belong together.

    All must have the first video's size and number of frames. `start`, `stop` and `step` choose
    frames as a Python slice does.
    """
    reference, *others = [probe(path) for path in (*videos, *masks)]
    for info in others:
        _require_same(info, reference)
    if start >= reference.n_frames or (stop is not None and not start < stop <= reference.n_frames):
        raise PoseSplatterError(
            f"{reference.path}: the video has frames 0 to {reference.n_frames - 1}, which config's "
            f"frames (start {start}, stop {stop}) do not fit; correct them."
        )
    stop = reference.n_frames if stop is None else stop
    return RecordingDescription(reference.width, reference.height, reference.fps, start, stop, step)


def _require_same(info: VideoInfo, reference: VideoInfo) -> None:
    if info.n_frames != reference.n_frames:
        raise PoseSplatterError(
            f"{info.path}: the video's last frame is {info.n_frames - 1}, but that of "
            f"{reference.path} is {reference.n_frames - 1}; cut all cameras to the same frames."
        )
    if (info.width, info.height) != (reference.width, reference.height):
        raise PoseSplatterError(
            f"{info.path}: frames are {info.width} x {info.height} pixels, but those of "
            f"{reference.path} are {reference.width} x {reference.height}; all cameras of a "
            "recording must have one size."
        )


def save_description(path: str | Path, description: RecordingDescription) -> None:
    """Write videos.json."""
    save_json(path, asdict(description))


def load_description(path: str | Path) -> RecordingDescription:
    """Read videos.json."""
    return RecordingDescription(**json.loads(Path(path).read_text()))


def read_frames(
    path: str | Path, frames: Sequence[int], kind: Literal["rgb", "grey"] = "rgb"
) -> Iterator[UInt8[ndarray, "height width *channel"]]:
    """Yield the given frames (ascending numbers) of a video, RGB or luma alone.

    Seeks to the key frame before a frame that is far ahead and decodes from there, so a chunk in
    the middle of a long recording, or a sample of it, costs what it is. Raises PoseSplatterError
    where the video ends or breaks before the last frame asked for.
    """
    with _opened(path) as (container, stream):
        index = _FrameIndex.of(container, stream)
        decoded: Iterator[VideoFrame] = iter(())
        position = len(index.times)
        for target in frames:
            key = index.key_frame(target)
            if (
                not position < target or position + 1 < key
            ):  # a jump pays: decode from its key frame
                container.seek(index.times[key], stream=stream)
                decoded, position = container.decode(stream), -1
            frame, position = _advance(decoded, index, position, target)
            if frame is None or position != target:
                raise PoseSplatterError(
                    f"{path}: frame {target} cannot be decoded; copy or encode the video again, "
                    "or leave the frame out of the recording's frames in config."
                )
            yield _to_array(frame, kind)


@dataclass(frozen=True)
class _FrameIndex:
    """Frame numbers and time stamps: frame n has the n-th smallest stamp, whatever the rate."""

    times: list[int]
    numbers: dict[int, int]
    keys: list[int]

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> "_FrameIndex":
        packets = [
            (packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]
        packets.sort()
        numbers = {pts: number for number, (pts, _) in enumerate(packets)}
        keys = [number for number, (_, is_key) in enumerate(packets) if is_key]
        return cls([pts for pts, _ in packets], numbers, keys or [0])

    def key_frame(self, number: int) -> int:
        """The key frame from which frame `number` can be decoded."""
        return self.keys[max(bisect_right(self.keys, number) - 1, 0)]


def _advance(
    decoded: Iterator[VideoFrame], index: _FrameIndex, position: int, target: int
) -> tuple[VideoFrame | None, int]:
    """Decode on to frame `target`; the last frame got and its number, None where decoding ended."""
    frame = None
    try:
        while position < target and (frame := next(decoded, None)) is not None:
            position = index.numbers.get(frame.pts or 0, position)
    except FFmpegError:
        return None, position
    return frame, position


def _to_array(frame: VideoFrame, kind: Literal["rgb", "grey"]) -> UInt8[ndarray, "h w *channel"]:
    if kind == "rgb":
        return frame.to_ndarray(format="rgb24")
    if frame.format.name in ("yuv420p", "yuvj420p", "yuv444p", "yuv422p", "gray"):
        plane = frame.planes[0]  # luma as it lies in the file: no colour conversion
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, : frame.width].copy()
    return frame.to_ndarray(format="gray8")
