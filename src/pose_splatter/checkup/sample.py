"""A few frames of every camera, with their masks: given, or made as the workflow will make them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig, undistortion_maps
from pose_splatter.frames import foreground, prepare_frame
from pose_splatter.masks import border_of, read_masks
from pose_splatter.paths import find_masks, with_camera
from pose_splatter.segmentation.foreground import ForegroundSettings, segment
from pose_splatter.segmentation.network import SaliencyNetwork
from pose_splatter.segmentation.recording import averaged, model_camera
from pose_splatter.segmentation.vote import Vote
from pose_splatter.video import RecordingDescription, probe, read_frames, shifted

SAMPLES = 12  # frames that are looked at, evenly spread
WIDTH = 400  # pixels, about: of the pictures that are looked at and carved
BACKGROUND_FRAMES = 24  # that show what a camera sees without the animal
KEPT = 0.8  # share of a camera's masks that is left, at least, where the cameras agree

Pictures = list[UInt8[ndarray, "..."]]  # of one camera, all of one shape
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """A few frames of every camera, undistorted and small, and what their masks look like.

    `rig` holds the pinholes of these pictures, `scale` how many pixels of the videos are averaged.
    Of the masks as they are in the files: `covered` is the share of pixels that is set, `border`
    the same along the picture's edge, `grey` the share that is neither dark nor bright.
    """

    frames: tuple[int, ...]
    rig: CameraRig
    scale: int
    pictures: UInt8[ndarray, "frame camera h w 3"]
    masks: UInt8[ndarray, "frame camera h w"]
    covered: Float[ndarray, "frame camera"]
    border: Float[ndarray, "frame camera"]
    grey: Float[ndarray, "frame camera"]

    @property
    def seen(self) -> Bool[ndarray, "frame camera"]:
        """Whether a mask is set at all."""
        return self.covered > 0

    def observed(self, heldout: Sequence[str]) -> list[int]:
        """The indices of the cameras that carve."""
        return self.rig.without(heldout)


def sample_frames(description: RecordingDescription, count: int = SAMPLES) -> list[int]:
    """Frames that are evenly spread over the recording."""
    frames = description.source_frames
    places = np.linspace(0, len(frames) - 1, count + 2).round().astype(int)[1:-1]
    return sorted({frames[place] for place in places})


def each_camera(rig: CameraRig, work: Callable[[int], T]) -> list[T]:
    """What `work` makes of each camera's index; cameras are decoded side by side."""
    with ThreadPoolExecutor(max_workers=min(len(rig), len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(work, range(len(rig))))


def read_pictures(
    settings: Mapping[str, Any],
    description: RecordingDescription,
    frames: Sequence[int],
    camera: int,
) -> Pictures:
    """One camera's pictures of the frames."""
    path = with_camera(settings["videos"], settings["cameras"][camera])
    return list(read_frames(path, shifted(frames, description.offsets[camera])))


def take_masks(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    frames: Sequence[int],
    pictures: Sequence[Pictures],
) -> list[list[Pictures]]:
    """The masks of the frames in every camera, as grey pictures (0 to 255).

    Those that are made are as the cameras' vote left them. Where it took much from several cameras,
    the masks before the vote follow: either cameras see much else than the animal, or the
    calibration by which they voted is wrong.
    """
    if settings["masks"] == "auto":
        made, voted = _make_masks(settings, rig, description, pictures)
        left = [
            np.sum(v) / np.sum(m) if np.any(m) else 1.0 for m, v in zip(made, voted, strict=True)
        ]
        observed = rig.without(settings["heldout_cameras"])
        contested = sum(left[camera] < KEPT for camera in observed) > 1
        return [voted, made] if contested else [voted]
    read = partial(given_masks, settings, rig, description, frames)
    return [each_camera(rig, lambda camera: list(read(camera)))]


def given_masks(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    frames: Sequence[int],
    camera: int,
) -> Iterator[UInt8[ndarray, "height width"]]:
    """One camera's masks of the frames, as grey pictures."""
    name, wanted = rig.names[camera], shifted(frames, description.offsets[camera])
    files = find_masks(settings["masks"], name)
    if files.kind == "video":
        return read_frames(files.path, wanted, "grey")
    video = probe(with_camera(settings["videos"], name))
    masks = read_masks(settings["masks"], name, rig.names, video, wanted)
    return (mask * np.uint8(255) for mask in masks)


def _make_masks(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    pictures: Sequence[Pictures],
) -> tuple[list[Pictures], list[Pictures]]:
    """Masks as masks: auto makes them, but from a few frames for a background, and coarsely.

    Before and after the cameras' vote.
    """
    made_by = settings["segmentation"]
    foreground_settings = ForegroundSettings(made_by["threshold"], made_by["shadow"])
    network = SaliencyNetwork(made_by["weights"]) if made_by["method"] == "rembg" else None
    scale = _scale(rig)

    def make(camera: int) -> Pictures:
        frames = sample_frames(description, BACKGROUND_FRAMES)
        wanted = shifted(frames, description.offsets[camera])
        video = with_camera(settings["videos"], rig.names[camera])
        scene = made_by["empty_scene"] and with_camera(made_by["empty_scene"], rig.names[camera])
        model = model_camera(video, wanted, foreground_settings, scene, scale)
        small = [averaged(picture, scale) for picture in pictures[camera]]
        return [segment(picture, model, foreground_settings) for picture in small]

    size = (rig.width, rig.height)
    if network is None:
        made = each_camera(rig, make)
        rig = rig.downsampled(scale)
    else:  # which looks at one picture at a time
        made = [[network(picture) for picture in of_camera] for of_camera in pictures]
    vote = Vote.of(rig, rig.without(settings["heldout_cameras"]))
    voted = zip(*(vote(np.stack(views)) for views in zip(*made, strict=True)), strict=True)

    def as_pictures(masks: Iterable[Iterable[UInt8[ndarray, "h w"]]]) -> list[Pictures]:
        return [
            [cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_NEAREST) for mask in m]
            for m in masks
        ]

    return as_pictures(made), as_pictures(voted)


