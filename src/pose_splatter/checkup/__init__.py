"""Is a recording fit to be run? A verdict for each thing that goes wrong in practice, with the fix.

A few frames of every camera are decoded, carved and tracked as the workflow will do with all of
them. What is checked first is what the rest depends on: where that is wrong, the rest waits.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import zarr
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.figure import Figure
from numpy import ndarray

from pose_splatter.calibration import read_calibration, read_cameras
from pose_splatter.cameras import (
    KNOWN_UP,
    WORLD_AXES,
    CameraRig,
    cameras_up,
    estimate_up,
    read_lines,
    rotation_to_z,
    undistortion_maps,
    up_from_lines,
)
from pose_splatter.carving import VoxelGrid
from pose_splatter.consistency import (
    agreement,
    coverage,
    find_correction,
    find_culprits,
    hull_views,
)
from pose_splatter.contact_sheet import FRAMES, plot_contact_sheet
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore, foreground, prepare_frame
from pose_splatter.masks import MaskFault, border_of, find_fault, find_masks, read_masks
from pose_splatter.paths import CAMERA, files_of, with_camera
from pose_splatter.segmentation.foreground import ForegroundSettings, segment
from pose_splatter.segmentation.network import SaliencyNetwork
from pose_splatter.segmentation.recording import averaged, model_camera
from pose_splatter.segmentation.vote import Vote
from pose_splatter.synchronization import check_recording, describe
from pose_splatter.tracking import HullMoments, Track, follow, hull_moments, mask_center
from pose_splatter.video import (
    RecordingDescription,
    describe_recording,
    probe,
    read_frames,
    shifted,
    spread,
)

SAMPLES = 12  # frames that are looked at, evenly spread
WIDTH = 400  # pixels, about: of the pictures that are carved here
BACKGROUND_FRAMES = 24  # that show what a camera sees without the animal
STRETCH = 300  # consecutive frames in which the cameras' timing is compared
GRID = 48  # voxels along the edge of the cube in which the animal is measured

FITS, FITS_ROUGHLY = 0.75, 0.5  # agreement of masks and hull: above is ok, below is an error
HELDOUT_FITS = 0.35  # the same of any one camera, for which a held-out one's hull is too large
COVERED = 0.85  # share of a held-out camera's mask that others' hull covers, however large it is
CLEARLY = 0.1  # correlation by which another camera's masks go better with pictures
RELATED = 0.25  # correlation of pictures and masks, at least
LATE = 10  # frames by which masks are moved to see whether they fit their pictures better
LATER = 0.03  # correlation by which they have to
THUMBNAIL = 100  # pixels, about: the width of pictures and masks for that
STAYS = 0.5  # share of the pixels that are ever the animal's, which mostly are
NO_MASK = 0.02  # share of pixels neither dark nor bright: more of them are no mask
GREY = MaskFault(
    "is grey in part, not black and white", "give masks under masks, not pictures or probabilities"
)
RAGGED = 0.1  # share of a mask outside its largest piece
CUT_OFF, MOSTLY_CUT_OFF = 0.1, 0.5  # share of frames whose mask reaches the picture's edge
ROUND = 0.15  # elongation below which a heading is a guess
SMALL, LARGE = 30, 300  # pixels: an animal's length in the stored pictures
UNSTEADY = 3.0  # factor between large and small volumes of one animal
TILTED = 45.0  # degrees between up and the cameras' own idea of it

Level = Literal["ok", "warning", "error"]
Pictures = list[UInt8[ndarray, "..."]]  # of one camera, all of one shape
T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """What was found of one thing, and what to do about it (empty where nothing is to be done)."""

    name: str
    level: Level
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Checkup:
    """All verdicts, in the order in which to see to them.

    `draw` makes the contact sheet, where there are pictures to draw; `waiting` names the checks
    that need what is wrong to be mended first.
    """

    verdicts: tuple[Verdict, ...]
    draw: Callable[[], Figure] | None = None
    waiting: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether anything is an error."""
        return any(verdict.level == "error" for verdict in self.verdicts)


CHECKS = (
    *("configuration", "files", "videos", "cameras", "calibration", "pictures", "masks"),
    *("match", "agreement", "up", "size", "view", "heading", "synchronization"),
)


