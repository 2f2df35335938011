"""Bad recordings and paths: one sentence with file and fix, nothing left, nothing executed.

Every row runs the scripts of the rules `cameras` and `images_part`, as Snakemake does, on a
recording of which one thing was spoilt.
"""

import ast
import logging
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import av
import h5py
import numpy as np
import pytest

from pose_splatter import video
from pose_splatter.video import read_frames

from ..conftest import Trap, write_video

ROOT = Path(__file__).parents[2]
OF_CAMERAS = {"cameras.h5", "videos.json", "video_index.npz"}  # what the first script writes
PROGRAM = """
import pickle, runpy, sys
from pathlib import Path
for script, snakemake in pickle.loads(Path(sys.argv[1]).read_bytes()):
    runpy.run_path(script, init_globals={"snakemake": snakemake})
"""


class Recording:
    """A folder with the files of a recording, and one for what is made of them."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.output = folder / "results"
        self.given: set[Path] = set()
        self.settings = {
            "calibration": str(self.files / "calibration.h5"),
            "cameras": list("012345"),
            "frames": {"start": 0, "stop": None, "step": 1},
            "frame_offsets": {},
        }
        self.video, self.mask = "video{camera}.mp4", "mask{camera}.mp4"
        shutil.copytree(source, self.files)

    def path(self, pattern: str, camera: int | str = 2) -> Path:
        return self.files / pattern.format(camera=camera)

    def jobs(self) -> list[tuple[str, SimpleNamespace]]:
        """The two scripts, about to be run, and what Snakemake would give them."""
        self.given = {*self.folder.rglob("*")}
        cameras = {
            "cameras": self.output / "cameras.h5",
            "videos": self.output / "videos.json",
            "index": self.output / "video_index.npz",
        }
        videos, masks = (
            [str(self.path(pattern, camera)) for camera in self.settings["cameras"]]
            for pattern in (self.video, self.mask)
        )
        first = SimpleNamespace(
            log=["cameras.log"],
            input=SimpleNamespace(videos=videos, masks=masks),
            output=SimpleNamespace(**{key: str(path) for key, path in cameras.items()}),
            params=SimpleNamespace(settings=self.settings),
        )
        second = SimpleNamespace(
            log=["images.log"],
            input=SimpleNamespace(
                **{key: str(path) for key, path in cameras.items()},
                camera_videos=videos,
                camera_masks=masks,
                mask_indexes=[],
            ),
            output=[str(self.output / "images.1-of-1.h5")],
            wildcards=SimpleNamespace(scatteritem="1-of-1", recording="demo"),
            params=SimpleNamespace(settings={"downsample": 1}, recording={"empty_masks": "error"}),
        )
        scripts = [str(ROOT / f"src/scripts/{name}.py") for name in ("cameras", "images_part")]
        return list(zip(scripts, (first, second), strict=True))

    def run(self) -> tuple[int, str]:
        """The exit code of the first job that fails, and all that was logged."""
        for script, snakemake in self.jobs():
            try:
                runpy.run_path(script, init_globals={"snakemake": snakemake})
            except SystemExit as error:
                return int(error.code), self.logged()
        return 0, self.logged()

    def run_apart(self) -> tuple[int, str]:
        """The same, in a process of its own."""
        (self.folder / "jobs").write_bytes(pickle.dumps(self.jobs()))
        command = [sys.executable, "-c", PROGRAM, str(self.folder / "jobs")]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            command, env=environment, capture_output=True, check=False, timeout=100
        )
        return done.returncode, self.logged()

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def made(self) -> set[str]:
        """The names of all that is there and was not before, temporary files included."""
        made = {*self.folder.rglob("*")} - self.given - {self.output, self.folder / "jobs"}
        return {path.name for path in made if path.suffix != ".log"}


@pytest.fixture
def recording(tmp_path, small_recording, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Recording(tmp_path, small_recording)
    root.handlers[:], root.level = handlers, level


def check(
    recording: Recording, words: list[str], result: tuple[int, str], left: Collection[str] = ()
) -> None:
    """One sentence with all words; of the files made nothing is there but what is `left`."""
    code, logged = result
    assert code != 0, logged
    (sentence,) = (line for line in logged.splitlines() if re.match(r"[\d:]+ Error: ", line))
    assert all(word in sentence for word in words), sentence
    assert "Traceback" not in logged
    assert recording.made() == {*left}


# --- files that are no good ----------------------------------------------------------------------


def truncated(recording):
    """Half of a copy: the list of frames, at the file's end, is gone."""
    path = recording.path(recording.video)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_after_its_list(recording):
    """Half of a copy of a file whose list of frames comes first, as for the web."""
    path = recording.path(recording.video)
    with av.open(str(path)) as file:
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


