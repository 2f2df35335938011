"""Time all preprocessing against the original's three passes, both in two processes.

    python benchmarks/preprocessing.py [--frames 300] [--rounds 2]

The recording is the demo's, enlarged to 1152x1024 and encoded anew in a temporary folder. Ours runs
the workflow's own scripts, every one as its rule does; the plain way is plain/preprocessing.py,
which is told which way is up, since the original's users click that. Everything is imported and
compiled before. The fastest of the rounds counts. Both are compared with each other, and with
decoding all videos and masks once, which no way can do without.
"""

import argparse
import os
import runpy
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import av
import cv2
import h5py
import numpy as np
from demo import configuration
from numpy import ndarray
from plain import preprocessing as plain
from rows import Row

from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import INTEGER_PIXEL_CENTRES, rotation_to_z
from pose_splatter.frames import FrameStore, chunk_of, split_frames
from pose_splatter.tracking import load_track
from pose_splatter.video import read_frames
from pose_splatter.volume import load_crop

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "resources/demo"
PROCESSES = 2
PARTS = tuple(f"{part}-of-{PROCESSES}" for part in range(1, PROCESSES + 1))
GROWTH = 2  # how much larger than the demo the recording is
SIZE = (1152, 1024)
WARM_UP_FRAMES = 8
# The workflow's own, so that a new setting reaches the scripts here too, at the original's sizes.
SETTINGS = {
    **configuration()["recordings"]["demo"],
    **configuration()["presets"]["default"],
    "downsample": 4,
    "grid_size": 80,
    "tracking_grid": 80,
}
CAMERAS = tuple(SETTINGS["cameras"])
LENGTH = 270.0  # mm, edge of the plain way's grid; ours measures its own
OBSERVED = [n for n, name in enumerate(CAMERAS) if name not in SETTINGS["heldout_cameras"]]


# --- the recording -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """The files of the enlarged demo, and how many of its frames are used."""

    folder: Path
    n_frames: int

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.h5"

    @property
    def videos(self) -> list[Path]:
        return [self.folder / f"videos/camera{camera}.mp4" for camera in CAMERAS]

    @property
    def masks(self) -> list[Path]:
        return [self.folder / f"masks/camera{camera}.mp4" for camera in CAMERAS]

    def first(self, n_frames: int) -> "Recording":
        return Recording(self.folder, n_frames)


def make_recording(pool: ProcessPoolExecutor, folder: Path, n_frames: int) -> Recording:
    """Enlarge the demo's first frames and its calibration."""
    recording = Recording(folder, n_frames)
    enlarge_calibration(recording.calibration)
    for path in (recording.videos[0], recording.masks[0]):
        path.parent.mkdir(exist_ok=True)
    jobs = [pool.submit(enlarge_video, path, "rgb", n_frames) for path in recording.videos]
    jobs += [pool.submit(enlarge_video, path, "grey", n_frames) for path in recording.masks]
    for job in jobs:
        job.result()
    return recording


def enlarge_calibration(path: Path) -> None:
    """The demo's cameras with GROWTH times as many pixels along each edge.

    The file counts pixel centres at integers, and scaling holds about the picture's corner.
    """
    scale = np.array([GROWTH, GROWTH, 1.0])[:, None]
    with h5py.File(DEMO / "calibration.h5") as demo, h5py.File(path, "w") as file:
        parameters = demo["camera_parameters"]
        for name in ("rotation", "translation"):
            file[f"camera_parameters/{name}"] = parameters[name][:]
        intrinsic = (parameters["intrinsic"][:] + INTEGER_PIXEL_CENTRES) * scale
        file["camera_parameters/intrinsic"] = intrinsic - INTEGER_PIXEL_CENTRES


