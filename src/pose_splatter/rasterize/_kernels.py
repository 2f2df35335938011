"""Numba kernels of the CPU rasterizer: projection, tile lists and blending, forward and backward.

Shapes in these kernels: C cameras, G Gaussians, D colour channels. A *splat* is one Gaussian as
one camera sees it; splat index = camera * G + gaussian. An *entry* is one splat in the list of one
tile. Tiles are numbered over all cameras, row by row. Derivations follow Kerbl et al. 2023 and the
appendix of Ye et al. 2024 (gsplat, arXiv:2409.06765); cut-offs are those of gsplat 1.5.3.

Two choices hold throughout:

* Nothing depends on the number of threads. A public kernel works on indices start <= i < stop of
  its first loop, and writes only what belongs to them, so that any split into ranges may run side
  by side: each entry's gradient has a row of its own, and rows are summed later in fixed order.
* Projection works in float64 and rounds its results: it is scalar code, where that is free.
  Blending works in float32 on runs of pixels, written without branches so that LLVM vectorises it.

The kernels carry no annotations and are marked `no_type_check`: jaxtyping's import hook would
otherwise put a Python wrapper around them, which Numba cannot compile.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

# numpy's error model, as Python's ZeroDivisionError is an early exit that bars vectorisation.
kernel = njit(cache=True, nogil=True, error_model="numpy")
# A sum is vectorised only if its order is left free. Put into the kernel that calls it, it has one
# order on one machine; a run that compiles the kernel and one that loads it from the cache would
# else call two versions of it, which add up in different orders.
sum_kernel = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"}, forceinline=True
)

# Narrow, as one row fills a vector register; tall, as only the rows that a splat reaches cost time.
# Powers of two, so that dividing a coordinate by them is exact.
TILE_WIDTH = 8
TILE_HEIGHT = 16
TILE_PIXELS = TILE_WIDTH * TILE_HEIGHT

# Fields of a splat.
MEAN_X, MEAN_Y, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, REACH_X, REACH_Y = range(8)
SPLAT_FIELDS = 8

# Fields of a splat's gradient: sums over pixels of g, the derivative by log-falloff divided by
# opacity, times powers of the offset (dx, dy); the D colour derivatives come after them.
SUM_G, SUM_GX, SUM_GY, SUM_GXX, SUM_GXY, SUM_GYY = range(6)
MOMENT_FIELDS = 6

# Where the fields of a tile's pixels start in its one flat buffer: one, for LLVM to see that they
# do not overlap, and unsigned, as Numba lets signed indices count from the end; either would keep
# the loops from being vectorised. The D fields of colour, or its gradient, come last.
XS, YS, TRANSMITTANCE, LAST, WEIGHT, REMAINING, BEHIND, PULL, COLOR = (
    np.uint64(field * TILE_PIXELS) for field in range(9)
)
BUFFER_FIELDS = 8

# After how many entries to look whether a tile has any open pixel left.
CHECK_EVERY = 8

MAX_EXTENT = 3.33
# The tile lists leave out what an alpha of 1/255 cannot reach, with room for float32 rounding.
REACH_SLACK = 1.001
MAX_RADIUS = 1e9  # pixels; keeps an int32 from overflowing

# Typed, because Numba would compute in float64 as soon as a Python number takes part.
ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)
MIN_ALPHA = np.float32(1.0 / 255.0)
MAX_ALPHA = np.float32(0.999)
MIN_TRANSMITTANCE = np.float32(1e-4)

LOG2_E = np.float32(math.log2(math.e))
LN_2_HIGH = np.float32(0.693359375)  # exact in 12 bits, so that n * LN_2_HIGH is exact too
LN_2_LOW = np.float32(math.log(2.0) - 0.693359375)
ROUND_TO_INTEGER = np.float32(1.5 * 2.0**23)  # a float this large has no fraction bits left
TAYLOR_2, TAYLOR_3, TAYLOR_4, TAYLOR_5, TAYLOR_6, TAYLOR_7 = (
    np.float32(1.0 / math.factorial(k)) for k in range(2, 8)
)


# --- Projection ----------------------------------------------------------------------------------


@kernel
@no_type_check
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
@no_type_check
def _combine(p, a, q, b):
    """p * a + q * b for 3-vectors a and b."""
    return (p * a[0] + q * b[0], p * a[1] + q * b[1], p * a[2] + q * b[2])


@kernel
@no_type_check
def _row(matrix, i):
    return matrix[i, 0], matrix[i, 1], matrix[i, 2]


@kernel
@no_type_check
def _column(matrix, j):
    return matrix[0, j], matrix[1, j], matrix[2, j]


@kernel
@no_type_check
def _to_camera(mean, viewmat):
    """The mean in camera coordinates."""
    point = (np.float64(mean[0]), np.float64(mean[1]), np.float64(mean[2]))
    return (
        _dot(_row(viewmat, 0), point) + viewmat[0, 3],
        _dot(_row(viewmat, 1), point) + viewmat[1, 3],
        _dot(_row(viewmat, 2), point) + viewmat[2, 3],
    )


@kernel
@no_type_check
def _normalized(quat):
    """The quaternion (wxyz) at length 1, and the length it had."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length, length