def damaged(recording):
    path = recording.path(recording.video)
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(bytes(content))


def zero_bytes(recording):
    recording.path(recording.video).write_bytes(b"")


def text(recording):
    recording.path(recording.video).write_text("This is a list of my videos.\n" * 50)


def list_of_other_files(recording):
    """A text that FFmpeg would take for a video made of others."""
    recording.path(recording.video).write_text("ffconcat version 1.0\nfile video0.mp4\n")


def list_of_addresses(recording):
    recording.path(recording.video).write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )


def audio_alone(recording):
    with av.open(str(recording.path(recording.video)), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.rate = 44100
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def missing_video(recording):
    recording.path(recording.video).unlink()


def missing_mask(recording):
    recording.path(recording.mask).unlink()


def folder_in_place_of_a_video(recording):
    recording.path(recording.video).unlink()
    recording.path(recording.video).mkdir()


def dead_link(recording):
    path = recording.path(recording.video)
    path.unlink()
    path.symlink_to("/nowhere/video.mp4")


def pipe_in_place_of_a_video(recording):
    path = recording.path(recording.video)
    path.unlink()
    os.mkfifo(path)


def raw_stream(recording):
    """H.264 with nothing around it, named as if it were MP4."""
    stream = recording.files / "raw.h264"
    write_video(stream, np.zeros((30, 120, 160, 3), np.uint8))
    stream.rename(recording.path(recording.video))


# --- files that do not fit each other ------------------------------------------------------------


def one_frame(recording):
    write_video(recording.path(recording.video), np.zeros((1, 120, 160, 3), np.uint8))


def one_frame_each(recording):
    for pattern in (recording.video, recording.mask):
        for camera in range(6):
            write_video(recording.path(pattern, camera), np.zeros((1, 120, 160, 3), np.uint8))


def encoded(path, codec, rate, n_frames, height, width):
    """A black video as write_video cannot write it."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for _ in range(n_frames):
            black = np.zeros((height, width, 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
        file.mux(stream.encode())


def odd_size(recording):
    encoded(recording.path(recording.video), "mpeg4", 30, 30, 121, 161)


def swapped_sides(recording):
    write_video(recording.path(recording.video), np.zeros((30, 160, 120, 3), np.uint8))


def turned_by_its_header(recording):
    """The picture is the same, but players show it on its side."""
    path = recording.path(recording.video)
    upright = bytes.fromhex("00010000 00000000 00000000 00000000 00010000")
    turned = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000")
    content, header = path.read_bytes(), path.read_bytes().index(b"tkhd")
    place = content.index(upright, header)
    path.write_bytes(content[:place] + turned + content[place + len(upright) :])


def masks_of_another_size(recording):
    write_video(recording.path(recording.mask), np.zeros((30, 60, 80), np.uint8))


def short_masks(recording):
    write_video(recording.path(recording.mask), np.zeros((20, 120, 160), np.uint8))


def other_rate(recording):
    encoded(recording.path(recording.video), "libx264", 60, 60, 120, 160)


def times_that_come_twice(recording):
    """As recorders of a varying rate leave them: two frames of one time."""
    path = recording.path(recording.video)
    encoded(path.with_suffix(".avi"), "mpeg4", 30, 30, 120, 160)
    with (
        av.open(str(path.with_suffix(".avi"))) as source,
        av.open(str(path), "w", format="matroska") as file,
    ):
        stream = file.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = min(number, 20)
            packet.stream = stream
            file.mux(packet)


def start_after_the_end(recording):
    recording.settings["frames"]["start"] = 30


def stop_after_the_end(recording):
    recording.settings["frames"]["stop"] = 31


def offsets_that_leave_nothing(recording):
    recording.settings["frame_offsets"] = {"2": 29}


# --- calibrations, and what they are to fit -------------------------------------------------------


def change_calibration(recording, name, place, change):
    with h5py.File(recording.settings["calibration"], "r+") as file:
        values = file[f"camera_parameters/{name}"]
        changed = values[...]
        changed[place] = change(changed[place])
        values[...] = changed


def nan_in_a_matrix(recording):
    change_calibration(recording, "intrinsic", (2, 0, 0), lambda _: np.nan)


def rotation_that_is_none(recording):
    change_calibration(recording, "rotation", 2, lambda rotation: 1.1 * rotation)


def mirrored_rig(recording):
    change_calibration(recording, "rotation", (slice(None), 0), np.negative)


def metres_among_millimetres(recording):
    change_calibration(recording, "translation", 2, lambda translation: translation / 1000)


def calibrated_on_its_side(recording):
    """The principal point is where that of a picture of swapped width and height is."""
    middle = [59.5, 79.5]
    change_calibration(recording, "intrinsic", (slice(None), [0, 1], [2, 2]), lambda _: middle)


def pickle_that_runs_code(recording):
    path = recording.files / "new_cam.pkl"
    path.write_bytes(pickle.dumps([dict.fromkeys("KRT", Trap(Path("hacked")))]))
    recording.settings["calibration"] = str(path)


def yaml_with_a_tag(recording):
    path = recording.files / "rig.yaml"
    path.write_text("%YAML:1.0\n---\nK: !!python/object/apply:os.mkdir ['hacked']\n")
    recording.settings["calibration"] = str(path)


def masks_of(recording, change):
    """Masks of one camera, all frames changed."""
    path = recording.path(recording.mask)
    masks = np.stack(list(read_frames(path, range(30), "grey")))
    write_video(path, change(np.where(masks >= 128, 255, 0).astype(np.uint8)))


def masks_inverted(recording):
    masks_of(recording, lambda masks: 255 - masks)


def masks_all_on(recording):
    masks_of(recording, lambda masks: np.full_like(masks, 255))


def masks_all_off(recording):
    masks_of(recording, np.zeros_like)


TABLE = [
    (nan_in_a_matrix, ["calibration.h5", "camera 2", "NaN", "calibrate it again"]),
    (rotation_that_is_none, ["calibration.h5", "camera 2", "orthonormal", "calibrate it again"]),
    (mirrored_rig, ["calibration.h5", "camera 0", "mirrored", "flip one axis"]),
    (metres_among_millimetres, ["calibration.h5", "camera 2", "write all translations in one"]),
    (calibrated_on_its_side, ["calibration.h5", "width and height are swapped", "turn the videos"]),
    (pickle_that_runs_code, ["new_cam.pkl", "nothing in it was run"]),
    (yaml_with_a_tag, ["rig.yaml", "nothing in it was run", "remove the tag"]),
    (masks_inverted, ["mask2.mp4", "is inverted", "negate the masks"]),
    (masks_all_on, ["mask2.mp4", "white all over", "make masks"]),
    (masks_all_off, ["mask2.mp4", "black in all frames", "make the masks again"]),
    (truncated, ["video2.mp4", "cannot read the video", "copy or encode it again"]),
    (truncated_after_its_list, ["video2.mp4", "is cut off", "cut all cameras to the same"]),
    (damaged, ["video2.mp4", "frame", "cannot be decoded", "copy or encode the video again"]),
    (zero_bytes, ["video2.mp4", "cannot read the video", "copy or encode it again"]),
    (text, ["video2.mp4", "cannot read the video", "copy or encode it again"]),
    (list_of_other_files, ["video2.mp4", "cannot read the video", "copy or encode it again"]),
    (list_of_addresses, ["video2.mp4", "cannot read the video", "copy or encode it again"]),
    (audio_alone, ["video2.mp4", "no video stream", "replace it"]),
    (missing_video, ["video2.mp4", "no such video", "correct the path"]),
    (missing_mask, ["mask2.mp4", "no such video", "correct the path"]),
    (folder_in_place_of_a_video, ["video2.mp4", "no such video", "correct the path"]),
    (dead_link, ["video2.mp4", "no such video", "correct the path"]),
    (pipe_in_place_of_a_video, ["video2.mp4", "no such video", "correct the path"]),
    (raw_stream, ["video2.mp4", "does not say when its frames are shown", "-c copy"]),
    (one_frame, ["video2.mp4", "last frame is 0", "cut all cameras"]),
    (one_frame_each, ["video0.mp4", "1 frames are used", "use a longer video"]),
    (odd_size, ["video2.mp4", "161 x 121", "160 x 120", "one size"]),
    (swapped_sides, ["video2.mp4", "120 x 160", "160 x 120", "turn it"]),
    (turned_by_its_header, ["video2.mp4", "120 x 160", "160 x 120", "turn it"]),
    (masks_of_another_size, ["mask2.mp4", "80 x 60", "one size"]),
    (short_masks, ["mask2.mp4", "last frame is 19", "cut all cameras"]),
    (other_rate, ["video2.mp4", "60 frames/s", "all cameras at one rate", "ffmpeg"]),
    (
        times_that_come_twice,
        ["video2.mp4", "9 of its 30 frames have the time of another", "ffmpeg"],
    ),
    (start_after_the_end, ["video0.mp4", "frames 0 to 29", "start 30", "correct them"]),
    (stop_after_the_end, ["video0.mp4", "frames 0 to 29", "stop 31", "correct them"]),
    (offsets_that_leave_nothing, ["video0.mp4", "1 frames are used", "frames"]),
]


# What the first script cannot know, as it decodes no more than a frame or a few of each file.
SEEN_LATE = [damaged]


@pytest.mark.parametrize(("spoil", "words"), TABLE, ids=lambda v: getattr(v, "__name__", ""))
def test_bad_videos(recording, spoil, words):
    """What the first script refuses leaves nothing; what the second does, the first one's files."""
    spoil(recording)
    check(recording, words, recording.run(), OF_CAMERAS if spoil in SEEN_LATE else ())


def test_parts_do_not_look_through_whole_files(recording, monkeypatch):
    """Videos of many hours take minutes to: it is done once, by the first script."""
    (first, one), (second, two) = recording.jobs()
    runpy.run_path(first, init_globals={"snakemake": one})
    monkeypatch.setattr(video, "index_of", None)
    runpy.run_path(second, init_globals={"snakemake": two})
    assert recording.made() == {*OF_CAMERAS, "images.1-of-1.h5"}


# Bad input that this table cannot hold: where it is tested, and a case of that test or what it
# asks for.
ELSEWHERE = {
    "grey, 16 bits, alpha, odd sizes of all cameras: read as they are": (
        "unit/test_video.py",
        "test_any_pixel_format_is_read_as_eight_bits",
        "16 bit with alpha",
    ),
    "the last frame cut off in every container": (
        "unit/test_video.py",
        "test_the_last_frame_cut_off_in_any_container",
        "fragmented MP4",
    ),
    "cameras in another order": (
        "unit/test_checkup.py",
        "test_cameras_in_another_order",
        "cameras 4 and 2 seem to be swapped",
    ),
    "videos exchanged": (
        "unit/test_checkup.py",
        "test_videos_of_two_cameras_exchanged",
        "those of 2 the masks of 4, those of 4 the masks of 2",
    ),
    "a mirrored world": (
        "unit/test_checkup.py",
        "test_a_mirrored_calibration",
        "mirror images of each other",
    ),
    "millimetres among metres": (
        "unit/test_checkup.py",
        "test_millimetres_among_metres",
        "camera 2 is 1 from the world's origin",
    ),
    "a checkpoint that runs code": (
        "unit/test_security.py",
        "test_a_checkpoint_that_runs_code_is_one_sentence",
        "checkpoint as plain pickle",
    ),
    "other files that run code": (
        "unit/test_security.py",
        "test_no_code_in_a_file_is_run",
        "masks behind a codec",
    ),
    "a config that runs code": (
        "unit/test_cli.py",
        "test_a_config_that_cannot_be_read",
        "recordings: !!python/name:os.system",
    ),
    "a name with ..": (
        "workflow/test_workflow.py",
        "test_a_recordings_name_is_no_path",
        "../../evil",
    ),
    "mistakes in config": (
        "unit/test_config.py",
        "test_mistakes_are_named",
        "defaults training epohcs",
    ),
    "a path in config that leads nowhere": (
        "workflow/test_workflow.py",
        "test_bad_input_is_one_sentence_and_leaves_nothing",
        "remove_video",
    ),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_is_tested_elsewhere_is(kind):
    """The test exists, checks something, and itself or a table that it names holds the case."""
    file, name, case = ELSEWHERE[kind]
    program = ast.parse((ROOT / "tests" / file).read_text()).body
    (test,) = (part for part in program if getattr(part, "name", "") == name)
    assert any(
        isinstance(part, ast.Assert) or ast.unparse(part).startswith(("pytest.raises(", "expect("))
        for part in ast.walk(test)
    )
    named = {part.id for part in ast.walk(test) if isinstance(part, ast.Name)}
    tables = [
        part
        for part in program
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) in named
    ]
    constants = [
        part.value
        for table in (test, *tables)
        for part in ast.walk(table)
        if isinstance(part, ast.Constant)
    ]
    assert case in named.union(constants)


# --- names ---------------------------------------------------------------------------------------

NAMES = [
    "my videos",
    'it\'s "mine"',
    "Mäuse und Ratten 🐀",
    "a;touch hacked;b",
    "$(touch hacked)",
    "`touch hacked`",
    "a|b>hacked&",
    "100%03d*?[a]",
    "concat:x",
    "-i",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names_and_nothing_else(recording, name):
    """A folder of that name is read as any other; a video missing in it is named as it is."""
    folder = recording.files / name
    folder.mkdir()
    for path in recording.files.glob("*.mp4"):
        path.rename(folder / path.name)
    (folder / "video2.mp4").unlink()
    recording.video, recording.mask = f"{name}/video{{camera}}.mp4", f"{name}/mask{{camera}}.mp4"
    recording.settings["frames"]["stop"] = 3
    words = [f"{name}/video2.mp4: no such video", "correct the path"]
    check(recording, words, recording.run())
    shutil.copy(folder / "video1.mp4", folder / "video2.mp4")
    code, logged = recording.run()
    assert code == 0, logged
    assert recording.made() == {*OF_CAMERAS, "images.1-of-1.h5"}


def test_a_relative_name_that_looks_like_a_protocol(recording):
    """FFmpeg takes `rat:1.mp4` for protocol `rat`; it is a file."""
    for camera in range(6):
        recording.path(recording.video, camera).rename(f"rat:{camera}.mp4")
    recording.video, recording.mask = "rat:{camera}.mp4", "files/mask{camera}.mp4"
    recording.settings["frames"]["stop"] = 3
    recording.files = Path()
    code, logged = recording.run()
    assert code == 0, logged


# --- disks ---------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize(
    ("size", "left"), [("4k", ()), ("40k", OF_CAMERAS)], ids=["at once", "on the way"]
)
def test_a_full_disk(recording, size, left):
    recording.output.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(recording.output)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tests mount a small disk")
    try:
        words = [str(recording.output), "the disk is full", "free some space"]
        check(recording, words, recording.run_apart(), left)
    finally:
        subprocess.run(["umount", str(recording.output)], check=True)


@pytest.fixture
def nobody(recording):
    """Root may read and write anything: what needs permission is done as nobody."""
    if os.geteuid() != 0:
        yield
        return
    for path in [recording.folder, *recording.folder.rglob("*")]:
        shutil.chown(path, "nobody")
    for folder in recording.folder.parents:
        if folder.name.startswith(("pytest-", "popen-")):  # pytest's own
            folder.chmod(0o755)
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_folder_that_may_not_be_written_to(recording, nobody):
    recording.output.mkdir()
    recording.output.chmod(0o555)
    words = ["cameras.h5", "may not be written (Permission denied)", "make its folder writable"]
    check(recording, words, recording.run())


def test_a_video_that_may_not_be_read(recording, nobody):
    recording.path(recording.video).chmod(0)
    words = ["video2.mp4", "cannot read the video (Permission denied)"]
    check(recording, words, recording.run())
