"""A frame's carved volume, refined volume and Gaussians from three sides, without perspective.

All in the animal's own frame (origin at its centre, x ahead, y left, z up), on the model's grid.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy import ndarray

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import VoxelGrid, heading_rotation
from pose_splatter.dataset import Recording, Volume
from pose_splatter.gaussians import Gaussians
from pose_splatter.novel_views import render_views
from pose_splatter.plots import GREY

PIXELS_PER_VOXEL = 4
FAR = 300.0  # edges of the grid between camera and animal: so far off, there is no perspective
THICKEST = 0.5  # of the animal's length, where the scale of thickness ends: the same for all
SOLID = 0.5  # carved voxels below this occupancy, which a camera does not see, hide no others


@dataclass(frozen=True)
class Side:
    """A direction to look along: rows of `axes` point to the right, down and ahead."""

    name: str
    axes: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
    labels: tuple[str, str]

    @property
    def rotation(self) -> Float[ndarray, "3 3"]:
        return np.array(self.axes, dtype=np.float64)

    def bounds(self, grid: VoxelGrid) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the grid as it is seen (units, right and up positive)."""
        lower = np.array(grid.lower)
        ends = np.sort(np.stack([lower, lower + grid.edges]), axis=0)
        right, up = np.abs(self.rotation[:2]) @ ends.T
        return float(right[0]), float(right[1]), float(up[0]), float(up[1])


SIDES = (
    Side("from the right", ((1, 0, 0), (0, 0, -1), (0, 1, 0)), ("x (ahead)", "z (up)")),
    Side("from the front", ((0, 1, 0), (0, 0, -1), (-1, 0, 0)), ("y (left)", "z (up)")),
    Side("from above", ((1, 0, 0), (0, -1, 0), (0, 0, -1)), ("x (ahead)", "y (left)")),
)


def grid_of(volume: Volume) -> VoxelGrid:
    """The grid that a volume was carved on."""
    x, y, z = volume.lower.tolist()
    return VoxelGrid(volume.shape, volume.voxel_size, (x, y, z))


def thickness(
    volume: Volume, density: Float[ndarray, " voxel"], side: Side
) -> Float[ndarray, "row column"]:
    """The density (0 to 1) of a volume's voxels integrated along the line of sight (units)."""
    rows, columns, shape = _pixels(volume, side)
    image = np.zeros(shape)
    np.add.at(image, (rows, columns), density * volume.voxel_size)
    return image


def carved_colors(volume: Volume, side: Side) -> Float[ndarray, "row column 3"]:
    """The colour of the nearest voxel that all cameras see, over white."""
    features = volume.features.cpu().numpy()
    rows, columns, shape = _pixels(volume, side)
    depths = volume.indices.cpu().numpy() @ side.rotation[2]
    order = np.argsort(-depths, kind="stable")
    order = order[features[order, 0] >= SOLID]
    image = np.ones((*shape, 3))
    image[rows[order], columns[order]] = features[order, 1:4]  # the nearest comes last
    return image


def _pixels(volume: Volume, side: Side) -> tuple[ndarray, ndarray, tuple[int, int]]:
    """Row and column of each voxel in a picture of a pixel per voxel, and the picture's shape."""
    right, down = side.rotation[:2].astype(int)
    indices, shape = volume.indices.cpu().numpy(), np.array(volume.shape)
    columns = indices @ right  # all sides look along positive axes to the right
    rows = (shape - 1 - indices) @ -down
    return rows, columns, (int(shape @ -down), int(shape @ right))


def side_view(volume: Volume, side: Side) -> CameraRig:
    """A camera so far off that it shows the volume's grid, and no more, without perspective."""
    grid = grid_of(volume)
    left, right, bottom, top = side.bounds(grid)
    scale = PIXELS_PER_VOXEL / grid.voxel_size
    distance = FAR * grid.voxel_size * max(grid.shape)
    rotation = side.rotation @ heading_rotation(-volume.angle)
    focal = scale * distance
    return CameraRig(
        names=(side.name,),
        width=round(scale * (right - left)),
        height=round(scale * (top - bottom)),
        intrinsics=np.array([[[focal, 0, -scale * left], [0, focal, scale * top], [0, 0, 1]]]),
        rotations=rotation[None],
        translations=([0, 0, distance] - rotation @ volume.center.cpu().numpy())[None],
        distortions=np.zeros((1, 5)),
    )


def plot_sides(volume: Volume, gaussians: Gaussians, recording: Recording, title: str) -> Figure:
    """Carved thickness, carved colours, refined thickness and Gaussians (rows) from three sides.

    `gaussians` are the model's for this very volume, one per voxel in its order.
    """
    center = volume.center.cpu().numpy().astype(np.float64)
    occupancy = volume.features[:, 0].cpu().numpy().astype(np.float64)
    opacity = gaussians.opacities.cpu().numpy().astype(np.float64)
    rows = {
        "carved:\noccupancy": [thickness(volume, occupancy, side) for side in SIDES],
        "carved:\ncolours": [carved_colors(volume, side) for side in SIDES],
        "refined:\nopacity": [thickness(volume, opacity, side) for side in SIDES],
        "Gaussians": [
            render_views(gaussians, side_view(volume, side), recording, center)[0, ..., :3]
            for side in SIDES
        ],
    }
    largest = THICKEST * recording.crop.length
    bounds = [side.bounds(grid_of(volume)) for side in SIDES]
    widths = [right - left for left, right, _, _ in bounds]
    heights = [top - bottom for _, _, bottom, top in bounds]
    figure, axes = plt.subplots(
        len(rows),
        len(SIDES),
        figsize=(11, 9 * len(rows) * max(heights) / sum(widths) + 1.5),
        width_ratios=widths,
        layout="constrained",
    )
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, side, picture, extent in zip(line, SIDES, pictures, bounds, strict=True):
            shown = axis.imshow(picture, extent=extent, cmap="magma_r", vmin=0, vmax=largest)
            axis.axhline(0, color=GREY, lw=0.6, ls=":")
            axis.axvline(0, color=GREY, lw=0.6, ls=":")
            axis.set(ylabel=side.labels[1])
        line[0].set_ylabel(f"{name}\n\n{SIDES[0].labels[1]}")
        if pictures[0].ndim == 2:
            bar = figure.colorbar(shown, ax=line, pad=0.01, extend="max")
            bar.set_label("thickness\n(calibration's unit)")
    for axis, side in zip(axes[0], SIDES, strict=True):
        axis.set_title(side.name)
    for axis, side in zip(axes[-1], SIDES, strict=True):
        axis.set_xlabel(side.labels[0])
    figure.suptitle(title)
    figure.supxlabel(
        "all lengths in the calibration's unit; dotted: the animal's centre; the edges are those "
        "of the model's grid\n"
        "the same scale of thickness for every experiment; grey: seen by no observed camera",
        fontsize=9,
    )
    return figure
