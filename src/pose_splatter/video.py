"""Decoding of synchronised videos and mask videos, any range of frames."""

import logging
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Int, UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import load_json, load_npz, save_json, save_npz

T = TypeVar("T")
CUT_TAIL = 5  # frames by which a camera may stop earlier than the others, at most
LATE = 1.5  # intervals between frames after which a frame is late: one or more were dropped
SAME_RATE = 0.01  # relative difference
FEWEST_FRAMES = 3  # one each to train, validate and test
NO_TIME = -(2**63)  # what FFmpeg calls a time that a file does not give

# Files that hold video themselves. FFmpeg knows others too, texts among them, that name more files.
OPENING = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,asf,flv,mpeg,mpegts,mxf,nut,ogg,dv,ivf,gif,"
    "mjpeg,yuv4mpegpipe,h264,hevc,m4v",
}
LARGE = 100_000_000  # bytes of a file that takes longer to look through than to start a process
# Elements of Matroska (RFC 9559): all of a file, a few seconds of it, and a frame in two forms.
SEGMENT, CLUSTER, BLOCKS = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", (b"\xa3", b"\xa0")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself, its frames counted.

    Width and height are those of the picture as players show it. `late` are the numbers of frames
    that come later than the rate says, `missing` the number of frames that are known to be missing,
    at least, because the file was cut off.
    """

    path: Path
    n_frames: int
    width: int
    height: int
    fps: float
    late: tuple[int, ...] = ()
    missing: int = 0


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video; whatever FFmpeg says on the way becomes one sentence."""
    path = _existing(path)
    try:
        # Said to be a file, or its name might be taken for that of a protocol.
        with av.open(f"file:{path}", options=OPENING) as container:
            if not container.streams.video:
                raise PoseSplatterError(f"{path}: the file holds no video stream; replace it.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except FFmpegError as error:
        raise PoseSplatterError(
            f"{path}: cannot read the video ({error.strerror}); copy or encode it again."
        ) from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise PoseSplatterError(
            f"{path}: no such video; correct the path pattern or the camera names in config."
        )
    return path


@dataclass(frozen=True)
class VideoIndex:
    """The time stamps of all frames, ascending, and the numbers of the key frames among them.

    Frame n has the n-th smallest stamp, whatever the rate. Of a file that was cut off, only what
    comes before the first missing frame; `missing` are the others.
    """

    times: Int[ndarray, " frame"]
    keys: Int[ndarray, " key"]
    missing: int = 0

    @classmethod
    def of(cls, path: str | Path, container: InputContainer, stream: VideoStream) -> "VideoIndex":
        """Read through the file, decoding nothing."""
        fields = array("q")  # a long recording has millions of packets
        for packet in container.demux(stream):
            if packet.size:
                shown = NO_TIME if packet.pts is None else packet.pts
                decoded = NO_TIME if packet.dts is None else packet.dts
                flags = packet.is_keyframe, packet.is_discard, packet.is_corrupt
                fields.extend((shown, decoded, *flags))
        sent = np.frombuffer(fields, np.int64).reshape(-1, 5)
        # Not shown are what an editor hid and what is left of the frame at which a file was cut.
        pts, dts, is_key = sent[(sent[:, 3:] == 0).all(axis=1), :3].T
        # Once it is read through, an MP4 lists also what is in its fragments.
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        missing = max(listed - len(sent), 0) + int(sent[:, 4].sum())
        if "matroska" in container.format.name and _ends_among_frames(Path(path)):
            missing = max(missing, 1)  # nothing lists them, and FFmpeg leaves out what is cut
        if missing and len(dts) and dts[-1] != NO_TIME:
            # Frames are sent in another order than shown, but none after its time.
            whole = (pts != NO_TIME) & (pts <= dts[-1])
            missing += int((~whole).sum())
            pts, is_key = pts[whole], is_key[whole]
        if (pts == NO_TIME).any():
            raise PoseSplatterError(
                f"{path}: the file does not say when its frames are shown; put it into one that "
                "does: ffmpeg -i IN -c copy OUT.mp4."
            )
        order = pts.argsort(kind="stable")
        times = pts[order]
        if same := int((np.diff(times) == 0).sum()):
            raise PoseSplatterError(
                f"{path}: {same} of its {len(times)} frames have the time of another, so which "
                "comes first is unknown; give each its own: "
                "ffmpeg -i IN -vf setpts=N/FRAME_RATE/TB OUT."
            )
        keys = np.flatnonzero(is_key[order])
        return cls(times, keys if len(keys) else np.zeros(1, int), missing)

    def late(self) -> tuple[int, ...]:
        """The numbers of the frames before which more than LATE usual intervals pass."""
        intervals = np.diff(self.times)
        if not len(intervals):
            return ()
        return tuple((1 + np.flatnonzero(intervals > LATE * np.median(intervals))).tolist())

    def keys_alone(self, frames: Sequence[int]) -> bool:
        """Whether of the file's frames key frames alone are asked for."""
        return len(self.keys) < len(self.times) and bool(np.isin(frames, self.keys).all())

    def key_frame(self, number: int) -> int:
        """The frame from which frame `number` can be decoded.

        A key frame, or the first of all, where an editor hid the key frame before it.
        """
        place = int(np.searchsorted(self.keys, number, side="right")) - 1
        return int(self.keys[place]) if place >= 0 else 0

    def number(self, time: int) -> int | None:
        """The number of the frame with this time stamp, if it is one of the file's."""
        place = int(np.searchsorted(self.times, time))
        return place if place < len(self.times) and self.times[place] == time else None


def _ends_among_frames(path: Path) -> bool:
    """Whether a Matroska file was cut off where its frames are.

    Its elements (RFC 8794) have a name, the length of their content, unless it was not known when
    they were begun, and the content. They are looked at one after the other, but not into, unless
    their end is not known.
    """
    size, place, end, name = path.stat().st_size, 0, 0, b""
    with path.open("rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            head = file.read(12)
            if len(head) < len(CLUSTER) and CLUSTER.startswith(head):
                return True
            head = head.ljust(12, b"\xff")
            split = 9 - head[0].bit_length()
            digits = 9 - head[split].bit_length()
            if split > 4 or digits > 8:
                break  # this is no element
            name, place = head[:split], place + split + digits
            unknown = (1 << 7 * digits) - 1
            length = int.from_bytes(head[split : split + digits]) & unknown
            if length == unknown:
                length = 0
            end = max(end, place + length)
            if name != SEGMENT:
                place += length
    return end > size and name in (CLUSTER, *BLOCKS)


_indexes: dict[tuple[int, ...], VideoIndex] = {}  # of files that this process has looked through


def index_of(path: str | Path) -> VideoIndex:
    """The file's index, which a process looks up once, unless the file changes."""
    version = _version(path)
    if version not in _indexes:
        _indexes[version] = _look_through(path)
    return _indexes[version]


def look_through(paths: Sequence[str | Path], processes: int) -> None:
    """Look up the indexes of files side by side, for `index_of` to have them at once.

    Of hours of video that takes a minute, nearly all of it Python's, so in processes of their own.
    Small files are left to `index_of`, and all where processes cannot be had.
    """
    versions = {path: _version(path) for path in paths}
    new = {path: v for path, v in versions.items() if v not in _indexes}
    large = [path for path in new if _existing(path).stat().st_size >= LARGE]
    if min(processes, len(large)) > 1:
        with (
            suppress(BrokenProcessPool),
            ProcessPoolExecutor(min(processes, len(large)), get_context("spawn")) as pool,
        ):
            for path, index in zip(large, pool.map(_look_through, large), strict=True):
                _indexes[new[path]] = index


def _version(path: str | Path) -> tuple[int, ...]:
    """Tells files apart, and a file from what it was before it was changed."""
    stat = _existing(path).stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _look_through(path: str | Path) -> VideoIndex:
    with _opened(path) as (container, stream):
        return VideoIndex.of(path, container, stream)


def save_indexes(path: str | Path, videos: Sequence[str | Path]) -> None:
    """Write the indexes of video files: `times0` and `keys0` of the first, and so on.

    Times and keys are stored as differences, which compress well.
    """
    arrays: dict[str, ndarray | float] = {}
    for n, index in enumerate(map(index_of, videos)):
        arrays[f"times{n}"] = np.diff(index.times, prepend=0)
        arrays[f"keys{n}"] = np.diff(index.keys, prepend=0)
    save_npz(path, **arrays)


def load_indexes(path: str | Path) -> list[VideoIndex]:
    """Read what `save_indexes` wrote, in the files' order, but for what is `missing`."""
    arrays = load_npz(path)
    return [
        VideoIndex(arrays[f"times{n}"].cumsum(), arrays[f"keys{n}"].cumsum())
        for n in range(len(arrays) // 2)
    ]


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video and read its size; its first frame alone is decoded."""
    index = index_of(path)
    n_frames = len(index.times)
    if n_frames == 0:
        raise PoseSplatterError(f"{path}: the video has no frames; replace it.")
    with _opened(path) as (container, stream):
        container.seek(int(index.times[0]), stream=stream)
        stream.thread_count = 1  # several would decode frames ahead
        first = next(container.decode(stream), None)
        if first is None:
            raise PoseSplatterError(
                f"{path}: its first frame cannot be decoded; copy or encode the video again."
            )
        if container.format.name == "avi" and stream.codec_context.has_b_frames:
            raise PoseSplatterError(
                f"{path}: an AVI file with B-frames does not say which frame is which; convert it: "
                "ffmpeg -i IN.avi -crf 17 OUT.mp4."
            )
        width, height = first.width, first.height
        if (matrix := _display_matrix(first)) is not None and matrix[0, 0] == 0:
            width, height = height, width
        rate = stream.average_rate or stream.guessed_rate or 0
        return VideoInfo(
            Path(path),
            n_frames,
            width,
            height,
            float(rate),
            index.late(),
            index.missing,
        )


def key_frames(path: str | Path) -> Int[ndarray, " key"]:
    """The numbers of a video's key frames, which are decoded without others."""
    return index_of(path).keys


@dataclass(frozen=True)
class RecordingDescription:
    """What a recording's videos have in common, and the range of their frames that is used.

    Frame n of the recording is frame n + offsets[camera] of a camera's video and masks, `offsets`
    being one number per camera in the rig's order.
    """

    width: int
    height: int
    fps: float
    start: int
    stop: int
    step: int
    offsets: tuple[int, ...] = ()

    @property
    def source_frames(self) -> range:
        """The numbers, in the videos of cameras without an offset, of the frames that are used."""
        return range(self.start, self.stop, self.step)


def describe_recording(
    videos: Sequence[str | Path],
    masks: Sequence[str | Path],
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    offsets: Sequence[int] | None = None,
) -> RecordingDescription:
    """Probe the videos and mask videos of a recording; refuse what does not belong together.

    All must have the first video's size. `start`, `stop` and `step` choose frames as a Python slice
    does. Without `stop`, all must have its number of frames, but for the last CUT_TAIL: what the
    shortest holds is used. `offsets` (one per camera) shift its video and masks in time; frames
    that some camera has not are left out. What is odd and does no harm is logged.
    """
    infos = [probe(path) for path in (*videos, *masks)]
    reference = infos[0]
    offsets = tuple(offsets) if offsets else (0,) * len(videos)
    for info in infos[1:]:
        _require_same_size(info, reference)
    _compare_rates(infos[: len(videos)])
    for info in infos[: len(videos)]:
        _report_late_frames(info)
    shifts = offsets * 2 if masks else offsets
    ends = [info.n_frames - offset for info, offset in zip(infos, shifts, strict=True)]
    _require_frames(infos, ends, start, stop)
    first = max(start, *(-offset for offset in offsets))
    last = min(ends) if stop is None else min(stop, *ends)
    start += -(-(first - start) // step) * step  # the same frames as without offsets, but fewer
    if len(range(start, last, step)) < FEWEST_FRAMES:
        raise PoseSplatterError(
            f"{reference.path}: {len(range(start, last, step))} frames are used, but to train, "
            f"validate and test takes {FEWEST_FRAMES} at least; use a longer video, or more of it "
            "(frames: start, stop, step in config)."
        )
    return RecordingDescription(
        reference.width, reference.height, reference.fps, start, last, step, offsets
    )


def _require_same_size(info: VideoInfo, reference: VideoInfo) -> None:
    sizes = (info.width, info.height), (reference.width, reference.height)
    if sizes[0] != sizes[1]:
        fix = "use them as they were filmed, neither scaled nor cut since"
        if sizes[0] == sizes[1][::-1]:
            fix = "it lies on its side: turn it"
        raise PoseSplatterError(
            f"{info.path}: frames are {info.width} x {info.height} pixels, but those of "
            f"{reference.path} are {reference.width} x {reference.height}: all videos and masks of "
            f"a recording must have one size; {fix}."
        )


def _compare_rates(videos: Sequence[VideoInfo]) -> None:
    """Cameras at different rates show different moments, unless only their files say so."""
    reference = videos[0]
    for info in videos[1:]:
        if abs(info.fps - reference.fps) <= SAME_RATE * reference.fps:
            continue
        rates = f"{info.fps:.4g} frames/s, but {reference.path} {reference.fps:.4g}"
        if abs(info.n_frames - reference.n_frames) > CUT_TAIL:
            raise PoseSplatterError(
                f"{info.path}: the video has {info.n_frames} frames at {rates} and "
                f"{reference.n_frames}; record, or convert, all cameras at one rate "
                f"(ffmpeg -i IN -r {reference.fps:.4g} OUT)."
            )
        logger.warning(
            "%s: the file says %s, though both have as many frames: taken as one rate, frame by "
            "frame; see synchronization.png whether that is so",
            info.path,
            rates,
        )


def _report_late_frames(info: VideoInfo) -> None:
    if info.late:
        logger.warning(
            "%s: %d of %d frames come late, frame %d first: the rate varies, or frames were "
            "dropped; frames are matched by number, not by time: see synchronization.png whether "
            "the cameras stay in step",
            info.path,
            len(info.late),
            info.n_frames,
            info.late[0],
        )


def _require_frames(
    infos: Sequence[VideoInfo], ends: Sequence[int], start: int, stop: int | None
) -> None:
    """Every file must hold the frames that are used, and none may lack much of what others hold.

    `ends` are where the files end in the recording's numbers. A camera that is off may stop with
    the others or be as long as they are.
    """
    reference = infos[0]
    longest = max(infos, key=lambda info: info.n_frames)
    for info, end in zip(infos, ends, strict=True):
        cut = ""
        if info.missing:
            cut = f" (the file is cut off: at least {info.missing} frames are missing)"
        lacking = min(longest.n_frames - info.n_frames, max(ends) - end)
        short = max(info.n_frames, end) < stop <= longest.n_frames if stop else lacking > CUT_TAIL
        if short:
            raise PoseSplatterError(
                f"{info.path}: the video's last frame is {info.n_frames - 1}{cut}, but that of "
                f"{longest.path} is {longest.n_frames - 1}; cut all cameras to the same frames, or "
                f"set frames: stop to {info.n_frames} or less in config, if they start together."
            )
        if lacking and not stop:
            logger.warning(
                "%s: the video stops %d frames before others%s; their last frames are left out",
                info.path,
                lacking,
                cut,
            )
    if start >= reference.n_frames or (stop is not None and not start < stop <= reference.n_frames):
        raise PoseSplatterError(
            f"{reference.path}: the video has frames 0 to {reference.n_frames - 1}, which config's "
            f"frames (start {start}, stop {stop}) do not fit; correct them."
        )


def save_description(path: str | Path, description: RecordingDescription) -> None:
    """Write videos.json."""
    save_json(path, asdict(description))


def load_description(path: str | Path) -> RecordingDescription:
    """Read videos.json."""
    content = load_json(path)
    return RecordingDescription(**content | {"offsets": tuple(content["offsets"])})


def shifted(frames: Sequence[int], offset: int) -> Sequence[int]:
    """The numbers that frames of the recording have in a camera that is off by `offset`."""
    return [frame + offset for frame in frames]


def spread(frames: Sequence[T], count: int) -> list[T]:
    """At most `count` of the frames, or of whatever else is in order, spread evenly."""
    places = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [frames[place] for place in places]


def cheap_frames(path: str | Path, frames: Sequence[int], count: int) -> list[int]:
    """At most `count` of a video's frames, spread evenly: key frames, if there are enough.

    A key frame is decoded without others. Those before frames that are spread evenly are enough
    where they are a third of `count`: many in a long video, unless it has few or they cluster.
    """
    spaced, keys = spread(frames, count), key_frames(path)
    places = np.searchsorted(keys, spaced, side="right") - 1
    before = np.intersect1d(keys[places.clip(0)], frames).tolist()
    return before if 3 * len(before) >= count else spaced


def read_frames(
    path: str | Path,
    frames: Sequence[int],
    kind: Literal["rgb", "grey"] = "rgb",
    index: VideoIndex | None = None,
) -> Iterator[UInt8[ndarray, "height width *channel"]]:
    """Yield the given frames (ascending numbers) of a video, RGB or luma alone, as players show it.

    Seeks to the key frame before a frame that is far ahead and decodes from there, so a chunk in
    the middle of a long recording, or a sample of it, costs what it is. Without its `index`, the
    whole file is looked through first. Raises PoseSplatterError where the video ends or breaks
    before the last frame asked for.
    """
    index = index or index_of(path)
    with _opened(path) as (container, stream):
        if index.keys_alone(frames):
            stream.thread_count = 1  # several would decode frames ahead that are not asked for
        decoded: Iterator[VideoFrame] = iter(())
        reformatter = VideoReformatter()  # kept: setting one up costs more than a conversion
        position = len(index.times)
        for target in frames:
            key = index.key_frame(target)
            if (
                not position < target or position + 1 < key
            ):  # a jump pays: decode from its key frame
                container.seek(int(index.times[key]), stream=stream)
                decoded, position = container.decode(stream), -1
            frame, position = _advance(decoded, index, position, target)
            if frame is None or position != target:
                raise PoseSplatterError(
                    f"{path}: frame {target} cannot be decoded; copy or encode the video again, "
                    "or leave the frame out of the recording's frames in config."
                )
            yield _to_array(frame, kind, reformatter)


def _advance(
    decoded: Iterator[VideoFrame], index: VideoIndex, position: int, target: int
) -> tuple[VideoFrame | None, int]:
    """Decode on to frame `target`; the last frame got and its number, None where decoding ended."""
    frame = None
    try:
        while position < target and (frame := next(decoded, None)) is not None:
            number = index.number(frame.pts or 0)
            position = position if number is None else number
    except FFmpegError:
        return None, position
    return frame, position


def _to_array(
    frame: VideoFrame, kind: Literal["rgb", "grey"], reformatter: VideoReformatter
) -> UInt8[ndarray, "h w *channel"]:
    if kind == "rgb":
        picture = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    else:
        picture = _luma(frame)
    matrix = _display_matrix(frame)
    return picture if matrix is None else _as_displayed(picture, matrix)


def _luma(frame: VideoFrame) -> UInt8[ndarray, "h w"]:
    if frame.format.name in ("yuv420p", "yuvj420p", "yuv444p", "yuv422p", "gray"):
        plane = frame.planes[0]  # luma as it lies in the file: no colour conversion
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, : frame.width].copy()
    return frame.to_ndarray(format="gray8")


def _display_matrix(frame: VideoFrame) -> Int[ndarray, "2 2"] | None:
    """How pixel axes (rows of the matrix) lie on the screen, as -1, 0, 1; None where as they are.

    Phones and some cameras store pictures on their side and say so: ISO 14496-12, section 8.3.2.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    matrix = np.frombuffer(memoryview(data), np.int32).reshape(3, 3)[:2, :2]
    along = np.abs(matrix) == np.abs(matrix).max(axis=1, keepdims=True)
    signs = (np.sign(matrix) * along).astype(int)
    return None if (signs == np.eye(2)).all() else signs


def _as_displayed(
    picture: UInt8[ndarray, "h w *channel"], matrix: Int[ndarray, "2 2"]
) -> UInt8[ndarray, "h2 w2 *channel"]:
    if matrix[0, 0] == 0:
        picture = picture.swapaxes(0, 1)
    flips = [slice(None, None, -1 if sign < 0 else 1) for sign in matrix.sum(axis=0)[::-1]]
    return np.ascontiguousarray(picture[tuple(flips)])
