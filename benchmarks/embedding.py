"""Print what the embedding is good for where the truth is known: on the demo, or on a longer one.

    python benchmarks/embedding.py [demo] [--results results] [--weights resnet18-f37072fd.pth]

    MUJOCO_GL=osmesa python resources/demo/render.py --out resources/long --frames 720 --fps 6
    snakemake --configfile config/config.yaml benchmarks/long.yaml -- \\
      results/recordings/long/sparse/images.zarr results/recordings/long/sparse/crop.json
    python benchmarks/embedding.py long

The demo is ten seconds, of which it looks at every second frame. `long` shows the same rat for two
minutes, in which headings come again; rendering it takes a quarter of an hour (resources/demo).
Either is seen by the model that was trained on the demo's first third, and by all encoders; what
they said is kept in results/embedding_benchmark (10 s a frame and process; an interrupted run goes
on). The tasks (embedding_tasks.py) take minutes. Prints a table, and writes it to
benchmarks/embedding_{recording}.json.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from demo import FILES, ROOT, configuration
from embedding_tasks import (
    GROUPS,
    Representation,
    Trial,
    Truth,
    behaviour_chance,
    evaluate,
    neighbour_bounds,
    summary,
)
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.embedding.encoders import make_encoder
from pose_splatter.embedding.sphere import ViewSphere, recording_scale, render_sphere
from pose_splatter.files import save_json, save_npz
from pose_splatter.model import PoseSplatter
from pose_splatter.progress import track
from pose_splatter.rendering import apply_model

SPHERES = {azimuths: ViewSphere.of_degree(azimuths=azimuths) for azimuths in (8, 16)}
# The adversary's strengths that are compared, beside the one of the config.
STRENGTHS = (1.0, 100.0, 10_000.0)


@dataclass(frozen=True)
class Source:
    """A recording by a preset: which of its frames are looked at, how many there are a second, into
    how many folds they are cut, by which encoders and from how many azimuths they are seen."""

    name: str
    preset: str
    frames: range
    rate: float
    folds: int
    encoders: tuple[str, ...]
    azimuths: int


SOURCES = {
    # Every second one: frames that follow each other are almost the same.
    "demo": Source(
        "demo", "default", range(0, 300, 2), 15.0, 3, ("scattering", "efficientnet_lite0"), 16
    ),
    "long": Source("long", "sparse", range(720), 6.0, 4, ("scattering",), 8),
}


def open_recording(results: Path, source: Source) -> tuple[PoseSplatter, Recording]:
    """The baseline's model and a recording, preprocessed by the workflow."""
    heldout = {source.name: configuration()["recordings"]["demo"]["heldout_cameras"]}
    moved = (
        file.replace("/demo/", f"/{source.name}/").replace("/default/", f"/{source.preset}/")
        for file in FILES
    )
    paths = [[results.parent / file] for file in moved]
    names = ("images", "center_rotation", "crop", "cameras", "vertical_lines")
    files = SimpleNamespace(**dict(zip(names, paths, strict=True)))
    checkpoint = results / "experiments/baseline/checkpoint.pt"
    model, recording, _ = apply_model(checkpoint, heldout, files, "cpu", 1)
    return model, recording


