"""Print what the embedding is good for on the demo, whose truth is known.

    python benchmarks/embedding.py [results] [--weights resnet18-f37072fd.pth] [--parts 2]

It looks at every second frame, by all encoders, and keeps what they said in
results/embedding_benchmark (10 s a frame and process; an interrupted run goes on); the tasks
(embedding_tasks.py) take minutes. It prints a table, and writes it to benchmarks/embedding.json.
"""

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from demo import FILES, ROOT, configuration
from embedding_tasks import (
    GROUPS,
    Representation,
    Truth,
    behaviour_chance,
    evaluate,
    neighbour_bounds,
    summary,
)
from numpy import ndarray
from scipy.spatial.transform import Rotation

from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.embedding.encoders import make_encoder
from pose_splatter.embedding.sphere import ViewSphere, recording_scale, render_sphere
from pose_splatter.files import save_json, save_npz
from pose_splatter.model import PoseSplatter
from pose_splatter.progress import track
from pose_splatter.rendering import apply_model

AZIMUTHS = (8, 16)
# Every second of 300: frames that follow each other are almost the same.
FRAMES = range(0, 300, 2)


def open_demo(results: Path) -> tuple[PoseSplatter, Recording]:
    """The baseline's model and the recording, from a finished `make demo`."""
    heldout = {"demo": configuration()["recordings"]["demo"]["heldout_cameras"]}
    paths = [[results / Path(file).relative_to("results")] for file in FILES]
    names = ("images", "center_rotation", "crop", "cameras", "vertical_lines")
    files = SimpleNamespace(**dict(zip(names, paths, strict=True)))
    checkpoint = results / "experiments/baseline/checkpoint.pt"
    model, recording, _ = apply_model(checkpoint, heldout, files, "cpu", 1)
    return model, recording


def encode_frames(
    results: Path, encoders: dict[str, Path | None], frames: range, folder: Path
) -> None:
    """Encode frames seen from all sides; what is in `folder` already is left as it is.

    A frame is looked at twice: turned with the animal, as the workflow does, and as it stands in
    the world. All encoders see the same pictures.
    """
    model, recording = open_demo(results)
    networks = {name: make_encoder(name, "cpu", path) for name, path in encoders.items()}
    size = configuration()["embedding"]["view_size"]
    for frame in track(frames, "looking", len(frames)):
        missing = [name for name in encoders if not _path(folder, name, frame).exists()]
        if not missing:
            continue
        few, many = (ViewSphere.of_degree(azimuths=count) for count in AZIMUTHS)
        turned = pictures(model, recording, frame, many, size, turn=True)
        world = pictures(model, recording, frame, few, size, turn=False)
        for name in missing:
            values = {
                key: networks[name](images).double().numpy()
                for key, images in (("turned", turned), ("world", world))
            }
            half = values["turned"].reshape(4, max(AZIMUTHS), -1)[:, ::2]
            half = half.reshape(len(few), -1)
            _path(folder, name, frame).parent.mkdir(parents=True, exist_ok=True)
            save_npz(
                _path(folder, name, frame),
                magnitudes_8=few.magnitudes(half).astype(np.float32),
                magnitudes_16=many.magnitudes(values["turned"]).astype(np.float32),
                turned=few.coefficients(half).astype(np.complex64),
                world=few.coefficients(values["world"]).astype(np.complex64),
            )


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


def read_encoded(folder: Path, encoder: str) -> dict[str, ndarray]:
    """All frames' features, flattened, by how they were made."""
    files = [np.load(_path(folder, encoder, frame)) for frame in FRAMES]
    stacked = {key: np.stack([file[key] for file in files]) for key in files[0]}
    return {key: _real(values).reshape(len(FRAMES), -1) for key, values in stacked.items()}


def _real(values: ndarray) -> ndarray:
    """Complex numbers as twice as many real ones."""
    if not np.iscomplexobj(values):
        return values
    return np.concatenate([values.real, values.imag], axis=1)


