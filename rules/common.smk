"""The checked configuration, and the functions by which rules read it."""

import os
import sys
from pathlib import Path

SRC = str(Path(workflow.basedir, "src"))
# Scripts run as processes of their own, in conda environments too: this is how they find the
# library, of the same checkout as the rules.
sys.path.insert(0, SRC)
os.environ["PYTHONPATH"] = os.pathsep.join([SRC, *filter(None, [os.environ.get("PYTHONPATH")])])
# Idle threads of PyTorch spin by default, which slows down everything beside them on a CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from snakemake.exceptions import WorkflowError

from pose_splatter import provenance
from pose_splatter.config import resolve
from pose_splatter.errors import PoseSplatterError

try:
    config = resolve(config, Path(workflow.basedir, "config/schemas"))
except PoseSplatterError as error:
    raise WorkflowError(str(error))


GPUS = 0 if config["device"] == "cpu" else 1
RECORDING = "results/recordings/{recording}"
PREPROCESSED = "results/recordings/{recording}/{preset}"
# The folder of the parts, as gather() wants it: braces that stay until wildcards are known.
GATHERED = "results/recordings/{{recording}}/{{preset}}/parts"
EXPERIMENT = "results/experiments/{experiment}"
APPLIED = "results/experiments/{experiment}/{recording}"


wildcard_constraints:
    recording="[A-Za-z0-9_-]+",
    preset="[A-Za-z0-9_-]+",
    experiment="[A-Za-z0-9_-]+",


def code_of(name):
    """The version of all code that a rule runs: its script, and what that imports."""
    return provenance.code_version(Path(SRC, "scripts", f"{name}.py"))


def settings(kind, *keys):
    """A params function: the named settings of the recording, preset or experiment asked for."""

    def read(wildcards):
        name = getattr(wildcards, kind)
        section = section_of(kind, name)
        return {key: section[key] for key in keys}

    return read


def section_of(kind, name):
    """The settings of one recording, preset or experiment."""
    sections = config[f"{kind}s"]
    if name not in sections:
        raise WorkflowError(
            f"config: there is no {kind} {name!r}; known are {', '.join(sections)}."
        )
    return sections[name]


def camera_files(kind):
    """An input function: the videos or masks of a recording, one per camera."""

    def files(wildcards):
        settings = section_of("recording", wildcards.recording)
        paths = [settings[kind].format(camera=camera) for camera in settings["cameras"]]
        for path in paths:
            # What rules make lies in results/; everything else has to be there.
            if not path.startswith("results/") and not os.path.exists(path):
                raise WorkflowError(
                    f"{path}: no such file, but recording {wildcards.recording} needs it; "
                    f"correct recordings: {wildcards.recording}: {kind} in config."
                )
        return paths

    return files


def calibration_file(wildcards):
    return section_of("recording", wildcards.recording)["calibration"]


def lines_file(wildcards):
    """The file of vertical lines, where a recording has one."""
    up = section_of("recording", wildcards.recording)["up"]
    return [] if up == "auto" else up


def preset_of(wildcards):
    return section_of("experiment", wildcards.experiment)["preset"]


def preprocessed(name, recordings):
    """The paths of one preprocessing output for some recordings of an experiment."""

    def paths(wildcards):
        return expand(
            f"{PREPROCESSED}/{name}",
            recording=recordings(wildcards),
            preset=preset_of(wildcards),
        )

    return paths


def upright_cameras(name, recordings):
    """The paths of cameras.h5 or vertical_lines.npz for some recordings of an experiment."""

    def paths(wildcards):
        return expand(f"{RECORDING}/{name}", recording=recordings(wildcards))

    return paths


def training_recordings(wildcards):
    return section_of("experiment", wildcards.experiment)["train"]


def this_recording(wildcards):
    return [wildcards.recording]


def heldout_cameras(recordings):
    """A params function: the held-out cameras of each recording."""

    def cameras(wildcards):
        return {
            name: section_of("recording", name)["heldout_cameras"] for name in recordings(wildcards)
        }

    return cameras


def split_of_preset(wildcards):
    """The shares of the frames that train, validate and test, of an experiment's preset."""
    return section_of("preset", preset_of(wildcards))["split"]


def results_of(experiments):
    """Everything that experiments are for: metrics, renders and pictures of each recording."""
    return [
        target
        for name, experiment in experiments.items()
        for target in [
            f"results/experiments/{name}/training_curves.png",
            *expand(
                "results/experiments/{experiment}/{recording}/{file}",
                experiment=name,
                recording=experiment["apply"],
                file=["metrics_test.csv", "rendered_images.h5", "visualization/comparison.png"],
            ),
            *expand(
                f"{PREPROCESSED}/hull_metrics_test.csv",
                recording=experiment["apply"],
                preset=experiment["preset"],
            ),
        ]
    ]
