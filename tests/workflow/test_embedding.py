"""The embedding, which is made when asked for by name: what there is then, and what reruns."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from .conftest import ROOT, Workspace, remove
from .test_staleness import PACKAGE, append

pytestmark = pytest.mark.slow
EXPERIMENT = "results/experiments/baseline"
PAGE = f"{EXPERIMENT}/embedding/map.html"
HDF5 = f"{EXPERIMENT}/demo/embedding/embedding.h5"
ABSENT = [3, 19]

SHOW = {"embedding_page": 1}
MAP = {"embedding_map": 1, "embedding_h5": 1} | SHOW
EMBED = {"embedding": 1} | MAP
FIT = {"transforms": 1} | EMBED
LOOK = {"features_part": 2, "features": 1} | FIT


@pytest.fixture(scope="module")
def embedded(finished, tmp_path_factory) -> Workspace:
    """The finished run with an embedding, for which the animal is absent in two frames."""
    workspace = finished.copied(tmp_path_factory.mktemp("an embedded run"))
    lose_the_animal(workspace.folder / "results/recordings/demo/default/center_rotation.npz")
    run = workspace.run(PAGE, HDF5)
    assert run.code == 0, run.output
    return workspace


def lose_the_animal(path):
    """As if tracking had; the file's time stays, so that nothing before the embedding is stale."""
    times = os.stat(path)
    with np.load(path) as file:
        track = dict(file)
    track["visible"][ABSENT] = False
    for name in ("centers", "angles", "covs", "radii", "spans"):
        track[name][ABSENT] = np.nan
    np.savez(path, **track)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_an_embedding_holds(embedded):
    folder = embedded.folder / EXPERIMENT
    own = folder / "demo/embedding"
    features = np.asarray(zarr.open_array(own / "features.zarr", path="features", mode="r")[:])
    assert features.shape == (24, 10, 339)
    absent = np.isin(np.arange(24), ABSENT)
    assert np.isnan(features[absent]).all()
    assert np.isfinite(features[~absent]).all()
    embedding = np.load(own / "embedding.npy", allow_pickle=False)
    assert embedding.shape == (24, 5)
    assert np.isnan(embedding[absent]).all()
    assert (np.ptp(embedding[~absent], axis=0) > 0).all()
    table = pd.read_csv(own / "embedding.csv")
    assert list(table) == ["frame", "source_frame", "z1", "z2", "z3", "z4", "z5"]
    np.testing.assert_allclose(table.iloc[:, 2:], embedding, rtol=1e-4)
    with np.load(folder / "embedding/transforms.npz", allow_pickle=False) as transforms:
        assert transforms["projection"].shape == (5, 10 * 339)
    assert pd.read_csv(own / "heading.csv")["pca"].tolist() == ["plain", "adversarial"]
    places = pd.read_csv(folder / "embedding/map.csv")
    assert places.index[places["x"].isna()].tolist() == ABSENT
    assert (folder / "embedding/map.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "embedding/map.html").read_text()
    assert page.count("data:image/webp") == 22
    assert "22 frames of demo" in page
    with h5py.File(own / "embedding.h5") as file:
        np.testing.assert_array_equal(file["embedding"][:], embedding)
        np.testing.assert_allclose(file["map"][:], places[["x", "y"]], rtol=1e-4)
        assert file["source_frame"][:].tolist() == list(range(24))
    assert not (own / "parts").exists()


def test_the_samples_of_the_documentation_run(embedded):
    """One after the other, as somebody would who reads the page."""
    page = (ROOT / "docs/embedding.md").read_text()
    samples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(samples) == 4
    if find_spec("hmmlearn") is None:
        samples = [sample for sample in samples if "hmmlearn" not in sample]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(samples)],
        cwd=embedded.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "R2 on frames that it has not seen" in run.stdout


CONFIG = {
    "encoder": ({"embedding": {"encoder": "efficientnet_lite0"}}, LOOK),
    "view size": ({"embedding": {"view_size": 48}}, LOOK),
    "azimuths": ({"embedding": {"azimuths": 12}}, LOOK),
    "components": ({"embedding": {"components": 4}}, FIT),
    "mu": ({"embedding": {"mu": 100.0}}, FIT),
    "seed": ({"embedding": {"seed": 1}}, FIT),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize("change", CONFIG)
def test_a_setting_reruns_what_reads_it(embedded, change):
    overrides, expected = CONFIG[change]
    assert embedded.dry_run(PAGE, HDF5, overrides=overrides).jobs() == expected


FILES = {
    "encoders.py": (f"{PACKAGE}/embedding/encoders.py", append, LOOK),
    "transforms.py": (f"{PACKAGE}/embedding/transforms.py", append, FIT),
    "maps.py": (f"{PACKAGE}/embedding/maps.py", append, MAP),
    "page.py": (f"{PACKAGE}/embedding/page.py", append, SHOW),
}


@pytest.mark.parametrize("change", FILES)
def test_a_file_reruns_what_reads_it(embedded, change):
    name, edit, expected = FILES[change]
    with embedded.changed(name) as path:
        edit(path)
        run = embedded.dry_run(PAGE, HDF5)
    assert run.jobs() == expected


def test_a_deleted_embedding_is_made_again_with_what_follows(embedded):
    name = f"{EXPERIMENT}/demo/embedding/embedding.npy"
    with embedded.changed(name) as path:
        remove(path)
        assert embedded.dry_run(name, PAGE, HDF5).jobs() == EMBED


def test_no_embedding_is_made_unless_it_is_asked_for(finished):
    assert not list((finished.folder / "results").rglob("embedding"))


def test_a_recording_is_embedded_as_the_training_recordings_were(workspace):
    """Features of all three, of which two fit the transforms; embedded is the third."""
    overrides = {
        "recordings": workspace.with_rigs(),
        "experiments": {"many": {"train": ["six", "five"], "apply": ["four"]}},
    }
    jobs = workspace.dry_run("results/experiments/many/embedding/map.html", overrides=overrides)
    counts = jobs.jobs()
    assert (counts["features"], counts["transforms"], counts["embedding"]) == (3, 1, 1)
    assert counts["train"] == counts["embedding_map"] == 1
