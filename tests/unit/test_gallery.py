"""Frames and views that are shown: which they are, and that they show what is there."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from pose_splatter import novel_views
from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import FrameStore, frame_index, split_frames
from pose_splatter.gallery import Shot, choose_frames, plot_shots, take_shots, write_shots
from pose_splatter.model import NetworkConfig, PoseSplatter, render
from pose_splatter.movies import CAPTION_HEIGHT
from pose_splatter.novel_views import (
    TURNTABLE_VIEWS,
    Flight,
    bullet_time,
    render_views,
    turntable_frame,
)
from pose_splatter.novel_views import turntable as spin
from pose_splatter.plots import HELDOUT_COLOR, save_figure, square_box
from pose_splatter.rendering import decode_frame
from pose_splatter.sides import SIDES, carved_colors, plot_sides, side_view, thickness
from pose_splatter.tracking import Track
from pose_splatter.views import orbit
from pose_splatter.volume import Crop

from ..conftest import ring_rig, silhouettes

RED, BLUE = [210, 40, 30], [30, 40, 210]
LENGTH = 300.0


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Nine moments of a dumbbell, red ahead and blue behind, headed to +y; it is away in the 4th.

    Its red ball is higher; in the last moment it is blue, and the other one red. Video frames are
    30, 33, 36, ...
    """
    rig, center = ring_rig(6), np.array([40.0, -30.0, 20.0])
    ahead = np.array([0.0, 60.0, 0.0])
    red, blue = (center + ahead + [0, 0, 25])[None], (center - ahead)[None]
    near = [silhouettes(rig, ball, radius=30) for ball in (red, blue)]
    link = silhouettes(rig, center + np.linspace(-1, 1, 30)[:, None] * ahead, radius=12)
    masks = np.tile(near[0] | near[1] | link, (9, 1, 1, 1))
    masks[3] = 0
    images = np.full((*masks.shape, 3), 255, np.uint8)
    images[masks > 0] = [120, 120, 120]
    for mask, color in zip(near, (RED, BLUE), strict=True):
        images[:, mask > 0] = color
        images[8, mask > 0] = color[::-1]
    images[3] = 255
    visible = np.arange(9) != 3
    pose = np.where(visible, 1.0, np.nan)
    return Recording(
        name="dumbbell",
        store=FrameStore(zarr.array(images), zarr.array(masks), np.arange(30, 57, 3), rig.names, 1),
        rig=rig,
        track=Track(
            visible,
            pose[:, None] * center,
            pose * np.pi / 2,
            np.tile(np.eye(3), (9, 1, 1)),
            np.tile([90.0, 60.0], (9, 1)),
            np.tile([180.0, 120.0], (9, 1)),
        ),
        crop=Crop(48, LENGTH, ((0, 48), (8, 40), (8, 40)), 1.0, 0.5),
        observed=(0, 1, 2, 4, 5),
        heldout=(3,),
    )


@pytest.fixture(scope="module")
def model() -> PoseSplatter:
    """Untrained: it renders the coloured visual hull."""
    torch.manual_seed(0)
    return PoseSplatter(NetworkConfig(unets=0)).eval()


def metrics(heldout: list[float], observed: list[float]) -> pd.DataFrame:
    rows = [
        {"frame": 4 + n, "role": role, "iou": value}
        for role, values in (("heldout", heldout), ("observed", observed))
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["frame", "role", "iou"])


