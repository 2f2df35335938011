"""What a fixed camera sees without the animal, and how much every pixel's value wavers.

An animal that rests stands in the way of a plain median: where it lies for half of the recording,
the median is the animal. So frames are chosen that differ from each other, of which a rest gives
few however long it lasts, and of each pixel's values in them those are taken that most frames agree
on, since the floor always looks the same and what walks over it does not.

An animal that stays where it is in nearly all frames hides what is behind it. A picture of the
scene without it, taken before or after, shows that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.progress import track
from pose_splatter.video import probe, read_frames, spread

SAMPLED, CHOSEN = 240, 60  # frames looked at, and those of them that the background is made of
SCENE_FRAMES = 30  # of a video of the empty scene
WINDOW = (6.0, 0.04)  # grey levels, and share of the brightness, that a pixel's background fills
DENSEST = 0.35  # share of a pixel's values that are the background's, at least
NOISE_FLOOR = 1.5  # grey levels: less than rounding and compression leave is not believed
AGREED = 0.7  # share of a pixel's values: so many are the background's, whatever happens
DIFFERENT = 25.0  # grey levels by which the empty scene differs in more than light
THUMBNAIL = 96  # pixels: the width at which frames are compared
MOVED = 12  # grey levels by which a thumbnail's pixel has changed, not just wavered
MAX_MOVED = 0.5  # of the picture: more than an animal changes


@dataclass(frozen=True)
class Background:
    """One camera's picture without the animal, and the standard deviation of its noise.

    Both in grey levels (0 to 255), at the video's own pixels.
    """

    picture: Float32[ndarray, "height width 3"]
    noise: Float32[ndarray, "height width"]


def telling_pictures(
    video: str | Path, frames: Sequence[int]
) -> UInt8[ndarray, "picture height width 3"]:
    """Pictures of a video, of the given frames, that differ from each other.

    Raises PoseSplatterError where nothing moves, or nearly everything does: the animal must move
    and the camera must not.
    """
    sampled = spread(frames, SAMPLED)
    looked = track(read_frames(video, sampled), "looking at frames", len(sampled))
    thumbnails = np.stack([thumbnail(picture) for picture in looked])
    chosen = sorted(most_different(thumbnails, CHOSEN))
    _require_an_animal_that_moves(thumbnails[chosen], video)
    numbers = [sampled[n] for n in chosen]
    return np.stack(list(track(read_frames(video, numbers), "reading frames", len(numbers))))


def thumbnail(picture: UInt8[ndarray, "height width 3"]) -> Float32[ndarray, "h w"]:
    """A small grey picture of a median brightness of 128, whatever the light."""
    height, width = picture.shape[:2]
    size = (THUMBNAIL, max(1, round(THUMBNAIL * height / width)))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small * np.float32(128 / max(float(np.median(small)), 1.0))


def most_different(pictures: Float32[ndarray, "frame h w"], count: int) -> list[int]:
    """Frames that differ from each other: each is the one farthest from those before it.

    Farthest-point sampling (Gonzalez 1985) by the number of pixels that changed; it ends where
    the rest shows nothing new.
    """
    chosen = [len(pictures) // 2]
    nearest = np.full(len(pictures), np.inf)
    while len(chosen) < min(count, len(pictures)):
        changed = np.abs(pictures - pictures[chosen[-1]]) > MOVED
        nearest = np.minimum(nearest, changed.sum(axis=(1, 2)))
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0:
            break
        chosen.append(farthest)
    return chosen


def _require_an_animal_that_moves(
    thumbnails: Float32[ndarray, "frame h w"], video: str | Path
) -> None:
    if len(thumbnails) < 3:
        raise PoseSplatterError(
            f"{video}: nothing moves in the frames that config chooses, so the animal cannot be "
            "told from the background; choose more frames, or give masks in config."
        )
    moved = (np.abs(thumbnails - np.median(thumbnails, axis=0)) > MOVED).mean(axis=(1, 2))
    if (share := float(np.median(moved))) > MAX_MOVED:
        raise PoseSplatterError(
            f"{video}: {share:.0%} of the picture changes from frame to frame, but masks: auto "
            "needs a camera that stands still in steady light; give masks in config."
        )


def read_scene(path: str | Path, height: int, width: int) -> UInt8[ndarray, "height width 3"]:
    """A picture of what a camera sees without the animal, RGB: a file of one, or a video's median.

    Raises PoseSplatterError where it cannot be read, or has another size.
    """
    scene = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if scene is None:
        frames = spread(range(probe(path).n_frames), SCENE_FRAMES)
        scene = np.median(np.stack(list(read_frames(path, frames))), axis=0).astype(np.uint8)
    if scene.shape[:2] != (height, width):
        raise PoseSplatterError(
            f"{path}: the picture of the empty scene has {scene.shape[1]} x {scene.shape[0]} "
            f"pixels, but the video {width} x {height}; take it with the same camera and settings."
        )
    return np.asarray(scene, np.uint8)


def background_of(
    pictures: UInt8[ndarray, "frame height width 3"],
    scene: UInt8[ndarray, "height width 3"] | None = None,
) -> Background:
    """The background of frames that differ from each other, and of a picture of the empty scene.

    Of each pixel's brightnesses, the window that holds most of them is the background's: it is
    found where the animal covers a pixel in more than half of the frames, as long as it looks
    different each time. Of two windows as full, the brighter one: the other may be a shadow.
    Where it holds few of them, `scene` counts; where it holds most, the recording does: the scene
    may have changed since, or somebody may have stood in it.
    """
    gains = _relative_gains(pictures)
    picture = np.empty(pictures.shape[1:], np.float32)
    noise = np.empty(pictures.shape[1:3], np.float32)
    agreed = np.empty(pictures.shape[1:3], np.float32)
    for row in range(pictures.shape[1]):  # a row at a time: all pairs of frames need memory
        values = pictures[:, row] / gains[:, None]
        brightness = np.sort(values.mean(axis=-1), axis=0)[::-1]
        lowest = brightness - WINDOW[0] - WINDOW[1] * brightness
        inside = (brightness <= brightness[:, None]) & (brightness >= lowest[:, None])
        fullest = inside.sum(axis=1).argmax(axis=0)
        top, bottom = (np.take_along_axis(v, fullest[None], axis=0) for v in (brightness, lowest))
        grey = values.mean(axis=-1)
        chosen = ((grey <= top) & (grey >= bottom)).astype(np.float32)[..., None]
        picture[row] = (values * chosen).sum(axis=0) / chosen.sum(axis=0)
        residuals = np.abs(values - picture[row]).mean(axis=-1)
        noise[row] = np.quantile(residuals, DENSEST, axis=0)
        agreed[row] = chosen.mean(axis=0)[..., 0]
    # Where the animal often is, what is left is its own.
    noise = np.where(agreed < AGREED, np.minimum(noise, np.median(noise)), noise)
    if scene is not None:
        light = gain(scene[::4, ::4], picture[::4, ::4])
        hidden = _hidden(picture, scene / light, agreed)
        picture[hidden] = (scene / light)[hidden]
    return Background(picture, _smooth_noise(noise))


def _hidden(
    picture: Float32[ndarray, "height width 3"],
    scene: Float32[ndarray, "height width 3"],
    agreed: Float32[ndarray, "height width"],
) -> Bool[ndarray, "height width"]:
    """Where the animal hides what is behind it: few frames agree, and not on what `scene` shows."""
    different = np.abs(cv2.blur(picture - scene, (3, 3))).max(axis=-1) > DIFFERENT
    few = cv2.blur(agreed, (3, 3)) < AGREED
    return cv2.dilate((different & few).view(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _smooth_noise(noise: Float32[ndarray, "height width"]) -> Float32[ndarray, "height width"]:
    """Standard deviations from quantiles of absolute residuals, over a neighbourhood."""
    quantile_of_a_unit_normal = 0.45  # DENSEST of its absolute values lie below
    smooth = cv2.blur(cv2.medianBlur(noise, 5), (9, 9)) / np.float32(quantile_of_a_unit_normal)
    return np.maximum(smooth, np.float32(NOISE_FLOOR))


def _relative_gains(
    pictures: UInt8[ndarray, "frame height width 3"],
) -> Float32[ndarray, "frame 3"]:
    """How bright each frame's channels are against the middle frame of all."""
    reference = np.median(pictures[:, ::4, ::4], axis=0)
    return np.stack([gain(picture[::4, ::4], reference) for picture in pictures])


def gain(
    picture: UInt8[ndarray, "height width 3"], reference: Float[ndarray, "height width 3"]
) -> Float32[ndarray, "3"]:
    """By what factor a picture is brighter than the reference, in each channel.

    The median over pixels: the animal covers the smaller part of them.
    """
    bright = reference.min(axis=-1) > 8  # what is black stays black in any light
    if not bright.any():
        return np.ones(3, np.float32)
    return np.median(picture[bright] / reference[bright], axis=0).astype(np.float32)
