"""The checked configuration, and the functions by which rules read it."""

import os
import sys
from functools import cache
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
from pose_splatter.cameras import WORLD_AXES
from pose_splatter.config import RELEASE_FILES, resolve, source_experiment
from pose_splatter.errors import PoseSplatterError
from pose_splatter.paths import files_of, find_masks, with_camera

try:
    config = resolve(config, Path(workflow.basedir, "config/schemas"))
except PoseSplatterError as error:
    raise WorkflowError(str(error))


GPUS = 0 if config["device"] == "cpu" else 1
HOURS = 60  # minutes, in which Snakemake counts run times
RECORDING = "results/recordings/{recording}"
PREPROCESSED = "results/recordings/{recording}/{preset}"
# The folder of the parts, as gather() wants it: braces that stay until wildcards are known.
GATHERED = "results/recordings/{{recording}}/{{preset}}/parts"
# The same of an experiment on a recording.
GATHERED_APPLIED = "results/experiments/{{experiment}}/{{recording}}"
EXPERIMENT = "results/experiments/{experiment}"
APPLIED = "results/experiments/{experiment}/{recording}"


wildcard_constraints:
    recording="[A-Za-z0-9_-]+",
    preset="[A-Za-z0-9_-]+",
    experiment="[A-Za-z0-9_-]+",
    camera="[A-Za-z0-9_.-]+",


code_version = cache(provenance.code_version)


def code_of(name):
    """The version of all code that a rule runs: its script, and what that imports.

    It is found out when a job needs it: each job's own process reads the rules again.
    """
    script = Path(SRC, "scripts", f"{name}.py")
    return lambda wildcards: code_version(script)


def text_of(folder):
    """The version of all rules and captions in a folder of the workflow."""
    files = [
        *Path(workflow.basedir, folder).rglob("*.smk"),
        *Path(workflow.basedir, folder).rglob("*.rst"),
    ]
    return provenance.fingerprint({}, sorted(files))


def default_storage():
    """The options that say where results lie, where that is no folder that all jobs share."""
    of_run = workflow.storage_settings
    if of_run.default_storage_provider is None:
        return []
    return [
        *("--default-storage-provider", of_run.default_storage_provider),
        *("--default-storage-prefix", of_run.default_storage_prefix),
    ]


def refuse_storage(path, key):
    """Stop where jobs on GPUs, which share no folder with this one, would need a file of it."""
    if default_storage():
        raise WorkflowError(
            f"{path}: {key} in config names a file of your own, which jobs cannot reach where results "
            "lie in a storage; run on one machine or on Slurm, or leave the key out."
        )


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


def existing(path, recording, key):
    """A path of config: what rules make comes in time, what does not must be where Snakemake runs."""
    if path.startswith("results/"):
        return path
    if not os.path.exists(path):
        raise WorkflowError(
            f"{path}: no such file, but recording {recording} needs it; correct "
            f"recordings: {recording}: {key} in config."
        )
    return local(path)


def video_files(wildcards):
    """The videos of a recording, one per camera."""
    cameras = section_of("recording", wildcards.recording)["cameras"]
    return [video_of(wildcards.recording, camera) for camera in cameras]


def video_file(wildcards):
    return video_of(wildcards.recording, wildcards.camera)


def video_of(recording, camera):
    settings = section_of("recording", recording)
    if camera not in settings["cameras"]:
        raise WorkflowError(f"config: recordings: {recording} has no camera {camera!r}.")
    return existing(settings["videos"].replace("{camera}", camera), recording, "videos")


def mask_videos(wildcards):
    """The mask videos of a recording, one per camera: its own, or those that are made."""
    recording = wildcards.recording
    settings = section_of("recording", recording)
    paths = []
    for camera in settings["cameras"]:
        files = None if settings["masks"] == "auto" else mask_files(recording, camera)
        if files and files.kind == "video":
            paths.append(existing(str(files.path), recording, "masks"))
        else:
            paths.append(f"{RECORDING}/masks/{camera}.mkv".format(recording=recording))
    return paths


def given_masks(wildcards):
    """The same where masks are given; masks: auto needs the calibration first."""
    masks = section_of("recording", wildcards.recording)["masks"]
    return [] if masks == "auto" else mask_videos(wildcards)


