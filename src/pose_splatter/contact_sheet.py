"""One page that shows whether a recording is usable: frames in every camera, the path from above.

Pictures are the videos' own, undistorted, so that a mask that misses the animal is seen to miss it;
drawn over them is what preprocessing made of them.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy import ndarray

from pose_splatter.cameras import CameraRig, undistortion_maps
from pose_splatter.carving import VoxelGrid, to_world
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore, mask_box
from pose_splatter.plots import (
    BLUE,
    GREEN,
    HELDOUT_COLOR,
    PURPLE,
    SKY,
    YELLOW,
    frame_label,
    mark_camera,
)
from pose_splatter.progress import track
from pose_splatter.tracking import Track
from pose_splatter.video import read_frames, shifted, spread

FRAMES = 4
HEADINGS = 24  # arrows along the path
MASK_COLOR, GRID_COLOR, HEADING_COLOR = YELLOW, SKY, PURPLE  # seen on light and dark fur
HULL_COLOR = GREEN
OUTSIDE_COLOR = "0.85"
MARGIN = 0.1  # of the box around grid and mask, on each side
BEYOND = 0.15  # of the picture's longer side: what is drawn of a grid that reaches out of it


def sample_frames(animal: Track, count: int = FRAMES) -> list[int]:
    """Frames with the animal in them, evenly spread over the recording."""
    seen = np.flatnonzero(animal.visible)
    if not len(seen):
        raise PoseSplatterError(
            "no frame shows the animal in all observed cameras; check masks and calibration."
        )
    return spread(seen.tolist(), count)


def read_pictures(
    videos: Sequence[str | Path],
    rig: CameraRig,
    source_frames: Sequence[int],
    offsets: Sequence[int],
    downsample: int,
) -> UInt8[ndarray, "frame camera h w 3"]:
    """The videos' frames (ascending numbers), undistorted by `rig`, at the size of the store.

    `rig` is that of the videos, as cameras.h5 holds it, `offsets` the frames by which each camera
    is off.
    """
    cameras = []
    for camera, video in enumerate(track(videos, "reading videos", len(videos))):
        maps = undistortion_maps(rig, camera)
        pictures = []
        for picture in read_frames(video, shifted(source_frames, offsets[camera])):
            plain = picture if maps is None else cv2.remap(picture, *maps, cv2.INTER_LINEAR)
            height, width = (size - size % downsample for size in plain.shape[:2])
            size = (width // downsample, height // downsample)
            pictures.append(cv2.resize(plain[:height, :width], size, interpolation=cv2.INTER_AREA))
        cameras.append(np.stack(pictures))
    return np.stack(cameras, axis=1)


def grid_edges(
    grid: VoxelGrid, center: Float[ndarray, "3"], angle: float
) -> Float[ndarray, "12 2 3"]:
    """The ends of the twelve edges of a grid that stands in the world at `center`, turned."""
    ends = []
    for axis in range(3):
        for rest in product((0, 1), repeat=2):
            start = np.insert(np.array(rest, float), axis, 0.0)
            ends.append([start, start + np.eye(3)[axis]])
    local = np.array(grid.lower) + grid.edges * np.array(ends)
    return to_world(local, center, angle)


def heading_arrow(
    center: Float[ndarray, "3"], angle: float, length: float
) -> Float[ndarray, "2 3"]:
    """From the animal's centre ahead."""
    return np.stack([center, center + length * np.array([np.cos(angle), np.sin(angle), 0.0])])


def plot_contact_sheet(
    pictures: UInt8[ndarray, "frame camera h w 3"],
    frames: Sequence[int],
    store: FrameStore,
    rig: CameraRig,
    animal: Track,
    grid: VoxelGrid | None,
    heldout: Sequence[str],
    title: str,
    hulls: UInt8[ndarray, "frame camera h w"] | None = None,
    grid_name: str = "the model's grid",
) -> Figure:
    """The frames (rows) in every camera (columns), and under them the rig and the path from above.

    `pictures` are the `frames` as `read_pictures` gives them, `rig` the upright pinholes of the
    store, `grid` the cropped one of crop.json or another, of `grid_name`, `heldout` the names of
    cameras held out. Where there are `hulls`, what each camera sees of the frames' hulls, their
    outlines are drawn too. Frames without the animal get no grid and no heading.
    """
    columns = max(len(rig), 4)
    figure = plt.figure(
        figsize=(2.3 * columns + 0.5, 2.3 * len(frames) + 5.6), layout="constrained"
    )
    heights = (2.3 * len(frames) + 0.6, 5.0)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = above.subplots(len(frames), len(rig), squeeze=False)
    for row, frame in enumerate(frames):
        masks = store.read_masks(frame)
        edges, arrow = np.empty((len(rig), 0, 2, 2)), np.empty((len(rig), 0, 2))
        if grid is not None and animal.visible[frame]:
            pose = animal.centers[frame], float(animal.angles[frame])
            length = 0.35 * grid.edges[0]
            edges, _ = rig.project(grid_edges(grid, *pose))
            arrow, _ = rig.project(heading_arrow(*pose, length=length))
        for camera, axis in enumerate(axes[row]):
            draw_camera(axis, pictures[row, camera], masks[camera], edges[camera], arrow[camera])
            if hulls is not None:
                draw_outline(axis, hulls[row, camera], HULL_COLOR)
        axes[row, 0].set_ylabel(frame_label(store.source_frames[frame]))
    for column, name in zip(axes.T, rig.names, strict=True):
        mark_camera(column, name, name in heldout)
    handles: list[Line2D | Patch] = [Line2D([], [], color=MASK_COLOR, label="outline of the mask")]
    if hulls is not None:
        handles.append(Line2D([], [], color=HULL_COLOR, label="the cameras' hull, seen again"))
    if grid is not None:
        handles += [
            Line2D([], [], color=GRID_COLOR, label=grid_name),
            Line2D([], [], color=HEADING_COLOR, marker="o", label="centre and heading"),
        ]
    handles.append(Patch(color=OUTSIDE_COLOR, label="outside the picture"))
    above.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3 if len(handles) > len(rig) else 5,
        facecolor="0.35",
        labelcolor="white",
    )
    rig_axis, path_axis = below.subplots(1, 2)
    _draw_rig(rig_axis, rig, animal, heldout)
    _draw_path(path_axis, animal, store)
    figure.suptitle(title)
    return figure