@kernel
@no_type_check
def _fill_rotation(quat, rotation):
    w, x, y, z, _ = _normalized(quat)
    rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    rotation[0, 1] = 2.0 * (x * y - w * z)
    rotation[0, 2] = 2.0 * (x * z + w * y)
    rotation[1, 0] = 2.0 * (x * y + w * z)
    rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    rotation[1, 2] = 2.0 * (y * z - w * x)
    rotation[2, 0] = 2.0 * (x * z - w * y)
    rotation[2, 1] = 2.0 * (y * z + w * x)
    rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)


@kernel
@no_type_check
def _rotation_backward(quat, r, grad_quat):
    """Fill grad_quat (4) given r (3 3), the gradient of its rotation."""
    w, x, y, z, length = _normalized(quat)
    # Sums and differences of elements that mirror each other across the diagonal.
    sum_yz, turn_x = r[2, 1] + r[1, 2], r[2, 1] - r[1, 2]
    sum_xz, turn_y = r[0, 2] + r[2, 0], r[0, 2] - r[2, 0]
    sum_xy, turn_z = r[1, 0] + r[0, 1], r[1, 0] - r[0, 1]
    grad_w = 2.0 * (x * turn_x + y * turn_y + z * turn_z)
    grad_x = 2.0 * (w * turn_x + y * sum_xy + z * sum_xz - 2.0 * x * (r[1, 1] + r[2, 2]))
    grad_y = 2.0 * (w * turn_y + x * sum_xy + z * sum_yz - 2.0 * y * (r[0, 0] + r[2, 2]))
    grad_z = 2.0 * (w * turn_z + x * sum_xz + y * sum_yz - 2.0 * z * (r[0, 0] + r[1, 1]))
    # The length of a quaternion does not matter, so its gradient does not point along it.
    along = w * grad_w + x * grad_x + y * grad_y + z * grad_z
    grad_quat[0] = (grad_w - along * w) / length
    grad_quat[1] = (grad_x - along * x) / length
    grad_quat[2] = (grad_y - along * y) / length
    grad_quat[3] = (grad_z - along * z) / length


@kernel
@no_type_check
def _fill_axes(quat, scale, axes):
    """Columns of axes (3 3): the Gaussian's axes in the world, each a standard deviation long."""
    _fill_rotation(quat, axes)
    for i in range(3):
        for j in range(3):
            axes[i, j] *= scale[j]


