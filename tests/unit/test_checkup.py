"""Every verdict of `pose-splatter check`, provoked once, and that a sound recording passes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml

from pose_splatter.cameras import INTEGER_PIXEL_CENTRES, CameraRig, filmed_rays
from pose_splatter.checkup import CHECKS, Checkup, check_up
from pose_splatter.checkup.geometry import (
    check_agreement,
    check_animal_size,
    check_up_direction,
    measure,
)
from pose_splatter.checkup.inputs import last_change
from pose_splatter.checkup.pictures import check_masks, check_view
from pose_splatter.checkup.sample import Sample, take_sample
from pose_splatter.cli import main, read_config
from pose_splatter.masks import write_mask_video
from pose_splatter.segmentation.foreground import segment
from pose_splatter.segmentation.recording import model_camera
from pose_splatter.synchronization import CameraTiming, Synchronization
from pose_splatter.video import probe, read_frames

from ..conftest import (
    balls_config,
    look_at,
    ring_rig,
    silhouettes,
    walking_balls,
    write_video,
)
from .test_segmentation import network, reddened

SETTINGS = {"heldout_cameras": [], "up": "auto"}
BACKGROUND = {
    "method": "background",
    "threshold": 5.0,
    "shadow": 0.35,
    "empty_scene": None,
    "weights": None,
}
MADE = {"masks": "auto", "segmentation": BACKGROUND}


def sample_of(rig: CameraRig, masks: np.ndarray, scale: int = 1) -> Sample:
    """Masks (frame camera h w) as if they had been read from files."""
    border = np.concatenate(
        [masks[..., 0, :], masks[..., -1, :], masks[..., 0], masks[..., -1]], axis=-1
    )
    pictures = np.random.default_rng(0).integers(100, 200, (*masks.shape, 3), np.uint8)
    grey = np.zeros(masks.shape[:2])
    frames = tuple(range(len(masks)))
    covered = masks.mean(axis=(2, 3))
    return Sample(frames, rig, scale, pictures, masks, covered, border.mean(axis=-1), grey)


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    return np.stack([silhouettes(ring_rig(), balls, 25.0) for balls in walking_balls(30)[::5]])


@pytest.fixture
def workspace(tmp_path, small_recording) -> Path:
    """A folder with a config and the files of walking balls, to be spoilt."""
    for path in small_recording.iterdir():
        shutil.copy(path, tmp_path / path.name)
    config = balls_config(presets={"default": {"downsample": 1}})
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def check(folder: Path, monkeypatch, **changes):
    """The checkup of the recording with some settings changed; its verdicts by name too."""
    config = read_config(folder)
    config["recordings"]["balls"] |= changes
    monkeypatch.chdir(folder)
    done = check_up("balls", config)
    return done, {verdict.name: verdict for verdict in done.verdicts}


def expect(found, name: str, level: str, *words: str) -> None:
    """A verdict of that level says all these words, and what to do about it."""
    verdict = found[name]
    assert verdict.level == level, verdict
    for word in words:
        assert word in verdict.message, verdict.message
    assert verdict.fix


def test_a_sound_recording_passes(workspace, monkeypatch):
    done, found = check(workspace, monkeypatch)
    assert tuple(found) == CHECKS
    assert [v for v in done.verdicts if v.level != "ok"] == []
    assert not done.failed
    assert done.waiting == ()
    assert "recording balls, 6 cameras, held out: 1" in found["configuration"].message
    assert "160 x 120 pixels, 30 frames/s; 30 frames" in found["videos"].message
    assert "by place" in found["calibration"].message
    assert found["up"].message.startswith("up is (0.00, 0.00, 1.00)") or "1.00)" in str(found["up"])
    assert done.draw is not None


# --- pictures and masks ------------------------------------------------------------------------


def test_videos_of_two_cameras_exchanged(workspace, monkeypatch):
    """Masks and calibration go together, but what is learnt of colours would be another's."""
    (workspace / "video2.mp4").rename(workspace / "video.mp4")
    (workspace / "video4.mp4").rename(workspace / "video2.mp4")
    (workspace / "video.mp4").rename(workspace / "video4.mp4")
    done, found = check(workspace, monkeypatch)
    expect(found, "match", "error", "those of 2 the masks of 4, those of 4 the masks of 2")
    assert done.failed
    assert done.draw is not None


