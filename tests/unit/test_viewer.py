"""The viewer: its page in a real browser, and its server."""

import base64
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zstandard
from PIL import Image
from scipy.spatial.transform import Rotation

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import save_json
from pose_splatter.splats import Splats, write_splats
from pose_splatter.viewer import (
    ASPECT,
    FIELD_OF_VIEW,
    as_rendered,
    covariances,
    durations,
    open_server,
    viewpoint,
    write_viewer,
)

from ..conftest import look_at, ring_rig

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


def recorded(page: str) -> tuple[list[dict], bytes]:
    """viser's messages in a page, in order, and the arrays that they refer to."""
    data = base64.b64decode(re.search(r'__VISER_EMBED_DATA__="([^"]*)"', page)[1])
    content = zstandard.ZstdDecompressor().decompressobj().decompress(data[8:])
    start = 8 + int.from_bytes(content[:8], "little")
    messages = msgspec.msgpack.decode(content[8:start])["messages"]
    return [message for _, message in messages], content[-(-start // 8) * 8 :]


def test_the_page_names_its_frames_and_cameras(viewer):
    messages, _ = recorded((viewer / "index.html").read_text())
    changes = [m["updates"] for m in messages if m["type"] == "SceneNodeUpdateMessage"]
    texts = [change["text"] for change in changes if "text" in change]
    # The first frame's is that of the label itself.
    assert texts == ["video frame 5, 0.50 s", "video frame 9, 0.90 s"]
    labels = {m["name"]: m["props"]["text"] for m in messages if m["type"] == "LabelMessage"}
    assert labels["/frame"] == "video frame 3, 0.30 s"
    assert labels["/cameras/1/name"] == "camera 1"
    assert labels["/cameras/2/name"] == "camera 2 (held out)"


def test_the_pages_splats_are_as_wide_as_they_are_rendered(viewer):
    """viser's buffer: eight words a splat, of which three are its centre and three its covariance.

    Lengths are in units of the viewer; the balls have a radius of 30.
    """
    messages, arrays = recorded((viewer / "index.html").read_text())
    (shown,) = (m for m in messages if m["type"] == "GaussianSplatsMessage")
    assert shown["props"]["buffer"]["__binary_index"] == 0
    words = np.frombuffer(arrays[: 400 * 32], "<u4").reshape(400, 8)
    centers = words[:, :3].copy().view("<f4")
    variances = words[:, 4:7].copy().view("<f2")[:, [0, 3, 5]].astype(float)
    radius = np.ptp(centers, axis=0).max() / 2
    widths = 30 / radius * np.sqrt(variances)
    np.testing.assert_allclose(widths, np.sqrt(16 + 0.3 * (10 / 3) ** 2), rtol=0.02)


def test_the_page_opens_on_the_whole_rig():
    rig = ring_rig(5)
    place = viewpoint(rig.centers, closest=1.0)
    x, y, z = look_at(place, np.zeros(3)) @ (rig.centers - place).T
    slope = np.tan(FIELD_OF_VIEW / 2)
    assert (z > 0).all()
    assert max(*np.abs(x / z) / ASPECT, *np.abs(y / z)) == pytest.approx(0.9 * slope)
    assert np.linalg.norm(viewpoint(rig.centers, closest=1e4)) == pytest.approx(1e4)
    assert viewpoint(np.array([[100.0, 0, 0]]), closest=1.0)[0] < -50, "not past the camera"


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
        orange = pixels_like(wait_for(page, ORANGE, 20, tolerance=20), ORANGE, tolerance=20)
        page.mouse.move(320, 200)
        for _ in range(7):  # closer to the animal
            page.mouse.wheel(0, -240)
            page.wait_for_timeout(100)
        counts = []
        for place, color in zip((0.1, 0.5, 0.9), FRAMES.values(), strict=True):
            box = slider.bounding_box()
            page.mouse.click(box["x"] + place * box["width"], box["y"] + box["height"] / 2)
            picture = wait_for(page, color, 500)
            counts.append([pixels_like(picture, other) for other in FRAMES.values()])
        browser.close()
    assert not errors
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [address]
    own = np.diag(counts)
    assert (own > 500).all(), counts
    assert (np.array(counts) - np.diag(own) < 20).all(), "no frame shows another's splats"
    assert orange > 20, "the rig is in view, and its held-out cameras are orange"


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
