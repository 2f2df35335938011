"""The map: frames in two dimensions, those of similar pose and appearance beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import colormaps
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
GROUND = "0.82"  # grey, on which both ends of every colour map are seen


@dataclass(frozen=True)
class Coloring:
    """What frames are coloured by: values in the unit that the label names, and their colours.

    Values beyond `low` and `high` have the colours of these.
    """

    label: str
    values: pd.Series
    colors: Colormap
    low: float
    high: float

    @classmethod
    def of(cls, table: pd.DataFrame, column: str) -> "Coloring":
        """By one of COLORINGS, of a map's table."""
        label, colors, limits = COLORINGS[column]
        values = np.rad2deg(table[column]) if column == "heading" else table[column]
        low, high = limits or np.quantile(values, [0.01, 0.99])
        return cls(label, values, colormaps.get_cmap(colors), float(low), float(high))


def recording_colors(table: pd.DataFrame) -> dict[str, str]:
    """A colour for every recording of a map's table, by name; beyond six, colours come again."""
    return dict(zip(sorted(table["recording"].unique()), cycle(RECORDING_COLORS), strict=False))


def neighbour_map(
    embedding: Float[ndarray, "frame component"], seed: int
) -> Float[ndarray, "frame 2"]:
    """Places of frames in the plane, neighbours beside each other (t-SNE); NaN stays NaN.

    The frames of all recordings together: t-SNE has no way to add frames to a map. It starts from
    the first two principal components, so `seed` matters only where these are found at random.
    Raises PoseSplatterError where there are too few frames.
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
    recordings = list(recording_colors(table))
    columns = 3 if len(recordings) > 1 else 2
    figure, axes = plt.subplots(2, columns, figsize=(4.6 * columns, 8.4), layout="constrained")
    for axis, column in zip(axes.flat, COLORINGS, strict=False):
        _plot_colored(axis, table, column)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], facecolor=GROUND)
        axis.set_aspect("equal", adjustable="datalim")
        axis.spines[:].set_visible(False)
    if len(recordings) > 1:
        *_, beside, free = axes.flat
        _plot_recordings(beside, table)
        free.set_axis_off()
        free.legend(
            *beside.get_legend_handles_labels(),
            title="recording",
            loc="center left",
            frameon=False,
            markerscale=5 / dot_area(len(table)) ** 0.5,
        )
    n = f"{len(table)} frames"
    of = f"{len(recordings)} recordings" if len(recordings) > 1 else recordings[0]
    figure.suptitle(f"Embedding of {n} of {of} (t-SNE; axes have no unit)")
    return figure


def _plot_colored(axis: Axes, table: pd.DataFrame, column: str) -> None:
    by, (_, _, limits) = Coloring.of(table, column), COLORINGS[column]
    shown = axis.scatter(
        table["x"],
        table["y"],
        c=by.values,
        cmap=by.colors,
        vmin=by.low,
        vmax=by.high,
        s=dot_area(len(table)),
        lw=0,
    )
    beyond = "neither" if limits else "both"
    bar = axis.figure.colorbar(shown, ax=axis, shrink=0.85, label=by.label, extend=beyond)
    if column == "heading":
        bar.set_ticks([0, 90, 180, 270, 360])


def _plot_recordings(axis: Axes, table: pd.DataFrame) -> None:
    for recording, color in recording_colors(table).items():
        of = table[table["recording"] == recording]
        axis.scatter(of["x"], of["y"], color=color, label=recording, s=dot_area(len(table)), lw=0)


def dot_area(frames: int) -> float:
    """Of a dot, in square points: smaller for more frames."""
    return float(np.clip(12_000 / frames, 1.5, 16))