@kernel
@no_type_check
def _axes_backward(quat, scale, axes, grad_axes, grad_quat, grad_scale):
    """Fill grad_quat (4) and grad_scale (3); axes and grad_axes (3 3) are used up."""
    _fill_rotation(quat, axes)
    for j in range(3):
        grad_scale[j] = _dot(_column(axes, j), _column(grad_axes, j))
    for i in range(3):
        for j in range(3):
            grad_axes[i, j] *= scale[j]
    _rotation_backward(quat, grad_axes, grad_quat)


@kernel
@no_type_check
def _image_axes(point, axes, viewmat, K, slopes):
    """Linearised projection at a camera-space point, and the Gaussian's axes under it.

    Returns the slopes (x/z, y/z) held within their limits (4: low x, high x, low y, high y), the
    two rows of J R (world -> pixels), and the two rows of J R A for the world axes A. The
    covariance in the picture is (J R A)(J R A)^T.
    """
    x, y, z = point
    slope_x = min(slopes[1], max(slopes[0], x / z))
    slope_y = min(slopes[3], max(slopes[2], y / z))
    scale_x = K[0, 0] / z
    scale_y = K[1, 1] / z
    forward = _row(viewmat, 2)
    to_x = _combine(scale_x, _row(viewmat, 0), -scale_x * slope_x, forward)
    to_y = _combine(scale_y, _row(viewmat, 1), -scale_y * slope_y, forward)
    a0, a1, a2 = _column(axes, 0), _column(axes, 1), _column(axes, 2)
    axes_x = (_dot(to_x, a0), _dot(to_x, a1), _dot(to_x, a2))
    axes_y = (_dot(to_y, a0), _dot(to_y, a1), _dot(to_y, a2))
    return (slope_x, slope_y), to_x, to_y, axes_x, axes_y


@kernel
@no_type_check
def _extent(opacity):
    """Standard deviations out to which alpha reaches 1/255 (Radl et al. 2024, section B.2)."""
    return min(MAX_EXTENT, math.sqrt(2.0 * math.log(255.0 * opacity)))


@kernel
@no_type_check
def _project_splat(
    mean, axes, opacity, extent, viewmat, K, slopes, width, height, near, far, radius_clip,
    eps2d, splat, radius,
):  # fmt: skip
    """Fill splat (8) and radius (2) and return the depth; radius is left at 0 if unseen.

    Written so that NaN counts as unseen.
    """
    point = _to_camera(mean, viewmat)
    x, y, z = point
    if not near <= z <= far:
        return z
    _, _, _, axes_x, axes_y = _image_axes(point, axes, viewmat, K, slopes)
    var_x = _dot(axes_x, axes_x) + eps2d
    var_y = _dot(axes_y, axes_y) + eps2d
    cov_xy = _dot(axes_x, axes_y)
    determinant = var_x * var_y - cov_xy * cov_xy
    reach_x = extent * math.sqrt(var_x)
    reach_y = extent * math.sqrt(var_y)
    radius_x, radius_y = np.ceil(reach_x), np.ceil(reach_y)
    mean_x = K[0, 0] * x / z + K[0, 2]
    mean_y = K[1, 1] * y / z + K[1, 2]
    is_seen = (
        determinant > 0.0
        and max(radius_x, radius_y) > radius_clip
        and -radius_x < mean_x < width + radius_x
        and -radius_y < mean_y < height + radius_y
    )
    if is_seen:
        splat[MEAN_X], splat[MEAN_Y] = mean_x, mean_y
        splat[CONIC_XX], splat[CONIC_YY] = var_y / determinant, var_x / determinant
        splat[CONIC_XY] = -cov_xy / determinant
        splat[OPACITY] = opacity
        splat[REACH_X], splat[REACH_Y] = REACH_SLACK * reach_x, REACH_SLACK * reach_y
        radius[0] = min(radius_x, MAX_RADIUS)
        radius[1] = min(radius_y, MAX_RADIUS)
    return z