def test_masks_of_something_else(workspace, monkeypatch):
    """A video of another time."""
    frames = np.stack(list(read_frames(workspace / "video3.mp4", range(30))))
    write_video(workspace / "video3.mp4", frames[::-1])
    _, found = check(workspace, monkeypatch)
    expect(found, "match", "warning", "the pictures of camera 3 is not where the masks are")


@pytest.mark.parametrize(("delay", "cameras"), [(-4, range(6)), (3, range(6)), (3, [2])])
def test_masks_that_are_late(workspace, monkeypatch, delay, cameras):
    """Of all cameras alike, so that they fit each other and the calibration; or of one, which says
    nothing of its video."""
    for camera in cameras:
        path = workspace / f"mask{camera}.mp4"
        masks = np.stack(list(read_frames(path, range(30))))
        write_video(path, np.roll(masks, delay, axis=0))
    _, found = check(workspace, monkeypatch)
    expect(found, "match", "error", *(f"{camera} by {delay:+d}" for camera in cameras))
    assert len(cameras) == 1 or found["agreement"].level == "ok"
    assert "synchronization" not in found


def test_masks_that_hardly_go_with_the_pictures_are_not_called_late(workspace, monkeypatch):
    """Where noise hides the animal, chance may say which delay fits best."""
    masks = np.stack(list(read_frames(workspace / "mask3.mp4", range(30), "grey")))
    noise = np.random.default_rng(0).integers(0, 150, (*masks.shape, 3))
    faint = np.roll(masks, -3, axis=0)[..., None] > 127
    write_video(workspace / "video3.mp4", (noise + 70 * faint).astype(np.uint8))
    _, found = check(workspace, monkeypatch)
    expect(found, "match", "warning", "the pictures of camera 3 is not where the masks are")


def test_a_mask_that_is_damaged_where_no_sample_is(workspace, monkeypatch):
    for frame in range(30):
        for camera in range(6):
            mask = next(read_frames(workspace / f"mask{camera}.mp4", [frame], "grey"))
            cv2.imwrite(str(workspace / f"m{camera}_{frame:02d}.png"), mask)
    (workspace / "m2_12.png").write_bytes(b"no picture")  # 11 and 13 are looked at
    _, found = check(workspace, monkeypatch, masks="m{camera}_{frame}.png")
    expect(found, "masks", "error", "m2_12.png")


def test_an_animal_that_stays_tells_nothing_of_the_match(workspace, monkeypatch):
    for camera in range(6):
        for kind in ("video", "mask"):
            path = workspace / f"{kind}{camera}.mp4"
            still = next(read_frames(path, [5]))[None].repeat(30, axis=0)
            still[::2, :3] //= 2  # so that something changes
            write_video(path, still)
    _, found = check(workspace, monkeypatch)
    assert found["match"].level == "ok"
    assert "stays where it is" in found["match"].message


# --- files -------------------------------------------------------------------------------------


def test_a_missing_file(workspace, monkeypatch):
    (workspace / "mask4.mp4").unlink()
    done, found = check(workspace, monkeypatch)
    expect(found, "files", "error", "mask4.mp4: no such file")
    assert done.failed
    assert done.draw is None
    assert done.waiting == CHECKS[2:]


def test_masks_of_one_file_for_all_cameras(workspace, monkeypatch):
    """What is wrong with the path itself is a verdict too, and the rest waits."""
    done, found = check(workspace, monkeypatch, masks="mask2.mp4")
    expect(found, "files", "error", "mask2.mp4", "{camera}")
    assert "videos" in done.waiting


def test_a_file_that_is_no_video(workspace, monkeypatch):
    (workspace / "video2.mp4").write_text("no video")
    _, found = check(workspace, monkeypatch)
    expect(found, "videos", "error", "video2.mp4: cannot read the video")


def test_masks_of_another_size(workspace, monkeypatch):
    write_video(workspace / "mask3.mp4", np.zeros((30, 60, 80), np.uint8))
    _, found = check(workspace, monkeypatch)
    expect(found, "videos", "error", "mask3.mp4: frames are 80 x 60 pixels")
    assert "5 to carve with" in found["cameras"].message  # what does not depend on it is still said


def test_videos_that_stop_early(workspace, monkeypatch):
    write_video(workspace / "video5.mp4", np.full((10, 120, 160, 3), 100, np.uint8))
    _, found = check(workspace, monkeypatch)
    expect(found, "videos", "error", "video5.mp4: the video's last frame is 9")


