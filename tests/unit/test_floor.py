"""The floor is found by shadows on it, and tells them from fur that looks the same."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pose_splatter.cameras import filmed_pixels, filmed_rays
from pose_splatter.segmentation.background import Background, background_of
from pose_splatter.segmentation.floor import (
    Floor,
    FloorViews,
    find_floor,
    load_floor,
    save_floor,
)
from pose_splatter.segmentation.foreground import (
    Change,
    ForegroundSettings,
    calibrate_shadows,
)
from pose_splatter.segmentation.recording import (
    BackgroundSegmenter,
    filmed_center,
    find_recording_floor,
)

from ..conftest import ring_rig, walking_balls, write_video

UP = np.array([0.05, -0.08, 1.0]) / np.linalg.norm([0.05, -0.08, 1.0])
BELOW = np.array([0.0, 0.0, -35.0])  # a point of the floor, on which the balls' centres are not
LIGHT = np.array([1.2, -0.7, -1.0])  # the way it falls
SHADE, RARE = 0.5, 0.72  # of the floor's brightness, in shadow; in every sixth frame
ODD = slice(3, None, 6)
SETTINGS = ForegroundSettings()
LENSES = {
    "pinhole": {},
    "distorted": {"distortions": np.tile([-0.25, 0.08, 0.002, -0.001, 0.0], (6, 1))},
    "fisheye": {
        "distortions": np.tile([0.05, -0.02, 0.01, 0.0, 0.0], (6, 1)),
        "fisheye": tuple("012345"),
    },
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Pictures of 160 pixels show no more of the floor than this."""
    monkeypatch.setattr("pose_splatter.segmentation.floor.CELLS", 50)


def lens_rig(lens: str):
    """A ring of six cameras, with skew too."""
    rig = replace(ring_rig(), **LENSES[lens])
    rig.intrinsics[:, 0, 1] = 4.0
    return rig


