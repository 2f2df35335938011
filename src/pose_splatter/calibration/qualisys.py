"""Qualisys Track Manager's .qca.txt: XML with transform, intrinsic and fov_video of every camera.

Focal lengths, principal point and skew are in units of which sensorMaxU and fov_video_max say how
many make a pixel: 64, or 1. The principal point counts from the sensor's corner, fov_video says
where in it the video begins. Radial and tangential coefficients are OpenCV's and have no unit.
`transform` is the camera's place (millimetres, kept) and, row by row, its axes in the world with y
up and z backward: x_camera = diag(1, -1, -1) r (x_world - place). Pixel centres are taken to be at
integers, as Pose2Sim does, which hands these numbers to OpenCV; Qualisys does not say. (Pose2Sim
also divides the distortion by 64, which all but removes it. We do not.)
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pose_splatter.calibration.camera import (
    OPENGL_AXES,
    CalibratedCamera,
    calibrated_camera,
    first_bytes,
)
from pose_splatter.errors import PoseSplatterError

NAME = "Qualisys .qca.txt"
LAYOUT = re.compile(rb"<calibration[\s>].*<cameras?[\s>]", re.DOTALL)


def recognises(path: Path) -> bool:
    return LAYOUT.search(first_bytes(path, 4096)) is not None


def read(path: Path) -> list[CalibratedCamera]:
    root = ElementTree.fromstring(path.read_bytes())
    return [_camera(path, element) for element in root.findall("cameras/camera")]


def _camera(path: Path, element: ElementTree.Element) -> CalibratedCamera:
    name = element.get("serial", "")
    where = f"{path}: camera {name}"
    if element.get("viewrotation", "0") != "0":
        raise PoseSplatterError(
            f"{where} is turned by viewrotation {element.get('viewrotation')} on QTM's screen, and "
            "its video may be turned or not; export the video as the camera took it, and set "
            "viewrotation to 0 in the file."
        )
    intrinsic, transform = (
        _attributes(where, element, "intrinsic"),
        _attributes(where, element, "transform"),
    )
    video, sensor = (
        _attributes(where, element, "fov_video"),
        _attributes(where, element, "fov_video_max"),
    )
    unit = round(
        (intrinsic["sensorMaxU"] - intrinsic["sensorMinU"]) / (sensor["right"] - sensor["left"])
    )
    if unit not in (1, 64):
        raise PoseSplatterError(
            f"{where} has {unit} sensor units to a pixel of its video, where 64 or 1 are known; "
            "film at the sensor's full resolution, or calibrate with another program."
        )
    K = np.eye(3)
    K[0] = [intrinsic["focalLengthU"], intrinsic.get("skew", 0.0), intrinsic["centerPointU"]]
    K[1, 1:] = [intrinsic["focalLengthV"], intrinsic["centerPointV"]]
    K[:2] /= unit
    K[:2, 2] -= [video["left"], video["top"]]
    axes = np.array([[transform[f"r{row}{column}"] for column in (1, 2, 3)] for row in (1, 2, 3)])
    rotation = OPENGL_AXES @ axes
    return calibrated_camera(
        where,
        K,
        rotation,
        -rotation @ [transform["x"], transform["y"], transform["z"]],
        # The file spells it without an i.
        [
            *(intrinsic[f"radialDistortion{order}"] for order in (1, 2)),
            *(intrinsic[f"tangentalDistortion{order}"] for order in (1, 2)),
            intrinsic["radialDistortion3"],
        ],
        name=name,
        size=(video["right"] - video["left"] + 1, video["bottom"] - video["top"] + 1),
        pixel_centers="integer",
    )


def _attributes(where: str, element: ElementTree.Element, tag: str) -> dict[str, float]:
    child = element.find(tag)
    if child is None:
        raise PoseSplatterError(
            f"{where} has no {tag}; calibrate it in QTM, or take it out of the file."
        )
    return {key: float(value) for key, value in child.attrib.items()}
