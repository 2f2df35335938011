"""From recordings to features.zarr, embedding.npy and a map."""

import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from pose_splatter import files
from pose_splatter.dataset import carve_frame
from pose_splatter.embedding import store
from pose_splatter.embedding.body import body_size, movements
from pose_splatter.embedding.features import FeatureExtractor, write_recording_features
from pose_splatter.embedding.maps import map_table, neighbour_map, plot_map
from pose_splatter.embedding.sphere import ViewSphere
from pose_splatter.embedding.store import (
    gather_features,
    read_blocks,
    read_features,
    read_map,
    write_embedding,
    write_embedding_h5,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import chunk_of
from pose_splatter.model import NetworkConfig, PoseSplatter
from pose_splatter.tracking import Track
from pose_splatter.video import RecordingDescription

from ..conftest import DAMAGES
from .test_training import recording as balls  # noqa: F401


@pytest.fixture(scope="module")
def recording(balls):  # noqa: F811
    """The walking balls with a heading and a size; in frame 2 they are absent."""
    track = balls.track
    covs = np.tile(np.eye(3) * 300, (len(track), 1, 1))
    return replace(balls, track=replace(track, covs=covs, angles=np.linspace(0, 3, len(track))))


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return FeatureExtractor(
        model=PoseSplatter(NetworkConfig(unets=0, hidden=8)).eval(),
        encoder=lambda images: (1 - images).mean(dim=1)[:, 6:11, 0],
        sphere=ViewSphere.of_degree(1),
        view_size=16,
        device="cpu",
    )


def test_gaussians_are_in_the_animals_frame(extractor, recording):
    local, track = extractor.gaussians(recording, 4), recording.track
    with torch.no_grad():
        world = extractor.model(carve_frame(recording, 4, recording.observed))
    placed = local.placed(torch.from_numpy(track.centers[4]).float(), float(track.angles[4]))
    torch.testing.assert_close(placed.means, world.means, atol=1e-3, rtol=0)
    torch.testing.assert_close(placed.quats, world.quats)
    assert local.means.mean(dim=0).norm() < 20, "about the origin, wherever the animal is"


def gathered(folder, count, extractor, recording) -> dict[Path, bytes]:
    """The files of features.zarr, by their paths in it, gathered from `count` parts."""
    names = [f"{n + 1}-of-{count}" for n in range(count)]
    parts = [folder / f"features.{name}.zarr" for name in names]
    for name, part in zip(names, parts, strict=True):
        frames = chunk_of(range(len(recording.store)), name)
        write_recording_features(part, extractor, recording, frames, "a")
    path = folder / "features.zarr"
    gather_features(path, parts)
    files = [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path): file.read_bytes() for file in files}


@pytest.mark.parametrize("count", [3, 8, 24])
def test_parts_gather_to_what_one_part_holds(tmp_path, extractor, recording, count):
    """The second of eight parts holds no animal, the first of 24 no frame."""
    whole = gathered(tmp_path / "whole", 1, extractor, recording)
    assert {Path(f"features/c.{frame}.0.0") for frame in range(12)} <= set(whole)
    assert gathered(tmp_path / "parts", count, extractor, recording) == whole


def test_features_are_read_whole_and_in_part(tmp_path, monkeypatch, extractor, recording):
    gathered(tmp_path, 3, extractor, recording)
    features = read_features(tmp_path / "features.zarr")
    parts = [read_features(tmp_path / f"features.{n + 1}-of-3.zarr") for n in range(3)]
    np.testing.assert_array_equal(features, np.concatenate(parts))
    assert features.shape == (12, 3 * 5)
    some = read_features(tmp_path / "features.zarr", np.array([4, 1]))
    np.testing.assert_array_equal(some, features[[4, 1]])
    monkeypatch.setattr(store, "BLOCK", 5)
    blocks = list(read_blocks(tmp_path / "features.zarr"))
    assert list(map(len, blocks)) == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), features)
    assert np.isnan(features[2]).all(), "without the animal"
    assert np.isfinite(np.delete(features, 2, axis=0)).all()
    assert (np.delete(features, 2, axis=0) > 0).any(axis=1).all()
    group = zarr.open_group(tmp_path / "features.zarr", mode="r")
    assert group["features"].shape == (12, 3, 5)
    assert group.attrs["harmonics"] == [[0, 0], [1, 0], [1, 1]]
    assert group.attrs["recording"] == "balls"


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
def test_a_damaged_chunk_of_features_is_named(tmp_path, extractor, recording, damage):
    write_recording_features(tmp_path / "features.zarr", extractor, recording, range(3), "a")
    DAMAGES.get(damage, Path.unlink)(tmp_path / "features.zarr/features/c.1.0.0")
    with pytest.raises(PoseSplatterError, match=r"features\.zarr: the store is damaged .* delete"):
        read_features(tmp_path / "features.zarr")


