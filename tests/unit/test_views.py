"""Camera paths: what a moved camera sees can be said by hand."""

from dataclasses import replace

import numpy as np
import pytest

from pose_splatter.cameras import CameraRig
from pose_splatter.views import framed
from pose_splatter.views import orbit as orbit_by_arrays

from ..conftest import look_at

CENTER = np.array([10.0, -20.0, 30.0])


def at(x: float, y: float, z: float) -> np.ndarray:
    """A place, from the centre."""
    return CENTER + np.array([x, y, z])


def orbit(rig, camera, center, yaws, pitches, **offset) -> CameraRig:
    angles = (np.asarray(values, float) for values in (yaws, pitches))
    return orbit_by_arrays(rig, camera, center, *angles, **offset)


def one_camera(eye, target=CENTER) -> CameraRig:
    rotation = look_at(np.asarray(eye, float), np.asarray(target, float))
    return CameraRig(
        names=("a",),
        width=160,
        height=120,
        intrinsics=np.array([[[300.0, 0, 81], [0, 310.0, 57], [0, 0, 1]]]),
        rotations=rotation[None],
        translations=-(rotation @ eye)[None],
        distortions=np.zeros((1, 5)),
    )


@pytest.fixture
def level():
    """100 to the animal's -y side, level with it, looking along +y."""
    return one_camera(at(0, -100, 0))


def test_no_turn_changes_nothing_and_a_full_turn_returns(rig):
    for yaw in (0, 360):
        view = orbit(rig, 2, CENTER, [yaw], [0])
        np.testing.assert_allclose(view.viewmats[0], rig.viewmats[2], atol=1e-9)
        np.testing.assert_array_equal(view.intrinsics[0], rig.intrinsics[2])


@pytest.mark.parametrize(
    ("yaw", "pitch", "place", "ahead"),
    [
        (90, 0, [100, 0, 0], [-1, 0, 0]),
        (180, 0, [0, 100, 0], [0, -1, 0]),
        (0, 90, [0, 0, 100], [0, 0, -1]),
        (0, 30, [0, -100 * np.cos(np.pi / 6), 50], [0, np.cos(np.pi / 6), -0.5]),
        (90, 30, [100 * np.cos(np.pi / 6), 0, 50], [-np.cos(np.pi / 6), 0, -0.5]),
    ],
)
def test_yaw_is_counter_clockwise_and_pitch_lifts(level, yaw, pitch, place, ahead):
    view = orbit(level, 0, CENTER, [yaw], [pitch])
    np.testing.assert_allclose(view.centers[0], at(*place), atol=1e-9)
    np.testing.assert_allclose(view.rotations[0, 2], ahead, atol=1e-9)


def test_the_centre_keeps_its_pixel_and_distance(rig):
    """Of a camera that looks past it, too."""
    yaws, pitches = np.linspace(0, 330, 12), np.linspace(-40, 40, 12)
    views = orbit(rig, 1, CENTER, yaws, pitches)
    pixels, depths = views.project(CENTER)
    before, depth = rig.subset([1]).project(CENTER)
    np.testing.assert_allclose(pixels, np.tile(before, (12, 1)))
    np.testing.assert_allclose(depths, depth[0])
    np.testing.assert_allclose(
        np.linalg.norm(views.centers - CENTER, axis=1), np.linalg.norm(rig.centers[1] - CENTER)
    )
    np.testing.assert_allclose(np.linalg.det(views.rotations), 1)
    assert views.names == tuple(map(str, range(12)))


def test_an_offset_is_along_the_cameras_own_axes(level):
    """Turned to +x and looking along -x: right is +y, down is -z, ahead is -x."""
    view = orbit(level, 0, CENTER, [90], [0], offset=[1, 2, 3])
    np.testing.assert_allclose(view.centers[0], at(100 - 3, 1, -2), atol=1e-9)
    np.testing.assert_allclose(view.rotations, orbit(level, 0, CENTER, [90], [0]).rotations)


def test_framed_views_hold_the_ball_exactly():
    """The tangents of a ball end at the picture's edges, wherever the camera looked before."""
    camera = one_camera(at(0, -100, 0), target=at(20, 0, 10))
    view = framed(camera, CENTER, radius=60, size=200)
    np.testing.assert_allclose(view.centers[0], at(0, -100, 0))
    np.testing.assert_allclose(view.project(CENTER)[0][0], [100, 100])
    # Where a tangent touches: 60² / 100 before the centre, at a height of 60 * 80 / 100.
    right, down = view.rotations[0, :2]
    for direction, edge in ((right, [200, 100]), (-right, [0, 100]), (down, [100, 200])):
        touching = at(0, -36, 0) + 48 * direction
        np.testing.assert_allclose(view.project(touching)[0][0], edge, atol=1e-9)
    assert (view.width, view.height) == (200, 200)


def test_a_camera_within_the_ball_is_refused(level):
    with pytest.raises(ValueError, match="in its ball"):
        framed(level, CENTER, radius=100, size=10)


def test_an_orbit_is_the_rig_turned(level):
    """A whole rig of three turned cameras is the three turns of one camera."""
    rig = replace(orbit(level, 0, CENTER, [0, 120, 240], [0, 0, 0]), names=tuple("abc"))
    once = orbit(rig, 1, CENTER, [120], [0])
    np.testing.assert_allclose(once.viewmats[0], rig.viewmats[2], atol=1e-9)
