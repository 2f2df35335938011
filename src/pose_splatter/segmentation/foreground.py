"""The animal in one frame of one camera: what differs from the background and is no shadow.

Pixels that are surely the animal's, surely floor or surely shadow are markers; a watershed shares
out the rest along the steepest edges of the picture, with the floor's texture divided out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy import ndarray
from scipy.ndimage import gaussian_filter
from skimage.filters import apply_hysteresis_threshold
from skimage.segmentation import watershed

from pose_splatter.segmentation.background import Background, gain

SURE = 1.5  # times the threshold: there a change starts, to grow over all above the threshold
BLUR = 0.8  # pixels: neighbours share what is there, but not the noise
TINT = 2.0  # times the threshold: how far light from elsewhere may tint a shadow
EVEN = 0.04  # how unevenly, at most, a shadow darkens its neighbourhood (log ratio)
USUAL = 0.25  # of the count of the most frequent shading: shadows of one light look much the same
CREST = 0.5  # of the evidence around: a pixel that the animal half covers has half of it
SMALLEST = 0.05  # of the largest piece: what is smaller is noise
HOLE = 0.01  # of the animal: what is smaller is a hole in the mask, not between the legs
DIM_HOLE = 0.15  # the same of a hole through which the floor is not seen as it is
MARGIN = 20  # pixels around what changed, within which edges are looked for

# Shadings are binned by mean log ratio and by the ratios of red and of blue to green.
SHADING_BINS = (48, 32, 32)
SHADING_LOWEST, SHADING_STEP = np.array([-2.0, -0.48, -0.48]), np.array([0.05, 0.03, 0.03])
DIM = -0.1  # log ratio: what is brighter than that is the floor itself

SQUARE = np.ones((3, 3), np.uint8)
DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


@dataclass(frozen=True)
class ForegroundSettings:
    """`threshold` is how far a pixel must be from the background, in standard deviations of the
    noise; `shadow` the darkest that a shadow makes the floor (0 to 1), 1 where there are none."""

    threshold: float = 5.0
    shadow: float = 0.35


@dataclass(frozen=True)
class CameraModel:
    """What a camera sees without the animal, and which shadings of it are shadows."""

    background: Background
    shadings: Bool[ndarray, "brightness red blue"]


def calibrate_shadows(
    pictures: Sequence[UInt8[ndarray, "height width 3"]],
    background: Background,
    settings: ForegroundSettings,
) -> CameraModel:
    """Learn how shadows look: like most of what is darker, of the floor's colour and texture.

    Some fur looks like a shadow here and there; the shadows of one light look like each other in
    every frame, so their shading stands out in the count.
    """
    counts = np.zeros(np.prod(SHADING_BINS), np.int64)
    if settings.shadow < 1:
        for picture in pictures:
            scene = _Scene.of(picture, background)
            likely = scene.unexplained(settings.shadow) < settings.threshold
            shadow = scene.is_even() & likely
            dim = scene.is_changed(settings.threshold) & (scene.shading[..., 0] < DIM)
            shadow = cv2.morphologyEx((shadow & dim).view(np.uint8), cv2.MORPH_OPEN, SQUARE) > 0
            counts += np.bincount(scene.shading_bins[shadow], minlength=counts.size)
    smooth = gaussian_filter(counts.reshape(SHADING_BINS).astype(np.float32), 1.0)
    return CameraModel(background, (smooth > USUAL * smooth.max()) & (smooth > 0))


def segment(
    picture: UInt8[ndarray, "height width 3"], camera: CameraModel, settings: ForegroundSettings
) -> UInt8[ndarray, "height width"]:
    """The mask (0 or 1) of what is in the picture, but neither background nor shadow."""
    return divide(Change.of(picture, camera.background, settings), camera, settings)


def divide(
    change: "Change",
    camera: CameraModel,
    settings: ForegroundSettings,
    floor: Bool[ndarray, "row column"] | None = None,
) -> UInt8[ndarray, "height width"]:
    """The mask (0 or 1) of the animal in what changed; of its box, `floor` is known to be floor."""
    mask = np.zeros(change.shape, np.uint8)
    if change.scene is None:
        return mask
    box, changed = change.box, change.changed
    known = np.zeros(changed.shape, bool) if floor is None else floor
    divided = _divide(change.scene, changed > 0, camera.shadings, known, settings)
    mask[box] = clean(divided, changed)
    return mask


def _divide(
    scene: "_Scene",
    changed: Bool[ndarray, "height width"],
    shadings: Bool[ndarray, "brightness red blue"],
    known: Bool[ndarray, "height width"],
    settings: ForegroundSettings,
) -> UInt8[ndarray, "height width"]:
    """Share out what changed between the animal, the floor and its shadows."""
    if settings.shadow >= 1:
        return changed.view(np.uint8)
    unexplained = scene.unexplained(settings.shadow)
    tinted = unexplained < TINT * settings.threshold
    like_shadow = changed & (shadings.ravel()[scene.shading_bins] | (known & tinted))
    plain = (like_shadow & tinted).astype(np.float32)
    shadow = (cv2.blur(plain, (3, 3)) > 0.6) & (plain > 0)
    shadow = cv2.morphologyEx(shadow.view(np.uint8), cv2.MORPH_OPEN, SQUARE[:2, :2]) > 0
    far_from_shadow = cv2.dilate(like_shadow.view(np.uint8), np.ones((5, 5), np.uint8)) == 0
    strange = apply_hysteresis_threshold(unexplained, settings.threshold, SURE * settings.threshold)
    animal = strange & ~like_shadow & _crest(unexplained)
    animal |= changed & far_from_shadow & _crest(scene.change)
    floor = cv2.dilate(changed.view(np.uint8), SQUARE) == 0
    markers = np.zeros(changed.shape, np.int32)
    markers[floor | shadow] = 1
    markers[animal & ~shadow & changed] = 2
    return (watershed(scene.edges(), markers) == 2).view(np.uint8)


def _crest(evidence: Float32[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    """Where evidence is near the highest around, not on the slope that blur and lens make of it."""
    return evidence >= CREST * cv2.dilate(evidence, DISC)


@dataclass(frozen=True)
class _Scene:
    """A picture beside what is expected of it; `change` is their distance in units of the noise."""

    picture: Float32[ndarray, "height width 3"]
    expected: Float32[ndarray, "height width 3"]
    noise: Float32[ndarray, "height width"]
    change: Float32[ndarray, "height width"]

    @classmethod
    def of(cls, picture: UInt8[ndarray, "height width 3"], background: Background) -> "_Scene":
        """The scene of a picture; the background is brought to the picture's light."""
        light = gain(picture[::4, ::4], background.picture[::4, ::4])
        expected, picture = background.picture * light, picture.astype(np.float32)
        change = _length(cv2.GaussianBlur(picture - expected, (0, 0), BLUR)) / background.noise
        return cls(picture, expected, background.noise, change)

    def cut(self, box: tuple[slice, slice]) -> "_Scene":
        return _Scene(self.picture[box], self.expected[box], self.noise[box], self.change[box])

    def is_changed(self, threshold: float) -> Bool[ndarray, "height width"]:
        return apply_hysteresis_threshold(self.change, threshold, SURE * threshold)

    def unexplained(self, darkest: float) -> Float32[ndarray, "height width"]:
        """How far each pixel is from the floor in any light from `darkest` to full, by the noise.

        A shadow darkens all channels alike (Horprasert et al. 1999): it moves the floor's colour
        along the line to black.
        """
        squared = np.maximum((self.expected**2).sum(axis=-1), 1)
        factor = ((self.picture * self.expected).sum(axis=-1) / squared).clip(darkest, 1)
        rest = self.picture - self.expected * factor[..., None]
        return _length(cv2.GaussianBlur(rest, (0, 0), BLUR)) / self.noise

    def is_even(self) -> Bool[ndarray, "height width"]:
        """Where the picture is as much darker as around: the texture is the floor's."""
        picture, expected = (_smooth(p, BLUR).mean(axis=-1) for p in (self.picture, self.expected))
        ratio = np.log(picture / expected)
        mean = cv2.blur(ratio, (5, 5))
        spread = np.sqrt(np.maximum(cv2.blur(ratio * ratio, (5, 5)) - mean**2, 0))
        return spread < EVEN + 0.5 * self.noise / picture

    @cached_property
    def shading(self) -> Float32[ndarray, "height width 3"]:
        """Log ratio to the expected brightness, and how red and how blue that ratio is."""
        logs = np.log(_smooth(self.picture, 1.0)) - np.log(_smooth(self.expected, 1.0))
        red, green, blue = np.moveaxis(logs, -1, 0)
        return np.stack([logs.mean(axis=-1), red - green, blue - green], axis=-1)

    @cached_property
    def shading_bins(self) -> Int64[ndarray, "height width"]:
        """The bin, of the flattened SHADING_BINS, of each pixel's shading."""
        bins = ((self.shading - SHADING_LOWEST) / SHADING_STEP).astype(np.int64)
        bins = bins.clip(0, np.array(SHADING_BINS) - 1)
        return np.ravel_multi_index(tuple(np.moveaxis(bins, -1, 0)), SHADING_BINS)

    def edges(self) -> Float32[ndarray, "height width"]:
        """How steep the picture is, with the floor's texture divided out."""
        flat = self.picture / np.maximum(self.expected, 8) * float(self.expected.mean())
        across, down = cv2.Sobel(flat, cv2.CV_32F, 1, 0), cv2.Sobel(flat, cv2.CV_32F, 0, 1)
        return np.sqrt((across**2 + down**2).max(axis=-1))