def test_videos_that_differ_a_little(workspace, monkeypatch):
    """Two frames fewer are left out, and said."""
    write_video(workspace / "video5.mp4", np.full((28, 120, 160, 3), 100, np.uint8))
    _, found = check(workspace, monkeypatch)
    expect(found, "videos", "warning", "video5.mp4: the video stops 2 frames before others")


@pytest.mark.parametrize(
    ("heldout", "words"),
    [(["1", "2", "3", "4"], "2 cameras are left to carve with"), ([], "none held out")],
)
def test_the_number_of_cameras(workspace, monkeypatch, heldout, words):
    _, found = check(workspace, monkeypatch, heldout_cameras=heldout)
    expect(found, "cameras", "warning", words)


def write_calibration(folder: Path, rig: CameraRig) -> None:
    with h5py.File(folder / "calibration.h5", "w") as file:
        file["camera_parameters/intrinsic"] = rig.intrinsics - INTEGER_PIXEL_CENTRES
        file["camera_parameters/rotation"] = rig.rotations
        file["camera_parameters/translation"] = rig.translations


def test_a_calibration_of_another_size(workspace, monkeypatch, rig):
    write_calibration(workspace, replace(rig, intrinsics=rig.intrinsics * [[2.0], [2.0], [1.0]]))
    done, found = check(workspace, monkeypatch)
    expect(found, "calibration", "error", "do not fit its video of 160 x 120 pixels")
    assert done.waiting == CHECKS[5:]


def test_millimetres_among_metres(workspace, monkeypatch, rig):
    translations = rig.translations.copy()
    translations[2] /= 1000
    write_calibration(workspace, replace(rig, translations=translations))
    _, found = check(workspace, monkeypatch)
    expect(found, "calibration", "error", "camera 2 is 1 from the world's origin")


def test_a_file_that_is_no_calibration(workspace, monkeypatch):
    (workspace / "calibration.h5").write_text("no calibration")
    _, found = check(workspace, monkeypatch)
    expect(found, "calibration", "error", "calibration.h5: cannot read the calibration")


@pytest.mark.parametrize(("shade", "words"), [(0, "shows black"), (90, "shows one and the same")])
def test_pictures_that_show_nothing(workspace, monkeypatch, shade, words):
    write_video(workspace / "video2.mp4", np.full((30, 120, 160, 3), shade, np.uint8))
    _, found = check(workspace, monkeypatch)
    expect(found, "pictures", "error", f"camera 2 {words}")


# --- masks -------------------------------------------------------------------------------------


def test_masks_that_are_inverted(masks):
    masks = masks.copy()
    masks[:, [1, 4]] = 1 - masks[:, [1, 4]]
    (verdict,) = check_masks(sample_of(ring_rig(), masks))
    expect({"masks": verdict}, "masks", "error", "cameras 1, 4 is white around a black animal")


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "camera 3 is white all over"), (0, "camera 3 is black in all frames")],
)
def test_masks_that_are_all_on_or_off(masks, value, words):
    masks = masks.copy()
    masks[:, 3] = value
    (verdict,) = check_masks(sample_of(ring_rig(), masks))
    expect({"masks": verdict}, "masks", "error", words)


def test_masks_that_are_grey(masks):
    sample = sample_of(ring_rig(), masks)
    sample.grey[:, 2] = 0.2
    (verdict,) = check_masks(sample)
    expect({"masks": verdict}, "masks", "error", "camera 2 is grey in part")


def test_masks_that_are_empty_at_times(masks):
    masks = masks.copy()
    masks[3, 2] = 0
    (verdict,) = check_masks(sample_of(ring_rig(), masks))
    expect({"masks": verdict}, "masks", "warning", "camera 2 is empty where others", "frame 3")


def test_frames_with_empty_masks_that_config_leaves_out(masks):
    masks = masks.copy()
    masks[3, 2] = 0
    (verdict,) = check_masks(sample_of(ring_rig(), masks), leave_out=True)
    assert verdict.level == "ok"
    assert "1 of 6 frames, in which one is empty, are left out" in verdict.message


def test_masks_in_pieces(masks):
    masks = masks.copy()
    masks[:, 2, 5:25, 5:25] = 1
    (verdict,) = check_masks(sample_of(ring_rig(), masks))
    expect({"masks": verdict}, "masks", "warning", "camera 2 is in pieces")


