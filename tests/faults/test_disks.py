"""Disks that are full and files that rot: told in a sentence, and mended by what it says."""

import os
import shutil

import pytest

from ..conftest import DAMAGES
from .conftest import EXPERIMENT, workflow_in
from .kills import contents, differing, leftovers

pytestmark = pytest.mark.faults
PREPROCESSED = "results/recordings/demo/default"


def test_a_disk_that_fills_in_any_stage(undisturbed, small_disk, tmp_path):
    """Only results lie on it: Snakemake's own notes are elsewhere."""
    whole, _ = undisturbed
    small_disk.resize(1 << 16)
    workflow = workflow_in(tmp_path / "full")
    (workflow.folder / "results").symlink_to(small_disk.folder)
    for rule in ("images_part", "images_zarr", "train", "render", "features_part"):
        process = workflow.start()
        assert workflow.begun(process, [rule]), workflow.log.read_text()
        before = contents(workflow.folder).keys()
        used = shutil.disk_usage(small_disk.folder).used
        small_disk.resize(used // 1024 + 8)
        code, output = workflow.ended(process)
        sentences = [line for line in output.splitlines() if ": the disk is full; free" in line]
        print(f"{rule}: exit status {code}; {sentences[:1]}", flush=True)
        assert code != 0, output
        assert sentences, output
        assert contents(workflow.folder).keys() >= before
        assert differing(workflow.folder, whole.folder) == []
        small_disk.resize(1 << 16)
    code, output = workflow.run()
    assert code == 0, output
    assert contents(workflow.folder).keys() == contents(whole.folder).keys()
    assert differing(workflow.folder, whole.folder) == leftovers(workflow.folder) == []


# What rots, results that are deleted so that it is read, and what the sentence names.
ROTTEN = {
    "checkpoint": (
        f"{EXPERIMENT}/checkpoint.pt",
        (f"{EXPERIMENT}/demo/rendered_images.h5", f"{EXPERIMENT}/demo/metrics_test.csv"),
        f"{EXPERIMENT}/checkpoint.pt",
    ),
    "chunk": (
        f"{PREPROCESSED}/images.zarr/masks/c.9.0.0.0",
        (f"{EXPERIMENT}/demo/metrics_test.csv",),
        f"{PREPROCESSED}/images.zarr",
    ),
    "renders": (
        f"{EXPERIMENT}/demo/rendered_images.h5",
        (f"{EXPERIMENT}/demo/metrics_test.csv",),
        f"{EXPERIMENT}/demo/rendered_images.h5",
    ),
    "features": (
        f"{EXPERIMENT}/demo/embedding/features.zarr/features/c.3.0.0",
        (
            f"{EXPERIMENT}/demo/embedding/embedding.h5",
            f"{EXPERIMENT}/demo/embedding/embedding.npy",
        ),
        f"{EXPERIMENT}/demo/embedding/features.zarr",
    ),
}


@pytest.mark.parametrize("kind", ROTTEN)
def test_what_rots_is_named_and_made_anew(undisturbed, finished, kind):
    """A bit flips, and the file's time stays, as disks have it."""
    rotten, asked, name = ROTTEN[kind]
    rotten, named = finished.folder / rotten, finished.folder / name
    times = rotten.stat()
    DAMAGES["a bit flipped"](rotten)
    os.utime(rotten, ns=(times.st_atime_ns, times.st_mtime_ns))
    for path in asked:
        (finished.folder / path).unlink()
    code, output = finished.run()
    sentence = [line for line in output.splitlines() if f"Error: {name}" in line]
    print(sentence[:1], flush=True)
    assert code != 0
    assert sentence, output
    assert "delete it" in sentence[0] or f"delete {named.name}" in sentence[0]
    shutil.rmtree(named) if named.is_dir() else named.unlink()
    code, output = finished.run()
    assert code == 0, output
    whole = undisturbed[0].folder
    assert contents(finished.folder).keys() == contents(whole).keys()
    assert differing(finished.folder, whole) == leftovers(finished.folder) == []
