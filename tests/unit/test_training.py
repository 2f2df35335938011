"""Training: the same twice, the same after a kill, and an end with a name where the loss breaks."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from pose_splatter import training
from pose_splatter.checkpoints import load_checkpoint, write_release
from pose_splatter.dataset import (
    Augmentation,
    FrameDataset,
    Recording,
    carve_frame,
    load_views,
    mirrored,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.evaluation import read_render, read_renders
from pose_splatter.losses import LossWeights
from pose_splatter.model import NetworkConfig, PoseSplatter, render
from pose_splatter.rendering import write_renders
from pose_splatter.training import TrainingConfig, train

from ..conftest import DAMAGES, balls_recording

NETWORK = NetworkConfig(unets=1, channels=(8, 16), stride=2, features=4, hidden=8)
CONFIG = TrainingConfig(epochs=3, learning_rate=3e-3, warmup=2, seed=5)
AUGMENTATION = Augmentation(drop_camera=0.5, mirror=0.5, turn=20, shift=1)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Twelve frames."""
    return balls_recording(np.arange(12), np.zeros(12))


def run(folder, recording, config=CONFIG, fingerprint="same", init_from=None, network=NETWORK):
    train(
        [recording],
        (0.5, 0.25, 0.25),
        network,
        config,
        LossWeights(),
        AUGMENTATION,
        checkpoint=folder / "checkpoint.pt",
        log=folder / "training_log.csv",
        state=folder / "training_state.pt",
        fingerprint=fingerprint,
        settings={"train": ["balls"], "preset": "small"},
        device="cpu",
        threads=2,
        init_from=init_from,
    )
    return pd.read_csv(folder / "training_log.csv").drop(
        columns=["seconds", "waiting", "memory_mb"]
    )


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["weights"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, recording):
    """A folder with what an undisturbed run wrote, and its log."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, recording).drop(columns="resumed")


def run_and_die(monkeypatch, *arguments) -> None:
    """A run that is killed once the state of its second epoch is written."""
    save = training._Run.save

    def save_and_die(self, *arguments):
        save(self, *arguments)
        if self.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run(*arguments)


def same_end(folder, again, whole) -> bool:
    """Whether a run ended as the undisturbed one did, bit for bit."""
    pd.testing.assert_frame_equal(again, whole[1], check_exact=True)
    return (folder / "checkpoint.pt").read_bytes() == (whole[0] / "checkpoint.pt").read_bytes()


def test_the_same_seed_gives_the_same_model(tmp_path, recording):
    for name in "ab":
        (tmp_path / name).mkdir()
    logs = [run(tmp_path / name, recording) for name in "ab"]
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    for one, other in zip(*(weights(tmp_path / n).values() for n in "ab"), strict=True):
        assert torch.equal(one, other)
    assert logs[0]["train_loss"].iloc[-1] < logs[0]["train_loss"].iloc[0]
    (tmp_path / "c").mkdir()
    other_seed = run(tmp_path / "c", recording, replace(CONFIG, seed=6))
    assert not np.allclose(other_seed["train_loss"], logs[0]["train_loss"])


def test_bfloat16_trains_to_nearly_the_same(tmp_path, recording):
    for name in "ab":
        (tmp_path / name).mkdir()
    single = run(tmp_path / "a", recording)
    half = run(tmp_path / "b", recording, replace(CONFIG, precision="bfloat16"))
    assert not np.array_equal(single["train_loss"], half["train_loss"])
    np.testing.assert_allclose(single["train_loss"], half["train_loss"], rtol=0.05)


def test_a_killed_training_goes_on_to_the_same_end(tmp_path, recording, whole, monkeypatch):
    run_and_die(monkeypatch, tmp_path, recording)
    assert not (tmp_path / "checkpoint.pt").exists()
    again = run(tmp_path, recording)
    assert list(again.pop("resumed")) == [0, 0, 1]
    assert same_end(tmp_path, again, whole)


def test_rehearsals_change_the_model_and_go_on_after_a_kill(tmp_path, recording, monkeypatch):
    for name in ("never", "whole", "killed"):
        (tmp_path / name).mkdir()
    config = replace(CONFIG, rehearse_after=1)
    without = run(tmp_path / "never", recording)
    whole = tmp_path / "whole", run(tmp_path / "whole", recording, config).drop(columns="resumed")
    pd.testing.assert_frame_equal(whole[1][:1], without[:1].drop(columns="resumed"))
    assert not np.isclose(whole[1]["valid_loss"][1:], without["valid_loss"][1:]).any()
    assert without["rehearsal_loss"].isna().all()
    assert list(whole[1]["rehearsal_loss"].isna()) == [True, False, False]
    run_and_die(monkeypatch, tmp_path / "killed", recording, config)
    again = run(tmp_path / "killed", recording, config)
    assert list(again.pop("resumed")) == [0, 0, 1]
    assert same_end(tmp_path / "killed", again, whole)


def test_more_epochs_go_on_and_other_settings_start_anew(tmp_path, recording):
    first = run(tmp_path, recording)
    longer = run(tmp_path, recording, replace(CONFIG, epochs=4))
    pd.testing.assert_frame_equal(longer[:3], first, check_exact=True)
    assert len(longer) == 4
    shorter = run(tmp_path, recording, replace(CONFIG, epochs=2))
    assert len(shorter) == 2
    anew = run(tmp_path, recording, replace(CONFIG, epochs=1), fingerprint="other")
    assert len(anew) == 1


def test_the_log_says_how_long_it_waited(tmp_path, recording):
    run(tmp_path, recording, replace(CONFIG, epochs=2, rehearse_after=1))
    waiting = pd.read_csv(tmp_path / "training_log.csv")["waiting"]
    assert (waiting > 0).all()
    assert (waiting < 1).all()


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    return clock


def test_rehearsing_is_not_waiting(tmp_path, recording, monkeypatch, clock):
    def slowly(self, batch):
        clock.now += 100
        return batch

    monkeypatch.setattr(training.Rehearsal, "__call__", slowly)
    run(tmp_path, recording, replace(CONFIG, epochs=1, rehearse_after=0))
    log = pd.read_csv(tmp_path / "training_log.csv")
    assert list(log["waiting"]) == [0]
    assert list(log["seconds"]) == [500], "five frames, of which one is empty"


def test_waiting_for_data_is_told_from_computing(clock):
    def slow():
        for number in range(3):
            clock.now += 2
            yield number

    batches = training._Timed(slow())
    for _ in batches:
        clock.now += 5
    assert batches.waited == 6


def test_rehearsals_are_steps_by_silhouettes_alone(tmp_path, recording, monkeypatch):
    """What is rehearsed are the frames themselves, and no step changes the model."""
    monkeypatch.setattr(training.Rehearsal, "__call__", lambda self, batch: batch)
    log = run(tmp_path, recording, replace(CONFIG, learning_rate=0.0, rehearse_after=0))
    pd.testing.assert_series_equal(
        log["rehearsal_loss"], log["train_iou"], check_names=False, check_exact=True
    )
    assert (log["train_loss"] > log["train_iou"]).all()


def test_the_best_validation_epoch_is_kept(tmp_path, recording, monkeypatch):
    """Made-up validation losses whose least is in the second epoch."""
    losses = iter([0.5, 0.2, 0.9])
    monkeypatch.setattr(
        training,
        "_validate",
        lambda *_: iter([dict.fromkeys(["loss", "iou", "image"], next(losses))]),
    )
    run(tmp_path, recording)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["epoch"] == 1
    assert saved["valid_loss"] == 0.2
    last = torch.load(tmp_path / "training_state.pt", weights_only=True)["model"]
    assert not torch.equal(saved["weights"]["decoder.last.weight"], last["decoder.last.weight"])


def test_a_loss_that_breaks_names_epoch_and_frame(tmp_path, recording, monkeypatch):
    compute = training.compute_losses

    def broken(rendering, batch, loss_weights):
        losses = compute(rendering, batch, loss_weights)
        return losses | {"loss": losses["loss"] * float("nan")} if batch.frame == 4 else losses

    monkeypatch.setattr(training, "compute_losses", broken)
    with pytest.raises(
        PoseSplatterError, match=r"loss is nan.*epoch 0 at video frame 4 of recording balls"
    ):
        run(tmp_path, recording)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_loss_that_breaks_costs_no_finished_epoch(tmp_path, recording, whole, monkeypatch):
    """The state stays that of the last good epoch; where the cause is gone, training goes on."""
    compute, state = training.compute_losses, tmp_path / "training_state.pt"

    def broken(rendering, batch, loss_weights):
        losses = compute(rendering, batch, loss_weights)
        return losses | {"loss": losses["loss"] * float("nan")} if state.exists() else losses

    with monkeypatch.context() as patched:
        patched.setattr(training, "compute_losses", broken)
        with pytest.raises(PoseSplatterError, match=r"loss is nan in epoch 1 .* learning_rate"):
            run(tmp_path, recording)
    kept = torch.load(state, weights_only=True)
    assert kept["epoch"] == 1
    assert all(torch.isfinite(weight).all() for weight in kept["best_weights"].values())
    again = run(tmp_path, recording)
    assert list(again.pop("resumed")) == [0, 1, 0]
    assert same_end(tmp_path, again, whole)


def test_a_disk_that_fills_costs_no_finished_epoch(recording, whole, small_disk):
    """There is room for one state: that of the second epoch does not fit beside the first's."""
    size = (whole[0] / "training_state.pt").stat().st_size
    small_disk.resize(round(1.5 * size / 1024))
    with pytest.raises(PoseSplatterError, match=r"training_state\.pt: the disk is full; free some"):
        run(small_disk.folder, recording)
    assert [path.name for path in small_disk.folder.iterdir()] == ["training_state.pt"]
    small_disk.resize(round(4 * size / 1024))
    again = run(small_disk.folder, recording)
    assert list(again.pop("resumed")) == [0, 1, 0]
    assert same_end(small_disk.folder, again, whole)