def test_masks_of_much_else(masks):
    masks = masks.copy()
    masks[:, 2, 10:110, 10:150] = 1
    (verdict,) = check_masks(sample_of(ring_rig(), masks))
    expect({"masks": verdict}, "masks", "warning", "camera 2 covers 73% of the picture")


def test_masks_from_pictures_on_disk(workspace, monkeypatch):
    """One HDF5 file for all cameras: no mask videos, so timing waits for the workflow."""
    with h5py.File(workspace / "masks.h5", "w") as file:
        balls = walking_balls(30)
        views = [silhouettes(ring_rig(), frame, radius=22) for frame in balls]
        file["masks"] = np.stack(views)
    done, found = check(workspace, monkeypatch, masks="masks.h5")
    assert not done.failed
    assert found["agreement"].level == "ok"
    expect(found, "synchronization", "warning", "not looked at")


def ball_seen(rig: CameraRig, ball: np.ndarray, radius: float = 40.0) -> np.ndarray:
    """(camera h w): the pixels whose rays meet a ball, through any lens."""
    pixels = np.stack(np.mgrid[: rig.height, : rig.width][::-1], axis=-1).reshape(-1, 2) + 0.5
    seen = []
    for camera in range(len(rig)):
        rays = filmed_rays(rig, camera, pixels)
        past = np.linalg.norm(np.cross(ball - rig.centers[camera], rays), axis=1)
        seen.append(past < radius * np.linalg.norm(rays, axis=1))
    return np.reshape(seen, (len(rig), rig.height, rig.width))


def test_the_lens_is_taken_out_of_pictures_and_masks():
    """A wide one, and a ball far from the pictures' middle."""
    near = ring_rig(distance=400)
    wide = near.intrinsics * np.array([[0.4, 0.4, 1], [0.4, 0.4, 1], [1, 1, 1]])
    rig = replace(near, intrinsics=wide, distortions=np.tile([-0.35, 0.1, 0, 0, 0], (6, 1)))
    ball = np.array([120.0, 80, 0])
    filmed, plain = ball_seen(rig, ball), ball_seen(rig.undistorted(), ball)
    pictures = [
        [np.where(view, 60, 220).astype(np.uint8)[..., None].repeat(3, -1)] for view in filmed
    ]
    sample = take_sample(rig, [0], pictures, [[view * np.uint8(255)] for view in filmed])
    for found in (sample.masks[0] > 0, sample.pictures[0].mean(axis=-1) < 140):
        assert min(iou(found, plain)) > 0.9
    assert min(iou(filmed, plain)) < 0.8


def iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(camera)"""
    return (masks & truth).sum(axis=(1, 2)) / (masks | truth).sum(axis=(1, 2))


# --- do they fit the calibration? --------------------------------------------------------------


@pytest.mark.parametrize("masks", [{}, MADE], ids=["given", "made"])
def test_cameras_in_another_order(workspace, monkeypatch, masks):
    """By place: the calibration's third camera is then given the fifth one's video.

    By that calibration, cameras vote out what they see of the animal, if masks are made.
    """
    done, found = check(workspace, monkeypatch, cameras=["0", "1", "4", "3", "2", "5"], **masks)
    expect(found, "agreement", "error", "cameras 4 and 2 seem to be swapped")
    assert done.failed
    assert "cameras: [0, 1, 2, 3, 4, 5]" in found["agreement"].fix
    assert "up" in done.waiting
    assert len(done.draw().axes) == 4 * 6 + 3  # frames in cameras, rig, path, colour bar


@pytest.mark.parametrize("masks", [{}, MADE], ids=["given", "made"])
def test_a_mirrored_calibration(workspace, monkeypatch, rig, masks):
    mirror = np.diag([-1.0, 1.0, 1.0])
    rotations = mirror @ rig.rotations @ mirror
    write_calibration(
        workspace, replace(rig, rotations=rotations, translations=rig.translations @ mirror)
    )
    _, found = check(workspace, monkeypatch, **masks)
    expect(found, "agreement", "error", "mirror images of each other")


def test_a_camera_that_moved(masks, rig):
    translations = rig.translations.copy()
    translations[4] += [0, 90.0, 0]
    verdict = check_agreement(sample_of(replace(rig, translations=translations), masks), [])
    expect({"agreement": verdict}, "agreement", "error", "camera 4 does not fit the others")


def test_a_held_out_camera_that_is_wrong(masks, rig):
    """It does not carve, but is looked at: evaluation would be of nothing."""
    aside = walking_balls(30)[::5] + np.array([60.0, -40.0, 30.0])
    masks = np.stack([silhouettes(rig, balls, 25.0) for balls in aside])
    masks[:, 1] = masks[:, 1, ::-1, ::-1]
    verdict = check_agreement(sample_of(rig, masks), ["1"])
    expect({"agreement": verdict}, "agreement", "error", "the video of camera 1 is upside down")


def test_a_held_out_camera_that_moved(masks, rig):
    """Its hull is too large for much to be said of it, but should hold the animal."""
    translations = rig.translations.copy()
    translations[1] += [20.0, 0, 0]
    moved = replace(rig, translations=translations)
    verdict = check_agreement(sample_of(moved, masks), ["1"])
    expect({"agreement": verdict}, "agreement", "warning", "the held-out camera 1 sees the animal")
    verdict = check_agreement(sample_of(rig, masks), ["1"])
    assert verdict.level == "ok"
    fat = masks.copy()  # an observed camera's mask is larger than the hull, of course
    for frame in range(6):
        fat[frame, 2] = cv2.dilate(masks[frame, 2], np.ones((9, 9), np.uint8))
    verdict = check_agreement(sample_of(rig, fat), ["1"])
    assert verdict.level == "ok", verdict


def test_masks_that_fit_only_roughly(masks, rig):
    """In every frame another camera misses half of the animal: none is to blame."""
    eaten = masks.copy()
    for frame in range(6):
        columns = np.flatnonzero(masks[frame, frame].any(axis=0))
        eaten[frame, frame, :, : columns[int(0.55 * len(columns))]] = 0
    verdict = check_agreement(sample_of(rig, eaten), [])
    expect({"agreement": verdict}, "agreement", "warning", "fit only roughly")


def test_an_animal_that_is_nowhere_whole(masks, rig):
    masks = masks.copy()
    masks[::2, 0] = 0
    masks[1::2, 1] = 0
    verdict = check_agreement(sample_of(rig, masks), [])
    expect({"agreement": verdict}, "agreement", "error", "in none of 6 frames")


def test_an_animals_length_is_from_its_nose_to_the_tip_of_its_tail(rig):
    """40 ahead and 150 behind its trunk's middle: 190, not twice what is behind."""
    tail = np.linspace(-146, -36, 60)[:, None] * np.array([1.0, 0, 0])
    one = silhouettes(rig, np.zeros((1, 3)), 40) | silhouettes(rig, tail, 4)
    sample = sample_of(rig, np.stack([one] * 3))
    verdict = check_animal_size(sample, measure(sample, []), [], {"downsample": 1})
    length = float(verdict.message.split("about ")[1].split()[0])
    assert length == pytest.approx(195, abs=20)


def test_an_animal_that_one_camera_cuts_off_at_times(rig):
    """Its masks then carve too much; three frames in which it is whole do to judge by."""
    intrinsics = rig.intrinsics.copy()
    intrinsics[0, 0, 2] -= 66  # camera 0 looks past it
    rig = replace(rig, intrinsics=intrinsics)
    walk = walking_balls(30)[[0, 2, 4, 16, 18, 20]]
    masks = np.stack([silhouettes(rig, balls, 25.0) for balls in walk])
    sample = sample_of(rig, masks)
    assert (sample.border[:, 0] > 0).tolist() == [True] * 3 + [False] * 3
    assert check_agreement(sample, []).level == "ok"
    fewer = check_agreement(sample_of(rig, masks[:5]), [])
    expect({"agreement": fewer}, "agreement", "warning", "camera 0 does not fit the others")


def test_a_camera_that_is_late(workspace, monkeypatch):
    """It began five frames after the others: they see the animal further back by then."""
    balls, rig = walking_balls(40), ring_rig()
    for camera in range(6):
        late = 5 if camera == 2 else 0
        masks = np.stack([silhouettes(rig, b, 22.0)[camera] for b in balls[late : late + 30]])
        write_video(workspace / f"mask{camera}.mp4", masks * np.uint8(255))
    done, found = check(workspace, monkeypatch)
    expect(found, "synchronization", "error", "camera 2 is off by 5 frames")
    assert "frame_offsets: {2: -5}" in found["synchronization"].fix
    assert done.failed