@kernel
@no_type_check
def project(
    start, stop, means, quats, scales, opacities, viewmats, Ks, slopes,
    width, height, near, far, radius_clip, eps2d, splats, depths, radii,
):  # fmt: skip
    """Fill splats (C G 8), depths (C G) and radii (C G 2); an unseen splat keeps radius 0."""
    axes = np.empty((3, 3))
    for g in range(start, stop):
        if opacities[g] >= MIN_ALPHA:
            extent = _extent(opacities[g])
            _fill_axes(quats[g], scales[g], axes)
            for c in range(viewmats.shape[0]):
                depths[c, g] = _project_splat(
                    means[g], axes, opacities[g], extent, viewmats[c], Ks[c], slopes[c],
                    width, height, near, far, radius_clip, eps2d, splats[c, g], radii[c, g],
                )  # fmt: skip


@kernel
@no_type_check
def project_backward(
    start, stop, means, quats, scales, viewmats, Ks, slopes, splats, radii, splat_gradients,
    grad_means, grad_quats, grad_scales, grad_opacities, grad_colors,
):  # fmt: skip
    """Carry splat gradients (C G 6+D) on to the Gaussians, summed over cameras in their order."""
    axes = np.empty((3, 3))
    grad_axes = np.empty((3, 3))
    grad_mean = np.empty(3)
    for g in range(start, stop):
        _fill_axes(quats[g], scales[g], axes)
        grad_axes[:] = 0.0
        grad_mean[:] = 0.0
        is_seen = False
        for c in range(viewmats.shape[0]):
            if radii[c, g, 0] > 0:
                is_seen = True
                gradient = splat_gradients[c, g]
                grad_opacities[g] += gradient[SUM_G]
                for k in range(grad_colors.shape[1]):
                    grad_colors[g, k] += gradient[MOMENT_FIELDS + k]
                _project_splat_backward(
                    means[g], axes, viewmats[c], Ks[c], slopes[c], splats[c, g], gradient,
                    grad_mean, grad_axes,
                )  # fmt: skip
        if is_seen:
            grad_means[g] = grad_mean
            _axes_backward(quats[g], scales[g], axes, grad_axes, grad_quats[g], grad_scales[g])


@kernel
@no_type_check
def _project_splat_backward(mean, axes, viewmat, K, slopes, splat, gradient, grad_mean, grad_axes):
    """Add to grad_mean (3) and grad_axes (3 3) what one camera's splat gradient means for them."""
    point = _to_camera(mean, viewmat)
    x, y, z = point
    (slope_x, slope_y), to_x, to_y, axes_x, axes_y = _image_axes(point, axes, viewmat, K, slopes)
    scale_x = K[0, 0] / z
    scale_y = K[1, 1] / z
    p = np.float64(splat[CONIC_XX])
    q = np.float64(splat[CONIC_XY])
    r = np.float64(splat[CONIC_YY])
    opacity = np.float64(splat[OPACITY])

    # Pixel offsets are mean - pixel, so alpha falls along P (dx, dy).
    grad_x = -opacity * (p * gradient[SUM_GX] + q * gradient[SUM_GY])
    grad_y = -opacity * (q * gradient[SUM_GX] + r * gradient[SUM_GY])

    # Twice the covariance's gradient is opacity * P M P, with M the second moments of g.
    m_xx, m_xy, m_yy = gradient[SUM_GXX], gradient[SUM_GXY], gradient[SUM_GYY]
    pm_xx, pm_xy = p * m_xx + q * m_xy, p * m_xy + q * m_yy
    pm_yx, pm_yy = q * m_xx + r * m_xy, q * m_xy + r * m_yy
    cov_xx = opacity * (pm_xx * p + pm_xy * q)
    cov_xy = opacity * (pm_xx * q + pm_xy * r)
    cov_yy = opacity * (pm_yx * q + pm_yy * r)
    grad_axes_x = _combine(cov_xx, axes_x, cov_xy, axes_y)
    grad_axes_y = _combine(cov_xy, axes_x, cov_yy, axes_y)

    grad_to_x = (0.0, 0.0, 0.0)
    grad_to_y = (0.0, 0.0, 0.0)
    for j in range(3):
        for i in range(3):
            grad_axes[i, j] += to_x[i] * grad_axes_x[j] + to_y[i] * grad_axes_y[j]
        column = _column(axes, j)
        grad_to_x = _combine(1.0, grad_to_x, grad_axes_x[j], column)
        grad_to_y = _combine(1.0, grad_to_y, grad_axes_y[j], column)

    # to_x = fx/z (R_0 - slope_x R_2), and the slope moves with the point only inside its limits.
    grad_z = -(_dot(grad_to_x, to_x) + _dot(grad_to_y, to_y)) / z
    forward = _row(viewmat, 2)
    slide_x = scale_x * grad_x
    slide_y = scale_y * grad_y
    if slope_x == x / z:
        slide_x -= scale_x * _dot(grad_to_x, forward) / z
    if slope_y == y / z:
        slide_y -= scale_y * _dot(grad_to_y, forward) / z
    grad_z -= (slide_x * x + slide_y * y) / z
    for i in range(3):
        grad_mean[i] += slide_x * viewmat[0, i] + slide_y * viewmat[1, i] + grad_z * viewmat[2, i]


