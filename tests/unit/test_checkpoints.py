"""Models on disk: they round-trip, are small, and never run what is in a file."""

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pose_splatter.checkpoints import (
    Checkpoint,
    load_checkpoint,
    model_card,
    save_checkpoint,
    starting_point,
    write_release,
)
from pose_splatter.config import RELEASE_FILES
from pose_splatter.errors import PoseSplatterError
from pose_splatter.model import NetworkConfig, PoseSplatter

from ..conftest import DAMAGES, Trap

NETWORK = NetworkConfig(unets=1, channels=(8, 16), stride=2, features=4, hidden=8)


@pytest.fixture
def checkpoint() -> Checkpoint:
    weights = PoseSplatter(NETWORK).state_dict()
    settings = {
        "train": ["demo"],
        "preset": {"name": "default", "downsample": 4},
        "heldout_cameras": {"demo": ["1", "5"]},
        "init_from": None,
        "network": {"channels": [8, 16]},
        "code": "0123abc",
    }
    return Checkpoint(NETWORK, weights, settings, epoch=3, valid_loss=0.25)


def test_checkpoint_and_release_round_trip(tmp_path, checkpoint):
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint)
    write_release(tmp_path / "release", checkpoint, "card")
    for path in (tmp_path / "checkpoint.pt", tmp_path / "release"):
        again = load_checkpoint(path)
        assert again.network == NETWORK
        assert (again.epoch, again.valid_loss) == (3, 0.25)
        assert again.settings == checkpoint.settings
        for name, weight in again.model("cpu").state_dict().items():
            assert torch.equal(weight, checkpoint.weights[name])


def test_release_holds_weights_alone_and_their_checksums(tmp_path, checkpoint):
    write_release(tmp_path / "release", checkpoint, "card")
    names = {path.name for path in (tmp_path / "release").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md", "SHA256SUMS"}
    sums = (tmp_path / "release/SHA256SUMS").read_text().split()
    for digest, name in zip(sums[::2], sums[1::2], strict=True):
        content = (tmp_path / "release" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    assert sums[1::2] == ["config.json", "model.safetensors"], "not the card: it is to be filled in"
    weights = 4 * sum(weight.numel() for weight in checkpoint.weights.values())
    size = (tmp_path / "release/model.safetensors").stat().st_size
    assert weights <= size < 1.1 * weights + 10_000


def test_model_card_says_what_a_reader_needs(checkpoint):
    card = model_card("baseline", checkpoint, {"demo": "| a table |"}, "0.1.0")
    for words in (
        "# baseline",
        "- demo: held-out cameras 1, 5",
        "from random weights",
        "epoch 3",
        "name default, downsample 4",
        "| a table |",
        "0.1.0, trained by code 0123abc",
        "Licence",
    ):
        assert words in card


def test_a_damaged_release_is_refused(tmp_path, checkpoint):
    """One byte of the weights has changed: they load, but they are not what was given away."""
    release = tmp_path / "release"
    write_release(release, checkpoint, "card")
    weights = bytearray((release / "model.safetensors").read_bytes())
    weights[-2] ^= 1
    (release / "model.safetensors").write_bytes(weights)
    with pytest.raises(PoseSplatterError, match=r"model\.safetensors is not what SHA256SUMS says"):
        load_checkpoint(release)


def test_the_same_model_is_the_same_file(tmp_path, checkpoint):
    """So that what reads a model that was made again is not made again itself."""
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, checkpoint)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_damaged_checkpoint_is_named(tmp_path, checkpoint):
    """PyTorch itself reads weights with a flipped bit without a word."""
    path = tmp_path / "checkpoint.pt"
    for damage in DAMAGES.values():
        save_checkpoint(path, checkpoint)
        damage(path)
        with pytest.raises(
            PoseSplatterError, match=r"checkpoint\.pt: not a checkpoint .* delete it"
        ):
            load_checkpoint(path)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_bit_flipped_anywhere_is_found_or_changes_nothing(tmp_path, place, bit):
    torch.manual_seed(0)
    whole = Checkpoint(NETWORK, PoseSplatter(NETWORK).state_dict(), {}, 3, 0.25)
    save_checkpoint(tmp_path / "checkpoint.pt", whole)
    content = bytearray((tmp_path / "checkpoint.pt").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (tmp_path / "checkpoint.pt").write_bytes(content)
    try:
        read = load_checkpoint(tmp_path / "checkpoint.pt")
    except PoseSplatterError:
        return
    assert (read.network, read.epoch, read.valid_loss) == (NETWORK, 3, 0.25)
    for name, weight in whole.weights.items():
        assert torch.equal(read.weights[name], weight)


def test_starting_points(tmp_path):
    assert starting_point([]) is None
    assert starting_point("a/checkpoint.pt") == Path("a/checkpoint.pt")
    assert starting_point("results/experiments/a/release") == Path("results/experiments/a/release")
    files = [f"given/{name}" for name in RELEASE_FILES]
    assert starting_point(files) == Path("given")


def test_what_is_no_checkpoint_is_refused(tmp_path, checkpoint):
    trap = Trap(tmp_path / "ran")
    bad = {
        "junk.pt": lambda path: path.write_bytes(b"junk"),
        "empty.pt": lambda path: torch.save({"weights": {}}, path),
        "evil.pt": lambda path: path.write_bytes(pickle.dumps(trap)),
        "evil_zip.pt": lambda path: torch.save({"network": trap}, path),
        "folder": lambda path: path.mkdir(),
    }
    for name, write in bad.items():
        write(tmp_path / name)
        with pytest.raises(PoseSplatterError, match=rf"{name}: not a checkpoint"):
            load_checkpoint(tmp_path / name)
        assert not (tmp_path / "ran").exists()
