"""Draw the pictures of docs/troubleshooting.md: the demo, each time with one fault put into it.

From the project's folder: python docs/pictures/faults.py
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import zarr
from matplotlib import pyplot as plt

from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import CameraRig, rotation_to_z
from pose_splatter.checkup.geometry import check_up_direction, measure
from pose_splatter.checkup.sample import Sample, take_sample
from pose_splatter.consistency import hull_views
from pose_splatter.contact_sheet import (
    HULL_COLOR,
    MASK_COLOR,
    draw_camera,
    draw_outline,
    grid_edges,
    heading_arrow,
)
from pose_splatter.frames import FrameStore
from pose_splatter.plots import save_figure
from pose_splatter.synchronization import check_recording
from pose_splatter.synchronization_plots import plot_synchronization
from pose_splatter.tracking import follow
from pose_splatter.video import describe_recording, read_frames
from pose_splatter.volume import make_crop, measure_length, measure_reach, sum_hulls

FOLDER = Path(__file__).parent
DEMO = Path("resources/demo")
NAMES = tuple("012345")
SHOWN = (0, 2, 3)  # cameras
FRAMES = tuple(range(23, 300, 23))  # the first is drawn
ALL = list(range(6))
SETTINGS = {"heldout_cameras": [], "up": "auto"}
GRID_SIZE, COVERAGE = 112, 0.999


def read_demo() -> Sample:
    """A dozen frames of the demo."""
    videos = [DEMO / f"videos/camera{name}.mp4" for name in NAMES]
    masks = [DEMO / f"masks/camera{name}.mp4" for name in NAMES]
    described = describe_recording(videos, masks)
    rig = read_calibration(DEMO / "calibration.h5", NAMES, described.width, described.height)
    pictures = [list(read_frames(path, FRAMES)) for path in videos]
    greys = [list(read_frames(path, FRAMES, "grey")) for path in masks]
    return take_sample(rig, FRAMES, pictures, greys)


def save(name: str, figure: plt.Figure) -> None:
    save_figure(FOLDER / f"fault_{name}.jpg", figure, dpi=80)
    print(FOLDER / f"fault_{name}.jpg")


def two_rows(titles: tuple[str, str], draw: tuple) -> plt.Figure:
    """The demo as it is above, and the fault below, in three cameras; `draw` draws into an axis."""
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(8, 5.6), layout="constrained")
    for row, title, draw_one in zip(axes, titles, draw, strict=True):
        for axis, camera in zip(row, SHOWN, strict=True):
            draw_one(axis, camera)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(title)
    for axis, camera in zip(axes[0], SHOWN, strict=True):
        axis.set_title(f"camera {camera}")
    return figure


def outlines(sample: Sample, frame: int, axis: plt.Axes, camera: int) -> None:
    """A picture around the animal, with its mask and what the camera sees of the hull."""
    views, _ = hull_views(sample.masks[frame], sample.rig, ALL)
    axis.imshow(sample.pictures[frame, camera], extent=(0, sample.rig.width, sample.rig.height, 0))
    draw_outline(axis, sample.masks[frame, camera], MASK_COLOR)
    draw_outline(axis, views[camera], HULL_COLOR)
    left, top, width, height = cv2.boundingRect(sample.masks[frame, camera])
    x, y, half = left + width / 2, top + height / 2, 0.75 * max(width, height)
    axis.set(xlim=(x - half, x + half), ylim=(y + half, y - half), facecolor="0.85")


def posed(sample: Sample, up: np.ndarray, ell: float, axis: plt.Axes, camera: int) -> None:
    """A picture with heading and the model's grid as the workflow chooses it.

    `ell` is the one that config gives, as a share of the animal's length.
    """
    upright = replace(sample, rig=sample.rig.rotated(rotation_to_z(up)))
    rig, frames = upright.rig, range(len(FRAMES))
    animal = follow(measure(upright, []), smoothing=0)
    images, masks = zarr.array(sample.pictures), zarr.array(sample.masks)
    store = FrameStore(images, masks, np.array(FRAMES), rig.names, sample.scale)
    length, reach = ell * measure_length(animal, frames), measure_reach(animal, frames)
    total = sum_hulls(store, rig, ALL, animal, frames, GRID_SIZE, length, reach)
    grid = make_crop(total, COVERAGE, "auto").grid
    pose = animal.centers[0], float(animal.angles[0])
    edges, _ = rig.project(grid_edges(grid, *pose))
    arrow, _ = rig.project(heading_arrow(*pose, length=0.35 * grid.edges[0]))
    draw_camera(
        axis, sample.pictures[0, camera], sample.masks[0, camera], edges[camera], arrow[camera]
    )


def moved(rig: CameraRig) -> CameraRig:
    """Camera 2 stands 40 mm beside its place."""
    translations = rig.translations.copy()
    translations[2] += [40.0, 0, 0]
    return replace(rig, translations=translations)


def half_masks(sample: Sample) -> Sample:
    """Camera 0's mask lacks the animal's right half."""
    masks = sample.masks.copy()
    columns = np.flatnonzero(masks[0, 0].any(axis=0))
    masks[0, 0, :, columns[len(columns) // 2] :] = 0
    return replace(sample, masks=masks)


def cut_off(sample: Sample) -> Sample:
    """Camera 0 was aimed beside the animal: its picture ends in the middle of it."""
    columns = np.flatnonzero(sample.masks[0, 0].any(axis=0))
    shift = int(columns[len(columns) // 2])
    masks, pictures = sample.masks.copy(), sample.pictures.copy()
    masks[:, 0, :, :shift] = 0
    pictures[:, 0, :, :shift] = 217
    return replace(sample, masks=masks, pictures=pictures)


def coarse(sample: Sample, factor: int, axis: plt.Axes, camera: int) -> None:
    """A picture as it is stored when it is averaged over so many more pixels."""
    picture = sample.pictures[0, camera]
    height, width = (size // factor for size in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    left, top, w, h = cv2.boundingRect(sample.masks[0, camera])
    axis.imshow(small, extent=(0, width * factor, height * factor, 0), interpolation="nearest")
    x, y, half = left + w / 2, top + h / 2, 0.75 * max(w, h)
    axis.set(xlim=(x - half, x + half), ylim=(y + half, y - half))


def draw_timing() -> plt.Figure:
    """Camera 2's masks read seven frames late."""
    videos = [DEMO / f"videos/camera{name}.mp4" for name in NAMES]
    masks = [DEMO / f"masks/camera{name}.mp4" for name in NAMES]
    described = describe_recording(videos, masks)
    rig = read_calibration(DEMO / "calibration.h5", NAMES, described.width, described.height)
    late = replace(described, stop=described.stop - 7, offsets=(0, 0, 7, 0, 0, 0))
    found = check_recording(rig, masks, late, [], "demo")
    return plot_synchronization(replace(found, frame_offsets={}), [])


