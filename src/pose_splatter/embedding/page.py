"""The map as a web page on which a frame shows its picture: one file, which opens offline.

Points, colour bars and tools are Bokeh's.
"""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bokeh.core.properties import field
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, HoverTool, LinearColorMapper, Model, TapTool
from bokeh.models.annotations import ColorBar, Legend, LegendItem
from bokeh.models.renderers import GlyphRenderer
from bokeh.models.tickers import FixedTicker
from bokeh.models.widgets import Div, Select
from bokeh.plotting import figure
from bokeh.resources import INLINE
from bokeh.transform import factor_cmap
from jaxtyping import UInt8
from matplotlib.colors import to_hex
from numpy import ndarray
from PIL import Image, ImageOps

from pose_splatter.embedding.maps import COLORINGS, GROUND, Coloring, dot_area, recording_colors
from pose_splatter.files import save_text
from pose_splatter.frames import FrameStore
from pose_splatter.plots import square_box
from pose_splatter.progress import track
from pose_splatter.video import spread

SHOWN = 3000  # frames at most, of a map of any size: they make a page of about 6 MB
PICTURE_SIZE = 120  # pixels along the edges of a picture
PICTURE_QUALITY = 75  # of WebP
TOOLTIPS = 3  # frames whose pictures are shown at once, where dots lie on each other
SIDEBAR = 230  # pixels
FRAME_WIDTH = 195
SHADES = 256
PIXELS_PER_POINT = 4 / 3  # in browsers
LEAST_DOT = 5.0  # pixels: a mouse has to find it

# What is shown of a frame, from columns that `with_pictures` makes.
FRAME_HTML = f"""<div style="width: {FRAME_WIDTH}px; font-size: 13px">
<img src="@picture" width="{PICTURE_SIZE}" height="{PICTURE_SIZE}" alt="the animal"><br>
@caption{{safe}}
</div>"""
CHOOSE_LAYER = """
for (const [name, models] of Object.entries(layers))
  for (const model of models) model.visible = name == select.value;
"""
KEEP_FRAME = """
const [frame] = source.selected.indices;
const column = (_, name) => source.data[name][frame];
kept.text = frame === undefined ? "" : html.replace(/@(\\w+)({safe})?/g, column);
"""


def write_page(
    path: str | Path,
    table: pd.DataFrame,
    stores: Mapping[str, FrameStore],
    heldout: Mapping[str, Sequence[str]],
    experiment: str,
) -> None:
    """Write map.html from the table of map.csv, and the stores of the recordings in it by name.

    `heldout` are the recordings' held-out cameras, whose pictures are not shown.
    """
    placed = table.dropna(subset=["x", "y"])
    shown = with_pictures(evenly(placed, SHOWN), stores, heldout)
    save_text(path, render_page(shown, len(placed), experiment))


