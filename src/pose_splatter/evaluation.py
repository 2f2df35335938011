"""Metrics of renders against the recorded images, held-out cameras apart from observed ones."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.metrics  # whose functions are loaded when they are used: few jobs measure
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, open_h5, save_json, sound
from pose_splatter.frames import FrameStore, chunk_of, mask_box
from pose_splatter.progress import track

METRICS = ("iou", "soft_iou", "l1", "psnr", "ssim", "psnr_fg")
ROLES = ("observed", "heldout")


@dataclass(frozen=True)
class Views:
    """The cameras of a recording by name, and which of them the model never saw."""

    names: tuple[str, ...]
    heldout: tuple[str, ...]

    def role(self, camera: int) -> str:
        """observed or heldout, by the camera's index."""
        return "heldout" if self.names[camera] in self.heldout else "observed"


def silhouette_iou(
    alpha: Float[ndarray, "h w"], mask: UInt8[ndarray, "h w"]
) -> tuple[float, float]:
    """Intersection over union of a silhouette, thresholded at one half and soft."""
    hard, true = alpha >= 0.5, mask > 0
    iou = (hard & true).sum() / max((hard | true).sum(), 1)
    soft = (alpha * true).sum() / max(np.maximum(alpha, true).sum(), 1e-9)
    return float(iou), float(soft)


def image_metrics(
    rgba: UInt8[ndarray, "h w 4"], image: UInt8[ndarray, "h w 3"], mask: UInt8[ndarray, "h w"]
) -> dict[str, float]:
    """All metrics of one picture; `l1` on a scale of 0 to 1, PSNR in decibels.

    `psnr_fg` is the PSNR on the box around the true mask: the white background flatters the whole
    image's. SSIM is scikit-image's with the settings of Wang et al. 2004.
    """
    rendered, alpha = rgba[..., :3], rgba[..., 3] / 255
    iou, soft_iou = silhouette_iou(alpha, mask)
    box = mask_box(mask)
    return {
        "iou": iou,
        "soft_iou": soft_iou,
        "l1": float(np.abs(rendered.astype(np.float32) - image).mean() / 255),
        "psnr": _psnr(image, rendered),
        "ssim": float(
            skimage.metrics.structural_similarity(
                image,
                rendered,
                channel_axis=-1,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        ),
        "psnr_fg": _psnr(image[box], rendered[box]),
    }


def _psnr(image: ndarray, rendered: ndarray) -> float:
    if np.array_equal(image, rendered):
        return float("inf")
    return float(skimage.metrics.peak_signal_noise_ratio(image, rendered, data_range=255))


def read_renders(
    path: str | Path, part: str = "1-of-1"
) -> Iterator[tuple[int, UInt8[ndarray, "camera h w 4"]]]:
    """Yield each rendered frame's index in images.h5, and its pictures; those of one part."""
    with open_h5(path) as file, sound(path):
        frames = file["frame_index"][:]
        indices = chunk_of(range(len(frames)), part)
        for index in track(indices, "reading renders", len(indices)):
            yield int(frames[index]), file["images"][index]


def read_render(path: str | Path, frame: int) -> UInt8[ndarray, "camera h w 4"]:
    """The pictures of one frame, by its index in images.h5."""
    with open_h5(path) as file, sound(path):
        return file["images"][int(np.flatnonzero(file["frame_index"][:] == frame)[0])]


def read_frame_metrics(
    path: str | Path, baseline: str | Path | None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """metrics_test_frames.csv of an experiment and, where there is one, of its baseline."""
    return pd.read_csv(path), pd.read_csv(baseline) if baseline else None


def frame_scores(frames: pd.DataFrame) -> pd.Series:
    """The mean IoU of every frame with the animal, over the held-out cameras where there are any.

    `frames` is metrics_test_frames.csv. Raises PoseSplatterError where no frame shows the animal.
    """
    heldout = frames[frames["role"] == "heldout"]
    scores = (heldout if len(heldout) else frames).groupby("frame")["iou"].mean().dropna()
    if scores.empty:
        raise PoseSplatterError("no test frame shows the animal; choose other frames in config.")
    return scores


def typical_frame(frames: pd.DataFrame, baseline: pd.DataFrame | None = None) -> int:
    """The frame whose score is the median: the same one for all who name the same `baseline`.

    Both are metrics_test_frames.csv. The baseline's scores count, where there is one and it was
    tested on frames of `frames` too.
    """
    scores = frame_scores(frames)
    if baseline is not None:
        theirs = frame_scores(baseline)
        shared = theirs[theirs.index.isin(scores.index)]
        scores = shared if len(shared) else scores
    scores = scores.sort_values()
    return int(scores.index[len(scores) // 2])


def evaluate_renders(
    renders: Iterable[tuple[int, UInt8[ndarray, "camera h w 4"]]],
    store: FrameStore,
    visible: Bool[ndarray, " frame"],
    views: Views,
) -> pd.DataFrame:
    """A row per frame and camera: frame, source_frame, camera, role, status and the metrics.

    `status` is ok, or absent where the animal is not there (not `visible`); such rows have no
    numbers.
    """
    rows = []
    for frame, rgba in renders:
        images, masks = store.read_images(frame), store.read_masks(frame)
        for camera, name in enumerate(views.names):
            present = bool(visible[frame]) and bool(masks[camera].any())
            metrics = (
                image_metrics(rgba[camera], images[camera], masks[camera])
                if present
                else dict.fromkeys(METRICS, np.nan)
            )
            rows.append(
                {
                    "frame": frame,
                    "source_frame": int(store.source_frames[frame]),
                    "camera": name,
                    "role": views.role(camera),
                    "status": "ok" if present else "absent",
                    **metrics,
                }
            )
    columns = ["frame", "source_frame", "camera", "role", "status", *METRICS]
    return pd.DataFrame(rows, columns=columns)


def summarise(frames: pd.DataFrame) -> pd.DataFrame:
    """A row per camera, then mean_observed, mean_heldout and mean (over the cameras)."""
    metrics = [name for name in METRICS if name in frames]
    seen = frames[frames["status"] == "ok"]
    cameras = frames[["camera", "role"]].drop_duplicates()
    means = seen.groupby("camera", sort=False)[metrics].mean()
    counts = seen.groupby("camera", sort=False).size().rename("n_frames")
    table = cameras.join(counts, on="camera").join(means, on="camera")
    table["n_frames"] = table["n_frames"].fillna(0).astype(int)
    groups = [(f"mean_{role}", table[table["role"] == role]) for role in ROLES] + [("mean", table)]
    for name, group in groups:
        if len(group):
            row = {
                "camera": name,
                "role": "all" if name == "mean" else name.removeprefix("mean_"),
                "n_frames": int(group["n_frames"].sum()),
                **group[metrics].mean(),
            }
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    return table


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; six significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def save_table_part(path: str | Path, table: pd.DataFrame) -> None:
    """Write some frames' rows as JSON: all digits, and names that stay names."""
    save_json(path, table.to_dict("list"))


def gather_tables(parts: Sequence[str | Path]) -> pd.DataFrame:
    """Join parts of a table, in their order; those without rows count for nothing."""
    tables = [pd.DataFrame(json.loads(Path(part).read_text())) for part in parts]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
