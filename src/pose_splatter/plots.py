"""Pictures for people: training curves, and truth against prediction."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from pose_splatter.files import atomic_path
from pose_splatter.frames import mask_box

matplotlib.use("Agg")
# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, YELLOW = "#56B4E9", "#E69F00", "#F0E442"
GREY = "#666666"
HELDOUT_COLOR = ORANGE


def frame_label(number: int | np.integer, fps: float = 0.0) -> str:
    """How a frame is called everywhere: by its number in the video, and when that is, if known."""
    return f"video frame {number}" + (f", {number / fps:.2f} s" if fps > 0 else "")


def save_figure(path: str | Path, figure: Figure, dpi: int) -> None:
    """Write a figure, atomically, and close it."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
    plt.close(figure)


def plot_training(log: pd.DataFrame) -> Figure:
    """Every loss term of training and validation over the epochs, and the learning rate.

    Marked are the epoch with the least validation loss, and where training went on after it had
    been stopped: before the epochs in whose row `resumed` is 1.
    """
    terms = [name.removeprefix("train_") for name in log if name.startswith("train_")]
    figure, axes = plt.subplots(
        1, len(terms) + 1, figsize=(3.6 * (len(terms) + 1), 3.4), layout="constrained"
    )
    best = int(log["valid_loss"].idxmin())
    titles = {
        "loss": "loss (weighted sum)",
        "iou": "1 - soft IoU",
        "image": "L1 per pixel of the animal",
        "ssim": "1 - SSIM",
    }
    for axis, term in zip(axes, terms, strict=False):
        axis.plot(log["epoch"], log[f"train_{term}"], color=BLUE, label="training")
        axis.plot(log["epoch"], log[f"valid_{term}"], color=SKY, ls="--", label="validation")
        if term == "iou" and log["rehearsal_loss"].notna().any():
            axis.plot(log["epoch"], log["rehearsal_loss"], color=GREEN, label="rehearsals")
        axis.axvline(log["epoch"][best], color=GREY, ls=":", label="best validation epoch")
        axis.set(title=titles.get(term, term), xlabel="epoch")
        axis.set_ylim(bottom=0)
    axes[-1].plot(log["epoch"], log["learning_rate"], color=GREEN)
    axes[-1].set(title="learning rate", xlabel="epoch")
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axis in axes:
        for epoch in log.loc[log["resumed"] == 1, "epoch"]:
            axis.axvline(epoch - 0.5, color=PURPLE, label="resumed")
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    # A line each, however often training was resumed; beneath, where it hides no curve.
    named = {line.get_label(): line for axis in axes[:-1] for line in axis.get_lines()}
    figure.legend(named.values(), named, loc="outside lower center", ncols=5, frameon=False)
    return figure


def plot_truth_against_prediction(
    images: UInt8[ndarray, "camera h w 3"],
    masks: UInt8[ndarray, "camera h w"],
    renders: UInt8[ndarray, "camera h w 4"],
    cameras: Sequence[str],
    heldout: Sequence[str],
    title: str,
) -> Figure:
    """Truth, prediction, alpha and error (rows) in every camera (columns), cut to the animal.

    `cameras` are the cameras' names, `heldout` those that the model never saw.
    """
    boxes = [square_box(mask) for mask in masks]
    figure, axes = plt.subplots(
        4, len(images), figsize=(2 * len(images), 8.6), layout="constrained", squeeze=False
    )
    for camera, (image, rgba, box) in enumerate(zip(images, renders, boxes, strict=True)):
        error = np.abs(image.astype(int) - rgba[..., :3]).mean(axis=-1)
        column = axes[:, camera]
        column[0].imshow(image[box])
        column[1].imshow(rgba[..., :3][box])
        column[2].imshow(rgba[..., 3][box], cmap="gray", vmin=0, vmax=255)
        shown = column[3].imshow(error[box] / 255, cmap="magma", vmin=0, vmax=0.5)
        mark_camera(column, cameras[camera], cameras[camera] in heldout)
    for axis, label in zip(axes[:, 0], ("truth", "prediction", "alpha", "error"), strict=True):
        axis.set_ylabel(label, fontsize=12)
    bar = figure.colorbar(shown, ax=axes, shrink=0.5, location="bottom", aspect=50, pad=0.02)
    bar.set_label("absolute error, mean over red, green and blue (1 = full scale)")
    figure.suptitle(title)
    return figure


def mark_camera(axes: Iterable[Axes], name: str, unseen: bool) -> None:
    """Name a column of one camera's pictures above the first; a held-out one is orange."""
    color = HELDOUT_COLOR if unseen else "black"
    for row, axis in enumerate(axes):
        if row == 0:
            axis.set_title(f"camera {name}\n{'held out' if unseen else ''}", color=color)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(color=color, linewidth=2 if unseen else 0.8)


def square_box(mask: UInt8[ndarray, "h w"], margin: int = 6) -> tuple[slice, slice]:
    """A square around the mask, as far as the image reaches; the whole image without a mask."""
    if not mask.any():
        return slice(None), slice(None)
    sides = [(side.start, side.stop - 1) for side in mask_box(mask)]
    half = max(last - first for first, last in sides) // 2 + margin
    rows, columns = (
        slice(max((first + last) // 2 - half, 0), (first + last) // 2 + half)
        for first, last in sides
    )
    return rows, columns
