"""Comparing experiments: differences by role, and the settings behind them."""

import pandas as pd
import pytest

from pose_splatter.comparison import Outcome, compare, differences, metrics_markdown, to_markdown
from pose_splatter.comparison_plots import plot_experiments
from pose_splatter.evaluation import METRICS
from pose_splatter.plots import BLUE, HELDOUT_COLOR


def outcome(experiment: str, iou: float, l1: float, settings: dict, recording="demo") -> Outcome:
    metrics = pd.DataFrame(
        [
            {"camera": name, "n_frames": 5, **dict.fromkeys(METRICS, 1.0), "iou": value, "l1": l1}
            for name, value in (("0", iou), ("mean_observed", iou), ("mean_heldout", iou - 0.1))
        ]
    )
    log = pd.DataFrame({"epoch": [0, 1], "seconds": [10.0, 20.0]})
    return Outcome(experiment, recording, metrics, log, 2_000_000, settings)


@pytest.fixture
def table() -> pd.DataFrame:
    base = {"loss": {"image": 0.5, "ssim": 0.0}, "preset": {"downsample": 4}}
    other = {"loss": {"image": 0.3, "ssim": 0.0}, "preset": {"downsample": 2}}
    return compare(
        [
            outcome("baseline", 0.8, 0.2, base),
            outcome("other", 0.9, 0.3, other),
            outcome("other", 0.7, 0.1, other, recording="unseen by the baseline"),
        ],
        "baseline",
    )


def test_differences_are_from_the_baseline_on_the_same_recording(table):
    row = table.query("experiment == 'other' and recording == 'demo' and role == 'heldout'").iloc[0]
    assert row["iou_difference"] == pytest.approx(0.1)
    assert row["seconds_trained"] == 30
    assert row["epochs"] == 2
    assert row["checkpoint_mb"] == 2
    assert row["settings_changed"] == "loss.image: 0.3 (0.5); preset.downsample: 2 (4)"
    unseen = table[table["recording"] != "demo"]
    assert unseen["iou_difference"].isna().all()


def test_the_page_marks_what_is_better(table):
    page = to_markdown(table, "baseline")
    assert "0.900 (**+0.100**)" in page, "a higher IoU is better"
    assert "0.30000 (+0.10000)" in page, "a higher L1 is not"
    assert "## demo, held-out cameras" in page
    assert "| PSNR (dB) ↑ |" in page
    assert page.count("`other`: loss.image: 0.3 (0.5)") == page.count("`other`:") == 1
    assert "(**+0.000**)" not in page
    assert "(**-0.000**)" not in page


def test_differences_see_keys_that_only_one_has():
    assert differences({"a": {"b": 1}}, {"c": 2}) == "a.b: 1 (None); c: None (2)"


def test_means_as_markdown():
    page = metrics_markdown(outcome("x", 0.8, 0.2, {}).metrics)
    assert page.splitlines()[2].startswith("| observed | 0.800")


def test_figure_shows_every_number_and_its_difference(table):
    figure = plot_experiments(table, "baseline")
    panels = {axis.get_title(): axis for axis in figure.axes}
    assert len(panels) == 8
    labels = [text.get_text() for text in panels["IoU ↑"].texts]
    assert labels == ["0.800", "+0.100", "0.700", "+0.100"], (
        "where the baseline was not applied, nothing differs"
    )
    assert [text.get_text() for text in panels["L1 ↓"].texts] == ["0.20000", "+0.10000"] * 2
    assert [text.get_text() for text in panels["seconds trained ↓"].texts] == ["30", "30"]
    points = [line for line in panels["IoU ↑"].lines if line.get_marker() == "o"]
    for line, iou in zip(points, (0.8, 0.7), strict=True):  # the other's mean over both recordings
        assert list(line.get_xdata()) == pytest.approx([iou, iou])
    assert [line.get_color() for line in points] == [BLUE, HELDOUT_COLOR]
