"""OpenCV's FileStorage (YAML, XML or JSON), and plain YAML or JSON with the same names in it.

There is no one layout, so cameras are looked for in turn as: the file itself; maps in it, one per
camera; a stereo pair (the matrices of cameras 1 and 2, and R, T from the first to the second, as
OpenCV's stereo samples write intrinsics.yml and extrinsics.yml); names with the camera's at their
end, such as K_01, dist_01, Rot_01, T_01 (EasyMocap's intri.yml and extri.yml). A folder stands for
all its files: those with a camera each are named after their files, the others are read as one.

World-to-camera, pixel centres at integers, as cv2 has them. A file whose intrinsic matrix is
transposed (JARVIS) holds row vectors, and so its rotation is too.

Nothing is executed: YAML is read by PyYAML's safe loader, which knows OpenCV's matrices besides and
refuses every other tag.
"""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from pose_splatter.calibration.camera import (
    CalibratedCamera,
    calibrated_camera,
    first_bytes,
    natural_key,
    numbers,
)
from pose_splatter.errors import PoseSplatterError

NAME = "OpenCV's YAML, XML or JSON"
SUFFIXES = (".yml", ".yaml", ".xml", ".json")

# What files call a thing, in lower case and without _ and -; the first that is there is taken.
NAMES = {
    "K": ("cameramatrix", "intrinsicmatrix", "intrinsics", "intrinsic", "k", "mtx", "m", "matrix"),
    "distortion": (
        *("distortioncoefficients", "distortioncoeffs", "distortioncoefs", "distortions"),
        *("distortion", "distcoeffs", "distcoefs", "distcoeff", "distcoef", "dist", "d", "kc"),
    ),
    "R": ("rotationmatrix", "rotation", "rot", "r", "rotationvector", "rvec"),
    "T": ("translationvector", "translation", "tvec", "t"),
    "extrinsics": ("extrinsicmatrix", "extrinsics", "extrinsic", "extrinsicparameters"),
    "width": ("imagewidth", "width"),
    "height": ("imageheight", "height"),
    "size": ("imagesize", "size", "resolution"),
    "model": ("distortionmodel",),
    "fisheye": ("fisheyemodel", "fisheye"),
}
# What may be a lens's distortion under a name of its own
LENS = re.compile("distort(?!ionmodel)|coef|radial")
BROWN_MODELS = ("plumbbob", "rationalpolynomial", "radtan", "brown", "opencv", "pinhole", "none")
FISHEYE_MODELS = ("fisheye", "equidistant", "kannalabrandt")

Parts = list[tuple[str | None, dict[str, Any]]]  # names and contents of cameras


def recognises(path: Path) -> bool:
    if path.is_dir():
        return any(_is_text(file) for file in _files(path))
    return _is_text(path)


def _is_text(path: Path) -> bool:
    """Whether a file opens as FileStorage's XML, as YAML with names at its top, or as JSON."""
    head = first_bytes(path, 4096)
    if b"\0" in head:
        return False
    opening = head.lstrip()
    return (
        opening.startswith((b"%YAML", b"{"))
        or b"<opencv_storage" in head
        or re.search(rb"^(['\"]?)\w[\w-]*\1\s*:(\s|$)", head, re.MULTILINE) is not None
    )


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(files, key=lambda path: natural_key(path.name))


def read(path: Path) -> list[CalibratedCamera]:
    if not path.is_dir():
        return _cameras(path, _parse(path))
    cameras, shared = [], {}
    for file in _files(path):
        content = _parse(file)
        if _get(content, "K") is not None:
            cameras.append(_camera(f"{path}: camera {file.stem}", content, file.stem))
        else:
            shared.update(content)
    return cameras or _cameras(path, shared)


# --- from text to names and numbers ------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, and OpenCV's matrices; names are text, so that 007 is not 7."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:int":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _yaml_matrix(loader: _Loader, node: yaml.MappingNode) -> np.ndarray:
    return _matrix(loader.construct_mapping(node, deep=True))


