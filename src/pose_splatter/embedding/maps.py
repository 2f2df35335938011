"""The map: frames in two dimensions, those of similar pose and appearance beside each other."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy import ndarray
from sklearn.manifold import TSNE

from pose_splatter.errors import PoseSplatterError
from pose_splatter.plots import AMBER, BLUE, GREEN, ORANGE, PURPLE, SKY

PERPLEXITY = 30.0  # of t-SNE: about how many frames are a frame's neighbours
MINIMUM = 10  # frames that a map needs
RECORDING_COLORS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
# Heading goes round, as its colours do, and none is as light as the ground.
HEADING_COLORS = LinearSegmentedColormap.from_list("heading", [BLUE, PURPLE, AMBER, GREEN, BLUE])
# What the map is coloured by: the column, its label, the colour map, and its least and largest
# value, or None to measure them.
COLORINGS: dict[str, tuple[str, str | Colormap, tuple[float, float] | None]] = {
    "heading": ("heading (degrees)", HEADING_COLORS, (0.0, 360.0)),
    "height": ("height of the centre (body sizes)", "viridis", None),
    "speed": ("speed (body sizes per second)", "viridis", None),
    "time": ("time (s)", "cividis", None),
}


def neighbour_map(
    embedding: Float[ndarray, "frame component"], seed: int
) -> Float[ndarray, "frame 2"]:
    """Places of frames in the plane, neighbours beside each other (t-SNE); NaN stays NaN.

    The frames of all recordings together: t-SNE has no way to add frames to a map. Raises
    PoseSplatterError where there are too few.
    """
    seen = np.isfinite(embedding).all(axis=1)
    if seen.sum() < MINIMUM:
        raise PoseSplatterError(
            f"a map needs {MINIMUM} frames with the animal, but there are {seen.sum()}; embed more."
        )
    places = np.full((len(embedding), 2), np.nan)
    perplexity = min(PERPLEXITY, (seen.sum() - 1) / 3)
    places[seen] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        embedding[seen]
    )
    return places


def map_table(
    recordings: Sequence[str],
    embeddings: Sequence[Float[ndarray, "_ component"]],
    movements: Sequence[pd.DataFrame],
    seed: int,
) -> pd.DataFrame:
    """map.csv: a row per frame of every recording, with its place x, y and its `movements`."""
    tables = [
        moved.assign(recording=name, frame=range(len(moved)))
        for name, moved in zip(recordings, movements, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)
    x, y = neighbour_map(np.concatenate(embeddings), seed).T
    return table.assign(x=x, y=y)[["recording", "frame", "x", "y", *movements[0]]]


def plot_map(table: pd.DataFrame) -> Figure:
    """The map (columns x, y), a panel for each of COLORINGS, and one for recordings if several.

    Frames are drawn in a random order, so that none of several recordings hides the others.
    """
    table = table.dropna(subset=["x", "y"]).sample(frac=1, random_state=0)
    recordings = sorted(table["recording"].unique())
    columns = 3 if len(recordings) > 1 else 2
    figure, axes = plt.subplots(2, columns, figsize=(4.6 * columns, 8.4), layout="constrained")
    for axis, column in zip(axes.flat, COLORINGS, strict=False):
        _plot_colored(axis, table, column)
    for axis in axes.flat:
        # On grey, both ends of every colour map are seen.
        axis.set(xticks=[], yticks=[], facecolor="0.82")
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[:].set_visible(False)
    if len(recordings) > 1:
        *_, beside, free = axes.flat
        _plot_recordings(beside, table, recordings)
        free.set_axis_off()
        free.legend(
            *beside.get_legend_handles_labels(),
            title="recording",
            loc="center left",
            frameon=False,
            markerscale=5 / _size(table) ** 0.5,
        )
    n = f"{len(table)} frames"
    of = f"{len(recordings)} recordings" if len(recordings) > 1 else recordings[0]
    figure.suptitle(f"Embedding of {n} of {of} (t-SNE; axes have no unit)")
    return figure


def _plot_colored(axis: Axes, table: pd.DataFrame, column: str) -> None:
    label, colors, limits = COLORINGS[column]
    values = np.rad2deg(table[column]) if column == "heading" else table[column]
    low, high = limits or np.quantile(values, [0.01, 0.99])
    shown = axis.scatter(
        table["x"], table["y"], c=values, cmap=colors, vmin=low, vmax=high, s=_size(table), lw=0
    )
    beyond = "neither" if limits else "both"
    bar = axis.figure.colorbar(shown, ax=axis, shrink=0.85, label=label, extend=beyond)
    if column == "heading":
        bar.set_ticks([0, 90, 180, 270, 360])


def _plot_recordings(axis: Axes, table: pd.DataFrame, recordings: list[str]) -> None:
    for number, recording in enumerate(recordings):
        of = table[table["recording"] == recording]
        color = RECORDING_COLORS[number % len(RECORDING_COLORS)]
        axis.scatter(of["x"], of["y"], color=color, label=recording, s=_size(table), lw=0)


def _size(table: pd.DataFrame) -> float:
    """Of a dot, in square points: smaller for more frames."""
    return float(np.clip(12_000 / len(table), 1.5, 16))
