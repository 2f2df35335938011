"""Experiments side by side: metrics per role, what they cost, and which settings differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pose_splatter.evaluation import METRICS

LOWER_IS_BETTER = ("l1",)
DIGITS = {"l1": 5, "psnr": 2, "psnr_fg": 2}  # after the point, where it is not three
ROLES = {"mean_observed": "observed", "mean_heldout": "heldout"}


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
        for name, role in ROLES.items():
            ours = _row(outcome.metrics, name)
            if ours is None:
                continue
            theirs = _row(reference.metrics, name) if reference else None
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


def _row(metrics: pd.DataFrame, name: str) -> pd.Series | None:
    """The row of metrics_test.csv whose camera is `name`."""
    chosen = metrics[metrics["camera"].astype(str) == name]
    return chosen.iloc[0] if len(chosen) else None


def to_markdown(table: pd.DataFrame, baseline: str) -> str:
    """The comparison as a page: a table per recording and role, and what was changed."""
    lines = [
        "# Experiments compared",
        "",
        f"Differences, in brackets, are from `{baseline}` on the same recording; better is bold.",
    ]
    for (recording, role), group in table.groupby(["recording", "role"], sort=False):
        where = "held-out" if role == "heldout" else "observed"
        header = ["experiment", *METRICS, "epochs", "seconds trained", "checkpoint (MB)"]
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
        digits = DIGITS.get(metric, 3)
        cell, shown = f"{row[metric]:.{digits}f}", f"{difference:+.{digits}f}"
        if (better := is_better(metric, difference)) is not None and float(shown) != 0:
            cell += f" (**{shown}**)" if better else f" ({shown})"
        cells.append(cell)
    return [
        *cells,
        str(row["epochs"]),
        f"{row['seconds_trained']:.0f}",
        f"{row['checkpoint_mb']:.1f}",
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    table = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in table]


def metrics_markdown(metrics: pd.DataFrame) -> str:
    """The means of metrics_test.csv as a Markdown table."""
    means = metrics[metrics["camera"].astype(str).isin(ROLES)]
    rows = [
        [ROLES[row["camera"]], *(f"{row[metric]:.3f}" for metric in METRICS)]
        for _, row in means.iterrows()
    ]
    return "\n".join(markdown_table(["cameras", *METRICS], rows))