# --- Tile lists ----------------------------------------------------------------------------------


@kernel
@no_type_check
def _tile_range(centre, reach, tile_size, n_tiles):
    """First and one past the last tile that centre +- reach (pixels) touches along one axis."""
    first = max(ZERO, np.floor((centre - reach) / tile_size))
    last = min(np.float32(n_tiles), np.ceil((centre + reach) / tile_size))
    return int(first), int(last)


@kernel
@no_type_check
def _tile_box(splat, tiles_x, tiles_y):
    x0, x1 = _tile_range(splat[MEAN_X], splat[REACH_X], np.float32(TILE_WIDTH), tiles_x)
    y0, y1 = _tile_range(splat[MEAN_Y], splat[REACH_Y], np.float32(TILE_HEIGHT), tiles_y)
    return x0, x1, y0, y1


@kernel
@no_type_check
def count_entries(start, stop, splats, radii, tiles_x, tiles_y, counts):
    """Fill counts (C tiles): how many splats may reach a tile."""
    for c in range(start, stop):
        for g in range(splats.shape[1]):
            if radii[c, g, 0] > 0:
                x0, x1, y0, y1 = _tile_box(splats[c, g], tiles_x, tiles_y)
                for tile_y in range(y0, y1):
                    for tile_x in range(x0, x1):
                        counts[c, tile_y * tiles_x + tile_x] += 1


@kernel
@no_type_check
def fill_entries(start, stop, splats, radii, tiles_x, tiles_y, order, next_entry, entries):
    """Write entries (n), splat indices tile by tile and nearest first.

    order (C G) lists each camera's Gaussians by depth, those it does not see last; next_entry
    (C tiles) holds where each tile's entries start, and is advanced.
    """
    n_gaussians = splats.shape[1]
    for c in range(start, stop):
        for rank in range(n_gaussians):
            g = order[c, rank]
            if radii[c, g, 0] == 0:
                break
            x0, x1, y0, y1 = _tile_box(splats[c, g], tiles_x, tiles_y)
            for tile_y in range(y0, y1):
                for tile_x in range(x0, x1):
                    tile = tile_y * tiles_x + tile_x
                    entries[next_entry[c, tile]] = c * n_gaussians + g
                    next_entry[c, tile] += 1


# --- Blending ------------------------------------------------------------------------------------


@kernel
@no_type_check
def _exp(x):
    """e^x in float32 to 1e-7, for -80 < x <= 0; unlike math.exp it vectorises.

    x = n ln 2 + f with |f| <= ln 2 / 2; e^f by Taylor's series, 2^n by adding n to the exponent.
    """
    shifted = x * LOG2_E + ROUND_TO_INTEGER
    n = shifted - ROUND_TO_INTEGER
    f = (x - n * LN_2_HIGH) - n * LN_2_LOW
    series = TAYLOR_5 + f * (TAYLOR_6 + f * TAYLOR_7)
    series = ONE + f * (ONE + f * (TAYLOR_2 + f * (TAYLOR_3 + f * (TAYLOR_4 + f * series))))
    exponent = np.int32(np.float32(shifted).view(np.int32) << 23)
    return np.int32(np.float32(series).view(np.int32) + exponent).view(np.float32)