def test_a_camera_that_is_later_than_is_looked_for(workspace, monkeypatch):
    """No offset is known then that config could be given."""
    beyond = CameraTiming("2", None, 1.0, tuple(map(float, range(61))), (None,))
    timings = [replace(beyond, name=n, offset=0, residuals=(0.0,)) for n in "01345"]
    late = Synchronization("balls", (beyond, *timings), range(-30, 31), (range(30),), "0", {})
    monkeypatch.setattr("pose_splatter.checkup.timing.check_recording", lambda *_: late)
    _, found = check(workspace, monkeypatch)
    expect(found, "synchronization", "error", "camera 2 seems to be off by more than 29 frames")
    assert "cut the videos" in found["synchronization"].fix


def test_offsets_in_config_put_a_camera_right(workspace, monkeypatch):
    """It began five frames before the others, while the animal still stood."""
    _, sound = check(workspace, monkeypatch)
    for path in (workspace / "video2.mp4", workspace / "mask2.mp4"):
        frames = np.stack(list(read_frames(path, range(30))))
        write_video(path, np.concatenate([frames[:1].repeat(5, axis=0), frames]))
    _, found = check(workspace, monkeypatch)
    expect(found, "synchronization", "error", "camera 2 is off by 5 frames")
    done, found = check(workspace, monkeypatch, frame_offsets={"2": 5})
    assert tuple(found) == CHECKS
    assert [v for v in done.verdicts if v.level != "ok"] == []
    assert found["match"] == sound["match"], "its pictures are its masks' again"


# --- the animal in the world -------------------------------------------------------------------


def test_cameras_that_stand_below(rig, masks):
    """A glass floor, filmed from beneath."""
    flipped = [look_at(center * [1, 1, -1], np.zeros(3)) for center in rig.centers]
    rotations = np.stack(flipped)
    below = replace(
        rig,
        rotations=rotations,
        translations=-np.einsum("cij,cj->ci", rotations, rig.centers * [1, 1, -1]),
    )
    masks = np.stack([silhouettes(below, balls, 25.0) for balls in walking_balls(30)[::5]])
    _, verdict = check_up_direction(sample_of(below, masks), SETTINGS)
    expect({"up": verdict}, "up", "warning", "most cameras would then stand below")


def test_an_animal_that_stays_does_not_show_the_floor(rig):
    """Up and down on one spot: the path is a vertical line."""
    rearing = [np.array([[0.0, 0, z], [10, 0, z]]) for z in range(0, 60, 10)]
    masks = np.stack([silhouettes(rig, balls, 25.0) for balls in rearing])
    up, verdict = check_up_direction(sample_of(rig, masks), SETTINGS)
    expect({"up": verdict}, "up", "warning", "how the cameras are held")
    assert "up: z" in verdict.fix
    assert up[2] > 0.5


@pytest.mark.parametrize(("axis", "level"), [("z", "ok"), ("-z", "warning")])
def test_up_that_config_names(rig, masks, axis, level):
    up, verdict = check_up_direction(sample_of(rig, masks), {**SETTINGS, "up": axis})
    assert (up.tolist(), verdict.level) == ([0, 0, 1 if axis == "z" else -1], level)


def test_an_axis_is_no_file_and_an_empty_scene_is_one(workspace, monkeypatch):
    segmentation = BACKGROUND | {"empty_scene": "empty{camera}.png"}
    _, found = check(workspace, monkeypatch, up="z", masks="auto", segmentation=segmentation)
    expect(found, "files", "error", "empty0.png: no such file")
    assert "empty_scene" in found["files"].fix


def test_masks_are_made_at_the_size_that_is_looked_at(workspace, monkeypatch):
    """Half the videos' size: the hull of what is made fits as well as that of given masks."""
    monkeypatch.setattr("pose_splatter.checkup.sample.WIDTH", 80)
    sizes = []

    def counted(picture, *others):
        sizes.append(picture.shape[:2])
        return segment(picture, *others)

    monkeypatch.setattr("pose_splatter.checkup.sample.segment", counted)
    _, found = check(workspace, monkeypatch, masks="auto", segmentation=BACKGROUND)
    assert set(sizes) == {(60, 80)}
    assert found["masks"].level == found["agreement"].level == "ok"


