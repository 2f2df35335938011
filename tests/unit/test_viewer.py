"""The viewer: its page in a real browser, and its server."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import save_json
from pose_splatter.splats import Splats, write_splats
from pose_splatter.viewer import as_rendered, covariances, durations, open_server, write_viewer

from ..conftest import ring_rig

CHROMIUM = Path("/usr/bin/chromium")
# Software WebGL, and no network.
BROWSER = [
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
ORANGE = (213, 94, 0)  # of cameras that were held out
FRAMES = {3: (230, 20, 20), 5: (20, 160, 20), 9: (20, 20, 230)}


def ball(x: float, color: tuple[int, ...], n: int) -> Splats:
    """A ball of Gaussians of one colour, 30 units in radius, at (x, 0, 0)."""
    directions = np.random.default_rng(0).normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Splats(
        means=(30 * directions + [x, 0, 0]).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        scales=np.full((n, 3), 4, np.float32),
        opacities=np.full(n, 0.95, np.float32),
        colors=np.tile(np.float32(color) / np.float32(255), (n, 1)),
    )


def cameras() -> list[dict]:
    rig = ring_rig(6)
    return [
        {
            "name": name,
            "role": "heldout" if name in "23" else "observed",
            "width": rig.width,
            "height": rig.height,
            "K": rig.intrinsics[camera].tolist(),
            "viewmat": rig.viewmats[camera].tolist(),
        }
        for camera, name in enumerate(rig.names)
    ]


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    """Three frames of a ball that moves along x and changes its colour and number of Gaussians."""
    folder = tmp_path_factory.mktemp("export")
    for step, (number, color) in enumerate(FRAMES.items()):
        splats = ball(40 * (step - 1), color, n=400 - 50 * step)
        write_splats(folder / f"gaussians/frame_{number:06d}.ply", splats)
    index = {"recording": "r", "fps": 10.0, "frames": list(FRAMES), "cameras": cameras()}
    save_json(folder / "frames.json", index)
    return folder


@pytest.fixture(scope="module")
def viewer(export, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("viewer") / "viewer"
    write_viewer(folder, export, "baseline on <demo>")
    return folder


@pytest.fixture
def address(viewer) -> Iterator[str]:
    with open_server(viewer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_the_page_is_one_file_and_always_the_same(export, viewer, tmp_path):
    assert [path.name for path in viewer.iterdir()] == ["index.html"]
    page = (viewer / "index.html").read_text()
    assert "<title>baseline on &lt;demo&gt;</title>" in page
    write_viewer(tmp_path / "viewer", export, "baseline on <demo>")
    assert (tmp_path / "viewer/index.html").read_text() == page


def pixels_like(picture: np.ndarray, color: tuple[int, ...], tolerance: int = 60) -> int:
    return int((np.abs(picture.astype(int) - color).max(axis=-1) < tolerance).sum())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there to open the page in")
def test_the_page_plays_in_a_browser(address):
    """No errors, nothing from elsewhere, and the time slider shows one frame after the other."""
    playwright = pytest.importorskip("playwright.sync_api")
    errors, requests = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER)
        page = browser.new_page(viewport={"width": 640, "height": 480})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        slider = page.locator(".mantine-Slider-root")
        slider.wait_for(timeout=60_000)
        page.keyboard.press("Space")  # pause
        counts = []
        for place, color in zip((0.1, 0.5, 0.9), FRAMES.values(), strict=True):
            box = slider.bounding_box()
            page.mouse.click(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
            picture = wait_for(page, color, 500)
            counts.append([pixels_like(picture, other) for other in FRAMES.values()])
        page.mouse.move(400, 200)
        for _ in range(14):  # away from the animal, until the rig is in view
            page.mouse.wheel(0, 240)
            page.wait_for_timeout(100)
        orange = pixels_like(wait_for(page, ORANGE, 20, tolerance=20), ORANGE, tolerance=20)
        browser.close()
    assert not errors
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [address]
    own = np.diag(counts)
    assert (own > 500).all(), counts
    assert (np.array(counts) - np.diag(own) < 20).all(), "no frame shows another's splats"
    assert orange > 20, "the held-out camera is orange"


def wait_for(page, color: tuple[int, ...], count: int, tolerance: int = 60) -> np.ndarray:
    """The page's picture as soon as so many pixels have the colour, or after ten tries."""
    for _ in range(10):
        page.wait_for_timeout(500)
        picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        if pixels_like(picture, color, tolerance) > count:
            break
    return picture


def test_frames_far_apart_are_not_waited_for():
    assert durations([0, 3, 6, 60], fps=30) == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert durations([4], fps=30) == [0.2]
    assert durations([4, 5], fps=0) == [0.2, 0.2]


def test_covariances_are_turned_scales():
    splats = ball(0, (0, 0, 0), n=2)
    turn = Rotation.from_euler("xyz", [0.3, -0.7, 1.1])
    splats.quats[1] = turn.as_quat(scalar_first=True)
    splats.scales[1] = [1, 2, 3]
    matrix = turn.as_matrix()
    np.testing.assert_allclose(covariances(splats)[0], 16 * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(
        covariances(splats)[1], matrix @ np.diag([1, 4, 9]) @ matrix.T, atol=1e-5
    )


def test_splats_are_as_wide_as_they_are_rendered():
    """At 1000 units of distance and 300 pixels of focal length, a pixel is 10 / 3 units."""
    wide = as_rendered(ball(0, (0, 0, 0), n=50), cameras())
    np.testing.assert_allclose(wide.scales, np.sqrt(16 + 0.3 * (10 / 3) ** 2), rtol=0.01)


def test_a_server_names_what_is_missing(tmp_path):
    with pytest.raises(PoseSplatterError, match=r"make it by: snakemake .*/viewer$"):
        open_server(tmp_path / "viewer", "127.0.0.1", 0)


def test_a_server_names_the_port_that_is_taken(viewer):
    with open_server(viewer, "127.0.0.1", 0) as server:
        port = server.server_address[1]
        with pytest.raises(PoseSplatterError, match=rf"port {port} .*choose another port"):
            open_server(viewer, "127.0.0.1", port)
