"""What reruns: change one thing, and exactly the jobs that read it are stale.

Every row of the table asks a dry run, the same engine that decides for a real one.
"""

import json
import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pandas as pd
import pytest

from ..conftest import write_video
from .conftest import Workspace, remove

pytestmark = pytest.mark.slow

COMPARE = {"compare_experiments": 1, "all": 1}
# Two experiments, and what each of them needs after its checkpoint: pictures that read the model
# itself, and those that read the metrics as well as the renders.
DRAWN = {"chosen_frames": 2, "volumes": 2, "novel_views": 2}
PICTURES = {"truth_against_prediction": 2, "analysis": 2} | DRAWN | COMPARE
METRICS = {"metrics_part": 4, "metrics_test": 2} | PICTURES
RENDER = {"render_part": 4, "render": 2, "camera_videos": 2} | METRICS
EXPORT = {"export_gaussians": 2, "viewer": 2}
TRAIN = {"train": 2, "training_curves": 2} | EXPORT | RENDER
CROP = {"hull_sum": 2, "crop": 1, "contact_sheet": 1} | TRAIN
HULL = {"hull_metrics_part": 2, "hull_metrics_test": 1}
TRACK = {"hull_moments": 2, "center_rotation": 1} | HULL | CROP
UP = {"vertical_lines": 1} | TRACK
IMAGES = {"images_part": 2, "images": 1, "images_zarr": 1} | TRACK
EVERYTHING = {"cameras": 1, "synchronization": 1} | UP | IMAGES
ONE_METRICS = {
    **{"metrics_part": 2, "metrics_test": 1, "truth_against_prediction": 1, "analysis": 1},
    **{"chosen_frames": 1, "volumes": 1, "novel_views": 1},
    **COMPARE,
}
ONE_RENDER = {"render_part": 2, "render": 1, "camera_videos": 1} | ONE_METRICS
ONE_EXPORT = {"export_gaussians": 1, "viewer": 1}
ONE_TRAIN = {"train": 1, "training_curves": 1} | ONE_EXPORT | ONE_RENDER
# One recording's, then those of each of two experiments.
OF_EACH_CHUNK = {
    **dict.fromkeys(("images_part", "hull_moments", "hull_sum", "hull_metrics_part"), 3),
    **dict.fromkeys(("render_part", "metrics_part"), 6),
}
# The other experiment's analysis holds it against the baseline, and its pictures show the frame
# that is typical of the baseline.
OF_BASELINE = {"analysis": 2, "truth_against_prediction": 2, "volumes": 2, "novel_views": 2}


def test_nothing_changed_reruns_nothing(finished):
    assert finished.dry_run().jobs() == {}


CONFIG = {
    "learning rate": ({"defaults": {"training": {"learning_rate": 1e-3}}}, TRAIN),
    "epochs": ({"defaults": {"training": {"epochs": 3}}}, TRAIN),
    "image weight": ({"defaults": {"loss": {"image": 0.4}}}, TRAIN),
    "one experiment's network": (
        {"experiments": {"ablation": {"network": {"hidden": 8}}}},
        ONE_TRAIN,
    ),
    "held-out camera": (
        {"recordings": {"demo": {"heldout_cameras": [1, 4]}}},
        {"synchronization": 1} | UP,
    ),
    "frame offsets": ({"recordings": {"demo": {"frame_offsets": {2: 1}}}}, EVERYTHING),
    "downsample": ({"presets": {"default": {"downsample": 8}}}, IMAGES),
    "grid size": ({"presets": {"default": {"grid_size": 80}}}, CROP),
    "crop coverage": (
        {"presets": {"default": {"crop_coverage": 0.99}}},
        CROP,
    ),
    "ell": ({"presets": {"default": {"ell": 300}}}, CROP),
    "fill colour": ({"presets": {"default": {"fill_color": 0.3}}}, CROP),
    "tracking grid": ({"presets": {"default": {"tracking_grid": 48}}}, TRACK),
    "frames": ({"recordings": {"demo": {"frames": {"stop": 21}}}}, EVERYTHING),
    "empty masks": ({"recordings": {"demo": {"empty_masks": "absent"}}}, IMAGES),
    "augmentation": ({"defaults": {"augmentation": {"turn": 5}}}, TRAIN),
    "processes that load frames": ({"defaults": {"training": {"workers": 2}}}, {}),
    "the order of held-out cameras": ({"recordings": {"demo": {"heldout_cameras": [5, 1]}}}, {}),
    # Stores are made again with the bytes that they had; training finds nothing new in them.
    "chunks": ({"chunks": 3}, {**IMAGES, **OF_EACH_CHUNK}),
    "what is run": ({"run": ["baseline"]}, COMPARE),
    "baseline of the comparison": (
        {"comparison": {"baseline": "ablation"}},
        OF_BASELINE | COMPARE,
    ),
    "smoothing": ({"presets": {"default": {"smoothing": 2.0}}}, TRACK),
    "split": (
        {"presets": {"default": {"split": [0.5, 0.25, 0.25]}}},
        HULL | CROP,
    ),
    "plot dpi": (
        {"plots": {"dpi": 90}},
        {"training_curves": 2, "truth_against_prediction": 2, "chosen_frames": 2, "volumes": 2}
        | {"contact_sheet": 1, "synchronization": 1, "analysis": 2}
        | COMPARE,
    ),
    "frames to export": ({"export": {"count": 2}}, EXPORT | {"all": 1}),
    "frames to draw": ({"visualization": {"frames": [3]}}, {"chosen_frames": 2, "all": 1}),
    "turntable": ({"visualization": {"turntable": 20}}, {"novel_views": 2, "all": 1}),
    "flight": ({"visualization": {"flight": {"turns": 2}}}, {"novel_views": 2, "all": 1}),
    "device": ({"device": "cpu"}, TRAIN),
    "another experiment": (
        {
            "experiments": {"third": {"loss": {"image": 0.2}}},
            "run": ["baseline", "ablation", "third"],
        },
        ONE_TRAIN,
    ),
    "an unused preset": ({"presets": {"other": {"grid_size": 32}}}, {}),
}