@kernel
@no_type_check
def _falloff(dx, dy, conic_xx, conic_xy, conic_yy):
    """The splat's density relative to its centre, and 0 where rounding made sigma negative.

    Compiled apart and without fastmath, so that forward and backward agree to the last bit on
    which pixels a splat reaches.
    """
    sigma = HALF * (conic_xx * dx * dx + conic_yy * dy * dy) + conic_xy * dx * dy
    # Beyond sigma = 80 alpha is 0 for every purpose, but the exponent would wrap round.
    density = _exp(-min(sigma, np.float32(80.0)))
    return density if sigma >= ZERO else ZERO


@kernel
@no_type_check
def _rows(splat, top):
    """Range of the pixels in those rows of the tile below `top` that a splat may reach."""
    first = max(ZERO, np.floor(splat[MEAN_Y] - splat[REACH_Y]) - np.float32(top))
    last = min(np.float32(TILE_HEIGHT), np.ceil(splat[MEAN_Y] + splat[REACH_Y]) - np.float32(top))
    return np.uint64(first) * np.uint64(TILE_WIDTH), np.uint64(last) * np.uint64(TILE_WIDTH)


@kernel
@no_type_check
def _new_buffer(n_channels, left, top):
    """Flat buffer of a tile's pixels, with their centres filled in and no entry seen yet."""
    buffer = np.zeros((BUFFER_FIELDS + n_channels) * TILE_PIXELS, np.float32)
    for i in range(TILE_PIXELS):
        buffer[XS + np.uint64(i)] = np.float32(left + i % TILE_WIDTH) + HALF
        buffer[YS + np.uint64(i)] = np.float32(top + i // TILE_WIDTH) + HALF
        buffer[TRANSMITTANCE + np.uint64(i)] = ONE
        buffer[LAST + np.uint64(i)] = -ONE
    return buffer


@kernel
@no_type_check
def _origin(tile, tiles_x, tiles_y):
    """Camera, left column and top row of a tile."""
    camera, within = divmod(tile, tiles_x * tiles_y)
    return camera, within % tiles_x * TILE_WIDTH, within // tiles_x * TILE_HEIGHT


@kernel
@no_type_check
def _blend_splat(buffer, splat, position, start, stop):
    """Put one splat behind what is already in the tile, and fill WEIGHT.

    REMAINING is the transmittance of an open pixel and 0 of a closed one; a pixel closes before
    the first splat that would take it down to 1e-4. LAST is the position in the tile's list of the
    last splat that found it open, as a float, which is exact up to 16 million.
    """
    mean_x, mean_y, opacity = splat[MEAN_X], splat[MEAN_Y], splat[OPACITY]
    conic_xx, conic_xy, conic_yy = splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY]
    for i in range(start, stop):
        dx = mean_x - buffer[XS + i]
        dy = mean_y - buffer[YS + i]
        alpha = min(MAX_ALPHA, opacity * _falloff(dx, dy, conic_xx, conic_xy, conic_yy))
        alpha = alpha if alpha >= MIN_ALPHA else ZERO
        before = buffer[REMAINING + i]
        after = before * (ONE - alpha)
        is_open = after > MIN_TRANSMITTANCE
        buffer[REMAINING + i] = after if is_open else ZERO
        buffer[TRANSMITTANCE + i] = after if is_open else buffer[TRANSMITTANCE + i]
        buffer[WEIGHT + i] = alpha * before if is_open else ZERO
        buffer[LAST + i] = position if is_open else buffer[LAST + i]