def draw_camera(
    axis: Axes,
    picture: UInt8[ndarray, "h w 3"],
    mask: UInt8[ndarray, "h w"],
    edges: Float[ndarray, "edge 2 2"],
    arrow: Float[ndarray, "point 2"],
) -> None:
    """One picture, cut to grid and mask, with both, and centre and heading, drawn over it.

    Without edges and arrow (no edge, no point) it is the whole picture, with the mask.
    """
    height, width = mask.shape
    # Pixel (0, 0) covers [0, 1)²: the coordinates that cameras project to.
    axis.imshow(picture, extent=(0, width, height, 0), interpolation="bilinear")
    draw_outline(axis, mask, MASK_COLOR)
    if not len(arrow):
        axis.set(xlim=(0, width), ylim=(height, 0))
        return
    axis.add_collection(LineCollection(list(edges), colors=GRID_COLOR, linewidths=0.8))
    axis.annotate(
        "",
        arrow[1],
        arrow[0],
        arrowprops={"arrowstyle": "-|>", "color": HEADING_COLOR, "lw": 1.8, "shrinkA": 0},
    )
    axis.plot(*arrow[0], "o", color=HEADING_COLOR, ms=4)
    points = edges.reshape(-1, 2)
    if mask.any():
        rows, columns = mask_box(mask)
        points = np.vstack([points, [columns.start, rows.start], [columns.stop, rows.stop]])
    size, room = np.array([width, height]), BEYOND * max(width, height)
    low = np.maximum(points.min(axis=0), -room)
    high = np.minimum(points.max(axis=0), size + room)
    middle, half = (low + high) / 2, (0.5 + MARGIN) * float((high - low).max())
    axis.set(
        xlim=(middle[0] - half, middle[0] + half),
        ylim=(middle[1] + half, middle[1] - half),
        facecolor=OUTSIDE_COLOR,
    )


def draw_outline(axis: Axes, mask: UInt8[ndarray, "h w"], color: str) -> None:
    """The outline of a mask over its picture."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = [np.concatenate([c, c[:1]])[:, 0] + 0.5 for c in contours]
    axis.add_collection(LineCollection(outlines, colors=color, linewidths=1.0))


def _draw_rig(axis: Axes, rig: CameraRig, animal: Track, heldout: Sequence[str]) -> None:
    """The cameras from above, which way they look, and where the animal went."""
    path = animal.centers[animal.visible]
    axis.plot(path[:, 0], path[:, 1], color=BLUE, lw=1, label="path of the animal")
    axis.plot([], [], "ks", ls="", label="camera, and which way it looks")
    axis.legend(frameon=False, fontsize=8)
    centers, ahead = rig.centers, rig.rotations[:, 2]
    middle = (path if len(path) else centers)[:, :2].mean(axis=0)
    size = 0.15 * np.linalg.norm(centers[:, :2] - middle, axis=1).max()
    for camera, name in enumerate(rig.names):
        color = HELDOUT_COLOR if name in heldout else "black"
        x, y = centers[camera, :2]
        dx, dy = size * ahead[camera, :2]
        axis.annotate("", (x + dx, y + dy), (x, y), arrowprops={"arrowstyle": "->", "color": color})
        axis.plot(x, y, "s", color=color, ms=6)
        label = f"{name}, held out" if name in heldout else name
        axis.annotate(
            f"{label}\nz = {centers[camera, 2]:.4g}",
            (x, y),
            (-10 * np.sign(dx), 0),
            textcoords="offset points",
            ha="right" if dx > 0 else "left",
            va="center",
            color=color,
            fontsize=8,
        )
    axis.margins(0.25)
    axis.set(
        title="cameras and path from above",
        xlabel="x (calibration's unit)",
        ylabel="y (calibration's unit)",
    )
    axis.set_aspect("equal", adjustable="datalim")


def _draw_path(axis: Axes, animal: Track, store: FrameStore) -> None:
    """The animal's centre from above, coloured by time, with headings."""
    seen = np.flatnonzero(animal.visible)
    path = animal.centers[seen]
    shown = axis.scatter(
        path[:, 0], path[:, 1], c=store.source_frames[seen], cmap="viridis", s=10, linewidths=0
    )
    chosen = spread(seen.tolist(), HEADINGS)
    axis.quiver(
        *animal.centers[chosen, :2].T,
        np.cos(animal.angles[chosen]),
        np.sin(animal.angles[chosen]),
        color=HEADING_COLOR,
        angles="xy",
        scale=14,
        width=0.006,
        zorder=3,
    )
    axis.figure.colorbar(shown, ax=axis, label="video frame")
    share = len(seen) / len(animal)
    axis.margins(0.15)
    axis.set(
        title=f"centre and heading from above, seen in {share:.0%} of {len(animal)} frames",
        xlabel="x (calibration's unit)",
        ylabel="y (calibration's unit)",
    )
    axis.set_aspect("equal", adjustable="datalim")
