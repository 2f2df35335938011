"""The frame stores: images and masks of a recording, written once, read at random.

A part (HDF5) holds a chunk of the frames; parts are gathered into images.h5 by copying compressed
chunks, and images.zarr takes over the same compressed bytes. Both stores hold one chunk per frame.
"""

import hashlib
import logging
import struct
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import zarr
from jaxtyping import Float, Float32, Int, UInt8
from numpy import ndarray
from zarr.codecs import GzipCodec

from pose_splatter.cameras import CameraRig, undistortion_maps
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, create_h5, open_h5, sound
from pose_splatter.progress import track
from pose_splatter.video import VideoIndex, read_frames, shifted

DEFLATE_LEVEL = 1  # pictures that are mostly white: higher levels cost time and save little
ARRAYS = ("images", "masks")

logger = logging.getLogger(__name__)


def prepare_frame(
    image: UInt8[ndarray, "height width 3"],
    mask: UInt8[ndarray, "height width"],
    downsample: int,
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"]]:
    """Downsample an image and its mask (0 or 1) by area, white outside the mask.

    A pixel belongs to the animal where at least half of its area does. Its colour is the mean
    over that part alone, so the background bleeds into nothing.
    """
    height, width = (size - size % downsample for size in mask.shape)
    image, mask = image[:height, :width], mask[:height, :width]
    small_image = np.full((height // downsample, width // downsample, 3), 255, np.uint8)
    small_mask = np.zeros(small_image.shape[:2], np.uint8)
    box = mask_box(mask)
    if box[0].stop:  # most of a picture is not the animal: only the blocks it reaches are averaged
        blocks = tuple(_divided(side, downsample) for side in box)
        pixels = tuple(slice(side.start * downsample, side.stop * downsample) for side in blocks)
        averages = _average_blocks(image[pixels], mask[pixels], downsample)
        small_image[blocks], small_mask[blocks] = averages
    return small_image, small_mask


def mask_box(mask: UInt8[ndarray, "height width"]) -> tuple[slice, slice]:
    """The rows and columns that a mask reaches; none where it is empty."""
    columns = _reached(mask.max(axis=0, initial=0))  # twice as fast as cv2.boundingRect
    return _reached(mask[:, columns].max(axis=1, initial=0)), columns


def _reached(line: UInt8[ndarray, " pixel"]) -> slice:
    """From the first to the last pixel that is not 0."""
    pixels = np.flatnonzero(line)
    return slice(int(pixels[0]), int(pixels[-1]) + 1) if len(pixels) else slice(0, 0)


def mask_middles(masks: Iterable[UInt8[ndarray, "height width"]]) -> Float[ndarray, "camera 2"]:
    """The centroid of each mask in pixels; NaN where a mask is empty."""
    return np.stack([_mask_middle(mask) for mask in masks])


def _mask_middle(mask: UInt8[ndarray, "height width"]) -> Float[ndarray, "2"]:
    rows, columns = mask_box(mask)
    if not rows.stop:
        return np.full(2, np.nan)
    moments = cv2.moments(mask[rows, columns], binaryImage=True)
    corner, area = np.array([columns.start, rows.start]), moments["m00"]
    sums = corner * area + [moments["m10"], moments["m01"]]  # whole numbers: nothing is rounded
    return sums / area + 0.5


def _divided(side: slice, downsample: int) -> slice:
    """The blocks of `downsample` pixels that pixels from `start` to `stop` lie in."""
    return slice(side.start // downsample, -(-side.stop // downsample))


def _average_blocks(
    image: UInt8[ndarray, "height width 3"], mask: UInt8[ndarray, "height width"], downsample: int
) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"]]:
    """`prepare_frame` of pictures whose edges are multiples of `downsample`."""
    if downsample > 1:
        size = (mask.shape[1] // downsample, mask.shape[0] // downsample)
        covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        animal = cv2.bitwise_and(image, image, mask=mask).astype(np.float32)
        masked = cv2.resize(animal, size, interpolation=cv2.INTER_AREA)
        image = np.rint(masked / np.maximum(covered, 1e-6)[..., None]).clip(0, 255).astype(np.uint8)
        mask = (covered >= 0.5).view(np.uint8)
    return np.where(mask[..., None] > 0, image, np.uint8(255)), mask


def foreground(picture: UInt8[ndarray, "height width"]) -> UInt8[ndarray, "height width"]:
    """The mask (0 or 1) in a decoded picture of one: what is at least half bright."""
    return (picture >= 128).view(np.uint8)  # no copy: booleans are bytes of 0 or 1


@dataclass(frozen=True)
class CameraFiles:
    """Where one camera's video and mask video lie, and by how many frames they are off.

    For frame n of the recording, frame n + `offset` of both is read. Files whose index is not known
    are looked through first.
    """

    name: str
    video: str | Path
    masks: str | Path
    offset: int = 0
    video_index: VideoIndex | None = None
    masks_index: VideoIndex | None = None


def write_part(
    path: str | Path,
    rig: CameraRig,
    files: Sequence[CameraFiles],
    source_frames: Sequence[int],
    downsample: int,
    *,
    recording: str = "",
    fps: float = 0.0,
    allow_empty_masks: bool = False,
) -> None:
    """Decode `source_frames` of all cameras once and write them as one HDF5 part.

    Writes /images uint8 (frame camera h w 3), /masks uint8 (frame camera h w) and /source_frames;
    lens distortion and skew of `rig` are removed on the way. A frame in which no camera sees the
    animal is stored as it is; a mask that is empty where other cameras see the animal raises
    PoseSplatterError unless `allow_empty_masks`.
    """
    if not len(source_frames):
        raise PoseSplatterError(
            f"config: chunks is higher than the number of frames of {recording}; lower it."
        )
    small = rig.downsampled(downsample)
    shape = (len(source_frames), len(rig), small.height, small.width)
    with create_h5(path) as store, ExitStack() as stack:
        store.attrs.update(
            recording=recording, cameras=list(rig.names), downsample=downsample, fps=fps
        )
        store["source_frames"] = np.asarray(source_frames, np.int64)
        images = create_array(store, "images", (*shape, 3))
        masks = create_array(store, "masks", shape)
        streams = [
            stack.enter_context(closing(_camera_stream(rig, camera, files[camera], source_frames)))
            for camera in range(len(rig))
        ]
        frames = track(zip(*streams, strict=True), "decoding", len(source_frames))
        for index, views in enumerate(frames):
            prepared = [prepare_frame(image, mask, downsample) for image, mask in views]
            frame_masks = np.stack([mask for _, mask in prepared])
            if not allow_empty_masks:
                _refuse_empty_mask(frame_masks, files, source_frames[index])
            images[index] = np.stack([image for image, _ in prepared])
            masks[index] = frame_masks


def _camera_stream(
    rig: CameraRig, camera: int, files: CameraFiles, frames: Sequence[int]
) -> Generator[tuple[UInt8[ndarray, "height width 3"], UInt8[ndarray, "height width"]]]:
    """Yield the undistorted image and mask (0 or 1) of each frame of one camera.

    Undistorted images are black outside the mask's box, where nothing is kept of them.
    """
    maps = undistortion_maps(rig, camera)
    frames = shifted(frames, files.offset)
    images = read_frames(files.video, frames, index=files.video_index)
    masks = read_frames(files.masks, frames, "grey", files.masks_index)
    for image, picture in zip(images, masks, strict=True):
        if maps is None:
            yield image, foreground(picture)
        else:
            mask = foreground(cv2.remap(picture, *maps, cv2.INTER_LINEAR))
            yield _remap_animal(image, mask, *maps), mask


def _remap_animal(
    image: UInt8[ndarray, "height width 3"],
    mask: UInt8[ndarray, "height width"],
    map_x: Float32[ndarray, "height width"],
    map_y: Float32[ndarray, "height width"],
) -> UInt8[ndarray, "height width 3"]:
    """cv2.remap of the image within the box of the (remapped) mask."""
    remapped = np.zeros_like(image)
    if mask.any():
        box = mask_box(mask)
        remapped[box] = cv2.remap(image, map_x[box], map_y[box], cv2.INTER_LINEAR)
    return remapped


def _refuse_empty_mask(
    masks: UInt8[ndarray, "camera h w"], files: Sequence[CameraFiles], frame: int
) -> None:
    seen = masks.any(axis=(1, 2))
    if seen.any() and not seen.all():
        camera = int(np.argmin(seen))
        raise PoseSplatterError(
            f"{files[camera].masks}: the mask of camera {files[camera].name} is empty in frame "
            f"{frame + files[camera].offset}, where other cameras see the animal; correct the "
            "mask, or set empty_masks: absent for this recording in config to leave such frames "
            "out."
        )


def create_array(file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """An array of bytes (frame ...) in an HDF5 file, compressed a frame at a time."""
    if shape[0] == 0:  # a part without frames: HDF5 wants chunks no larger than an array
        return file.create_dataset(name, shape, np.uint8)
    return file.create_dataset(
        name,
        shape,
        np.uint8,
        chunks=(1, *shape[1:]),
        compression="gzip",
        compression_opts=DEFLATE_LEVEL,
    )


def gather_parts(
    path: str | Path,
    parts: Sequence[str | Path],
    arrays: Sequence[str] = ARRAYS,
    numbers: str = "source_frames",
) -> None:
    """Join parts, in their order, into one file by copying their compressed chunks.

    `arrays` have one chunk per frame and `numbers` one number: those of images.h5 where nothing
    else is said. The attribute `digest` tells apart what is in the file, not when or in how many
    parts it was made.
    """
    digest = hashlib.blake2b(digest_size=16)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_h5(part)) for part in parts]
        target = stack.enter_context(create_h5(path))
        target.attrs.update(sources[0].attrs)
        target[numbers] = np.concatenate([part[numbers][:] for part in sources])
        for name in arrays:
            n_frames = sum(len(part[name]) for part in sources)
            array = create_array(target, name, (n_frames, *sources[0][name].shape[1:]))
            chunks = (chunk for part in sources for chunk in _compressed_chunks(part[name]))
            joined = track(chunks, f"joining {name}", n_frames)
            for frame, (filter_mask, data) in enumerate(joined):
                array.id.write_direct_chunk(_chunk_offset(array, frame), data, filter_mask)
                digest.update(data)
        digest.update(target[numbers][:].tobytes())
        target.attrs["digest"] = digest.hexdigest()


def _chunk_offset(array: h5py.Dataset, frame: int) -> tuple[int, ...]:
    return (frame,) + (0,) * (array.ndim - 1)


def _compressed_chunks(array: h5py.Dataset) -> Iterator[tuple[int, bytes]]:
    """The filter mask and the zlib stream of each frame's chunk."""
    for frame in range(len(array)):
        yield array.id.read_direct_chunk(_chunk_offset(array, frame))


def write_zarr(path: str | Path, images_h5: str | Path) -> None:
    """Write images.zarr from images.h5: the same arrays, the same compressed bytes.

    HDF5's deflate chunks are zlib streams and Zarr's gzip chunks differ in the frame around them
    alone (RFC 1950, RFC 1952). The CRC of that frame needs the raw bytes, so every chunk is
    inflated once, which also proves it sound, and never compressed again.
    """
    with atomic_path(path) as temporary, open_h5(images_h5) as source:
        group = zarr.create_group(temporary, zarr_format=3, attributes=_plain(source.attrs))
        group.create_array("source_frames", data=source["source_frames"][:])
        for name in ARRAYS:
            shape = source[name].shape
            array = group.create_array(
                name,
                shape=shape,
                chunks=(1, *shape[1:]),
                dtype="uint8",
                compressors=GzipCodec(level=DEFLATE_LEVEL),
                # Chunks lie beside each other, not each in five folders of its own.
                chunk_key_encoding={"name": "default", "separator": "."},
            )
            chunks = track(_compressed_chunks(source[name]), f"copying {name}", shape[0])
            for frame, (_, data) in enumerate(chunks):
                key = array.metadata.encode_chunk_key(_chunk_offset(source[name], frame))
                with sound(images_h5, f"frame {frame} of {name}"):
                    chunk = _zlib_to_gzip(data)
                Path(temporary, name, key).write_bytes(chunk)


def _zlib_to_gzip(stream: bytes) -> bytes:
    raw = zlib.decompress(stream)
    header = b"\x1f\x8b\x08" + bytes(5) + b"\x00\xff"
    return header + stream[2:-4] + struct.pack("<II", zlib.crc32(raw), len(raw) & 0xFFFFFFFF)


def _plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    """HDF5 attributes as JSON values."""
    return {key: getattr(value, "tolist", lambda v=value: v)() for key, value in attributes.items()}


@dataclass(frozen=True)
class FrameStore:
    """images.zarr, opened for reading. Safe to open in many processes at once.

    Where it lies in a folder, what is damaged in there raises PoseSplatterError.
    """

    images: zarr.Array
    masks: zarr.Array
    source_frames: Int[ndarray, " frame"]
    cameras: tuple[str, ...]
    downsample: int
    path: Path | None = None

    @classmethod
    def open(cls, path: str | Path) -> "FrameStore":
        """Open images.zarr; the arrays are read a frame at a time."""
        with sound(path, "the store"):
            images, masks, source_frames = (
                zarr.open_array(path, path=name, mode="r") for name in (*ARRAYS, "source_frames")
            )
            attributes: dict[str, Any] = dict(zarr.open_group(path, mode="r").attrs)
            return cls(
                images=images,
                masks=masks,
                source_frames=np.asarray(source_frames[:]),
                cameras=tuple(attributes["cameras"]),
                downsample=attributes["downsample"],
                path=Path(path),
            )

    def __len__(self) -> int:
        return len(self.source_frames)

    def read_images(self, frame: int) -> UInt8[ndarray, "camera h w 3"]:
        return self._read(self.images, "images", frame)

    def read_masks(self, frame: int) -> UInt8[ndarray, "camera h w"]:
        return self._read(self.masks, "masks", frame)

    def _read(self, array: zarr.Array, name: str, frame: int) -> UInt8[ndarray, "camera h w *rgb"]:
        """One frame's chunk, whose checksum the decoder verifies."""
        if self.path is None:
            return np.asarray(array[frame])
        with sound(self.path, f"frame {frame} of {name}"):
            key = array.metadata.encode_chunk_key((frame,) + (0,) * (array.ndim - 1))
            if not Path(self.path, name, key).exists():  # Zarr would read zeros
                raise ValueError(f"no chunk {key}")
            return np.asarray(array[frame])


def frame_index(source_frames: Int[ndarray, " frame"], number: int, where: str) -> int:
    """The index into a store of frame `number` of the videos; `where` says who named it."""
    found = np.flatnonzero(source_frames == number)
    if not len(found):
        step = int(source_frames[1] - source_frames[0]) if len(source_frames) > 1 else 1
        spacing = f" in steps of {step}" if step > 1 else ""
        raise PoseSplatterError(
            f"{where} names {number}, but the recording's frames are {source_frames[0]} to "
            f"{source_frames[-1]}{spacing}; choose among those."
        )
    return int(found[0])


def frame_indices(
    source_frames: Int[ndarray, " frame"], numbers: Sequence[int], where: str
) -> list[int]:
    """The indices, ascending, of those frames of the videos that the recording has.

    Settings hold for all recordings, of which some are shorter: what a recording lacks is logged.
    Raises PoseSplatterError where it has none of them.
    """
    wanted = sorted(set(numbers))
    there = [number for number in wanted if number in source_frames]
    if not there:
        return [frame_index(source_frames, wanted[0], where)]
    for number in wanted:
        if number not in there:
            logger.warning("%s names %d, which is not a frame of this recording", where, number)
    return [frame_index(source_frames, number, where) for number in there]


def chunk_of(frames: range, part: str) -> range:
    """The frames of part "i-of-n": n consecutive runs, as equal as they can be, i from 1."""
    index, count = (int(number) for number in part.split("-of-"))
    bounds = [round(len(frames) * edge / count) for edge in (index - 1, index)]
    return frames[bounds[0] : bounds[1]]


@dataclass(frozen=True)
class FrameSplit:
    """Which frames, by index into the store, serve training, validation and test."""

    train: range
    valid: range
    test: range


def split_frames(n_frames: int, fractions: Sequence[float]) -> FrameSplit:
    """Split by time: the first part trains, the next validates, the last tests."""
    ends = [round(n_frames * float(end)) for end in np.cumsum(fractions[:2])]
    return FrameSplit(range(ends[0]), range(*ends), range(ends[1], n_frames))
