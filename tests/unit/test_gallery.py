"""Which frames are shown."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameSplit
from pose_splatter.gallery import choose_frames, frame_index, plot_shots, take_shots, write_shots
from pose_splatter.plots import HELDOUT_COLOR
from pose_splatter.tracking import Track


@dataclass(frozen=True)
class Store:
    """What of a FrameStore these functions read: every third frame of a video, from 30 on."""

    source_frames: np.ndarray
    cameras = ("a", "b")

    def read_images(self, frame: int) -> np.ndarray:
        return np.full((2, 12, 16, 3), frame, np.uint8)

    def read_masks(self, frame: int) -> np.ndarray:
        masks = np.zeros((2, 12, 16), np.uint8)
        masks[:, 4:8, 5:9] = frame != 3
        return masks


@pytest.fixture
def store():
    return Store(np.arange(30, 60, 3))


def metrics(heldout: list[float], observed: list[float]) -> pd.DataFrame:
    rows = [
        {"frame": 4 + n, "role": role, "iou": value}
        for role, values in (("heldout", heldout), ("observed", observed))
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def choose(*arguments):
    """Without the types of what is passed: the store is a stand-in."""
    return choose_frames.__wrapped__(*arguments)


def test_auto_takes_evenly_spaced_frames_and_the_worst(store):
    ious = [0.9, 0.8, 0.1, 0.85, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    table = metrics(ious, observed=ious[::-1])
    chosen = choose("auto", table, store)
    assert list(chosen) == [4, 6, 9, 12, 14]
    ious[2], ious[3] = 0.9, 0.2
    chosen = choose("auto", metrics(ious, ious), store)
    assert list(chosen) == [4, 6, 7, 9, 12, 14]
    assert [frame for frame, note in chosen.items() if note] == [7], "of the held-out cameras"
