"""What an experiment's metrics on a recording say, read from metrics_test.csv and its frames."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.comparison import (
    DIGITS,
    DIRECTION,
    LOWER_IS_BETTER,
    TITLES,
    is_better,
    markdown_table,
)
from pose_splatter.evaluation import METRICS, ROLES, frame_scores, read_render
from pose_splatter.frames import FrameStore

PICTURED = 12  # frames shown of the worst, and as many of the best


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read metrics_test.csv or metrics_test_frames.csv; cameras are names, even 0 and 1."""
    return pd.read_csv(path, dtype={"camera": str})


def summary_table(
    cameras: pd.DataFrame, frames: pd.DataFrame, baseline: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row per role and metric: mean, std, min, max, baseline, difference, better.

    `cameras` is metrics_test.csv, whose mean (over cameras) it is, and `frames`
    metrics_test_frames.csv: standard deviation and range are over the pictures of the role's
    cameras. `baseline` is the baseline's metrics_test.csv; without it the last three are missing.
    `better` is also missing where nothing differs.
    """
    seen = frames[frames["status"] == "ok"]
    rows = []
    for role in ROLES:
        pictures = seen[seen["role"] == role]
        if pictures.empty:
            continue
        for metric in METRICS:
            mean = _mean(cameras, role, metric)
            reference = math.nan if baseline is None else _mean(baseline, role, metric)
            difference = mean - reference
            rows.append(
                {
                    "role": role,
                    "metric": metric,
                    "mean": mean,
                    **pictures[metric].agg(["std", "min", "max"]),
                    "baseline": reference,
                    "difference": difference,
                    "better": is_better(metric, difference),
                }
            )
    return pd.DataFrame(rows)


def _mean(cameras: pd.DataFrame, role: str, metric: str) -> float:
    """The mean over a role's cameras; NaN where it has none."""
    rows = cameras.loc[cameras["camera"] == f"mean_{role}", metric]
    return float(rows.iloc[0]) if len(rows) else math.nan


def extreme_frames(
    frames: pd.DataFrame, count: int = PICTURED
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The worst frames, worst first, and the best, best first: a picture's row for each.

    Frames are ordered by their mean IoU (`mean_iou`) over the held-out cameras, over all where
    none is held out. The picture is that of the camera with the frame's lowest IoU, or highest.
    Each is among the worst half or the best half, and they lie apart in time (see `_apart`). Raises
    PoseSplatterError where no frame shows the animal.
    """
    seen = frames[frames["status"] == "ok"]
    heldout = seen[seen["role"] == "heldout"]
    ranked = (heldout if len(heldout) else seen).sort_values("iou", kind="stable")
    scores = frame_scores(seen).sort_values(kind="stable").rename("mean_iou")
    count = min(count, (len(scores) + 1) // 2)

    def pictures(chosen: pd.Series, keep: Any) -> pd.DataFrame:
        rows = ranked.drop_duplicates("frame", keep=keep).set_index("frame")
        return rows.loc[chosen.index].join(chosen).reset_index()

    worst, best = _apart(scores, count), _apart(scores[::-1], count)
    return pictures(worst, "first"), pictures(best, "last")


def _apart(scores: pd.Series, count: int) -> pd.Series:
    """The first `count` scores, in their order, that do not show the same moment again and again.

    Of the first half those are taken that lie at least n / (2 `count`) frames from all before
    them; where that leaves too few, their neighbours as well.
    """
    half, gap = scores.index[: (len(scores) + 1) // 2], len(scores) // (2 * count)
    chosen: list[int] = []
    for frame in half:
        if all(abs(frame - other) >= gap for other in chosen):
            chosen.append(frame)
    chosen = chosen[:count]
    chosen += [frame for frame in half if frame not in chosen][: count - len(chosen)]
    return scores[scores.index.isin(chosen)]


@dataclass(frozen=True)
class Picture:
    """One camera's picture of a frame, the mask it is cut to, its render and its metrics."""

    image: UInt8[ndarray, "h w 3"]
    mask: UInt8[ndarray, "h w"]
    render: UInt8[ndarray, "h w 3"]
    metrics: pd.Series


def read_pictures(rows: pd.DataFrame, store: FrameStore, renders: str | Path) -> Iterator[Picture]:
    """Yield the picture of each row of metrics_test_frames.csv."""
    for _, row in rows.iterrows():
        camera = store.cameras.index(row["camera"])
        yield Picture(
            store.read_images(row["frame"])[camera],
            store.read_masks(row["frame"])[camera],
            read_render(renders, row["frame"])[camera, ..., :3],
            row,
        )


@dataclass(frozen=True)
class Analysis:
    """Everything that summary.md and summary.json say; tables as the functions above make them.

    `absent` are the video frames that no camera sees the animal in.
    """

    experiment: str
    recording: str
    baseline: str | None
    summary: pd.DataFrame
    worst: pd.DataFrame
    best: pd.DataFrame
    n_frames: int
    absent: tuple[int, ...]


def analyse(
    experiment: str,
    recording: str,
    cameras: pd.DataFrame,
    frames: pd.DataFrame,
    baseline: tuple[str, pd.DataFrame] | None,
) -> Analysis:
    """Summarise metrics_test.csv and metrics_test_frames.csv.

    `baseline` is the name and the metrics_test.csv of the experiment to hold them against.
    """
    seen = (frames["status"] == "ok").groupby(frames["source_frame"]).any()
    worst, best = extreme_frames(frames)
    name, metrics = baseline or (None, None)
    return Analysis(
        experiment,
        recording,
        name,
        summary_table(cameras, frames, metrics),
        worst,
        best,
        n_frames=len(seen),
        absent=tuple(int(frame) for frame in seen.index[~seen]),
    )


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The content of summary.json; numbers that are missing or infinite are null."""
    roles: dict[str, Any] = {}
    for row in analysis.summary.to_dict("records"):
        role, metric = row.pop("role"), row.pop("metric")
        higher = metric not in LOWER_IS_BETTER
        roles.setdefault(role, {})[metric] = {"higher_is_better": higher} | _plain(row)
    return {
        "experiment": analysis.experiment,
        "recording": analysis.recording,
        "baseline": analysis.baseline,
        "n_frames": analysis.n_frames,
        "absent_source_frames": list(analysis.absent),
        "roles": roles,
        "worst_frames": [_plain(row) for row in analysis.worst.to_dict("records")],
        "best_frames": [_plain(row) for row in analysis.best.to_dict("records")],
    }


def _plain(row: dict[Any, Any]) -> dict[Any, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def to_markdown(analysis: Analysis) -> str:
    """The content of summary.md: a table per role, then the worst and the best frames."""
    lines = [
        f"# {analysis.experiment} on {analysis.recording}",
        "",
        f"{analysis.n_frames} test frames"
        + (f", {len(analysis.absent)} of them without the animal." if analysis.absent else "."),
        "The mean is over cameras; standard deviation and range are over single pictures.",
        f"Arrows: {DIRECTION}. What has no unit is a share of 1.",
    ]
    if analysis.baseline:
        lines.append(f"Differences are from `{analysis.baseline}`; better is bold.")
    for role, group in analysis.summary.groupby("role", sort=False):
        lines += ["", f"## {'Held-out' if role == 'heldout' else 'Observed'} cameras", ""]
        lines += _markdown(group, with_baseline=analysis.baseline is not None)
    for title, rows in (("Worst", analysis.worst), ("Best", analysis.best)):
        lines += ["", f"## {title} frames", ""]
        lines += markdown_table(
            ["video frame", "mean IoU", "camera shown", "its IoU"],
            [
                [
                    str(row["source_frame"]),
                    f"{row['mean_iou']:.3f}",
                    row["camera"],
                    f"{row['iou']:.3f}",
                ]
                for _, row in rows.iterrows()
            ],
        )
    return "\n".join(lines) + "\n"


def _markdown(group: pd.DataFrame, with_baseline: bool) -> list[str]:
    header = ["metric", "mean", "standard deviation", "least", "most"]
    header += ["baseline", "difference"] if with_baseline else []
    rows = []
    for _, row in group.iterrows():
        digits = DIGITS[row["metric"]]
        cells = [TITLES[row["metric"]]]
        cells += [f"{row[name]:.{digits}f}" for name in ("mean", "std", "min", "max")]
        if with_baseline:
            difference = f"{row['difference']:+.{digits}f}"
            bold = "**" if row["better"] and float(difference) != 0 else ""
            cells += [f"{row['baseline']:.{digits}f}", f"{bold}{difference}{bold}"]
        rows.append(cells)
    return markdown_table(header, rows)


def camera_table(cameras: pd.DataFrame) -> pd.DataFrame:
    """metrics_test.csv as a row per metric and a column per camera, then the means of the roles."""
    return cameras[cameras["camera"] != "mean"].set_index("camera")[list(METRICS)].T


def goodness(table: pd.DataFrame, cameras: list[str]) -> pd.DataFrame:
    """Every row of camera_table from 0 (the worst of `cameras`) to 1 (the best of them)."""
    sign = np.array([-1.0 if metric in LOWER_IS_BETTER else 1.0 for metric in table.index])
    signed = table.mul(sign, axis=0)
    low, high = signed[cameras].min(axis=1), signed[cameras].max(axis=1)
    return (
        signed.sub(low, axis=0).div((high - low).where(high > low), axis=0).fillna(0.5).clip(0, 1)
    )