def test_a_damaged_state_is_named(tmp_path, recording, whole):
    state = tmp_path / "training_state.pt"
    content = (whole[0] / "training_state.pt").read_bytes()
    for damage in DAMAGES.values():
        state.write_bytes(content)
        damage(state)
        with pytest.raises(PoseSplatterError, match=r"training_state\.pt: the state .* delete it"):
            run(tmp_path, recording)


def test_a_validation_loss_that_breaks_ends_training(tmp_path, recording, monkeypatch):
    monkeypatch.setattr(
        training,
        "_validate",
        lambda *_: iter([dict.fromkeys(["loss", "iou", "image"], float("nan"))]),
    )
    with pytest.raises(PoseSplatterError, match="validation loss is nan after epoch 0"):
        run(tmp_path, recording)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_validation_reads_its_own_frames(tmp_path, recording, monkeypatch):
    read = []
    dataset = training.FrameDataset

    class Spy(dataset):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            read.append((self.augmentation == Augmentation(), batch.frame))
            return batch

    monkeypatch.setattr(training, "FrameDataset", Spy)
    run(tmp_path, recording, replace(CONFIG, epochs=1))
    assert {frame for plain, frame in read if not plain} == {0, 1, 3, 4, 5}
    assert {frame for plain, frame in read if plain} == {6, 7, 8}


