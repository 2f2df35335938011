"""Masks as labs keep them: videos, folders of pictures, HDF5, Zarr, COCO; all become mask videos.

A pattern in config names them, with {camera} and, for single pictures, {frame}. What a path holds
is found by looking at it. In HDF5 and Zarr, the path goes on into the file: masks.h5/camera0. An
array is (frame height width), or (frame camera height width) or (camera frame height width) of all
cameras. Pictures and frames are 0 and 1, or 0 to 255 with the animal bright.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import zarr
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path
from pose_splatter.frames import foreground
from pose_splatter.paths import Kind, MaskFiles, find_masks
from pose_splatter.progress import track
from pose_splatter.video import VideoInfo, key_frames, probe, read_frames, spread

PICTURES = (".png", ".tif", ".tiff", ".bmp")  # formats that keep masks as they are
MASKS = "masks"  # the array's name where the path does not say it and there are several
SAMPLED, MANY = 12, 200  # frames of a mask video looked at: first, and where they look wrong

# --- reading -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """The masks that are asked for: of one of a rig's cameras, at some of its video's frames."""

    camera: str
    cameras: Sequence[str]
    video: VideoInfo
    frames: Sequence[int]


def read_masks(
    pattern: str,
    camera: str,
    cameras: Sequence[str],
    video: VideoInfo,
    frames: Sequence[int] | None = None,
) -> Iterator[UInt8[ndarray, "height width"]]:
    """Yield one camera's masks (0 or 1), one for each frame of its video, or for some (ascending).

    Raises PoseSplatterError where masks are missing, too many, of another size, or no masks.
    """
    files = find_masks(pattern, camera)
    readers: dict[Kind, Callable[..., Iterator[Shaped[ndarray, "height width *channel"]]]] = {
        "video": _read_video,
        "pictures": _read_pictures,
        "hdf5": _read_hdf5,
        "zarr": _read_zarr,
        "coco": _read_coco,
    }
    wanted = Wanted(camera, cameras, video, range(video.n_frames) if frames is None else frames)
    pictures = readers[files.kind](files, wanted)
    for number, picture in zip(wanted.frames, pictures, strict=True):
        where = f"{files.path}, frame {number}"
        if picture.shape[:2] != (video.height, video.width):
            raise PoseSplatterError(
                f"{where}: the mask is {picture.shape[1]} x {picture.shape[0]} pixels, but "
                f"{video.path} is {video.width} x {video.height}; make the masks at the video's "
                "size."
            )
        yield as_mask(picture, where)


def as_mask(
    picture: Shaped[ndarray, "height width *channel"], where: str
) -> UInt8[ndarray, "height width"]:
    """A mask (0 or 1) of a picture of one: transparent, or 0 and 1, or at least half bright."""
    if picture.ndim == 3 and picture.shape[2] == 4 and picture[..., 3].min() < 255:
        picture = picture[..., 3]  # the animal cut out: what is not transparent
    elif picture.ndim == 3:
        picture = picture[..., :3].max(axis=-1)
    if picture.dtype == np.uint16:
        picture = picture >> 8 if picture.max() > 255 else picture
    highest = picture.max(initial=0)
    if not (highest <= 1 or 128 <= highest <= 255) or picture.min(initial=0) < 0:
        raise PoseSplatterError(
            f"{where}: values go from {picture.min()} to {highest}, but a mask is 0 and 1, or 0 to "
            "255 with the animal at 128 and more; write the masks so."
        )
    return (picture > 0).astype(np.uint8) if highest <= 1 else foreground(picture.astype(np.uint8))


def _require_count(count: int, files: MaskFiles, video: VideoInfo) -> None:
    if count != video.n_frames:
        raise PoseSplatterError(
            f"{files.path}: there are {count} masks, but {video.path} has {video.n_frames} frames; "
            "give one mask for each frame of the video."
        )


def _read_video(files: MaskFiles, wanted: Wanted) -> Iterator[UInt8[ndarray, "height width"]]:
    return read_frames(files.path, wanted.frames, "grey")


def _read_pictures(
    files: MaskFiles, wanted: Wanted
) -> Iterator[Shaped[ndarray, "height width *channel"]]:
    paths = _numbered_pictures(files)
    _require_count(len(paths), files, wanted.video)
    for path in (paths[frame] for frame in wanted.frames):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise PoseSplatterError(f"{path}: cannot read the picture; write it again.")
        yield picture


def _numbered_pictures(files: MaskFiles) -> list[Path]:
    """A folder's pictures in the order of their numbers (2 before 10), of which none is missing."""
    if not files.path.is_dir():
        raise PoseSplatterError(f"{files.path}: no such folder; correct masks in config.")
    if files.inside:
        before, after = map(re.escape, files.inside.split("{frame}"))
        number = re.compile(f"{before}(\\d+){after}$")
    else:
        number = re.compile(r"(\d+)\D*$")
    found: dict[int, Path] = {}
    for path in files.path.iterdir():
        if path.suffix.lower() not in PICTURES or path.name.startswith("."):
            continue
        match = number.match(path.name) if files.inside else number.search(path.stem)
        if match is None:
            if files.inside:
                continue
            raise PoseSplatterError(
                f"{path}: the name has no number, so its frame is unknown; name the pictures by "
                "frame number."
            )
        if int(match[1]) in found:
            raise PoseSplatterError(
                f"{path} and {found[int(match[1])].name} have one number; keep a single picture "
                "for each frame."
            )
        found[int(match[1])] = path
    if not found:
        raise PoseSplatterError(
            f"{files.path}: the folder holds no pictures {files.inside or ', '.join(PICTURES)}; "
            "correct masks in config."
        )
    missing = sorted(set(range(min(found), max(found))) - set(found))
    if missing:
        raise PoseSplatterError(
            f"{files.path}: picture {missing[0]} is missing ({len(missing)} in all, between "
            f"{min(found)} and {max(found)}); add it, black where there is no animal."
        )
    return [found[n] for n in sorted(found)]


