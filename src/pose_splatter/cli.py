"""The command line: `pose-splatter render` draws a frame from anywhere, `view` serves the viewer.

It finds what the workflow made by the fixed names of its files, and says which target of Snakemake
makes what is missing. Libraries are imported by the command that needs them: help comes at once.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from pose_splatter.config import resolve
from pose_splatter.errors import PoseSplatterError

SCHEMAS = "config/schemas"
PREPROCESSED = ("images.zarr", "center_rotation.npz", "crop.json")
PICTURES = (".png", ".jpg", ".jpeg")
CHECKOUT = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error of the user's is one sentence, and 1 is returned."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except PoseSplatterError as error:
        print(f"pose-splatter: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pose-splatter", description="Look at what the workflow made."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_render(commands)
    _add_view(commands)
    return parser


def _command(commands: Any, name: str, run: Any, description: str) -> argparse.ArgumentParser:
    """A subcommand on one experiment applied to one recording."""
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    parser.add_argument("--experiment", required=True, help="an experiment's name in config")
    parser.add_argument("--recording", required=True, help="a recording's name in config")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(),
        help="the folder with config and results (default: this one)",
    )
    return parser


def _add_render(commands: Any) -> None:
    parser = _command(commands, "render", _render, "Render one frame from any camera and angle.")
    parser.add_argument("--frame", type=int, required=True, help="the frame's number in the videos")
    parser.add_argument("--camera", required=True, help="the camera that is moved, by its name")
    parser.add_argument(
        "--yaw",
        type=_finite,
        default=0.0,
        help="degrees around the animal, counter-clockwise (default: 0)",
    )
    parser.add_argument(
        "--pitch",
        type=_finite,
        default=0.0,
        help="degrees that the camera is lifted around it (default: 0)",
    )
    parser.add_argument(
        "--offset",
        type=_finite,
        nargs=3,
        default=(0.0, 0.0, 0.0),
        metavar=("RIGHT", "DOWN", "AHEAD"),
        help="how far it is then moved, in the calibration's unit, along its axes (default: 0 0 0)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("render.png"),
        help="the picture over white, .png or .jpg (default: render.png)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where it is rendered (default: auto)",
    )


def _add_view(commands: Any) -> None:
    parser = _command(commands, "view", _view, "Show the exported frames in 3D, in a browser.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, default=8080, help="the port to listen on (default: 8080)"
    )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a number; give one")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"there is no port {text}; give one from 0 to 65535")
    return number


def _render(options: argparse.Namespace) -> None:
    import cv2
    import numpy as np

    from pose_splatter.checkpoints import load_checkpoint
    from pose_splatter.dataset import load_recording
    from pose_splatter.files import atomic_path
    from pose_splatter.frames import frame_index
    from pose_splatter.novel_views import render_views
    from pose_splatter.rendering import decode_frame
    from pose_splatter.training import choose_device
    from pose_splatter.views import orbit

    _require_picture(options.output)
    config = read_config(options.directory)
    experiment = _named(config, "experiments", options.experiment)
    settings = _named(config, "recordings", options.recording)
    if options.camera not in settings["cameras"]:
        raise PoseSplatterError(
            f"--camera names {options.camera!r}, but recording {options.recording} has the cameras "
            f"{', '.join(settings['cameras'])}; choose one of them."
        )
    folder = f"results/recordings/{options.recording}"
    names = [
        *(f"{experiment['preset']}/{name}" for name in PREPROCESSED),
        *("cameras.h5", "vertical_lines.npz"),
    ]
    checkpoint = _made(options, f"results/experiments/{options.experiment}/checkpoint.pt")
    recording = load_recording(
        options.recording,
        settings["heldout_cameras"],
        *(_made(options, f"{folder}/{name}") for name in names),
    )
    frame = frame_index(recording.store.source_frames, options.frame, "--frame")
    device = choose_device(options.device)
    _, gaussians = decode_frame(load_checkpoint(checkpoint).model(device), recording, frame, device)
    center = recording.track.centers[frame]
    view = orbit(
        recording.rig,
        recording.rig.names.index(options.camera),
        center,
        np.array([options.yaw]),
        np.array([options.pitch]),
        options.offset,
    )
    picture = render_views(gaussians, view, recording, center)[0, ..., :3]
    _, encoded = cv2.imencode(options.output.suffix, picture[..., ::-1])
    try:
        with atomic_path(options.output) as temporary:
            temporary.write_bytes(encoded.tobytes())
    except OSError as error:
        raise PoseSplatterError(
            f"{options.output}: cannot be written ({error.strerror}); name another --output."
        ) from error
    print(options.output)


def _require_picture(path: Path) -> None:
    """Refuse what no picture can be written to, before any work is done."""
    if path.is_dir():
        raise PoseSplatterError(f"{path}: --output names a folder; name a picture in it.")
    if path.suffix.lower() not in PICTURES:
        raise PoseSplatterError(
            f"{path}: --output has to end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}."
        )


def _view(options: argparse.Namespace) -> None:
    config = read_config(options.directory)
    _named(config, "experiments", options.experiment)
    _named(config, "recordings", options.recording)
    target = f"results/experiments/{options.experiment}/{options.recording}/viewer"
    folder = _made(options, target)
    from pose_splatter.viewer import serve

    serve(folder, options.host, options.port)


def read_config(directory: Path) -> Mapping[str, Any]:
    """The resolved configuration of a folder, by its own schemas or those beside the library."""
    path = directory / "config/config.yaml"
    if not path.is_file():
        raise PoseSplatterError(
            f"{path}: no such file; name with --directory the folder that holds config and results."
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise PoseSplatterError(f"{path}: not valid YAML ({reason}); correct it.") from error
    if not isinstance(content, dict):
        raise PoseSplatterError(
            f"{path}: holds no settings by name, such as recordings; correct it."
        )
    with chdir(directory):  # its paths are relative to it
        return resolve(content, SCHEMAS if Path(SCHEMAS).is_dir() else CHECKOUT / SCHEMAS)


def _named(config: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """The settings of an experiment or a recording."""
    if name not in config[kind]:
        raise PoseSplatterError(
            f"config: {kind} has no {name!r}; known are {', '.join(config[kind])}."
        )
    return config[kind][name]


def _made(options: argparse.Namespace, target: str) -> Path:
    """The path of what the workflow has made."""
    path = options.directory / target
    if not path.exists():
        where = "" if options.directory == Path() else f" --directory {options.directory}"
        raise PoseSplatterError(f"{path}: not made yet; make it with `snakemake{where} {target}`.")
    return path
