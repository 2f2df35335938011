"""Videos that play in a browser: H.264 in MP4, written picture by picture."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from html import escape
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from pose_splatter.evaluation import read_renders
from pose_splatter.files import atomic_path, open_h5, sound
from pose_splatter.frames import FrameStore, mask_box
from pose_splatter.plots import HELDOUT_COLOR, frame_label
from pose_splatter.progress import track
from pose_splatter.video import RecordingDescription

RATE_IF_UNKNOWN = 25.0
# H.264's constant rate factor: 18 is hardly told from the original.
QUALITY = 18
CAPTION_HEIGHT = 32
PANEL_HEIGHT = 384
MARGIN = 12  # pixels of the stored pictures around all that the animal reaches

Picture = UInt8[ndarray, "_height _width 3"]


def frame_rate(description: RecordingDescription) -> float:
    """Frames a second of what is used of a recording."""
    return (description.fps or RATE_IF_UNKNOWN) / description.step


@contextmanager
def video_writer(path: str | Path, fps: float) -> Iterator[Callable[[Picture], None]]:
    """Yield a function that appends an RGB picture to the video; all must have the first's size.

    Sizes are made even, as browsers ask of H.264, by repeating the last row and column. The index
    lies at the start, so that a page plays before all is loaded. One thread encodes, so
    that jobs side by side take no more than their share.
    """
    options = {"movflags": "+faststart"}
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", container_options=options) as container,
    ):
        stream = container.add_stream(
            "libx264",
            rate=Fraction(fps).limit_denominator(10000),
            options={"crf": str(QUALITY), "threads": "1"},
        )
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

        def write(picture: Picture) -> None:
            height, width = picture.shape[:2]
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if not codec.is_open:
                codec.height, codec.width = even.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                dst_color_primaries=ColorPrimaries.BT709,
                dst_color_trc=ColorTrc.BT709,
            )
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode())


def write_video(path: str | Path, pictures: Iterable[Picture], fps: float) -> None:
    """Write RGB pictures of one size as a video (see `video_writer`)."""
    with video_writer(path, fps) as write:
        for picture in pictures:
            write(picture)


def captioned(picture: Picture, text: str, color: str | None = None) -> Picture:
    """The picture under a white bar with one line of text, and a line of its colour at the left.

    Without a colour the text is black, and there is no line.
    """
    bar = Image.new("RGB", (picture.shape[1], CAPTION_HEIGHT), "white")
    place = (8, CAPTION_HEIGHT // 2)
    ImageDraw.Draw(bar).text(place, text, fill=color or "black", font=_font(), anchor="lm")
    captioned = np.concatenate([np.asarray(bar), picture])
    if color:
        captioned[:, :2] = ImageColor.getrgb(color)
    return captioned


def _font() -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: no machine lacks it."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 18)


def write_camera_videos(
    folder: str | Path,
    store: FrameStore,
    renders: str | Path,
    heldout: Sequence[str],
    fps: float,
) -> None:
    """Write {camera}.mp4 for every camera: the truth of all frames rendered beside the prediction.

    `renders` is rendered_images.h5. Each video is cut to where the animal is in any frame of it;
    held-out cameras are orange.
    """
    with open_h5(renders) as file, sound(renders):
        frames = file["frame_index"][:].tolist()
    regions = animal_regions(store, frames)
    with atomic_path(folder) as temporary, ExitStack() as stack:
        writers = [
            stack.enter_context(video_writer(temporary / f"{name}.mp4", fps))
            for name in store.cameras
        ]
        for frame, rgba in read_renders(renders):
            images, label = store.read_images(frame), frame_label(store.source_frames[frame])
            for camera, (write, name) in enumerate(zip(writers, store.cameras, strict=True)):
                region = regions[camera]
                truth, prediction = (
                    _enlarged(view[camera][region][..., :3]) for view in (images, rgba)
                )
                unseen = name in heldout
                color = HELDOUT_COLOR if unseen else "black"
                left = f"truth: camera {name}{', held out' if unseen else ''}"
                pair = [
                    captioned(truth, left, color),
                    captioned(prediction, f"prediction: {label}", color),
                ]
                write(np.concatenate(pair, axis=1))


def animal_regions(store: FrameStore, frames: Sequence[int]) -> list[tuple[slice, slice]]:
    """In every camera the rows and columns that the animal reaches in any of the frames.

    At least as wide as high, so that there is room for a line of text above two of them.
    """
    reached = np.zeros(store.masks.shape[1:], np.uint8)
    for frame in track(frames, "looking where the animal is", len(frames)):
        reached |= store.read_masks(frame)
    return [_region(mask) for mask in reached]


def _region(mask: UInt8[ndarray, "h w"]) -> tuple[slice, slice]:
    rows, columns = mask_box(mask) if mask.any() else map(slice, (0, 0), mask.shape)
    height = rows.stop - rows.start + 2 * MARGIN
    width = max(columns.stop - columns.start + 2 * MARGIN, height)
    return _around(rows, height, mask.shape[0]), _around(columns, width, mask.shape[1])


def _around(side: slice, length: int, limit: int) -> slice:
    """`length` pixels about the middle of `side`, as far as there are so many, moved inside."""
    length = min(length, limit)
    start = min(max((side.start + side.stop - length) // 2, 0), limit - length)
    return slice(start, start + length)


def _enlarged(picture: Picture) -> Picture:
    """Scaled to the height of a panel."""
    height, width = picture.shape[:2]
    size = (round(width * PANEL_HEIGHT / height), PANEL_HEIGHT)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def movie_page(title: str, movies: Mapping[str, str | Path]) -> str:
    """An HTML page with the videos in it, by their captions; it needs no other file.

    Browsers refuse pages of more than 2 MB inside another, such as a report: for short videos.
    """
    figures = "\n".join(
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<video controls autoplay loop muted playsinline src="data:video/mp4;base64,'
        f'{b64encode(Path(path).read_bytes()).decode()}"></video></figure>'
        for caption, path in movies.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)}</title>
<style>
body {{ font-family: sans-serif; background: white; margin: 1rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 30rem)); gap: 1rem; }}
figure {{ margin: 0; }}
figcaption {{ padding: 0.3rem 0; }}
video {{ width: 100%; border: 1px solid #bbb; }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<main>
{figures}
</main>
</body>
</html>
"""
