"""Metrics by hand, and tables with held-out cameras apart."""

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from numpy.lib.stride_tricks import sliding_window_view

from pose_splatter.evaluation import (
    METRICS,
    Views,
    evaluate_renders,
    gather_tables,
    image_metrics,
    read_renders,
    save_table_part,
    summarise,
    typical_frame,
    write_table,
)
from pose_splatter.frames import FrameStore, chunk_of, gather_parts
from pose_splatter.hull import evaluate_hull
from pose_splatter.losses import ssim_loss
from pose_splatter.model import NetworkConfig, PoseSplatter
from pose_splatter.rendering import write_renders
from pose_splatter.tracking import Track

from ..conftest import balls_recording, ring_rig, silhouettes


def stored(images, masks) -> FrameStore:
    """A store in memory."""
    return FrameStore(
        images=zarr.array(images),
        masks=zarr.array(masks),
        source_frames=10 * np.arange(len(images)),
        cameras=tuple("012345"),
        downsample=1,
    )


def scene(n_frames=3):
    rig = ring_rig()
    masks = np.stack([silhouettes(rig, np.array([[5.0 * f, 0, 0]]), 40) for f in range(n_frames)])
    images = np.where(masks[..., None] > 0, np.uint8(100), np.uint8(255)).repeat(3, axis=-1)
    return rig, images, masks


def still_track(visible):
    n = len(visible)
    return Track(
        np.array(visible),
        np.zeros((n, 3)),
        np.zeros(n),
        np.tile(np.eye(3), (n, 1, 1)),
        np.tile([60.0, 50.0], (n, 1)),
        np.tile([120.0, 100.0], (n, 1)),
    )


def test_metrics_by_hand():
    """The right silhouette in the wrong colour: PSNR on the box is that of the difference."""
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 10:40] = 1
    image = np.where(mask[..., None] > 0, np.uint8(100), np.uint8(255)).repeat(3, axis=-1)
    rgba = np.concatenate([image, mask[..., None] * np.uint8(255)], axis=-1)
    rgba[mask > 0, :3] += 51
    metrics = image_metrics(rgba, image, mask)
    assert metrics["iou"] == metrics["soft_iou"] == 1
    assert metrics["psnr_fg"] == pytest.approx(20 * np.log10(5))
    share = mask.mean()
    assert metrics["psnr"] == pytest.approx(20 * np.log10(5) - 10 * np.log10(share))
    assert metrics["l1"] == pytest.approx(0.2 * share)
    perfect = image_metrics(np.dstack([image, mask * np.uint8(255)]), image, mask)
    assert perfect["ssim"] == pytest.approx(1)
    rgba[..., 3] = 0
    rgba[8:16, 10:40, 3] = 255
    assert image_metrics(rgba, image, mask)["iou"] == 0.5


