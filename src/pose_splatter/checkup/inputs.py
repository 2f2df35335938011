"""What needs no pictures: config, files, videos, the number of cameras, calibration."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pose_splatter.calibration import read_calibration, read_cameras
from pose_splatter.cameras import WORLD_AXES, CameraRig, undistortion_maps
from pose_splatter.checkup.verdicts import Verdict, collected_log, from_error
from pose_splatter.errors import PoseSplatterError
from pose_splatter.paths import CAMERA, files_of, find_masks, with_camera
from pose_splatter.video import RecordingDescription, describe_recording, look_through


def preset_of(recording: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preset of the first experiment that uses the recording, else the default one."""
    for experiment in config["experiments"].values():
        if recording in (*experiment["train"], *experiment["apply"]):
            return config["presets"][experiment["preset"]]
    return config["presets"].get("default") or next(iter(config["presets"].values()))


def masks_of_earlier_run(recording: str, settings: Mapping[str, Any], changed: float) -> str | None:
    """The mask videos that the workflow has made of the recording, if it has.

    Those that are older than a file that config names, or than the last change of config itself
    (`changed`, in seconds), may be of other settings, and do not count.
    """
    pattern = f"results/recordings/{recording}/masks/{CAMERA}.mkv"
    made = [with_camera(pattern, camera) for camera in settings["cameras"]]
    if mask_videos(settings) is not None or not all(path.is_file() for path in made):
        return None
    since = max(changed, *(last_change(path) for _, path in _named_files(settings)))
    return pattern if min(map(last_change, made)) >= since else None


def last_change(path: Path) -> float:
    """When a file, or a folder's last file, was written."""
    return max(each.stat().st_mtime for each in (path, *path.rglob("*")))


def describe_config(recording: str, settings: Mapping[str, Any]) -> Verdict:
    """Which recording is looked at, and which of its cameras are held out."""
    heldout = settings["heldout_cameras"]
    told = f"held out: {', '.join(heldout)}" if heldout else "none is held out"
    return Verdict(
        "configuration", "ok", f"recording {recording}, {len(settings['cameras'])} cameras, {told}"
    )


def check_files(settings: Mapping[str, Any]) -> Verdict:
    """All that config names must be there."""
    try:
        wanted = _named_files(settings)
    except PoseSplatterError as error:
        return from_error("files", error)
    missing = [(key, path) for key, path in wanted if not path.exists()]
    if not missing:
        return Verdict("files", "ok", f"all {len(wanted)} are there")
    key, path = missing[0]
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    return Verdict(
        "files", "error", f"{path}: no such file{more}", f"correct {key} or cameras in config"
    )


def _named_files(settings: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """The files that config names, each with the key that does."""
    cameras = settings["cameras"]
    wanted = [("videos", with_camera(settings["videos"], camera)) for camera in cameras]
    if settings["masks"] != "auto":
        wanted += [("masks", find_masks(settings["masks"], camera).path) for camera in cameras]
    wanted += [("calibration", path) for path in _calibration_paths(settings)]
    if settings["up"] not in ("auto", *WORLD_AXES):
        wanted.append(("up", Path(settings["up"])))
    made_by = settings["segmentation"]
    if (scene := made_by["empty_scene"]) and settings["masks"] == "auto":
        wanted += [("empty_scene", with_camera(scene, camera)) for camera in cameras]
    if made_by["method"] == "rembg" and settings["masks"] == "auto":
        wanted.append(("weights", Path(made_by["weights"])))
    return wanted


def _calibration_paths(settings: Mapping[str, Any]) -> list[Path]:
    path = settings["calibration"]
    return files_of(path, settings["cameras"]) if CAMERA in path else [Path(path)]


def check_videos(
    settings: Mapping[str, Any],
) -> tuple[RecordingDescription | None, Verdict]:
    """Numbers of frames, sizes and rates."""
    cameras, offsets = settings["cameras"], settings["frame_offsets"]
    videos = [with_camera(settings["videos"], camera) for camera in cameras]
    masks = mask_videos(settings) or []
    with collected_log() as log:
        try:
            look_through([*videos, *masks], len(os.sched_getaffinity(0)))
            described = describe_recording(
                videos,
                masks,
                **settings["frames"],
                offsets=[offsets.get(camera, 0) for camera in cameras],
            )
        except PoseSplatterError as error:
            return None, from_error("videos", error)
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


def mask_videos(settings: Mapping[str, Any]) -> list[Path] | None:
    """The masks' own videos; None where masks are something else, or are still to be made."""
    if settings["masks"] == "auto":
        return None
    files = [find_masks(settings["masks"], camera) for camera in settings["cameras"]]
    return [f.path for f in files] if all(f.kind == "video" for f in files) else None


def check_number(settings: Mapping[str, Any]) -> Verdict:
    """Enough cameras carve, and one is left to evaluate with."""
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


def check_calibration(
    settings: Mapping[str, Any], description: RecordingDescription
) -> tuple[CameraRig | None, Verdict]:
    """The file is understood, and its cameras can have taken these videos."""
    path, cameras = settings["calibration"], settings["cameras"]
    with collected_log() as log:
        try:
            rig = read_calibration(path, tuple(cameras), description.width, description.height)
            format = read_cameras(_calibration_paths(settings)[0]).format
        except PoseSplatterError as error:
            return None, from_error("calibration", error)
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
