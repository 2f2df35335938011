"""The animal from where no camera stood: single pictures, a turntable, a flight around it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from pose_splatter.cameras import EPS2D, CameraRig
from pose_splatter.carving import to_world
from pose_splatter.dataset import Recording, camera_tensors
from pose_splatter.evaluation import typical_frame
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import PoseSplatter, render
from pose_splatter.movies import captioned
from pose_splatter.plots import frame_label
from pose_splatter.progress import track
from pose_splatter.rendering import decode_frame, to_rgba
from pose_splatter.views import framed, orbit

SIZE = 480  # pixels along the edges of the videos
ROOM = 1.1  # of the grid's longest edge, which is what videos show
TURNTABLE_VIEWS, TURNTABLE_RATE = 60, 20.0  # a turn takes three seconds
BULLET_FRAMES = 300  # at most: long enough to see, short enough for a laptop


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flight:
    """How often the camera circles the animal, and from which pitch to which (degrees, upwards).

    It starts halfway between the two, rises and sinks once a turn.
    """

    turns: float = 1.0
    pitch: tuple[float, float] = (-15.0, 15.0)

    def angles(self, share: float) -> tuple[float, float]:
        """Yaw and pitch when a share (0 to 1) of it is over, as `views.orbit` takes them."""
        yaw, (low, high) = 360 * self.turns * share, self.pitch
        return yaw, (low + high) / 2 + (high - low) / 2 * np.sin(np.radians(yaw))


@torch.no_grad()
def render_views(
    gaussians: Gaussians, views: CameraRig, recording: Recording, center: Float[ndarray, "3"]
) -> UInt8[ndarray, "view h w 4"]:
    """Pictures of Gaussians around `center` from any views, over white, with their alpha.

    A view that is closer than the recording's cameras shows nothing finer, but no gaps either:
    Gaussians learned to be dense together with the blur of a pixel (eps2d), which therefore grows
    with the view's magnification. Near that of the cameras themselves, this is `model.render`.
    """
    viewmats, Ks = camera_tensors(views, gaussians.means.device)
    zoom = _pixels_per_unit(views, center) / _pixels_per_unit(recording.rig, center)
    eps2d = EPS2D * max(1.0, zoom) ** 2
    return to_rgba(render(gaussians, viewmats, Ks, views.width, views.height, eps2d))


def _pixels_per_unit(rig: CameraRig, center: Float[ndarray, "3"]) -> float:
    """How many pixels a unit of length spans at `center`, in the nearest of the cameras."""
    _, depths = rig.project(center)
    return float((rig.intrinsics[:, 0, 0] / np.abs(depths)).max())


def turntable_frame(
    wanted: int | Literal["auto"],
    recording: Recording,
    frames: pd.DataFrame,
    baseline: pd.DataFrame | None,
) -> int:
    """The frame that a turntable shows, by its index into the store.

    `wanted` is a number of the video's frames; auto is the typical frame of the metrics (see
    `evaluation.typical_frame`). Settings hold for all recordings: one that has no such frame, or
    no animal in it, shows the typical one too, which is logged.
    """
    if wanted != "auto":
        found = np.flatnonzero(recording.store.source_frames == wanted)
        if len(found) and recording.track.visible[found[0]]:
            return int(found[0])
        logger.warning(
            "config: visualization: turntable names %d, in which this recording has no animal; "
            "the typical frame is shown",
            wanted,
        )
    return typical_frame(frames, baseline)


def turntable(
    model: PoseSplatter, recording: Recording, frame: int, device: str
) -> Iterator[UInt8[ndarray, "h w 3"]]:
    """One frame from all around: pictures from a full turn of the first observed camera."""
    _, gaussians = decode_frame(model, recording, frame, device)
    middle = _grid_middle(recording, frame)
    label = frame_label(recording.store.source_frames[frame])
    yaws = np.linspace(0, 360, TURNTABLE_VIEWS, endpoint=False)
    for yaw in track(yaws, "rendering a turntable", len(yaws)):
        view = _around(recording, middle, yaw, 0.0)
        yield captioned(render_views(gaussians, view, recording, middle)[0, ..., :3], label)


def bullet_time(
    model: PoseSplatter,
    recording: Recording,
    frames: Sequence[int],
    flight: Flight,
    fps: float,
    device: str,
) -> Iterator[UInt8[ndarray, "h w 3"]]:
    """The camera circles the animal, rising and sinking, while time runs.

    Shows the first BULLET_FRAMES of `frames` in which the animal is visible, above each its number
    and, where the videos' frame rate is known (`fps`, not 0), its time.
    """
    shown = [frame for frame in frames if recording.track.visible[frame]][:BULLET_FRAMES]
    for step, frame in enumerate(track(shown, "rendering a flight", len(shown))):
        middle = _grid_middle(recording, frame)
        view = _around(recording, middle, *flight.angles(step / len(shown)))
        _, gaussians = decode_frame(model, recording, frame, device)
        picture = render_views(gaussians, view, recording, middle)[0, ..., :3]
        yield captioned(picture, frame_label(recording.store.source_frames[frame], fps))


def _grid_middle(recording: Recording, frame: int) -> Float[ndarray, "3"]:
    """The middle of the model's grid in the world: an animal with its tail is all around it."""
    center, angle = recording.track.centers[frame], float(recording.track.angles[frame])
    return to_world(recording.crop.grid.middle, center, angle)


def _around(
    recording: Recording, middle: Float[ndarray, "3"], yaw: float, pitch: float
) -> CameraRig:
    """The first observed camera carried around the model's grid, which fills the picture."""
    view = orbit(recording.rig, recording.observed[0], middle, np.array([yaw]), np.array([pitch]))
    return framed(view, middle, ROOM * recording.crop.grid.edges.max() / 2, SIZE)
