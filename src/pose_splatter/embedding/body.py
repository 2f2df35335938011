"""The animal's size and its movements, in units that no calibration changes."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d

from pose_splatter.errors import PoseSplatterError
from pose_splatter.tracking import Track
from pose_splatter.video import RecordingDescription

SMOOTHING = 0.1  # standard deviation, in seconds, of the Gaussian that smooths positions for speed
LOWEST = 0.01  # the quantile of the centre's height from which heights are counted


def body_size(animal: Track) -> float:
    """The median over the frames of the root mean square distance from the centre (world units).

    In it the trunk weighs and the tail hardly does (see `tracking`), so posture hardly changes it:
    recordings of different behaviour agree on an animal's size. Raises PoseSplatterError where no
    frame shows the animal.
    """
    covs = animal.covs[animal.visible]
    if not len(covs):
        raise PoseSplatterError(
            "no frame shows the animal in two cameras at once; check the masks."
        )
    return float(np.median(np.sqrt(np.trace(covs, axis1=1, axis2=2))))


def movements(animal: Track, videos: RecordingDescription) -> pd.DataFrame:
    """A row per frame: time, heading (radians, 0 to 2 pi), height and speed of the centre.

    Time is in seconds from the start of the videos. Height is counted from where the centre is
    lowest, in body sizes; speed is horizontal, in body sizes per second. All but time are NaN in
    frames without the animal.
    """
    size, seen = body_size(animal), animal.visible
    seconds = np.array(videos.source_frames) / videos.fps
    centers = np.full((len(animal), 3), np.nan)
    centers[seen] = animal.centers[seen] / size
    height = centers[:, 2] - np.quantile(centers[seen, 2], LOWEST)
    return pd.DataFrame(
        {
            "time": seconds,
            "heading": np.where(seen, animal.angles % (2 * np.pi), np.nan),
            "height": height,
            "speed": np.where(seen, _speed(centers[:, :2], seconds), np.nan),
        }
    )


def _speed(
    positions: Float[ndarray, "frame 2"], seconds: Float[ndarray, " frame"]
) -> Float[ndarray, " frame"]:
    """Of positions that are smoothed first, and interpolated where they are NaN."""
    if len(positions) < 2:
        return np.zeros(len(positions))
    seen = np.isfinite(positions[:, 0])
    filled = np.stack([np.interp(seconds, seconds[seen], p[seen]) for p in positions.T], axis=-1)
    step = float(np.median(np.diff(seconds)))
    smooth = gaussian_filter1d(filled, SMOOTHING / step, axis=0, mode="nearest")
    return np.linalg.norm(np.gradient(smooth, seconds, axis=0), axis=-1)