def test_zeros_are_gathered_too(tmp_path, extractor, recording):
    blind = replace(extractor, encoder=lambda images: torch.zeros(len(images), 2))
    write_recording_features(tmp_path / "part.zarr", blind, recording, range(2), "a")
    gather_features(tmp_path / "features.zarr", [tmp_path / "part.zarr"])
    assert (read_features(tmp_path / "features.zarr") == 0).all()


class Dying:
    """An encoder that counts the frames it sees, and dies before one of them."""

    def __init__(self, encoder, dies_before: int | None = None) -> None:
        self.encoder, self.dies_before, self.frames = encoder, dies_before, 0

    def __call__(self, images):
        if len(images) > 1:  # a single view asks for the number of channels
            if self.frames == self.dies_before:
                raise KeyboardInterrupt
            self.frames += 1
        return self.encoder(images)


@pytest.fixture
def died(tmp_path, extractor, recording, monkeypatch):
    """A folder in which a job of fingerprint a has died before its fourth frame with an animal."""
    dying = replace(extractor, encoder=Dying(extractor.encoder, dies_before=3))
    with pytest.raises(KeyboardInterrupt):
        write_recording_features(tmp_path / "part.zarr", dying, recording, range(6), "a")
    assert not (tmp_path / "part.zarr").exists()
    monkeypatch.setattr(files, "STARTED", time.time() + 1)  # what comes next is another process
    return tmp_path


@pytest.mark.parametrize(("fingerprint", "left"), [("a", 2), ("b", 5)])
def test_a_job_goes_on_with_what_one_of_its_kind_left(
    died, extractor, recording, fingerprint, left
):
    """Frames 0, 1 and 3 were encoded; 2 has no animal. Another fingerprint begins anew."""
    write_recording_features(died / "whole.zarr", extractor, recording, range(6), fingerprint)
    counting = replace(extractor, encoder=Dying(extractor.encoder))
    write_recording_features(died / "part.zarr", counting, recording, range(6), fingerprint)
    assert counting.encoder.frames == left
    np.testing.assert_array_equal(
        read_features(died / "part.zarr"), read_features(died / "whole.zarr")
    )
    assert sorted(path.name for path in died.iterdir()) == ["part.zarr", "whole.zarr"]


def test_jobs_side_by_side_keep_what_each_other_left(died, extractor, recording):
    write_recording_features(died / "other.zarr", extractor, recording, range(6), "a")
    assert len(list(died.glob(".part.*.a.partial.zarr"))) == 1


def test_what_a_job_left_before_its_first_frame_is_no_harm(
    tmp_path, extractor, recording, monkeypatch
):
    (tmp_path / ".part.01234567.a.partial.zarr/features").mkdir(parents=True)
    (tmp_path / ".part.01234567.a.partial.zarr/zarr.json").write_text("{}")
    monkeypatch.setattr(files, "STARTED", time.time() + 1)
    write_recording_features(tmp_path / "part.zarr", extractor, recording, range(2), "a")
    assert np.isfinite(read_features(tmp_path / "part.zarr")).all()


def walk(unit: float) -> Track:
    """Two body sizes a second along x at heading -90 degrees, rearing at frame 50; 90 is absent."""
    time = np.arange(100) / 20
    centers = np.stack([2 * time, 0 * time, 5 + (np.arange(100) == 50)], axis=-1)
    visible = np.arange(100) != 90
    centers[90] = np.nan
    return Track(
        visible=visible,
        centers=unit * centers,
        angles=np.full(100, -np.pi / 2),
        covs=np.tile(unit**2 * np.eye(3) / 3, (100, 1, 1)),
        radii=np.zeros((100, 2)),
        spans=np.zeros((100, 2)),
    )


@pytest.mark.parametrize("unit", [0.03, 30.0])
def test_movements_are_in_body_sizes(unit):
    videos = RecordingDescription(width=8, height=8, fps=100.0, start=50, stop=550, step=5)
    table = movements(walk(unit), videos)
    assert body_size(walk(unit)) == pytest.approx(unit)
    assert list(table) == ["time", "heading", "height", "speed"]
    assert table["time"].iloc[[0, -1]].tolist() == [0.5, 5.45]
    assert table["heading"].dropna().unique() == pytest.approx([1.5 * np.pi])
    np.testing.assert_allclose(table["speed"][20:80], 2, rtol=1e-6)
    assert table["height"][50] == pytest.approx(1)
    assert table.drop(90).notna().all(axis=None)
    assert table.loc[90, ["heading", "height", "speed"]].isna().all()


def test_the_table_says_which_frame_of_the_videos(tmp_path):
    embedding = np.random.default_rng(0).normal(size=(4, 3))
    embedding[1] = np.nan
    write_embedding(tmp_path / "e.npy", tmp_path / "e.csv", embedding, np.arange(10, 50, 10))
    table = pd.read_csv(tmp_path / "e.csv")
    assert list(table) == ["frame", "source_frame", "z1", "z2", "z3"]
    assert table["source_frame"].tolist() == [10, 20, 30, 40]
    stored = np.load(tmp_path / "e.npy", allow_pickle=False)
    np.testing.assert_allclose(table[["z1", "z2", "z3"]], stored, rtol=1e-5)
    assert stored.dtype == np.float32
    assert np.isnan(stored[1]).all()


