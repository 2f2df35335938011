"""Analysis of metrics: tables by hand, figures by what stands in them."""

import json
import math

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from pose_splatter.analysis import (
    Picture,
    analyse,
    camera_table,
    extreme_frames,
    goodness,
    read_pictures,
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
from pose_splatter.frames import FrameStore
from pose_splatter.plots import HELDOUT_COLOR, plot_training, plot_truth_against_prediction

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


def test_pictured_frames_lie_apart():
    """A dip of twelve frames in a hundred and twenty is one moment, not the worst twelve."""
    frames = frames_table(n_frames=120)
    frames.loc[frames["frame"].between(60, 71), "iou"] -= 0.3
    worst, best = extreme_frames(frames)
    assert list(worst["frame"])[:4] == [60, 65, 70, 0]
    assert np.diff(np.sort(worst["frame"])).min() == 5
    assert list(best["frame"]) == [*range(119, 73, -5), 59, 54]
    assert list(worst["mean_iou"]) == sorted(worst["mean_iou"])


def test_neighbours_are_pictured_where_a_half_holds_no_others():
    """The worst half is a stretch whose very worst frames leave only neighbours between them."""
    frames = frames_table(n_frames=48)
    frames.loc[(frames["frame"] < 24) & (frames["frame"] % 3 == 1), "iou"] -= 0.1
    worst, _ = extreme_frames(frames)
    assert list(worst["frame"]) == [*range(1, 24, 3), 0, 2, 3, 5]


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
    assert "| PSNR (dB) ↑ | 0.49 |" in page
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
    cameras = summarise(frames_table())
    axis = plot_metrics_by_camera(cameras, "x").axes[0]
    assert len(axis.texts) == len(METRICS) * (len(ROLES) + 2)
    values = camera_table(cameras).to_numpy()
    for text in axis.texts:
        column, row = text.get_position()
        assert float(text.get_text()) == pytest.approx(values[row, column], abs=0.006)
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
    frames = frames_table(absent=(3,))
    axis = plot_distribution(frames, "x").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        *(f"camera {camera}" for camera in ROLES),
        *("all observed", "all held out"),
    ]
    groups = [frames.groupby(by)["iou"] for by in ("camera", "role")]
    quartiles = [
        [group.get_group(name).quantile(q) for q in (0.25, 0.75)]
        for group, names in zip(groups, (ROLES, ("observed", "heldout")), strict=True)
        for name in names
    ]
    for box, tick, expected in zip(axis.patches, axis.get_xticks(), quartiles, strict=True):
        corners = box.get_path().get_extents()
        assert [corners.y0, corners.y1] == pytest.approx(expected)
        assert corners.x0 < tick < corners.x1


