"""Files of the embedding: features.zarr, written in parts, and embedding.npy, .csv and .h5."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from jaxtyping import Float, Int
from numpy import ndarray
from zarr.codecs import ZstdCodec

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, create_h5, resumable_path, sound

ARRAY = "features"
BLOCK = 1000  # frames that are read at once: a recording of hours would not fit the memory
# What embedding.h5 holds of a frame's movements (see `body.movements`).
UNITS = {
    "heading": "radians",
    "height": "body sizes",
    "speed": "body sizes per second",
    "time": "seconds",
}

logger = logging.getLogger(__name__)


def write_features(
    path: str | Path,
    features_from: Callable[[int], Iterable[Float[ndarray, "harmonic channel"]]],
    shape: tuple[int, int, int],
    attributes: dict[str, Any],
    fingerprint: str,
) -> None:
    """Write /features float32 (frame harmonic channel), a frame at a time, one chunk per frame.

    `features_from(frame)` gives that frame's and those of all after it: where a job of the same
    `fingerprint` was killed, this one goes on (see `resumable_path`).
    """
    with resumable_path(path, fingerprint) as partial:
        if not (partial / ARRAY / "zarr.json").exists():
            _create(partial, shape, attributes)
        # Every chunk is written, even one of zeros: gathering copies them all.
        with zarr.config.set({"array.write_empty_chunks": True}):
            array = zarr.open_array(partial, path=ARRAY, mode="r+")
        done = _finished(partial, array)
        if done:
            logger.info("going on after %d of %d frames", done, shape[0])
        for frame, values in enumerate(features_from(done), start=done):
            array[frame] = values
        if _finished(partial, array) < shape[0]:
            raise PoseSplatterError(
                f"{path}: another job has taken over what this one wrote; end one of them and run "
                "the same command again."
            )


def _finished(path: str | Path, array: zarr.Array) -> int:
    """How many frames were written, one after the other; Zarr moves a whole chunk into place."""
    frames = range(array.shape[0])
    missing = (frame for frame in frames if not _chunk(path, array, frame).exists())
    return next(missing, len(frames))


def gather_features(path: str | Path, parts: Sequence[str | Path]) -> None:
    """Join parts, in their order, by copying their chunks as they are."""
    sources = [zarr.open_array(part, path=ARRAY, mode="r") for part in parts]
    attributes = dict(zarr.open_group(parts[0], mode="r").attrs)
    n_frames = sum(source.shape[0] for source in sources)
    with atomic_path(path) as temporary:
        array = _create(temporary, (n_frames, *sources[0].shape[1:]), attributes)
        frame = 0
        for part, source in zip(parts, sources, strict=True):
            for index in range(source.shape[0]):
                shutil.copyfile(_chunk(part, source, index), _chunk(temporary, array, frame))
                frame += 1


def _create(path: str | Path, shape: tuple[int, ...], attributes: dict[str, Any]) -> zarr.Array:
    group = zarr.create_group(path, zarr_format=3, attributes=attributes, overwrite=True)
    return group.create_array(
        ARRAY,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype="float32",
        compressors=ZstdCodec(checksum=True),
        # Chunks lie beside each other, not each in folders of its own.
        chunk_key_encoding={"name": "default", "separator": "."},
    )


def _chunk(path: str | Path, array: zarr.Array, frame: int) -> Path:
    return Path(path, ARRAY, array.metadata.encode_chunk_key((frame, 0, 0)))


def read_features(
    path: str | Path, frames: Int[ndarray, " frame"] | slice = slice(None)
) -> Float[ndarray, "frame feature"]:
    """The features of some frames of a recording, flattened; NaN in those without the animal.

    Raises PoseSplatterError where the store is damaged.
    """
    with sound(path, "the store"):
        array = zarr.open_array(path, path=ARRAY, mode="r")
        for frame in np.arange(array.shape[0])[frames].tolist():
            if not _chunk(path, array, frame).exists():  # Zarr would read zeros
                raise ValueError(f"no chunk of frame {frame}")
        features = np.asarray(array.oindex[frames])
    return features.reshape(len(features), -1)


def read_blocks(path: str | Path) -> Iterator[Float[ndarray, "_ feature"]]:
    """The features of all frames in their order, BLOCK frames at a time."""
    with sound(path, "the store"):
        n_frames = zarr.open_array(path, path=ARRAY, mode="r").shape[0]
    for first in range(0, n_frames, BLOCK):
        yield read_features(path, slice(first, first + BLOCK))


def write_embedding(
    npy: str | Path,
    csv: str | Path,
    embedding: Float[ndarray, "frame component"],
    source_frames: Int[ndarray, " frame"],
) -> None:
    """Write embedding.npy float32 and embedding.csv: frame, source_frame, z1, z2, …"""
    with atomic_path(npy) as temporary:
        np.save(temporary, embedding.astype(np.float32))
    names = [f"z{component + 1}" for component in range(embedding.shape[1])]
    table = pd.DataFrame(embedding, columns=names)
    table.insert(0, "source_frame", source_frames)
    table.insert(0, "frame", range(len(embedding)))
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def write_embedding_h5(
    path: str | Path,
    embedding: Float[ndarray, "frame component"],
    table: pd.DataFrame,
    source_frames: Int[ndarray, " frame"],
    recording: str,
) -> None:
    """Write embedding.h5, which MATLAB's h5read reads as it is: numbers and text of fixed length.

    /embedding float32 (frame component) and /map (frame 2), then a number per frame: /frame,
    /source_frame, /heading, /height, /speed and /time, with their `units`. `table` is the
    recording's part of map.csv. Raises PoseSplatterError where the map lacks the recording.
    """
    if table.empty:
        raise PoseSplatterError(
            f"{recording} is not on the experiment's map, which embedding.h5 holds; add it to the "
            "experiment's apply in the config."
        )
    with create_h5(path) as file:
        file.attrs["recording"] = np.bytes_(recording)
        file["embedding"] = embedding.astype(np.float32)
        file["map"] = table[["x", "y"]].to_numpy(np.float32)
        file["frame"] = table["frame"].to_numpy(np.int64)
        file["source_frame"] = source_frames.astype(np.int64)
        for name, unit in UNITS.items():
            file[name] = table[name].to_numpy(np.float64)
            file[name].attrs["units"] = np.bytes_(unit)


def read_map(path: str | Path) -> pd.DataFrame:
    """Read map.csv; a recording's name is text, whatever it looks like."""
    return pd.read_csv(path, dtype={"recording": str})
