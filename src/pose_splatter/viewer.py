"""A web page of exported frames: splats that play over time, to orbit, among the rig's cameras.

Page, player and renderer are viser's: one HTML file that holds all it shows.
"""

import errno
import html
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import viser
from jaxtyping import Float, Float32
from matplotlib.colors import to_rgb
from numpy import ndarray
from scipy.spatial.transform import Rotation

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path
from pose_splatter.plots import BLUE, HELDOUT_COLOR
from pose_splatter.splats import FRAMES, GAUSSIANS, Splats, ply_name, read_splats

PAGE = "index.html"
MIN_OPACITY = 0.01  # viser draws nothing fainter
# Steps of a Gaussian's standard deviation in which means are kept: unseen, and a smaller page.
MEAN_STEPS = 64
LONGEST_STEP = 0.2  # seconds: frames that lie far apart in the video still make a film
FIELD_OF_VIEW = np.radians(40)  # vertical, as the page opens
FRUSTUM_SHARE = 0.08  # edge of a camera's pyramid, of its distance from the animal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """The viewer's frame of reference: the world moved by `origin`, divided by `unit`.

    The animal's path is at its origin and a typical Gaussian has a standard deviation of one,
    whatever unit the calibration has: viser keeps covariances as half floats.
    """

    origin: Float[ndarray, "3"]
    unit: float

    @classmethod
    def of(cls, frames: Sequence[Splats]) -> "Stage":
        means = np.concatenate([splats.means for splats in frames])
        scales = np.concatenate([splats.scales for splats in frames])
        return cls((means.min(axis=0) + means.max(axis=0)) / 2.0, float(np.median(scales)))

    def place(self, points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        return (points - self.origin) / self.unit


def write_viewer(path: str | Path, export: str | Path, title: str) -> None:
    """Write a folder with index.html, from a folder of `export.write_export`."""
    index = json.loads(Path(export, FRAMES).read_text())
    frames = [read_splats(Path(export, GAUSSIANS, ply_name(number))) for number in index["frames"]]
    frames = [splats.at_least(MIN_OPACITY) for splats in frames]
    with atomic_path(path) as folder:
        folder.mkdir()
        (folder / PAGE).write_text(render_page(frames, index, title))


def render_page(frames: Sequence[Splats], index: Mapping[str, Any], title: str) -> str:
    """The page's HTML; `index` is the content of frames.json."""
    # viser makes scenes on a server: it listens to this machine alone, on any free port.
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        stage = Stage.of(frames)
        radius = max(float(np.linalg.norm(stage.place(s.means), axis=1).max()) for s in frames)
        _set_view(server, radius)
        for camera in index["cameras"]:
            _add_camera(server.scene, camera, stage)
        nodes = [
            _add_frame(server.scene, splats, number, index["fps"], stage)
            for splats, number in zip(frames, index["frames"], strict=True)
        ]
        recording = server.get_scene_serializer()
        for node, seconds in zip(nodes, durations(index["frames"], index["fps"]), strict=True):
            node.visible = True
            recording.insert_sleep(seconds)
            node.visible = False
        page = recording.as_html()
    finally:
        server.stop()
    return page.replace("<title>Viser</title>", f"<title>{html.escape(title)}</title>", 1)


def durations(numbers: Sequence[int], fps: float) -> list[float]:
    """Seconds that each frame is shown: those up to the next one, at most LONGEST_STEP."""
    gaps = np.diff(numbers) / fps if fps > 0 else np.full(len(numbers) - 1, LONGEST_STEP)
    steps = [min(float(gap), LONGEST_STEP) for gap in gaps]
    return [*steps, steps[-1] if steps else 0.0]


def _set_view(server: viser.ViserServer, radius: float) -> None:
    """Open with all of the path in view, from the side and above."""
    server.scene.set_up_direction("+z")
    distance = radius / np.sin(FIELD_OF_VIEW / 2)
    direction = np.array([1.0, -1.0, 0.8])
    server.initial_camera.position = distance * direction / np.linalg.norm(direction)
    server.initial_camera.look_at = np.zeros(3)
    server.initial_camera.fov = float(FIELD_OF_VIEW)
    server.initial_camera.near, server.initial_camera.far = 1.0, 1e5


def _add_camera(scene: viser.SceneApi, camera: Mapping[str, Any], stage: Stage) -> None:
    """A camera's pyramid and name, orange where it was held out."""
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


def _add_frame(
    scene: viser.SceneApi, splats: Splats, number: int, fps: float, stage: Stage
) -> viser.SceneNodeHandle:
    """A frame's splats and its number above them, hidden until its time comes."""
    frame = scene.add_frame(f"/frames/{number}", show_axes=False, visible=False)
    means = stage.place(splats.means)
    scene.add_gaussian_splats(
        f"/frames/{number}/splats",
        centers=np.round(means * MEAN_STEPS) / MEAN_STEPS,
        covariances=covariances(splats) / stage.unit**2,
        rgbs=splats.colors,
        opacities=splats.opacities[:, None],
    )
    lowest, highest = means.min(axis=0), means.max(axis=0)
    above = np.array([*(lowest + highest)[:2] / 2, highest[2] + 0.1 * (highest - lowest).max()])
    time = f", {number / fps:.2f} s" if fps > 0 else ""
    scene.add_label(
        f"/frames/{number}/number",
        f"video frame {number}{time}",
        position=above,
        anchor="bottom-center",
    )
    return frame


def covariances(splats: Splats) -> Float32[ndarray, "gaussian 3 3"]:
    """R S² Rᵀ of every Gaussian."""
    axes = Rotation.from_quat(splats.quats, scalar_first=True).as_matrix()
    axes = axes * splats.scales[:, None, :]
    return (axes @ axes.swapaxes(1, 2)).astype(np.float32)


# --- serving -----------------------------------------------------------------------------------


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


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
        address, number = server.server_address[:2]
        logger.info("the viewer is at http://%s:%d/ (end with Ctrl+C)", address, number)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("the viewer is no longer served")