def _read_hdf5(files: MaskFiles, wanted: Wanted) -> Iterator[Shaped[ndarray, "height width"]]:
    try:
        with h5py.File(files.path, "r") as store:
            yield from _read_array(store, h5py.Dataset, files, wanted)
    except OSError as error:
        raise PoseSplatterError(
            f"{files.path}: the file is damaged ({error}); write it again."
        ) from error


def _read_zarr(files: MaskFiles, wanted: Wanted) -> Iterator[Shaped[ndarray, "height width"]]:
    try:
        store = zarr.open(files.path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise PoseSplatterError(
            f"{files.path}: cannot open the Zarr store ({error}); write it again."
        ) from error
    yield from _read_array(store, zarr.Array, files, wanted)


def _read_array(
    store: Any, array_type: type, files: MaskFiles, wanted: Wanted
) -> Iterator[Shaped[ndarray, "height width"]]:
    """The frames of one camera in an array of a file: the one that the path names, or the only."""
    array = _find_array(store, array_type, files)
    name, shape = files.inside or MASKS, tuple(array.shape)
    video, n_cameras = wanted.video, len(wanted.cameras)
    picture = (video.height, video.width)
    if array.dtype.kind not in "bui":
        raise PoseSplatterError(
            f"{files.path}: {name} holds {array.dtype}, not whole numbers; write masks as uint8."
        )
    camera = (wanted.cameras.index(wanted.camera),)
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    if shape == (video.n_frames, n_cameras, *picture):
        after = camera
    elif shape == (n_cameras, video.n_frames, *picture):
        before = camera
    elif shape != (video.n_frames, *picture):
        raise PoseSplatterError(
            f"{files.path}: {name} has shape {shape}; for {n_cameras} cameras and "
            f"{video.path}, of {video.n_frames} frames, it must be "
            f"{(video.n_frames, *picture)} (frame height width), with one more axis of "
            f"{n_cameras} before or after the frames where it holds all cameras."
        )
    for frame in wanted.frames:
        yield np.asarray(array[(*before, frame, *after)])


def _find_array(store: Any, array_type: type, files: MaskFiles) -> Any:
    if files.inside:
        found = store.get(files.inside)
    elif isinstance(store, array_type):
        found = store
    elif MASKS in store:
        found = store[MASKS]
    else:
        arrays = [store[key] for key in store if isinstance(store[key], array_type)]
        found = arrays[0] if len(arrays) == 1 else None
    if not isinstance(found, array_type):
        raise PoseSplatterError(
            f"{files.path}: there is no array {files.inside or MASKS!r} in it, but "
            f"{', '.join(store) or 'nothing'}; let the path in config go on to the array's name."
        )
    return found


def _read_coco(files: MaskFiles, wanted: Wanted) -> Iterator[UInt8[ndarray, "height width"]]:
    """COCO's JSON of one camera: images in the order of their names, all annotations united."""
    try:
        content = json.loads(files.path.read_text())
        images = sorted(content["images"], key=lambda image: _natural(str(image["file_name"])))
        outlines: dict[Any, list[Any]] = {image["id"]: [] for image in images}
        for annotation in content["annotations"]:
            outlines[annotation["image_id"]].append(annotation["segmentation"])
        sizes = [(int(image["height"]), int(image["width"])) for image in images]
    except (ValueError, KeyError, TypeError) as error:
        raise PoseSplatterError(
            f"{files.path}: not a COCO file ({type(error).__name__}: {error}); it needs images "
            "with id, file_name, width and height, and annotations with image_id and segmentation."
        ) from error
    _require_count(len(images), files, wanted.video)
    for image, size in ((images[frame], sizes[frame]) for frame in wanted.frames):
        mask = np.zeros(size, np.uint8)
        for outline in outlines[image["id"]]:
            mask |= _decode_coco(outline, size, f"{files.path}, image {image['file_name']}")
        yield mask


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which names sort as people count: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _decode_coco(
    segmentation: Any, size: tuple[int, int], where: str
) -> UInt8[ndarray, "height width"]:
    """A mask of COCO's polygons or run lengths, compressed or not."""
    from pycocotools import mask as coco  # needed for this format alone

    try:
        if isinstance(segmentation, dict):
            if tuple(segmentation["size"]) != size:
                raise ValueError(f"its size is {segmentation['size']}, not {list(size)}")
            counts = segmentation["counts"]
            if isinstance(counts, list):
                if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
                    raise ValueError("run lengths do not add up to the picture")
                segmentation = coco.frPyObjects(segmentation, *size)
            return coco.decode(segmentation)
        return coco.decode(coco.merge(coco.frPyObjects(segmentation, *size)))
    except Exception as error:  # pycocotools raises plain Exception
        raise PoseSplatterError(
            f"{where}: the segmentation cannot be decoded ({error}); export the file again."
        ) from error


# --- writing -----------------------------------------------------------------------------------


def write_mask_video(
    path: str | Path, masks: Iterable[UInt8[ndarray, "height width"]], video: VideoInfo
) -> None:
    """Write masks (0 or 1), one for each frame of `video`, as a lossless video: white on black.

    FFV1 in grey: every frame is a key frame, so any is found at once, and what is read is exactly
    what was written. The same masks make the same bytes: no random name, as Matroska else has.
    """
    exact = {"fflags": "+bitexact"}
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", container_options=exact) as container,
    ):
        rate = Fraction(video.fps or 30).limit_denominator(1001)
        stream = container.add_stream("ffv1", rate=rate, options={"level": "3", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "gray"
        for mask in track(masks, "writing masks", video.n_frames):
            frame = av.VideoFrame.from_ndarray(mask * np.uint8(255), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# --- checking ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskFault:
    """What is wrong with the masks of a camera ("is ..."), and what to do about it."""

    what: str
    fix: str


WHITE = MaskFault("is white all over", "make masks with the animal white on black")
INVERTED = MaskFault(
    "is white around a black animal: it is inverted",
    "negate the masks that config names (ffmpeg -i IN -vf negate OUT): the animal is white",
)
BLACK = MaskFault(
    "is black in all frames looked at",
    "make the masks again, or take the camera out of cameras in config",
)


def check_masks(videos: Sequence[str | Path]) -> None:
    """Look at frames of each mask video; refuse masks that are inverted, all on or all off.

    Where one of a few frames looks wrong, many are looked at before the masks are refused.
    """
    for path in videos:
        every, keys = range(probe(path).n_frames), key_frames(path).tolist()
        # Key frames are decoded without others; a single one may happen to be right.
        few = _shares(path, spread(keys if len(keys) > 1 else every, SAMPLED))
        if not any(find_fault(*frame[:, None]) for frame in few):
            continue
        if fault := find_fault(*_shares(path, spread(every, MANY)).T):
            raise PoseSplatterError(f"{path}: the mask {fault.what}; {fault.fix}.")


def _shares(path: str | Path, frames: Sequence[int]) -> Float[ndarray, "frame 2"]:
    """The shares of all and of outermost pixels set."""
    masks = map(foreground, read_frames(path, frames, "grey"))
    return np.array([(mask.mean(), border_of(mask).mean()) for mask in masks])


def find_fault(
    covered: Float[ndarray, " frame"], border: Float[ndarray, " frame"]
) -> MaskFault | None:
    """What is wrong with a camera's masks, by the shares of all and of outermost pixels set."""
    if covered.min() == 1:
        return WHITE
    if np.median(covered) > 0.5 and np.median(border) > 0.5:
        return INVERTED
    if not covered.any():
        return BLACK
    return None


def border_of(picture: UInt8[ndarray, "height width"]) -> UInt8[ndarray, " pixel"]:
    """The outermost pixels of a picture; those in its corners twice."""
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
