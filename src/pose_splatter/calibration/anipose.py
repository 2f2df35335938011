"""TOML of Anipose (calibration.toml) and Pose2Sim (Calib.toml): a table per camera.

`matrix`, `distortions` (OpenCV's order; k1 to k4 where `fisheye`), `rotation` (a rotation vector)
and `translation` are OpenCV's world-to-camera, with OpenCV's pixel centres at integers: both
programs hand them to cv2.projectPoints as they are. `size` is width, height. Cameras are named by
`name`, else by their table.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from pose_splatter.calibration.camera import CalibratedCamera, calibrated_camera, first_bytes

NAME = "Anipose's or Pose2Sim's TOML"
# A table's header, and below it the intrinsic matrix.
LAYOUT = re.compile(rb"^\s*\[[^\]]+\]\s*$.*^\s*matrix\s*=\s*\[", re.MULTILINE | re.DOTALL)


def recognises(path: Path) -> bool:
    return LAYOUT.search(first_bytes(path)) is not None


def read(path: Path) -> list[CalibratedCamera]:
    tables = tomllib.loads(path.read_text())
    return [
        _camera(path, str(table.get("name", key)), table)
        for key, table in tables.items()
        if isinstance(table, dict) and "matrix" in table
    ]


def _camera(path: Path, name: str, table: dict[str, Any]) -> CalibratedCamera:
    return calibrated_camera(
        f"{path}: camera {name}",
        table["matrix"],
        table.get("rotation"),
        table.get("translation"),
        table.get("distortions", ()),
        name=name,
        size=table.get("size"),
        fisheye=bool(table.get("fisheye", False)),
        pixel_centers="integer",
    )