for kind in ("opencv-matrix", "opencv-nd-matrix"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", _yaml_matrix)


def _parse(path: Path) -> dict[str, Any]:
    text = path.read_text().lstrip()
    is_yaml = not text.startswith(("<", "{"))
    # The way OpenCV writes NaN and infinity is nobody else's.
    text = re.sub(r"\.Nan\b", ".nan" if is_yaml else "NaN", text)
    text = re.sub(r"\.Inf\b", ".inf" if is_yaml else "Infinity", text)
    try:
        if is_yaml:  # OpenCV's header, %YAML:1.0, is no YAML
            content = yaml.load(re.sub(r"^%YAML.*$", "", text, flags=re.MULTILINE), _Loader)
        elif text.startswith("{"):
            content = json.loads(text)
        else:
            content = _from_xml(ElementTree.fromstring(text))
    except yaml.constructor.ConstructorError as error:
        raise PoseSplatterError(
            f"{path}: the YAML has a tag that a calibration has no need of ({error.problem}); "
            "nothing in it was run: remove the tag."
        ) from error
    if not isinstance(content, dict):
        raise PoseSplatterError(f"{path}: the file has no names with values; export it again.")
    return {str(key): _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    """Matrices that are written as maps of rows, cols and data (JSON, ROS) become arrays."""
    if isinstance(value, dict):
        if {"rows", "cols", "data"} <= value.keys():
            return _matrix(value)
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _matrix(fields: dict[str, Any]) -> np.ndarray:
    data = np.asarray(fields["data"], dtype=np.float64)
    if "rows" not in fields:  # opencv-nd-matrix, of any number of axes
        return data
    shape = int(fields["rows"]), int(fields["cols"])
    return data.reshape(shape) if data.size == shape[0] * shape[1] else data  # of more channels


def _from_xml(element: ElementTree.Element) -> Any:
    if element.get("type_id") in ("opencv-matrix", "opencv-nd-matrix"):
        fields = {child.tag: child.text or "" for child in element}
        return _matrix(fields | {"data": fields["data"].split()})
    if len(element) and all(child.tag == "_" for child in element):
        return [_from_xml(child) for child in element]
    if len(element):
        return {child.tag: _from_xml(child) for child in element}
    words = (element.text or "").split()
    return words if len(words) > 1 else "".join(words)


# --- from names and numbers to cameras ---------------------------------------------------------


def _normal(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _get(content: dict[str, Any], what: str) -> Any:
    """What is there under one of the names of `what`; None where nothing is."""
    normal = {_normal(key): value for key, value in content.items()}
    return next((normal[name] for name in NAMES[what] if name in normal), None)


def _has_pose(content: dict[str, Any]) -> bool:
    return all(_get(content, key) is not None for key in ("R", "T"))


def _cameras(path: Path, content: dict[str, Any]) -> list[CalibratedCamera]:
    parts: Parts = [(None, content)] if _get(content, "K") is not None else []
    parts = parts or _nested(content) or _stereo(content) or _suffixed(content)
    if not parts:
        raise PoseSplatterError(
            f"{path}: no intrinsic matrix is found under {', '.join(content) or 'no name'}; name "
            "it camera_matrix or K, and the others distortion_coefficients, R and T."
        )
    return [
        _camera(f"{path}: camera {index if name is None else name}", part, name)
        for index, (name, part) in enumerate(parts)
    ]


def _nested(content: dict[str, Any]) -> Parts:
    """A map per camera, or a list of maps; what stands beside them holds for all."""
    named = [(key, value) for key, value in content.items() if isinstance(value, dict)]
    listed = [(None, v) for value in content.values() if isinstance(value, list) for v in value]
    return [
        (str(value["name"]) if "name" in value else key, _without(content, value) | value)
        for key, value in named + listed
        if isinstance(value, dict) and _get(value, "K") is not None
    ]


def _without(content: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What `own` does not say itself, under whatever name."""
    given = {what for what in NAMES if _get(own, what) is not None}
    if "size" in given:
        given |= {"width", "height"}
    said = {name for what in given for name in NAMES[what]}
    return {key: value for key, value in content.items() if _normal(key) not in said}


def _stereo(content: dict[str, Any]) -> Parts:
    """A pair of cameras, of which the second's pose is given in the first's axes."""
    ends = sorted(_ends(content))
    if len(ends) != 2 or not _has_pose(content):
        return []
    poses = [(np.eye(3), np.zeros(3)), (_get(content, "R"), _get(content, "T"))]
    return [
        # R1 and R2, where they are, rectify pictures and are no poses.
        (end, {**_ending(content, end), "rotationmatrix": R, "translationvector": T})
        for end, (R, T) in zip(ends, poses, strict=True)
    ]


def _suffixed(content: dict[str, Any]) -> Parts:
    """Cameras whose names stand at the end of every name."""
    return [(end, _ending(content, end)) for end in _ends(content)]


def _ends(content: dict[str, Any]) -> list[str]:
    """What follows the name of an intrinsic matrix: the cameras' names."""
    ends = []
    for key, value in content.items():
        if np.size(value) == 9:
            lengths = [n for n in range(1, len(key)) if _normal(key[:n]) in NAMES["K"]]
            ends += [key[max(lengths) :]] if lengths else []
    return list(dict.fromkeys(ends))


def _ending(content: dict[str, Any], end: str) -> dict[str, Any]:
    """What is named with a camera's name at its end, by its name without that; and the size."""
    own = {key.removesuffix(end): value for key, value in content.items() if key.endswith(end)}
    sizes = {name: _get(content, name) for name in ("width", "height", "size")}
    common = {key: value for key, value in sizes.items() if value is not None}
    return _without(common, own) | own


def _camera(where: str, content: dict[str, Any], name: str | None) -> CalibratedCamera:
    K, (R, T) = _get(content, "K"), _pose(where, content)
    K = numbers(where, "the intrinsic matrix", K, (3, 3))
    if K[2, :2].any() and not K[:2, 2].any():
        K, R = K.T, numbers(where, "the rotation", R, (3, 3)).T
    width, height = _get(content, "width"), _get(content, "height")
    if (width is None) != (height is None):
        raise PoseSplatterError(
            f"{where} has a width or a height, but not both; write image_width and image_height."
        )
    distortion = _get(content, "distortion")
    if distortion is None and (unread := [key for key in content if LENS.search(_normal(key))]):
        raise PoseSplatterError(
            f"{where} has {', '.join(unread)}, which is not read, and no distortion_coefficients; "
            "name the lens's distortion so, or take the other away."
        )
    return calibrated_camera(
        where,
        K,
        R,
        T,
        () if distortion is None else distortion,
        name=name,
        size=_get(content, "size") if width is None else (width, height),
        fisheye=_is_fisheye(where, content),
        pixel_centers="integer",
    )


def _pose(where: str, content: dict[str, Any]) -> tuple[Any, Any]:
    """Rotation (matrix or vector) and translation, on their own or as one matrix."""
    if _has_pose(content):
        return _get(content, "R"), _get(content, "T")
    extrinsics = _get(content, "extrinsics")
    if extrinsics is None:
        raise PoseSplatterError(
            f"{where} has intrinsics but no rotation and translation (R and T); calibrate the "
            "cameras together, so that they share a world."
        )
    matrix = np.asarray(extrinsics, np.float64)
    if matrix.shape in ((3, 4), (4, 4)):
        return matrix[:3, :3], matrix[:3, 3]
    if matrix.size == 6:
        return matrix.ravel()[:3], matrix.ravel()[3:]
    raise PoseSplatterError(
        f"{where} has extrinsics of shape {matrix.shape}, as of many pictures of a board; write "
        "the camera's own rotation and translation as R and T."
    )


def _is_fisheye(where: str, content: dict[str, Any]) -> bool:
    """By OpenCV's own mark, or by the model's name, as ROS has it."""
    if str(_get(content, "fisheye")).lower() in ("1", "1.0", "true"):
        return True
    model = _get(content, "model") or BROWN_MODELS[0]
    if _normal(str(model)) not in BROWN_MODELS + FISHEYE_MODELS:
        raise PoseSplatterError(
            f"{where} has the distortion model {model}, which is not OpenCV's; calibrate with "
            "plumb_bob, rational_polynomial or equidistant (fisheye)."
        )
    return _normal(str(model)) in FISHEYE_MODELS
