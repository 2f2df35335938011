"""A web page of exported frames: splats that play over time, to orbit, among the rig's cameras.

Page, player and renderer are viser's: one HTML file that holds all it shows.
"""

import errno
import html
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import viser
from jaxtyping import Float
from matplotlib.colors import to_rgb
from numpy import ndarray
from scipy.spatial.transform import Rotation

from pose_splatter.cameras import EPS2D
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path
from pose_splatter.plots import BLUE, HELDOUT_COLOR, frame_label
from pose_splatter.progress import track
from pose_splatter.splats import FRAMES, GAUSSIANS, Splats, ply_name, read_splats

PAGE = "index.html"
MIN_OPACITY = 0.01  # viser draws nothing fainter
# Steps of a Gaussian's standard deviation in which means are kept: unseen, and a smaller page.
MEAN_STEPS = 64
LONGEST_STEP = 0.2  # seconds: frames that lie far apart in the video still make a film
FIELD_OF_VIEW = np.radians(40)  # vertical, as the page opens
ELEVATION = np.radians(40)  # from which it is looked at then
ASPECT, ROOM = 1.4, 0.9  # width by height of a window, and how much of it the cameras fill
MARGIN = 1.7  # of the distance at which the path just fits
FRUSTUM_SHARE = 0.08  # edge of a camera's pyramid, of its distance from the animal

# viser's splats are quads whose corners have two coordinates. three.js misses the third when it
# looks for their bounding sphere, and says so as an error, but draws them: what is meant.
QUIET_FALSE_ALARM = """<script>
  const report = console.error;
  console.error = (message, geometry, ...rest) => {
    const quads = geometry?.attributes?.position?.itemSize === 2;
    if (!(quads && String(message).includes("computeBoundingSphere")))
      report(message, geometry, ...rest);
  };
</script>"""

logger = logging.getLogger(__name__)


def write_viewer(path: str | Path, export: str | Path, title: str) -> None:
    """Write a folder with index.html, from a folder of `export.write_export`."""
    index = json.loads(Path(export, FRAMES).read_text())
    numbers = track(index["frames"], "reading splats", len(index["frames"]))
    frames = [read_splats(Path(export, GAUSSIANS, ply_name(number))) for number in numbers]
    with atomic_path(path) as folder:
        folder.mkdir()
        (folder / PAGE).write_text(render_page(frames, index, title))


def render_page(frames: Sequence[Splats], index: Mapping[str, Any], title: str) -> str:
    """The page's HTML; `index` is the content of frames.json."""
    frames = [as_rendered(splats.at_least(MIN_OPACITY), index["cameras"]) for splats in frames]
    stage = Stage.of(frames)
    with _scene_server() as server:
        positions = [_add_camera(server.scene, camera, stage) for camera in index["cameras"]]
        _set_view(server, stage, np.array(positions))
        page = _record(server, frames, index["frames"], index["fps"], stage)
    head = f"<title>{html.escape(title)}</title>{QUIET_FALSE_ALARM}"
    return page.replace("<title>Viser</title>", head, 1)


@contextmanager
def _scene_server() -> Iterator[viser.ViserServer]:
    """viser makes scenes on a server: it listens to this machine alone, on any free port.

    Nobody is meant to visit it, so its banner and its messages are kept back.
    """
    logging.getLogger("websockets").setLevel(logging.WARNING)
    with redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
        try:
            yield server
        finally:
            server.stop()


def as_rendered(splats: Splats, cameras: Sequence[Mapping[str, Any]]) -> Splats:
    """The splats as wide as they are in the pictures that the model was trained on.

    There, rasterizing blurs each of them by a part of a pixel, without which they leave gaps as
    soon as one looks closer. So the pixel's size at the animal is added for good (the 3D smoothing
    filter of Mip-Splatting, Yu et al. 2024, section 4.1).
    """
    center = splats.means.mean(axis=0)
    pixels = []
    for camera in cameras:
        depth = (np.array(camera["viewmat"]) @ [*center, 1.0])[2]
        pixels.append(depth / camera["K"][1][1])
    added = EPS2D * float(np.median(pixels)) ** 2
    return replace(splats, scales=np.sqrt(splats.scales**2 + np.float32(added)))