def enlarge_video(path: Path, kind: Literal["rgb", "grey"], n_frames: int) -> None:
    """Encode the demo's video of the same name anew, a key frame every 50 frames as there."""
    source = DEMO / path.relative_to(path.parents[1])
    options = {"crf": "20", "preset": "veryfast", "g": "50"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in read_frames(source, range(n_frames), kind):
            large = np.asarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
            frame = av.VideoFrame.from_ndarray(large, "rgb24" if kind == "rgb" else "gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# --- jobs --------------------------------------------------------------------------------------


class Jobs:
    """The jobs of named stages in a pool of processes, and how long each of them takes."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool
        self.futures: dict[str, list[Future[float]]] = {}

    def start(self, stage: str, function: Callable[..., None], *arguments: tuple) -> None:
        """Start a job for each tuple of arguments."""
        self.futures[stage] = [self.pool.submit(timed, function, *each) for each in arguments]

    def wait(self, stage: str) -> list[float]:
        """Seconds of the stage's jobs, once all are done; raises what one of them raised."""
        return [future.result() for future in self.futures[stage]]

    def run(self, stage: str, function: Callable[..., None], *arguments: tuple) -> None:
        self.start(stage, function, *arguments)
        self.wait(stage)


def timed(function: Callable[..., None], *arguments: object) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


@dataclass(frozen=True)
class Timing:
    """Seconds from start to end, and those of the jobs of each stage, which may overlap."""

    total: float
    stages: dict[str, list[float]]

    def __str__(self) -> str:
        lines = [
            f"  {stage:16}" + "".join(f"{seconds:8.2f}" for seconds in jobs)
            for stage, jobs in self.stages.items()
        ]
        return "\n".join([*lines, f"  {'in all':16}{self.total:8.2f} s"])


def time_all(
    way: Callable[[Jobs, Recording, Path], None],
    pool: ProcessPoolExecutor,
    recording: Recording,
    folder: Path,
) -> Timing:
    """Run a whole way of preprocessing, whose results lie in `folder` then."""
    folder.mkdir()
    jobs = Jobs(pool)
    total = timed(way, jobs, recording, folder)
    return Timing(total, {stage: jobs.wait(stage) for stage in jobs.futures})


# --- ours --------------------------------------------------------------------------------------


class Files(list):
    """Input or output of a Snakemake job: files by number, and by name where they have one."""

    def __init__(self, *paths: Path, **named: Path | list[Path]) -> None:
        super().__init__(map(str, paths))
        self.__dict__.update(named)


def run_script(stage: str, inputs: Files, outputs: Files, frames: dict, part: str = "") -> None:
    """Run a rule's script in this process as Snakemake does in one of its own."""
    calibration = str(vars(inputs).get("calibration", ""))
    settings = SETTINGS | {"frames": frames, "calibration": calibration}
    job = SimpleNamespace(
        input=inputs,
        output=outputs,
        params=SimpleNamespace(settings=settings, recording=settings),
        wildcards=SimpleNamespace(recording="enlarged", scatteritem=part),
        log=[None],
    )
    runpy.run_path(str(ROOT / f"src/scripts/{stage}.py"), init_globals={"snakemake": job})


def preprocess(jobs: Jobs, recording: Recording, folder: Path) -> None:
    """Every stage from calibration to crop.json, in the order that rules/preprocess.smk gives."""
    frames = {"start": 0, "stop": recording.n_frames, "step": 1}

    def job(stage: str, inputs: Files, outputs: Files, part: str = "") -> tuple:
        return stage, inputs, outputs, frames, part

    def start(stage: str, inputs: Files, outputs: Files) -> None:
        jobs.start(stage, run_script, job(stage, inputs, outputs))

    def start_parts(stage: str, inputs: Files, name: str) -> Files:
        parts = Files(*(folder / name.format(part) for part in PARTS))
        each = zip(parts, PARTS, strict=True)
        jobs.start(stage, run_script, *(job(stage, inputs, Files(p), n) for p, n in each))
        return parts

    described = Files(
        cameras=folder / "cameras.h5",
        videos=folder / "videos.json",
        index=folder / "video_index.npz",
    )
    files = {"videos": recording.videos, "masks": recording.masks}
    start("cameras", Files(calibration=recording.calibration, **files), described)
    jobs.wait("cameras")
    decoded = {
        "camera_videos": recording.videos,
        "camera_masks": recording.masks,
        "mask_indexes": [],
    }
    parts = start_parts("images_part", Files(**vars(described), **decoded), "images.{}.h5")
    lines = folder / "vertical_lines.npz"
    seen = Files(**vars(described), masks=recording.masks, lines=[])
    start("vertical_lines", seen, Files(lines))
    jobs.wait("images_part")
    start("images", parts, Files(folder / "images.h5"))
    jobs.wait("images")
    start("images_zarr", Files(folder / "images.h5"), Files(folder / "images.zarr"))
    jobs.wait("images_zarr")
    jobs.wait("vertical_lines")
    store = {
        "images": folder / "images.zarr",
        "cameras": folder / "cameras.h5",
        "vertical_lines": lines,
    }
    moments = start_parts("hull_moments", Files(**store), "moments.{}.npz")
    jobs.wait("hull_moments")
    animal = folder / "center_rotation.npz"
    start("center_rotation", moments, Files(animal))
    jobs.wait("center_rotation")
    sums = start_parts("hull_sum", Files(**store, center_rotation=animal), "hull_sum.{}.npz")
    jobs.wait("hull_sum")
    outputs = Files(volume_sum=folder / "volume_sum.npy", crop=folder / "crop.json")
    start("crop", sums, outputs)
    jobs.wait("crop")


# --- the plain way -----------------------------------------------------------------------------


def true_upright() -> ndarray:
    """The rotation (3 3) from the calibration's world to one whose +z is the demo's true up."""
    with h5py.File(DEMO / "truth.h5") as truth:
        return rotation_to_z(truth.attrs["up"])


def study_of(recording: Recording) -> plain.Study:
    rig = read_calibration(recording.calibration, CAMERAS, *SIZE)
    return plain.Study(
        rig=rig.downsampled(SETTINGS["downsample"]).rotated(true_upright()),
        observed=OBSERVED,
        videos=recording.videos,
        masks=recording.masks,
        downsample=SETTINGS["downsample"],
        grid_size=SETTINGS["grid_size"],
        length=LENGTH,
    )


def preprocess_plainly(jobs: Jobs, recording: Recording, folder: Path) -> None:
    """The three passes, one after the other; the crop is chosen by the training frames, as ours."""
    study = study_of(recording)
    frames = range(recording.n_frames)
    training = split_frames(len(frames), SETTINGS["split"]).train

    def parts(name: str) -> list[Path]:
        return [folder / name.format(part) for part in PARTS]

    def run_parts(stage: str, function: Callable, name: str, over: range, *more: Path) -> None:
        each = zip(parts(name), PARTS, strict=True)
        arguments = [(path, study, *more, chunk_of(over, part)) for path, part in each]
        jobs.run(stage, function, *arguments)

    track = folder / "track.npz"
    run_parts("track", plain.track_part, "track.{}.npz", frames)
    jobs.run("join track", plain.join_track, (track, parts("track.{}.npz")))
    run_parts("sum hulls", plain.sum_part, "sum.{}.npy", training, track)
    jobs.run("choose box", plain.choose_box, (folder / "crop.npz", parts("sum.{}.npy")))
    run_parts("images", plain.write_part, "images.{}.h5", frames)
    images = folder / "images.h5"
    jobs.run("concatenate", plain.concatenate, (images, parts("images.{}.h5")))
    jobs.run("zarr", plain.copy_to_zarr, (folder / "images.zarr", images))


# --- the limit ---------------------------------------------------------------------------------


def decode_videos(paths: list[Path], n_frames: int) -> None:
    """Decode the first frames of videos one after the other, and drop them."""
    for path in paths:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for _ in zip(range(n_frames), container.decode(video=0), strict=False):
                pass


def decode(jobs: Jobs, recording: Recording, _: Path) -> None:
    """Decode all videos and masks once, without a conversion of the frames."""
    paths = [*recording.videos, *recording.masks]
    shares = [paths[process::PROCESSES] for process in range(PROCESSES)]
    jobs.run("decode", decode_videos, *((share, recording.n_frames) for share in shares))


# --- agreement ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrackError:
    """Median errors against the truth that the demo was rendered from."""

    center: float  # share of the body length
    heading: float  # degrees, modulo 180

    def __str__(self) -> str:
        return f"{100 * self.center:.1f} % of the body length and {self.heading:.1f} degrees"


@dataclass(frozen=True)
class Agreement:
    """How far the two results are the same, and how far both are right."""

    same_masks: float  # share of pixels
    mean_grey: float  # mean difference of grey levels where both masks are set
    largest_grey: int
    same_volume: float  # relative difference of the hulls' summed volumes
    ours: TrackError
    plain: TrackError

    def check(self) -> None:
        """Refuse differences that two ways of measuring the same thing do not explain."""
        assert self.same_masks > 0.9999, self
        assert self.mean_grey < 1, self
        assert self.largest_grey < 32, self
        assert self.same_volume < 0.02, self
        assert self.ours.center < 0.03, self
        assert self.ours.heading < 12, self
        assert self.plain.center < 0.1, self
        assert self.plain.heading < 20, self

    def __str__(self) -> str:
        return (
            f"{100 * self.same_masks:.3f} % of mask pixels, grey levels to {self.mean_grey:.2f} "
            f"(at most {self.largest_grey}), hulls' volume to {100 * self.same_volume:.1f} %; "
            f"centre and heading are wrong by {self.ours} (plain {self.plain})"
        )


def compare(ours: Path, plainly: Path) -> Agreement:
    """Hold the results in two folders against each other."""
    animal, track = load_track(ours / "center_rotation.npz"), np.load(plainly / "track.npz")
    up = np.load(ours / "vertical_lines.npz")["up"]
    return Agreement(
        *compare_images(ours, plainly),
        compare_volumes(ours, plainly),
        track_error(animal.centers, animal.angles, rotation_to_z(up)),
        track_error(track["centers"], track["angles"], true_upright()),
    )


def compare_images(ours: Path, plainly: Path) -> tuple[float, float, int]:
    """The share of mask pixels that agree, and the mean and largest difference of grey levels."""
    store = FrameStore.open(ours / "images.zarr")
    with h5py.File(plainly / "images.h5") as file:
        images, masks = file["images"][:].astype(int), file["masks"][:]
    our_masks = np.asarray(store.masks[:])
    both = (masks > 0) & (our_masks > 0)
    differences = np.abs(images - np.asarray(store.images[:]))[both]
    return float((masks == our_masks).mean()), float(differences.mean()), int(differences.max())


def compare_volumes(ours: Path, plainly: Path) -> float:
    """How far the volumes in the plain way's cube, over training frames, differ (a share)."""
    crop = load_crop(ours / "crop.json")
    our_counts = np.load(ours / "volume_sum.npy")
    voxel = crop.length / crop.grid_size
    within = [np.abs(np.arange(n) + 0.5 - n / 2) * voxel < LENGTH / 2 for n in our_counts.shape]
    our_counts = our_counts[np.ix_(*within)]
    counts = np.load(plainly / "crop.npz")["counts"]
    plain_voxel = LENGTH / len(counts)
    return abs(our_counts.sum() * voxel**3 / (counts.sum() * plain_voxel**3) - 1)


def track_error(centers: ndarray, angles: ndarray, upright: ndarray) -> TrackError:
    """Errors of centres (frame 3) and angles (frame) in a world that `upright` turned to +z."""
    with h5py.File(DEMO / "truth.h5") as truth:
        body_length = float(truth.attrs["body_length_mm"])
        true_centers, true_headings = (
            truth[name][: len(centers)] for name in ("center", "heading")
        )
    distances = np.linalg.norm(centers @ upright - true_centers, axis=1)
    headings = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], -1) @ upright
    cosines = np.abs((headings * true_headings).sum(axis=1)).clip(max=1)
    return TrackError(
        float(np.median(distances)) / body_length,
        float(np.median(np.degrees(np.arccos(cosines)))),
    )


