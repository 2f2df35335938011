"""Carving against the plain way: every voxel into every camera, NumPy in float64."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pose_splatter.carving import (
    DISPUTED,
    FAR,
    VoxelGrid,
    carve,
    carve_colored,
    depth_buffers,
    heading_rotation,
    hull_silhouettes,
    index_projections,
    squared_depth,
    voxels_of,
)

from ..conftest import ring_rig, silhouettes


def points_seen(masks, rig, points):
    """How many masks hold each point."""
    pixels, depths = rig.project(points)
    counts = np.zeros(len(points), int)
    for mask, (u, v), depth in zip(masks, pixels.transpose(0, 2, 1), depths, strict=True):
        inside = (depth > 0) & (u >= 0) & (u < mask.shape[1]) & (v >= 0) & (v < mask.shape[0])
        rows, columns = np.clip(v, 0, mask.shape[0] - 1), np.clip(u, 0, mask.shape[1] - 1)
        counts += inside & (mask[rows.astype(int), columns.astype(int)] > 0)
    return counts


def plain_counts(masks, rig, grid, center, angle):
    """How many cameras see each voxel: no early exit, no blocks, no float32."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    points = grid.positions(indices) @ heading_rotation(angle).T + center
    return points_seen(masks, rig, points).reshape(grid.shape)


def test_voxels_of_a_hull_are_argwheres():
    hull = np.random.default_rng(0).random((5, 7, 3)) > 0.6
    np.testing.assert_array_equal(voxels_of(hull), np.argwhere(hull))
    assert voxels_of(np.zeros((2, 3, 4), bool)).shape == (0, 3)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    angle=st.floats(-3, 3),
    min_views=st.integers(1, 6),
    edge=st.integers(3, 30),
)
def test_carving_equals_the_plain_way(seed, angle, min_views, edge):
    random = np.random.default_rng(seed)
    rig = ring_rig()
    masks = silhouettes(rig, random.uniform(-120, 120, (4, 3)), radius=40)
    grid = VoxelGrid.cube(edge, 400.0)
    center = random.uniform(-30, 30, 3)
    counts = carve(masks, index_projections(rig, grid, center, angle), grid.shape, min_views)
    plain = plain_counts(masks, rig, grid, center, angle)
    plain[plain < min_views] = 0
    # A voxel whose pixel lies on a border may round to either side in float32.
    assert (counts != plain).mean() < 1e-3


def test_moments_agree_with_the_plain_way(rig):
    masks = silhouettes(rig, np.array([[20.0, 10, 5], [60, 30, 10]]), radius=50)
    grid = VoxelGrid.cube(64, 400.0)
    counts = carve(masks, index_projections(rig, grid, np.zeros(3), 0.3), grid.shape, 5)
    plain = plain_counts(masks, rig, grid, np.zeros(3), 0.3) >= 5
    means = [grid.positions(np.argwhere(hull)).mean(axis=0) for hull in (counts > 0, plain)]
    covs = [np.cov(grid.positions(np.argwhere(hull)).T) for hull in (counts > 0, plain)]
    assert np.abs(means[0] - means[1]).max() < 1e-3 * 400
    assert np.abs(covs[0] - covs[1]).max() < (1e-3 * 400) ** 2 * 10


def test_a_sphere_is_carved_to_its_size(rig):
    radius, center = 60.0, np.array([10.0, -20.0, 15.0])
    masks = silhouettes(rig, center[None], radius)
    grid = VoxelGrid.cube(80, 200.0)
    hull = carve(masks, index_projections(rig, grid, center, 0.0), grid.shape, 6) > 0
    points = grid.positions(np.argwhere(hull))
    distances = np.linalg.norm(points, axis=1)
    assert np.abs(points.mean(axis=0)).max() < 2.5
    inner = np.linalg.norm(grid.positions(np.argwhere(np.ones(grid.shape, bool))), axis=1)
    inside = (inner < radius - 5).reshape(grid.shape)
    assert hull[inside].all(), "the hull holds the object"
    assert distances.max() < 1.6 * radius


def test_grid_behind_the_cameras_is_empty(rig):
    masks = np.ones((6, rig.height, rig.width), np.uint8)
    grid = VoxelGrid.cube(16, 100.0)
    below = index_projections(rig, grid, np.array([0.0, 0, 5000]), 0.0)
    assert not carve(masks, below, grid.shape, 6).any()


def test_cropped_grid_is_a_part_of_the_whole(rig):
    masks = silhouettes(rig, np.zeros((1, 3)), 50)
    grid = VoxelGrid.cube(32, 200.0)
    box = ((4, 28), (8, 24), (6, 22))
    cropped = grid.cropped(box)
    whole = carve(masks, index_projections(rig, grid, np.zeros(3), 0.4), grid.shape, 5)
    part = carve(masks, index_projections(rig, cropped, np.zeros(3), 0.4), cropped.shape, 5)
    np.testing.assert_array_equal(part, whole[tuple(slice(*edge) for edge in box)])