@pytest.mark.parametrize("change", CONFIG)
def test_a_setting_reruns_what_reads_it(finished, change):
    overrides, expected = CONFIG[change]
    assert finished.dry_run(overrides=overrides).jobs() == expected


def replace_text(old: str, new: str):
    def change(path):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def replace_video(path):
    write_video(path, np.full((300, 512, 576, 3), 90, np.uint8), crf=40)


def touch(path):
    os.utime(path)


def edit_calibration(path):
    with h5py.File(path, "r+") as file:
        file["camera_parameters/translation"][0] += 0.5


PACKAGE = "src/pose_splatter"
IDLE = "\n_unused = 1\n"


def append(path):
    path.write_text(path.read_text() + IDLE)


def comment(path):
    path.write_text(path.read_text() + "\n# a comment\n")


FILES = {
    "a video replaced": ("resources/demo/videos/camera2.mp4", replace_video, EVERYTHING),
    "training log deleted": (
        "results/experiments/baseline/training_log.csv",
        remove,
        ONE_TRAIN | OF_BASELINE,
    ),
    "figure of the comparison deleted": ("results/comparison/comparison.png", remove, COMPARE),
    "a video touched": ("resources/demo/videos/camera2.mp4", touch, {}),
    "a mask video touched": ("resources/demo/masks/camera2.mp4", touch, {}),
    "calibration edited": ("resources/demo/calibration.h5", edit_calibration, EVERYTHING),
    "video.py": (f"{PACKAGE}/video.py", append, EVERYTHING),
    "carving.py": (f"{PACKAGE}/carving.py", append, UP),
    "tracking.py": (f"{PACKAGE}/tracking.py", append, UP),
    "volume.py": (f"{PACKAGE}/volume.py", append, CROP),
    "network.py": (f"{PACKAGE}/network.py", append, TRAIN),
    "rasterizer": (f"{PACKAGE}/rasterize/_kernels.py", append, TRAIN),
    "losses.py": (f"{PACKAGE}/losses.py", append, TRAIN),
    "training.py": (f"{PACKAGE}/training.py", append, TRAIN),
    "rendering.py": (f"{PACKAGE}/rendering.py", append, RENDER | EXPORT),
    "evaluation.py": (
        f"{PACKAGE}/evaluation.py",
        append,
        HULL | {"camera_videos": 2} | METRICS,
    ),
    "hull.py": (f"{PACKAGE}/hull.py", append, HULL | {"all": 1}),
    "comparison.py": (f"{PACKAGE}/comparison.py", append, {"analysis": 2} | COMPARE),
    "analysis.py": (f"{PACKAGE}/analysis.py", append, {"analysis": 2, "all": 1}),
    "plots.py": (
        f"{PACKAGE}/plots.py",
        append,
        {"training_curves": 2, "contact_sheet": 1, "synchronization": 1}
        | {"camera_videos": 2, "viewer": 2}
        | PICTURES,
    ),
    "comparison_plots.py": (f"{PACKAGE}/comparison_plots.py", append, COMPARE),
    "movies.py": (
        f"{PACKAGE}/movies.py",
        append,
        {"camera_videos": 2, "novel_views": 2, "volumes": 2, "all": 1},
    ),
    "views.py": (f"{PACKAGE}/views.py", append, {"volumes": 2, "novel_views": 2, "all": 1}),
    "gallery.py": (f"{PACKAGE}/gallery.py", append, {"chosen_frames": 2, "all": 1}),
    "synchronization.py": (
        f"{PACKAGE}/synchronization.py",
        append,
        {"synchronization": 1, "all": 1},
    ),
    "contact_sheet.py": (f"{PACKAGE}/contact_sheet.py", append, {"contact_sheet": 1, "all": 1}),
    "viewer.py": (f"{PACKAGE}/viewer.py", append, {"viewer": 2, "all": 1}),
    "a script": ("src/scripts/render_part.py", append, RENDER),
    "a script that gathers": ("src/scripts/metrics_test.py", append, METRICS),
    "a comment": (f"{PACKAGE}/carving.py", comment, {}),
    "a comment in a script": ("src/scripts/train.py", comment, {}),
    "a docstring": (f"{PACKAGE}/carving.py", replace_text('"""', '"""Reworded. '), {}),
    "metrics deleted": (
        "results/experiments/baseline/demo/metrics_test.csv",
        remove,
        ONE_METRICS | OF_BASELINE,
    ),
    "curves deleted": (
        "results/experiments/baseline/training_curves.png",
        remove,
        {"training_curves": 1, "all": 1},
    ),
    "export deleted": ("results/experiments/baseline/demo/export", remove, ONE_EXPORT | {"all": 1}),
    # What only stands between is made again when a job needs it.
    "Zarr store deleted": ("results/recordings/demo/default/images.zarr", remove, {}),
    "checkpoint deleted": (
        "results/experiments/baseline/checkpoint.pt",
        remove,
        ONE_TRAIN | OF_BASELINE,
    ),
}