@dataclass(frozen=True)
class Change:
    """What changed in a picture of `shape`: in a `box`, where (0 or 1), and the scene there.

    Where nothing changed, there is no scene.
    """

    shape: tuple[int, int]
    box: tuple[slice, slice]
    changed: UInt8[ndarray, "height width"]
    scene: _Scene | None

    @classmethod
    def of(
        cls,
        picture: UInt8[ndarray, "height width 3"],
        background: Background,
        settings: ForegroundSettings,
    ) -> "Change":
        """What changed in a picture against its background."""
        whole = _Scene.of(picture, background)
        changed = drop_specks(whole.is_changed(settings.threshold).view(np.uint8))
        box = _box_around(changed, MARGIN)
        scene = whole.cut(box) if changed.any() else None
        return cls(changed.shape, box, changed[box], scene)

    def shadings(self) -> Float32[ndarray, "height width 3"]:
        """How the picture is shaded (see `_Scene.shading`): 0 where nothing changed."""
        shadings = np.zeros((*self.shape, 3), np.float32)
        if self.scene is not None:
            shadings[self.box] = self.scene.shading
        return shadings

    def shadow(self, camera: CameraModel) -> Bool[ndarray, "height width"]:
        """Where it is shaded as floor in shadow is in this camera; here and there the animal is."""
        shadow = np.zeros(self.shape, bool)
        if self.scene is not None:
            dim = self.scene.shading[..., 0] < DIM
            alike = camera.shadings.ravel()[self.scene.shading_bins]
            shadow[self.box] = (self.changed > 0) & dim & alike
        return shadow