def representations(
    folder: Path, encoders: Iterable[str], recording: Recording, mu: float
) -> dict[str, Representation]:
    """The embedding by every encoder, what it is without one of its parts, and what is simpler."""
    found = {}
    for name in encoders:
        encoded = read_encoded(folder, name)
        for azimuths in AZIMUTHS:
            features = encoded[f"magnitudes_{azimuths}"]
            found[f"{name}, {azimuths} azimuths"] = Representation(features, mu)
        found[f"{name}, plain PCA"] = Representation(encoded["magnitudes_8"], 0.0)
        found[f"{name}, turned, with phases"] = Representation(encoded["turned"], 0.0)
        found[f"{name}, not turned, with phases"] = Representation(encoded["world"], 0.0)
    found["pixels"] = Representation(pixels(recording, centred=False), 0.0)
    found["pixels, centred"] = Representation(pixels(recording, centred=True), 0.0)
    found["tracked moments"] = Representation(moments(recording), None)
    return found


def pixels(recording: Recording, centred: bool) -> ndarray:
    """The observed cameras' pictures on white, a pixel per 8 x 8, flattened (frame feature).

    `centred` moves the middle of each mask to the middle of the picture.
    """
    rows = []
    for frame in FRAMES:
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


def moments(recording: Recording) -> ndarray:
    """What tracking knows beside the heading: height and covariance, turned with the animal.

    Each is divided by its deviation, since units differ.
    """
    animal = recording.track
    turn = Rotation.from_euler("z", -animal.angles[FRAMES][:, None]).as_matrix()
    covs = (turn @ animal.covs[FRAMES] @ turn.transpose(0, 2, 1)).reshape(-1, 9)
    values = np.column_stack([animal.centers[FRAMES, 2], covs[:, [0, 1, 2, 4, 5, 8]]])
    return (values - values.mean(axis=0)) / values.std(axis=0)


COLUMNS = {
    **{name: f"R2 {name}" for name in (*GROUPS, "height")},
    "neighbours": "neighbours (°)",
    "behaviour": "behaviour",
    "heading": "R2 heading",
}


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a row per representation, mean and standard error over thirds."""
    lines = [["", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 1)]
    for name, tasks in results.items():
        cells = [f"{tasks[key]['mean']:.2f} ± {tasks[key]['error']:.2f}" for key in COLUMNS]
        lines.append([name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def judge(results: Path, encoders: Iterable[str], folder: Path) -> dict[str, Any]:
    """All tasks of all representations; prints as it goes."""
    settings = configuration()["embedding"]
    recording = open_demo(results)[1]
    truth = Truth.read(ROOT / "resources/demo/truth.h5", FRAMES)
    shown = representations(folder, encoders, recording, settings["mu"])
    common = (truth, recording.track.angles[FRAMES], settings["components"], settings["seed"])
    tasks = {}
    for name, representation in shown.items():
        scores = evaluate(representation, *common)
        tasks[name] = {task: summary(score) for task, score in scores.items()}
    print(table(tasks))
    bounds = {name: summary(values) for name, values in neighbour_bounds(truth).items()}
    for name, bound in bounds.items():
        print(f"neighbours, {name}: {bound['mean']:.2f} ± {bound['error']:.2f} degrees")
    chance = {}
    for name in encoders:
        swapped = behaviour_chance(shown[f"{name}, 8 azimuths"], *common)
        chance[name] = {"mean": np.mean(swapped), "95 %": np.quantile(swapped, 0.95)}
        print(
            f"behaviour, {name}, bouts' names swapped: {chance[name]['mean']:.2f}, "
            f"95 % below {chance[name]['95 %']:.2f}"
        )
    return {"tasks": tasks, "neighbours": bounds, "behaviour by chance": chance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default="results")
    parser.add_argument("--weights", type=Path, help="resnet18's, to compare it as well")
    parser.add_argument("--parts", type=int, default=2, help="processes that encode")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/embedding.json")
    options = parser.parse_args()
    encoders: dict[str, Path | None] = {"efficientnet_lite0": None, "scattering": None}
    if options.weights:
        encoders["resnet18"] = options.weights
    folder = options.results / "embedding_benchmark"
    with ProcessPoolExecutor(options.parts) as pool:
        parts = [FRAMES[part :: options.parts] for part in range(options.parts)]
        jobs = [pool.submit(encode_frames, options.results, encoders, p, folder) for p in parts]
        for job in jobs:
            job.result()
    save_json(options.out, judge(options.results, encoders, folder))


if __name__ == "__main__":
    main()