@pytest.mark.parametrize("change", FILES)
def test_a_file_reruns_what_reads_it(finished, change):
    name, edit, expected = FILES[change]
    with finished.changed(name) as path:
        edit(path)
        run = finished.dry_run()
    assert run.jobs() == expected


def test_a_deleted_store_is_made_again_when_it_is_needed(finished):
    overrides = {"defaults": {"training": {"learning_rate": 1e-3}}}
    with finished.changed("results/recordings/demo/default/images.zarr") as path:
        remove(path)
        jobs = finished.dry_run(overrides=overrides).jobs()
    assert jobs == {"images_zarr": 1} | TRACK, "it is made from images.h5, no video is decoded"


def test_the_dry_run_says_why(finished):
    overrides = {"defaults": {"training": {"learning_rate": 1e-3}}}
    run = finished.dry_run(overrides=overrides)
    assert run.output.lower().count("reason: ") == sum(run.jobs().values()) == 34
    assert "Params have changed since last execution" in run.output


# --- resuming ----------------------------------------------------------------------------------


def metrics(workspace: Workspace, experiment: str) -> pd.DataFrame:
    path = workspace.folder / f"results/experiments/{experiment}/demo/metrics_test.csv"
    return pd.read_csv(path).set_index("camera").drop(columns="role")


def test_other_settings_start_anew(finished, tmp_path):
    workspace = finished.copied(tmp_path)
    run = workspace.run(
        "results/experiments/ablation/demo/metrics_test.csv",
        overrides={"defaults": {"loss": {"image": 3.0}}},
    )
    assert run.code == 0, run.output
    assert "training starts anew" in run.output
    one, other = (metrics(w, "ablation")["soft_iou"] for w in (workspace, finished))
    assert one.ne(other).any()


def test_more_epochs_go_on_where_training_ended(finished, tmp_path):
    """Even where the store was lost in between: what is in it counts, not when it was made."""
    workspace = finished.copied(tmp_path)
    remove(workspace.folder / "results/recordings/demo/default/images.zarr")
    before = pd.read_csv(workspace.folder / "results/experiments/ablation/training_log.csv")
    run = workspace.run(
        "results/experiments/ablation/checkpoint.pt",
        overrides={"defaults": {"training": {"epochs": 3}}},
    )
    assert run.code == 0, run.output
    assert "going on after epoch 1" in run.output
    after = pd.read_csv(workspace.folder / "results/experiments/ablation/training_log.csv")
    pd.testing.assert_frame_equal(after[:2], before)
    assert len(after) == 3