def _length(vectors: Float32[ndarray, "height width 3"]) -> Float32[ndarray, "height width"]:
    return np.sqrt((vectors**2).sum(axis=-1))


def _smooth(
    picture: Float32[ndarray, "height width 3"], sigma: float
) -> Float32[ndarray, "height width 3"]:
    """A blurred picture, above 0, so that it has a logarithm."""
    return cv2.GaussianBlur(picture, (0, 0), sigma) + 1


def _box_around(mask: UInt8[ndarray, "height width"], margin: int) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect(mask)
    rows = slice(max(top - margin, 0), top + height + margin)
    return rows, slice(max(left - margin, 0), left + width + margin)


def clean(
    mask: UInt8[ndarray, "height width"], changed: UInt8[ndarray, "height width"] | None = None
) -> UInt8[ndarray, "height width"]:
    """Close cracks, drop specks, fill holes; thin parts such as a tail stay.

    A hole in which the picture mostly `changed` (0 or 1) is filled also where it is large: fur that
    was taken for shadow, rather than floor between the legs.
    """
    mask = drop_specks(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, SQUARE))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA] / max(float(mask.sum()), 1.0)
    fill = areas <= HOLE
    if changed is not None:
        share = np.bincount(labels.ravel(), changed.ravel()) / np.maximum(stats[:, -1], 1)
        fill |= (areas <= DIM_HOLE) & (share > 0.5)
    return mask | fill[labels].view(np.uint8)


def drop_specks(mask: UInt8[ndarray, "height width"]) -> UInt8[ndarray, "height width"]:
    """The mask without pieces that are far smaller than the largest one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return mask
    return np.append(False, areas >= SMALLEST * areas.max())[labels].view(np.uint8)
