"""Analysis of metrics: tables by hand, figures by what stands in them."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from pose_splatter.analysis import (
    Picture,
    analyse,
    camera_table,
    extreme_frames,
    goodness,
    summary_table,
    to_json,
    to_markdown,
)
from pose_splatter.analysis_plots import (
    plot_distribution,
    plot_frames,
    plot_metrics_by_camera,
    plot_metrics_per_frame,
)
from pose_splatter.comparison import is_better
from pose_splatter.errors import PoseSplatterError
from pose_splatter.evaluation import METRICS, summarise
from pose_splatter.plots import HELDOUT_COLOR, plot_training

ROLES = {"0": "observed", "1": "heldout", "2": "observed", "3": "heldout"}


def frames_table(n_frames: int = 30, absent: tuple[int, ...] = ()) -> pd.DataFrame:
    """IoU rises with the frame; camera 3 is a little worse than camera 1; frames start at 100."""
    rows = []
    for frame in range(n_frames):
        for camera, role in ROLES.items():
            iou = (0.5 if role == "heldout" else 0.9) + frame / 1000 - int(camera) / 100
            seen = frame not in absent
            rows.append(
                {
                    "frame": frame,
                    "source_frame": 100 + 2 * frame,
                    "camera": camera,
                    "role": role,
                    "status": "ok" if seen else "absent",
                    **dict.fromkeys(METRICS, iou if seen else math.nan),
                    "l1": 1 - iou if seen else math.nan,
                }
            )
    return pd.DataFrame(rows)


def test_worst_and_best_frames_are_those_of_the_held_out_cameras():
    frames = frames_table(absent=(0,))
    # Observed cameras are not asked, however bad they are.
    frames.loc[(frames["frame"] == 20) & (frames["role"] == "observed"), "iou"] = 0.01
    worst, best = extreme_frames(frames)
    assert list(worst["frame"]) == list(range(1, 13)), "frame 0 is absent"
    assert list(best["frame"]) == list(range(29, 17, -1))
    assert set(worst["camera"]) == {"3"}
    assert set(best["camera"]) == {"1"}
    assert worst["mean_iou"][0] == pytest.approx(0.5 + 0.001 - 0.02)


def test_a_few_frames_are_worst_or_best_not_both():
    worst, best = extreme_frames(frames_table(n_frames=6))
    assert [list(worst["frame"]), list(best["frame"])] == [[0, 1, 2], [5, 4, 3]]


def test_without_held_out_cameras_all_are_asked():
    frames = frames_table().assign(role="observed")
    frames.loc[(frames["frame"] == 20) & (frames["camera"] == "0"), "iou"] = 0.01
    assert extreme_frames(frames)[0]["frame"][0] == 20
    assert list(summary_table(summarise(frames), frames)["role"].unique()) == ["observed"]


def test_an_animal_that_is_never_there_is_one_sentence():
    with pytest.raises(PoseSplatterError, match="no test frame shows the animal"):
        extreme_frames(frames_table(n_frames=3, absent=(0, 1, 2)))


def test_summary_is_held_against_the_baseline():
    frames = frames_table(absent=(3,))
    cameras = summarise(frames)
    baseline = cameras.assign(iou=cameras["iou"] - 0.1, l1=cameras["l1"] - 0.1)
    table = summary_table(cameras, frames, baseline).set_index(["role", "metric"])
    values = frames.query("role == 'heldout' and status == 'ok'")["iou"]
    row = table.loc[("heldout", "iou")]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["std"] == pytest.approx(values.std())
    assert (row["min"], row["max"]) == (values.min(), values.max())
    assert row["difference"] == pytest.approx(0.1)
    assert row["better"] is True
    assert table.loc[("heldout", "l1"), "better"] is False, "a higher L1 is worse"
    assert table.loc[("heldout", "ssim"), "better"] is None, "nothing differs"


def test_better_has_the_metrics_own_direction():
    assert is_better("psnr", 1.0)
    assert is_better("l1", -1.0)
    assert is_better("l1", math.nan) is None


def test_summaries_for_people_and_programs():
    frames = frames_table(absent=(3,))
    cameras = summarise(frames)
    baseline = cameras.assign(iou=cameras["iou"] - 0.1)
    analysis = analyse("other", "rat", cameras, frames, ("baseline", baseline))
    page = to_markdown(analysis)
    assert "30 test frames, 1 of them without the animal." in page
    assert "| **+0.100** |" in page
    assert "**+0.000**" not in page
    assert "| 158 | " in page, "the best frame, as the video counts"
    content = json.loads(json.dumps(to_json(analysis), allow_nan=False))
    assert content["absent_source_frames"] == [106]
    assert content["roles"]["heldout"]["iou"]["better"] is True
    assert content["roles"]["observed"]["l1"]["higher_is_better"] is False
    assert content["worst_frames"][0]["source_frame"] == 100


def test_without_a_baseline_nothing_is_said_of_one():
    frames = frames_table()
    analysis = analyse("baseline", "rat", summarise(frames), frames, None)
    assert "baseline |" not in to_markdown(analysis)
    assert to_json(analysis)["roles"]["heldout"]["iou"]["difference"] is None


def test_goodness_knows_directions():
    table = camera_table(summarise(frames_table()))
    colors = goodness(table, list(ROLES))
    for metric in METRICS:
        assert colors.loc[metric, "0"] == 1, metric
        assert colors.loc[metric, "3"] == 0, metric
    same = goodness(table * 0, list(ROLES))
    assert (same == 0.5).all(axis=None)


def test_the_heatmap_writes_every_value_and_marks_the_held_out():
    axis = plot_metrics_by_camera(summarise(frames_table()), "x").axes[0]
    assert len(axis.texts) == len(METRICS) * (len(ROLES) + 2)
    names = [tick.label2.get_text() for tick in axis.xaxis.get_major_ticks()]
    colors = [tick.label2.get_color() for tick in axis.xaxis.get_major_ticks()]
    assert [color == HELDOUT_COLOR for color in colors] == ["held" in name for name in names], (
        "the cameras, and their mean"
    )
    assert sum("held" in name for name in names) == 3


def test_lines_break_where_the_animal_is_absent():
    axis = plot_metrics_per_frame(frames_table(absent=(3,)), "x").axes[0]
    lines = axis.get_lines()
    assert [line.get_color() == HELDOUT_COLOR for line in lines] == [False, True, False, False]
    assert [line.get_linewidth() for line in lines] == [1, 2, 1, 2]
    x, y = lines[0].get_data()
    assert len(x) == 30
    assert list(np.flatnonzero(np.isnan(y))) == [3]
    assert x[3] == 106


def test_a_box_per_camera_and_role():
    axis = plot_distribution(frames_table(absent=(3,)), "x").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        *(f"camera {camera}" for camera in ROLES),
        *("all observed", "all held out"),
    ]


def test_pictures_carry_their_numbers():
    worst, _ = extreme_frames(frames_table())
    image, mask = np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 1
    figure = plot_frames([Picture(image, mask, image, row) for _, row in worst.iterrows()], "x")
    title = figure.axes[0].get_title()
    assert title.startswith("frame 100, camera 3 (held out)\nIoU 0.470 (frame's mean 0.480)")
    assert len(figure.axes[0].images[0].get_array()) < 40, "cut to the animal"


@pytest.fixture
def log() -> pd.DataFrame:
    epochs = range(4)
    terms = [f"{part}_{term}" for part in ("train", "valid") for term in ("loss", "iou", "image")]
    return pd.DataFrame(
        {"epoch": epochs, **{term: [3.0, 1.0, 2.0, 2.0] for term in terms}, "learning_rate": 0.1}
    )


def test_training_curves_mark_where_training_was_resumed(log):
    figure = plot_training(log.assign(resumed=[0, 0, 1, 1]))
    assert len(figure.axes) == 4, "three terms and the learning rate"
    for axis in figure.axes:
        resumed = [line for line in axis.get_lines() if line.get_label() == "resumed"]
        assert [line.get_xdata()[0] for line in resumed] == [1.5, 2.5]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("training", "validation", "best validation epoch", "resumed"),
    ]


def test_training_curves_of_one_run(log):
    figure = plot_training(log.assign(resumed=0))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "resumed" not in labels
