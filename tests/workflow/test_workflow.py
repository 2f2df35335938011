"""The whole workflow: what it makes, what reruns, and what it says of bad input."""

import json
import os
import re
import shutil
import subprocess
import sys

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
import zarr

from pose_splatter.cameras import load_cameras, rotation_to_z
from pose_splatter.devices import own_gpus
from pose_splatter.tracking import load_track
from pose_splatter.video import probe, read_frames

from ..conftest import write_video
from .conftest import ROOT, SMALL, Workspace

pytestmark = pytest.mark.slow
METRICS = "results/experiments/baseline/demo/metrics_test.csv"
CALIBRATION = {"intrinsic": "camera_matrix", "rotation": "R", "translation": "T"}


def test_every_target_of_the_contract_is_there(finished):
    recording = finished.folder / "results/recordings/demo"
    preset = recording / "default"
    experiment = finished.folder / "results/experiments/baseline"
    with h5py.File(recording / "cameras.h5") as file:
        assert file["intrinsics"].shape == (6, 3, 3)
    assert np.linalg.norm(np.load(recording / "vertical_lines.npz")["up"]) == pytest.approx(1)
    with h5py.File(preset / "images.h5") as file:
        assert file["images"].shape == (24, 6, 128, 144, 3)
        assert file["images"].dtype == file["masks"].dtype == np.uint8
        assert list(file.attrs["cameras"]) == list("012345")
        assert {"recording", "downsample", "fps"} <= set(file.attrs)
        images = file["images"][:]
    np.testing.assert_array_equal(zarr.open_group(preset / "images.zarr")["images"][:], images)
    with np.load(preset / "center_rotation.npz") as track:
        assert track["centers"].shape == (24, 3)
        assert track["angles"].shape == (24,)
        assert track["covs"].shape == (24, 3, 3)
    crop = json.loads((preset / "crop.json").read_text())
    assert crop["coverage"] >= 0.999
    counts = np.load(preset / "volume_sum.npy")
    assert all(size % 16 == 0 and size <= 128 for size in counts.shape)
    assert counts.shape[0] == counts.shape[1] > counts.shape[2], "it is longer than high"
    margins = [(size - 64) // 2 for size in counts.shape]
    box = [slice(a + m, b + m) for (a, b), m in zip(crop["box"], margins, strict=True)]
    assert counts[tuple(box)].sum() / counts.sum() == pytest.approx(crop["coverage"])
    checkpoint = torch.load(experiment / "checkpoint.pt", weights_only=True)
    assert {"network", "weights"} <= set(checkpoint)
    log = pd.read_csv(experiment / "training_log.csv")
    assert len(log) == 2
    assert {"train_loss", "train_iou", "valid_loss", "learning_rate", "seconds"} <= set(log)
    with h5py.File(experiment / "demo/rendered_images.h5") as file:
        assert file["images"].shape == (8, 6, 128, 144, 4)
        np.testing.assert_array_equal(file["frame_index"][:], np.arange(16, 24))
        assert (file["images"][:, :, 0, 0] == [255, 255, 255, 0]).all()
    table = pd.read_csv(experiment / "demo/metrics_test.csv").set_index("camera")
    assert list(table.index) == [*"012345", "mean_observed", "mean_heldout", "mean"]
    assert list(table.columns) == [
        *("role", "n_frames", "iou", "soft_iou", "l1", "psnr", "ssim", "psnr_fg"),
    ]
    assert (table["role"] == "heldout").sum() == 3
    assert table.loc["mean_observed", "iou"] > 0.6
    assert len(pd.read_csv(experiment / "demo/metrics_test_frames.csv")) == 8 * 6
    shown = experiment / "demo/visualization"
    pictures = [experiment / "training_curves.png", preset / "contact_sheet.png"]
    pictures += [recording / "synchronization.png"]
    in_step = json.loads((recording / "synchronization.json").read_text())
    assert {camera["offset"] for camera in in_step["cameras"].values()} <= {0, None}
    pictures += [shown / f"{name}.png" for name in ("comparison", "frames", "volumes")]
    each = sorted((shown / "frames").glob("*.png"))
    assert [path.stem for path in each] == ["frame_000017", "frame_000022"]
    pictures += each
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    videos = {"turntable.mp4": 60, "bullet_time.mp4": 8}
    videos |= {f"cameras/{camera}.mp4": 8 for camera in range(6)}
    for name, count in videos.items():
        assert probe(shown / name).n_frames == count
    assert (shown / "novel_views.html").read_text().count("<video") == 2
    summary = json.loads((experiment / "demo/analysis/summary.json").read_text())
    assert summary["roles"]["heldout"]["iou"]["mean"] == pytest.approx(
        table.loc["mean_heldout", "iou"]
    )
    assert len(summary["worst_frames"]) == len(summary["best_frames"]) == 4, "of eight"


def test_the_report_holds_every_figure_and_opens_offline(finished, tmp_path):
    workspace = finished.copied(tmp_path)
    report = "results/report.html"
    run = workspace.run(report)
    assert run.code == 0, run.output
    page = (workspace.folder / report).read_text()
    figures = set((workspace.folder / "results").rglob("*.png"))
    # Each of them is in visualization/frames.png too.
    figures -= set((workspace.folder / "results").rglob("visualization/frames/*.png"))
    for figure in figures:
        assert f'"{figure.relative_to(workspace.folder)}": {{' in page
    assert not re.findall(r"""(?:src|href)=["']?https?://|url\(["']?https?://""", page)
    for category in ("Recording", "Training", "Evaluation", "Comparison"):
        assert f'"{category}": {{' in page
    assert "validation_frames" in page, "a setting that no figure's rule reads"
    assert workspace.dry_run(report).jobs() == {}
    script = workspace.folder / "src/scripts/training_curves.py"
    script.write_text(script.read_text() + "\n_unused = 1\n")
    assert workspace.dry_run(report).jobs() == {"training_curves": 2, "report_html": 1}
    script.write_text(script.read_text().removesuffix("\n_unused = 1\n"))
    caption = workspace.folder / "rules/captions/volumes.rst"
    caption.write_text(caption.read_text() + "More words.\n")
    assert workspace.dry_run(report).jobs() == {"report_html": 1}


def test_logs_and_benchmarks_of_every_rule(finished):
    rules = {path.name for path in (finished.folder / "logs").iterdir()}
    assert rules == {path.name for path in (finished.folder / "results/benchmarks").iterdir()}
    assert {"images_part", "train", "metrics_test"} <= rules


def test_parts_and_temporary_files_are_gone(finished):
    names = [path.name for path in (finished.folder / "results").rglob("*")]
    assert not [name for name in names if ".tmp" in name]
    assert not list((finished.folder / "results/recordings/demo/default").glob("parts/*"))


def test_one_target_needs_only_its_own_stages(workspace):
    jobs = workspace.dry_run("results/recordings/demo/default/images.h5").jobs()
    assert jobs == {"cameras": 1, "images_part": 2, "images": 1}


def test_the_example_is_planned_from_the_download_on(workspace):
    """The recording is not there yet: its videos, masks and calibration are made before they are
    used."""
    example = yaml.safe_load((ROOT / "config/examples/pose2sim.yaml").read_text())
    jobs = workspace.dry_run(
        "results/experiments/person/pose2sim/metrics_test.csv", overrides=example
    ).jobs()
    once = ("pose2sim", "cameras", "vertical_lines", "images", "train", "render", "metrics_test")
    assert {rule: jobs[rule] for rule in once} == dict.fromkeys(once, 1)
    assert jobs["pose2sim_video"] == 2, "those that a video platform scaled"
    assert jobs["background"] == jobs["mask_video"] == 4


def test_tracking_agrees_with_the_truth(finished):
    """Coarse, on 24 frames: the demo's centre and heading, as it was rendered."""
    results = finished.folder / "results/recordings/demo"
    upright = rotation_to_z(np.load(results / "vertical_lines.npz")["up"])
    animal = load_track(results / "default/center_rotation.npz")
    with h5py.File(finished.folder / "resources/demo/truth.h5") as truth:
        centers = truth["center"][:24] @ upright.T
        headings = truth["heading"][:24] @ upright.T
        length = truth.attrs["body_length_mm"]
    assert np.median(np.linalg.norm(animal.centers - centers, axis=1)) < 0.03 * length
    turn = animal.angles - np.arctan2(headings[:, 1], headings[:, 0])
    errors = np.degrees(np.abs(np.angle(np.exp(1j * turn))))
    assert np.median(errors) < 8
    assert errors.max() < 90, "no flip"


def test_held_out_cameras_are_read_by_evaluation_alone(finished, workspace):
    """The held-out cameras' files changed places: everything but evaluation comes out the same."""
    for kind in ("videos", "masks"):
        one, other = (workspace.folder / f"resources/demo/{kind}/camera{n}.mp4" for n in (1, 5))
        kept = one.with_name("kept.mp4")
        one.rename(kept)
        other.rename(one)
        kept.rename(other)
    renders = "results/experiments/ablation/demo/rendered_images.h5"
    run = workspace.run(renders, overrides={"experiments": {"baseline": {}}})
    assert run.code == 0, run.output
    for name in ("vertical_lines.npz", "default/center_rotation.npz"):
        one, other = (
            np.load(w.folder / "results/recordings/demo" / name) for w in (finished, workspace)
        )
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    one, other = (
        np.load(w.folder / "results/recordings/demo/default/volume_sum.npy")
        for w in (finished, workspace)
    )
    np.testing.assert_array_equal(one, other)
    one, other = (h5py.File(w.folder / renders)["images"][:] for w in (finished, workspace))
    np.testing.assert_array_equal(one, other)


def test_frame_offsets_shift_videos_and_masks_and_are_checked(finished, workspace):
    """A camera that is in step, shifted by config: all of it moves, and the check finds it."""
    targets = [
        f"results/recordings/demo/{n}" for n in ("default/images.h5", "synchronization.json")
    ]
    overrides = {"recordings": {"demo": {"frame_offsets": {3: 4}, "frames": {"stop": 100}}}}
    run = workspace.run(*targets, overrides=overrides)
    assert run.code == 0, run.output
    with (
        h5py.File(finished.folder / targets[0]) as plain,
        h5py.File(workspace.folder / targets[0]) as shifted,
    ):
        for name in ("images", "masks"):
            one, other = plain[name][:], shifted[name][:20]
            np.testing.assert_array_equal(other[:, 3], one[4:, 3])
            np.testing.assert_array_equal(np.delete(other, 3, 1), np.delete(one[:20], 3, 1))
        np.testing.assert_array_equal(shifted["source_frames"][:], np.arange(100))
    found = json.loads((workspace.folder / targets[1]).read_text())
    assert found["cameras"]["3"]["offset"] == -4
    assert found["corrected_frame_offsets"] == {}
    assert "camera 3 is off by 4 frames" in run.output
    assert "write frame_offsets: {} under recordings: demo in config" in run.output


def test_a_job_takes_a_gpu_that_nobody_has(finished, tmp_path, monkeypatch):
    """profiles/gpu, on a machine said to have two GPUs, of which another study has the first."""
    workspace = finished.copied(tmp_path / "a copy")
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nexit 9\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("POSE_SPLATTER_LOCKS", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    machine = workspace.environment
    with own_gpus(1, "another study") as gpus:
        assert gpus == ("0",)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/gpu"),
                *("--configfile", "config/config.yaml", str(SMALL)),
                *("--", "results/experiments/ablation/checkpoint.pt"),
            ],
            cwd=workspace.folder,
            env=machine,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
    log = (workspace.folder / "logs/train/ablation.log").read_text()
    assert re.search(r"^[\d:]+ on 1$", log, re.MULTILINE), done.stdout
    # The profile asks for CUDA, and a CPU does not stand in for it.
    assert "config: device is cuda, but PyTorch finds no CUDA GPU here" in log
    assert done.returncode != 0


# --- bad input ---------------------------------------------------------------------------------


@pytest.fixture
def spoilt(workspace) -> Workspace:
    """A workspace whose recording lies beside the workflow, to be spoilt by a test."""
    for name in ("videos", "masks", "calibration.h5"):
        shutil.move(workspace.folder / "resources/demo" / name, workspace.folder / name)
    return workspace


OWN_FILES = {
    "recordings": {
        "demo": {
            "calibration": "calibration.h5",
            "videos": "videos/camera{camera}.mp4",
            "masks": "masks/camera{camera}.mp4",
        }
    }
}


def remove_video(folder):
    (folder / "videos/camera2.mp4").unlink()


def replace_by_text(folder):
    (folder / "videos/camera2.mp4").write_text("not a video")


def zero_video(folder):
    path = folder / "videos/camera2.mp4"
    content = bytearray(path.read_bytes())
    first = content.index(b"mdat") + 200  # of the first frame, which is looked at beforehand
    content[first : first + 4000] = bytes(4000)
    path.write_bytes(bytes(content))


def shorten_video(folder):
    write_video(folder / "masks/camera3.mp4", np.zeros((20, 512, 576), np.uint8))


def shrink_video(folder):
    write_video(folder / "videos/camera4.mp4", np.zeros((300, 64, 64), np.uint8))


def empty_mask(folder):
    masks = np.zeros((300, 512, 576), np.uint8)
    masks[:, 100:400, 100:400] = 255
    masks[5] = 0
    write_video(folder / "masks/camera3.mp4", masks, crf=30)


def scale_calibration(folder):
    with h5py.File(folder / "calibration.h5", "r+") as file:
        file["camera_parameters/intrinsic"][:, :2] *= 2


OF_CAMERAS = {"cameras.h5", "videos.json", "video_index.npz"}


@pytest.mark.parametrize(
    ("spoil", "words", "left"),
    [
        (remove_video, ["videos/camera2.mp4", "no such file", "recordings: demo: videos"], ()),
        (replace_by_text, ["videos/camera2.mp4", "cannot read the video", "encode it again"], ()),
        (zero_video, ["videos/camera2.mp4", "cannot read the video", "encode it again"], ()),
        (shorten_video, ["masks/camera3.mp4", "last frame is 19", "cut all cameras"], ()),
        (shrink_video, ["videos/camera4.mp4", "64 x 64", "one size"], ()),
        (
            empty_mask,  # which the first of the parts sees
            ["masks/camera3.mp4", "empty in frame 5", "correct the mask"],
            {*OF_CAMERAS, "images.2-of-2.h5"},
        ),
        (scale_calibration, ["calibration.h5", "camera 0", "do not fit", "576 x 512"], ()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_is_one_sentence_and_leaves_nothing(spoilt, spoil, words, left):
    """Nothing of the job that fails; what the jobs before and beside it made is whole, and stays.

    Going on with those beside it, so that it is not chance whether they were started.
    """
    spoil(spoilt.folder)
    run = spoilt.run(
        "results/recordings/demo/default/images.h5",
        overrides=OWN_FILES,
        options=["--keep-going"],
    )
    assert run.code != 0
    sentences = [line for line in run.output.splitlines() if words[0] in line]
    assert any(all(word in line for word in words) for line in sentences), run.output
    assert "Traceback (most recent call last)" not in run.output
    made = (spoilt.folder / "results/recordings").rglob("*")
    assert {path.name for path in made if path.is_file()} == {*left}


def test_a_calibration_file_per_camera(workspace):
    """The demo's calibration as six OpenCV files; a change of one of them is noticed, and read."""
    folder, cameras = workspace.folder / "calib", "results/recordings/demo/cameras.h5"
    folder.mkdir()
    with h5py.File(workspace.folder / "resources/demo/calibration.h5") as file:
        parameters = {key: file[f"camera_parameters/{key}"][:] for key in CALIBRATION}
    for camera in range(6):
        storage = cv2.FileStorage(str(folder / f"rig {camera}.yml"), cv2.FILE_STORAGE_WRITE)
        for key, name in CALIBRATION.items():
            storage.write(name, np.atleast_2d(parameters[key][camera]))
        storage.release()
    overrides = {"recordings": {"demo": {"calibration": "calib/rig {camera}.yml"}}}
    run = workspace.run(cameras, overrides=overrides)
    assert run.code == 0, run.output
    rig = load_cameras(workspace.folder / cameras)
    np.testing.assert_allclose(rig.rotations, parameters["rotation"])
    np.testing.assert_allclose(rig.intrinsics[:, :2, 2], parameters["intrinsic"][:, :2, 2] + 0.5)
    text = (folder / "rig 4.yml").read_text()
    (folder / "rig 4.yml").write_text(
        text.replace("data: [", "data: [ !!python/name:os.system ", 1)
    )
    run = workspace.run(cameras, overrides=overrides)
    assert run.code != 0
    assert "calib/rig 4.yml: the YAML has a tag" in run.output
    assert "Traceback (most recent call last)" not in run.output


def test_paths_are_paths_and_nothing_else(spoilt):
    """Spaces, quotes, other alphabets and what a shell would run."""
    name = 'Mäuse "1" it\'s; touch hacked; $(touch hacked) `touch hacked`'
    (spoilt.folder / name).mkdir()
    for kind in ("videos", "masks", "calibration.h5"):
        shutil.move(spoilt.folder / kind, spoilt.folder / name / kind)
    files = {key: f"{name}/{path}" for key, path in OWN_FILES["recordings"]["demo"].items()}
    overrides = {"recordings": {"demo": files | {"frames": {"stop": 4}}}}
    run = spoilt.run("results/recordings/demo/default/images.h5", overrides=overrides)
    assert run.code == 0, run.output
    assert not list(spoilt.folder.rglob("hacked*"))


def test_a_recordings_name_is_no_path(workspace):
    evil = yaml.safe_load((ROOT / "config/config.yaml").read_text())["recordings"]["demo"]
    run = workspace.run(overrides={"recordings": {"../../evil": evil}})
    assert run.code != 0
    assert "recordings is not valid: '../../evil'; give a name of letters, digits" in run.output
    assert "Traceback" not in run.output
    assert not (workspace.folder / "results").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_said_and_left_empty(workspace):
    results = workspace.folder / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tests mount a small disk")
    try:
        run = workspace.run("results/recordings/demo/cameras.h5")
        assert run.code != 0
        assert ": the disk is full; free some space, then run the same command" in run.output
        assert "Traceback" not in run.output
        assert not [path for path in results.rglob("*") if path.is_file()]
    finally:
        subprocess.run(["umount", str(results)], check=True)


def test_an_animal_that_is_absent_for_a_while(spoilt):
    """Frames 18 and 19 are empty in every camera: marked, skipped, and listed in the metrics."""
    for camera in range(6):
        path = spoilt.folder / f"masks/camera{camera}.mp4"
        masks = np.stack(list(read_frames(path, range(24), "grey")))
        masks[[3, 18, 19]] = 0
        write_video(path, masks)
        frames = np.stack(
            list(read_frames(spoilt.folder / f"videos/camera{camera}.mp4", range(24)))
        )
        write_video(spoilt.folder / f"videos/camera{camera}.mp4", frames)
    run = spoilt.run(METRICS, overrides=OWN_FILES)
    assert run.code == 0, run.output
    track = np.load(spoilt.folder / "results/recordings/demo/default/center_rotation.npz")
    np.testing.assert_array_equal(np.flatnonzero(~track["visible"]), [3, 18, 19])
    frames = pd.read_csv(
        (spoilt.folder / METRICS).with_name("metrics_test_frames.csv"), dtype={"camera": str}
    )
    absent = frames[frames["status"] == "absent"]
    assert set(absent["frame"]) == {18, 19}
    assert absent["iou"].isna().all()
    table = pd.read_csv(spoilt.folder / METRICS).set_index("camera")
    assert table.loc["0", "n_frames"] == 6


def test_costs_are_read_from_the_benchmark_files(finished):
    """A line for every stage, and what it comes to for a large study."""
    command = [
        sys.executable,
        str(ROOT / "benchmarks/scaling.py"),
        str(finished.folder / "results"),
    ]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.count(" | ") == 4]
    rows = {stage: [float(cell or 0) for cell in row] for stage, *row in cells[1:]}
    assert rows["images_part"][0] == rows["render"][0] == 2
    assert rows["images_part"][2] > 0
    size = (finished.folder / "results/recordings/demo/default/images.h5").stat().st_size
    assert rows["images"][3] == pytest.approx(size / 24 / 1000, abs=0.01)
    others = dict(re.findall(r"^\| (\w+) \| (\d+) \| [\d.]+ \|$", page, re.MULTILINE))
    known = set(rows) | set(others) | {"train"}
    assert known >= {path.name for path in (finished.folder / "results/benchmarks").iterdir()}
    assert (others["vertical_lines"], others["training_curves"]) == ("1", "2")
    assert "a 10-hour recording at 100 frames/s | 3,600,000 |" in page
    assert "s (32 steps measured)" in page, "two experiments, two epochs, eight frames"


@pytest.mark.parametrize("up", ["auto", "z"])
def test_cameras_in_another_order_stop_the_run(workspace, up):
    """Whether or not up has to be found: the animal is not where all of them see it."""
    target = "results/recordings/demo/vertical_lines.npz"
    demo = {"cameras": [0, 1, 4, 3, 2, 5], "up": up}
    run = workspace.run(target, overrides={"recordings": {"demo": demo}})
    assert run.code != 0
    assert "do not fit the calibration" in run.output
    assert "pose-splatter check says which are exchanged" in run.output
    assert "Traceback (most recent call last)" not in run.output
    assert not (workspace.folder / target).exists()
