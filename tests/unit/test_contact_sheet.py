"""The contact sheet: what is drawn over the pictures lies where the geometry says."""

import numpy as np
import pytest
import zarr
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from pose_splatter.carving import VoxelGrid
from pose_splatter.contact_sheet import (
    GRID_COLOR,
    HEADING_COLOR,
    MASK_COLOR,
    grid_edges,
    heading_arrow,
    plot_contact_sheet,
    read_pictures,
    sample_frames,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore
from pose_splatter.plots import HELDOUT_COLOR
from pose_splatter.tracking import Track

from ..conftest import ring_rig, silhouettes, walking_balls


def animal(visible: np.ndarray, centers: np.ndarray, angles: np.ndarray) -> Track:
    n = len(visible)
    covs, sizes = np.tile(np.eye(3), (n, 1, 1)), np.ones((n, 2))
    return Track(visible, centers, angles, covs, sizes, 2 * sizes)


def test_sampled_frames_show_the_animal():
    visible = np.arange(30) >= 10
    visible[20] = False
    track = animal(visible, np.zeros((30, 3)), np.zeros(30))
    assert sample_frames(track) == [10, 16, 23, 29]
    with pytest.raises(PoseSplatterError, match="no frame shows the animal"):
        sample_frames(animal(~visible & visible, np.zeros((30, 3)), np.zeros(30)))


def test_a_box_turned_by_a_quarter():
    """Twelve edges: four of each length, along the turned axes, about the centre."""
    grid = VoxelGrid((4, 2, 1), 10.0, (-20.0, -10.0, 0.0))
    center = np.array([100.0, 200.0, 300.0])
    edges = grid_edges(grid, center, np.pi / 2)
    directions = (edges[:, 1] - edges[:, 0]).round(6)
    expected = [[0, 40, 0]] * 4 + [[-20, 0, 0]] * 4 + [[0, 0, 10]] * 4
    assert sorted(directions.tolist()) == sorted(expected)
    corners = np.unique(edges.reshape(-1, 3).round(6), axis=0)
    assert len(corners) == 8
    np.testing.assert_allclose(corners.min(axis=0), [90, 180, 300])
    np.testing.assert_allclose(corners.max(axis=0), [110, 220, 310])
    arrow = heading_arrow(center, np.pi / 2, 7.0)
    np.testing.assert_allclose(arrow, [center, center + np.array([0, 7, 0])])


def test_pictures_are_the_videos_own(small_recording):
    """Of the frames asked for, background and all, averaged to the store's size."""
    rig = ring_rig()
    videos = [small_recording / f"video{camera}.mp4" for camera in range(6)]
    pictures = read_pictures(videos, rig, [4, 20], [0] * 6, downsample=2)
    assert pictures.shape == (2, 6, 60, 80, 3)
    assert np.abs(pictures[:, :, :3, :3].astype(int) - 220).max() < 6
    for row, frame in enumerate((4, 20)):
        masks = silhouettes(rig.downsampled(2), walking_balls(30)[frame], radius=16)
        shown = pictures[row][masks > 0].astype(int)
        assert np.abs(shown - [60, 120, 180]).max(axis=-1).mean() < 12


@pytest.fixture
def figure(small_recording):
    rig, balls = ring_rig(), walking_balls(30)
    masks = np.stack([silhouettes(rig, balls[frame], radius=22) for frame in (4, 20)])
    images = np.full((*masks.shape, 3), 90, np.uint8)
    store = FrameStore(zarr.array(images), zarr.array(masks), np.array([8, 40]), rig.names, 1)
    heading = np.linspace(0, 4, 30)[[4, 20]]
    track = animal(np.array([True, True]), balls[[4, 20]].mean(axis=1), heading)
    grid = VoxelGrid.cube(16, 160.0)
    yield plot_contact_sheet(images, [0, 1], store, rig, track, grid, ["2"], "title"), store, rig
    plt.close("all")


def test_outline_box_and_arrow_are_where_the_animal_is(figure):
    sheet, store, rig = figure
    panels = [axis for axis in sheet.axes if axis.images]
    assert len(panels) == 12
    for number, axis in enumerate(panels):
        frame, camera = divmod(number, 6)
        rows, columns = np.nonzero(store.read_masks(frame)[camera])
        outline, box = (
            np.concatenate([path.vertices for path in lines.get_paths()])
            for lines in axis.collections
        )
        colors = [to_hex(lines.get_color()[0]).upper() for lines in axis.collections]
        assert colors == [MASK_COLOR, GRID_COLOR]
        np.testing.assert_allclose(outline.min(axis=0), [columns.min() + 0.5, rows.min() + 0.5])
        np.testing.assert_allclose(outline.max(axis=0), [columns.max() + 0.5, rows.max() + 0.5])
        assert (box.min(axis=0) < outline.min(axis=0)).all()
        assert (box.max(axis=0) > outline.max(axis=0)).all()
        (dot,) = (line for line in axis.lines if line.get_color() == HEADING_COLOR)
        middle = [columns.mean() + 0.5, rows.mean() + 0.5]
        np.testing.assert_allclose(np.ravel(dot.get_xydata()), middle, atol=3)
        (arrow,) = axis.texts
        assert np.linalg.norm(np.subtract(arrow.xy, dot.get_xydata()[0])) > 2
        low, high = np.sort(axis.get_ylim())
        assert low < box[:, 1].min(), "all of the box is shown"
        assert box[:, 1].max() < high
        color = HELDOUT_COLOR if rig.names[camera] == "2" else "#000000"
        assert to_hex(axis.spines["left"].get_edgecolor()).upper() == color.upper()


def test_frames_time_and_headings_are_those_of_the_track(figure):
    sheet, store, _ = figure
    labels = [axis.get_ylabel() for axis in sheet.axes if axis.images]
    assert list(filter(None, labels)) == ["video frame 8", "video frame 40"]
    below = next(axis for axis in sheet.axes if axis.get_title().startswith("centre and heading"))
    path, headings = below.collections
    np.testing.assert_array_equal(path.get_array(), store.source_frames)
    centers = walking_balls(30)[[4, 20]].mean(axis=1)[:, :2]
    np.testing.assert_allclose(path.get_offsets(), centers)
    first, last = np.stack([headings.U, headings.V], axis=1)[[0, -1]]
    expected = np.linspace(0, 4, 30)[[4, 20]]
    np.testing.assert_allclose([first, last], np.stack([np.cos(expected), np.sin(expected)], 1))


def test_held_out_cameras_are_named_and_orange(figure):
    sheet, _, _ = figure
    titles = {a.get_title(): a.title.get_color() for a in sheet.axes if "camera" in a.get_title()}
    assert titles["camera 2\nheld out"] == HELDOUT_COLOR
    assert sum(color == HELDOUT_COLOR for color in titles.values()) == 1
    above = next(axis for axis in sheet.axes if axis.get_title() == "cameras and path from above")
    names = {text.get_text().split("\n")[0]: text.get_color() for text in above.texts}
    assert names["2, held out"] == HELDOUT_COLOR
    assert names["0"] == "black"