def main() -> None:
    """Draw all of them."""
    demo = read_demo()
    fine = partial(outlines, demo, 0)
    fault = replace(demo, rig=moved(demo.rig))
    save("calibration", two_rows(("sound", "camera 2 moved"), (fine, partial(outlines, fault, 0))))
    save("timing", draw_timing())
    fault = half_masks(demo)
    save("masks", two_rows(("sound", "half a mask"), (fine, partial(outlines, fault, 0))))
    fault = cut_off(demo)
    save("edge", two_rows(("sound", "picture ends early"), (fine, partial(outlines, fault, 0))))
    rows = partial(coarse, demo, 1), partial(coarse, demo, 8)
    save("scale", two_rows(("90 pixels long", "11 pixels long"), rows))
    up, _ = check_up_direction(demo, SETTINGS)
    tilted = cv2.Rodrigues(np.array([0.0, 0.7, 0.0]))[0] @ up
    rows = partial(posed, demo, up, 1.0), partial(posed, demo, tilted, 1.0)
    save("up", two_rows(("sound", "up tilted by 40 degrees"), rows))
    rows = partial(posed, demo, up, 1.0), partial(posed, demo, up, 0.5)
    save("crop", two_rows(("sound", "grid too small"), rows))


if __name__ == "__main__":
    main()