def plain_ssim(a, b) -> np.ndarray:
    """Wang et al. 2004 word for word, where the 11-pixel Gaussian window fits into the picture."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (sliding_window_view(picture / 255, (11, 11), axis=(0, 1)) for picture in (a, b))

    def mean(values):
        return (values * window).sum(axis=(-2, -1))

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def test_ssim_is_that_of_its_authors():
    """Faint waves, so that constants and window count; the same in the metric and the loss."""
    rows, columns = np.mgrid[:48, :64]
    pictures = np.full((2, 68, 84, 3), 120, np.uint8)  # margins that agree: no say for borders
    waves = 120 + 6 * np.sin(columns / 3) * np.cos(rows / 4)
    noise = np.random.default_rng(0).normal(0, 3, (48, 64, 3))
    pictures[0, 10:58, 10:74] = (waves[..., None] + noise).round()
    pictures[1, 10:58, 10:74] = (waves + 4 * np.sin(columns / 7)).round()[..., None]
    expected = plain_ssim(*pictures)
    rgba = np.dstack([pictures[0], np.full((68, 84), 255, np.uint8)])
    metrics = image_metrics(rgba, pictures[1], np.ones((68, 84), np.uint8))
    assert metrics["ssim"] == pytest.approx(expected.mean(), abs=1e-6)
    loss = ssim_loss(*(torch.from_numpy(picture[None] / 255.0) for picture in pictures))
    assert float(loss) * 68 * 84 == pytest.approx((1 - expected).mean(axis=-1).sum(), rel=1e-5)


def test_tables_mark_roles_and_absent_frames(tmp_path):
    rig, images, masks = scene()
    masks[1] = 0
    rgba = np.concatenate([images, masks[..., None] * np.uint8(255)], axis=-1)
    rgba[0, 5] = 255
    rgba[0, 5, ..., 3] = 0
    views = Views(rig.names, ("1", "5"))
    frames = evaluate_renders(
        enumerate(rgba), stored(images, masks), np.array([True, False, True]), views
    )
    assert list(frames.columns) == ["frame", "source_frame", "camera", "role", "status", *METRICS]
    assert (frames[frames["frame"] == 1]["status"] == "absent").all()
    assert frames[frames["frame"] == 1]["iou"].isna().all()
    table = summarise(frames)
    assert list(table["camera"]) == [*"012345", "mean_observed", "mean_heldout", "mean"]
    by_name = table.set_index("camera")
    assert by_name.loc["0", "n_frames"] == 2
    assert by_name.loc["mean_observed", "iou"] == 1
    assert by_name.loc["5", "iou"] == 0.5
    assert by_name.loc["mean_heldout", "iou"] == 0.75
    assert by_name.loc["mean", "iou"] == pytest.approx(5.5 / 6)
    write_table(tmp_path / "metrics_test.csv", table)
    assert list(pd.read_csv(tmp_path / "metrics_test.csv")["role"].unique()) == [
        "observed",
        "heldout",
        "all",
    ]
    assert typical_frame(frames) in (0, 2)


def test_the_typical_frame_is_the_baselines_where_both_were_tested_on_it():
    def scored(ious: dict[int, float]) -> pd.DataFrame:
        return pd.DataFrame({"frame": ious.keys(), "role": "heldout", "iou": ious.values()})

    ours = scored({4: 0.1, 5: 0.2, 6: 0.3, 7: 0.9})
    assert typical_frame(ours) == 6
    assert typical_frame(ours, scored({3: 0.1, 4: 0.5, 5: 0.3, 6: 0.7, 9: 0.6})) == 4
    assert typical_frame(ours, scored({1: 0.1, 2: 0.5})) == 6


def test_the_hull_is_fatter_in_held_out_cameras():
    rig, images, masks = scene(1)
    views = Views(rig.names, ("1", "5"))
    frames = evaluate_hull(stored(images, masks), rig, still_track([True]), views, [0])
    table = summarise(frames).set_index("camera")
    assert table.loc["mean_observed", "iou"] > 0.97
    assert table.loc["mean_heldout", "iou"] < table.loc["mean_observed", "iou"] - 0.02


def evaluated_in_parts(folder, recording, frames, count):
    """The files and the table that `count` jobs of each stage, and those that gather, make."""
    torch.manual_seed(0)
    model = PoseSplatter(NetworkConfig(0, (8, 16), stride=2, features=4, hidden=8))
    views = Views(recording.rig.names, ("1",))
    names = [f"{n + 1}-of-{count}" for n in range(count)]
    folder.mkdir()
    for name in names:
        chunk = chunk_of(frames, name)
        write_renders(folder / f"renders.{name}.h5", model, recording, chunk, "cpu")
    renders = folder / "renders.h5"
    parts = [folder / f"renders.{name}.h5" for name in names]
    gather_parts(renders, parts, arrays=["images"], numbers="frame_index")
    for name in names:
        part = evaluate_renders(
            read_renders(renders, name), recording.store, recording.track.visible, views
        )
        save_table_part(folder / f"{name}.json", part)
    table = gather_tables([folder / f"{name}.json" for name in names])
    write_table(folder / "cameras.csv", summarise(table))
    return renders.read_bytes(), table, (folder / "cameras.csv").read_bytes()


# Of twelve, two hold no frame of the ten, and the third frame shows no animal.
@pytest.mark.parametrize("count", [3, 8, 12])
def test_renders_and_metrics_are_the_same_in_any_number_of_parts(tmp_path, count):
    recording, frames = balls_recording(np.arange(12), np.zeros(12)), range(2, 12)
    renders, table, cameras = evaluated_in_parts(tmp_path / "whole", recording, frames, 1)
    assert list(table["frame"].unique()) == list(frames)
    assert (table["status"] == "absent").sum() == 5
    others = evaluated_in_parts(tmp_path / "parts", recording, frames, count)
    assert others[0] == renders
    pd.testing.assert_frame_equal(others[1], table, check_exact=True)
    assert others[2] == cameras


@pytest.mark.parametrize("count", [3, 8, 12])
def test_metrics_of_the_hull_are_the_same_in_any_number_of_parts(tmp_path, count):
    """The first of eight parts, and three of twelve, have no rows."""
    recording, frames = balls_recording(np.arange(12), np.zeros(12)), range(2, 12)
    views = Views(recording.rig.names, ("1",))

    def measured(n_parts: int) -> tuple[pd.DataFrame, bytes]:
        folder = tmp_path / str(n_parts)
        folder.mkdir()
        names = [f"{part + 1}-of-{n_parts}" for part in range(n_parts)]
        for name in names:
            chunk = chunk_of(frames, name)
            part = evaluate_hull(recording.store, recording.rig, recording.track, views, chunk)
            save_table_part(folder / f"{name}.json", part)
        table = gather_tables([folder / f"{name}.json" for name in names])
        write_table(folder / "hull_metrics_test.csv", summarise(table))
        return table, (folder / "hull_metrics_test.csv").read_bytes()

    (table, cameras), (others, other_cameras) = measured(1), measured(count)
    assert list(table["frame"].unique()) == list(frames)[1:], "the third frame shows no animal"
    assert other_cameras == cameras
    pd.testing.assert_frame_equal(others, table, check_exact=True)


def test_tables_of_parts_lose_no_digit_and_no_name(tmp_path):
    values = [np.inf, np.nan, 1 / 3, np.nextafter(0.1, 1), 1e-300]
    names = ["NA", "01", "null", "nan", "1e3"]
    whole = pd.DataFrame({"frame": range(5), "camera": names, "psnr": values})
    for n in range(5):
        save_table_part(tmp_path / f"{n}.json", whole[n : n + 1])
    save_table_part(tmp_path / "empty.json", whole[:0])
    parts = [tmp_path / f"{n}.json" for n in ("empty", *range(5))]
    pd.testing.assert_frame_equal(gather_tables(parts), whole, check_exact=True)
    assert gather_tables(parts[:1]).empty