def test_auto_takes_evenly_spaced_frames_and_the_worst(recording):
    ious = [0.9, 0.8, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    chosen = choose_frames("auto", metrics(ious, ious[::-1]), recording.store)
    assert list(chosen) == [4, 6, 7, 9, 12, 14]
    assert [frame for frame, note in chosen.items() if note] == [7], "of the held-out cameras"
    without = choose_frames("auto", metrics([], ious[::-1]), recording.store)
    assert [frame for frame, note in without.items() if note] == [11]


def test_frames_that_are_asked_for_are_the_videos(recording, caplog):
    table = metrics([0.9], [0.9])
    assert choose_frames([54, 30, 36], table, recording.store) == {0: "", 2: "", 8: ""}
    assert choose_frames([500, 30], table, recording.store) == {0: ""}
    assert "visualization: frames names 500, which is not a frame of this" in caplog.text
    with pytest.raises(PoseSplatterError) as error:
        choose_frames([31], table, recording.store)
    assert str(error.value).startswith(
        "config: visualization: frames names 31, but the recording's frames are 30 to 54 in steps"
    )
    with pytest.raises(PoseSplatterError, match=r"--frame names 500, .* 30 to 54 in steps of 3"):
        frame_index(recording.store.source_frames, 500, "--frame")


def test_shots_are_of_their_frames(recording, model, tmp_path):
    shots = take_shots(
        model, recording, {0: "", 3: "", 7: "the worst one"}, split_frames(9, [0.34, 0.33]), "cpu"
    )
    assert [shot.title for shot in shots] == [
        "video frame 30, training part",
        "video frame 39, validation part",
        "video frame 51, test part, the worst one",
    ]
    assert (shots[1].renders == [255, 255, 255, 0]).all(), "nothing where the animal is not"
    for shot in (shots[0], shots[2]):
        animal = shot.masks > 0
        assert (shot.renders[..., 3][animal] > 127).mean() > 0.9
        error = np.abs(shot.renders[..., :3].astype(int) - shot.images)
        assert error[animal].mean() < 30
    write_shots(tmp_path / "frames", shots, recording.store.cameras, ["3"], "title", dpi=40)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["frame_000030.png", "frame_000039.png", "frame_000051.png"]
    figure = plot_shots(shots, recording.store.cameras, ["3"], "title")
    drawn = np.reshape(figure.axes, (3, 2, 6))
    for shot, rows in zip(shots, drawn, strict=True):
        for row, pictures in zip(rows, (shot.images, shot.renders), strict=True):
            for axis, picture, mask in zip(row, pictures, shot.masks, strict=True):
                expected = picture[square_box(mask)][..., :3]
                np.testing.assert_array_equal(axis.images[0].get_array(), expected)
    colors = [axis.title.get_color() for axis in figure.axes if axis.get_title()]
    assert colors == ["black"] * 3 + [HELDOUT_COLOR] + ["black"] * 2
    save_figure(tmp_path / "grid.png", figure, 40)


def test_a_grid_of_many_shots_shows_some_and_says_so():
    blank = np.zeros((1, 8, 8, 4), np.uint8)
    shots = [Shot(n, f"video frame {n}", blank[..., :3], blank[..., 0], blank) for n in range(28)]
    figure = plot_shots(shots, ["a"], [], "title")
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == [f"video frame {n}" for n in range(0, 28, 3)]
    assert figure.get_suptitle() == "title: 10 of 28 chosen frames, evenly spread"
    assert plot_shots(shots[:10], ["a"], [], "title").get_suptitle() == "title"


# --- novel views -------------------------------------------------------------------------------


def test_an_unmoved_camera_renders_what_the_model_does(recording, model):
    _, gaussians = decode_frame(model, recording, 0, "cpu")
    center = recording.track.centers[0]
    view = orbit(recording.rig, 3, center, np.zeros(1), np.zeros(1))
    ours = render_views(gaussians, view, recording, center)[0]
    viewmats, Ks = (torch.from_numpy(x).float() for x in (view.viewmats, view.intrinsics))
    theirs = render(gaussians, viewmats, Ks, view.width, view.height)
    np.testing.assert_allclose(ours[..., :3] / 255, theirs.images[0], atol=0.003)


def test_magnified_views_have_no_gaps(recording, model):
    """Eight times as many pixels of the same view: the same picture, more finely sampled."""
    _, gaussians = decode_frame(model, recording, 0, "cpu")
    thin = replace(gaussians, scales=gaussians.scales * 0.2)
    center, view = recording.track.centers[0], recording.rig.subset([0])
    fine = replace(
        view,
        width=8 * view.width,
        height=8 * view.height,
        intrinsics=view.intrinsics * np.array([8.0, 8, 1])[:, None],
    )
    plain = render_views(thin, view, recording, center)[0, ..., 3].astype(float)
    zoomed = render_views(thin, fine, recording, center)[0, ..., 3].astype(float)
    averaged = zoomed.reshape(view.height, 8, view.width, 8).mean(axis=(1, 3))
    assert np.abs(averaged - plain).max() < 60
    assert np.abs(averaged - plain).mean() < 0.02 * plain[plain > 127].mean()


def test_absent_animals_are_refused(recording, model):
    with pytest.raises(PoseSplatterError, match="dumbbell: the animal is not in video frame 39"):
        decode_frame(model, recording, 3, "cpu")


def test_flights_keep_the_animal_in_the_middle(recording, model):
    for pictures, count in (
        (list(spin(model, recording, 0, "cpu")), TURNTABLE_VIEWS),
        (list(bullet_time(model, recording, range(9), Flight(), 30.0, "cpu")), 8),
    ):
        assert len(pictures) == count
        for picture in (captioned[CAPTION_HEIGHT:] for captioned in pictures):
            rows, columns = np.nonzero((picture < 200).any(axis=-1))
            height, width = picture.shape[:2]
            assert abs(rows.mean() - height / 2) < 0.12 * height
            assert abs(columns.mean() - width / 2) < 0.12 * width
            edges = np.concatenate([picture[[0, -1]].ravel(), picture[:, [0, -1]].ravel()])
            assert (edges == 255).all(), "all of it is shown"
    assert np.abs(pictures[0].astype(int) - pictures[4]).mean() > 1, "from the other side"


def test_flights_show_the_grid_wherever_it_lies(recording, model):
    """The same voxels, told from a quarter of their length ahead: the same pictures."""
    crop = Crop(96, 2 * LENGTH, ((12, 60), (32, 64), (32, 64)), 1.0, 0.5)
    ahead = np.array([0, LENGTH / 4, 0])  # it heads for +y
    track = replace(recording.track, centers=recording.track.centers + ahead)
    moved = replace(recording, crop=crop, track=track)
    turntables = [list(spin(model, which, 0, "cpu")) for which in (recording, moved)]
    flights = [
        list(bullet_time(model, which, range(3), Flight(turns=0.1), 30.0, "cpu"))
        for which in (recording, moved)
    ]
    for one, other in (*zip(*turntables, strict=True), *zip(*flights, strict=True)):
        assert np.abs(one.astype(int) - other).mean() < 0.005


def test_time_runs_in_a_flight(recording, model, monkeypatch):
    """Of a camera that stands still, the last moment has its colours the other way round."""
    texts = []
    monkeypatch.setattr(
        novel_views, "captioned", lambda picture, text: texts.append(text) or picture
    )
    still = Flight(turns=0.0)
    first, last = bullet_time(model, recording, [0, 3, 8], still, 30.0, "cpu")
    assert texts == ["video frame 30, 1.00 s", "video frame 54, 1.80 s"]
    (unmoved,) = bullet_time(model, recording, [0], still, 0.0, "cpu")
    np.testing.assert_array_equal(first, unmoved)
    assert texts[2] == "video frame 30", "of videos without a frame rate"
    assert np.abs(first.astype(int) - last).mean() > 1
    assert np.abs(first.astype(int) - last[..., ::-1]).mean() < 0.1


def test_a_flight_rises_and_sinks_once_a_turn():
    flight = Flight(turns=-2.0, pitch=(-10.0, 30.0))
    angles = [flight.angles(share) for share in (0, 0.125, 0.25, 0.375, 0.5)]
    expected = [(0, 10), (-90, -10), (-180, 10), (-270, 30), (-360, 10)]
    np.testing.assert_allclose(angles, expected, atol=1e-9)


def test_a_turntable_shows_the_frame_that_is_asked_for(recording, caplog):
    table = metrics([0.1, 0.5, 0.9], [])
    baseline = metrics([0.9, 0.5, 0.6], [])
    assert turntable_frame(36, recording, table, baseline) == 2
    assert turntable_frame("auto", recording, table, None) == 5
    assert turntable_frame("auto", recording, table, baseline) == 6
    assert not caplog.text
    for number in (31, 39):  # no frame of it, and one without the animal
        assert turntable_frame(number, recording, table, baseline) == 6
        assert f"turntable names {number}, in which this recording has no animal" in caplog.text


# --- three sides -------------------------------------------------------------------------------


def center_of(weights: np.ndarray, extent: tuple[float, float, float, float]) -> np.ndarray:
    """The middle of a picture's weights in its axes' coordinates, right and up."""
    left, right, bottom, top = extent
    rows, columns = (np.arange(n) + 0.5 for n in weights.shape)
    x = left + (right - left) * (weights.sum(axis=0) @ columns) / weights.sum() / len(columns)
    y = top - (top - bottom) * (weights.sum(axis=1) @ rows) / weights.sum() / len(rows)
    return np.array([x, y])


@pytest.mark.parametrize(
    ("side", "red", "blue"),
    [(0, [60, 25], [-60, 0]), (1, [0, 25], None), (2, [60, 0], [-60, 0])],
    ids=["right", "front", "above"],
)
def test_ahead_up_and_left_are_where_the_axes_say(recording, model, side, red, blue):
    """Both in the carved colours and in the Gaussians; from the front, red hides blue."""
    volume, gaussians = decode_frame(model, recording, 0, "cpu")
    seen = SIDES[side]
    view = side_view(volume, seen)
    splats = render_views(gaussians, view, recording, volume.center.double().numpy())
    extent = seen.bounds(recording.crop.grid)
    assert view.width / view.height == pytest.approx(
        (extent[1] - extent[0]) / (extent[3] - extent[2])
    )
    for picture in (carved_colors(volume, seen), splats[0, ..., :3] / 255):
        excess = picture[..., 0] - picture[..., 2]
        np.testing.assert_allclose(center_of(excess.clip(0.3) - 0.3, extent), red, atol=12)
        if blue:
            np.testing.assert_allclose(center_of((-excess).clip(0.3) - 0.3, extent), blue, atol=12)


def test_left_is_left():
    """What lies to the animal's left is at the right of a picture from the front, and above."""
    front, above = SIDES[1].rotation, SIDES[2].rotation
    left = np.array([0, 1, 0])
    assert (front @ left).tolist() == [1, 0, 0]
    assert (above @ left).tolist() == [0, -1, 0]
    for side in SIDES:
        assert np.linalg.det(side.rotation) == pytest.approx(1)


def test_thickness_is_a_length(recording):
    """The same volume whichever way it is summed; as long as its solid balls are thick."""
    volume = carve_frame(recording, 0, recording.observed)
    solid = (volume.features[:, 0].numpy() == 1).astype(float)
    sums = [thickness(volume, solid, side) for side in SIDES]
    cube = volume.voxel_size**2
    for image in sums:
        assert image.sum() * cube == pytest.approx(solid.sum() * volume.voxel_size**3)
    assert sums[2].max() == pytest.approx(60, abs=25), "a ball of radius 30, and what is fat of it"


def test_sides_are_drawn(recording, model, tmp_path):
    volume, gaussians = decode_frame(model, recording, 0, "cpu")
    faint = replace(gaussians, opacities=gaussians.opacities * 0.1)
    figure = plot_sides(volume, faint, recording, "title")
    rows = np.reshape([axis for axis in figure.axes if axis.images], (4, 3))
    for axis, side in zip(rows.T, SIDES, strict=True):
        carved, colors, refined, splats = (a.images[0] for a in axis)
        expected = {
            carved: thickness(volume, volume.features[:, 0].double().numpy(), side),
            refined: thickness(volume, faint.opacities.double().numpy(), side),
        }
        for shown, values in expected.items():
            np.testing.assert_allclose(shown.get_array(), values)
            assert shown.get_clim() == (0, LENGTH / 2), "the same for every model"
        np.testing.assert_array_equal(colors.get_array(), carved_colors(volume, side))
        assert splats.get_array().shape[2] == 3
    save_figure(tmp_path / "volumes.png", figure, 40)
    assert (tmp_path / "volumes.png").stat().st_size > 5000
