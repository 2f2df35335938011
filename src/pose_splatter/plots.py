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
from matplotlib.lines import Line2D
from numpy import ndarray

from pose_splatter.files import atomic_path

matplotlib.use("Agg")
# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, YELLOW = "#56B4E9", "#E69F00", "#F0E442"
GREY = "#666666"
HELDOUT_COLOR = ORANGE


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
    handles, labels = axes[0].get_legend_handles_labels()
    # A line each, however often training was resumed; beneath, where it hides no curve.
    named = dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named, loc="outside lower center", ncols=4, frameon=False)
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
    ends = [np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    half = max(int(end - start) for start, end in ends) // 2 + margin
    rows, columns = (
        slice(max((start + end) // 2 - half, 0), (start + end) // 2 + half) for start, end in ends
    )
    return rows, columns


COMPARED = {
    "iou": "IoU",
    "soft_iou": "soft IoU",
    "psnr_fg": "PSNR on the box (dB)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "l1": "L1 (less is better)",
    "seconds_trained": "seconds trained",
    "checkpoint_mb": "checkpoint (MB)",
}


def plot_experiments(table: pd.DataFrame, baseline: str) -> Figure:
    """Every column of `comparison.compare` that is a number, an experiment a line.

    Points are means over an experiment's recordings, blue for observed and orange for held-out
    cameras; a label is the mean difference from the baseline (dashed) on the recordings of both.
    """
    experiments = list(table["experiment"].unique())
    means = table.groupby(["role", "experiment"], sort=False).mean(numeric_only=True)
    figure, axes = plt.subplots(
        2,
        len(COMPARED) // 2,
        figsize=(3.4 * len(COMPARED) / 2, 2 * (1.5 + 0.55 * len(experiments))),
        layout="constrained",
        sharey=True,
    )
    for axis, (column, title) in zip(axes.flat, COMPARED.items(), strict=True):
        if f"{column}_difference" not in table:  # of the experiment, whatever the cameras
            values = means.groupby("experiment", sort=False)[column].mean().reindex(experiments)
            _points(axis, values, values - values.get(baseline, np.nan), "black")
        else:
            for role, color in (("observed", BLUE), ("heldout", ORANGE)):
                if role in means.index:
                    shown = means.loc[role].reindex(experiments)
                    _points(axis, shown[column], shown[f"{column}_difference"], color)
        axis.set(title=title, yticks=range(len(experiments)), yticklabels=experiments)
        axis.set_ylim(len(experiments) - 0.4, -0.6)
        axis.margins(x=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
    handles = [
        Line2D([], [], marker="o", ls="", color=color, label=f"{role} cameras")
        for role, color in (("observed", BLUE), ("held-out", ORANGE))
    ]
    n = table["recording"].nunique()
    over = f"means over {n} recordings" if n > 1 else str(table["recording"].iloc[0])
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        title=f"{over}; differences are from {baseline}",
    )
    return figure


def _points(axis: Axes, values: pd.Series, differences: pd.Series, color: str) -> None:
    """One value a line; labelled with its difference, the baseline itself with its value."""
    axis.plot(values, np.arange(len(values)), "o", color=color)
    for place, (value, difference) in enumerate(zip(values, differences, strict=True)):
        if difference == 0:
            axis.axvline(value, color=color, ls="--", lw=0.8, alpha=0.6)
        digits = ".0f" if abs(difference) >= 100 else ".2g"
        same = difference == 0 or np.isnan(difference)
        label = f"{value:.3g}" if same else f"{difference:+{digits}}"
        axis.annotate(
            label, (value, place), (0, 5), textcoords="offset points", ha="center", fontsize=8
        )