def check_up(recording: str, config: Mapping[str, Any]) -> Checkup:
    """Check a recording of a resolved configuration, whose paths are relative to this folder."""
    settings, preset = config["recordings"][recording], _preset_of(recording, config)
    verdicts = [_describe_config(recording, settings), _check_files(settings)]
    if _fails(verdicts):
        return _stopped(verdicts)
    made = _made_masks(recording, settings)
    if made is not None:  # by an earlier run
        settings = {**settings, "masks": made}
    description, verdict = _check_videos(settings)
    verdicts.append(verdict)
    verdicts.append(_check_number(settings))
    if description is None:
        return _stopped(verdicts)
    rig, verdict = _check_calibration(settings, description)
    verdicts.append(verdict)
    if rig is None:
        return _stopped(verdicts)
    frames = sample_frames(description)
    try:
        pictures = _each_camera(rig, partial(_read_pictures, settings, description, frames))
    except PoseSplatterError as error:
        return _stopped([*verdicts, _from_error("pictures", error)])
    try:
        mask_pictures = _read_masks(settings, rig, description, frames, pictures)
    except PoseSplatterError as error:
        return _stopped([*verdicts, _from_error("masks", error)])
    sample = take_sample(rig, frames, pictures, mask_pictures)
    verdicts += [_check_pictures(sample), *check_masks(sample)]
    heldout = settings["heldout_cameras"]
    if _fails(verdicts):
        return _stopped(verdicts, partial(_plain_sheet, sample, heldout, recording))
    matched = check_match(sample)
    if matched.level != "error" and made is None and settings["masks"] != "auto":
        matched = _check_delays(settings, rig, description, frames, pictures) or matched
    verdicts += [matched, check_agreement(sample, heldout)]
    if _fails(verdicts):
        sheet = partial(_plain_sheet, sample, heldout, recording)
        # Cameras out of step may be the reason; masks of other frames are no news of cameras.
        timing = [] if _fails([matched]) else [_check_timing(settings, rig, description, recording)]
        return _stopped([*verdicts, *(timing if _fails(timing) else [])], sheet)
    up, verdict = check_up_direction(sample, settings)
    verdicts.append(verdict)
    upright = replace(sample, rig=sample.rig.rotated(rotation_to_z(up)))
    moments = measure(upright, heldout)
    verdicts += [
        _check_size(upright, moments, heldout, preset),
        check_view(sample, heldout),
        _check_heading(moments),
        _check_timing(settings, rig, description, recording),
    ]
    animal = follow(moments, smoothing=0)
    return Checkup(tuple(verdicts), partial(draw_sheet, upright, animal, heldout, recording))


def _fails(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.level == "error" for verdict in verdicts)


def _stopped(verdicts: Sequence[Verdict], draw: Callable[[], Figure] | None = None) -> Checkup:
    done = {verdict.name for verdict in verdicts}
    return Checkup(tuple(verdicts), draw, tuple(name for name in CHECKS if name not in done))


def _from_error(name: str, error: PoseSplatterError) -> Verdict:
    """An error of the library's is one sentence; what comes after its last semicolon is the fix."""
    message, _, fix = str(error).rpartition("; ")
    return Verdict(name, "error", message or fix, fix.rstrip(".") if message else "")


@dataclass(frozen=True)
class _Log:
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@contextmanager
def _collected() -> Iterator[_Log]:
    """What the library logs, instead of on the screen."""
    log, logger = _Log(), logging.getLogger("pose_splatter")
    handler = logging.Handler()

    def keep(record: logging.LogRecord) -> None:
        warned = record.levelno >= logging.WARNING
        (log.warnings if warned else log.remarks).append(record.getMessage())

    handler.emit = keep  # type: ignore[method-assign]
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


# --- what needs no pictures --------------------------------------------------------------------


