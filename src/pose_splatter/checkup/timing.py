"""Whether the cameras are in step, by a part of the recording."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pose_splatter.cameras import CameraRig
from pose_splatter.checkup.inputs import mask_videos
from pose_splatter.checkup.verdicts import Verdict, collected_log, from_error
from pose_splatter.errors import PoseSplatterError
from pose_splatter.synchronization import check_recording, describe
from pose_splatter.video import RecordingDescription

STRETCH = 300  # consecutive frames in which the cameras' timing is compared


def check_timing(
    settings: Mapping[str, Any],
    rig: CameraRig,
    description: RecordingDescription,
    recording: str,
) -> Verdict:
    """Are the cameras in step, in one stretch from the middle of the recording?"""
    masks = mask_videos(settings)
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
        with collected_log():
            found = check_recording(rig, masks, stretch, settings["heldout_cameras"], recording)
    except PoseSplatterError as error:
        return from_error("synchronization", error)
    if found.verdict == "ok":
        return Verdict("synchronization", "ok", f"cameras are in step in {where}")
    sentences = [sentence.rstrip(".") for sentence in describe(found)]
    if found.verdict == "off":
        corrected = any(camera.offset for camera in found.cameras)  # the last sentence says how
        return Verdict(
            "synchronization",
            "error",
            f"in {where}: {'; '.join(sentences[:-1] if corrected else sentences)}",
            f"write {found.config_line} under recordings: {recording} in config"
            if corrected
            else "cut the videos and masks so that all start together, or calibrate again",
        )
    if found.verdict == "drifting":
        return Verdict("synchronization", "error", "; ".join(sentences), "see docs/time.md")
    return Verdict(
        "synchronization",
        "warning",
        f"in {where}: {'; '.join(sentences)}",
        "look at synchronization.png of the whole recording (docs/time.md)",
    )
