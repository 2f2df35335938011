"""Are pictures and masks sound, is the animal whole, and are the masks those of the pictures?"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.checkup.sample import Pictures, Sample, each_camera, given_masks
from pose_splatter.checkup.verdicts import Level, Verdict, from_error, named
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import foreground
from pose_splatter.masks import MaskFault, find_fault
from pose_splatter.video import RecordingDescription

NO_MASK = 0.02  # share of pixels neither dark nor bright: more of them are no mask
GREY = MaskFault(
    "is grey in part, not black and white", "give masks under masks, not pictures or probabilities"
)
RAGGED = 0.1  # share of a mask outside its largest piece
CLEARLY = 0.1  # correlation by which another camera's masks go better with pictures
RELATED = 0.25  # correlation of pictures and masks, at least
LATE = 10  # frames by which masks are moved to see whether they fit their pictures better
LATER = 0.03  # correlation by which they have to
THUMBNAIL = 100  # pixels, about: the width of pictures and masks for that
CUT_OFF, MOSTLY_CUT_OFF = 0.1, 0.5  # share of frames whose mask reaches the picture's edge
STAYS = 0.5  # share of the pixels that are ever the animal's, which mostly are


def check_pictures(sample: Sample) -> Verdict:
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
            f"{named(sample.rig, wrong)} {what} in all {len(sample.frames)} frames looked at",
            "replace the video, or take the camera out of cameras",
        )
    return Verdict("pictures", "ok", f"{len(sample.frames)} frames of every camera are sound")


def check_masks(sample: Sample, *, leave_out: bool = False) -> list[Verdict]:
    """Masks are there, the animal is white, and they are neither noise nor grey.

    `leave_out` where config says that frames with an empty mask are left out.
    """
    faults = [
        find_fault(covered, border)
        for covered, border in zip(sample.covered.T, sample.border.T, strict=True)
    ]
    found = []
    for fault in dict.fromkeys(faults):
        if fault is not None:
            found.append(_faulty(sample.rig, [other == fault for other in faults], fault))
    usual = np.median(sample.covered, axis=0)
    grey = (np.median(sample.grey, axis=0) > NO_MASK) & (usual < 1)
    if grey.any():
        found.append(_faulty(sample.rig, grey, GREY))
    return found or [_judge_masks(sample, leave_out)]


def _faulty(rig: CameraRig, cameras: Any, fault: MaskFault) -> Verdict:
    """The verdict on masks with one fault, in the cameras for which `cameras` is set."""
    return Verdict("masks", "error", f"the mask of {named(rig, cameras)} {fault.what}", fault.fix)


def _judge_masks(sample: Sample, leave_out: bool) -> Verdict:
    covered, seen = sample.covered, sample.seen
    usual = np.array([np.median(c[s]) for c, s in zip(covered.T, seen.T, strict=True)])
    loose = _loose_share(sample)
    missing = seen.any(axis=1, keepdims=True) & ~seen  # where others see the animal
    if missing.any() and not leave_out:
        frame = sample.frames[int(np.argmax(missing.any(axis=1)))]
        return Verdict(
            "masks",
            "warning",
            f"the mask of {named(sample.rig, missing.any(axis=0))} is empty where others see the "
            f"animal, in {missing.any(axis=1).sum()} of {len(seen)} frames (frame {frame} first)",
            "correct it, or set empty_masks: absent, which leaves such frames out",
        )
    if (loose > RAGGED).any():
        return Verdict(
            "masks",
            "warning",
            f"the mask of {named(sample.rig, loose > RAGGED)} is in pieces: {loose.max():.0%} of "
            "it lies outside the largest one",
            "look at the contact sheet; clean the masks where that is no part of the animal",
        )
    if (wide := usual > 0.5).any():
        return Verdict(
            "masks",
            "warning",
            f"the mask of {named(sample.rig, wide)} covers {usual.max():.0%} of the picture",
            "look at the contact sheet: is that the animal alone?",
        )
    gaps = missing.any(axis=1).sum()
    less = f"; {gaps} of {len(seen)} frames, in which one is empty, are left out" if gaps else ""
    return Verdict(
        "masks",
        "ok",
        f"white on black, {usual.min():.1%} to {usual.max():.1%} of the picture, in one piece"
        + less,
    )


def _loose_share(sample: Sample) -> Float[ndarray, " camera"]:
    """The usual share of a mask that is not in its largest piece."""
    shares = np.full(sample.seen.shape, np.nan)
    for frame, camera in np.argwhere(sample.masks.any(axis=(2, 3))):
        _, _, stats, _ = cv2.connectedComponentsWithStats(sample.masks[frame, camera])
        areas = stats[1:, cv2.CC_STAT_AREA]
        shares[frame, camera] = 1 - areas.max() / areas.sum()
    return np.array([np.median(s[np.isfinite(s)]) if np.isfinite(s).any() else 0 for s in shares.T])


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
            f"what changes in the pictures of {named(sample.rig, unrelated)} is not where "
            "the masks are",
            "look at the contact sheet: do the outlines follow the animal? Masks of another video, "
            "or late ones, do not",
        )
    return Verdict(
        "match", "ok", f"masks lie where pictures change ({own[moves].min():.2f} or more)"
    )


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


def check_delays(
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
        given = given_masks(settings, rig, description, wanted, camera)
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
        found = np.array(each_camera(rig, fits))
    except PoseSplatterError as error:
        return from_error("masks", error)
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
            f"the animal is cut off at the picture's edge of {named(sample.rig, bad)}, in "
            f"{cut.max():.0%} of the frames looked at: what one camera lacks, the hull may lack",
            "choose frames: in which it is whole, turn the cameras, or leave such a camera out",
        )
    return Verdict("view", "ok", "the animal is whole in every picture")
