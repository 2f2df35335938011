"""Cameras: projection and distortion by hand, the file, up from a path."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pose_splatter import cameras
from pose_splatter.cameras import CameraRig
from pose_splatter.errors import PoseSplatterError

from ..conftest import ring_rig


def test_projection_by_hand():
    rig = CameraRig(
        names=("a",),
        width=100,
        height=80,
        intrinsics=np.array([[[200.0, 0, 50], [0, 100.0, 40], [0, 0, 1]]]),
        rotations=np.eye(3)[None],
        translations=np.array([[0.0, 0, 10]]),
        distortions=np.zeros((1, 5)),
    )
    pixels, depths = rig.project(np.array([[1.0, 2.0, 0.0]]))
    np.testing.assert_allclose(pixels, [[[70.0, 60.0]]])
    np.testing.assert_allclose(depths, [[10.0]])
    np.testing.assert_allclose(rig.centers, [[0, 0, -10]])


@given(st.integers(1, 8))
def test_downsampling_divides_pixels_exactly(factor):
    rig = ring_rig()
    points = np.random.default_rng(0).uniform(-100, 100, (5, 3))
    full, small = rig.project(points)[0], rig.downsampled(factor).project(points)[0]
    np.testing.assert_allclose(small * factor, full)


@pytest.mark.parametrize("fisheye", [(), ("2", "4")])
def test_cameras_file_keeps_everything(tmp_path, rig, fisheye):
    written = replace(rig, distortions=np.arange(48.0).reshape(6, 8), fisheye=fisheye)
    cameras.save_cameras(tmp_path / "cameras.h5", written)
    read = cameras.load_cameras(tmp_path / "cameras.h5")
    for field in fields(CameraRig):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(written, field.name))


def test_a_bit_flipped_in_a_camera_is_named(tmp_path, rig):
    path = tmp_path / "cameras.h5"
    cameras.save_cameras(path, rig)
    content = bytearray(path.read_bytes())
    content[content.index(rig.translations.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(PoseSplatterError, match=r"cameras\.h5: the file is damaged .* delete"):
        cameras.load_cameras(path)


def test_undistortion_maps_agree_with_distortion_by_hand(rig):
    """The map at a pinhole pixel is where Brown's model, with skew, puts the same ray."""
    k1, p1, skew = -0.2, 0.003, 4.0
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 1] = skew
    distorted = CameraRig(
        rig.names,
        rig.width,
        rig.height,
        intrinsics,
        rig.rotations,
        rig.translations,
        np.tile([k1, 0, p1, 0, 0], (len(rig), 1)),
    )
    map_x, map_y = cameras.undistortion_maps(distorted, 0)
    column, row = 120, 90
    fx, fy, cx, cy = rig.intrinsics[0, [0, 1, 0, 1], [0, 1, 2, 2]]
    x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
    r2 = x * x + y * y
    xd = x * (1 + k1 * r2) + 2 * p1 * x * y
    yd = y * (1 + k1 * r2) + p1 * (r2 + 2 * y * y)
    assert map_x[row, column] == pytest.approx(fx * xd + skew * yd + cx - 0.5, abs=1e-3)
    assert map_y[row, column] == pytest.approx(fy * yd + cy - 0.5, abs=1e-3)
    assert cameras.undistortion_maps(rig, 0) is None


@pytest.mark.parametrize("fisheye", [False, True])
@pytest.mark.parametrize("skew", [0.0, 4.0])
def test_filmed_pixels_are_what_the_maps_undo(rig, fisheye, skew):
    """The pixel that the maps fetch for a pinhole's pixel is where the video shows its point."""
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 1] = skew
    distorted = replace(
        rig,
        intrinsics=intrinsics,
        distortions=np.tile([-1.2, 0.05, 0.003, -0.002, 0.0], (len(rig), 1)),
        fisheye=rig.names if fisheye else (),
    )
    points = np.random.default_rng(0).uniform(-100, 100, (40, 3))
    map_x, map_y = cameras.undistortion_maps(distorted, 2)
    plain = distorted.undistorted().project(points)[0][2]
    places = (plain - 0.5).astype(np.float32)[:, None]
    fetched = [cv2.remap(m, places, None, cv2.INTER_LINEAR).ravel() + 0.5 for m in (map_x, map_y)]
    filmed = cameras.filmed_pixels(distorted, 2, points)
    np.testing.assert_allclose(filmed, np.stack(fetched, axis=1), atol=0.05)
    assert np.abs(filmed - plain).max() > 0.5


def test_triangulation_recovers_a_point(rig):
    point = np.array([30.0, -20.0, 10.0])
    pixels, _ = rig.project(point)
    weights = np.array([True, False, True, True, False, True])
    np.testing.assert_allclose(cameras.triangulate(rig, pixels, weights), point, atol=1e-6)


unit_vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


@given(unit_vectors)
@example((0.0, 4.266034651416139e-06, -1.0))  # nearly a half turn
@example((1e-9, 0.0, -1.0))
def test_rotation_to_z_turns_up_onto_z(vector):
    up = np.array(vector) / np.linalg.norm(vector)
    rotation = cameras.rotation_to_z(up)
    np.testing.assert_allclose(rotation @ up, [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("path", ["floor", "line", "spot"])
def test_up_from_a_path_in_a_tilted_world(path, caplog):
    """A third of the frames rears; on a line or a spot the cameras settle what the path cannot."""
    random = np.random.default_rng(1)
    points = (
        random.uniform(-150, 150, (200, 3))
        * {
            "floor": [1, 1, 0],
            "line": [1, 0.02, 0],
            "spot": [0.01, 0.01, 0],
        }[path]
    )
    points[:, 2] += random.normal(0, 1, 200)
    points[::3, 2] += random.uniform(0, 40, len(points[::3]))
    tilt = cameras.rotation_to_z(np.array([0.6, -0.64, 0.48]))
    up = cameras.estimate_up(ring_rig().rotated(tilt), points @ tilt.T)
    error = np.degrees(np.arccos(up @ tilt[:, 2]))
    assert error < (1.5 if path == "floor" else 12)
    assert ("how the cameras are held" in caplog.text) == (path != "floor")


def test_axes_of_the_world_point_where_their_names_say():
    assert set(cameras.WORLD_AXES) == {"x", "y", "z", "-x", "-y", "-z"}
    np.testing.assert_array_equal(cameras.WORLD_AXES["z"], [0, 0, 1])
    np.testing.assert_array_equal(cameras.WORLD_AXES["-y"], [0, -1, 0])


def test_lines_file(tmp_path):
    (tmp_path / "lines.txt").write_text("0 0 0 0 0 2\n1,1,0,1,1,5\n".replace(",", " "))
    up = cameras.up_from_lines(cameras.read_lines(tmp_path / "lines.txt"))
    np.testing.assert_allclose(up, [0, 0, 1])
    (tmp_path / "bad.txt").write_text("0 0 0\n")
    with pytest.raises(PoseSplatterError, match=r"bad\.txt.*six"):
        cameras.read_lines(tmp_path / "bad.txt")