def test_a_network_of_rembgs_kind_makes_masks(workspace, monkeypatch):
    """Each camera has its own: the network takes one picture at a time."""
    for camera in range(6):
        masks = np.stack(list(read_frames(workspace / f"mask{camera}.mp4", range(30), "grey")))
        write_video(workspace / f"video{camera}.mp4", reddened(masks > 127))
    weights = str(network(workspace / "n.onnx"))
    made_by = BACKGROUND | {"method": "rembg", "weights": weights}
    _, found = check(workspace, monkeypatch, masks="auto", segmentation=made_by)
    assert found["masks"].level == found["agreement"].level == "ok"


def test_masks_of_an_earlier_run_count_while_nothing_has_changed(workspace, monkeypatch):
    """They are black here, which those that are made of the videos are not."""
    for camera in range(6):
        path = workspace / f"results/recordings/balls/masks/{camera}.mkv"
        write_mask_video(
            path, iter(np.zeros((30, 120, 160), np.uint8)), probe(workspace / "video0.mp4")
        )
    made = path.stat().st_mtime
    _, found = check(workspace, monkeypatch, **MADE)
    expect(found, "masks", "error", "is black")
    assert "masks are those that a run has made" in found["files"].message
    config = read_config(workspace)
    config["recordings"]["balls"] |= MADE
    assert check_up("balls", config, changed=made - 10).failed
    assert not check_up("balls", config, changed=made + 10).failed
    os.utime(workspace / "calibration.h5", (made + 10, made + 10))
    _, found = check(workspace, monkeypatch, **MADE)
    assert found["masks"].level == "ok"
    assert "a run has made" not in found["files"].message


def test_a_folder_changes_when_a_file_in_it_does(tmp_path):
    (tmp_path / "calibration/cameras").mkdir(parents=True)
    file = tmp_path / "calibration/cameras/a.yml"
    file.touch()
    os.utime(file, (3e9, 3e9))
    assert last_change(tmp_path / "calibration") == last_change(file) == 3e9


def test_what_the_vote_takes_for_good_is_no_mistake_of_the_calibration(workspace, monkeypatch):
    """Two cameras see much else than the animal, which the others vote out."""
    truth = [
        [
            mask.copy()
            for mask in read_frames(workspace / f"mask{camera}.mp4", range(2, 30, 3), "grey")
        ]
        for camera in range(6)
    ]
    made = [[mask.copy() for mask in masks] for masks in truth]
    for camera in (2, 4):
        for mask in made[camera]:
            mask[5:60, 5:60] = 255
    monkeypatch.setattr("pose_splatter.checkup.sample._make_masks", lambda *_: (made, truth))
    monkeypatch.setattr("pose_splatter.checkup.sample_frames", lambda _: list(range(2, 30, 3)))
    _, found = check(workspace, monkeypatch, **MADE)
    assert found["masks"].level == found["agreement"].level == "ok"


def test_the_command_knows_when_config_has_changed(workspace, monkeypatch, capsys):
    times = []
    monkeypatch.setattr(
        "pose_splatter.checkup.check_up", lambda *_, changed: times.append(changed) or Checkup(())
    )
    overlay = workspace / "config/mine.yaml"
    overlay.write_text("plots: {dpi: 50}")
    os.utime(overlay, (3e9, 3e9))
    assert main(["check", "--directory", str(workspace), "--config", str(overlay)]) == 0
    assert main(["check", "--directory", str(workspace)]) == 0
    assert times == [3e9, (workspace / "config/config.yaml").stat().st_mtime]


def test_a_late_cameras_background_is_of_its_own_frames(workspace, monkeypatch):
    read = {}

    def recorded(video, frames, *others):
        read[Path(video).stem] = list(frames)
        return model_camera(video, frames, *others)

    monkeypatch.setattr("pose_splatter.checkup.sample.model_camera", recorded)
    offsets = {"2": 3}
    check(workspace, monkeypatch, masks="auto", segmentation=BACKGROUND, frame_offsets=offsets)
    late, others = read.pop("video2"), list(read.values())
    assert len(others) == 5
    assert all(late == [frame + 3 for frame in other] for other in others)


def test_up_from_a_file_that_is_wrong(tmp_path, masks, rig):
    (tmp_path / "up.txt").write_text("1 2 3\n")
    settings = {**SETTINGS, "up": str(tmp_path / "up.txt")}
    _, verdict = check_up_direction(sample_of(rig, masks), settings)
    expect({"up": verdict}, "up", "error", "rows have 3 numbers")