@kernel
@no_type_check
def _is_open(buffer):
    is_any_open = False
    for i in range(REMAINING, REMAINING + np.uint64(TILE_PIXELS)):
        is_any_open |= buffer[i] > ZERO
    return is_any_open


@kernel
@no_type_check
def _add_color(buffer, color, start, stop):
    """Add weight * color to the tile's picture."""
    for k in range(color.size):
        channel = COLOR + np.uint64(k * TILE_PIXELS)
        for i in range(start, stop):
            buffer[channel + i] += color[k] * buffer[WEIGHT + i]


@kernel
@no_type_check
def blend(
    start,
    stop,
    splats,
    colors,
    entries,
    offsets,
    tiles_x,
    tiles_y,
    render,
    transmittance,
    last,
    used,
):
    """Fill render (C H W D), transmittance and last (C H W), and used (tiles), front to back.

    used is how many entries of a tile were blended until all its pixels were closed.
    """
    n_gaussians, n_channels = colors.shape
    for tile in range(start, stop):
        n_entries = offsets[tile + 1] - offsets[tile]
        if n_entries > 0:
            camera, left, top = _origin(tile, tiles_x, tiles_y)
            buffer = _new_buffer(n_channels, left, top)
            buffer[REMAINING : REMAINING + np.uint64(TILE_PIXELS)] = ONE
            position = 0
            while position < n_entries and (position % CHECK_EVERY > 0 or _is_open(buffer)):
                s = entries[offsets[tile] + position]
                begin, end = _rows(splats[s], top)
                _blend_splat(buffer, splats[s], np.float32(position), begin, end)
                _add_color(buffer, colors[s % n_gaussians], begin, end)
                position += 1
            used[tile] = position
            _store(buffer, left, top, render[camera], transmittance[camera], last[camera])


@kernel
@no_type_check
def _store(buffer, left, top, render, transmittance, last):
    """Copy a blended tile to its place in the camera's picture."""
    height, width, n_channels = render.shape
    for row in range(min(TILE_HEIGHT, height - top)):
        for column in range(min(TILE_WIDTH, width - left)):
            i = np.uint64(row * TILE_WIDTH + column)
            y, x = top + row, left + column
            transmittance[y, x] = buffer[TRANSMITTANCE + i]
            last[y, x] = buffer[LAST + i]
            for k in range(n_channels):
                render[y, x, k] = buffer[COLOR + np.uint64(k * TILE_PIXELS) + i]


@kernel
@no_type_check
def _load(buffer, left, top, transmittance, last, grad_render, grad_alpha):
    """Undo `_store`, with the gradient of the picture in its place.

    BEHIND starts with what the background adds to the loss: light that reaches it is alpha lost.
    """
    height, width, n_channels = grad_render.shape
    for row in range(min(TILE_HEIGHT, height - top)):
        for column in range(min(TILE_WIDTH, width - left)):
            i = np.uint64(row * TILE_WIDTH + column)
            y, x = top + row, left + column
            buffer[TRANSMITTANCE + i] = transmittance[y, x]
            buffer[LAST + i] = last[y, x]
            buffer[BEHIND + i] = -transmittance[y, x] * grad_alpha[y, x]
            for k in range(n_channels):
                buffer[COLOR + np.uint64(k * TILE_PIXELS) + i] = grad_render[y, x, k]


