"""masks: auto and masks in other formats, through Snakemake, on a recording of walking balls."""

import json

import cv2
import h5py
import numpy as np
import pycocotools.mask
import pytest
import zarr

from pose_splatter.cameras import INTEGER_PIXEL_CENTRES
from pose_splatter.video import read_frames

from ..conftest import ring_rig, silhouettes, walking_balls, write_video
from .conftest import Workspace, remove

pytestmark = pytest.mark.slow

N_FRAMES = 30
CAMERAS = [0, 1, 2, 3]
IMAGES = "results/recordings/balls/small/images.h5"
JOBS = {"cameras": 1, "images_part": 1, "images": 1}
MADE = {"background": 4, "floor": 1, "masks_part": 1, "mask_video": 4} | JOBS


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Workspace:
    """A workspace with balls that walk over a textured floor, and their masks in other formats."""
    workspace = Workspace.new(tmp_path_factory.mktemp("balls"))
    folder = workspace.folder / "balls"
    folder.mkdir()
    truth = true_masks()
    floor = np.random.default_rng(0).integers(130, 150, (120, 160, 1), np.uint8).repeat(3, 2)
    for camera in CAMERAS:
        pictures = np.where(truth[camera][..., None] > 0, np.uint8([60, 20, 20]), floor)
        write_video(folder / f"video{camera}.mp4", pictures, crf=10)
    rig = ring_rig(len(CAMERAS))
    with h5py.File(folder / "calibration.h5", "w") as file:
        file["camera_parameters/intrinsic"] = rig.intrinsics - INTEGER_PIXEL_CENTRES
        file["camera_parameters/rotation"] = rig.rotations
        file["camera_parameters/translation"] = rig.translations
    with h5py.File(folder / "masks.h5", "w") as file:
        file["animal"] = truth
    return workspace


def true_masks() -> np.ndarray:
    """(camera frame h w), 0 and 1."""
    rig = ring_rig(len(CAMERAS))
    balls = walking_balls(N_FRAMES)
    balls += balls.mean(axis=1, keepdims=True)  # the same walk, twice as wide
    frames = [silhouettes(rig, frame, radius=22) for frame in balls]
    return np.stack(frames, axis=1)


def recording(**settings) -> dict:
    return {
        "recordings": {
            "balls": {
                "calibration": "balls/calibration.h5",
                "cameras": CAMERAS,
                "videos": "balls/video{camera}.mp4",
                "masks": "auto",
                "heldout_cameras": [3],
            }
            | settings
        },
        "presets": {"small": {"downsample": 1}},
        "chunks": 1,
    }


def made_masks(workspace: Workspace) -> np.ndarray:
    folder = workspace.folder / "results/recordings/balls/masks"
    videos = [folder / f"{camera}.mkv" for camera in CAMERAS]
    return np.stack([list(read_frames(v, range(N_FRAMES), "grey")) for v in videos])


def test_masks_from_videos_alone(balls):
    """From raw videos to images.h5; then a setting of the segmentation makes the masks anew."""
    run = balls.run(IMAGES, overrides=recording())
    assert run.code == 0, run.output
    masks, truth = made_masks(balls) > 127, true_masks() > 0
    both, either = (masks & truth).sum(axis=(1, 2, 3)), (masks | truth).sum(axis=(1, 2, 3))
    assert (both / either > 0.8).all(), both / either
    with h5py.File(balls.folder / IMAGES) as file:
        assert np.array_equal(file["masks"][:], masks.swapaxes(0, 1))
    assert balls.dry_run(IMAGES, overrides=recording()).jobs() == {}
    stale = balls.dry_run(IMAGES, overrides=recording(segmentation={"threshold": 9})).jobs()
    assert stale == {job: n for job, n in MADE.items() if job != "cameras"}
    no_shadows = balls.dry_run(IMAGES, overrides=recording(segmentation={"shadow": 1})).jobs()
    assert no_shadows == {job: n for job, n in MADE.items() if job not in ("cameras", "floor")}
    held_out = balls.dry_run(IMAGES, overrides=recording(heldout_cameras=[2])).jobs()
    assert held_out == {"floor": 1, "masks_part": 1, "mask_video": 4, "images_part": 1, "images": 1}


def test_given_mask_videos_need_no_job(workspace):
    """The demo has mask videos: a setting of the segmentation, or its code, concerns it nowhere."""
    target = "results/recordings/demo/default/images.h5"
    assert workspace.dry_run(target, overrides={"chunks": 1}).jobs() == JOBS


def test_masks_in_an_array_become_videos_of_the_same_masks(balls, tmp_path):
    workspace = balls.copied(tmp_path)
    remove(workspace.folder / "results")
    overrides = recording(masks="balls/masks.h5/animal")
    assert workspace.dry_run(IMAGES, overrides=overrides).jobs() == {"mask_video": 4} | JOBS
    run = workspace.run(IMAGES, overrides=overrides)
    assert run.code == 0, run.output
    assert np.array_equal(made_masks(workspace), true_masks() * 255)


def write_pictures(folder, truth) -> str:
    for camera in CAMERAS:
        (folder / f"{camera}").mkdir()
        for frame, mask in enumerate(truth[camera]):
            cv2.imwrite(str(folder / f"{camera}/{frame:03}.png"), mask * 255)
    return "{camera}"


def write_single_pictures(folder, truth) -> str:
    for camera in CAMERAS:
        for frame, mask in enumerate(truth[camera]):
            cv2.imwrite(str(folder / f"cam{camera}_{frame}.png"), mask * 255)
    return "cam{camera}_{frame}.png"


def write_zarr(folder, truth) -> str:
    zarr.save_array(folder / "masks.zarr", truth)
    return "masks.zarr"


def write_coco(folder, truth) -> str:
    height, width = truth.shape[2:]
    for camera in CAMERAS:
        images, annotations = [], []
        for frame, mask in enumerate(truth[camera]):
            lengths = pycocotools.mask.encode(np.asfortranarray(mask))
            outline = {**lengths, "counts": lengths["counts"].decode()}
            name = f"{frame}.png"
            images.append({"id": frame, "file_name": name, "height": height, "width": width})
            annotations.append({"image_id": frame, "segmentation": outline})
        content = {"images": images, "annotations": annotations}
        (folder / f"{camera}.json").write_text(json.dumps(content))
    return "{camera}.json"


@pytest.mark.parametrize("write", [write_pictures, write_single_pictures, write_zarr, write_coco])
def test_masks_of_other_formats_become_videos(balls, tmp_path, write):
    workspace = balls.copied(tmp_path)
    remove(workspace.folder / "results")
    (workspace.folder / "given").mkdir()
    masks = "given/" + write(workspace.folder / "given", true_masks().astype(np.uint8))
    made = "results/recordings/balls/masks/2.mkv"
    run = workspace.run(made, overrides=recording(masks=masks))
    assert run.code == 0, run.output
    video = list(read_frames(workspace.folder / made, range(N_FRAMES), "grey"))
    assert np.array_equal(video, true_masks()[2] * 255)
    assert workspace.dry_run(made, overrides=recording(masks=masks)).jobs() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": "balls/masks.h5/rat"}, "there is no array 'rat' in it, but animal"),
        ({"segmentation": {"method": "rembg", "weights": "u2net.onnx"}}, "u2net.onnx: no such"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(balls, tmp_path, settings, message):
    workspace = balls.copied(tmp_path)
    remove(workspace.folder / "results")
    run = workspace.run(IMAGES, overrides=recording(**settings))
    assert run.code != 0
    assert message in run.output
    assert not list(workspace.folder.glob("results/recordings/balls/masks/*"))
