"""The crop: multiples of 16, as small as it may be, as much of the hull as is asked for."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore
from pose_splatter.tracking import Track
from pose_splatter.volume import (
    Crop,
    HullSum,
    choose_crop,
    covered_share,
    load_crop,
    load_hull_sum,
    make_crop,
    save_crop,
    save_hull_sum,
    sum_hulls,
)

from ..conftest import silhouettes


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.9, 1.0),
    st.lists(st.tuples(st.integers(0, 47), st.integers(1, 48)), min_size=3, max_size=3),
)
def test_crop_keeps_what_it_promises(seed, coverage, spans):
    volume = np.zeros((48, 48, 48), np.int64)
    box = tuple(slice(a, min(a + b, 48)) for a, b in spans)
    volume[box] = np.random.default_rng(seed).integers(0, 5, volume[box].shape)
    volume[tuple(s.start for s in box)] += 1
    crop = choose_crop(volume, coverage)
    assert covered_share(volume, crop) >= coverage - 1e-9
    for (start, stop), span in zip(crop, box, strict=True):
        assert 0 <= start < stop <= 48
        assert (stop - start) % 16 == 0
        assert stop - start < span.stop - span.start + 16


def test_nothing_to_crop_is_an_error():
    with pytest.raises(PoseSplatterError, match="no training frame"):
        choose_crop(np.zeros((16, 16, 16), np.int64), 0.999)


def test_parts_add_up_and_round_trip(tmp_path):
    counts = np.zeros((32, 32, 32), np.int64)
    counts[3:12, 10:20, 14:18] = 1
    save_hull_sum(tmp_path / "a.npz", HullSum(counts, 64.0, grey=3 * 255 * 30, pixels=100))
    total = HullSum.add([load_hull_sum(tmp_path / "a.npz")] * 2)
    crop = make_crop(total, 1.0, "auto")
    assert total.counts.sum() == 2 * counts.sum()
    assert crop.fill_color == pytest.approx(0.3)
    save_crop(tmp_path / "crop.json", crop)
    assert load_crop(tmp_path / "crop.json") == crop


def test_crop_grid_lies_where_the_indices_say():
    crop = Crop(32, 64.0, ((0, 16), (16, 32), (8, 24)), 1.0, 0.5)
    assert crop.grid.shape == (16, 16, 16)
    assert crop.grid.lower == (-32.0, 0.0, -16.0)
    np.testing.assert_allclose(crop.grid.positions(np.array([[0, 0, 0]])), [[-31, 1, -15]])


def test_sums_of_hulls_are_whole_numbers(rig):
    """So that they are the same in any number of parts: no training starts for a last digit."""
    masks = np.stack([silhouettes(rig, np.zeros((1, 3)), 40)] * 3)
    images = np.random.default_rng(0).integers(0, 255, (*masks.shape, 3), np.uint8)
    store = FrameStore(zarr.array(images), zarr.array(masks), np.arange(3), rig.names, 1)
    poses = np.zeros((3, 3)), np.zeros(3), np.zeros((3, 3, 3)), np.ones((3, 2))
    animal = Track(np.ones(3, bool), *poses)
    cameras = [0, 2, 3]
    total = sum_hulls(store, rig, cameras, animal, range(3), 16, 120.0)
    assert total.grey == images[:, cameras][masks[:, cameras] > 0].astype(int).sum()
    assert total.pixels == masks[:, cameras].sum()