def test_a_grid_without_the_animal_is_named(recording):
    crop = replace(recording.crop, length=1.0)
    lost = replace(
        recording, crop=crop, track=replace(recording.track, centers=np.full((12, 3), 900.0))
    )
    with pytest.raises(PoseSplatterError, match=r"balls: the model's grid .* video frame 1;"):
        FrameDataset([(lost, range(6))])[1]


def test_absent_frames_are_skipped(recording):
    frames = [FrameDataset([(recording, range(6))])[n].frame for n in range(5)]
    assert frames == [0, 1, 3, 4, 5]
    assert len(FrameDataset([(recording, range(6))])) == 5


def test_held_out_cameras_are_never_read(recording):
    """Poisoned held-out images and masks change no training frame."""
    images, masks = recording.store.images[:], recording.store.masks[:]
    images[:, 1], masks[:, 1] = 7, 1
    store = replace(recording.store, images=zarr.array(images), masks=zarr.array(masks))
    poisoned = replace(recording, store=store)
    one, other = (FrameDataset([(r, range(6))], AUGMENTATION)[3] for r in (recording, poisoned))
    assert len(one.images) == 4
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.volume.features, other.volume.features)


def behind_a_mirror(recording):
    """The recording of the same animal with y replaced by -y: mirrored cameras, pictures, track."""
    rig, track, crop, store = recording.rig, recording.track, recording.crop, recording.store
    flip, reflection = np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 2] = rig.width - intrinsics[:, 0, 2]
    x, (low, high), z = crop.box
    return replace(
        recording,
        rig=replace(
            rig,
            intrinsics=intrinsics,
            rotations=flip @ rig.rotations @ reflection,
            translations=rig.translations @ flip,
        ),
        track=replace(track, centers=track.centers @ reflection, angles=-track.angles),
        crop=replace(crop, box=(x, (crop.grid_size - high, crop.grid_size - low), z)),
        store=replace(
            store,
            images=zarr.array(np.ascontiguousarray(store.images[:][:, :, :, ::-1])),
            masks=zarr.array(np.ascontiguousarray(store.masks[:][:, :, :, ::-1])),
        ),
    )