def _preset_of(recording: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preset of the first experiment that uses the recording, else the default one."""
    for experiment in config["experiments"].values():
        if recording in (*experiment["train"], *experiment["apply"]):
            return config["presets"][experiment["preset"]]
    return config["presets"].get("default") or next(iter(config["presets"].values()))


def _made_masks(recording: str, settings: Mapping[str, Any]) -> str | None:
    """The mask videos that the workflow has made of the recording, if it has."""
    pattern = f"results/recordings/{recording}/masks/{CAMERA}.mkv"
    there = [with_camera(pattern, camera).is_file() for camera in settings["cameras"]]
    return pattern if _mask_videos(settings) is None and all(there) else None


def _describe_config(recording: str, settings: Mapping[str, Any]) -> Verdict:
    heldout = settings["heldout_cameras"]
    told = f"held out: {', '.join(heldout)}" if heldout else "none is held out"
    return Verdict(
        "configuration", "ok", f"recording {recording}, {len(settings['cameras'])} cameras, {told}"
    )


def _check_files(settings: Mapping[str, Any]) -> Verdict:
    """All that config names must be there."""
    cameras = settings["cameras"]
    wanted = [("videos", with_camera(settings["videos"], camera)) for camera in cameras]
    if settings["masks"] != "auto":
        wanted += [("masks", find_masks(settings["masks"], camera).path) for camera in cameras]
    wanted += [("calibration", path) for path in _calibration_paths(settings)]
    if settings["up"] not in ("auto", *WORLD_AXES):
        wanted.append(("up", Path(settings["up"])))
    if (scene := settings["segmentation"]["empty_scene"]) and settings["masks"] == "auto":
        wanted += [("empty_scene", with_camera(scene, camera)) for camera in cameras]
    missing = [(key, path) for key, path in wanted if not path.exists()]
    if not missing:
        return Verdict("files", "ok", f"all {len(wanted)} are there")
    key, path = missing[0]
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return Verdict(
        "files", "error", f"{path}: no such file{more}", f"correct {key} or cameras in config"
    )


def _calibration_paths(settings: Mapping[str, Any]) -> list[Path]:
    path = settings["calibration"]
    return files_of(path, settings["cameras"]) if CAMERA in path else [Path(path)]


def _check_videos(
    settings: Mapping[str, Any],
) -> tuple[RecordingDescription | None, Verdict]:
    """Numbers of frames, sizes and rates."""
    cameras, offsets = settings["cameras"], settings["frame_offsets"]
    with _collected() as log:
        try:
            described = describe_recording(
                [with_camera(settings["videos"], camera) for camera in cameras],
                _mask_videos(settings) or [],
                **settings["frames"],
                offsets=[offsets.get(camera, 0) for camera in cameras],
            )
        except PoseSplatterError as error:
            return None, _from_error("videos", error)
    if log.warnings:
        fix = "docs/time.md says what each means"
        return described, Verdict("videos", "warning", "; ".join(log.warnings), fix)
    count = len(described.source_frames)
    return described, Verdict(
        "videos",
        "ok",
        f"{described.width} x {described.height} pixels, {described.fps:.4g} frames/s; "
        f"{count} frames are used, of one number and size in all videos and masks",
    )


def _mask_videos(settings: Mapping[str, Any]) -> list[Path] | None:
    """The masks' own videos; None where masks are something else, or are still to be made."""
    if settings["masks"] == "auto":
        return None
    files = [find_masks(settings["masks"], camera) for camera in settings["cameras"]]
    return [f.path for f in files] if all(f.kind == "video" for f in files) else None


def _check_number(settings: Mapping[str, Any]) -> Verdict:
    cameras, heldout = settings["cameras"], settings["heldout_cameras"]
    observed = len(cameras) - len(heldout)
    if observed < 3:
        return Verdict(
            "cameras",
            "warning",
            f"{observed} cameras are left to carve with: the hull of so few is far larger than the "
            "animal",
            "hold out fewer, or add cameras; four around the animal are a good start",
        )
    if not heldout:
        return Verdict(
            "cameras",
            "warning",
            f"{observed} cameras, none held out: nothing tells how good a view is that no camera "
            "had",
            "name one that others stand on both sides of under heldout_cameras"
            if observed > 3
            else "nothing to do with so few cameras",
        )
    return Verdict("cameras", "ok", f"{observed} to carve with and {len(heldout)} to evaluate with")


def _check_calibration(
    settings: Mapping[str, Any], description: RecordingDescription
) -> tuple[CameraRig | None, Verdict]:
    """The file is understood, and its cameras can have taken these videos."""
    path, cameras = settings["calibration"], settings["cameras"]
    with _collected() as log:
        try:
            rig = read_calibration(path, tuple(cameras), description.width, description.height)
            format = read_cameras(_calibration_paths(settings)[0]).format
        except PoseSplatterError as error:
            return None, _from_error("calibration", error)
    by_name = any("by their names" in line for line in log.remarks) or CAMERA in path
    way = "by name" if by_name else f"by place, in the order {', '.join(cameras)}"
    lenses = "lens distortion is removed" if _distorted(rig) else "no lens distortion"
    focal = rig.intrinsics[:, 0, 0]
    return rig, Verdict(
        "calibration",
        "ok",
        f"{format}; cameras are matched {way}; focal lengths {focal.min():.0f} to "
        f"{focal.max():.0f} pixels, {lenses}",
    )


def _distorted(rig: CameraRig) -> bool:
    return any(undistortion_maps(rig, camera) is not None for camera in range(len(rig)))


# --- sampled frames ----------------------------------------------------------------------------


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


def _each_camera(rig: CameraRig, work: Callable[[int], T]) -> list[T]:
    """What `work` makes of each camera's index; cameras are decoded side by side."""
    with ThreadPoolExecutor(max_workers=min(len(rig), os.cpu_count() or 1)) as pool:
        return list(pool.map(work, range(len(rig))))


def _read_pictures(
    settings: Mapping[str, Any],
    description: RecordingDescription,
    frames: Sequence[int],
    camera: int,
) -> Pictures:
    path = with_camera(settings["videos"], settings["cameras"][camera])
    return list(read_frames(path, shifted(frames, description.offsets[camera])))


def _read_masks(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    frames: Sequence[int],
    pictures: Sequence[Pictures],
) -> list[Pictures]:
    """The masks of the frames in every camera, as grey pictures (0 to 255)."""
    if settings["masks"] == "auto":
        return _make_masks(settings, rig, description, pictures)
    read = partial(_given_masks, settings, rig, description, frames)
    return _each_camera(rig, lambda camera: list(read(camera)))


def _given_masks(
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
) -> list[Pictures]:
    """Masks as masks: auto makes them, but from a few frames for a background, and coarsely."""
    made_by = settings["segmentation"]
    foreground_settings = ForegroundSettings(made_by["threshold"], made_by["shadow"])
    network = SaliencyNetwork(made_by["weights"]) if made_by["method"] == "rembg" else None
    scale = _scale(rig)

    def make(camera: int) -> Pictures:
        if network is not None:
            return [network(picture) for picture in pictures[camera]]
        frames = sample_frames(description, BACKGROUND_FRAMES)
        wanted = shifted(frames, description.offsets[camera])
        video = with_camera(settings["videos"], rig.names[camera])
        scene = made_by["empty_scene"] and with_camera(made_by["empty_scene"], rig.names[camera])
        model = model_camera(video, wanted, foreground_settings, scene, scale)
        small = [averaged(picture, scale) for picture in pictures[camera]]
        return [segment(picture, model, foreground_settings) for picture in small]

    size = (rig.width, rig.height)
    made = _each_camera(rig, make)
    if network is None:
        rig = rig.downsampled(scale)
    vote = Vote.of(rig, rig.without(settings["heldout_cameras"]))
    voted = [vote(np.stack(views)) * np.uint8(255) for views in zip(*made, strict=True)]
    return [
        [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in views]
        for views in zip(*voted, strict=True)
    ]


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


def _named(rig: CameraRig, chosen: Any) -> str:
    """The cameras for which `chosen` (one truth for each) is set."""
    names = [name for name, is_one in zip(rig.names, chosen, strict=True) if is_one]
    return f"{'camera' if len(names) == 1 else 'cameras'} {', '.join(names)}"


def _check_pictures(sample: Sample) -> Verdict:
    """Pictures are neither black nor the same all the time."""
    pictures = sample.pictures.astype(np.float32)
    black = pictures.mean(axis=(0, 2, 3, 4)) < 3
    frozen = np.ptp(pictures, axis=0).max(axis=(1, 2, 3)) < 3
    if black.any() or (frozen.any() and len(sample.frames) > 1):
        wrong = black if black.any() else frozen
        what = "shows black" if black.any() else "shows one and the same picture"
        return Verdict(
            "pictures",
            "error",
            f"{_named(sample.rig, wrong)} {what} in all {len(sample.frames)} frames looked at",
            "replace the video, or take the camera out of cameras",
        )
    return Verdict("pictures", "ok", f"{len(sample.frames)} frames of every camera are sound")


def check_masks(sample: Sample) -> list[Verdict]:
    """Masks are there, the animal is white, and they are neither noise nor grey."""
    faults = [
        find_fault(covered, border)
        for covered, border in zip(sample.covered.T, sample.border.T, strict=True)
    ]
    usual = np.median(sample.covered, axis=0)
    wrong = {
        fault: np.array([other == fault for other in faults])
        for fault in dict.fromkeys(faults)
        if fault
    } | {GREY: (np.median(sample.grey, axis=0) > NO_MASK) & (usual < 1)}
    found = []
    for fault, cameras in wrong.items():
        if cameras.any():
            what = f"the mask of {_named(sample.rig, cameras)} {fault.what}"
            found.append(Verdict("masks", "error", what, fault.fix))
    return found or [_judge_masks(sample)]


def check_match(sample: Sample) -> Verdict:
    """What changes in a camera's pictures is where its own masks are, not another camera's."""
    fits = _fits(sample)
    moves = _moves(sample)
    if not moves.any():
        return Verdict("match", "ok", "the animal stays where it is, which tells nothing")
    own, best, names = fits.diagonal(), fits.argmax(axis=1), sample.rig.names
    swapped = moves & (fits.max(axis=1) > np.maximum(own + CLEARLY, RELATED))
    if swapped.any():
        pairs = [f"those of {names[c]} the masks of {names[best[c]]}" for c in np.where(swapped)[0]]
        return Verdict(
            "match",
            "error",
            f"the pictures of some cameras fit the masks of others: {', '.join(pairs)}",
            "correct videos or masks in config, or the files' names",
        )
    unrelated = moves & (own < RELATED)
    if unrelated.any():
        return Verdict(
            "match",
            "warning",
            f"what changes in the pictures of {_named(sample.rig, unrelated)} is not where "
            "the masks are",
            "look at the contact sheet: do the outlines follow the animal? Masks of another video, "
            "or late ones, do not",
        )
    return Verdict(
        "match", "ok", f"masks lie where pictures change ({own[moves].min():.2f} or more)"
    )


def _check_delays(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    frames: Sequence[int],
    pictures: Sequence[Pictures],
) -> Verdict | None:
    """Whether masks fit the pictures of some frames earlier or later better than their own."""
    source = description.source_frames
    most = min(LATE, len(source) // 6)
    delays = range(-most, most + 1)
    inner = [k for k, frame in enumerate(frames) if source[most] <= frame <= source[-1 - most]]
    chosen = [frames[k] for k in inner]
    wanted = sorted({frame + delay for frame in chosen for delay in delays})

    def fits(camera: int) -> list[float]:
        """By delay, how the masks of so many frames later go with the pictures."""
        given = _given_masks(settings, rig, description, wanted, camera)
        masks = (_thumbnail(foreground(mask) * np.uint8(255)) for mask in given)
        small = dict(zip(wanted, masks, strict=True))
        changes = _changes(np.stack([_thumbnail(picture) for picture in pictures[camera]]))[inner]
        shown = np.array([[small[frame + delay] for frame in chosen] for delay in delays])
        areas = shown.mean(axis=(2, 3))
        steady = areas.max(axis=0) < 2 * areas.min(axis=0)  # else larger masks fit better, any time
        if steady.sum() < 4:
            return [0.0] * len(delays)
        return [_correlations([changes[steady]], [m[steady]]).item() for m in shown]

    try:
        found = np.array(_each_camera(rig, fits))
    except PoseSplatterError as error:
        return _from_error("masks", error)
    best, where = found.max(axis=1), found.argmax(axis=1)
    # Where it would be better still further off, they are of something else.
    peaks = (best > RELATED) & (where > 0) & (where < 2 * most)
    late = peaks & (best > found[:, most] + LATER)
    if not late.any():
        return None
    by = [f"{rig.names[c]} by {where[c] - most:+d}" for c in np.flatnonzero(late)]
    return Verdict(
        "match",
        "error",
        f"masks are not of the frames that they are for: they fit pictures better if moved, of "
        f"camera {', '.join(by)} frames",
        "make the masks of the videos as they are; +7 says that the first 7 masks are too many, "
        "-7 that 7 are missing at the beginning",
    )


def _thumbnail(picture: UInt8[ndarray, "height width *channel"]) -> UInt8[ndarray, "h w *channel"]:
    scale = max(1, round(picture.shape[1] / THUMBNAIL))
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _fits(sample: Sample) -> Float[ndarray, "camera masks_of"]:
    """How each camera's pictures go with all cameras' masks."""
    changes = [_changes(pictures) for pictures in sample.pictures.swapaxes(0, 1)]
    return _correlations(changes, list(sample.masks.swapaxes(0, 1)))


def _changes(pictures: UInt8[ndarray, "frame h w 3"]) -> Float[ndarray, "frame h w"]:
    """How far each picture of a camera is from their median, but for light that flickers."""
    values = pictures.astype(np.float32)
    changes = np.abs(values - np.median(values, axis=0)).mean(axis=-1)
    return changes - np.median(changes, axis=(1, 2), keepdims=True)


def _correlations(
    ones: Sequence[Shaped[ndarray, "frame h w"]], others: Sequence[Shaped[ndarray, "frame h w"]]
) -> Float[ndarray, "one other"]:
    """Correlations over frames and pixels, each pixel's mean taken off."""
    rows = [
        np.stack([(values - values.mean(axis=0)).ravel() for values in each])
        for each in (ones, others)
    ]
    lengths = [np.maximum(np.linalg.norm(row, axis=1), 1e-6) for row in rows]
    return (rows[0] @ rows[1].T) / np.outer(*lengths)


def _moves(sample: Sample) -> Bool[ndarray, " camera"]:
    """Whether the animal leaves its place, by each camera's masks.

    Where it is in most frames, it is in the median picture too.
    """
    often, ever = np.median(sample.masks, axis=0), sample.masks.max(axis=0)
    return often.sum(axis=(1, 2)) < STAYS * ever.sum(axis=(1, 2))


def _judge_masks(sample: Sample) -> Verdict:
    covered, seen = sample.covered, sample.seen
    usual = np.array([np.median(c[s]) for c, s in zip(covered.T, seen.T, strict=True)])
    loose = _loose_share(sample)
    missing = seen.any(axis=1, keepdims=True) & ~seen  # where others see the animal
    if missing.any():
        frame = sample.frames[int(np.argmax(missing.any(axis=1)))]
        return Verdict(
            "masks",
            "warning",
            f"the mask of {_named(sample.rig, missing.any(axis=0))} is empty where others see the "
            f"animal, in {missing.any(axis=1).sum()} of {len(seen)} frames (frame {frame} first)",
            "correct it, or set empty_masks: absent, which leaves such frames out",
        )
    if (loose > RAGGED).any():
        return Verdict(
            "masks",
            "warning",
            f"the mask of {_named(sample.rig, loose > RAGGED)} is in pieces: {loose.max():.0%} of "
            "it lies outside the largest one",
            "look at the contact sheet; clean the masks where that is no part of the animal",
        )
    if (wide := usual > 0.5).any():
        return Verdict(
            "masks",
            "warning",
            f"the mask of {_named(sample.rig, wide)} covers {usual.max():.0%} of the picture",
            "look at the contact sheet: is that the animal alone?",
        )
    return Verdict(
        "masks",
        "ok",
        f"white on black, {usual.min():.1%} to {usual.max():.1%} of the picture, in one piece",
    )


def _loose_share(sample: Sample) -> Float[ndarray, " camera"]:
    """The usual share of a mask that is not in its largest piece."""
    shares = np.full(sample.seen.shape, np.nan)
    for frame, camera in np.argwhere(sample.masks.any(axis=(2, 3))):
        _, _, stats, _ = cv2.connectedComponentsWithStats(sample.masks[frame, camera])
        areas = stats[1:, cv2.CC_STAT_AREA]
        shares[frame, camera] = 1 - areas.max() / areas.sum()
    return np.array([np.median(s[np.isfinite(s)]) if np.isfinite(s).any() else 0 for s in shares.T])


def check_agreement(sample: Sample, heldout: Sequence[str]) -> Verdict:
    """The hull of the observed cameras is what every camera sees; if not, why not."""
    masks, rig, observed = _whole(sample), sample.rig, sample.observed(heldout)
    values = agreement(masks, rig, observed)
    if not np.isfinite(values).any():
        return Verdict(
            "agreement",
            "error",
            f"in none of {len(sample.frames)} frames looked at do all observed cameras see the "
            "animal",
            "use frames: in config to choose those in which they do, or leave a camera out",
        )
    per_camera = np.nan_to_num([_mean(v) for v in values.T])
    overall = float(per_camera[observed].mean())
    listed = ", ".join(f"{n} {v:.2f}" for n, v in zip(rig.names, per_camera, strict=True))
    told = f"mask and hull overlap by {overall:.2f} (IoU; {listed})"
    culprits = [] if overall > 0.85 else find_culprits(masks, rig)
    if overall >= FITS and not culprits and per_camera.min() > HELDOUT_FITS:
        outside = np.array([_mean(share) for share in coverage(masks, rig, observed).T]) < COVERED
        outside[observed] = False
        if outside.any():
            return _reaching_out(_named(rig, outside), told)
        return Verdict("agreement", "ok", f"masks and calibration fit: {told}")
    level: Level = (
        "warning"
        if min(overall, per_camera.min() + FITS_ROUGHLY - HELDOUT_FITS) > FITS_ROUGHLY
        else "error"
    )
    correction = find_correction(masks, rig) if level == "error" else None
    if correction is not None:
        return Verdict("agreement", level, f"{correction.mistake}: {told}", correction.fix)
    if culprits:
        who = " or ".join(rig.names[camera] for camera in culprits)
        return Verdict(
            "agreement",
            level,
            f"camera {who} does not fit the others, which agree without it: {told}",
            "calibrate that camera again, it may have moved; or its masks are wrong (contact "
            "sheet), or it is out of step (synchronization)",
        )
    return Verdict(
        "agreement",
        level,
        f"masks and calibration fit {'badly' if level == 'error' else 'only roughly'}: {told}",
        "look at the contact sheet: are the masks the animal's outline in every camera? If so, "
        "the calibration is of other videos or cameras have moved: calibrate again",
    )


def _reaching_out(who: str, told: str) -> Verdict:
    """Held-out cameras whose masks are not where the others say that the animal is."""
    return Verdict(
        "agreement",
        "warning",
        f"the held-out {who} sees the animal where the others say that it is not: {told}",
        "calibrate that camera again, it may have moved, or correct its masks; else metrics of "
        "held-out cameras are too low",
    )


def _mean(values: Float[ndarray, " frame"]) -> float:
    """The mean of what is not NaN; NaN where all is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _whole(sample: Sample) -> UInt8[ndarray, "frame camera h w"]:
    """The masks of the frames in which no mask is cut off, where there are a few; else all."""
    whole = (sample.border == 0).all(axis=1) & sample.seen.all(axis=1)
    return sample.masks[whole] if whole.sum() >= 3 else sample.masks


# --- the animal in the world -------------------------------------------------------------------


def check_up_direction(
    sample: Sample, settings: Mapping[str, Any]
) -> tuple[Float[ndarray, "3"], Verdict]:
    """Which way is up, as the workflow will find it."""
    rig, observed = sample.rig, sample.observed(settings["heldout_cameras"])
    part, rough = rig.subset(observed), cameras_up(rig.subset(observed))
    centers = [mask_center(masks[observed], part) for masks in sample.masks]
    path = np.stack([center for center in centers if center is not None])
    with _collected() as log:
        if settings["up"] == "auto":
            up, source = estimate_up(part, path), "from the animal's path"
        elif settings["up"] in WORLD_AXES:
            up, source = WORLD_AXES[settings["up"]], "as config says"
        else:
            try:
                up, source = up_from_lines(read_lines(settings["up"])), "from vertical lines"
            except PoseSplatterError as error:
                return rough, _from_error("up", error)
    tilt = float(np.degrees(np.arccos(np.clip(up @ rough, -1, 1))))
    told = f"up is {_vector(up)} in the calibration's world, {source}"
    below = ((rig.centers - path.mean(axis=0)) @ up < 0).mean()
    if below > 0.5:
        return up, Verdict(
            "up",
            "warning",
            f"{told}, but most cameras would then stand below the animal",
            f"where they do not, up is upside down: {KNOWN_UP}",
        )
    if log.warnings:
        return up, Verdict(
            "up", "warning", f"up is {_vector(up)}; {log.warnings[0].partition(';')[0]}", KNOWN_UP
        )
    if tilt > TILTED:
        return up, Verdict(
            "up",
            "warning",
            f"{told}, {tilt:.0f} degrees from what the cameras' own tilt says",
            f"look at the path on the contact sheet; if the floor is tilted there, {KNOWN_UP}",
        )
    return up, Verdict("up", "ok", told)


def _vector(values: Float[ndarray, "3"]) -> str:
    return f"({', '.join(f'{value + 0.0:.2f}' for value in values)})"


def measure(sample: Sample, heldout: Sequence[str]) -> HullMoments:
    """The moments of the sampled frames' hulls, as tracking measures them."""
    observed = sample.observed(heldout)
    rig = sample.rig.subset(observed)
    all_seen: Any = sample.seen[:, observed].all(axis=1)
    return HullMoments.stack(
        [
            hull_moments(masks[observed], rig, GRID) if seen else HullMoments.absent()
            for masks, seen in zip(sample.masks, all_seen, strict=True)
        ]
    )


def _check_size(
    sample: Sample, moments: HullMoments, heldout: Sequence[str], preset: Mapping[str, Any]
) -> Verdict:
    """Is the hull of an animal's size, in pixels and from frame to frame?"""
    seen, observed = moments.visible, sample.observed(heldout)
    length, height = 2 * np.median(moments.radii[seen], axis=0)
    center = np.median(moments.center[seen], axis=0)
    depths = sample.rig.project(center)[1]
    pixels = float(np.median(length * sample.rig.intrinsics[:, 0, 0] / depths)) * sample.scale
    stored = pixels / preset["downsample"]
    volumes = [hull_views(sample.masks[f], sample.rig, observed)[1] for f in np.flatnonzero(seen)]
    low, high = np.quantile(volumes, [0.1, 0.9])
    told = (
        f"the animal is about {_digits(length)} long and {_digits(height)} high in the "
        f"calibration's unit, the cameras {_digits(float(np.median(depths)))} away; {stored:.0f} "
        "pixels in stored pictures"
    )
    if high > UNSTEADY * low:
        change = f"{high / low:.2g}" if low > 0 else "many"
        return Verdict(
            "size",
            "warning",
            f"{told}; the hull is {change} times as large in some frames as in others",
            "look at the contact sheet: are masks cut off, or do they flicker?",
        )
    if stored < SMALL or stored > LARGE:
        wanted = max(1, round(pixels / 100))
        if stored > LARGE or wanted < preset["downsample"]:
            reason = "slow" if stored > LARGE else "coarse"
            return Verdict(
                "size",
                "warning",
                f"{told}, which is {reason}",
                f"set downsample: {wanted} in the preset, for about 100 pixels",
            )
        return Verdict("size", "warning", f"{told}, which is coarse", "film it nearer or larger")
    return Verdict("size", "ok", told)


def _digits(number: float) -> str:
    """Three digits of a length, without a power of ten."""
    return f"{float(f'{number:.3g}'):.10g}"


def check_view(sample: Sample, heldout: Sequence[str]) -> Verdict:
    """The animal is whole in every picture."""
    seen = sample.seen
    cut = ((sample.border > 0) & seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    if (bad := cut > CUT_OFF).any():
        observed = np.isin(np.arange(len(cut)), sample.observed(heldout))
        level: Level = "error" if (cut[observed] > MOSTLY_CUT_OFF).any() else "warning"
        return Verdict(
            "view",
            level,
            f"the animal is cut off at the picture's edge of {_named(sample.rig, bad)}, in "
            f"{cut.max():.0%} of the frames looked at: what one camera lacks, the hull may lack",
            "choose frames: in which it is whole, turn the cameras, or leave such a camera out",
        )
    return Verdict("view", "ok", "the animal is whole in every picture")


def _check_heading(moments: HullMoments) -> Verdict:
    elongation = float(np.median(moments.elongation[moments.visible]))
    told = f"the hull is {'long' if elongation >= ROUND else 'nearly round'} seen from above"
    told += f" (elongation {elongation:.2f} of 1)"
    if elongation < ROUND:
        return Verdict(
            "heading",
            "warning",
            f"{told}: which way the animal points will be a guess",
            "look at the arrows of the contact sheet; more cameras from above make it longer",
        )
    return Verdict("heading", "ok", f"{told}, so it shows where the animal points")


def _check_timing(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    recording: str,
) -> Verdict:
    """Are the cameras in step, in one stretch from the middle of the recording?"""
    masks = _mask_videos(settings)
    if masks is None:
        return Verdict(
            "synchronization",
            "warning",
            "not looked at: it takes mask videos, which the workflow makes of these masks",
            f"ask for them: snakemake results/recordings/{recording}/synchronization.png",
        )
    frames = description.source_frames
    middle = (frames[0] + frames[-1]) // 2
    start = max(frames[0], middle - STRETCH // 2)
    stretch = replace(description, start=start, stop=min(frames[-1] + 1, start + STRETCH), step=1)
    where = f"frames {stretch.start} to {stretch.stop - 1}"
    try:
        with _collected():
            found = check_recording(rig, masks, stretch, settings["heldout_cameras"], recording)
    except PoseSplatterError as error:
        return _from_error("synchronization", error)
    if found.verdict == "ok":
        return Verdict("synchronization", "ok", f"cameras are in step in {where}")
    sentences = [sentence.rstrip(".") for sentence in describe(found)]
    if found.verdict == "off":
        return Verdict(
            "synchronization",
            "error",
            f"in {where}: {'; '.join(sentences[:-1])}",
            f"write {found.config_line} under recordings: {recording} in config",
        )
    if found.verdict == "drifting":
        return Verdict("synchronization", "error", "; ".join(sentences), "see docs/time.md")
    return Verdict(
        "synchronization",
        "warning",
        f"in {where}: {'; '.join(sentences)}",
        "look at synchronization.png of the whole recording (docs/time.md)",
    )


# --- the contact sheet -------------------------------------------------------------------------


def draw_sheet(sample: Sample, animal: Track, heldout: Sequence[str], title: str) -> Figure:
    """A few of the sampled frames with mask, hull, centre and heading in every camera."""
    store = _as_store(sample)
    order = np.flatnonzero(animal.visible)
    order = order if len(order) else np.flatnonzero(sample.seen.any(axis=1))
    order = order if len(order) else np.arange(len(sample.frames))
    chosen = spread(order.tolist(), FRAMES)
    observed = sample.observed(heldout)
    hulls = np.stack([hull_views(sample.masks[n], sample.rig, observed)[0] for n in chosen])
    reach = float(np.nanmax(animal.radii)) if animal.visible.any() else 0.0
    return plot_contact_sheet(
        sample.pictures[chosen],
        chosen,
        store,
        sample.rig,
        animal,
        VoxelGrid.cube(GRID, 2 * reach) if reach else None,
        heldout,
        title,
        hulls=hulls,
    )


def _plain_sheet(sample: Sample, heldout: Sequence[str], recording: str) -> Figure:
    """The sheet of a recording whose calibration and masks do not fit: no pose is drawn."""
    nowhere = HullMoments.stack([HullMoments.absent()] * len(sample.frames))
    return draw_sheet(sample, follow(nowhere, smoothing=0), heldout, recording)


def _as_store(sample: Sample) -> FrameStore:
    """The sample as the workflow would keep it, in memory."""
    return FrameStore(
        images=zarr.array(sample.pictures),
        masks=zarr.array(sample.masks),
        source_frames=np.array(sample.frames),
        cameras=sample.rig.names,
        downsample=sample.scale,
    )