@sum_kernel
@no_type_check
def _unblend_splat(buffer, splat, position, start, stop, moments):
    """Take the last splat off the tile's pixels; fill WEIGHT and the moments of g.

    PULL is the derivative of the loss by the splat's weight through colour alone; BEHIND is what
    everything further back adds to the loss.
    """
    mean_x, mean_y, opacity = splat[MEAN_X], splat[MEAN_Y], splat[OPACITY]
    conic_xx, conic_xy, conic_yy = splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY]
    sum_g = sum_gx = sum_gy = sum_gxx = sum_gxy = sum_gyy = ZERO
    for i in range(start, stop):
        dx = mean_x - buffer[XS + i]
        dy = mean_y - buffer[YS + i]
        falloff = _falloff(dx, dy, conic_xx, conic_xy, conic_yy)
        density = opacity * falloff
        alpha = min(MAX_ALPHA, density)
        is_hit = (alpha >= MIN_ALPHA) & (position <= buffer[LAST + i])
        alpha = alpha if is_hit else ZERO
        stretch = ONE / (ONE - alpha)
        before = buffer[TRANSMITTANCE + i] * stretch
        weight = alpha * before
        pull = buffer[PULL + i]
        grad_alpha = pull * before - buffer[BEHIND + i] * stretch
        buffer[TRANSMITTANCE + i] = before
        buffer[BEHIND + i] += pull * weight
        buffer[WEIGHT + i] = weight
        g = falloff * grad_alpha if is_hit & (density <= MAX_ALPHA) else ZERO
        sum_g += g
        sum_gx += g * dx
        sum_gy += g * dy
        sum_gxx += g * dx * dx
        sum_gxy += g * dx * dy
        sum_gyy += g * dy * dy
    moments[SUM_G], moments[SUM_GX], moments[SUM_GY] = sum_g, sum_gx, sum_gy
    moments[SUM_GXX], moments[SUM_GXY], moments[SUM_GYY] = sum_gxx, sum_gxy, sum_gyy


@kernel
@no_type_check
def _fill_pull(buffer, color, start, stop):
    """PULL is color . gradient of the picture."""
    for i in range(start, stop):
        buffer[PULL + i] = ZERO
    for k in range(color.size):
        channel = COLOR + np.uint64(k * TILE_PIXELS)
        for i in range(start, stop):
            buffer[PULL + i] += color[k] * buffer[channel + i]


@sum_kernel
@no_type_check
def _fill_color_gradient(buffer, start, stop, grad_color):
    for k in range(grad_color.size):
        channel = COLOR + np.uint64(k * TILE_PIXELS)
        total = ZERO
        for i in range(start, stop):
            total += buffer[WEIGHT + i] * buffer[channel + i]
        grad_color[k] = total


@kernel
@no_type_check
def blend_backward(
    start, stop, splats, colors, entries, offsets, tiles_x, tiles_y, transmittance, last, used,
    first_row, grad_render, grad_alpha, rows,
):  # fmt: skip
    """Fill rows (n 6+D): the gradients of a tile's used entries, from its first_row (tiles) on."""
    n_gaussians, n_channels = colors.shape
    for tile in range(start, stop):
        if used[tile] > 0:
            camera, left, top = _origin(tile, tiles_x, tiles_y)
            buffer = _new_buffer(n_channels, left, top)
            _load(
                buffer, left, top, transmittance[camera], last[camera],
                grad_render[camera], grad_alpha[camera],
            )  # fmt: skip
            for position in range(used[tile] - 1, -1, -1):
                s = entries[offsets[tile] + position]
                row = rows[first_row[tile] + position]
                begin, end = _rows(splats[s], top)
                _fill_pull(buffer, colors[s % n_gaussians], begin, end)
                _unblend_splat(buffer, splats[s], np.float32(position), begin, end, row)
                _fill_color_gradient(buffer, begin, end, row[MOMENT_FIELDS:])


@kernel
@no_type_check
def sum_rows(start, stop, rows, entries, offsets, used, first_row, splat_gradients):
    """Add up each splat's rows (n F) in splat_gradients (C G F), tile after tile."""
    n_cameras, n_gaussians, n_fields = splat_gradients.shape
    n_tiles = used.size // n_cameras
    for c in range(start, stop):
        for tile in range(c * n_tiles, (c + 1) * n_tiles):
            for position in range(used[tile]):
                g = entries[offsets[tile] + position] - c * n_gaussians
                for field in range(n_fields):
                    splat_gradients[c, g, field] += rows[first_row[tile] + position, field]
