"""The map's page: its pictures, and what it does in a real browser."""

import base64
import io
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image

from pose_splatter.embedding.page import SHOWN, cut_out, evenly, with_pictures, write_page
from pose_splatter.frames import FrameStore

from .test_viewer import BROWSER, CHROMIUM, pixels_like

COLORS = [(230, 20, 20), (20, 160, 20), (20, 20, 230), (200, 30, 200)]
SIDES = (20, 26, 30)  # of the animal in cameras a, b and the held-out c


def store() -> FrameStore:
    """Four frames of a square animal, each of its own colour, above the middle in three cameras."""
    masks = np.zeros((4, 3, 60, 80), np.uint8)
    for camera, side in enumerate(SIDES):
        masks[:, camera, 5 : 5 + side, 40 : 40 + side] = 1
    masks[2, 1, 5:20] = 0  # in frame 2, camera b sees half of it
    colors = np.uint8(COLORS)[:, None, None, None]
    images = np.where(masks[..., None] > 0, colors, np.uint8(255))
    numbers = np.arange(100, 140, 10)
    return FrameStore(zarr.array(images), zarr.array(masks), numbers, ("a", "b", "c"), 1)


def table(recordings: list[str]) -> pd.DataFrame:
    """Frames in the corners of a square, and for a second recording in those of a smaller one."""
    columns = {
        "frame": range(4),
        "x": [-10.0, 10.0, 10.0, -10.0],
        "y": [10.0, 10.0, -10.0, -10.0],
        "time": [0.0, 0.5, 1.0, 1.5],
        "heading": [0.0, np.pi / 2, np.pi, 5.0],
        "height": [0.1, 0.2, 0.3, 0.4],
        "speed": [0.0, 1.0, 2.0, 3.0],
    }
    parts = [
        pd.DataFrame(columns).assign(
            recording=name, x=np.divide(columns["x"], n), y=np.divide(columns["y"], n)
        )
        for n, name in enumerate(recordings, start=1)
    ]
    return pd.concat(parts, ignore_index=True)


def decoded(uri: str) -> np.ndarray:
    header, content = uri.split(",")
    assert header == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_a_picture_shows_the_animal_and_little_else():
    frames = store()
    picture = decoded(cut_out(frames.read_images(1)[0], frames.read_masks(1)[0]))
    assert picture.shape == (120, 120, 3)
    assert pixels_like(picture, COLORS[1]) == pytest.approx(120**2 * (20 / 32) ** 2, rel=0.1)
    assert pixels_like(picture, (255, 255, 255)) > 5000


def test_pictures_are_of_the_observed_camera_that_sees_most():
    shown = with_pictures(table(["rat"]), {"rat": store()}, {"rat": ["c"]})
    cameras = [caption.split("camera ")[1][0] for caption in shown["caption"]]
    assert cameras == ["b", "b", "a", "b"]
    for uri, color in zip(shown["picture"], COLORS, strict=True):
        assert pixels_like(decoded(uri), color) > 3000
    assert "<b>rat</b>, video frame 110<br>0.50 s" in shown["caption"][1]
    assert "heading 90°<br>height 0.20, speed 1.00" in shown["caption"][1]


@pytest.mark.parametrize("frames", [5, 3000, 100_001])
def test_frames_are_thinned_evenly(frames):
    """Of each recording as large a share, and all where there are few."""
    names = np.where(np.arange(frames) < frames // 4, "short", "long")
    chosen = evenly(pd.DataFrame({"recording": names}), SHOWN)
    assert len(chosen) == min(frames, SHOWN)
    assert chosen.index.is_unique
    steps = np.diff(chosen.index)
    assert steps.max() - steps.min() <= 1
    assert (chosen["recording"] == "short").mean() == pytest.approx(0.25, abs=0.06)


def test_the_page_says_how_many_frames_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr("pose_splatter.embedding.page.SHOWN", 3)
    frames = table(["rat"])
    frames.loc[3, ["x", "y"]] = np.nan  # without the animal
    for places, words in ((frames, "3 frames of rat"), (table(["rat"]), "3 of 4, evenly chosen,")):
        write_page(tmp_path / "map.html", places, {"rat": store()}, {"rat": []}, "baseline")
        page = (tmp_path / "map.html").read_text()
        assert words in page
        assert page.count("data:image/webp") == 3
        assert "<title>Embedding of baseline</title>" in page


# Where a frame's dot is in the window.
PLACE = """
frame => {
  const plot = Bokeh.documents[0].roots()[0].children[1];
  const view = Bokeh.index.find_one(plot), data = plot.renderers[0].data_source.data;
  const dot = data.frame.findIndex((f, n) => f == frame && data.recording[n] == "rat");
  const {left, top} = view.el.getBoundingClientRect();
  return [left + view.frame.x_scale.compute(data.x[dot]),
          top + view.frame.y_scale.compute(data.y[dot])];
}
"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there to open the page in")
def test_the_page_in_a_browser(tmp_path):
    """Opened from a file: hovering and tapping show a frame's picture, colours can be chosen."""
    playwright = pytest.importorskip("playwright.sync_api")
    stores = {"rat": store(), "mouse": store()}
    path = tmp_path / "map.html"
    write_page(path, table(["rat", "mouse"]), stores, {"rat": ["c"], "mouse": []}, "baseline")
    errors, requests = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER)
        page = browser.new_page(viewport={"width": 900, "height": 600}, has_touch=True)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.locator("select").wait_for(timeout=60_000)
        page.wait_for_function("Bokeh.documents[0].is_idle")
        before = screenshot(page)
        for frame, color in enumerate(COLORS):
            page.mouse.move(*page.evaluate(PLACE, frame))
            assert changed(page, before, color) > 3000, "hovering shows the frame's picture"
            page.get_by_text(f"video frame {100 + 10 * frame}").wait_for(timeout=5000)
            page.mouse.move(450, 300)  # away from all dots
            page.wait_for_timeout(300)
        page.touchscreen.tap(*page.evaluate(PLACE, 1))
        assert changed(page, before, COLORS[1]) > 3000, "and so does tapping"
        pictures = []
        choices = page.locator("option").all_inner_texts()
        for choice in choices:
            page.locator("select").select_option(choice)
            page.wait_for_timeout(300)
            pictures.append(screenshot(page))
        browser.close()
    assert not errors
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert choices == ["heading", "height", "speed", "time", "recording"]
    for one, other in pairwise(pictures):
        assert (one != other).any(axis=-1).sum() > 1000, "colours and legend are others"


def screenshot(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def changed(page, before: np.ndarray, color: tuple[int, ...]) -> int:
    """How many pixels have got a colour, after a while."""
    page.wait_for_timeout(300)
    return pixels_like(screenshot(page), color) - pixels_like(before, color)