def on_floor(points: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Where rays from points meet the floor."""
    far = ((BELOW - points) @ UP) / (along @ UP)
    return points + far[..., None] * along


def walk(n_frames: int) -> np.ndarray:
    """(frame ball 3): balls that walk on the floor."""
    balls = walking_balls(n_frames)
    return balls + (on_floor(balls, -UP * np.ones_like(balls)) + 22 * UP - balls)


def cast_shadows(rig, balls: np.ndarray, radius: float = 22) -> np.ndarray:
    """(camera h w): where the floor is in the balls' shadow, behind the balls too."""
    around = np.linspace(0, 2 * np.pi, 40)
    across = np.linalg.svd(LIGHT[None])[2][1:]
    ring = np.cos(around)[:, None] * across[0] + np.sin(around)[:, None] * across[1]
    shadows = np.zeros((len(rig), rig.height, rig.width), np.uint8)
    for ball in balls:
        outline = on_floor(ball + radius * ring, np.tile(LIGHT, (40, 1)))
        for camera in range(len(rig)):
            pixels = ((filmed_pixels(rig, camera, outline) - 0.5) * 16).round().astype(np.int32)
            cv2.fillConvexPoly(shadows[camera], pixels, 1, shift=4)
    return shadows


def film(rig, balls: np.ndarray, radius: float = 22) -> np.ndarray:
    """(camera h w): the balls, through the lens."""
    masks = np.zeros((len(rig), rig.height, rig.width), np.uint8)
    for camera in range(len(rig)):
        _, depths = rig.subset([camera]).project(balls)
        pixels = filmed_pixels(rig, camera, balls)
        for (u, v), depth in zip(pixels, depths[0], strict=True):
            center = (round((u - 0.5) * 16), round((v - 0.5) * 16))
            size = round(radius * rig.intrinsics[camera, 0, 0] / depth * 16)
            cv2.circle(masks[camera], center, size, 1, thickness=-1, shift=4)
    return masks


def tilt(floor: Floor) -> float:
    return float(np.degrees(np.arccos(np.clip(floor.normal @ UP, -1, 1))))


@pytest.mark.parametrize("lens", LENSES)
def test_rays_are_what_pixels_see(lens):
    rig = lens_rig(lens)
    pixels = np.random.default_rng(0).uniform([20, 20], [140, 100], (50, 2))
    kept = pixels.copy()
    for camera in range(6):
        points = rig.centers[camera] + 700 * filmed_rays(rig, camera, pixels)
        np.testing.assert_allclose(filmed_pixels(rig, camera, points), pixels, atol=1e-3)
    assert np.array_equal(pixels, kept)


@pytest.mark.parametrize("lens", LENSES)
def test_a_centre_is_found_through_any_lens(lens):
    rig, point = lens_rig(lens), np.array([30.0, -20.0, 10.0])
    middles = np.concatenate([filmed_pixels(rig, camera, point[None]) for camera in range(6)])
    middles[2] = np.nan
    np.testing.assert_allclose(filmed_center(rig, middles), point, atol=0.1)
    middles[1:] = np.nan
    assert filmed_center(rig, middles) is None


@pytest.mark.parametrize("lens", LENSES)
def test_the_floor_is_where_shadows_meet(lens):
    rig = lens_rig(lens)
    balls = walk(4)
    shadows = np.stack([cast_shadows(rig, frame) for frame in balls]).astype(np.float32)
    floor = find_floor(rig, shadows, 1, balls.mean(axis=1))
    assert floor.agreement > 0.5
    assert tilt(floor) < 1.0
    assert abs((floor.point - BELOW) @ UP) < 2.0


def test_where_shadows_do_not_meet_there_is_no_floor():
    """Cameras that are turned against each other, as no plane can join what they see."""
    rig, balls = ring_rig(), walk(4)
    shadows = np.stack([cast_shadows(rig, frame) for frame in balls]).astype(np.float32)
    shadows[:, 1::2] = shadows[:, 1::2, ::-1, ::-1]
    shadows[:, 2] = np.roll(shadows[:, 2], 9, axis=0)
    path = balls.mean(axis=1)
    assert find_floor(rig, shadows, 1, path) is None
    assert find_floor(rig, 0 * shadows, 1, path) is None
    assert find_floor(rig, shadows, 1, path[:0]) is None
    assert find_floor(rig.subset([0, 1]), shadows[:, :2], 1, path) is None


def test_a_floor_is_kept_in_a_file(tmp_path):
    save_floor(tmp_path / "floor.npz", Floor(UP, BELOW, 0.5))
    kept = load_floor(tmp_path / "floor.npz")
    assert np.array_equal(kept.normal, UP)
    assert np.array_equal(kept.point, BELOW)
    assert kept.agreement == 0.5
    save_floor(tmp_path / "none.npz", None)
    assert load_floor(tmp_path / "none.npz") is None


@pytest.fixture(scope="module")
def filmed():
    """Pictures (frame camera h w 3) and masks (frame camera h w) of balls on a speckled floor; now
    and then their shadow is paler."""
    rig, balls = lens_rig("distorted"), walk(12)
    rng = np.random.default_rng(0)
    speckles = cv2.GaussianBlur(rng.normal(0, 40, (400, 400)).astype(np.float32), (0, 0), 2) + 150
    first, second = Floor(UP, BELOW, 1.0).axes
    ground = []
    for camera in range(6):
        rows, columns = np.mgrid[: rig.height, : rig.width]
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5
        seen = on_floor(rig.centers[camera], filmed_rays(rig, camera, pixels)) - BELOW
        places = np.stack([seen @ first, seen @ second], axis=-1) / 2.5 + 200
        places = places.reshape(rig.height, rig.width, 2).astype(np.float32)
        ground.append(cv2.remap(speckles, places, None, cv2.INTER_LINEAR, borderValue=150.0))
    ground = np.stack(ground)[..., None] * [1.0, 0.95, 0.85]
    pictures, masks = [], []
    shades = np.full(len(balls), SHADE)
    shades[ODD] = RARE
    for frame, shade in zip(balls, shades, strict=True):
        mask = film(rig, frame)
        picture = ground * np.where(cast_shadows(rig, frame), shade, 1.0)[..., None]
        picture = np.where(mask[..., None] > 0, [60.0, 20.0, 90.0], picture)
        picture += rng.normal(0, 2, picture.shape)
        pictures.append(picture.round().clip(0, 255).astype(np.uint8))
        masks.append(mask)
    return rig, balls, np.stack(pictures), np.stack(masks)


@pytest.fixture(scope="module")
def cameras(filmed):
    """What each camera sees without the balls, and how their shadows look in it."""
    return [
        calibrate_shadows(list(views), background_of(views), SETTINGS)
        for views in filmed[2].swapaxes(0, 1)
    ]


def iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(frame camera)"""
    both, either = ((masks > 0) & (truth > 0)), ((masks > 0) | (truth > 0))
    return both.sum(axis=(2, 3)) / either.sum(axis=(2, 3))


def test_a_rare_shadow_is_told_by_the_floor(filmed, cameras):
    rig, _, pictures, truth = filmed
    alone = BackgroundSegmenter(cameras, SETTINGS)
    views = FloorViews.of(rig, Floor(UP, BELOW, 1.0), [0, 2, 3, 5])
    wrong = FloorViews.of(rig, Floor(UP, BELOW + 60 * UP, 1.0), [0, 2, 3, 5])
    scores = {
        name: np.median(
            iou(np.stack([segmenter(list(frame)) for frame in pictures[ODD]]), truth[ODD])
        )
        for name, segmenter in {
            "alone": alone,
            "floor": replace(alone, floor=views),
            "wrong floor": replace(alone, floor=wrong),
        }.items()
    }
    print(scores)
    assert scores["floor"] > scores["alone"] + 0.1
    assert scores["floor"] > scores["wrong floor"] + 0.05


@pytest.mark.parametrize("lens", LENSES)
def test_cameras_are_sent_where_others_see_the_same_floor(lens):
    rig, observed = lens_rig(lens), [0, 2, 3, 5]
    places = FloorViews.of(rig, Floor(UP, BELOW, 1.0), observed).places
    row, column = 17, 22  # of every fourth pixel: the middle of the floor
    for camera in range(6):
        pixel = (np.array([[column, row]]) + 0.5) * 4
        point = on_floor(rig.centers[camera], filmed_rays(rig, camera, pixel))
        for index, other in enumerate(observed):
            expected = filmed_pixels(rig, other, point)[0] - 0.5
            np.testing.assert_allclose(places[camera, index, row, column], expected, atol=0.02)


def test_shade_is_dark_and_at_one_place_of_the_floor_for_all_cameras():
    """Beside a shadow, a patch of light that all see alike, and fur that one camera alone sees."""
    rig, along = lens_rig("pinhole"), 100 * Floor(UP, BELOW, 1.0).axes[0]
    shadow, light = (cast_shadows(rig, (BELOW + aside)[None]) > 0 for aside in (along, -along))
    pictures = np.full((*shadow.shape, 3), 120, np.uint8)
    pictures[shadow], pictures[light] = 60, 200
    pictures[2, 55:65, 75:85] = 60  # fur
    flat = np.full((*shadow.shape[1:], 3), 120, np.float32)
    empty = Background(flat, np.ones(shadow.shape[1:], np.float32))
    changes = [Change.of(picture, empty, SETTINGS) for picture in pictures]
    found = np.zeros_like(shadow)
    shaded = FloorViews.of(rig, Floor(UP, BELOW, 1.0), [0, 2, 3, 5]).shaded(changes)
    for view, change, floor in zip(found, changes, shaded, strict=True):
        view[change.box] = floor
    for camera in range(6):
        inner = cv2.erode(shadow[camera].view(np.uint8), np.ones((5, 5))) > 0
        assert found[camera, inner].mean() > 0.9
        assert not found[camera, light[camera]].any()
    assert not found[2, 57:63, 77:83].any()


def test_held_out_cameras_do_not_change_the_masks_of_others(filmed, cameras):
    rig, _, pictures, _ = filmed
    views = FloorViews.of(rig, Floor(UP, BELOW, 1.0), [0, 2, 3, 5])
    segmenter = BackgroundSegmenter(cameras, SETTINGS, views)
    blinded = pictures[9].copy()
    blinded[[1, 4]] = 128
    np.testing.assert_array_equal(
        segmenter(list(blinded))[[0, 2, 3, 5]], segmenter(list(pictures[9]))[[0, 2, 3, 5]]
    )


def test_a_recording_shows_its_floor(filmed, cameras, tmp_path):
    rig, _, pictures, _ = filmed
    videos = [tmp_path / f"{camera}.mp4" for camera in range(6)]
    for video, views in zip(videos, pictures.swapaxes(0, 1), strict=True):
        write_video(video, views, crf=8)
    segmenter = BackgroundSegmenter(cameras, SETTINGS)
    videos[1].unlink()  # held out, so not looked at
    floor = find_recording_floor(rig, [0, 2, 3, 4, 5], videos, segmenter, [0] * 6, range(12))
    assert tilt(floor) < 2.0
    assert abs((floor.point - BELOW) @ UP) < 4.0
