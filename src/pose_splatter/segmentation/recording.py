"""Masks of a recording: every camera's frames in order, cleaned in time, then put to the vote."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, create_h5, load_npz, open_h5
from pose_splatter.frames import DEFLATE_LEVEL
from pose_splatter.progress import track
from pose_splatter.segmentation.background import (
    Background,
    background_of,
    read_scene,
    telling_pictures,
)
from pose_splatter.segmentation.foreground import (
    CameraModel,
    ForegroundSettings,
    calibrate_shadows,
    drop_specks,
    segment,
)
from pose_splatter.segmentation.network import SaliencyNetwork
from pose_splatter.segmentation.vote import Vote
from pose_splatter.video import VideoInfo, read_frames, shifted

Segmenter = Callable[[UInt8[ndarray, "height width 3"]], UInt8[ndarray, "height width"]]
"""Anything that makes a mask (0 or 1) of a picture."""

SUDDEN = 0.05  # of the picture's width: what moved farther between frames came from nowhere


def model_camera(
    video: str | Path,
    frames: Sequence[int],
    settings: ForegroundSettings,
    empty_scene: str | Path | None = None,
    downsample: int = 1,
) -> CameraModel:
    """Learn a camera's background and shadows from frames of its own video.

    `empty_scene`, a picture or video of what it sees without the animal, helps where that stays.
    The model is of pictures that are averaged over `downsample` pixels (a rest is cut off).
    """
    pictures = telling_pictures(video, frames)
    scene = read_scene(empty_scene, *pictures.shape[1:3]) if empty_scene else None
    if downsample > 1:
        pictures = np.stack([averaged(picture, downsample) for picture in pictures])
        scene = None if scene is None else averaged(scene, downsample)
    return calibrate_shadows(list(pictures), background_of(pictures, scene), settings)


def averaged(picture: UInt8[ndarray, "height width 3"], downsample: int) -> UInt8[ndarray, "h w 3"]:
    """A picture averaged over squares of `downsample` pixels; a rest of pixels is cut off."""
    height, width = (size // downsample for size in picture.shape[:2])
    whole = picture[: height * downsample, : width * downsample]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def make_segmenters(
    n_cameras: int,
    method: str,
    threshold: float,
    shadow: float,
    backgrounds: Sequence[str | Path],
    weights: str | Path,
) -> list[Segmenter]:
    """A segmenter for each camera: by its background, or a network read from `weights`."""
    if method == "rembg":
        return [SaliencyNetwork(weights)] * n_cameras
    settings = ForegroundSettings(threshold, shadow)
    models = map(load_model, backgrounds)
    return [partial(segment, camera=model, settings=settings) for model in models]


def write_mask_part(
    path: str | Path,
    videos: Sequence[str | Path],
    segmenters: Sequence[Segmenter],
    vote: Vote | None,
    offsets: Sequence[int],
    frames: range,
    part: range,
) -> None:
    """Write the masks of `part`, a run of the recording's `frames`, as /masks (frame camera h w).

    /source_frames (frame camera) are their numbers in the cameras' videos, by their `offsets`.

    One frame before and one after the part are looked at too, so that the masks are the same
    however the recording is cut into parts.
    """
    if not len(part):
        raise PoseSplatterError(
            "config: chunks is higher than the number of a recording's frames; lower it."
        )
    first, last = frames.index(part[0]), frames.index(part[-1])
    wanted = frames[max(first - 1, 0) : last + 2]
    skipped = first - max(first - 1, 0)
    with create_h5(path) as store:
        store["source_frames"] = np.asarray(part, np.int64)[:, None] + np.asarray(offsets)
        streams = [
            steady(map(segmenter, read_frames(video, shifted(wanted, offset))))
            for video, segmenter, offset in zip(videos, segmenters, offsets, strict=True)
        ]
        joined = enumerate(zip(*streams, strict=True), -skipped)
        for index, views in track(joined, "making masks", len(wanted)):
            if not 0 <= index < len(part):
                continue
            masks = np.stack(views)
            masks = masks if vote is None else np.stack([drop_specks(m) for m in vote(masks)])
            _array(store, (len(part), *masks.shape))[index] = masks


def _array(store: h5py.File, shape: tuple[int, ...]) -> h5py.Dataset:
    return store.require_dataset(
        "masks",
        shape,
        np.uint8,
        chunks=(1, 1, *shape[2:]),
        compression="gzip",
        compression_opts=DEFLATE_LEVEL,
    )


def read_parts(
    parts: Sequence[str | Path], camera: int, video: VideoInfo
) -> Iterator[UInt8[ndarray, "height width"]]:
    """Yield one camera's mask for every frame of its video: black for frames that are not used."""
    with ExitStack() as stack:
        stores = [stack.enter_context(open_h5(part)) for part in parts]
        places = {
            int(number): (store["masks"], index)
            for store in stores
            for index, number in enumerate(store["source_frames"][:, camera])
        }
        black = np.zeros((video.height, video.width), np.uint8)
        for number in range(video.n_frames):
            masks, index = places.get(number, (None, 0))
            yield black if masks is None else masks[index, camera]


def steady(
    masks: Iterator[UInt8[ndarray, "height width"]],
) -> Iterator[UInt8[ndarray, "height width"]]:
    """The same masks without small pieces that are there for one frame alone.

    A piece other than the largest stays where the frame before or the frame after has something
    near it.
    """
    before: UInt8[ndarray, "height width"] | None = None
    now = next(masks, None)
    while now is not None:
        after = next(masks, None)
        yield _without_flashes(now, [mask for mask in (before, after) if mask is not None])
        before, now = now, after


def _without_flashes(
    mask: UInt8[ndarray, "height width"], neighbours: Sequence[UInt8[ndarray, "height width"]]
) -> UInt8[ndarray, "height width"]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2 or not neighbours:
        return mask
    reach = 2 * round(SUDDEN * mask.shape[1]) + 1
    near = cv2.dilate(np.bitwise_or.reduce(neighbours), np.ones((reach, reach), np.uint8)) > 0
    kept = np.zeros(count, bool)
    kept[np.unique(labels[near])] = True
    kept[1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])] = True
    kept[0] = False
    return kept[labels].view(np.uint8)


def save_model(path: str | Path, camera: CameraModel) -> None:
    """Write a camera's background: `picture`, `noise`, `shadings`."""
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            picture=camera.background.picture,
            noise=camera.background.noise,
            shadings=camera.shadings,
        )


def load_model(path: str | Path) -> CameraModel:
    """Read what `save_model` wrote."""
    arrays = load_npz(path)
    return CameraModel(Background(arrays["picture"], arrays["noise"]), arrays["shadings"])