def test_colours_come_from_cameras_that_see_the_voxel(rig):
    """A ball, red in the cameras of one side and blue in the others: neither shines through."""
    masks = silhouettes(rig, np.zeros((1, 3)), 60)
    images = np.zeros((*masks.shape, 3), np.uint8)
    red = rig.centers[:, 0] > 0
    images[red] = [255, 0, 0]
    images[~red] = [0, 0, 255]
    grid = VoxelGrid.cube(48, 180.0)
    projections = index_projections(rig, grid, np.zeros(3), 0.0)
    carved = carve_colored(images, masks, projections, grid.shape, fill_color=0.5)
    positions = grid.positions(carved.indices)
    occupancy, colors = carved.features[:, 0], carved.features[:, 1:4]
    # Low on either side, where no camera from above the other side looks.
    low = (np.abs(positions[:, 1]) < 15) & (np.abs(positions[:, 2]) < 15) & (occupancy > 0.99)
    near, far = low & (positions[:, 0] > 55), low & (positions[:, 0] < -55)
    np.testing.assert_allclose(colors[near], np.tile([1.0, 0, 0], (near.sum(), 1)), atol=1e-6)
    np.testing.assert_allclose(colors[far], np.tile([0.0, 0, 1], (far.sum(), 1)), atol=1e-6)
    assert near.sum() > 5
    assert far.sum() > 5
    inner = np.linalg.norm(positions, axis=1) < 30
    np.testing.assert_allclose(colors[inner], 0.5)
    assert occupancy.min() >= DISPUTED - 1e-6
    assert occupancy.max() <= 1 + 1e-6
    np.testing.assert_allclose(occupancy[inner], 1, atol=1e-5)


def test_surfaces_seen_obliquely_are_still_seen(rig):
    """What faces a camera within 50 degrees, on the surface of a ball, has that camera's colour."""
    masks = silhouettes(rig, np.zeros((1, 3)), 60)
    images = np.full((*masks.shape, 3), 255, np.uint8)
    grid = VoxelGrid.cube(80, 160.0)
    projections = index_projections(rig, grid, np.zeros(3), 0.0)
    carved = carve_colored(images, masks, projections, grid.shape, fill_color=0.0)
    positions = grid.positions(carved.indices)
    radii = np.linalg.norm(positions, axis=1)
    directions = rig.centers / np.linalg.norm(rig.centers, axis=1, keepdims=True)
    facing = (positions / radii[:, None] @ directions.T).max(axis=1) > np.cos(np.radians(50))
    surface = facing & (radii > 58) & (radii < 60) & (carved.features[:, 0] > 0.99)
    assert surface.sum() > 500
    assert (carved.features[surface, 1] > 0).mean() > 0.99


def test_directions_point_to_the_cameras_that_see_a_voxel(rig):
    """In the grid's own axes, whichever way it is turned; nothing points anywhere from inside."""
    masks = silhouettes(rig, np.zeros((1, 3)), 60)
    images = np.full((*masks.shape, 3), 255, np.uint8)
    grid, angle = VoxelGrid.cube(64, 160.0), 0.7
    projections = index_projections(rig, grid, np.zeros(3), angle)
    carved = carve_colored(images, masks, projections, grid.shape, fill_color=0.0)
    positions, directions = grid.positions(carved.indices), carved.features[:, 4:]
    radii = np.linalg.norm(positions, axis=1)
    inner = (radii < 40) & (carved.features[:, 1] == 0)
    assert (directions[inner] == 0).all()
    to_cameras = (rig.centers / 1000.0) @ heading_rotation(angle)  # in the grid's axes
    seen_by_one = np.isclose(np.linalg.norm(directions, axis=1), 1 / 6, atol=1e-3)
    assert seen_by_one.sum() > 100
    agreement = (6 * directions[seen_by_one]) @ to_cameras.T
    assert agreement.max(axis=1).min() > 0.99, "the ball is small beside the cameras' distance"
    facing = (positions[seen_by_one] / radii[seen_by_one, None]) @ to_cameras.T
    nearest = agreement.argmax(axis=1)
    assert (facing[np.arange(len(facing)), nearest] > 0).mean() > 0.99


def test_two_cameras_carve_their_intersection(rig):
    pair = rig.subset([0, 1])
    masks = silhouettes(pair, np.zeros((1, 3)), 40)
    grid = VoxelGrid.cube(32, 300.0)
    projections = index_projections(pair, grid, np.zeros(3), 0.0)
    images = np.zeros((*masks.shape, 3), np.uint8)
    carved = carve_colored(images, masks, projections, grid.shape, 0.5)
    assert len(carved.indices) == (carve(masks, projections, grid.shape, 2) == 2).sum()


