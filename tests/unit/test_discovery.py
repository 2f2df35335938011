"""`pose-splatter init`: what is found in a folder, and the config that is written of it."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import yaml
import zarr

from pose_splatter import discovery
from pose_splatter.calibration import read_cameras
from pose_splatter.cli import main, read_config
from pose_splatter.discovery import Family, discover, families, propose_heldout, two_valued
from pose_splatter.errors import PoseSplatterError
from pose_splatter.starter import config_text

from ..conftest import look_at, ring_rig

ROOT = Path(__file__).parents[2]


def found_families(*paths: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(family.pattern, family.names) for family in families(paths)]


@pytest.mark.parametrize(
    ("paths", "pattern", "names"),
    [
        (["camera0.mp4", "camera1.mp4", "camera10.mp4"], "camera{camera}.mp4", ("0", "1", "10")),
        (["Camera1/0.mp4", "Camera2/0.mp4"], "Camera{camera}/0.mp4", ("1", "2")),
        (["cam_1_2024.avi", "cam_2_2024.avi"], "cam_{camera}_2024.avi", ("1", "2")),
        (["2019-vid01-camA.avi", "2019-vid01-camB.avi"], "2019-vid01-{camera}.avi", None),
        (["left.mp4", "right.mp4", "top.mp4"], "{camera}.mp4", ("left", "right", "top")),
        (["cam1/cam1.mp4", "cam2/cam2.mp4"], "cam{camera}/cam{camera}.mp4", ("1", "2")),
        (["a 01 b.mp4", "a 02 b.mp4"], "a {camera} b.mp4", ("01", "02")),
        (["rig_22A3.mp4", "rig_31B4.mp4"], "rig_{camera}.mp4", ("22A3", "31B4")),
    ],
)
def test_paths_differ_in_the_cameras_name(paths, pattern, names):
    """camA and camB are names as they are: no digit tells the word from the letter."""
    assert found_families(*paths)[0] == (pattern, names or ("camA", "camB"))


@pytest.mark.parametrize(
    "paths",
    [["cam1.mp4", "cam2.avi"], ["a/cam1.mp4", "cam2.mp4"], ["cam1.mp4"], ["cam.mp4", "cam1.mp4"]],
)
def test_paths_that_differ_otherwise(paths):
    assert found_families(*paths) == []


def test_every_path_of_a_family_is_there():
    """Two trials of three cameras: both ways to see them, and no path that does not exist."""
    paths = [f"trial{trial}_cam{camera}.mp4" for trial in (1, 2) for camera in (1, 2, 3)]
    for family in families(paths):
        if "_" not in family.names[0]:
            assert {family.path(name) for name in family.names} <= set(paths)
    assert ("trial1_cam{camera}.mp4", ("1", "2", "3")) in found_families(*paths)


def test_names_that_the_calibration_knows_are_taken():
    family = Family("Camera{camera}/0.mp4", ("1", "2"))
    renamed = Family("{camera}/0.mp4", ("Camera1", "Camera2"))
    assert family.named_after(["Camera2", "Camera1", "Camera3"]) == renamed
    assert family.named_after(["1", "2"]) == family
    assert family.named_after(["Camera1"]) == family


def test_masks_are_black_and_white():
    mask = np.zeros((20, 20), np.uint8)
    assert not two_valued(mask)
    mask[5:10, 5:10] = 255
    assert two_valued(mask)
    assert two_valued(np.repeat(mask[..., None], 3, axis=2))
    coloured = np.repeat(mask[..., None], 3, axis=2)
    coloured[..., 0] = 0
    assert not two_valued(coloured)
    assert not two_valued(np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8))


@pytest.mark.parametrize(("count", "heldout"), [(2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (9, 2)])
def test_held_out_cameras_are_few_and_apart(count, heldout):
    rig = ring_rig(count)
    chosen = propose_heldout(rig.names, rig)
    assert len(chosen) == heldout
    assert propose_heldout(rig.names, None) == ()
    if heldout == 2:
        first, second = (rig.rotations[rig.names.index(name), 2] for name in chosen)
        assert first @ second < 0.3


@pytest.mark.parametrize(
    ("degrees", "heldout"),
    [([0, 20, 40, 130, 180], ("1",)), ([0, 20, 40, 130, 195, 270], ("1", "4"))],
)
def test_cameras_that_others_stand_beside_are_held_out(degrees, heldout):
    """Between two near neighbours, and across from there."""
    around = np.radians(degrees)
    eyes = np.stack([np.cos(around), np.sin(around), np.full(len(degrees), 0.5)], axis=-1)
    rotations = np.stack([look_at(eye, np.zeros(3)) for eye in eyes])
    rig = replace(ring_rig(len(degrees)), rotations=rotations)
    assert propose_heldout(rig.names, rig) == heldout


# --- folders -----------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path, small_recording) -> Path:
    """The balls as a lab may have them: videos, mask videos and calibration in folders."""
    folder = tmp_path / "my rec"
    for kind in ("videos", "masks"):
        (folder / kind).mkdir(parents=True)
    for camera in range(6):
        shutil.copy(small_recording / f"video{camera}.mp4", folder / f"videos/cam{camera}.mp4")
        shutil.copy(small_recording / f"mask{camera}.mp4", folder / f"masks/cam{camera}.mp4")
    shutil.copy(small_recording / "calibration.h5", folder / "rig.h5")
    return folder


def test_a_folder_is_understood(recording):
    found = discover(recording)
    assert found.cameras == ("0", "1", "2", "3", "4", "5")
    assert found.videos == f"{recording}/videos/cam{{camera}}.mp4"
    assert found.masks == f"{recording}/masks/cam{{camera}}.mp4"
    assert found.calibration == f"{recording}/rig.h5"
    assert found.matched == "cameras are matched by place"
    assert len(found.heldout) == 2
    assert found.remarks == ()
    assert found.describe_videos() == ["160 x 120 pixels, 30 frames/s, 30 frames (1 s)"]


def test_masks_are_told_by_what_they_show(recording):
    """No word says so: by a look at the pictures."""
    (recording / "masks").rename(recording / "binary")
    (recording / "videos").rename(recording / "a")
    found = discover(recording)
    assert found.videos.endswith("/a/cam{camera}.mp4")
    assert found.masks.endswith("/binary/cam{camera}.mp4")


def test_masks_in_folders_of_pictures(recording):
    shutil.rmtree(recording / "masks")
    for camera in range(6):
        folder = recording / f"seg/cam{camera}"
        folder.mkdir(parents=True)
        for frame in range(30):
            cv2.imwrite(str(folder / f"{frame:04}.png"), np.zeros((120, 160), np.uint8))
    assert discover(recording).masks.endswith("/seg/cam{camera}")


def test_masks_in_one_file(recording):
    shutil.rmtree(recording / "masks")
    with h5py.File(recording / "masks.h5", "w") as file:
        file["masks"] = np.zeros((30, 6, 120, 160), np.uint8)
    assert discover(recording).masks.endswith("/masks.h5")


def test_a_masks_file_cut_short_holds_none(recording):
    shutil.rmtree(recording / "masks")
    path = recording / "masks.h5"
    with h5py.File(path, "w") as file:
        file["masks"] = np.zeros((30, 6, 120, 160), np.uint8)
    path.write_bytes(path.read_bytes()[:5000])
    assert h5py.is_hdf5(path)
    assert discover(recording).masks == "auto"


@pytest.mark.parametrize(
    "masks", ["all.h5", "all.h5/masks", "all.h5/{camera}", "all.zarr", "all.zarr/masks"]
)
def test_masks_in_one_store_may_be_named(recording, masks):
    """No word in its path says so; with the folder before it or without."""
    with h5py.File(recording / "all.h5", "w") as file:
        file["masks"] = np.zeros((30, 6, 120, 160), np.uint8)
    group = zarr.open_group(recording / "all.zarr", mode="w")
    group.create_array("masks", shape=(30, 6, 120, 160), dtype="uint8")
    for given in (masks, f"{recording}/{masks}"):
        assert discover(recording, masks=given).masks == f"{recording}/{masks}"


def many_stores(folder: Path) -> None:
    for number in range(13):
        (folder / f"pose{number}.json").write_text("{}")


def many_picture_folders(folder: Path) -> None:
    for number in range(13):
        (folder / f"trial{number}").mkdir()
        (folder / f"trial{number}/0.png").touch()


@pytest.mark.parametrize(
    ("clutter", "words"),
    [(many_stores, "13 .json files"), (many_picture_folders, "13 folders of pictures")],
)
def test_too_many_files_are_not_compared(recording, monkeypatch, clutter, words):
    """Thousands of them make millions of pairs; masks of other kinds are found all the same."""
    monkeypatch.setattr(discovery, "MOST_FILES", 12)
    shutil.rmtree(recording / "masks")
    clutter(recording)
    found = discover(recording, calibration=str(recording / "rig.h5"))
    assert found.masks == "auto"
    (remark,) = found.remarks
    assert f"there are {words}, too many to look for masks among them" in remark
    assert "--masks" in remark
    with h5py.File(recording / "masks.h5", "w") as file:
        file["masks"] = np.zeros((30, 6, 120, 160), np.uint8)
    found = discover(recording, calibration=str(recording / "rig.h5"))
    assert found.masks.endswith("/masks.h5")


def test_a_store_of_each_frame_is_no_store_of_all_masks(recording, monkeypatch):
    monkeypatch.setattr(discovery, "MOST_FILES", 12)
    shutil.rmtree(recording / "masks")
    (recording / "masks").mkdir()
    for frame in range(13):
        with h5py.File(recording / f"masks/{frame:06}.h5", "w") as file:
            file["masks"] = np.zeros((6, 12, 16), np.uint8)
    found = discover(recording, calibration=str(recording / "rig.h5"))
    assert found.masks == "auto"
    assert any(".h5 files, too many" in remark for remark in found.remarks)


def test_no_masks_are_made(recording):
    shutil.rmtree(recording / "masks")
    found = discover(recording)
    assert found.masks == "auto"
    text = config_text(Path("c.yaml"), found, "mine")
    assert "masks: auto" in text
    assert "empty_masks: absent" in text


def test_masks_of_other_names_are_told(recording):
    for camera in range(6):
        (recording / f"masks/cam{camera}.mp4").rename(recording / f"masks/m{camera + 10}.mp4")
    found = discover(recording)
    assert found.masks == "auto"
    assert "masks/m{camera}.mp4" in found.remarks[0]
    assert "not named as the videos are" in found.remarks[0]


def write_toml(path: Path, names: list[str]) -> None:
    """An Anipose calibration of the balls' rig with these names."""
    rig = ring_rig()
    lines = []
    for camera, name in enumerate(names):
        K = rig.intrinsics[camera].copy()
        K[:2, 2] -= 0.5
        rotation = cv2.Rodrigues(rig.rotations[camera])[0].ravel().tolist()
        lines += [
            f"[cam_{camera}]",
            f'name = "{name}"',
            "size = [160, 120]",
            f"matrix = {K.tolist()}",
            "distortions = [0.0, 0.0, 0.0, 0.0, 0.0]",
            f"rotation = {rotation}",
            f"translation = {rig.translations[camera].tolist()}",
        ]
    path.write_text("\n".join(lines))


