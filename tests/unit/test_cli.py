"""The command line: pictures from anywhere, and one sentence where something is missing."""

import re
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
import torch
import yaml

from pose_splatter.cameras import save_cameras, save_up
from pose_splatter.checkpoints import Checkpoint, save_checkpoint
from pose_splatter.cli import main
from pose_splatter.frames import CameraFiles, gather_parts, write_part, write_zarr
from pose_splatter.model import NetworkConfig, PoseSplatter
from pose_splatter.tracking import Track, save_track
from pose_splatter.volume import Crop, save_crop

from ..conftest import balls_config, ring_rig, walking_balls

FRAMES = range(4, 10)
# As from a terminal: what runs behind one ignores Ctrl+C, and so would its children.
PROGRAM = """
import signal, sys
from pose_splatter.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, small_recording) -> Path:
    """A folder with a config and the results of walking balls; the model is untrained."""
    folder = tmp_path_factory.mktemp("workspace")
    config = balls_config(experiments={"plain": {"network": {"unets": 0}}, "other": {}})
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    recording = folder / "results/recordings/balls"
    rig, centers = ring_rig(), walking_balls(30)[FRAMES].mean(axis=1)
    save_cameras(recording / "cameras.h5", rig)
    save_up(recording / "vertical_lines.npz", np.array([0.0, 0.0, 1.0]))
    files = [
        CameraFiles(n, small_recording / f"video{n}.mp4", small_recording / f"mask{n}.mp4")
        for n in rig.names
    ]
    preset = recording / "default"
    write_part(folder / "part.h5", rig, files, FRAMES, 1)
    gather_parts(preset / "images.h5", [folder / "part.h5"])
    write_zarr(preset / "images.zarr", preset / "images.h5")
    n = len(FRAMES)
    track = Track(
        np.arange(n) != 5,
        centers,
        np.zeros(n),
        np.tile(np.eye(3), (n, 1, 1)),
        np.tile([60.0, 30.0], (n, 1)),
        np.tile([120.0, 60.0], (n, 1)),
    )
    save_track(preset / "center_rotation.npz", track)
    save_crop(preset / "crop.json", Crop(48, 160.0, ((0, 48),) * 3, 1.0, 0.5))
    torch.manual_seed(0)
    network = NetworkConfig(unets=0)
    checkpoint = Checkpoint(network, PoseSplatter(network).state_dict(), {}, 0, 1.0)
    save_checkpoint(folder / "results/experiments/plain/checkpoint.pt", checkpoint)
    return folder


def render(workspace: Path, *options: str) -> int:
    """With the options that are always needed, where they are not given."""
    given = {
        "--experiment": "plain",
        "--recording": "balls",
        "--frame": "6",
        "--camera": "2",
        "--directory": str(workspace),
        "--device": "cpu",
    }
    wanted = [part for pair in given.items() if pair[0] not in options for part in pair]
    return main(["render", *wanted, *options])


def middle(path: Path) -> np.ndarray:
    """The centroid of what is not white, in pixels."""
    rows, columns = np.nonzero((cv2.imread(str(path)) < 200).any(axis=-1))
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_frames_are_rendered_from_anywhere(workspace, tmp_path, capsys):
    """As the camera saw it; turned, with the centre where it was; nearer, and larger."""
    rig, center = ring_rig(), walking_balls(30)[6].mean(axis=0)
    pixels, depths = rig.project(center)
    at, principal = pixels[2], rig.intrinsics[2, :2, 2]
    nearer = depths[2] / (depths[2] - 400)
    sizes = []
    for name, options in {
        "still.png": [],
        "turned.png": ["--yaw", "90", "--pitch", "-10"],
        "near.png": ["--offset", "0", "0", "400"],
    }.items():
        path = tmp_path / name
        assert render(workspace, *options, "--output", str(path)) == 0
        assert capsys.readouterr().out.strip() == str(path)
        expected = principal + (at - principal) * (nearer if name == "near.png" else 1)
        np.testing.assert_allclose(middle(path), expected, atol=4)
        sizes.append((cv2.imread(str(path)) < 200).any(axis=-1).sum())
    truth = cv2.imread(str(tmp_path / "still.png"))[..., ::-1]
    assert truth.shape == (120, 160, 3)
    columns, rows = at.astype(int)
    assert np.abs(truth[rows, columns].astype(int) - [60, 120, 180]).max() < 30
    assert sizes[2] == pytest.approx(nearer**2 * sizes[0], rel=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--experiment", "plan"], ["config: experiments has no 'plan'; known are other, plain."]),
        (["--recording", "ball"], ["config: recordings has no 'ball'; known are balls."]),
        (["--camera", "9"], ["--camera names '9'", "has the cameras 0, 1, 2, 3, 4, 5"]),
        (["--frame", "3"], ["--frame names 3", "frames are 4 to 9"]),
        (["--frame", "9"], ["recording balls: the animal is not in video frame 9"]),
        (["--device", "cuda"], ["no CUDA GPU"]),
        (
            ["--experiment", "other"],
            ["snakemake --directory ", " results/experiments/other/checkpoint.pt`"],
        ),
        (["--directory", "/nowhere"], ["/nowhere/config/config.yaml: no such file", "--directory"]),
    ],
)
def test_what_is_wrong_is_one_sentence(workspace, options, words, capsys, tmp_path):
    assert render(workspace, *options, "--output", str(tmp_path / "a.png")) == 1
    message = capsys.readouterr().err
    assert message.startswith("pose-splatter: ")
    assert message.count("\n") == 1
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("a.txt", "a.txt: --output has to end in .png, .jpg or .jpeg"),
        ("noext", "noext: --output has to end in"),
        ("folder.png", "folder.png: --output names a folder; name a picture in it"),
        ("/proc/a.png", "/proc/a.png: cannot be written (No such file or directory); name another"),
    ],
)
def test_a_picture_that_cannot_be_written(workspace, tmp_path, capsys, output, words):
    kept = tmp_path / "folder.png/kept.txt"
    kept.parent.mkdir()
    kept.write_text("kept")
    assert render(workspace, "--output", str(tmp_path / output)) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["render", "--yaw", "nan"], "argument --yaw: nan is not a number"),
        (["render", "--offset", "0", "inf", "0"], "argument --offset: inf is not a number"),
        (["render", "--pitch", "up"], "argument --pitch: invalid"),
        (["view", "--port", "99999"], "argument --port: there is no port 99999; give one from 0"),
    ],
)
def test_options_that_are_no_numbers(options, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("recordings: {", "config/config.yaml: not valid YAML (while parsing"),
        ("recordings: !!python/name:os.system", "not valid YAML (could not determine a constr"),
        ("", "config/config.yaml: holds no settings by name"),
        ("[1]", "config/config.yaml: holds no settings by name"),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, content, words, capsys):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(content)
    assert render(tmp_path) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("method", ["read_text", "iterdir"])
def test_what_may_not_be_read_is_one_sentence(tmp_path, monkeypatch, capsys, method):
    """As root may read everything, the refusal is made up."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("recordings: {}")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, refuse)
    code = render(tmp_path) if method == "read_text" else main(["init", str(tmp_path)])
    assert code == 1
    message = capsys.readouterr().err
    place = "config.yaml: cannot be read" if method == "read_text" else "cannot be looked into"
    assert f"{place} (Permission denied); give yourself the right" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "kind"), [("experiment", "experiments"), ("recording", "record")]
)
def test_what_is_not_known_is_not_viewed(workspace, capsys, option, kind):
    names = {"experiment": "plain", "recording": "balls", "directory": str(workspace)}
    options = [
        part for key, name in (names | {option: "nope"}).items() for part in (f"--{key}", name)
    ]
    assert main(["view", *options]) == 1
    assert f"config: {kind}" in (message := capsys.readouterr().err)
    assert "has no 'nope'; known are " in message


