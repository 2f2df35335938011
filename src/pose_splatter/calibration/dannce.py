"""DANNCE's and Label3D's .mat: `params`, one struct per camera with K, r, t, RDistort, TDistort.

MATLAB's row vectors: x_camera = x_world r + t and [u v 1] ~ x_camera K, so K and r are transposed
here. RDistort is k1, k2 (and k3), TDistort p1, p2; K may have skew. DANNCE takes the projected
pixels as indices from 0, with centres at integers, and so do we. MATLAB itself counts from 1: where
its own calibrator made the file and nobody subtracted that, images lie one pixel off, the same in
all cameras.

Also read: the single cameras' files that DANNCE keeps beside them (K, r, t, ... on their own), and
version 7.3 of MATLAB's files, which is HDF5. Names are those of `camnames`, where there are any.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat

from pose_splatter.calibration.camera import (
    CalibratedCamera,
    calibrated_camera,
    first_bytes,
    numbers,
)
from pose_splatter.errors import PoseSplatterError

NAME = "DANNCE's or Label3D's .mat"
FIELDS = ("K", "r", "t", "RDistort", "TDistort")
VARIABLES = ("params", "camnames", *FIELDS)


def recognises(path: Path) -> bool:
    return first_bytes(path).startswith(b"MATLAB")


def read(path: Path) -> list[CalibratedCamera]:
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            content = {name: _value(file, file[name]) for name in VARIABLES if name in file}
    else:
        content = loadmat(path, simplify_cells=True, variable_names=VARIABLES)
    params = content.get("params", content if "K" in content else [])
    structs = [params] if isinstance(params, dict) else list(np.ravel(params))
    if not structs or not all(isinstance(struct, dict) for struct in structs):
        raise PoseSplatterError(
            f"{path}: the file has no params with a struct per camera, nor K, r and t of one; save "
            "them with Label3D (exportDannce)."
        )
    names: list[str | None] = [str(name) for name in np.ravel(content.get("camnames", []))]
    if len(names) != len(structs):
        names = [None] * len(structs)
    return [
        _camera(f"{path}: camera {index if name is None else name}", struct, name)
        for index, (struct, name) in enumerate(zip(structs, names, strict=True))
    ]


def _camera(where: str, struct: dict[str, Any], name: str | None) -> CalibratedCamera:
    K, r, t = (struct.get(field) for field in ("K", "r", "t"))
    radial = numbers(where, "RDistort", struct.get("RDistort", (0, 0))).ravel()
    tangential = numbers(where, "TDistort", struct.get("TDistort", (0, 0))).ravel()
    if len(radial) not in (2, 3) or len(tangential) != 2:
        raise PoseSplatterError(
            f"{where} has {len(radial)} numbers in RDistort and {len(tangential)} in TDistort, not "
            "two or three and two; export the calibration again."
        )
    return calibrated_camera(
        where,
        numbers(where, "K", K, (3, 3)).T,
        numbers(where, "r", r, (3, 3)).T,
        t,
        [*radial[:2], *tangential, *radial[2:]],
        name=name,
        pixel_centers="integer",
    )


def _value(file: h5py.File, node: h5py.Group | h5py.Dataset) -> Any:
    """A value of a MATLAB 7.3 file: structs are dicts, cells lists, arrays as MATLAB shows them."""
    if isinstance(node, h5py.Group):
        fields = {key: _value(file, node[key]) for key in node if key in FIELDS}
        if fields and all(isinstance(values, list) for values in fields.values()):  # struct array
            return [
                dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)
            ]
        return fields
    if node.dtype == h5py.ref_dtype:
        return [_value(file, file[reference]) for reference in node[()].ravel()]
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, node[()].ravel()))
    return node[()].T
