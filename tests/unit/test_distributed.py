"""A team of processes trains as one process would that steps on the mean of the team's frames."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DistributedSampler

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import FrameDataset
from pose_splatter.distributed import Team, launch
from pose_splatter.errors import PoseSplatterError
from pose_splatter.losses import LossWeights, compute_losses
from pose_splatter.progress import ProgressBar
from pose_splatter.rehearsal import Rehearsal
from pose_splatter.training import _forward, _Run, _validate, train

from .test_training import AUGMENTATION, CONFIG, NETWORK, recording

__all__ = ["recording"]
TWO = replace(CONFIG, epochs=2, processes=2)


def arguments(folder, recording, config=TWO):
    return {
        "recordings": [recording],
        "fractions": (0.5, 0.25, 0.25),
        "network": NETWORK,
        "config": config,
        "weights": LossWeights(),
        "augmentation": AUGMENTATION,
        "checkpoint": folder / "checkpoint.pt",
        "log": folder / "training_log.csv",
        "state": folder / "training_state.pt",
        "fingerprint": "same",
        "settings": {"train": ["balls"], "preset": "small"},
        "device": "cpu",
        "threads": 2,
    }


def steps_on_pairs(recording, config):
    """Train in this process alone, each step on two frames' mean loss: weights, validation."""
    frames = FrameDataset([(recording, range(6))], AUGMENTATION, config.seed)
    orders = [DistributedSampler(frames, 2, rank, seed=config.seed) for rank in range(2)]
    run = _Run(NETWORK, config, len(orders[0]), "cpu", Team())

    def step(pair, weights):
        run.optimizer.zero_grad()
        for batch in pair:
            losses = compute_losses(_forward(run.model, batch, config), batch, weights)
            (losses["loss"] / 2).backward()
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_gradient)
        run.optimizer.step()

    for epoch in range(config.epochs):
        rehearsal = Rehearsal(run.model, [recording], AUGMENTATION, config.seed, epoch)
        frames.epoch = epoch
        for order in orders:
            order.set_epoch(epoch)
        for indices in zip(*orders, strict=True):
            pair = [frames[index] for index in indices]
            step(pair, LossWeights())
            if config.rehearse_after is not None and epoch >= config.rehearse_after:
                step(map(rehearsal, pair), LossWeights(image=0.0))
            run.scheduler.step()
    three = FrameDataset([(recording, range(6, 9))])
    batches = (three[n] for n in range(3))
    valid = list(_validate(run, batches, config, LossWeights(), ProgressBar("", 3)))
    return run.model.state_dict(), np.mean([row["loss"] for row in valid])


@pytest.mark.parametrize("rehearse_after", [None, 1])
def test_two_processes_step_on_the_mean_of_their_frames(tmp_path, recording, rehearse_after):
    config = replace(TWO, rehearse_after=rehearse_after)
    launch(train, 2, str(tmp_path / "train.log"), arguments(tmp_path, recording, config))
    state = torch.load(tmp_path / "training_state.pt", weights_only=True)
    expected, valid_loss = steps_on_pairs(recording, config)
    assert state["model"].keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(state["model"][name], weight, rtol=1e-4, atol=1e-6)
    log = pd.read_csv(tmp_path / "training_log.csv")
    assert len(log) == 2
    assert log["valid_loss"][1] == pytest.approx(valid_loss, rel=1e-5), "each frame counts once"
    assert load_checkpoint(tmp_path / "checkpoint.pt").valid_loss == log["valid_loss"].min()
    messages = (tmp_path / "train.log").read_text()
    assert messages.count("epoch 1 of 2") == 1, "one process of the team speaks"


def test_each_process_of_a_team_works_on_its_own_gpu(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert [Team(rank, 3).device("cuda") for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:2"]
    assert current == [0, 1, 2], "what takes no device goes to the current one"
    assert Team(1, 3).device("cpu") == "cpu"


def test_an_error_in_a_team_is_one_sentence(tmp_path, recording):
    wild = replace(TWO, learning_rate=1e30, warmup=0, clip_gradient=1e30)
    with pytest.raises(PoseSplatterError, match="nan in epoch 0 at video frame"):
        launch(train, 2, None, arguments(tmp_path, recording, wild))
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.fixture(autouse=True)
def _quiet():
    yield
    logging.getLogger().handlers.clear()