def test_a_viewer_says_where_it_is(workspace, request):
    """As a process of its own: nothing but what a user sees."""
    page = workspace / "results/experiments/plain/balls/viewer/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>the viewer")
    request.addfinalizer(partial(shutil.rmtree, page.parent))
    command = [sys.executable, "-c", PROGRAM, "view", "--experiment", "plain"]
    command += ["--recording", "balls", "--directory", str(workspace), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(60, process.kill)
        patience.start()
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", line).group()
            assert "end with Ctrl+C" in line
            with urlopen(url, timeout=10) as response:
                assert response.read() == b"<p>the viewer"
        except BaseException:
            process.kill()
            raise
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait() == 0  # or is killed in a minute
        patience.cancel()


def test_what_was_not_exported_is_not_viewed(workspace, capsys):
    options = ["--experiment", "plain", "--recording", "balls", "--directory", str(workspace)]
    assert main(["view", *options]) == 1
    assert "results/experiments/plain/balls/viewer`" in capsys.readouterr().err


def test_help_comes_at_once():
    """Without torch, which takes seconds to import."""
    program = "import sys; from pose_splatter.cli import main\ntry: main(['render', '--help'])\n"
    program += "except SystemExit: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for option in ("--yaw", "--pitch", "--offset RIGHT DOWN AHEAD", "--frame"):
        assert option in done.stdout
