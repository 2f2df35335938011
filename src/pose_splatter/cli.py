"""The command line: `pose-splatter init` writes a config, `check` says whether it can be run,
`render` draws a frame from anywhere, `view` serves the viewer.

It finds what the workflow made by the fixed names of its files, and says which target of Snakemake
makes what is missing. Libraries are imported by the command that needs them: help comes at once.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pose_splatter.config import Settings, resolve
from pose_splatter.errors import PoseSplatterError

if TYPE_CHECKING:
    from pose_splatter.checkup import Checkup

CONFIG = Path("config/config.yaml")
SCHEMAS = "config/schemas"
PREPROCESSED = ("images.zarr", "center_rotation.npz", "crop.json")
PICTURES = (".png", ".jpg", ".jpeg")
CHECKOUT = Path(__file__).parents[2]
COLORS = {"ok": "green", "warning": "yellow", "error": "bold red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; an error of the user's is one sentence, and 1 is returned.

    So it is where `check` finds an error.
    """
    options = make_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except PoseSplatterError as error:
        print(f"pose-splatter: {error}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    parser = argparse.ArgumentParser(
        prog="pose-splatter",
        description="Set up a recording, check it, and look at what the workflow made of it.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_init(commands)
    _add_check(commands)
    _add_render(commands)
    _add_view(commands)
    return parser


def _command(commands: Any, name: str, run: Any, description: str) -> argparse.ArgumentParser:
    """A subcommand on one experiment applied to one recording."""
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    parser.add_argument("--experiment", required=True, help="an experiment's name in config")
    parser.add_argument("--recording", required=True, help="a recording's name in config")
    _add_config(parser)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    """Where the configuration is, as snakemake is told it."""
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files that change config/config.yaml, as given to snakemake --configfile",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(),
        help="the folder with config and results (default: this one)",
    )


def _add_init(commands: Any) -> None:
    what = "Find the videos, masks and calibration of a recording, and write a config of them."
    parser = commands.add_parser("init", help=what, description=what)
    parser.set_defaults(run=_init)
    parser.add_argument("folder", type=Path, help="the folder of the recording")
    parser.add_argument(
        "--calibration",
        help="calibration file or folder, or a path with {camera} in it (default: searched for)",
    )
    parser.add_argument(
        "--videos",
        metavar="PATTERN",
        help="which videos: their path in the folder with {camera} in it (default: searched for)",
    )
    parser.add_argument(
        "--masks",
        metavar="PATTERN",
        help="the same of the masks, an HDF5 or Zarr of all, or auto (default: searched for)",
    )
    parser.add_argument(
        "--name",
        default="mine",
        help="name of the recording, its preset and its experiment (default: mine)",
    )
    parser.add_argument(
        "--output", type=Path, help="the file to write (default: config/{name}.yaml)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite that file")


def _add_check(commands: Any) -> None:
    what = "Check a recording before anything is run: a verdict for each thing, with the fix."
    parser = commands.add_parser("check", help=what, description=what)
    parser.set_defaults(run=_check)
    parser.add_argument(
        "--recording", help="its name in config (default: the only one, or the last file's)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the contact sheet (default: results/recordings/{recording}/check)",
    )
    _add_config(parser)


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
    config = read_config(options.directory, options.config)
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


def _init(options: argparse.Namespace) -> None:
    from pose_splatter.discovery import discover
    from pose_splatter.files import save_text
    from pose_splatter.starter import config_text, require_free

    output = options.output or Path(f"config/{options.name}.yaml")
    if not CONFIG.is_file():
        raise PoseSplatterError(
            f"{CONFIG}: no such file here, and the new config changes it; run init in the "
            "workflow's folder, where Snakefile and config lie."
        )
    require_free(output, options.name, _read_yaml(CONFIG), overwrite=options.force)
    found = discover(options.folder, options.calibration, options.videos, options.masks)
    save_text(output, config_text(output, found, options.name))
    for line in found.table():
        print(line)
    print(f"\n{output} is written. Read it, then check the recording:\n")
    print(f"    pose-splatter check --config {shlex.quote(str(output))}")


