"""The config that a new recording starts with: small, commented, and ready to run."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pose_splatter.discovery import Discovery
from pose_splatter.errors import PoseSplatterError

STORED = 400  # pixels, at most: the longer side of stored pictures
MOST_FRAMES = 6000  # that are used of a long recording: neighbours tell little that is new
STEPS = 12_000  # of training; so many frames are shown to the network, over all epochs
CHUNK = 500  # frames, at least, of one job


def require_free(
    path: str | Path, name: str, taken: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Refuse a file that is there already, and a name that is taken or that config does not admit.

    `taken` is the configuration that the file is laid over.
    """
    if Path(path).exists() and not overwrite:
        raise PoseSplatterError(
            f"{path}: is there already; give another --output or --name, or --force to replace it."
        )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise PoseSplatterError(
            f"--name {name!r} is no name for a recording; use letters, digits, _ and - (not first)."
        )
    for kind in ("recordings", "presets", "experiments"):
        if name in (taken.get(kind) or {}):
            raise PoseSplatterError(
                f"--name {name!r} is taken: config/config.yaml has it under {kind}; choose another."
            )


def config_text(path: Path, found: Discovery, name: str) -> str:
    """The file's text."""
    longer = max(found.infos[0].width, found.infos[0].height)
    downsample = max(1, -(-longer // STORED))
    n_frames = min(info.n_frames for info in found.infos)
    step = max(1, n_frames // MOST_FRAMES)
    used = -(-n_frames // step)
    epochs = min(max(round(STEPS / max(used / 3, 1)), 10), 60)
    size = f"{found.infos[0].width // downsample} x {found.infos[0].height // downsample}"
    lines = [
        f"# The recording {name}, as pose-splatter init found it. Change what is wrong, then",
        "#",
        f"#     pose-splatter check --config {path}",
        f"#     snakemake --configfile {path}",
        "#",
        "# Keys are explained in config/config.yaml, whose values hold wherever this file says",
        "# nothing; docs/guide.md goes on from here.",
        "",
        f"run: [{name}]",
        f"chunks: {min(max(used // CHUNK, 2), 32)}",
        f"comparison: {{experiments: [], baseline: {name}}}",
        "",
        "recordings:",
        f"  {name}:",
        *_comment(f"{found.calibration_format}; {found.matched}"),
        f"    calibration: {_scalar(found.calibration)}",
        f"    cameras: [{', '.join(map(_name, found.cameras))}]",
        *(line for text in found.describe_videos() for line in _comment(text)),
        f"    videos: {_scalar(found.videos)}",
        *_comment(_about_masks(found.masks)),
        f"    masks: {_scalar(found.masks)}",
        *_comment(_about_heldout(found)),
        f"    heldout_cameras: [{', '.join(map(_name, found.heldout))}]",
        *_comment(
            f"Every {step}th frame: {used} of {n_frames} are enough to learn from; 1 takes all"
            if step > 1
            else "All frames; to try things out, use fewer: stop: 300"
        ),
        f"    frames: {{start: 0, stop: null, step: {step}}}",
        *_comment(
            "From the animal's path and the cameras, which look from above; else name the axis of "
            "the calibration's world that points up (z), or a file of vertical lines"
        ),
        "    up: auto",
        *_comment(_about_empty(found.masks)),
        f"    empty_masks: {'absent' if found.masks == 'auto' else 'error'}",
        "",
        "presets:",
        f"  {name}:",
        *_comment(
            f"Pictures are stored at {size} pixels. The animal should be about 100 of them long: "
            "check says how long it is"
        ),
        f"    downsample: {downsample}",
        "",
        "experiments:",
        f"  {name}:",
        f"    preset: {name}",
        f"    train: [{name}]",
        f"    apply: [{name}]",
        *_comment(
            f"A third of the frames trains: {epochs * max(used // 3, 1)} steps in all; 5 epochs "
            "are enough to see whether all is well"
        ),
        f"    training: {{epochs: {epochs}, validation_frames: {min(100, max(used // 3, 1))}}}",
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterable[str]:
    """A comment over a key, in lines of at most a hundred characters."""
    line = "    #"
    for word in text.split():
        if len(line) + len(word) >= 100:
            yield line
            line = "    #"
        line += f" {word}"
    yield line


def _about_masks(masks: str) -> str:
    if masks == "auto":
        return "No masks were found: they are made from the videos (docs/masks.md)"
    return "The animal white on black"


def _about_heldout(found: Discovery) -> str:
    count = len(found.cameras)
    if count > 3 and not found.heldout:
        return (
            f"None of {count} is chosen while the calibration does not fit; then hold out one that "
            "others stand on both sides of"
        )
    if not found.heldout:
        return f"None of {count} cameras can be spared; with four or more, hold one out"
    return (
        f"Seen by evaluation alone, for honest numbers: {len(found.heldout)} of {count}, with "
        "others on both sides; [] carves with all of them, and looks better"
    )


def _about_empty(masks: str) -> str:
    if masks == "auto":
        return "Frames in which a camera does not see the animal are left out; error stops at them"
    return "A mask that is empty where others see the animal stops the run; absent leaves it out"


def _name(name: str) -> str:
    """A camera's name: plain where YAML reads it as it is."""
    return name if name.isdigit() and str(int(name)) == name else _scalar(name)


def _scalar(text: str) -> str:
    """Text as YAML reads it back, in quotes where it needs them."""
    listed = yaml.safe_dump([text], default_flow_style=True, width=10**6, allow_unicode=True)
    return listed.strip()[1:-1]
