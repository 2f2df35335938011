"""The crop: multiples of 16, as small as it may be, as much of the hull as is asked for."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore
from pose_splatter.tracking import BEYOND, Track
from pose_splatter.volume import (
    Crop,
    HullSum,
    choose_crop,
    covered_share,
    load_crop,
    load_hull_sum,
    make_crop,
    measure_length,
    measure_reach,
    save_crop,
    save_hull_sum,
    search_grid,
    sum_hulls,
)

from ..conftest import silhouettes


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.9, 1.0),
    st.lists(st.tuples(st.integers(0, 47), st.integers(1, 48)), min_size=3, max_size=3),
    st.sampled_from([16, 32, 48]),
)
def test_crop_keeps_what_it_promises(seed, coverage, spans, largest):
    """If its edges may be so long; an edge that may not keeps what so many voxels can."""
    volume = np.zeros((48, 48, 48), np.int64)
    box = tuple(slice(a, min(a + b, 48)) for a, b in spans)
    volume[box] = np.random.default_rng(seed).integers(0, 5, volume[box].shape)
    volume[tuple(s.start for s in box)] += 1
    crop = choose_crop(volume, coverage, largest)
    for axis, (start, stop) in enumerate(crop):
        profile = volume.sum(axis=tuple({0, 1, 2} - {axis}))
        held = [profile[n : n + largest].sum() for n in range(49 - largest)]
        enough = profile.sum() * (1 - (1 - coverage) / 3) - 1e-6
        assert profile[start:stop].sum() >= min(enough, max(held))
    if all(stop - start < largest for start, stop in crop):
        assert covered_share(volume, crop) >= coverage - 1e-9
    for (start, stop), span in zip(crop, box, strict=True):
        assert 0 <= start < stop <= 48
        assert (stop - start) % 16 == 0
        assert stop - start < span.stop - span.start + 16


def test_nothing_to_crop_is_an_error():
    with pytest.raises(PoseSplatterError, match="no training frame"):
        choose_crop(np.zeros((16, 16, 16), np.int64), 0.999, 16)


def test_parts_add_up_and_round_trip(tmp_path):
    counts = np.zeros((64, 64, 64), np.int32)
    counts[3:12, 10:20, 14:18] = 1
    save_hull_sum(tmp_path / "a.npz", HullSum(counts, 32, 64.0, grey=3 * 255 * 30, pixels=100))
    total = HullSum.add([load_hull_sum(tmp_path / "a.npz")] * 2)
    crop = make_crop(total, 1.0, "auto")
    assert total.counts.sum() == 2 * counts.sum()
    assert crop.fill_color == pytest.approx(0.3)
    save_crop(tmp_path / "crop.json", crop)
    assert load_crop(tmp_path / "crop.json") == crop


def still(n_frames: int) -> Track:
    shapes = (3,), (), (3, 3), (2,), (2,)
    return Track(np.ones(n_frames, bool), *(np.zeros((n_frames, *shape)) for shape in shapes))


def test_the_cube_is_as_long_as_the_animal_in_nearly_all_frames():
    animal = still(100)
    animal.spans[:] = np.array([60.0, 20.0])
    animal.spans[:4] = np.array([60.0, 80.0])  # it rears
    animal.spans[50] = np.array([500.0, 20.0])  # a mask is wrong
    animal.spans[90:] = np.array([900.0, 900.0])  # not of the training frames
    animal.visible[0] = False
    animal.spans[0] = np.nan
    assert measure_length(animal, range(90)) == 80.0
    with pytest.raises(PoseSplatterError, match="no training frame"):
        measure_length(animal, range(1))


def test_a_box_is_looked_for_as_far_as_the_hulls_reach():
    animal = still(100)
    animal.radii[:] = np.array([40.0, 10.0])
    animal.radii[7], animal.radii[8] = np.array([50.0, 20.0]), np.array([45.0, 30.0])
    animal.radii[90:] = np.array([900.0, 900.0])  # not of the training frames
    animal.visible[0] = False
    animal.radii[0] = np.nan
    assert measure_reach(animal, range(90)) == (BEYOND * 50.0, BEYOND * 30.0)
    with pytest.raises(PoseSplatterError, match="no training frame"):
        measure_reach(animal, range(1))


def test_the_search_holds_the_hulls_and_any_box_around_them_but_not_any_error():
    grid = search_grid(32, 64.0, (41.0, 10.0))  # 41 and 10 voxels from side to side
    assert grid.shape == (48, 48, 16)
    assert grid.lower == (-48.0, -48.0, -16.0)
    assert grid.voxel_size == 2.0
    assert search_grid(32, 64.0, (900.0, 700.0)).shape == (64, 64, 64)
    for size in grid.shape:  # however much of it is full, its box lies in it
        box = choose_crop(np.ones((size,) * 3, np.int32), 1.0, 96)
        assert box == ((0, size),) * 3


@pytest.mark.parametrize("behind", [0, 12, 24])
def test_a_box_goes_where_the_animal_is_if_behind_the_cube(rig, behind):
    """A ball of 20 about a point that lies so many voxels of 5 units behind the tracked centre."""
    ball = np.array([[-5.0 * behind, 0, 0]])
    masks = np.stack([silhouettes(rig, ball, 20)])
    images = np.full((*masks.shape, 3), 90, np.uint8)
    store = FrameStore(zarr.array(images), zarr.array(masks), np.arange(1), rig.names, 1)
    reach = BEYOND * (5.0 * behind + 20), BEYOND * 20.0
    total = sum_hulls(store, rig, list(range(6)), still(1), range(1), 32, 160.0, reach)
    crop = make_crop(total, 1.0, "auto")
    assert total.counts.shape == search_grid(32, 160.0, reach).shape
    assert crop.coverage == 1.0
    assert (crop.grid_size, crop.length) == (32, 160.0)
    assert crop.grid.shape == (16, 16, 16)
    np.testing.assert_allclose(crop.grid.middle, ball[0], atol=6)
    assert crop.box[0] == (8 - behind, 24 - behind)


def test_a_box_is_little_longer_than_the_animal(caplog):
    """It keeps the trunk and what it can of the tail, and says how much that is not."""
    counts = np.zeros((64, 64, 64), np.int32)
    counts[4:60, 28:36, 28:36] = 1
    counts[40:60, 28:36, 28:36] = 5
    crop = make_crop(HullSum(counts, 32, 64.0, grey=1, pixels=1), 0.999, 0.5)
    assert crop.box == ((12 - 16, 60 - 16), (24 - 16, 40 - 16), (24 - 16, 40 - 16))
    assert crop.coverage == pytest.approx(1 - 8 / (36 + 5 * 20))
    assert "loses 5.9 % of the animal's hulls: give a larger ell than 64 in" in caplog.text


def test_a_box_that_fits_is_no_warning(caplog):
    """Nor is one that loses less than twice what it may."""
    counts = np.zeros((64, 64, 64), np.int32)
    counts[8:56, 28:36, 28:36] = 1000
    counts[7, 28:36, 28:36] = 70
    crop = make_crop(HullSum(counts, 32, 64.0, grey=1, pixels=1), 0.999, 0.5)
    assert crop.box[0] == (8 - 16, 56 - 16)
    assert 0.998 < crop.coverage < 0.999
    assert not caplog.records


def test_a_box_that_may_lie_anywhere_lies_in_the_middle():
    """Where the hulls fill all that was searched, as with an ell far too small."""
    assert choose_crop(np.ones((64, 64, 64), np.int32), 0.999, 48) == ((8, 56),) * 3


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
    animal = still(3)
    cameras = [0, 2, 3]
    total = sum_hulls(store, rig, cameras, animal, range(3), 16, 120.0, (40.0, 40.0))
    assert total.grey == images[:, cameras][masks[:, cameras] > 0].astype(int).sum()
    assert total.pixels == masks[:, cameras].sum()