def encode_frames(
    results: Path, source: Source, encoders: dict[str, Path | None], frames: range, folder: Path
) -> None:
    """Encode frames seen from all sides; what is in `folder` already is left as it is.

    A frame is looked at twice: turned with the animal, as the workflow does, and as it stands in
    the world. All encoders see the same pictures.
    """
    model, recording = open_recording(results, source)
    networks = {encoder: make_encoder(encoder, "cpu", path) for encoder, path in encoders.items()}
    size = configuration()["embedding"]["view_size"]
    for frame in track(frames, "looking", len(frames)):
        missing = [encoder for encoder in encoders if not _path(folder, encoder, frame).exists()]
        if not missing:
            continue
        turned = pictures(model, recording, frame, SPHERES[source.azimuths], size, turn=True)
        start = time.perf_counter()
        world = pictures(model, recording, frame, SPHERES[8], size, turn=False)
        looking = time.perf_counter() - start
        for encoder in missing:
            encoded = networks[encoder](turned).numpy()
            start = time.perf_counter()
            encoded_world = networks[encoder](world).numpy()
            seconds = np.array([looking, time.perf_counter() - start])
            path = _path(folder, encoder, frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_npz(path, turned=encoded, world=encoded_world, seconds=seconds)


@torch.no_grad()
def pictures(
    model: PoseSplatter,
    recording: Recording,
    frame: int,
    sphere: ViewSphere,
    size: int,
    turn: bool,
) -> torch.Tensor:
    """All sides of a frame's animal, as the workflow looks at it but for `turn`."""
    volume = carve_frame(recording, frame, recording.observed)
    angle = 0.0 if turn else volume.angle
    gaussians = model(replace(volume, center=torch.zeros_like(volume.center), angle=angle))
    scale = recording_scale(recording.track)
    return render_sphere(gaussians, sphere, size, scale).images.clamp(0, 1)


def _path(folder: Path, encoder: str, frame: int) -> Path:
    return folder / encoder / f"{frame:03d}.npz"


def read_views(
    folder: Path, encoder: str, frames: range, key: str
) -> Float[ndarray, "frame view channel"]:
    """What an encoder said of all frames, `turned` or in the `world`."""
    return np.stack([np.load(_path(folder, encoder, frame))[key] for frame in frames])


def every_other(
    views: Float[ndarray, "frame view channel"],
) -> Float[ndarray, "frame half channel"]:
    """Eight of the sixteen azimuths."""
    n_frames, n_views, n_channels = views.shape
    rings = views.reshape(n_frames, -1, 2, n_channels)
    return rings[:, :, 0].reshape(n_frames, n_views // 2, n_channels)


def magnitudes(views: ndarray, azimuths: int) -> Float[ndarray, "frame feature"]:
    """What the embedding is made of: no phases."""
    return np.stack([SPHERES[azimuths].magnitudes(frame).ravel() for frame in views])


def phases(views: ndarray, azimuths: int) -> Float[ndarray, "frame feature"]:
    """Harmonics with their phases: complex numbers as twice as many real ones."""
    found = np.stack([SPHERES[azimuths].coefficients(frame).ravel() for frame in views])
    return np.concatenate([found.real, found.imag], axis=1)


def representations(
    folder: Path, encoders: Iterable[str], recording: Recording, source: Source, mu: float
) -> dict[str, Representation]:
    """The embedding by every encoder, what it is without one of its parts, and what is simpler."""
    found, frames = {}, source.frames
    for name in encoders:
        turned, world = (read_views(folder, name, frames, key) for key in ("turned", "world"))
        eight = every_other(turned) if source.azimuths == 16 else turned
        found[f"{name}, 8 azimuths"] = Representation(magnitudes(eight, 8), mu)
        if source.azimuths == 16:
            found[f"{name}, 16 azimuths"] = Representation(magnitudes(turned, 16), mu)
        for strength in STRENGTHS:
            found[f"{name}, mu {strength:g}"] = Representation(magnitudes(eight, 8), strength)
        found[f"{name}, plain PCA"] = Representation(magnitudes(eight, 8), 0.0)
        found[f"{name}, with phases"] = Representation(phases(eight, 8), 0.0)
        found[f"{name}, not turned"] = Representation(phases(world, 8), 0.0)
    found["pixels"] = Representation(pixels(recording, frames, centred=False), 0.0)
    found["pixels, centred"] = Representation(pixels(recording, frames, centred=True), 0.0)
    found["tracked moments"] = Representation(moments(recording, frames), None)
    return found


def pixels(recording: Recording, frames: range, centred: bool) -> ndarray:
    """The observed cameras' pictures on white, a pixel per 8 x 8, flattened (frame feature).

    `centred` moves the middle of each mask to the middle of the picture.
    """
    rows = []
    for frame in frames:
        views = []
        images, masks = recording.store.read_images(frame), recording.store.read_masks(frame)
        for camera in recording.observed:
            shown = masks[camera] > 0
            picture = np.where(shown[..., None], images[camera], 255).astype(np.float32)
            if centred:
                middle = np.argwhere(shown).mean(axis=0)
                shift = (np.array(shown.shape) / 2 - middle).round().astype(int)
                picture = np.roll(picture, shift, axis=(0, 1))
            height, width = (length // 8 * 8 for length in shown.shape)
            blocks = picture[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
            views.append(blocks.mean(axis=(1, 3)).ravel())
        rows.append(np.concatenate(views))
    return np.stack(rows) / 255


def moments(recording: Recording, frames: range) -> ndarray:
    """What tracking knows beside the heading: height and covariance, turned with the animal.

    Each is divided by its deviation, since units differ.
    """
    animal = recording.track
    turn = Rotation.from_euler("z", -animal.angles[frames][:, None]).as_matrix()
    covs = (turn @ animal.covs[frames] @ turn.transpose(0, 2, 1)).reshape(-1, 9)
    values = np.column_stack([animal.centers[frames, 2], covs[:, [0, 1, 2, 4, 5, 8]]])
    return (values - values.mean(axis=0)) / values.std(axis=0)


def show(scores: dict[str, dict[str, Any]], tasks: Sequence[str], title: str) -> None:
    """Print a row per representation: mean and standard error over folds."""
    rows = {
        name: [f"{of[task]['mean']:.2f} ± {of[task]['error']:.2f}" for task in tasks]
        for name, of in scores.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=tasks)
    print(f"\n{title}\n{table.to_string()}")


def judge(
    results: Path, source: Source, encoders: Iterable[str], folder: Path, processes: int
) -> dict[str, Any]:
    """All tasks of all representations, printed."""
    settings = configuration()["embedding"]
    recording = open_recording(results, source)[1]
    trial = Trial(
        Truth.read(ROOT / f"resources/{source.name}/truth.h5", source.frames),
        recording.track.angles[source.frames],
        source.rate,
        source.folds,
        settings["components"],
        settings["seed"],
    )
    shown = representations(folder, encoders, recording, source, settings["mu"])
    with ProcessPoolExecutor(processes) as pool:
        swapped = pool.submit(behaviour_chance, next(iter(shown.values())), trial)
        scored = pool.map(evaluate, shown.values(), repeat(trial))
        scores = {
            name: {task: summary(values) for task, values in of.items()}
            for name, of in zip(shown, scored, strict=True)
        }
        accuracies = swapped.result()
    show(scores, (*GROUPS, "height"), "R2 of joint angles and of the height, ridge regression")
    others = [task for task in next(iter(scores.values())) if task not in (*GROUPS, "height")]
    show(scores, others, "poses of neighbours, degrees; balanced accuracy; R2 of the heading")
    bounds = {name: summary(values) for name, values in neighbour_bounds(trial).items()}
    print()
    for name, bound in bounds.items():
        print(f"neighbours, {name}: {bound['mean']:.2f} ± {bound['error']:.2f}")
    chance = {
        task: {"mean": np.mean(of), "95 %": np.quantile(of, 0.95)}
        for task, of in accuracies.items()
    }
    for task, of in chance.items():
        print(f"{task}, bouts swapped: {of['mean']:.2f}, 95 % below {of['95 %']:.2f}")
    seconds = {
        name: read_views(folder, name, source.frames, "seconds").min(axis=0) for name in encoders
    }
    for name, (looking, encoding) in seconds.items():
        print(f"{name}: {looking:.2f} s to see 32 sides of a frame, {encoding:.2f} s to encode")
    return {
        "tasks": scores,
        "neighbours": bounds,
        "behaviour by chance": chance,
        "seconds": {name: list(of) for name, of in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", choices=SOURCES, default="demo")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--weights", type=Path, help="resnet18's, to compare it as well")
    parser.add_argument("--parts", type=int, default=2, help="processes that encode")
    options = parser.parse_args()
    results, source = options.results, SOURCES[options.recording]
    encoders: dict[str, Path | None] = dict.fromkeys(source.encoders)
    if options.weights:
        encoders["resnet18"] = options.weights
    folder = results / "embedding_benchmark" / source.name
    with ProcessPoolExecutor(options.parts) as pool:
        parts = [source.frames[part :: options.parts] for part in range(options.parts)]
        jobs = [
            pool.submit(encode_frames, results, source, encoders, part, folder) for part in parts
        ]
        for job in jobs:
            job.result()
    found = judge(results, source, encoders, folder, options.parts)
    save_json(ROOT / f"benchmarks/embedding_{source.name}.json", found)


if __name__ == "__main__":
    main()
