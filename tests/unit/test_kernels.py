"""What Numba compiles gives the same bits in the run that compiles it and in all that load it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_splatter.carving import VoxelGrid, carve_colored, index_projections
from pose_splatter.rasterize import rasterization

from ..conftest import ring_rig, silhouettes

ROOT = Path(__file__).parents[2]


def results() -> dict[str, np.ndarray]:
    """Something of every kernel that calls others, of many numbers that are not round."""
    random = np.random.default_rng(0)
    rig, grid = ring_rig(), VoxelGrid.cube(48, 400.0)
    masks = silhouettes(rig, random.uniform(-120, 120, (4, 3)), radius=40)
    images = random.integers(0, 256, (*masks.shape, 3), np.uint8)
    center = random.uniform(-30, 30, 3)
    projections = index_projections(rig, grid, center, 0.3)
    carved = carve_colored(images, masks, projections, grid.shape, 0.5)
    parts = [random.normal(0, 60, (2000, 3)), random.normal(size=(2000, 4))]
    parts += [random.uniform(2, 12, (2000, 3)), *random.uniform(size=(2, 2000, 3))]
    parts[3] = parts[3][:, 0]
    gaussians = [torch.from_numpy(part).float().requires_grad_() for part in parts]
    cameras = (torch.from_numpy(array).float() for array in (rig.viewmats, rig.intrinsics))
    picture, alpha, _ = rasterization(*gaussians, *cameras, rig.width, rig.height)
    (picture.square().sum() + alpha.square().sum()).backward()
    return {
        "indices": carved.indices,
        "features": carved.features,
        "picture": picture.detach().numpy(),
        "alpha": alpha.detach().numpy(),
        **{f"gradient {n}": part.grad.numpy() for n, part in enumerate(gaussians)},
    }


@pytest.mark.slow
def test_bits_do_not_depend_on_numbas_cache(tmp_path):
    found, kernels = [], []
    for name in ("compiled.npz", "loaded.npz"):
        subprocess.run(
            [sys.executable, "-m", __name__, tmp_path / name],
            cwd=ROOT,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            check=True,
            timeout=300,
        )
        found.append(np.load(tmp_path / name))
        files = tmp_path.glob("cache/**/*.nb*")
        kernels.append({file: file.stat().st_mtime_ns for file in files})
    compiled, loaded = found
    assert kernels[0] == kernels[1] != {}, "the second run compiled nothing"
    assert all(np.ptp(compiled[name]) > 0 for name in compiled)
    differing = [name for name in compiled if not np.array_equal(compiled[name], loaded[name])]
    assert differing == []


if __name__ == "__main__":
    np.savez(sys.argv[1], **results())
