"""Score masks: auto against the demo's true masks, in scenes made harder.

    python benchmarks/masks.py [scenes...]
    python benchmarks/masks.py codecs

The demo is a rat on a textured floor with its cast shadow. In the scene `light` the light falls
unevenly (a gradient and vignetting), the sensor is noisy and the video is compressed. The others
are that, and `rest`: the animal rests for half of the recording; `alone`: camera 2 alone sees a
reflection and a cable; `flicker`: the light flickers; `dark`: the rat is as dark as a black mouse.
All are made in a temporary folder. Prints how well the floor is found (how high, how tilted, and
what share of the shadows agrees), then the median IoU with the truth in each camera, and the same
without the cameras' vote, without the floor, and without tolerance of shadows. A scene takes
minutes. `codecs` prints size and speed of lossless mask videos.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import h5py
import numpy as np

from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import CameraRig
from pose_splatter.frames import foreground
from pose_splatter.segmentation.background import background_of, telling_pictures
from pose_splatter.segmentation.floor import FloorViews
from pose_splatter.segmentation.foreground import (
    CameraModel,
    ForegroundSettings,
    calibrate_shadows,
    drop_specks,
)
from pose_splatter.segmentation.recording import (
    BackgroundSegmenter,
    Segmenter,
    find_recording_floor,
    read_together,
)
from pose_splatter.segmentation.vote import Vote
from pose_splatter.video import read_frames

DEMO = Path(__file__).parent.parent / "resources/demo"
CAMERAS = range(6)
OBSERVED = (0, 2, 3, 4)
SCENES = ("light", "rest", "alone", "flicker", "dark")
SCORED = range(0, 300, 20)  # frames
N_FRAMES = 300
SIZE = (512, 576)
TOLERANT, STRICT = ForegroundSettings(), ForegroundSettings(shadow=1.0)
with h5py.File(DEMO / "truth.h5") as truth:
    FLOOR = dict(truth.attrs)  # where it really is: `floor_point` (mm), `up`
NOISE = 2.0  # grey levels
CRF = 18  # visually lossless, as rigs record
DARK = 0.3  # how bright fur is in `dark`, as a share of the demo's
RESTING_FRAME = 178  # in the demo the rat rests here


def frame_numbers(scene: str) -> np.ndarray:
    """Which frame of the demo each frame of a scene shows; in `rest`, one and the same in half."""
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
        if scene == "alone" and camera == 2:
            picture = reflected(picture, masks[number])
            picture = with_cable(picture, index)
        if scene == "dark":
            picture = picture * (1 - (1 - DARK) * masks[number][..., None] / 255)
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


def true_masks(scene: str, camera: int) -> np.ndarray:
    """The truth (frame h w) of the frames that are scored."""
    numbers = frame_numbers(scene)[list(SCORED)].tolist()
    unique = sorted(set(numbers))
    decoded = read_frames(DEMO / f"masks/camera{camera}.mp4", unique, "grey")
    masks = dict(zip(unique, decoded, strict=True))
    return np.stack([masks[number] >= 128 for number in numbers])


def models(video: Path) -> tuple[CameraModel, CameraModel]:
    """What a camera's own video teaches, with tolerance of shadows and without."""
    pictures = telling_pictures(video, range(N_FRAMES))
    background = background_of(pictures)
    return (
        calibrate_shadows(list(pictures), background, TOLERANT),
        calibrate_shadows(list(pictures), background, STRICT),
    )


def masks_by(segmenter: Segmenter, videos: list[Path]) -> np.ndarray:
    """The masks (camera frame h w) of the frames that are scored, before any vote."""
    made = map(segmenter, read_together(videos, SCORED, [0] * len(videos)))
    return np.stack(list(made), axis=1)