def test_a_training_killed_at_any_moment_ends_the_same(finished, tmp_path):
    """SIGKILL to Snakemake and its job in the middle of training, then the same command again."""
    target = "results/experiments/ablation/checkpoint.pt"
    overrides = {"defaults": {"training": {"epochs": 6, "learning_rate": 1e-3}}}
    whole = finished.copied(tmp_path / "whole")
    assert whole.run(target, overrides=overrides).code == 0
    killed = finished.copied(tmp_path / "killed")
    log = killed.folder / "logs/train/ablation.log"
    log.unlink()
    process = subprocess.Popen(
        killed.command(target, overrides=overrides),
        cwd=killed.folder,
        env=killed.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (log.exists() and "epoch 3 of" in log.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, "training ended before it was killed"
        time.sleep(0.02)
    delay = np.random.default_rng().uniform(0, 0.5)
    print(f"killed {delay:.3f} s after the epoch's end")
    time.sleep(delay)
    assert process.poll() is None, "training ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    unlock = [*killed.command(overrides=overrides)[:3], "--unlock"]
    subprocess.run(unlock, cwd=killed.folder, env=killed.environment, check=True, timeout=100)
    again = killed.run(target, overrides=overrides)
    assert again.code == 0, again.output
    assert "going on after epoch" in again.output
    end, other = ((each.folder / target).read_bytes() for each in (whole, finished))
    assert (killed.folder / target).read_bytes() == end != other


# --- what else experiments may be ----------------------------------------------------------------


def test_release_and_an_experiment_that_starts_from_it(finished, tmp_path):
    workspace = finished.copied(tmp_path)
    overrides = {
        "experiments": {
            "extended": {"init_from": "baseline", "training": {"epochs": 1}},
            "tuned": {
                "init_from": "results/experiments/baseline/release",
                "training": {"epochs": 1},
            },
        }
    }
    targets = [f"results/experiments/{name}/training_log.csv" for name in ("extended", "tuned")]
    run = workspace.run(*targets, overrides=overrides)
    assert run.code == 0, run.output
    release = workspace.folder / "results/experiments/baseline/release"
    assert json.loads((release / "config.json").read_text())["settings"]["train"] == ["demo"]
    assert "| observed |" in (release / "README.md").read_text()
    sums = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=release, check=False)
    assert sums.returncode == 0
    scratch = pd.read_csv(workspace.folder / "results/experiments/baseline/training_log.csv")
    for target in targets:
        log = pd.read_csv(workspace.folder / target)
        assert log["train_loss"][0] < scratch["train_loss"][0]


def test_comparison_of_experiments(finished):
    table = pd.read_csv(finished.folder / "results/comparison/comparison.csv")
    assert set(table["experiment"]) == {"baseline", "ablation"}
    assert set(table["role"]) == {"observed", "heldout"}
    changed = table.set_index("experiment")["settings_changed"].fillna("")
    assert set(changed["ablation"]) == {"network.unets: 0 (1)"}
    page = (finished.folder / "results/comparison/comparison.md").read_text()
    assert "demo, held-out cameras" in page


def test_training_on_two_rigs_and_applying_to_a_third(workspace):
    """Six, five and four cameras of different sizes; the third rig was never trained on."""
    overrides = {
        "chunks": 1,
        "recordings": workspace.with_rigs(),
        "presets": {"rigs": {"downsample": 2, "grid_size": 64}},
        "experiments": {
            "many": {
                "preset": "rigs",
                "train": ["six", "five"],
                "apply": ["four"],
                "training": {"epochs": 6},
            }
        },
    }
    target = "results/experiments/many/four/metrics_test.csv"
    run = workspace.run(target, overrides=overrides)
    assert run.code == 0, run.output
    table = pd.read_csv(workspace.folder / target).set_index("camera")
    assert list(table.index[:4]) == list("0123")
    # 0.90 and 0.71 after six epochs of few frames; the hull alone has 0.99 and 0.62.
    assert table.loc["mean_observed", "iou"] > 0.85
    assert table.loc["mean_heldout", "iou"] > 0.65
