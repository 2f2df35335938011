"""Whether cameras are in step, in one picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pose_splatter.plots import BLUE, GREY, HELDOUT_COLOR
from pose_splatter.synchronization import CameraTiming, Synchronization, lowest_shift


def plot_synchronization(found: Synchronization, heldout: Sequence[str]) -> Figure:
    """What is left between a camera and the others at every shift, a panel for each camera.

    Orange panels are held-out cameras. The lowest point is where a camera is in step; it is filled
    where that is certain.
    """
    columns = min(len(found.cameras), 6)
    rows = -(-len(found.cameras) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.2 * columns + 0.6, 2.2 * rows + 1.1),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for axis, camera in zip(axes.flat, found.cameras, strict=False):
        _draw_camera(axis, camera, found.shifts, camera.name in heldout)
    for axis in axes.flat[len(found.cameras) :]:
        axis.set_visible(False)
    figure.supxlabel("shift (frames)")
    figure.supylabel("left between silhouettes (pixels)")
    corrected = found.corrected_offsets != found.frame_offsets
    fix = f", config needs {found.config_line}" if corrected else ""
    figure.suptitle(f"{found.recording}, synchronization: {found.verdict}{fix}")
    return figure


def _draw_camera(axis: Axes, camera: CameraTiming, shifts: range, heldout: bool) -> None:
    color = HELDOUT_COLOR if heldout else BLUE
    axis.axvline(0, color=GREY, lw=0.8, ls=":")
    residuals = np.array(camera.residuals, float)
    axis.plot(shifts, residuals, color=color, lw=1.5)
    best = lowest_shift(residuals)
    certain = camera.offset is not None
    axis.plot(
        shifts[best],
        residuals[best],
        "o",
        color=color,
        markerfacecolor=color if certain and not camera.drifts else "white",
    )
    state = f"off by {camera.offset}" if camera.offset else "in step"
    state = state if certain else "cannot tell"
    state = f"off by more than {shifts[-2]}" if camera.beyond else state
    state = "drifts" if camera.drifts else state
    axis.set_title(
        f"camera {camera.name}{', held out' if heldout else ''}\n{state}",
        color=color if heldout else "black",
        fontsize=10,
        fontweight="bold" if state not in ("in step", "cannot tell") else "normal",
    )
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.spines[["top", "right"]].set_visible(False)