def test_up_that_is_not_where_the_cameras_say(tmp_path, masks, rig):
    (tmp_path / "up.txt").write_text("0 0 0 1 0.2 0.2\n")
    settings = {**SETTINGS, "up": str(tmp_path / "up.txt")}
    _, verdict = check_up_direction(sample_of(rig, masks), settings)
    expect({"up": verdict}, "up", "warning", "degrees from what the cameras' own tilt says")


@pytest.mark.parametrize(("downsample", "words"), [(3, "coarse"), (1, "ok")])
def test_pictures_that_are_too_small(workspace, monkeypatch, downsample, words):
    text = (workspace / "config/config.yaml").read_text()
    text = text.replace("downsample: 1", f"downsample: {downsample}")
    (workspace / "config/config.yaml").write_text(text)
    _, found = check(workspace, monkeypatch)
    if words == "ok":
        assert found["size"].level == "ok"
    else:
        expect(found, "size", "warning", words)
        assert "downsample: 1" in found["size"].fix or "nearer" in found["size"].fix


def test_an_animal_that_is_cut_off(masks, rig):
    masks = np.roll(masks, -70, axis=3)
    masks[..., -40:] = 0
    sample = sample_of(rig, masks)
    verdict = check_view(sample, [])
    expect({"view": verdict}, "view", "error", "cut off at the picture's edge")
    some = sample.masks.copy()
    some[:, 1:] = silhouettes(rig, walking_balls(30)[0], 25.0)[1:]
    verdict = check_view(sample_of(rig, some), ["0"])
    expect({"view": verdict}, "view", "warning", "camera 0")


def test_an_animal_that_is_round(workspace, monkeypatch):
    balls, rig = walking_balls(30).mean(axis=1, keepdims=True), ring_rig()
    for camera in range(6):
        masks = np.stack([silhouettes(rig, b, 40.0)[camera] for b in balls])
        write_video(workspace / f"mask{camera}.mp4", masks * np.uint8(255))
    _, found = check(workspace, monkeypatch)
    expect(found, "heading", "warning", "nearly round")


def test_an_animal_that_grows(workspace, monkeypatch):
    """Masks that lose much of it now and then."""
    balls, rig = walking_balls(30), ring_rig()
    for camera in range(6):
        views = [
            silhouettes(rig, b, 22.0 if n % 10 < 5 else 7.0)[camera] for n, b in enumerate(balls)
        ]
        write_video(workspace / f"mask{camera}.mp4", np.stack(views) * np.uint8(255))
    _, found = check(workspace, monkeypatch)
    expect(found, "size", "warning", "times as large in some frames as in others")


# --- the command -------------------------------------------------------------------------------


def test_the_command_prints_verdicts_and_draws_a_sheet(workspace, capsys):
    assert main(["check", "--directory", str(workspace)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines[: len(CHECKS)]] == list(CHECKS)
    assert all(line.startswith("ok  ") for line in lines[:13])
    sheet = workspace / "results/recordings/balls/check/contact_sheet.png"
    assert lines[-1] == f"Look at {sheet}"
    assert sheet.stat().st_size > 10_000


def test_the_command_fails_where_anything_does(workspace, tmp_path, capsys):
    """Settings of a file laid over config; the exit code tells scripts."""
    over = tmp_path / "over.yaml"
    over.write_text("recordings: {balls: {videos: 'nowhere/{camera}.mp4'}}")
    code = main(["check", "--directory", str(workspace), "--config", str(over)])
    assert code == 1
    out = capsys.readouterr().out
    assert "error    files: nowhere/0.mp4: no such file, and 5 more" in out
    assert "-> correct videos or cameras in config" in out
    assert "Not looked at until that is mended: videos, cameras," in out
    assert "contact_sheet" not in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file; name with --config"),
        (["--recording", "rat"], "config: recordings has no 'rat'; known are balls"),
    ],
)
def test_what_cannot_be_checked(workspace, capsys, options, words):
    assert main(["check", "--directory", str(workspace), *options]) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_one_recording_must_be_meant(workspace, capsys, tmp_path):
    over = tmp_path / "more.yaml"
    own = {"calibration": "c.h5", "cameras": [0, 1], "videos": "{camera}", "masks": "{camera}"}
    over.write_text(yaml.safe_dump({"recordings": {"a": own, "b": own}}))
    config = yaml.safe_load((workspace / "config/config.yaml").read_text())
    config["recordings"]["second"] = own
    (workspace / "config/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "--directory", str(workspace), "--config", str(over)]) == 1
    assert "name one with --recording" in capsys.readouterr().err
