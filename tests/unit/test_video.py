"""Videos: exact frames wherever reading starts, and sentences for files that do not fit."""

import logging
import os
import re
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.container import InputContainer

from pose_splatter import video
from pose_splatter.errors import PoseSplatterError
from pose_splatter.video import (
    RecordingDescription,
    VideoIndex,
    VideoInfo,
    cheap_frames,
    describe_recording,
    index_of,
    key_frames,
    load_description,
    load_indexes,
    look_through,
    probe,
    read_frames,
    save_description,
    save_indexes,
    shifted,
    spread,
)

from ..conftest import write_video


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A video whose frame n is grey of level 4 n, with key frames every 10."""
    path = tmp_path_factory.mktemp("video") / "counting video.mp4"
    levels = (4 * np.arange(50)).astype(np.uint8)
    write_video(path, np.broadcast_to(levels[:, None, None, None], (50, 48, 64, 3)))
    return path


def test_key_frames_alone_are_told_from_others():
    index = VideoIndex(times=np.arange(9), keys=np.array([0, 4, 8]))
    assert index.keys_alone([0, 4])
    assert not index.keys_alone([0, 1])
    assert not index.keys_alone(range(9))
    every = VideoIndex(times=np.arange(3), keys=np.arange(3))
    assert not every.keys_alone([0, 1, 2]), "read one after the other, several threads pay"


def test_probe_counts_frames(counting):
    info = probe(counting)
    assert (info.n_frames, info.width, info.height, info.fps) == (50, 64, 48, 30)


@pytest.mark.parametrize("kind", ["rgb", "grey"])
@pytest.mark.parametrize(
    "frames",
    [range(50), range(23, 31), [0, 49], [9, 10, 11, 38], range(0, 50, 7), [20], []],
    ids=str,
)
def test_any_frames_equal_sequential_decoding(counting, frames, kind):
    everything = list(read_frames(counting, range(50), kind))
    chosen = list(read_frames(counting, frames, kind))
    assert len(chosen) == len(frames)
    for frame, picture in zip(frames, chosen, strict=True):
        np.testing.assert_array_equal(picture, everything[frame])
        if kind == "rgb":
            assert abs(int(picture.mean()) - 4 * frame) <= 3


class Counted:
    """A video file that counts what is decoded of it, and how often it is sought in."""

    __class__ = InputContainer  # to those who ask what it is

    def __init__(self, container):
        self.container, self.decoded, self.sought = container, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()

    def __getattr__(self, name):
        return getattr(self.container, name)

    def seek(self, *args, **options):
        self.sought += 1
        self.container.seek(*args, **options)

    def decode(self, stream):
        for frame in self.container.decode(stream):
            self.decoded += 1
            yield frame


@pytest.mark.parametrize(
    ("frames", "sought", "decoded"),
    [
        (range(50), 1, 50),
        (range(23, 31), 1, 11),
        ([0, 8], 1, 9),
        ([9, 10], 1, 11),
        ([0, 49], 2, 11),
        (range(5, 50, 10), 5, 30),
    ],
    ids=str,
)
def test_reading_costs_what_lies_between_a_key_frame_and_the_frame(
    counting, monkeypatch, frames, sought, decoded
):
    """Key frames are every ten frames: what comes before the last of them is skipped.

    Which frame is where was looked up before, and is not again.
    """
    probe(counting)
    opened = []

    def open_counted(*args, **options):
        opened.append(Counted(av_open(*args, **options)))
        return opened[-1]

    av_open = av.open
    monkeypatch.setattr(av, "open", open_counted)
    list(read_frames(counting, frames))
    assert [(file.sought, file.decoded) for file in opened] == [(sought, decoded)]


def test_a_file_that_changes_is_looked_through_again(tmp_path):
    """Even to one of the same size at the same time: another file has taken its place."""
    for n_frames in (20, 30):
        new = tmp_path / f"{n_frames}.mp4"
        write_video(new, np.zeros((n_frames, 48, 64, 3), np.uint8))
        new.write_bytes(new.read_bytes().ljust(9999, b"\0"))
        os.utime(new, (0, 0))
    for n_frames in (20, 30):
        (tmp_path / f"{n_frames}.mp4").rename(tmp_path / "v.mp4")
        assert (tmp_path / "v.mp4").stat().st_size == 9999
        assert probe(tmp_path / "v.mp4").n_frames == n_frames
        assert len(list(read_frames(tmp_path / "v.mp4", range(n_frames)))) == n_frames


def test_indexes_are_saved_and_read_with(tmp_path, counting, monkeypatch):
    """Also of a file with one key frame; a file whose index is given is not looked through."""
    write_video(tmp_path / "other.mp4", np.zeros((20, 48, 64, 3), np.uint8), gop=20)
    known = [index_of(path) for path in (counting, tmp_path / "other.mp4")]
    save_indexes(tmp_path / "index.npz", [counting, tmp_path / "other.mp4"])
    monkeypatch.setattr(video, "index_of", None)
    loaded = load_indexes(tmp_path / "index.npz")
    for ours, theirs in zip(loaded, known, strict=True):
        np.testing.assert_array_equal(ours.times, theirs.times)
        np.testing.assert_array_equal(ours.keys, theirs.keys)
    (picture,) = read_frames(counting, [38], index=loaded[0])
    assert abs(int(picture.mean()) - 4 * 38) <= 3


def test_reading_past_the_end_names_the_frame(counting):
    with pytest.raises(PoseSplatterError, match=r"counting video\.mp4: frame 50 cannot be decoded"):
        list(read_frames(counting, [48, 50]))


def test_a_truncated_video_names_the_frame(tmp_path, counting):
    content = counting.read_bytes()
    position = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
    broken = bytearray(content)
    broken[position : position + 1500] = bytes(1500)
    (tmp_path / "broken.mp4").write_bytes(bytes(broken))
    with pytest.raises(PoseSplatterError, match=r"broken\.mp4: (frame \d+ cannot|cannot read)"):
        list(read_frames(tmp_path / "broken.mp4", range(50)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such video"), (b"", "cannot read the video"), (b"words" * 99, "cannot read")],
)
def test_a_file_that_is_no_video(tmp_path, content, message):
    if content is not None:
        (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(PoseSplatterError, match=rf"v\.mp4: {message}"):
        probe(tmp_path / "v.mp4")


def test_cameras_that_disagree(tmp_path, counting):
    short, wide = tmp_path / "short.mp4", tmp_path / "wide.mp4"
    write_video(short, np.zeros((40, 48, 64, 3), np.uint8))
    write_video(wide, np.zeros((50, 48, 80, 3), np.uint8))
    with pytest.raises(PoseSplatterError, match=r"short\.mp4: .*last frame is 39.* 49"):
        describe_recording([counting, short], [counting, counting])
    with pytest.raises(PoseSplatterError, match=r"wide\.mp4: .*80 x 48.*64 x 48"):
        describe_recording([counting, counting], [counting, wide])
    with pytest.raises(PoseSplatterError, match="do not fit"):
        describe_recording([counting], [counting], start=10, stop=60)


def test_description_round_trip(tmp_path, counting):
    description = describe_recording([counting], [counting], start=5, step=3)
    assert description == RecordingDescription(64, 48, 30.0, 5, 50, 3, (0,))
    save_description(tmp_path / "videos.json", description)
    assert load_description(tmp_path / "videos.json").source_frames == range(5, 50, 3)


# --- what videos can be like ---------------------------------------------------------------------


def encode(
    path: Path,
    pictures: np.ndarray,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    *,
    rate: int = 30,
    stamps: list[int] | None = None,
    prepare=lambda stream: None,
    container: dict[str, str] | None = None,
    **options: str,
) -> None:
    """Write (frame h w 3) pictures in any codec and pixel format, at any times (1/600 s)."""
    with av.open(str(path), "w", options=container) as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pix_fmt
        prepare(stream)
        if stamps:
            stream.codec_context.time_base = Fraction(1, 600)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            if stamps:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 600)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def counting_pictures(n_frames: int = 30, height: int = 48, width: int = 64) -> np.ndarray:
    """Frame n is grey of level 6 n, with a white corner at the top left."""
    levels = (6 * np.arange(n_frames)).astype(np.uint8)
    pictures = np.repeat(levels, height * width * 3).reshape(n_frames, height, width, 3)
    pictures[:, : height // 3, : width // 3] = 255
    return pictures


FORMATS = {
    "10 bit": ("v.mp4", "libx264", "yuv420p10le", (48, 64)),
    "12 bit with alpha": ("v.mov", "prores_ks", "yuva444p10le", (48, 64)),
    "16 bit grey": ("v.mkv", "ffv1", "gray16le", (48, 64)),
    "8 bit grey": ("v.mkv", "ffv1", "gray", (48, 64)),
    "alpha": ("v.mov", "png", "rgba", (48, 64)),
    "16 bit with alpha": ("v.mov", "png", "rgba64be", (48, 64)),
    "odd sizes": ("v.avi", "mjpeg", "yuvj420p", (45, 63)),
    "odd sizes, lossless": ("v.mkv", "ffv1", "yuv444p", (47, 61)),
    "RGB": ("v.mkv", "libx264rgb", "rgb24", (48, 64)),
    "old AVI": ("v.avi", "mpeg4", "yuv420p", (48, 64)),
    "WebM": ("v.webm", "libvpx-vp9", "yuva420p", (48, 64)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_any_pixel_format_is_read_as_eight_bits(tmp_path, name):
    file, codec, pix_fmt, size = FORMATS[name]
    pictures = counting_pictures(20, *size)
    encode(tmp_path / file, pictures, codec, pix_fmt)
    info = probe(tmp_path / file)
    assert (info.n_frames, info.height, info.width) == (20, *size)
    chosen = [0, 3, 11, 19]
    for kind in ("rgb", "grey"):
        read = np.stack(list(read_frames(tmp_path / file, chosen, kind)))
        truth = pictures[chosen] if kind == "rgb" else pictures[chosen, ..., 0]
        assert read.dtype == np.uint8
        assert read.shape == truth.shape
        # A level lost to the codec, and sixteen where grey is kept from 16 to 235.
        middle = (slice(None), slice(-20, -5), slice(-20, -5))
        difference = np.abs(read[middle].astype(int) - truth[middle])
        assert difference.max() <= (6 if kind == "rgb" else 20)
        assert (read[:, 3:9, 3:9] > 225).all()


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
@pytest.mark.parametrize("flipped", [False, True])
def test_pictures_are_turned_as_players_show_them(tmp_path, angle, flipped):
    """As the file asks for: what OpenCV, and so a calibration made with it, saw."""
    path, pictures = tmp_path / "v.mp4", counting_pictures(12)
    encode(path, pictures, prepare=lambda s: s.set_display_rotation(angle, flipped))
    shown = np.rot90(pictures, angle // 90, axes=(1, 2))
    shown = shown[:, :, ::-1] if flipped else shown
    info = probe(path)
    assert (info.height, info.width) == shown.shape[1:3]
    for kind in ("rgb", "grey"):
        read = np.stack(list(read_frames(path, range(12), kind)))
        truth = shown if kind == "rgb" else shown[..., 0]
        assert read.shape == truth.shape
        assert np.abs(read.astype(int) - truth).mean() < 15, "a corner elsewhere makes it 40"
        assert read[0].flags.c_contiguous
    if not flipped:  # OpenCV knows turns alone
        found, opencv = cv2.VideoCapture(str(path)).read()
        assert found
        picture = next(read_frames(path, [0]))
        assert np.abs(opencv[..., ::-1].astype(int) - picture).mean() < 3


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_varying_rate_is_told_and_frames_keep_their_numbers(tmp_path, caplog, container):
    """600 ticks a second; a frame is lost at 12, and the rate halves at 20."""
    stamps = [20 * n + 20 * (n >= 12) + 20 * max(n - 20, 0) for n in range(30)]
    paths = [tmp_path / f"{name}.{container}" for name in "ab"]
    encode(paths[0], counting_pictures(), stamps=stamps)
    encode(paths[1], counting_pictures())
    levels = [round(float(p[40, 60].mean()) / 6) for p in read_frames(paths[0], [11, 12, 25, 29])]
    assert levels == [11, 12, 25, 29]
    assert probe(paths[1]).late == ()
    assert probe(paths[0]).late == (12, *range(21, 30))
    with caplog.at_level(logging.WARNING):
        describe_recording(paths[:1], paths[1:])
    assert f"a.{container}: 10 of 30 frames come late, frame 12 first" in caplog.text


def test_cameras_at_different_rates(tmp_path, caplog):
    """As many frames: a file that says nonsense. Other numbers: other moments."""
    paths = [tmp_path / f"{name}.mp4" for name in ("slow", "fast", "named")]
    for path, rate, n_frames in zip(paths, (30, 60, 60), (30, 60, 30), strict=True):
        encode(path, counting_pictures(n_frames), rate=rate)
    with pytest.raises(PoseSplatterError, match=r"fast\.mp4: .* 60 frames at 60 .*slow.* -r 30"):
        describe_recording(paths[:2], [])
    with caplog.at_level(logging.WARNING):
        assert describe_recording([paths[0], paths[2]], [paths[0], paths[0]]).stop == 30
    assert "named.mp4: the file says 60 frames/s, but" in caplog.text
    caplog.clear()
    describe_recording([paths[0]], [paths[2]])
    assert not caplog.text, "the rate of masks says nothing"


def test_a_camera_that_stops_a_little_early(tmp_path, caplog, counting):
    early = tmp_path / "early.mp4"
    write_video(early, np.zeros((47, 48, 64, 3), np.uint8))
    with caplog.at_level(logging.WARNING):
        assert describe_recording([counting, early], [counting, early]).stop == 47
    assert "early.mp4: the video stops 3 frames before others" in caplog.text
    write_video(early, np.zeros((30, 48, 64, 3), np.uint8))
    assert describe_recording([counting, early], [counting, early], stop=30).stop == 30
    with pytest.raises(PoseSplatterError, match=r"early.*is 29.*set frames: stop to 30 or less"):
        describe_recording([counting, early], [counting, early], stop=31)


def what_is_left(cut: Path) -> VideoInfo:
    """Of 30 counting pictures: those that are left show their numbers, the others are missing."""
    info = probe(cut)
    assert info.n_frames + info.missing == 30
    read = read_frames(cut, range(info.n_frames))
    levels = [round(float(picture[44:, 60:].mean()) / 6) for picture in read]
    assert levels == list(range(info.n_frames))
    return info


def test_a_file_that_was_cut_off_keeps_its_numbers(tmp_path):
    """Its list of frames lies at its start: all frames before the first that is missing count."""
    path, pictures = tmp_path / "whole.mp4", counting_pictures()
    pictures[:, 20:36] = np.random.default_rng(0).integers(0, 256, (30, 16, 64, 3))
    encode(path, pictures, g="10", crf="1", container={"movflags": "faststart"})
    whole = path.read_bytes()
    for share in (0.5, 0.8, 0.97):
        cut = tmp_path / f"{share}.mp4"
        cut.write_bytes(whole[: int(share * len(whole))])
        assert 3 <= what_is_left(cut).n_frames < 30
    with pytest.raises(
        PoseSplatterError, match=r"0\.5.*cut off: at least \d+ frames are missing\).*cut"
    ):
        describe_recording([path, tmp_path / "0.5.mp4"], [])


CONTAINERS = {
    "MP4, its list first": ("v.mp4", "libx264", {"movflags": "faststart"}),
    "fragmented MP4": ("v.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "Matroska": ("v.mkv", "libx264", {}),
    "Matroska without lengths": ("v.mkv", "libx264", {"live": "1"}),
    "WebM": ("v.webm", "libvpx-vp9", {}),
    "AVI": ("v.avi", "mpeg4", {}),
}


def contained(folder: Path, name: str) -> Path:
    """A video in one of CONTAINERS: 30 frames with a level each, over noise."""
    file, codec, options = CONTAINERS[name]
    path, pictures = folder / file, counting_pictures()
    pictures[:, 20:36] = np.random.default_rng(0).integers(0, 256, (30, 16, 64, 3))
    encode(path, pictures, codec, g="10", b="9000000", container=options)
    if "live" in options:  # as browsers write it: that of a cluster is not known either
        content = path.read_bytes()
        for length, unknown in (
            (rb"[\x40-\x7f].", b"\x7f\xff"),
            (rb"[\x20-\x3f]..", b"\x3f\xff\xff"),
        ):
            content = re.sub(b"(?s)(\x1f\x43\xb6\x75)" + length, b"\\1" + unknown, content)
        path.write_bytes(content)
    return path


def test_large_files_are_looked_through_side_by_side(small_recording, monkeypatch):
    """In other processes; this one then has what it would have found."""
    paths = [small_recording / f"video{camera}.mp4" for camera in range(3)]
    monkeypatch.setattr(video, "_indexes", {})
    alone = [index_of(path) for path in paths]
    for large, processes in ((1, 1), (10**9, 2)):
        monkeypatch.setattr(video, "LARGE", large)
        monkeypatch.setattr(video, "_indexes", {})
        look_through(paths, processes)
        assert not video._indexes, "one process, or small files"
    monkeypatch.setattr(video, "LARGE", 1)
    here = os.getpid()
    monkeypatch.setattr(VideoIndex, "of", lambda *_: pytest.fail(f"in process {here}"))
    look_through(paths, 2)  # others import the module anew
    for path, index in zip(paths, alone, strict=True):
        np.testing.assert_array_equal(index_of(path).times, index.times)
        np.testing.assert_array_equal(index_of(path).keys, index.keys)


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_last_frame_cut_off_in_any_container(tmp_path, caplog, name):
    """Wherever in it: it is told as missing, and those before it keep their numbers."""
    path = contained(tmp_path, name)
    whole = probe(path)
    assert (whole.n_frames, whole.missing) == (30, 0)
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    last = max(packets, key=lambda packet: packet.pos)
    cut = tmp_path / f"cut{path.suffix}"
    for kept in (1, last.size // 2, last.size - 1):
        cut.write_bytes(path.read_bytes()[: last.pos + kept])
        info = what_is_left(cut)
        assert 27 <= info.n_frames < 30
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert describe_recording([path, cut], []).stop == info.n_frames
        assert f"cut off: at least {info.missing} frames are missing" in caplog.text


@pytest.mark.parametrize("name", ["fragmented MP4", "Matroska", "WebM", "AVI"])
def test_a_list_cut_off_at_the_end_takes_no_frame(tmp_path, name):
    path = contained(tmp_path, name)
    path.write_bytes(path.read_bytes()[:-1])
    assert (probe(path).n_frames, probe(path).missing) == (30, 0)


@pytest.mark.parametrize("name", ["MP4, its list first", "fragmented MP4", "Matroska", "WebM"])
def test_a_file_cut_off_between_two_frames(tmp_path, name):
    """No frame is in pieces, but some are listed, or a length is, which is not reached."""
    path = contained(tmp_path, name)
    with av.open(str(path)) as file:
        places = sorted(packet.pos for packet in file.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: places[-1]])
    info = probe(path)
    assert 27 <= info.n_frames < 30
    assert info.n_frames + info.missing == 30


def test_frames_that_an_editor_hid_are_not_missing(tmp_path):
    """An edit list (ISO 14496-12, section 8.6.6) ends after a third of the second."""
    path = tmp_path / "v.mp4"
    encode(path, counting_pictures(), g="10")
    content = bytearray(path.read_bytes())
    length = content.index(b"elst") + 12
    content[length : length + 4] = (333).to_bytes(4, "big")
    path.write_bytes(content)
    assert (probe(path).n_frames, probe(path).missing) == (10, 0)
    levels = [round(float(p[40, 60].mean()) / 6) for p in read_frames(path, range(10))]
    assert levels == list(range(10))


def test_frames_whose_key_frame_an_editor_hid(tmp_path):
    """An edit list begins with frame 5, five before the next key frame."""
    path = tmp_path / "v.mp4"
    encode(path, counting_pictures(), g="10", bf="0")
    with av.open(str(path)) as file:
        begin = round(5 / 30 / file.streams.video[0].time_base)
    content = bytearray(path.read_bytes())
    begins = content.index(b"elst") + 16
    content[begins : begins + 4] = begin.to_bytes(4, "big")
    path.write_bytes(content)
    n_frames = probe(path).n_frames
    assert index_of(path).key_frame(0) == 0 < index_of(path).keys[0] == 5
    levels = [round(float(p[40, 60].mean()) / 6) for p in read_frames(path, range(n_frames))]
    assert levels == list(range(5, 5 + n_frames))
    (third,) = read_frames(path, [2])
    assert round(float(third[40, 60].mean()) / 6) == 7


def test_a_recording_of_ten_hours_is_read_from_its_middle(tmp_path):
    """Every frame shows its number in bits; key frames every 600, B-frames across them (open GOP).

    What is read by seeking is what decoding all of the file in order gives.
    """
    path, n_frames = tmp_path / "long.mp4", 36_000
    numbers = np.arange(n_frames)
    bits = (numbers[:, None] >> np.arange(16) & 1).astype(np.uint8) * 200
    with av.open(str(path), "w") as file:
        settings = "open-gop=1:bframes=2:b-adapt=0:keyint=600:min-keyint=300:scenecut=0"
        options = {"preset": "ultrafast", "x264-params": settings}
        stream = file.add_stream("libx264", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        frame = av.VideoFrame(32, 16, "yuv420p")
        luma = np.zeros((16, frame.planes[0].line_size), np.uint8)
        for plane in frame.planes[1:]:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in numbers:
            luma[:, :32] = bits[number].repeat(2)
            frame.planes[0].update(luma.tobytes())
            frame.pts = int(number)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        in_order = [
            np.frombuffer(memoryview(frame.planes[0]), np.uint8)[:32].copy()
            for frame in file.decode(video=0)
        ]
    assert len(in_order) == n_frames
    assert probe(path).n_frames / 3600 == 10
    rng = np.random.default_rng(0)
    around_keys = [n for key in (600, 18_000, 35_400) for n in range(key - 3, key + 4)]
    for frames in (
        range(17_990, 18_020),
        around_keys,
        sorted(rng.choice(n_frames, 6, replace=False).tolist()),
        [0, n_frames - 1],
    ):
        for number, picture in zip(frames, read_frames(path, frames, "grey"), strict=True):
            np.testing.assert_array_equal(picture[0], in_order[number])
            assert ((picture[0, ::2] > 100) << np.arange(16)).sum() == number


@pytest.mark.parametrize(
    ("file", "message"),
    [("v.avi", r"AVI file with B-frames .*convert it"), ("v.h264", "does not say when its frames")],
)
def test_files_that_do_not_say_which_frame_is_which(tmp_path, file, message):
    encode(tmp_path / file, counting_pictures())
    with pytest.raises(PoseSplatterError, match=rf"{file}: .*{message}"):
        probe(tmp_path / file)


@pytest.mark.parametrize(
    ("offsets", "frames", "expected"),
    [
        ([0, 0], {}, range(50)),
        ([0, 7], {}, range(43)),
        ([0, -7], {}, range(7, 50)),
        ([5, -7], {}, range(7, 45)),
        ([0, -7], {"start": 2, "step": 5}, range(7, 50, 5)),
        ([0, -8], {"start": 2, "step": 5}, range(12, 50, 5)),
        ([0, 7], {"stop": 30}, range(30)),
        ([0, 7], {"stop": 48}, range(43)),
    ],
    ids=str,
)
def test_offsets_leave_the_frames_that_all_cameras_have(counting, offsets, frames, expected):
    description = describe_recording([counting] * 2, [counting] * 2, **frames, offsets=offsets)
    assert description.source_frames == expected
    for offset in offsets:
        list(read_frames(counting, shifted(description.source_frames, offset), "grey"))


def test_offsets_that_leave_nothing(counting):
    with pytest.raises(PoseSplatterError, match="0 frames are used"):
        describe_recording([counting] * 2, [], offsets=[0, 60])


def test_frames_that_are_cheap_to_read(tmp_path):
    """Key frames where there are enough of them, spread evenly; else what is spread evenly."""
    pictures = np.full((60, 32, 48), 100, np.uint8)  # a cut would be a key frame too
    write_video(tmp_path / "v.mp4", pictures, gop=6)
    assert key_frames(tmp_path / "v.mp4").tolist() == [*range(0, 60, 6)]
    assert cheap_frames(tmp_path / "v.mp4", range(60), 30) == [*range(0, 60, 6)]
    assert cheap_frames(tmp_path / "v.mp4", range(60), 31) == spread(range(60), 31)
    assert cheap_frames(tmp_path / "v.mp4", range(60), 4) == [0, 18, 36, 54]
    assert cheap_frames(tmp_path / "v.mp4", range(20, 60), 4) == [30, 42, 54]  # 18 is not asked for
    assert cheap_frames(tmp_path / "v.mp4", range(1, 60, 7), 4) == spread(range(1, 60, 7), 4)