def test_a_calibration_with_the_names_is_preferred(recording):
    """In the folder lies another that would do by place, and a file that is no calibration."""
    write_toml(recording / "z.toml", [f"cam{n}" for n in range(6)])
    (recording / "notes.txt").write_text("nothing")
    found = discover(recording)
    assert found.calibration == f"{recording}/z.toml"
    assert found.cameras == tuple(f"cam{n}" for n in range(6))
    assert found.videos.endswith("/videos/{camera}.mp4")
    assert found.masks.endswith("/masks/{camera}.mp4")
    assert found.matched == "cameras are matched by name"


def test_calibrations_of_other_names_go_by_place(recording):
    (recording / "rig.h5").unlink()
    write_toml(recording / "z.toml", list("abcdef"))
    assert discover(recording).matched.endswith(
        "by place: 0 is a, 1 is b, 2 is c, 3 is d, 4 is e, 5 is f"
    )


def test_two_calibrations_are_told(recording):
    shutil.copy(recording / "rig.h5", recording / "rig2.h5")
    (remark,) = discover(recording).remarks
    assert f"--calibration '{recording}/rig.h5'" in remark
    assert discover(recording, calibration=str(recording / "rig.h5")).remarks == ()


def test_files_that_were_not_opened_are_counted(recording, monkeypatch):
    """The calibration comes after as many files as are opened."""
    monkeypatch.setattr(discovery, "MOST_FILES", 12)
    (recording / "rig.h5").rename(recording / "z.h5")
    for number in range(20):
        (recording / f"a{number}.txt").touch()
    with pytest.raises(PoseSplatterError, match=r"but 11 of its .* not opened; .* --calibration"):
        discover(recording)
    assert discover(recording, calibration=str(recording / "z.h5")).remarks == ()


