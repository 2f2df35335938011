"""Metrics by hand, and tables with held-out cameras apart."""

import numpy as np
import pandas as pd
import pytest
import zarr

from pose_splatter.evaluation import (
    METRICS,
    Views,
    evaluate_renders,
    image_metrics,
    summarise,
    typical_frame,
    write_table,
)
from pose_splatter.frames import FrameStore
from pose_splatter.hull import evaluate_hull
from pose_splatter.tracking import Track

from ..conftest import ring_rig, silhouettes


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


def test_the_hull_is_fatter_in_held_out_cameras():
    rig, images, masks = scene(1)
    views = Views(rig.names, ("1", "5"))
    frames = evaluate_hull(stored(images, masks), rig, still_track([True]), views, [0])
    table = summarise(frames).set_index("camera")
    assert table.loc["mean_observed", "iou"] > 0.97
    assert table.loc["mean_heldout", "iou"] < table.loc["mean_observed", "iou"] - 0.02