@dataclass(frozen=True)
class Stage:
    """The viewer's frame of reference: the world moved by `origin`, divided by `unit`.

    The animal's path is about its origin and a typical Gaussian has a standard deviation of one,
    whatever unit the calibration has: viser keeps covariances as half floats. `radius` and `top`
    are the path's, in units.
    """

    origin: Float[ndarray, "3"]
    unit: float
    radius: float
    top: float

    @classmethod
    def of(cls, frames: Sequence[Splats]) -> "Stage":
        means = np.concatenate([splats.means for splats in frames]).astype(np.float64)
        unit = float(np.median(np.concatenate([splats.scales for splats in frames])))
        origin = (means.min(axis=0) + means.max(axis=0)) / 2
        radius = float(np.linalg.norm(means - origin, axis=1).max()) / unit
        return cls(origin, unit, radius, top=float(means[:, 2].max() - origin[2]) / unit)

    def place(self, points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        """Points of the world, in the viewer's frame of reference."""
        return (points - self.origin) / self.unit


def durations(numbers: Sequence[int], fps: float) -> list[float]:
    """Seconds that each frame is shown: those up to the next one, at most LONGEST_STEP."""
    gaps = np.diff(numbers) / fps if fps > 0 else np.full(len(numbers) - 1, LONGEST_STEP)
    steps = [min(float(gap), LONGEST_STEP) for gap in gaps]
    return [*steps, steps[-1] if steps else LONGEST_STEP]


def _set_view(server: viser.ViserServer, stage: Stage, cameras: Float[ndarray, "camera 3"]) -> None:
    """Open with the path and all cameras in view, from the side and above."""
    server.scene.set_up_direction("+z")
    closest = MARGIN * stage.radius / np.sin(FIELD_OF_VIEW / 2)
    server.initial_camera.position = viewpoint(cameras, closest)
    server.initial_camera.look_at = np.zeros(3)
    server.initial_camera.fov = float(FIELD_OF_VIEW)
    server.initial_camera.near, server.initial_camera.far = 1.0, 1e5


def viewpoint(cameras: Float[ndarray, "camera 3"], closest: float) -> Float[ndarray, "3"]:
    """Of all sides the one from which the origin is seen from closest by, with all cameras in view.

    No closer than `closest`; from above by ELEVATION, in a window of ASPECT or wider.
    """
    slope = ROOM * np.tan(FIELD_OF_VIEW / 2) * np.array([ASPECT, 1.0])
    places = []
    for angle in np.radians(np.arange(0, 360, 15)):
        side = np.array([np.cos(angle), np.sin(angle), 0.0])
        right, up = np.array([-side[1], side[0], 0.0]), np.array([0.0, 0.0, 1.0])
        toward = np.cos(ELEVATION) * side + np.sin(ELEVATION) * up
        aside = np.abs(cameras @ np.stack([right, np.cross(toward, right)], axis=1))
        distances = cameras @ toward + (aside / slope).max(axis=1)
        places.append(max(float(distances.max()), closest) * toward)
    return min(places, key=np.linalg.norm)


def _add_camera(
    scene: viser.SceneApi, camera: Mapping[str, Any], stage: Stage
) -> Float[ndarray, "3"]:
    """Add a camera's pyramid and name, orange where it was held out; gives its place."""
    K, viewmat = np.array(camera["K"]), np.array(camera["viewmat"])
    turn = viewmat[:3, :3].T
    position = stage.place(-turn @ viewmat[:3, 3])
    heldout = camera["role"] == "heldout"
    node = f"/cameras/{camera['name']}"
    scene.add_camera_frustum(
        node,
        fov=float(2 * np.arctan(camera["height"] / (2 * K[1, 1]))),
        aspect=camera["width"] / camera["height"],
        scale=FRUSTUM_SHARE * float(np.linalg.norm(position)),
        thickness=3.0,
        thickness_units="screen",
        color=to_rgb(HELDOUT_COLOR if heldout else BLUE),
        wxyz=Rotation.from_matrix(turn).as_quat(scalar_first=True),
        position=position,
    )
    text = f"camera {camera['name']}" + (" (held out)" if heldout else "")
    scene.add_label(f"{node}/name", text, anchor="bottom-center")
    return position


def _record(
    server: viser.ViserServer,
    frames: Sequence[Splats],
    numbers: Sequence[int],
    fps: float,
    stage: Stage,
) -> str:
    """The scene as it is, and one set of splats after the other, each for its time.

    It is one object that changes, so that a browser sorts and draws one frame's splats, not all.
    """
    most = max(len(splats) for splats in frames)
    contents = [
        _gaussians(splats, stage, most) for splats in track(frames, "preparing splats", len(frames))
    ]
    labels = [frame_label(number, fps) for number in numbers]
    animal = server.scene.add_gaussian_splats("/animal", **contents[0])
    label = server.scene.add_label(
        "/frame",
        labels[0],
        position=(0.0, 0.0, stage.top + 0.1 * stage.radius),
        font_screen_scale=1.5,
        anchor="bottom-center",
    )
    recording = server.get_scene_serializer()
    steps = zip(contents, labels, durations(numbers, fps), strict=True)
    for content, text, seconds in track(steps, "recording the page", len(labels)):
        animal.set_gaussians(**content)
        label.text = text
        recording.insert_sleep(seconds)
    return recording.as_html()


def _gaussians(splats: Splats, stage: Stage, count: int) -> dict[str, Any]:
    """What viser takes, filled up with nothing: a change of their number makes it blink."""
    arrays = {
        "centers": np.round(stage.place(splats.means) * MEAN_STEPS) / MEAN_STEPS,
        "covariances": covariances(splats) / stage.unit**2,
        "rgbs": splats.colors,
        "opacities": splats.opacities[:, None],
    }
    rest = count - len(splats)
    return {
        name: np.pad(array, [(0, rest)] + [(0, 0)] * (array.ndim - 1))
        for name, array in arrays.items()
    }


def covariances(splats: Splats) -> Float[ndarray, "gaussian 3 3"]:
    """R S² Rᵀ of every Gaussian."""
    axes = Rotation.from_quat(splats.quats, scalar_first=True).as_matrix()
    axes = axes * splats.scales[:, None, :]
    return axes @ axes.swapaxes(1, 2)


# --- serving -----------------------------------------------------------------------------------


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with suppress(ConnectionError):  # of a browser that was closed or loads the page again
            super().copyfile(source, outputfile)


def open_server(folder: str | Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the folder's files, not yet running; port 0 takes any that is free."""
    folder = Path(folder)
    if not (folder / PAGE).is_file():
        raise PoseSplatterError(f"{folder}: no viewer there; make it by: snakemake {folder}")
    try:
        handler = partial(_QuietHandler, directory=str(folder))
        return ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "something else listens there" if taken else error.strerror
        raise PoseSplatterError(
            f"cannot serve at {host} port {port} ({reason}); choose another port or host."
        ) from error


def serve(folder: str | Path, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve a viewer's folder until interrupted (Ctrl+C), to this machine alone by default.

    Raises PoseSplatterError where the folder holds no viewer or the port is taken.
    """
    with open_server(folder, host, port) as server:
        print(f"The viewer is at http://{host}:{server.server_port}/ (end with Ctrl+C)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