def close_folders(monkeypatch, *names: str) -> None:
    """Folders of these names cannot be looked into; root, who may run this, could into any."""
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)


def test_folders_that_cannot_be_looked_into_are_told(recording, monkeypatch):
    (recording / "lost+found").mkdir()
    (recording / "videos/other").mkdir()
    close_folders(monkeypatch, "lost+found")
    found = discover(recording)
    assert len(found.cameras) == 6
    (remark,) = found.remarks
    assert remark.startswith("left out: lost+found, which cannot be looked into")
    close_folders(monkeypatch, "other")
    (remark,) = discover(recording).remarks
    assert " and 1 more, which cannot be looked into" in remark


def test_a_recording_that_cannot_be_looked_into(recording, monkeypatch):
    close_folders(monkeypatch, recording.name)
    with pytest.raises(PoseSplatterError, match=r"my rec: cannot be looked into \(Permission den"):
        discover(recording)


def test_a_calibration_file_for_each_camera(recording):
    (recording / "rig.h5").unlink()
    rig = ring_rig()
    for camera in range(6):
        storage = cv2.FileStorage(str(recording / f"calib{camera}.yml"), cv2.FILE_STORAGE_WRITE)
        storage.write("K", rig.intrinsics[camera])
        storage.write("R", rig.rotations[camera])
        storage.write("T", rig.translations[camera][:, None])
        storage.release()
    assert len(read_cameras(recording / "calib0.yml").cameras) == 1
    found = discover(recording)
    assert found.calibration == f"{recording}/calib{{camera}}.yml"