def test_hdf5_is_as_matlab_reads_it(tmp_path):
    """Plain numbers and text of fixed length, as the table of the map says them."""
    random = np.random.default_rng(0)
    embedding = random.normal(size=(4, 3))
    names = ["x", "y", "time", "heading", "height", "speed"]
    table = pd.DataFrame(random.normal(size=(4, 6)), columns=names)
    table.loc[1, ["x", "y", "heading", "height", "speed"]] = embedding[1] = np.nan
    table.assign(recording="007", frame=range(4)).to_csv(tmp_path / "map.csv", index=False)
    table = read_map(tmp_path / "map.csv")
    assert table["recording"].tolist() == ["007"] * 4
    path = tmp_path / "embedding.h5"
    write_embedding_h5(path, embedding, table, np.arange(10, 50, 10), "007")
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["embedding"][:], embedding, rtol=1e-6)
        np.testing.assert_allclose(file["map"][:], table[["x", "y"]], rtol=1e-6)
        assert file["frame"][:].tolist() == [0, 1, 2, 3]
        assert file["source_frame"][:].tolist() == [10, 20, 30, 40]
        units = {name: file[name].attrs["units"].decode() for name in names[2:]}
        for name in units:
            np.testing.assert_array_equal(file[name][:], table[name])
        assert units == {
            **{"time": "seconds", "heading": "radians"},
            **{"height": "body sizes", "speed": "body sizes per second"},
        }
        assert file.attrs["recording"] == b"007"
        for array in file.values():
            assert array.dtype in (np.float32, np.float64, np.int64)
            assert array.compression is None
            for name in array.attrs:
                assert not array.attrs.get_id(name).get_type().is_variable_str()


def test_a_recording_that_is_not_on_the_map_is_named(tmp_path):
    table = pd.DataFrame(columns=["x", "y", "frame", "time", "heading", "height", "speed"])
    with pytest.raises(PoseSplatterError, match=r"rat is not on the experiment's map.*add it to"):
        write_embedding_h5(tmp_path / "e.h5", np.zeros((4, 3)), table, np.arange(4), "rat")
    assert not list(tmp_path.iterdir())


def test_a_map_keeps_neighbours_and_is_the_same_twice():
    random = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    embedding = random.normal(size=(60, 8)) + 20 * group[:, None]
    embedding[7] = np.nan
    places = neighbour_map(embedding, seed=1)
    np.testing.assert_array_equal(places, neighbour_map(embedding, seed=1))
    assert np.isnan(places[7]).all()
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distances, np.inf)
    seen = np.flatnonzero(np.arange(60) != 7)
    nearest = np.nanargmin(distances[seen], axis=1)
    assert (group[nearest] == group[seen]).all()
    with pytest.raises(PoseSplatterError, match="needs 10 frames with the animal, but there are 5"):
        neighbour_map(embedding[:5], seed=1)


def test_frames_of_all_recordings_are_in_one_table():
    random = np.random.default_rng(0)
    videos = RecordingDescription(width=8, height=8, fps=20.0, start=0, stop=100, step=1)
    moved = [movements(walk(unit), videos) for unit in (1.0, 25.0)]
    embeddings = [random.normal(size=(100, 4)) for _ in moved]
    embeddings[1][90] = np.nan
    table = map_table(["rat", "mouse"], embeddings, moved, seed=0)
    assert list(table) == ["recording", "frame", "x", "y", "time", "heading", "height", "speed"]
    assert table["frame"].tolist() == 2 * list(range(100))
    assert table.groupby("recording").size().to_dict() == {"mouse": 100, "rat": 100}
    assert table["x"].isna().to_numpy().nonzero()[0].tolist() == [190]


@pytest.mark.parametrize("recordings", [1, 2])
def test_the_map_has_a_panel_for_everything(recordings):
    random = np.random.default_rng(0)
    names = ["x", "y", "heading", "height", "speed", "time"]
    table = pd.DataFrame(random.uniform(0, 6, size=(40, 6)), columns=names)
    table["recording"] = [f"rat{index % recordings}" for index in range(40)]
    table.loc[3, ["x", "y"]] = np.nan
    figure = plot_map(table)
    labels = [axis.get_ylabel() for axis in figure.axes]
    for label in ("heading (degrees)", "speed (body sizes per second)", "time (s)"):
        assert label in labels
    heading = figure.axes[0].collections[0]
    assert len(heading.get_offsets()) == 39
    assert heading.get_array().max() == pytest.approx(np.rad2deg(table["heading"].drop(3).max()))
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert len(legends) == (recordings > 1)