def indexes_of_made_masks(wildcards):
    """Of mask videos that are given, the rule `cameras` knows the index."""
    recording = wildcards.recording
    settings = section_of("recording", recording)
    if settings["masks"] != "auto":
        return []
    return expand(
        f"{RECORDING}/masks/{{camera}}.index.npz", recording=[recording], camera=settings["cameras"]
    )


def mask_files(recording, camera):
    """Where one camera's masks lie, and of which kind they are."""
    try:
        return find_masks(section_of("recording", recording)["masks"], camera)
    except PoseSplatterError as error:
        raise WorkflowError(str(error))


def mask_sources(wildcards):
    """What a mask video is made from: the masks given, or the parts of those made by us."""
    if section_of("recording", wildcards.recording)["masks"] == "auto":
        return expand(MASK_PARTS, recording=wildcards.recording)
    files = mask_files(wildcards.recording, wildcards.camera)
    return existing(str(files.path), wildcards.recording, "masks")


def camera_backgrounds(wildcards):
    """The backgrounds of all cameras, where masks are told from backgrounds."""
    settings = section_of("recording", wildcards.recording)
    if settings["segmentation"]["method"] != "background":
        return []
    return expand(
        f"{RECORDING}/masks/{{camera}}.background.npz",
        recording=wildcards.recording,
        camera=settings["cameras"],
    )


def floor_file(wildcards):
    """The floor that shadows fall on, where masks are told from backgrounds and shadows count."""
    shadow = section_of("recording", wildcards.recording)["segmentation"]["shadow"]
    wanted = camera_backgrounds(wildcards) and shadow < 1
    return f"{RECORDING}/masks/floor.npz" if wanted else []


def segmentation_settings(*keys):
    """A params function: the named settings by which a recording's masks are made."""

    def read(wildcards):
        made_by = section_of("recording", wildcards.recording)["segmentation"]
        return {key: made_by[key] for key in keys}

    return read


def empty_scene(wildcards):
    """The picture or video of what a camera sees without the animal, where config names them."""
    path = section_of("recording", wildcards.recording)["segmentation"]["empty_scene"]
    if path is None:
        return []
    path = str(with_camera(path, wildcards.camera))
    return existing(path, wildcards.recording, "segmentation: empty_scene")


def segmentation_weights(wildcards):
    """The file of the network that makes masks, where config names one."""
    path = section_of("recording", wildcards.recording)["segmentation"]["weights"]
    return [] if path is None else existing(path, wildcards.recording, "segmentation: weights")


def calibration_files(wildcards):
    """The file of a recording's calibration; all of them, where it is a folder or a pattern."""
    settings = section_of("recording", wildcards.recording)
    files = files_of(settings["calibration"], settings["cameras"])
    return [existing(str(path), wildcards.recording, "calibration") for path in files]


def lines_file(wildcards):
    """The file of vertical lines, where a recording has one."""
    up = section_of("recording", wildcards.recording)["up"]
    return [] if up in ("auto", *WORLD_AXES) else existing(up, wildcards.recording, "up")


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


def recording_files(recordings):
    """What preprocessing made of some recordings of an experiment, as inputs by name."""
    return {
        "images": preprocessed("images.zarr", recordings),
        "center_rotation": preprocessed("center_rotation.npz", recordings),
        "crop": preprocessed("crop.json", recordings),
        "cameras": upright_cameras("cameras.h5", recordings),
        "vertical_lines": upright_cameras("vertical_lines.npz", recordings),
    }


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


def settings_of_training(wildcards):
    return shaping_settings(wildcards.experiment)


def shaping_settings(name):
    """All that shapes an experiment's model: its settings, and those of its preset."""
    experiment = section_of("experiment", name)
    return {
        **{key: value for key, value in experiment.items() if key != "apply"},
        "training": {k: v for k, v in experiment["training"].items() if k != "workers"},
        "preset": {"name": experiment["preset"], **config["presets"][experiment["preset"]]},
    }


def growing(amount):
    """A resource of which a job that is tried again gets twice as much: it may have ended for that."""

    def resource(wildcards, attempt):
        return amount * min(attempt, 2)

    return resource


def gpus_of_training(wildcards):
    return GPUS * section_of("experiment", wildcards.experiment)["training"]["processes"]


def workers_of_training(wildcards):
    return section_of("experiment", wildcards.experiment)["training"]["workers"]