def test_occupancy_is_one_half_on_the_outline():
    """Between a pixel of the mask and one beside it, whose centres lie at half-integers."""
    mask = np.zeros((20, 40), np.uint8)
    mask[:, :20] = 1  # the outline is at u = 20
    columns = np.arange(12)  # voxel i at u = 17.0, 17.5, ... 22.5
    affine = np.array([[0.5, 0, 0, 17], [0, 0.5, 0, 10], [0, 0, 1e-6, 1]], np.float32)
    masks, images = (
        np.stack([mask, np.ones_like(mask), np.ones_like(mask)]),
        np.zeros((3, 20, 40, 3)),
    )
    carved = carve_colored(images.astype(np.uint8), masks, np.stack([affine] * 3), (12, 1, 1), 0.5)
    np.testing.assert_array_equal(carved.indices[:, 0], columns)
    expected = np.clip(20.5 - (17 + 0.5 * columns), 0, 1)
    np.testing.assert_allclose(carved.features[:, 0], DISPUTED + (1 - DISPUTED) * expected)


def test_depth_buffer_of_one_voxel(rig):
    grid = VoxelGrid.cube(1, 10.0)
    projections = index_projections(rig, grid, np.zeros(3), 0.0)
    voxel, solid = np.zeros((1, 3), np.int32), np.ones(1, bool)
    depths = depth_buffers(voxel, solid, projections, (rig.height, rig.width))
    seen = depths < FAR / 2
    assert seen[:, rig.height // 2, rig.width // 2].all()
    np.testing.assert_allclose(depths[seen], 1000.0, rtol=1e-4)
    assert seen.sum() <= 6 * 16  # 10 units at 300 / 1000 pixels a unit are 3 pixels


def test_hull_silhouette_holds_the_true_one(rig):
    """In an unseen camera the hull hides at least what the object hides, in a seen one that."""
    masks = silhouettes(rig, np.array([[0.0, 0, 0], [50, 20, 0]]), 40)
    hull = hull_silhouettes(masks[1:], rig.subset([1, 2, 3, 4, 5]), rig, np.zeros(3), 150.0, 1.0)
    assert (hull[0] >= masks[0]).mean() > 0.999
    assert hull[0].sum() > masks[0].sum()
    for camera in range(1, 6):
        union = (hull[camera] | masks[camera]).sum()
        assert (hull[camera] & masks[camera]).sum() / union == pytest.approx(1, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1), grown=st.integers(0, 5))
def test_depths_are_those_of_scipy(seed, share, grown):
    """Of noise, of blobs, of a hull that fills its box and of none."""
    random = np.random.default_rng(seed)
    hull = random.random(random.integers(1, 24, 3)) < share
    hull = ndimage.binary_dilation(hull, iterations=grown) if grown else hull
    expected = ndimage.distance_transform_edt(np.pad(hull, 1))[1:-1, 1:-1, 1:-1] ** 2
    np.testing.assert_allclose(squared_depth(hull), expected, atol=1e-9)


def plain_silhouettes(masks, rig, target, center, radius, step):
    """Every point on every ray into every mask: nothing is skipped."""
    rows, columns = np.mgrid[: target.height, : target.width] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    hulls = []
    for camera in range(len(target)):
        rays = pixels @ np.linalg.inv(target.intrinsics[camera]).T @ target.rotations[camera]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        offset = center - target.centers[camera]
        middle = rays @ offset
        reach = radius**2 - (offset @ offset - middle**2)
        hull = np.zeros(len(rays), bool)
        for n in range(int(2 * radius / step) + 1):
            along = middle - np.sqrt(np.maximum(reach, 0)) + n * step
            on_ray = (reach > 0) & (n <= np.floor(2 * np.sqrt(np.maximum(reach, 0)) / step))
            points = target.centers[camera] + along[:, None] * rays
            hull |= on_ray & (points_seen(masks, rig, points) == len(rig))
        hulls.append(hull.reshape(target.height, target.width))
    return np.stack(hulls)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), near=st.booleans(), empty=st.booleans())
def test_hull_silhouettes_equal_the_plain_way(seed, near, empty):
    """Also of specks and sticks, from cameras within the ball, and where a camera sees nothing."""
    random = np.random.default_rng(seed)
    rig = ring_rig(5, width=80, height=60)
    rig = replace(rig, intrinsics=rig.intrinsics * np.array([0.4, 0.4, 1])[:, None])
    middle = random.uniform(-100, 100, 3)
    stick = middle + np.linspace(-1, 1, 40)[:, None] * random.uniform(-150, 150, 3)
    balls = np.concatenate([stick, random.uniform(-300, 300, (4, 3))])
    masks = silhouettes(rig, balls, radius=random.uniform(4, 30))
    masks[0] &= 0 if empty else 1
    radius = 1200.0 if near else 250.0
    args = masks[:4], rig.subset([0, 1, 2, 3]), rig, middle, radius, radius / 40
    plain = plain_silhouettes(*args)
    assert plain.any() != empty
    # A point whose pixel lies on a border may round to either side.
    assert (hull_silhouettes(*args) != plain).mean() < 2e-4