def _scale(rig: CameraRig) -> int:
    """How many pixels of the videos are averaged."""
    return max(1, round(rig.width / WIDTH))


def take_sample(
    rig: CameraRig,
    frames: Sequence[int],
    pictures: Sequence[Pictures],
    mask_pictures: Sequence[Pictures],
) -> Sample:
    """What is kept of pictures (RGB) and masks (grey) of every camera, `rig` being the videos'."""
    scale = _scale(rig)
    cameras = []
    for camera in range(len(rig)):
        maps = undistortion_maps(rig, camera)
        pairs = zip(pictures[camera], mask_pictures[camera], strict=True)
        looks = [_look(*pair, maps, scale) for pair in pairs]
        cameras.append([np.stack(values) for values in zip(*looks, strict=True)])
    stacked = [np.stack(values, axis=1) for values in zip(*cameras, strict=True)]
    return Sample(tuple(frames), rig.undistorted().downsampled(scale), scale, *stacked)


def _look(
    picture: UInt8[ndarray, "height width 3"],
    mask_picture: UInt8[ndarray, "height width"],
    maps: tuple[ndarray, ndarray] | None,
    scale: int,
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"], float, float, float]:
    """A frame's small picture and mask, and the mask's shares: set, set at the edge, grey."""
    raw = foreground(mask_picture)
    border = border_of(raw)
    grey = ((mask_picture > 64) & (mask_picture < 192)).mean()
    if maps is not None:
        picture = cv2.remap(picture, *maps, cv2.INTER_LINEAR)
        raw = foreground(cv2.remap(mask_picture, *maps, cv2.INTER_LINEAR))
    _, mask = prepare_frame(picture, raw, scale)
    height, width = mask.shape
    whole = picture[: height * scale, : width * scale]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    covered = float(foreground(mask_picture).mean())
    return small, mask, covered, float(border.mean()), float(grey)