def test_pictures_carry_their_numbers():
    worst, _ = extreme_frames(frames_table())
    image, render = np.full((2, 40, 50, 3), [[[[7]]], [[[200]]]], np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 1
    figure = plot_frames([Picture(image, mask, render, row) for _, row in worst.iterrows()], "x")
    axis = figure.axes[0]
    assert axis.get_title().startswith(
        "video frame 100, camera 3 (held out)\nIoU 0.470 (frame's mean 0.480)"
    )
    shown = axis.images[0].get_array()
    assert len(shown) < 40, "cut to the animal"
    half = shown.shape[1] // 2
    assert (shown[:, :half] == 7).all()
    assert (shown[:, half:] == 200).all()
    labels = {text.get_text(): text.get_position()[0] < half for text in axis.get_xticklabels()}
    assert labels == {"truth": True, "prediction": False}


def test_pictures_are_of_their_frame_and_camera(tmp_path):
    """Every frame and camera has a grey of its own, a render another than its image."""
    grey = np.arange(3)[:, None] * 40 + np.arange(4) * 10
    images = np.zeros((3, 4, 6, 8, 3), np.uint8) + grey[..., None, None, None].astype(np.uint8)
    masks = images[..., 0] + np.uint8(1)
    store = FrameStore(zarr.array(images), zarr.array(masks), np.arange(3), tuple(ROLES), 1)
    with h5py.File(tmp_path / "renders.h5", "w") as file:
        file["frame_index"] = [2, 1]
        file["images"] = np.concatenate([images, images[..., :1]], axis=-1)[[2, 1]] + np.uint8(5)
    rows = pd.DataFrame({"frame": [1, 2, 1], "camera": ["3", "0", "1"]})
    pictures = list(read_pictures(rows, store, tmp_path / "renders.h5"))
    for picture, expected in zip(pictures, (70, 80, 50), strict=True):
        assert (picture.image == expected).all()
        assert (picture.mask == expected + 1).all()
        assert (picture.render == expected + 5).all()
        assert picture.render.shape == (6, 8, 3)


def test_truth_is_above_prediction_alpha_and_error():
    """Of a dark truth and a bright prediction: the error is no wrapped difference of bytes."""
    images = np.stack([np.full((20, 30, 3), value, np.uint8) for value in (10, 30)])
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[:, 8:12, 10:20] = 1
    renders = np.stack([np.full((20, 30, 4), [v] * 3 + [90], np.uint8) for v in (110, 5)])
    figure = plot_truth_against_prediction(images, masks, renders, "ab", ["b"], "x")
    rows = np.reshape([axis for axis in figure.axes if axis.images], (4, 2))
    assert [axis.get_ylabel() for axis in rows[:, 0]] == ["truth", "prediction", "alpha", "error"]
    shown = [[axis.images[0].get_array() for axis in row] for row in rows]
    for row, expected in zip(
        shown, [[10, 30], [110, 5], [90, 90], [100 / 255, 25 / 255]], strict=True
    ):
        for picture, value in zip(row, expected, strict=True):
            np.testing.assert_allclose(picture, value)
            assert picture.shape[1] < 30, "cut to the animal"
    assert rows[0, 1].get_title() == "camera b\nheld out"
    assert rows[0, 1].title.get_color() == HELDOUT_COLOR


@pytest.fixture
def log() -> pd.DataFrame:
    curves = {"train": [4.0, 3.0, 2.0, 1.0], "valid": [3.0, 1.0, 2.0, 2.0]}
    terms = {
        f"{part}_{term}": np.array(curve) * scale
        for part, curve in curves.items()
        for term, scale in (("loss", 1), ("iou", 2), ("image", 3))
    }
    constant = {"rehearsal_loss": np.nan, "learning_rate": 0.1}
    return pd.DataFrame({"epoch": range(4), **terms, **constant})


def test_training_curves_are_those_of_the_log(log):
    figure = plot_training(log.assign(resumed=0))
    for axis, term in zip(figure.axes, ("loss", "iou", "image"), strict=False):
        lines = {line.get_label(): line for line in axis.get_lines()}
        for label, part in (("training", "train"), ("validation", "valid")):
            np.testing.assert_array_equal(lines[label].get_ydata(), log[f"{part}_{term}"])
        assert set(lines["best validation epoch"].get_xdata()) == {1}
    np.testing.assert_array_equal(figure.axes[-1].get_lines()[0].get_ydata(), 0.1)


def test_training_curves_mark_where_training_was_resumed(log):
    figure = plot_training(log.assign(resumed=[0, 0, 1, 1]))
    assert len(figure.axes) == 4, "three terms and the learning rate"
    for axis in figure.axes:
        resumed = [line for line in axis.get_lines() if line.get_label() == "resumed"]
        assert [line.get_xdata()[0] for line in resumed] == [1.5, 2.5]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("training", "validation", "best validation epoch", "resumed"),
    ]


def test_training_curves_show_rehearsals_beside_silhouettes(log):
    rehearsals = [np.nan, 3.0, 2.0, 1.0]
    figure = plot_training(log.assign(resumed=0, rehearsal_loss=rehearsals))
    lines = [{line.get_label(): line for line in axis.get_lines()} for axis in figure.axes]
    np.testing.assert_array_equal(lines[1]["rehearsals"].get_ydata(), rehearsals)
    assert not any("rehearsals" in each for each in (lines[0], *lines[2:]))
    assert "rehearsals" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_training_curves_of_one_run(log):
    figure = plot_training(log.assign(resumed=0))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "resumed" not in labels
    assert "rehearsals" not in labels