# --- measuring ---------------------------------------------------------------------------------


def measure() -> list[Row]:
    """A recording long enough to hide what is done once, and one as the original was timed on."""
    return [compare_ways(n_frames, rounds=2) for n_frames in (300, 100)]


def compare_ways(n_frames: int, rounds: int) -> Row:
    """Time both ways in turns on equal processes; print the stages of the fastest rounds."""
    # NumPy's own threads would only stand in each other's way: two processes fill two cores.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    ways = {"ours": preprocess, "plain": preprocess_plainly, "decoding": decode}
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool,
    ):
        folder = Path(name)
        recording = make_recording(pool, folder, n_frames)
        for warm_up in range(2):  # the second finds both processes started
            for way, function in ways.items():
                short = recording.first(WARM_UP_FRAMES)
                time_all(function, pool, short, folder / f"{way}.warm-up{warm_up}")
        timings: dict[str, list[Timing]] = {way: [] for way in ways}
        for number in range(rounds):
            for way, function in ways.items():
                timings[way].append(time_all(function, pool, recording, folder / f"{way}{number}"))
        agreement = compare(folder / "ours0", folder / "plain0")
    best = {way: min(runs, key=lambda run: run.total) for way, runs in timings.items()}
    print(
        f"{n_frames} frames, {len(CAMERAS)} cameras of {SIZE[0]}x{SIZE[1]}, {PROCESSES} processes"
    )
    for way, timing in best.items():
        print(f"{way}, seconds of every job\n{timing}", flush=True)
    agreement.check()
    step = f"all preprocessing, {n_frames} frames of {len(CAMERAS)} cameras, {SIZE[0]}x{SIZE[1]}"
    return Row(step, best["ours"].total, best["plain"].total, "s", "5x", str(agreement))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    row = compare_ways(options.frames, options.rounds)
    print(f"ratio {row.ratio:.1f}; {row.agreement}")


if __name__ == "__main__":
    main()