def _check(options: argparse.Namespace) -> int:
    from pose_splatter.checkup import check_up
    from pose_splatter.plots import save_figure

    config = read_config(options.directory, options.config)
    name = options.recording or _only_recording(config, options.config)
    _named(config, "recordings", name)
    folder = options.output or options.directory / f"results/recordings/{name}/check"
    written = [path.stat().st_mtime for path in (options.directory / CONFIG, *options.config)]
    with chdir(options.directory):
        done = check_up(name, config, changed=max(written))
    _print_verdicts(done)
    if done.draw is not None:
        save_figure(folder / "contact_sheet.png", done.draw(), **config["plots"])
        print(f"\nLook at {folder / 'contact_sheet.png'}")
    return int(done.failed)


def _only_recording(config: Settings, files: Sequence[Path]) -> str:
    """The recording of the last file that has one alone, or of the whole configuration."""
    own = [list(_read_yaml(file).get("recordings") or {}) for file in files]
    for names in [*reversed(own), list(config["recordings"])]:
        if len(names) == 1:
            return str(names[0])
    raise PoseSplatterError(
        f"config: there are the recordings {', '.join(config['recordings'])}; name one with "
        "--recording."
    )


def _print_verdicts(done: "Checkup") -> None:
    """A table where a person looks on, and plain lines where the output goes to a file."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.is_terminal:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for verdict in done.verdicts:
            said = Text(verdict.message)
            if verdict.fix:
                said.append(f"\n-> {verdict.fix}", style="bold")
            level = Text(verdict.level, style=COLORS[verdict.level])
            table.add_row(level, verdict.name, said)
        console.print(table)
    else:
        for verdict in done.verdicts:
            print(f"{verdict.level:8} {verdict.name}: {verdict.message}")
            if verdict.fix:
                print(f"{'':8} -> {verdict.fix}")
    if done.waiting:
        print(f"\nNot looked at until that is mended: {', '.join(done.waiting)}.")


def _view(options: argparse.Namespace) -> None:
    config = read_config(options.directory, options.config)
    _named(config, "experiments", options.experiment)
    _named(config, "recordings", options.recording)
    target = f"results/experiments/{options.experiment}/{options.recording}/viewer"
    folder = _made(options, target)
    from pose_splatter.viewer import serve

    serve(folder, options.host, options.port)


def read_config(directory: Path, files: Sequence[Path] = ()) -> Settings:
    """The resolved configuration of a folder, by its own schemas or those beside the library.

    `files` change it one after the other, key by key, as snakemake's --configfile does.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise PoseSplatterError(
            f"{path}: no such file; name with --directory the folder that holds config and results."
        )
    content = _read_yaml(path)
    for file in files:
        content = _overlaid(content, _read_yaml(file))
    with chdir(directory):  # its paths are relative to it
        return resolve(content, SCHEMAS if Path(SCHEMAS).is_dir() else CHECKOUT / SCHEMAS)


def _read_yaml(path: Path) -> Settings:
    if not path.is_file():
        raise PoseSplatterError(f"{path}: no such file; name with --config one that is there.")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise PoseSplatterError(f"{path}: not valid YAML ({reason}); correct it.") from error
    except OSError as error:
        raise PoseSplatterError(
            f"{path}: cannot be read ({error.strerror}); give yourself the right to."
        ) from error
    if not isinstance(content, dict):
        raise PoseSplatterError(
            f"{path}: holds no settings by name, such as recordings; correct it."
        )
    return content


def _overlaid(base: Settings, over: Settings) -> Settings:
    """Snakemake's own rule: mappings key by key, and everything else as a whole."""
    nested = {
        key: _overlaid(base[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | over | nested


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
        words = [] if options.directory == Path() else ["--directory", str(options.directory)]
        words += ["--configfile", *map(str, options.config)] if options.config else []
        command = shlex.join(["snakemake", *words, "--", target])
        raise PoseSplatterError(f"{path}: not made yet; make it with `{command}`.")
    return path
