"""Experiments side by side in one picture."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pose_splatter.comparison import COSTS, DIGITS, DIRECTION, TITLES
from pose_splatter.plots import BLUE, HELDOUT_COLOR

COLUMNS = ("iou", "soft_iou", "psnr_fg", "psnr", "ssim", "l1", *COSTS)
COLORS = {"observed": BLUE, "heldout": HELDOUT_COLOR}


def plot_experiments(table: pd.DataFrame, baseline: str) -> Figure:
    """The metrics and costs of `comparison.compare`, an experiment a line.

    Points are means over an experiment's recordings, blue for observed and orange for held-out
    cameras; a label is the mean difference from the baseline (dashed) on the recordings of both.
    """
    experiments = list(table["experiment"].unique())
    means = table.groupby(["role", "experiment"], sort=False).mean(numeric_only=True)
    figure, axes = plt.subplots(
        2,
        len(COLUMNS) // 2,
        figsize=(3.4 * len(COLUMNS) / 2, 2 * (1.5 + 0.55 * len(experiments))),
        layout="constrained",
        sharey=True,
    )
    for axis, column in zip(axes.flat, COLUMNS, strict=True):
        if column in COSTS:  # of the experiment, whatever the cameras
            values = means.groupby("experiment", sort=False)[column].mean().reindex(experiments)
            _points(axis, column, values, values - values.get(baseline, np.nan), "black")
        else:
            for role, color in COLORS.items():
                if role in means.index:
                    shown = means.loc[role].reindex(experiments)
                    _points(axis, column, shown[column], shown[f"{column}_difference"], color)
        _dress(axis, TITLES[column], experiments)
    handles = [
        Line2D([], [], marker="o", ls="", color=color, label=f"{role} cameras")
        for role, color in (("observed", BLUE), ("held-out", HELDOUT_COLOR))
    ]
    n = table["recording"].nunique()
    over = f"means over {n} recordings" if n > 1 else str(table["recording"].iloc[0])
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        frameon=False,
        title=f"{over}; differences are from {baseline}; {DIRECTION}",
    )
    return figure


def _dress(axis: Axes, title: str, experiments: Sequence[str]) -> None:
    axis.set(title=title, yticks=range(len(experiments)), yticklabels=experiments)
    axis.set_ylim(len(experiments) - 0.4, -0.6)
    axis.margins(x=0.25)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="0.9")


def _points(axis: Axes, column: str, values: pd.Series, differences: pd.Series, color: str) -> None:
    """One value a line; labelled with its difference, the baseline itself with its value."""
    axis.plot(values, np.arange(len(values)), "o", color=color)
    for place, (value, difference) in enumerate(zip(values, differences, strict=True)):
        if difference == 0:
            axis.axvline(value, color=color, ls="--", lw=0.8, alpha=0.6)
        same = difference == 0 or np.isnan(difference)
        digits = DIGITS[column]
        label = f"{value:.{digits}f}" if same else f"{difference:+.{digits}f}"
        axis.annotate(
            label,
            (value, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