def test_a_mirrored_frame_is_what_a_mirrored_rig_records(recording):
    crop = replace(recording.crop, box=((0, 16), (2, 16), (0, 16)))
    track = replace(recording.track, angles=np.full(12, 0.7))
    cut = replace(recording, crop=crop, track=track)
    frame = load_views(cut, 3, cut.observed, carve_frame(cut, 3, cut.observed))
    ours, theirs = mirrored(frame), carve_frame(behind_a_mirror(cut), 3, cut.observed)
    order, expected = (
        torch.argsort((indices * torch.tensor([256, 16, 1])).sum(dim=1))
        for indices in (ours.volume.indices, theirs.indices)
    )
    assert torch.equal(ours.volume.indices[order], theirs.indices[expected])
    # All but the few voxels that lie on the border between two pixels, and fall to the other side.
    same = torch.isclose(ours.volume.features[order], theirs.features[expected], atol=1e-5)
    assert same.float().mean() > 0.97
    torch.testing.assert_close(ours.volume.lower, theirs.lower)

    model, size = PoseSplatter(replace(NETWORK, unets=0)), (80, 60)
    plain = render(model(frame.volume), frame.viewmats, frame.Ks, *size)
    reflected = render(model(ours.volume), ours.viewmats, ours.Ks, *size)
    torch.testing.assert_close(reflected.images, plain.images.flip(2), atol=5e-3, rtol=0)
    assert torch.equal(ours.images, frame.images.flip(2))
    assert torch.equal(ours.masks, frame.masks.flip(2))
    assert not torch.equal(ours.masks, frame.masks)


def test_renders_of_a_trained_model(tmp_path, recording):
    run(tmp_path, recording)
    model = load_checkpoint(tmp_path / "checkpoint.pt").model("cpu")
    write_renders(tmp_path / "r.h5", model, recording, [1, 2, 9], "cpu")
    renders = dict(read_renders(tmp_path / "r.h5"))
    assert list(renders) == [1, 2, 9]
    assert renders[1].shape == (5, 60, 80, 4)
    assert (renders[2] == [255, 255, 255, 0]).all(), "an absent animal is rendered as nothing"
    assert (renders[9][..., 3] > 128).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(read_render(tmp_path / "r.h5", 9), renders[9])


def flip_a_bit_of_pictures(path):
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_renders_are_named(tmp_path, recording, damage):
    torch.manual_seed(0)
    write_renders(tmp_path / "r.h5", PoseSplatter(NETWORK).eval(), recording, [1, 9], "cpu")
    {**DAMAGES, "a bit flipped": flip_a_bit_of_pictures}[damage](tmp_path / "r.h5")
    with pytest.raises(PoseSplatterError, match=r"r\.h5: the file is damaged .* delete r\.h5"):
        list(read_renders(tmp_path / "r.h5"))


def test_renders_on_a_full_disk(recording, small_disk):
    torch.manual_seed(0)
    model, path = PoseSplatter(NETWORK).eval(), small_disk.folder / "r.h5"
    small_disk.resize(16)
    (small_disk.folder / "good.txt").write_text("good")
    with pytest.raises(PoseSplatterError, match=r"r\.h5: the disk is full; free some space"):
        write_renders(path, model, recording, range(12), "cpu")
    assert [other.name for other in small_disk.folder.iterdir()] == ["good.txt"]
    small_disk.resize(4096)
    write_renders(path, model, recording, range(12), "cpu")
    assert len(list(read_renders(path))) == 12


def test_a_model_starts_from_another(tmp_path, recording):
    """Started from a trained model, the first epoch is already better than that model's first."""
    for name in "ab":
        (tmp_path / name).mkdir()
    first = run(tmp_path / "a", recording)
    write_release(tmp_path / "release", load_checkpoint(tmp_path / "a/checkpoint.pt"), "card")
    for start in (tmp_path / "a/checkpoint.pt", tmp_path / "release"):
        tuned = run(tmp_path / "b", recording, fingerprint=str(start), init_from=start)
        assert tuned["train_loss"][0] < first["train_loss"][0]
        assert tuned["valid_loss"][0] < first["valid_loss"][0]
    other = replace(NETWORK, hidden=12)
    with pytest.raises(PoseSplatterError, match=r"release: the model has the sizes .* network"):
        run(tmp_path / "b", recording, network=other, init_from=start, fingerprint="sizes")
