"""Score masks: auto against the demo's true masks, in a scene made harder.

    python benchmarks/masks.py [scenes...] [--every 5]

The demo is a rat on a textured floor with its cast shadow. Here the light falls unevenly (a gradient
and vignetting), the sensor is noisy, and the video is compressed hard, as a rig's is. Other scenes
add an animal that rests for half of the recording, a reflection and a cable that one camera alone
sees, or light that flickers. Everything is made in a temporary folder. Prints the median IoU of
each camera, and the same without shadow tolerance and without the cameras' vote.
"""

import argparse
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from pose_splatter.video import read_frames

DEMO = Path(__file__).parent.parent / "resources/demo"
CAMERAS = range(6)
N_FRAMES = 300
SIZE = (512, 576)
NOISE = 2.0  # grey levels
CRF = 18  # visually lossless, as rigs record
RESTING_FRAME = 178  # in the demo the rat rests here


def frame_numbers(scene: str) -> np.ndarray:
    """Which frame of the demo each frame of a scene shows: in `rest`, half of them one and the same."""
    numbers = np.arange(N_FRAMES)
    if scene == "rest":
        numbers = np.concatenate([numbers[:300:2], np.full(N_FRAMES // 2, RESTING_FRAME)])
    return numbers


def light(height: int, width: int, camera: int) -> np.ndarray:
    """A factor (h w 1) per pixel: brighter on one side, darker in the corners."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = 1.1 * camera
    gradient = 1 + 0.25 * (x * np.cos(angle) + y * np.sin(angle))
    return (gradient * (1 - 0.25 * (x**2 + y**2) / 2))[..., None]


def pictures(scene: str, camera: int) -> Iterator[np.ndarray]:
    """The frames (h w 3) of one camera, before compression."""
    rng = np.random.default_rng([camera, 7])
    video = list(read_frames(DEMO / f"videos/camera{camera}.mp4", range(N_FRAMES)))
    masks = list(read_frames(DEMO / f"masks/camera{camera}.mp4", range(N_FRAMES), "grey"))
    shade = light(*SIZE, camera)
    for index, number in enumerate(frame_numbers(scene)):
        picture = video[number].astype(np.float64)
        if scene == "reflection" and camera == 2:
            picture = reflected(picture, masks[number])
            picture = with_cable(picture, index)
        if scene == "flicker":
            picture = picture * (1 + 0.12 * np.sin(0.9 * index) + 0.04 * rng.standard_normal())
        picture = picture * shade + NOISE * rng.standard_normal((*SIZE, 3))
        yield picture.round().clip(0, 255).astype(np.uint8)


def reflected(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The animal once more, mirrored at the picture's upright middle and half transparent."""
    ghost = (mask[:, ::-1, None] >= 128) & (mask[..., None] < 128)
    return np.where(ghost, 0.5 * picture + 0.5 * picture[:, ::-1], picture)


def with_cable(picture: np.ndarray, index: int) -> np.ndarray:
    """A dark cable that swings from the picture's upper edge."""
    end = (int(430 + 40 * np.sin(0.2 * index)), 160)
    return cv2.line(picture.copy(), (430, 0), end, (30.0, 30.0, 30.0), 4, cv2.LINE_AA)


def write_scene(scene: str, folder: Path) -> list[Path]:
    """Write the scene's videos, H.264."""
    paths = []
    for camera in CAMERAS:
        path = folder / f"{scene}{camera}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(30))
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
            stream.options = {"crf": str(CRF), "preset": "medium", "g": "50"}
            for picture in pictures(scene, camera):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        paths.append(path)
    return paths