def test_a_video_that_is_called_otherwise_is_told(recording):
    shutil.copy(recording / "videos/cam0.mp4", recording / "videos/overview of all.mp4")
    found = discover(recording)
    assert len(found.cameras) == 6
    (remark,) = found.remarks
    assert "left out: videos/overview of all.mp4" in remark
    assert "rename it after videos/cam{camera}.mp4" in remark


def test_a_calibrated_camera_without_a_video_is_told(recording):
    rig = ring_rig()
    cameras = {
        f"cam{camera}": {"K": rig.intrinsics[camera].tolist(), "R": rig.rotations[camera].tolist()}
        | {"T": rig.translations[camera].tolist()}
        for camera in range(6)
    }
    (recording / "rig.h5").unlink()
    (recording / "rig.yaml").write_text(yaml.safe_dump(cameras))
    assert discover(recording).remarks == ()
    for kind in ("videos", "masks"):
        (recording / kind / "cam4.mp4").unlink()
    assert discover(recording).remarks == ("calibrated, but without a video: cam4",)


def test_two_recordings_in_one_folder_are_told(recording):
    shutil.copytree(recording / "videos", recording / "trial2")
    found = discover(recording)
    assert found.videos.endswith("/trial2/cam{camera}.mp4")
    assert "--videos 'videos/cam{camera}.mp4'" in found.remarks[0]
    other = discover(recording, videos="videos/cam{camera}.mp4")
    assert other.videos.endswith("/videos/cam{camera}.mp4")


