"""Is a recording fit to be run? A verdict for each thing that goes wrong in practice, with the fix.

A few frames of every camera are decoded, carved and tracked as the workflow will do with all of
them. What is checked first is what the rest depends on: where that is wrong, the rest waits.

`inputs` looks at what config names, `sample` takes the frames, `pictures`, `geometry` and `timing`
judge them, and `sheet` draws them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from pose_splatter.cameras import rotation_to_z
from pose_splatter.checkup.geometry import (
    check_agreement,
    check_animal_size,
    check_heading,
    check_up_direction,
    is_misread,
    measure,
)
from pose_splatter.checkup.inputs import (
    check_calibration,
    check_files,
    check_number,
    check_videos,
    describe_config,
    masks_of_earlier_run,
    preset_of,
)
from pose_splatter.checkup.pictures import (
    check_delays,
    check_masks,
    check_match,
    check_pictures,
    check_view,
)
from pose_splatter.checkup.sample import (
    each_camera,
    read_pictures,
    sample_frames,
    take_masks,
    take_sample,
)
from pose_splatter.checkup.sheet import draw_sheet, plain_sheet
from pose_splatter.checkup.timing import check_timing
from pose_splatter.checkup.verdicts import Verdict, from_error
from pose_splatter.errors import PoseSplatterError
from pose_splatter.tracking import follow

CHECKS = (
    *("configuration", "files", "videos", "cameras", "calibration", "pictures", "masks"),
    *("match", "agreement", "up", "size", "view", "heading", "synchronization"),
)


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


def check_up(recording: str, config: Mapping[str, Any], changed: float = 0.0) -> Checkup:
    """Check a recording of a resolved configuration, whose paths are relative to this folder.

    `changed` is when its files were last written, in seconds: masks that a run made before are not
    looked at.
    """
    settings, preset = config["recordings"][recording], preset_of(recording, config)
    verdicts = [describe_config(recording, settings), check_files(settings)]
    if _fails(verdicts):
        return _stopped(verdicts)
    made = masks_of_earlier_run(recording, settings, changed)
    if made is not None:
        settings = {**settings, "masks": made}
        told = f"{verdicts[-1].message}; masks are those that a run has made of them"
        verdicts[-1] = replace(verdicts[-1], message=told)
    description, verdict = check_videos(settings)
    verdicts.append(verdict)
    verdicts.append(check_number(settings))
    if description is None:
        return _stopped(verdicts)
    rig, verdict = check_calibration(settings, description)
    verdicts.append(verdict)
    if rig is None:
        return _stopped(verdicts)
    frames = sample_frames(description)
    try:
        pictures = each_camera(rig, partial(read_pictures, settings, description, frames))
    except PoseSplatterError as error:
        return _stopped([*verdicts, from_error("pictures", error)])
    try:
        masks = take_masks(settings, rig, description, frames, pictures)
    except PoseSplatterError as error:
        return _stopped([*verdicts, from_error("masks", error)])
    heldout = settings["heldout_cameras"]
    sample, *contested = (take_sample(rig, frames, pictures, each) for each in masks)
    leave_out = settings["empty_masks"] == "absent"
    of_masks = check_masks(sample, leave_out=leave_out)
    if contested and (_fails(of_masks) or is_misread(contested[0])):
        (sample,) = contested  # after a vote by a wrong calibration, nothing tells what is wrong
        of_masks = check_masks(sample, leave_out=leave_out)
    verdicts += [check_pictures(sample), *of_masks]
    if _fails(verdicts):
        return _stopped(verdicts, partial(plain_sheet, sample, heldout, recording))
    matched = check_match(sample)
    if matched.level != "error" and made is None and settings["masks"] != "auto":
        matched = check_delays(settings, rig, description, frames, pictures) or matched
    verdicts += [matched, check_agreement(sample, heldout)]
    if _fails(verdicts):
        sheet = partial(plain_sheet, sample, heldout, recording)
        # Cameras out of step may be the reason; masks of other frames are no news of cameras.
        timing = [] if _fails([matched]) else [check_timing(settings, rig, description, recording)]
        return _stopped([*verdicts, *(timing if _fails(timing) else [])], sheet)
    up, verdict = check_up_direction(sample, settings)
    verdicts.append(verdict)
    upright = replace(sample, rig=sample.rig.rotated(rotation_to_z(up)))
    moments = measure(upright, heldout)
    verdicts += [
        check_animal_size(upright, moments, heldout, preset),
        check_view(sample, heldout),
        check_heading(moments),
        check_timing(settings, rig, description, recording),
    ]
    animal = follow(moments, smoothing=0)
    return Checkup(tuple(verdicts), partial(draw_sheet, upright, animal, heldout, recording))


def _fails(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.level == "error" for verdict in verdicts)


def _stopped(verdicts: Sequence[Verdict], draw: Callable[[], Figure] | None = None) -> Checkup:
    done = {verdict.name for verdict in verdicts}
    return Checkup(tuple(verdicts), draw, tuple(name for name in CHECKS if name not in done))
