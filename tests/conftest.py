"""Known geometry that tests share: a ring of cameras around shapes whose outlines are exact."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import pytest
import zarr

from pose_splatter.cameras import INTEGER_PIXEL_CENTRES, CameraRig
from pose_splatter.dataset import Recording
from pose_splatter.frames import FrameStore
from pose_splatter.tracking import Track
from pose_splatter.volume import Crop


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-rounds", type=int, help="how often a run is killed (default: once in each rule)"
    )
    parser.addoption("--fault-seed", type=int, default=0, help="when and where it is killed")


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# What disks do to files: the last is what a power loss leaves.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit flipped": _flip_a_bit,
    "cut short": _cut_short,
    "empty": lambda path: path.write_bytes(b""),
}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class SmallDisk:
    """A folder that is a disk of its own, as large as it is told to be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        if not shutil.which("mount") or self._mount("tmpfs", "-o", "size=1m"):
            pytest.skip("mounting a disk is not permitted here")

    def _mount(self, *options: str) -> int:
        command = ["mount", "-t", "tmpfs", *options, str(self.folder)]
        return subprocess.run(command, capture_output=True).returncode

    def resize(self, kilobytes: int) -> None:
        assert self._mount("-o", f"remount,size={kilobytes}k") == 0


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation of an OpenCV camera at `eye` that looks at `target`, level with the horizon."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def ring_rig(
    n_cameras: int = 6, width: int = 160, height: int = 120, distance: float = 1000.0
) -> CameraRig:
    """Cameras around the origin at mixed heights, which see about +-200 units of it."""
    rotations, translations = [], []
    for camera in range(n_cameras):
        azimuth, elevation = 2 * np.pi * camera / n_cameras, np.radians([15, 35, 60][camera % 3])
        direction = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)]
        eye = distance * np.array([*direction, np.sin(elevation)])
        rotation = look_at(eye, np.zeros(3))
        rotations.append(rotation)
        translations.append(-rotation @ eye)
    K = np.array([[300.0, 0, width / 2], [0, 300.0, height / 2], [0, 0, 1]])
    return CameraRig(
        names=tuple(str(camera) for camera in range(n_cameras)),
        width=width,
        height=height,
        intrinsics=np.tile(K, (n_cameras, 1, 1)),
        rotations=np.array(rotations),
        translations=np.array(translations),
        distortions=np.zeros((n_cameras, 5)),
    )


def silhouettes(rig: CameraRig, points: np.ndarray, radius: float) -> np.ndarray:
    """Masks of balls of one radius about world points: exact where the balls overlap densely."""
    masks = np.zeros((len(rig), rig.height, rig.width), np.uint8)
    pixels, depths = rig.project(points)
    for camera in range(len(rig)):
        for (u, v), depth in zip(pixels[camera], depths[camera], strict=True):
            center = (round((u - 0.5) * 16), round((v - 0.5) * 16))
            size = round(radius * rig.intrinsics[camera, 0, 0] / depth * 16)
            cv2.circle(masks[camera], center, size, 1, thickness=-1, shift=4)
    return masks


def balls_recording(source_frames: np.ndarray, angles: np.ndarray) -> Recording:
    """Walking balls in five small cameras, the second held out; the third frame is empty."""
    n_frames = len(source_frames)
    rig, balls = ring_rig(5, width=80, height=60), walking_balls(n_frames)
    rig = replace(rig, intrinsics=rig.intrinsics * np.array([0.5, 0.5, 1])[:, None])
    masks = np.stack([silhouettes(rig, frame, radius=25) for frame in balls])
    masks[2] = 0
    images = np.where(masks[..., None] > 0, np.array([90, 140, 60], np.uint8), np.uint8(255))
    return Recording(
        name="balls",
        store=FrameStore(zarr.array(images), zarr.array(masks), source_frames, rig.names, 1),
        rig=rig,
        track=Track(
            visible=np.asarray(masks.any(axis=(1, 2, 3))),
            centers=balls.mean(axis=1),
            angles=angles,
            covs=np.tile(np.eye(3), (n_frames, 1, 1)),
            radii=np.tile([60.0, 30.0], (n_frames, 1)),
            spans=np.tile([120.0, 60.0], (n_frames, 1)),
        ),
        crop=Crop(16, 150.0, ((0, 16), (0, 16), (0, 16)), 1.0, 0.5),
        observed=(0, 2, 3, 4),
        heldout=(1,),
    )


@pytest.fixture
def rig() -> CameraRig:
    return ring_rig()


def write_video(path, frames: np.ndarray, gop: int = 10, crf: int = 1) -> None:
    """Write (frame h w 3) or grey (frame h w) pictures as H.264, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), "g": str(gop)})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            kind = "rgb24" if picture.ndim == 3 else "gray"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format=kind)))
        container.mux(stream.encode())


def walking_balls(n_frames: int) -> np.ndarray:
    """(frame, ball, 3): a body of balls that walks most of a circle."""
    angles = np.linspace(0, 4, n_frames)
    steps = 240 / n_frames * np.stack([np.cos(angles), np.sin(angles), np.zeros(n_frames)], axis=-1)
    centers = np.cumsum(steps, axis=0) - [0, 60, 0]
    along = np.stack([np.cos(angles), np.sin(angles), np.zeros(n_frames)], axis=-1)
    return centers[:, None] + along[:, None] * np.array([-30.0, -10, 10, 30])[:, None]


def balls_config(**sections: Any) -> dict[str, Any]:
    """A config for what is in `small_recording`, with some sections changed."""
    return {
        "recordings": {
            "balls": {
                "calibration": "calibration.h5",
                "cameras": list(range(6)),
                "videos": "video{camera}.mp4",
                "masks": "mask{camera}.mp4",
                "heldout_cameras": [1],
            }
        },
        "presets": {"default": {}},
        "defaults": {"preset": "default", "train": ["balls"], "apply": ["balls"]},
        "experiments": {"plain": {}},
    } | sections


@pytest.fixture(scope="session")
def small_recording(tmp_path_factory):
    """A folder with the videos, masks and calibration of 30 frames of walking balls."""
    folder = tmp_path_factory.mktemp("recording")
    rig, balls = ring_rig(), walking_balls(30)
    masks = np.stack([silhouettes(rig, frame, radius=22) for frame in balls], axis=1)
    for camera in range(len(rig)):
        shade = np.full((*masks[camera].shape, 3), [60, 120, 180], np.uint8)
        pictures = np.where(masks[camera][..., None] > 0, shade, np.uint8(220))
        write_video(folder / f"video{camera}.mp4", pictures)
        write_video(folder / f"mask{camera}.mp4", masks[camera] * np.uint8(255))
    with h5py.File(folder / "calibration.h5", "w") as file:
        file["camera_parameters/intrinsic"] = rig.intrinsics - INTEGER_PIXEL_CENTRES
        file["camera_parameters/rotation"] = rig.rotations
        file["camera_parameters/translation"] = rig.translations
    return folder
