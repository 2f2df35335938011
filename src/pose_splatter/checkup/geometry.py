"""The animal in the world: do the cameras agree on it, its size and heading, which way is up."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from pose_splatter.cameras import (
    KNOWN_UP,
    WORLD_AXES,
    cameras_up,
    estimate_up,
    read_lines,
    up_from_lines,
)
from pose_splatter.checkup.sample import Sample
from pose_splatter.checkup.verdicts import Level, Verdict, collected_log, from_error, named
from pose_splatter.consistency import (
    agreement,
    coverage,
    find_correction,
    find_culprits,
    hull_views,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.tracking import HullMoments, hull_moments, mask_center

GRID = 48  # voxels along the edge of the cube in which the animal is measured
FITS, FITS_ROUGHLY = 0.75, 0.5  # agreement of masks and hull: above is ok, below is an error
HELDOUT_FITS = 0.35  # the same of any one camera, for which a held-out one's hull is too large
COVERED = 0.85  # share of a held-out camera's mask that others' hull covers, however large it is
ROUND = 0.15  # elongation below which a heading is a guess
SMALL, LARGE = 30, 300  # pixels: an animal's length in the stored pictures
UNSTEADY = 3.0  # factor between large and small volumes of one animal
TILTED = 45.0  # degrees between up and the cameras' own idea of it


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
            return _reaching_out(named(rig, outside), told)
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


def is_misread(sample: Sample) -> bool:
    """Whether a known mistake explains why masks and calibration do not fit."""
    return find_correction(_whole(sample), sample.rig) is not None


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


def check_up_direction(
    sample: Sample, settings: Mapping[str, Any]
) -> tuple[Float[ndarray, "3"], Verdict]:
    """Which way is up, as the workflow will find it."""
    rig, observed = sample.rig, sample.observed(settings["heldout_cameras"])
    part, rough = rig.subset(observed), cameras_up(rig.subset(observed))
    centers = [mask_center(masks[observed], part) for masks in sample.masks]
    path = np.stack([center for center in centers if center is not None])
    with collected_log() as log:
        if settings["up"] == "auto":
            up, source = estimate_up(part, path), "from the animal's path"
        elif settings["up"] in WORLD_AXES:
            up, source = WORLD_AXES[settings["up"]], "as config says"
        else:
            try:
                up, source = up_from_lines(read_lines(settings["up"])), "from vertical lines"
            except PoseSplatterError as error:
                return rough, from_error("up", error)
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


def check_animal_size(
    sample: Sample, moments: HullMoments, heldout: Sequence[str], preset: Mapping[str, Any]
) -> Verdict:
    """Is the hull of an animal's size, in pixels and from frame to frame?"""
    seen, observed = moments.visible, sample.observed(heldout)
    length, height = np.median(moments.spans[seen], axis=0)
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


def check_heading(moments: HullMoments) -> Verdict:
    """The hull is long enough to show which way the animal points."""
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
