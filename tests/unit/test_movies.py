"""Videos that are written: what a browser asks of them, and that every picture is where it was."""

from fractions import Fraction

import av
import h5py
import numpy as np
import pytest

from pose_splatter import movies
from pose_splatter.frames import CameraFiles, FrameStore, gather_parts, write_part, write_zarr
from pose_splatter.movies import (
    animal_regions,
    captioned,
    frame_rate,
    write_camera_videos,
    write_video,
)
from pose_splatter.plots import HELDOUT_COLOR
from pose_splatter.video import RecordingDescription, probe, read_frames

from ..conftest import ring_rig

RED, BLUE, WHITE = [200, 30, 40], [20, 60, 210], [255, 255, 255]


def pictures(n: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Red left of a border that moves on by 8 pixels a frame, blue right of it."""
    stack = np.full((n, height, width, 3), BLUE, np.uint8)
    for number, picture in enumerate(stack):
        picture[:, : 8 + 8 * number] = RED
    return stack


def test_pictures_come_back_in_order_and_colour(tmp_path):
    written = pictures(9)
    write_video(tmp_path / "a.mp4", written, fps=12.5)
    read = np.stack(list(read_frames(tmp_path / "a.mp4", range(9))))
    assert read.shape == written.shape
    assert np.abs(read.astype(int) - written).mean() < 4
    # Away from the border, where chroma is shared by four pixels: BT.709, and said so.
    assert np.abs(read[:, :, :4].astype(int) - RED).max() < 8
    assert np.abs(read[:, :, -4:].astype(int) - BLUE).max() < 8
    assert probe(tmp_path / "a.mp4").fps == 12.5


def test_a_browser_plays_it(tmp_path):
    """H.264, 4:2:0, even sizes, and the index before the pictures."""
    write_video(tmp_path / "a.mp4", pictures(3, 63, 95), fps=30)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.width, codec.height) == (96, 64)
        assert container.streams.video[0].average_rate == Fraction(30)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_same_pictures_give_the_same_video(tmp_path):
    """To the eye: bytes were seen to differ once in a thousand times, for no known reason."""
    one, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path in (one, other):
        write_video(path, pictures(30), fps=30)
    for a, b in zip(read_frames(one, range(30)), read_frames(other, range(30)), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 1


def test_a_video_that_fails_leaves_nothing(tmp_path):
    def broken():
        yield pictures(1)[0]
        raise KeyError("no more")

    with pytest.raises(KeyError):
        write_video(tmp_path / "a.mp4", broken(), fps=30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fps", "step", "rate"), [(30.0, 1, 30.0), (100.0, 5, 20.0), (0.0, 1, 25.0)]
)
def test_the_rate_is_that_of_the_frames_used(fps, step, rate):
    assert frame_rate(RecordingDescription(8, 8, fps, 0, 100, step)) == rate


def test_captions_leave_the_picture_alone():
    picture = pictures(1)[0]
    shown = captioned(picture, "truth", "#D55E00")
    bar = len(shown) - len(picture)
    np.testing.assert_array_equal(shown[bar:, 2:], picture[:, 2:])
    np.testing.assert_array_equal(captioned(picture, "truth")[bar:], picture, "without a colour")
    letters = np.abs(shown[:bar, 2:].astype(int) - [0xD5, 0x5E, 0x00]).max(axis=-1) < 30
    assert letters.sum() > 20, "written in the colour"
    assert (shown[:bar, -2:] == 255).all()


@pytest.fixture(scope="module")
def store(tmp_path_factory, small_recording):
    folder = tmp_path_factory.mktemp("store")
    rig = ring_rig()
    files = [
        CameraFiles(n, small_recording / f"video{n}.mp4", small_recording / f"mask{n}.mp4")
        for n in rig.names
    ]
    write_part(folder / "part.h5", rig, files, range(3, 13), 2)
    gather_parts(folder / "images.h5", [folder / "part.h5"])
    write_zarr(folder / "images.zarr", folder / "images.h5")
    return FrameStore.open(folder / "images.zarr")


def test_regions_hold_the_animal_in_every_frame(store):
    frames = range(4, 10)
    for camera, (rows, columns) in enumerate(animal_regions(store, frames)):
        assert columns.stop - columns.start >= rows.stop - rows.start
        for frame in frames:
            mask = store.read_masks(frame)[camera]
            assert mask.sum() == mask[rows, columns].sum() > 0


def test_cameras_videos_show_truth_beside_prediction(store, tmp_path, monkeypatch):
    """A prediction that is all red stands at the right of the store's pictures."""
    texts = []
    monkeypatch.setattr(
        movies, "captioned", lambda *args: texts.append(args[1]) or captioned(*args)
    )
    red = np.full((*store.images.shape[1:4], 4), [*RED, 255], np.uint8)
    with h5py.File(tmp_path / "renders.h5", "w") as file:
        file["frame_index"], file["images"] = [4, 5, 6], np.tile(red, (3, 1, 1, 1, 1))
    write_camera_videos(tmp_path / "cameras", store, tmp_path / "renders.h5", ["2"], fps=30)
    names = {path.name for path in (tmp_path / "cameras").iterdir()}
    assert names == {f"{camera}.mp4" for camera in store.cameras}
    assert texts[:2] == ["truth: camera 0", "prediction: video frame 7"], "the store's fifth"
    assert texts[-8:-6] == ["truth: camera 2, held out", "prediction: video frame 9"]
    orange = [int(HELDOUT_COLOR[n : n + 2], 16) for n in (1, 3, 5)]
    for camera in store.cameras:
        shown = np.stack(list(read_frames(tmp_path / f"cameras/{camera}.mp4", range(3))))
        half = shown.shape[2] // 2
        pictures = shown[:, 40:]
        assert np.abs(pictures[:, :, half + 8 :].astype(int) - RED).max() < 12
        assert (pictures[:, :, :half] > 240).all(axis=-1).mean() > 0.3, "white around the truth"
        assert np.abs(pictures[:, :, :half].astype(int) - RED).max() > 100
        marked = (np.abs(shown[0, :32].astype(int) - orange).max(axis=-1) < 60).sum()
        assert (marked > 20) == (camera == "2")