def evenly(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most so many rows, evenly spaced: of every recording as large a share."""
    return table.iloc[spread(range(len(table)), count)]


def with_pictures(
    table: pd.DataFrame,
    stores: Mapping[str, FrameStore],
    heldout: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """The table with two columns more: picture, a data URI, and caption, HTML.

    The picture is that of the observed camera in which the animal is largest.
    """
    cells = []
    for frame in track(table.itertuples(), "cutting out pictures", len(table)):
        store = stores[frame.recording]
        masks = store.read_masks(frame.frame)
        observed = [name not in heldout[frame.recording] for name in store.cameras]
        camera = int((masks.sum(axis=(1, 2)) * observed).argmax())
        picture = cut_out(store.read_images(frame.frame)[camera], masks[camera])
        caption = (
            f"<b>{frame.recording}</b>, video frame {store.source_frames[frame.frame]}<br>"
            f"{frame.time:.2f} s, camera {html.escape(store.cameras[camera])}<br>"
            f"heading {np.rad2deg(frame.heading):.0f}°<br>"
            f"height {frame.height:.2f}, speed {frame.speed:.2f}"
        )
        cells.append((picture, caption))
    return table.join(pd.DataFrame(cells, columns=["picture", "caption"], index=table.index))


def cut_out(image: UInt8[ndarray, "h w 3"], mask: UInt8[ndarray, "h w"]) -> str:
    """The animal in a square picture, as a data URI."""
    animal = Image.fromarray(image[square_box(mask)])
    picture = ImageOps.pad(animal, (PICTURE_SIZE, PICTURE_SIZE), color="white")
    file = io.BytesIO()
    picture.save(file, "WebP", quality=PICTURE_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def render_page(table: pd.DataFrame, frames: int, experiment: str) -> str:
    """The page's HTML; the table is one of `with_pictures`, of so many `frames` in all.

    Frames are drawn in a random order, as on the map itself.
    """
    table = table.sample(frac=1, random_state=0)
    colorings = {name: Coloring.of(table, name) for name in COLORINGS}
    columns = dict(table.items()) | {name: by.values for name, by in colorings.items()}
    source = ColumnDataSource({name: column.to_numpy() for name, column in columns.items()})
    plot = _empty_plot()
    # Without a mouse, a tap is what there is; with one, it keeps a picture.
    plot.add_tools(HoverTool(tooltips=FRAME_HTML, limit=TOOLTIPS), TapTool())
    scatter = partial(
        plot.scatter,
        "x",
        "y",
        source=source,
        size=max(dot_area(len(table)) ** 0.5 * PIXELS_PER_POINT, LEAST_DOT),
        nonselection_alpha=1,
        selection_line_color="black",
    )
    layers = {name: _colored_layer(plot, scatter, name, by) for name, by in colorings.items()}
    recordings = list(recording_colors(table))
    if len(recordings) > 1:
        layers["recording"] = _recordings_layer(plot, scatter, table)
    title = f"Embedding of {experiment}"
    explanation = Div(text=_explanation(recordings, len(table), frames, title), width=FRAME_WIDTH)
    sidebar = column(_choice(layers), explanation, _kept_frame(source), width=SIDEBAR)
    page = row(sidebar, plot, sizing_mode="stretch_both")
    return file_html(page, resources=INLINE, title=title)


def _empty_plot() -> figure:
    plot = figure(
        tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom",
        match_aspect=True,
        sizing_mode="stretch_both",
        background_fill_color=to_hex(GROUND),
        outline_line_color=None,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    plot.toolbar.logo = None
    return plot


def _colored_layer(
    plot: figure, scatter: Callable[..., GlyphRenderer], name: str, by: Coloring
) -> list[Model]:
    """The frames as dots coloured by a column, and what the colours mean."""
    shades = [to_hex(color) for color in by.colors(np.linspace(0, 1, SHADES))]
    mapper = LinearColorMapper(palette=shades, low=by.low, high=by.high)
    bar = ColorBar(color_mapper=mapper, title=by.label)
    if name == "heading":
        bar.ticker = FixedTicker(ticks=[0, 90, 180, 270, 360])
    plot.add_layout(bar, "right")
    return [scatter(color=field(name, mapper)), bar]


def _recordings_layer(
    plot: figure, scatter: Callable[..., GlyphRenderer], table: pd.DataFrame
) -> list[Model]:
    """The same of recordings."""
    colors, drawn = recording_colors(table), list(table["recording"])
    dots = scatter(color=factor_cmap("recording", list(colors.values()), list(colors)))
    # An entry has the colour of one of its recording's dots.
    entries = [LegendItem(label=name, renderers=[dots], index=drawn.index(name)) for name in colors]
    legend = Legend(items=entries)
    plot.add_layout(legend, "right")
    return [dots, legend]


def _choice(layers: Mapping[str, list[Model]]) -> Select:
    """Which of the layers is visible: the first, until another is chosen."""
    names: list[Any] = list(layers)
    select = Select(title="Colour", value=names[0], options=names)
    for name, models in layers.items():
        for model in models:
            model.update(visible=name == select.value)
    choose = CustomJS(args={"layers": dict(layers), "select": select}, code=CHOOSE_LAYER)
    select.js_on_change("value", choose)
    return select


def _kept_frame(source: ColumnDataSource) -> Div:
    """Where the picture of a frame stays that was clicked on."""
    kept = Div(width=FRAME_WIDTH)
    keep = CustomJS(args={"source": source, "kept": kept, "html": FRAME_HTML}, code=KEEP_FRAME)
    source.selected.js_on_change("indices", keep)
    return kept


def _explanation(recordings: Sequence[str], shown: int, frames: int, title: str) -> str:
    count = f"{frames:,}" if shown == frames else f"{shown:,} of {frames:,}, evenly chosen,"
    return f"""<p><b>{title}</b>: {count} frames of {", ".join(recordings)} (t-SNE; axes have no
unit).</p>
<p>Hover over a frame to see its picture, from the observed camera in which the animal is largest.
Click on it, or tap it, and the picture stays below. Scroll to zoom, drag to move.</p>
<p>Height is that of the animal's centre, in body sizes; speed in body sizes per second.</p>"""