def starting_point(wildcards):
    """What an experiment's first weights come from: another's checkpoint, a release, or nothing."""
    init_from = section_of("experiment", wildcards.experiment)["init_from"]
    if init_from in config["experiments"]:
        return EXPERIMENT.format(experiment=init_from) + "/checkpoint.pt"
    if init_from is None or source_experiment(init_from, config["experiments"]):
        return init_from or []
    refuse_storage(init_from, "init_from")
    # A folder from elsewhere: its files, since a folder's own time says little of them.
    return [f"{init_from}/{name}" for name in RELEASE_FILES]


def applied_recordings(wildcards):
    return section_of("experiment", wildcards.experiment)["apply"]


def applied_metrics(wildcards):
    """The metrics of an experiment on every recording that it is applied to."""
    return expand(
        f"{APPLIED}/metrics_test.csv",
        experiment=wildcards.experiment,
        recording=applied_recordings(wildcards),
    )


def of_baseline(file):
    """A file of the baseline on the same recording, where it is another experiment applied to it."""

    def path(wildcards):
        name = config["comparison"]["baseline"]
        applied = wildcards.recording in section_of("experiment", name)["apply"]
        if name == wildcards.experiment or not applied:
            return []
        return f"{APPLIED}/{file}".format(experiment=name, recording=wildcards.recording)

    return path


def labels_of_applied(figure):
    """How the report names a figure of an experiment on a recording."""
    return {"experiment": "{experiment}", "recording": "{recording}", "figure": figure}


def encoder_weights(wildcards):
    """The file of the image encoder's weights, where config names one."""
    path = config["embedding"]["weights"]
    if path is not None and not os.path.exists(path):
        raise WorkflowError(f"{path}: no such file; correct embedding: weights in config.")
    if path is not None:
        refuse_storage(path, "embedding: weights")
    return [] if path is None else path


def embedding_settings(*keys):
    """The named settings of the embedding: those that a stage reads."""
    return {key: config["embedding"][key] for key in keys}


def embedded(name, recordings):
    """The paths of one file of the embedding for some recordings of an experiment."""

    def paths(wildcards):
        return expand(
            f"{APPLIED}/embedding/{name}",
            experiment=wildcards.experiment,
            recording=recordings(wildcards),
        )

    return paths


def is_training_recording(wildcards):
    return wildcards.recording in training_recordings(wildcards)


COMPARED = config["comparison"]["experiments"]
OUTCOMES = [
    (name, recording) for name in COMPARED for recording in config["experiments"][name]["apply"]
]


def outcome_files(name):
    """One file of every experiment and recording that are compared."""
    return [
        f"{EXPERIMENT}/{name}".format(experiment=experiment, recording=recording)
        for experiment, recording in OUTCOMES
    ]


# What experiments are for, by their folders: files that are asked for by name.
OF_EXPERIMENT = ["checkpoint.pt", "training_log.csv", "training_curves.png"]
OF_PREPROCESSED = ["contact_sheet.png", "hull_metrics_test.csv"]
OF_APPLIED = [
    "rendered_images.h5",
    "metrics_test.csv",
    "metrics_test_frames.csv",
    *(f"analysis/summary.{kind}" for kind in ["json", "md"]),
    *(f"analysis/metrics_{kind}.png" for kind in ["by_camera", "per_frame"]),
    *(f"analysis/{name}.png" for name in ["distribution", "worst_frames", "best_frames"]),
    *(f"visualization/{name}" for name in ["comparison.png", "frames", "frames.png"]),
    *(f"visualization/{name}" for name in ["volumes.png", "cameras", "novel_views.html"]),
    *(f"visualization/{name}" for name in ["turntable.mp4", "bullet_time.mp4"]),
    "export",
    "viewer",
]


def results_of(experiments):
    """Everything that experiments are for: metrics, renders, pictures, and how they compare."""
    targets = [f"results/comparison/comparison.{kind}" for kind in ("csv", "md", "png")]
    for name in experiments:
        experiment = config["experiments"][name]
        of = {
            "experiment": name,
            "recording": experiment["apply"],
            "preset": experiment["preset"],
        }
        targets += expand(f"{EXPERIMENT}/{{file}}", file=OF_EXPERIMENT, **of)
        targets += expand(f"{APPLIED}/{{file}}", file=OF_APPLIED, **of)
        targets += expand(f"{PREPROCESSED}/{{file}}", file=OF_PREPROCESSED, **of)
        targets += expand(f"{RECORDING}/synchronization.{{kind}}", kind=["json", "png"], **of)
    return targets
