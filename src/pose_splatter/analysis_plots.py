"""Pictures of metrics: over the frames, by camera, how they spread, the worst and best frames."""

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from pose_splatter.analysis import Picture, camera_table, goodness
from pose_splatter.comparison import DIGITS, DIRECTION, TITLES
from pose_splatter.evaluation import METRICS, ROLES
from pose_splatter.plots import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    HELDOUT_COLOR,
    PURPLE,
    SKY,
    frame_label,
    square_box,
)

# Okabe and Ito's: blues, green and purple for observed cameras, oranges for held-out ones.
OBSERVED_COLORS = (BLUE, SKY, GREEN, PURPLE, "black")
HELDOUT_COLORS = (HELDOUT_COLOR, AMBER)
LINE_STYLES = ("-", "--", "-.", ":")


def plot_metrics_per_frame(frames: pd.DataFrame, title: str) -> Figure:
    """Every metric over the video's frames, a line per camera; held-out cameras thick and orange.

    `frames` is metrics_test_frames.csv; lines are broken where the animal is absent.
    """
    figure, axes = _panels(title)
    roles = frames.drop_duplicates("camera").set_index("camera")["role"]
    for axis, metric in zip(axes, METRICS, strict=True):
        table = frames.pivot(index="source_frame", columns="camera", values=metric)
        counts = dict.fromkeys(ROLES, 0)
        for camera, role in roles.items():
            heldout = role == "heldout"
            colors = HELDOUT_COLORS if heldout else OBSERVED_COLORS
            turn, index = divmod(counts[role], len(colors))
            counts[role] += 1
            axis.plot(
                table.index,
                table[camera],
                color=colors[index],
                ls=LINE_STYLES[turn % len(LINE_STYLES)],
                lw=2 if heldout else 1,
                marker=".",  # a frame alone between absent ones is seen too
                markersize=3,
                label=f"camera {camera}" + (" (held out)" if heldout else ""),
            )
        axis.set(title=TITLES[metric], xlabel="video frame")
        axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(roles), 6),
        frameon=False,
    )
    return figure


def plot_distribution(frames: pd.DataFrame, title: str) -> Figure:
    """How every metric spreads over the frames: a box per camera, then one per role.

    Boxes reach from the first to the third quartile, whiskers over 1.5 times as far.
    """
    figure, axes = _panels(title)
    seen = frames[frames["status"] == "ok"]
    cameras = seen.drop_duplicates("camera").set_index("camera")["role"]
    roles = [role for role in ROLES if (cameras == role).any()]
    labels = [f"camera {camera}" for camera in cameras.index]
    labels += [f"all {'held out' if role == 'heldout' else role}" for role in roles]
    for axis, metric in zip(axes, METRICS, strict=True):
        groups = [seen.loc[seen["camera"] == camera, metric] for camera in cameras.index]
        groups += [seen.loc[seen["role"] == role, metric] for role in roles]
        places = [*range(len(cameras)), *(len(cameras) + 0.7 + np.arange(len(roles)))]
        boxes = axis.boxplot(
            [group[np.isfinite(group)] for group in groups],
            positions=places,
            widths=0.6,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": GREY},
        )
        axis.set_xticks(places, labels, rotation=90)
        for box, label, role in zip(
            boxes["boxes"], axis.get_xticklabels(), [*cameras, *roles], strict=True
        ):
            box.set(facecolor=_color(role), alpha=0.8)
            label.set_color(_text_color(role))
        axis.axvline(len(cameras) - 0.15, color="0.8")
        axis.set_title(TITLES[metric])
    return figure


def plot_metrics_by_camera(cameras: pd.DataFrame, title: str) -> Figure:
    """A heatmap of metric by camera, values in the cells; held-out cameras are named in orange.

    `cameras` is metrics_test.csv. Each row is coloured from its worst to its best camera, since
    metrics have different units and directions.
    """
    table = camera_table(cameras)
    roles = cameras.set_index("camera")["role"]
    own = [name for name in table if not name.startswith("mean_")]
    colors = goodness(table, own)
    figure, axis = plt.subplots(
        figsize=(2.2 + 0.95 * len(table.columns), 4.6), layout="constrained"
    )
    shown = axis.imshow(colors, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, metric), (column, camera) in (
        (row, column) for row in enumerate(table.index) for column in enumerate(table)
    ):
        axis.text(
            column,
            row,
            f"{table.loc[metric, camera]:.{DIGITS[metric]}f}",
            ha="center",
            va="center",
            color="black" if colors.loc[metric, camera] > 0.5 else "white",
        )
    axis.axvline(len(own) - 0.5, color="white", lw=5)
    labels = [
        f"mean of\n{'held-out' if roles[name] == 'heldout' else 'observed'}"
        if name.startswith("mean_")
        else f"camera {name}" + ("\nheld out" if roles[name] == "heldout" else "")
        for name in table
    ]
    axis.set_xticks(range(len(labels)), labels)
    axis.set_yticks(range(len(table)), [TITLES[metric] for metric in table.index])
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for tick, name in zip(axis.xaxis.get_major_ticks(), table, strict=True):
        tick.label2.set_color(_text_color(roles[name]))
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axis, location="bottom", shrink=0.5, aspect=40, ticks=[0, 1])
    bar.ax.set_xticklabels(["the row's worst camera", "its best"])
    figure.suptitle(f"{title}\n{DIRECTION}", fontsize="medium")
    return figure


def plot_frames(pictures: Iterable[Picture], title: str, columns: int = 4) -> Figure:
    """Pictures beside their renders, cut to the animal, with their metrics; held-out in orange.

    The pictures' rows are those of `extreme_frames`.
    """
    pictures = list(pictures)
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, 0.6 + 2.6 * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat[len(pictures) :]:
        axis.set_visible(False)
    for axis, picture in zip(axes.flat, pictures, strict=False):
        box = square_box(picture.mask)
        truth, render = picture.image[box], picture.render[box]
        width, metrics = truth.shape[1], picture.metrics
        axis.imshow(np.concatenate([truth, render], axis=1))
        axis.axvline(width - 0.5, color="0.8", lw=0.8)
        heldout = metrics["role"] == "heldout"
        axis.set_title(
            f"{frame_label(metrics['source_frame'])}, camera {metrics['camera']}"
            + (" (held out)" if heldout else "")
            + f"\nIoU {metrics['iou']:.3f} (frame's mean {metrics['mean_iou']:.3f})"
            f"\nPSNR on the box {metrics['psnr_fg']:.1f} dB, SSIM {metrics['ssim']:.3f}",
            fontsize=9,
            color=_text_color(metrics["role"]),
        )
        axis.set_xticks([width / 2, 1.5 * width], ["truth", "prediction"])
        axis.set_yticks([])
        axis.tick_params(length=0)
        axis.spines[:].set(color=_text_color(metrics["role"]), linewidth=2 if heldout else 0.8)
    figure.suptitle(title)
    return figure


def _panels(title: str) -> tuple[Figure, list[plt.Axes]]:
    """Six panels, one per metric."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.9")
        axis.set_axisbelow(True)
    figure.suptitle(f"{title}   ({DIRECTION})")
    return figure, list(axes.flat)


def _color(role: str) -> str:
    return HELDOUT_COLOR if role == "heldout" else BLUE


def _text_color(role: str) -> str:
    return HELDOUT_COLOR if role == "heldout" else "black"
