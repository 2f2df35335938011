"""Gaussians and coloured points as the .ply files that other programs read.

A file of Gaussians has the properties of 3D Gaussian Splatting (Kerbl et al. 2023), without the
view-dependent `f_rest_*`: log scales, logit opacities, colours as the constant spherical harmonic.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from plyfile import PlyData, PlyElement
from scipy.special import expit, logit

from pose_splatter.files import atomic_path

# What an export's folder holds (export.write_export).
GAUSSIANS, POINTS, FRAMES = "gaussians", "points", "frames.json"
# The spherical harmonic of degree 0: a colour is 0.5 + SH_C0 * f_dc.
SH_C0 = 0.5 / np.sqrt(np.pi)
# Opacities of 0 and 1 have no finite logit: the nearest that float32 tells from them.
OPACITY_RANGE = (np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)

COLUMNS = {
    "means": ("x", "y", "z"),
    "normals": ("nx", "ny", "nz"),
    "harmonics": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "logits": ("opacity",),
    "log_scales": ("scale_0", "scale_1", "scale_2"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
}


@dataclass(frozen=True)
class Splats:
    """Gaussians as arrays: wxyz quats, linear scales, opacities and colours 0 to 1."""

    means: Float32[ndarray, "gaussian 3"]
    quats: Float32[ndarray, "gaussian 4"]
    scales: Float32[ndarray, "gaussian 3"]
    opacities: Float32[ndarray, " gaussian"]
    colors: Float32[ndarray, "gaussian 3"]

    def __len__(self) -> int:
        return len(self.means)

    def at_least(self, opacity: float) -> "Splats":
        """Those that are at least so opaque."""
        chosen = self.opacities >= opacity
        return Splats(**{name: array[chosen] for name, array in vars(self).items()})


def ply_name(frame: int) -> str:
    """The name of a frame's file, by its number in the video."""
    return f"frame_{frame:06d}.ply"


def write_splats(path: str | Path, splats: Splats) -> None:
    """Write Gaussians as 3D Gaussian Splatting does; the normals are zero, as they are there."""
    values = {
        "means": splats.means,
        "normals": np.zeros_like(splats.means),
        "harmonics": (splats.colors - 0.5) / SH_C0,
        "logits": logit(splats.opacities.astype(np.float64).clip(*OPACITY_RANGE))[:, None],
        "log_scales": np.log(splats.scales),
        "quats": splats.quats,
    }
    names = [name for columns in COLUMNS.values() for name in columns]
    table = np.concatenate([values[key] for key in COLUMNS], axis=1).astype("<f4")
    _write(path, table.view([(name, "<f4") for name in names])[:, 0])


def read_splats(path: str | Path) -> Splats:
    """Read what `write_splats` wrote."""
    vertices = PlyData.read(str(path))["vertex"]

    def columns(key: str) -> Float32[ndarray, "gaussian column"]:
        return np.stack([vertices[name] for name in COLUMNS[key]], axis=1).astype(np.float32)

    return Splats(
        means=columns("means"),
        quats=columns("quats"),
        scales=np.exp(columns("log_scales")),
        opacities=expit(columns("logits")[:, 0]),
        colors=np.float32(0.5) + np.float32(SH_C0) * columns("harmonics"),
    )


def write_points(
    path: str | Path, points: Float32[ndarray, "point 3"], colors: UInt8[ndarray, "point 3"]
) -> None:
    """Write a coloured point cloud: x y z red green blue."""
    layout = [(name, "<f4") for name in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")]
    vertices = np.empty(len(points), layout)
    for axis, name in enumerate("xyz"):
        vertices[name] = points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = colors[:, channel]
    _write(path, vertices)


def _write(path: str | Path, vertices: ndarray) -> None:
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(temporary))