def test_cameras_that_differ_are_listed(recording):
    from ..conftest import write_video

    write_video(recording / "videos/cam3.mp4", np.full((20, 60, 80, 3), 90, np.uint8))
    lines = discover(recording).describe_videos()
    assert len(lines) == 6
    assert lines[3].startswith("3: 80 x 60 pixels")


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda f: shutil.rmtree(f), {}, "no such folder; name that of the recording"),
        (lambda f: shutil.rmtree(f / "videos"), {}, "have paths that differ in one part alone"),
        (
            lambda f: [shutil.rmtree(f / "videos"), shutil.rmtree(f / "masks")],
            {},
            "there are no videos in it",
        ),
        (lambda f: (f / "rig.h5").unlink(), {}, "no calibration was found in it; name the file"),
        (
            lambda f: write_toml(f / "rig.h5", ["a", "b"]),
            {},
            "no calibration of its 6 cameras (rig.h5 has 2 (a, b))",
        ),
        (lambda f: None, {"videos": "videos/cam0.mp4"}, "does not say where a camera's name goes"),
        (lambda f: None, {"videos": "no/{camera}.mp4"}, "is the path of 0 files"),
        (lambda f: (f / "masks/cam2.mp4").unlink(), {"masks": "masks/cam{camera}.mp4"}, "camera 2"),
        (lambda f: None, {"masks": "nowhere.h5"}, "--masks 'nowhere.h5' is no HDF5 or Zarr"),
        (lambda f: (f / "a.json").write_text("{}"), {"masks": "a.json"}, "write {camera} where"),
        (lambda f: None, {"calibration": "nowhere.h5"}, "nowhere.h5: no such calibration"),
        (lambda f: (f / "videos/cam1.mp4").write_text(""), {}, "cam1.mp4: cannot read the video"),
    ],
)
def test_what_cannot_be_set_up(recording, spoil, options, words):
    spoil(recording)
    with pytest.raises(PoseSplatterError, match=r"[;]") as error:
        discover(recording, **options)
    assert words in str(error.value)


# --- the command and its config ----------------------------------------------------------------


@pytest.fixture
def project(recording, monkeypatch) -> Path:
    """A project folder with the demo's config, and the recording beside it."""
    folder = recording.parent
    (folder / "config").mkdir()
    shutil.copy(ROOT / "config/config.yaml", folder / "config/config.yaml")
    shutil.copytree(ROOT / "resources", folder / "resources")
    monkeypatch.chdir(folder)
    return folder


def test_the_config_that_is_written_resolves(project, capsys):
    assert main(["init", "my rec"]) == 0
    out = capsys.readouterr().out
    assert "videos       my rec/videos/cam{camera}.mp4" in out
    assert out.rstrip().endswith("pose-splatter check --config config/mine.yaml")
    config = read_config(Path(), [Path("config/mine.yaml")])
    assert config["run"] == ["mine"]
    recording, experiment = config["recordings"]["mine"], config["experiments"]["mine"]
    assert recording["videos"] == "my rec/videos/cam{camera}.mp4"
    assert len(recording["heldout_cameras"]) == 2
    assert config["presets"]["mine"]["downsample"] == 1
    assert experiment["train"] == experiment["apply"] == ["mine"]
    assert (
        experiment["training"]["learning_rate"] == config["defaults"]["training"]["learning_rate"]
    )
    lines = Path("config/mine.yaml").read_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert sum("#" in line for line in lines) > 10