def compare(scene: str, rig: CameraRig, folder: Path) -> None:
    """Print a scene's scores, with all steps and without one of each."""
    videos = write_scene(scene, folder)
    tolerant, strict = zip(*map(models, videos), strict=True)
    segmenter = BackgroundSegmenter(tolerant, TOLERANT)
    vote = Vote.of(rig, OBSERVED)
    truths = [true_masks(scene, camera) for camera in CAMERAS]
    print(f"{scene}: median IoU of cameras {', '.join(map(str, CAMERAS))}; 1 and 5 held out")
    offsets = [0] * len(videos)
    floor = find_recording_floor(rig, OBSERVED, videos, segmenter, offsets, range(N_FRAMES))
    alone = masks_by(segmenter, videos)
    masks = alone
    if floor is not None:
        off = floor.normal @ (floor.point - FLOOR["floor_point"])
        tilt = np.degrees(np.arccos(floor.normal @ FLOOR["up"]))
        print(f"  floor: {off:.1f} mm too high, {tilt:.2f} degrees tilted, {floor.agreement:.2f}")
        views = FloorViews.of(rig, floor, OBSERVED)
        masks = masks_by(replace(segmenter, floor=views), videos)
    report("masks: auto", voted(masks, vote), truths)
    report("without vote", masks, truths)
    report("without floor", voted(alone, vote), truths)
    shaded = masks_by(BackgroundSegmenter(strict, STRICT), videos)
    report("without shadows' rule", voted(shaded, vote), truths)


def voted(masks: np.ndarray, vote: Vote) -> np.ndarray:
    """The masks (camera frame h w) after the vote."""
    frames = [[drop_specks(mask) for mask in vote(views)] for views in masks.swapaxes(0, 1)]
    return np.array(frames).swapaxes(0, 1)


def iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The intersection over union of every frame of one camera."""
    masks = masks > 0
    both, either = (masks & truth).sum(axis=(1, 2)), (masks | truth).sum(axis=(1, 2))
    return both / np.maximum(either, 1)


def report(name: str, masks: np.ndarray, truths: list[np.ndarray]) -> None:
    """One line: the median IoU of each camera, of all, and of the worst camera."""
    scores = [iou(mine, truth) for mine, truth in zip(masks, truths, strict=True)]
    medians = [float(np.median(score)) for score in scores]
    cameras = " ".join(f"{median:.3f}" for median in medians)
    print(
        f"  {name:22s} {cameras}   all {np.median(np.concatenate(scores)):.3f}   "
        f"worst camera {min(medians):.3f}",
        flush=True,
    )


def compare_codecs(folder: Path) -> None:
    """Bytes and milliseconds of processor time a frame, of masks at 1152 x 1024."""
    decoded = read_frames(DEMO / "masks/camera2.mp4", range(150), "grey")
    masks = [
        np.kron(foreground(mask) * np.uint8(255), np.ones((2, 2), np.uint8)) for mask in decoded
    ]
    for codec, options in {
        "ffv1": {"level": "3", "g": "1"},
        "libx264": {"qp": "0", "preset": "veryfast", "g": "1"},
    }.items():
        path, times = folder / f"{codec}.mkv", [time.process_time()]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(30), options=options)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = masks[0].shape
            stream.pix_fmt = "gray"
            for mask in masks:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(mask, format="gray")))
            container.mux(stream.encode())
        times.append(time.process_time())
        same = np.array_equal(masks, list(read_frames(path, range(len(masks)), "grey")))
        times.append(time.process_time())
        write, read = np.diff(times) * 1000 / len(masks)
        size = path.stat().st_size / len(masks)
        print(f"  {codec:8s} {size:5.0f} bytes, write {write:.1f} ms, read {read:.1f} ms, {same=}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="scene", help=f"of {', '.join(SCENES)}")
    scenes = parser.parse_args().scenes or SCENES
    if unknown := set(scenes) - {*SCENES, "codecs"}:
        parser.error(f"there is no scene {', '.join(unknown)}; known: {', '.join(SCENES)}")
    if scenes == ["codecs"]:
        with tempfile.TemporaryDirectory() as folder:
            compare_codecs(Path(folder))
        return
    rig = read_calibration(DEMO / "calibration.h5", tuple(map(str, CAMERAS)), SIZE[1], SIZE[0])
    for scene in scenes:
        with tempfile.TemporaryDirectory() as folder:
            compare(scene, rig, Path(folder))


if __name__ == "__main__":
    main()
