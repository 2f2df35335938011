"""Videos: exact frames wherever reading starts, and sentences for files that do not fit."""

import numpy as np
import pytest

from pose_splatter.errors import PoseSplatterError
from pose_splatter.video import (
    RecordingDescription,
    describe_recording,
    load_description,
    probe,
    read_frames,
    save_description,
)

from ..conftest import write_video


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A video whose frame n is grey of level 4 n, with key frames every 10."""
    path = tmp_path_factory.mktemp("video") / "counting video.mp4"
    levels = (4 * np.arange(50)).astype(np.uint8)
    write_video(path, np.broadcast_to(levels[:, None, None, None], (50, 48, 64, 3)))
    return path


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
