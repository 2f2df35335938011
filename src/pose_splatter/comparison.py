"""Experiments side by side: metrics per role, what they cost, and which settings differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pose_splatter.evaluation import METRICS, ROLES

LOWER_IS_BETTER = ("l1", "seconds_trained", "checkpoint_mb")
COSTS = ("seconds_trained", "checkpoint_mb")
NAMES = {
    "iou": "IoU",
    "soft_iou": "soft IoU",
    "l1": "L1",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "psnr_fg": "PSNR on the box (dB)",
    "seconds_trained": "seconds trained",
    "checkpoint_mb": "checkpoint (MB)",
}
TITLES = {key: f"{name} {'↓' if key in LOWER_IS_BETTER else '↑'}" for key, name in NAMES.items()}
DIRECTION = "↑ more is better, ↓ less is better"
# After the point.
DIGITS = dict.fromkeys(NAMES, 3) | {"l1": 5, "psnr": 2, "psnr_fg": 2}
DIGITS |= {"seconds_trained": 0, "checkpoint_mb": 1}


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave on one recording.

    `metrics` is metrics_test.csv, `log` training_log.csv, `size` checkpoint.pt's bytes, `settings`
    everything that config says of the experiment and its preset.
    """

    experiment: str
    recording: str
    metrics: pd.DataFrame
    log: pd.DataFrame
    size: int
    settings: Mapping[str, Any]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def differences(settings: Mapping[str, Any], baseline: Mapping[str, Any]) -> str:
    """The keys that differ from the baseline's, as "key: value (baseline's value)"."""
    ours, theirs = flatten(settings), flatten(baseline)
    changed = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    return "; ".join(f"{key}: {ours.get(key)} ({theirs.get(key)})" for key in changed)


def compare(outcomes: Sequence[Outcome], baseline: str) -> pd.DataFrame:
    """A row per recording, experiment and role: metrics, their differences from the baseline's on
    the same recording (`iou_difference`, …), epochs, seconds trained, megabytes, settings.

    Differences are missing where the baseline was not applied to the recording.
    """
    references = {
        outcome.recording: outcome for outcome in outcomes if outcome.experiment == baseline
    }
    settings = next(o.settings for o in outcomes if o.experiment == baseline)
    rows = []
    for outcome in outcomes:
        reference = references.get(outcome.recording)
        for role in ROLES:
            ours = _row(outcome.metrics, role)
            if ours is None:
                continue
            theirs = _row(reference.metrics, role) if reference else None
            rows.append(
                {
                    "recording": outcome.recording,
                    "experiment": outcome.experiment,
                    "role": role,
                    **{metric: ours[metric] for metric in METRICS},
                    **{
                        f"{metric}_difference": math.nan
                        if theirs is None
                        else ours[metric] - theirs[metric]
                        for metric in METRICS
                    },
                    "epochs": len(outcome.log),
                    "seconds_trained": float(outcome.log["seconds"].sum()),
                    "checkpoint_mb": outcome.size / 1e6,
                    "settings_changed": differences(outcome.settings, settings),
                }
            )
    return pd.DataFrame(rows)


def _row(metrics: pd.DataFrame, role: str) -> pd.Series | None:
    """The row of metrics_test.csv with the means of a role's cameras."""
    chosen = metrics[metrics["camera"].astype(str) == f"mean_{role}"]
    return chosen.iloc[0] if len(chosen) else None


def to_markdown(table: pd.DataFrame, baseline: str) -> str:
    """The comparison as a page: a table per recording and role, and what was changed."""
    lines = [
        "# Experiments compared",
        "",
        f"Differences, in brackets, are from `{baseline}` on the same recording; better is bold.",
        f"Arrows: {DIRECTION}.",
    ]
    for (recording, role), group in table.groupby(["recording", "role"], sort=False):
        where = "held-out" if role == "heldout" else "observed"
        header = ["experiment", *(TITLES[metric] for metric in METRICS), "epochs"]
        header += [TITLES[cost] for cost in COSTS]
        lines += ["", f"## {recording}, {where} cameras", ""]
        lines += markdown_table(header, [_cells(row) for _, row in group.iterrows()])
    lines += ["", f"## Settings that differ from {baseline}", ""]
    changed = table.groupby("experiment", sort=False)["settings_changed"].first()
    lines += [
        f"- `{experiment}`: {keys or 'none'}"
        for experiment, keys in changed.items()
        if experiment != baseline
    ]
    return "\n".join(lines) + "\n"


def is_better(metric: str, difference: float) -> bool | None:
    """Whether a metric that changed by so much became better; None where it did not change."""
    if math.isnan(difference) or difference == 0:
        return None
    return (difference < 0) == (metric in LOWER_IS_BETTER)


def _cells(row: pd.Series) -> list[str]:
    cells = [str(row["experiment"])]
    for metric in METRICS:
        difference = row[f"{metric}_difference"]
        digits = DIGITS[metric]
        cell, shown = f"{row[metric]:.{digits}f}", f"{difference:+.{digits}f}"
        if (better := is_better(metric, difference)) is not None and float(shown) != 0:
            cell += f" (**{shown}**)" if better else f" ({shown})"
        cells.append(cell)
    return [
        *cells,
        str(row["epochs"]),
        *(f"{row[cost]:.{DIGITS[cost]}f}" for cost in COSTS),
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in table]


def metrics_markdown(metrics: pd.DataFrame) -> str:
    """The means of metrics_test.csv as a Markdown table."""
    means = {role: _row(metrics, role) for role in ROLES}
    rows = [
        [role, *(f"{row[metric]:.{DIGITS[metric]}f}" for metric in METRICS)]
        for role, row in means.items()
        if row is not None
    ]
    return "\n".join(markdown_table(["cameras", *(TITLES[metric] for metric in METRICS)], rows))
