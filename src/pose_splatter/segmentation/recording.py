"""Masks of a recording: every camera's frames in order, cleaned in time, then put to the vote."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig, filmed_rays, triangulate
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, create_h5, load_npz, open_h5
from pose_splatter.frames import DEFLATE_LEVEL, mask_middles
from pose_splatter.progress import track
from pose_splatter.segmentation.background import (
    Background,
    background_of,
    read_scene,
    telling_pictures,
)
from pose_splatter.segmentation.floor import Floor, FloorViews, find_floor, load_floor
from pose_splatter.segmentation.foreground import (
    CameraModel,
    Change,
    ForegroundSettings,
    calibrate_shadows,
    divide,
    drop_specks,
)
from pose_splatter.segmentation.network import SaliencyNetwork
from pose_splatter.segmentation.vote import Vote
from pose_splatter.video import VideoIndex, VideoInfo, read_frames, shifted, spread

Pictures = Sequence[UInt8[ndarray, "height width 3"]]
Segmenter = Callable[[Pictures], UInt8[ndarray, "camera height width"]]
"""Anything that makes masks (0 or 1) of the pictures that all cameras took at one time."""

FLOOR_FRAMES, FLOOR_WIDTH = 24, 144  # looked at to find the floor, and how wide (pixels)
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


def averaged(
    picture: Shaped[ndarray, "height width *channel"], downsample: int
) -> Shaped[ndarray, "h w *channel"]:
    """A picture averaged over squares of `downsample` pixels; a rest of pixels is cut off."""
    height, width = (size // downsample for size in picture.shape[:2])
    whole = picture[: height * downsample, : width * downsample]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class BackgroundSegmenter:
    """Tells the animal from what every camera sees without it, with the floor where it is known."""

    cameras: Sequence[CameraModel]
    settings: ForegroundSettings
    floor: FloorViews | None = None

    def __call__(self, pictures: Pictures) -> UInt8[ndarray, "camera height width"]:
        """The masks (0 or 1) of what the cameras see at one time."""
        changes = self.changes(pictures)
        floor = [None] * len(changes) if self.floor is None else self.floor.shaded(changes)
        masks = [
            divide(change, camera, self.settings, known)
            for change, camera, known in zip(changes, self.cameras, floor, strict=True)
        ]
        return np.stack(masks)

    def changes(self, pictures: Pictures) -> list[Change]:
        """What changed in each camera."""
        return [
            Change.of(picture, camera.background, self.settings)
            for picture, camera in zip(pictures, self.cameras, strict=True)
        ]


def find_recording_floor(
    rig: CameraRig,
    observed: Sequence[int],
    videos: Sequence[str | Path],
    segmenter: BackgroundSegmenter,
    offsets: Sequence[int],
    frames: Sequence[int],
) -> Floor | None:
    """The floor of a recording, by the shadows in frames spread over it (see `find_floor`).

    Only the `observed` of its cameras are looked at.
    """
    rig = rig.subset(list(observed))
    videos = [videos[camera] for camera in observed]
    offsets = [offsets[camera] for camera in observed]
    segmenter = replace(segmenter, cameras=[segmenter.cameras[camera] for camera in observed])
    scale = max(1, rig.width // FLOOR_WIDTH)
    shadows, path = [], []
    for pictures in read_together(videos, spread(frames, FLOOR_FRAMES), offsets):
        changes = segmenter.changes(pictures)
        pairs = list(zip(changes, segmenter.cameras, strict=True))
        masks = [divide(change, camera, segmenter.settings) for change, camera in pairs]
        dark = [
            change.shadow(camera) & (mask == 0)
            for (change, camera), mask in zip(pairs, masks, strict=True)
        ]
        shadows.append([averaged(view.astype(np.float32), scale) for view in dark])
        if (center := filmed_center(rig, mask_middles(masks))) is not None:
            path.append(center)
    return find_floor(rig, np.array(shadows), scale, np.array(path).reshape(-1, 3))


def filmed_center(
    rig: CameraRig, middles: Float[ndarray, "camera 2"]
) -> Float[ndarray, "3"] | None:
    """The point of the masks' centroids in the cameras' own videos; None where fewer than two are
    not NaN."""
    seen = np.isfinite(middles[:, 0])
    if seen.sum() < 2:
        return None
    plain = np.zeros_like(middles)
    for camera in np.flatnonzero(seen).tolist():
        ray = filmed_rays(rig, camera, middles[camera][None])[0]
        pixels, _ = rig.subset([camera]).project(rig.centers[camera] + ray)
        plain[camera] = pixels[0]
    return triangulate(rig, plain, seen)


def read_together(
    videos: Sequence[str | Path],
    frames: Sequence[int],
    offsets: Sequence[int],
    indexes: Sequence[VideoIndex] | None = None,
) -> Iterator[Pictures]:
    """Yield what all cameras took at one time, for some frames of a recording."""
    known: Sequence[VideoIndex | None] = indexes or [None] * len(videos)
    streams = [
        read_frames(video, shifted(frames, offset), index=index)
        for video, offset, index in zip(videos, offsets, known, strict=True)
    ]
    return zip(*streams, strict=True)


def make_segmenter(
    rig: CameraRig,
    observed: Sequence[int],
    method: str,
    threshold: float,
    shadow: float,
    backgrounds: Sequence[str | Path],
    floor: str | Path | None,
    weights: str | Path,
) -> Segmenter:
    """What tells the animal by backgrounds and floor, if any, or by a network of `weights`."""
    if method == "rembg":
        network = SaliencyNetwork(weights)
        return lambda pictures: np.stack([network(picture) for picture in pictures])
    plane = load_floor(floor) if floor else None
    return BackgroundSegmenter(
        [load_model(path) for path in backgrounds],
        ForegroundSettings(threshold, shadow),
        None if plane is None else FloorViews.of(rig, plane, observed),
    )


def write_mask_part(
    path: str | Path,
    videos: Sequence[str | Path],
    segmenter: Segmenter,
    vote: Vote | None,
    offsets: Sequence[int],
    frames: Sequence[int],
    part: Sequence[int],
    indexes: Sequence[VideoIndex],
) -> None:
    """Write the masks of `part`, a run of the recording's `frames`, as /masks (frame camera h w).

    /source_frames (frame camera) are their numbers in the cameras' videos, by their `offsets`.
    `indexes` are the videos': of hours of frames, those of the part alone are read.

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
        made = steady(map(segmenter, read_together(videos, wanted, offsets, indexes)))
        for index, masks in track(enumerate(made, -skipped), "making masks", len(wanted)):
            if not 0 <= index < len(part):
                continue
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
    masks: Iterator[UInt8[ndarray, "camera height width"]],
) -> Iterator[UInt8[ndarray, "camera height width"]]:
    """The same masks without small pieces that are there for one frame alone.

    A piece other than the largest stays where the frame before or the frame after has something
    near it.
    """
    before: UInt8[ndarray, "camera height width"] | None = None
    now = next(masks, None)
    while now is not None:
        after = next(masks, None)
        neighbours = [frame for frame in (before, after) if frame is not None]
        yield np.stack(
            [
                _without_flashes(mask, [n[camera] for n in neighbours])
                for camera, mask in enumerate(now)
            ]
        )
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