def test_the_config_that_is_written_runs(project, capsys):
    """Snakemake plans the whole run of it, and check passes; the path has a space."""
    assert main(["init", "my rec", "--name", "balls"]) == 0
    command = [sys.executable, "-m", "snakemake", "-n", "--directory", str(project)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "config/balls.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Following centre and heading of the animal in balls" in done.stdout + done.stderr
    capsys.readouterr()
    assert main(["check", "--config", "config/balls.yaml"]) == 0
    assert "recording balls, 6 cameras" in capsys.readouterr().out


def test_a_folder_for_each_camera(project):
    """The name is in the folder's and in the file's: both are the camera's."""
    for kind in ("videos", "masks"):
        for camera in range(6):
            folder = project / f"my rec/{kind}/cam{camera}"
            folder.mkdir()
            (project / f"my rec/{kind}/cam{camera}.mp4").rename(folder / f"cam{camera}_a.mp4")
    assert main(["init", "my rec"]) == 0
    settings = read_config(Path(), [Path("config/mine.yaml")])["recordings"]["mine"]
    assert settings["videos"] == "my rec/videos/cam{camera}/cam{camera}_a.mp4"
    assert settings["masks"] == "my rec/masks/cam{camera}/cam{camera}_a.mp4"


def test_names_with_zeros_and_quotes_survive(project):
    (project / "my rec").rename(project / 'it\'s; "mäuse"')
    folder = project / 'it\'s; "mäuse"'
    for camera in range(6):
        (folder / f"videos/cam{camera}.mp4").rename(folder / f"videos/cam0{camera}.mp4")
        (folder / f"masks/cam{camera}.mp4").rename(folder / f"masks/cam0{camera}.mp4")
    assert main(["init", folder.name]) == 0
    config = read_config(Path(), [Path("config/mine.yaml")])
    settings = config["recordings"]["mine"]
    assert settings["cameras"] == ["00", "01", "02", "03", "04", "05"]
    assert settings["videos"] == f"{folder.name}/videos/cam{{camera}}.mp4"


def test_outside_the_workflows_folder_nothing_is_written(project, monkeypatch, capsys):
    monkeypatch.chdir(project / "my rec")
    before = sorted(project.rglob("*"))
    assert main(["init", "."]) == 1
    assert "config/config.yaml: no such file here" in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


def test_a_calibration_that_does_not_fit_is_why_no_camera_is_held_out(recording):
    found = replace(discover(recording), heldout=())
    assert "held out     none yet: the calibration does not fit" in found.table()
    written = " ".join(config_text(Path("a.yaml"), found, "mine").replace("#", "").split())
    assert "None of 6 is chosen while the calibration does not fit" in written


def test_nothing_is_overwritten_unasked(project, capsys):
    assert main(["init", "my rec"]) == 0
    Path("config/mine.yaml").write_text("mine")
    assert main(["init", "my rec"]) == 1
    assert "config/mine.yaml: is there already; give another --output" in capsys.readouterr().err
    assert Path("config/mine.yaml").read_text() == "mine"
    assert main(["init", "my rec", "--force"]) == 0
    assert "recordings:" in Path("config/mine.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("demo", "--name 'demo' is taken: config/config.yaml has it under recordings"),
        ("baseline", "--name 'baseline' is taken: config/config.yaml has it under experiments"),
        ("../mine", "--name '../mine' is no name for a recording; use letters, digits"),
    ],
)
def test_names_that_will_not_do(project, capsys, name, words):
    before = sorted(project.rglob("*"))
    assert main(["init", "my rec", "--name", name]) == 1
    assert words in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


def test_long_recordings_are_thinned(recording):
    """A million frames: every so many-th, and in more chunks."""
    from dataclasses import replace

    found = discover(recording)
    long = replace(found, infos=tuple(replace(i, n_frames=10**6, width=1920) for i in found.infos))
    config = yaml.safe_load(config_text(Path("c.yaml"), long, "mine"))
    assert config["recordings"]["mine"]["frames"]["step"] == 166
    assert config["chunks"] == 12
    assert config["presets"]["mine"]["downsample"] == 5
