"""Training: all observed cameras of a frame in one step, the best validation epoch kept."""

import csv
import logging
import math
import os
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numba
import torch
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from pose_splatter.checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from pose_splatter.dataset import Augmentation, FrameBatch, FrameDataset, Recording
from pose_splatter.distributed import Team
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path
from pose_splatter.frames import split_frames
from pose_splatter.losses import LossWeights, compute_losses
from pose_splatter.model import NetworkConfig, PoseSplatter, Rendering, render
from pose_splatter.progress import ProgressBar
from pose_splatter.rehearsal import Rehearsal

logger = logging.getLogger(__name__)
T = TypeVar("T")
ALONE = Team()
SILHOUETTES = LossWeights(image=0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    `warmup` is in steps, `validation_frames` per epoch, 0 for all. After `rehearse_after` epochs,
    if ever, each step is followed by one of `rehearsal`, by silhouettes alone. `processes` train
    together, one GPU each, and a step takes one frame of each. `precision` is the U-Nets' and the
    decoder's.
    """

    epochs: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 50
    clip_gradient: float = 1.0
    validation_frames: int = 0
    rehearse_after: int | None = None
    workers: int = 0
    processes: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0


def train(
    recordings: Sequence[Recording],
    fractions: Sequence[float],
    network: NetworkConfig,
    config: TrainingConfig,
    weights: LossWeights,
    augmentation: Augmentation,
    *,
    checkpoint: str | Path,
    log: str | Path,
    state: str | Path,
    fingerprint: str,
    settings: dict[str, Any],
    device: str,
    threads: int,
    init_from: str | Path | None = None,
    team: Team = ALONE,
) -> None:
    """Train on the first part of every recording and write checkpoint.pt and training_log.csv.

    After every epoch the whole training state goes to `state`. A run whose `fingerprint` (of
    everything that shapes the result except the number of epochs) agrees with the one in there
    goes on from that epoch. `init_from`, a checkpoint or a release, gives the first weights of a
    run that starts; `settings` go into the checkpoint as they are. The `team` is the processes that
    call this together. Raises PoseSplatterError where the loss is no longer finite.
    """
    use_threads(max(threads // team.size, 1))
    device = team.device(device)
    splits = [split_frames(len(recording.track), fractions) for recording in recordings]
    pairs = list(zip(recordings, splits, strict=True))
    training = FrameDataset([(r, s.train) for r, s in pairs], augmentation, config.seed)
    validation = FrameDataset([(r, _thinned(s.valid, config)) for r, s in pairs])
    if not len(training) or not len(validation):
        raise PoseSplatterError(
            f"the recordings {', '.join(r.name for r in recordings)} have {len(training)} frames "
            f"to train on and {len(validation)} to validate; check masks and split in config."
        )
    shuffled: DistributedSampler[int] = DistributedSampler(
        training, team.size, team.rank, shuffle=True, seed=config.seed
    )
    run = _Run(network, config, len(shuffled), device, team)
    if not run.resume(state, fingerprint) and init_from:
        run.start_from(init_from)
    total = (config.epochs - run.epoch) * (len(shuffled) * team.size + len(validation))
    with ProgressBar("training", total) as bar:
        while run.epoch < config.epochs:
            started = time.monotonic()
            training.epoch = run.epoch
            shuffled.set_epoch(run.epoch)
            rehearsal = None
            if config.rehearse_after is not None and run.epoch >= config.rehearse_after:
                rehearsal = Rehearsal(run.model, recordings, augmentation, config.seed, run.epoch)
            batches = _Timed(_loader(training, config, shuffled))
            rows = list(_train_epoch(run, _rehearsed(batches, rehearsal), config, weights, bar))
            waiting = batches.waited / (time.monotonic() - started)
            losses = team.mean(rows, list(rows[0]))
            rehearsal_loss = losses.pop("rehearsal", math.nan)
            mine = range(team.rank, len(validation), team.size)
            rows = list(_validate(run, _loader(validation, config, mine), config, weights, bar))
            valid = team.mean(rows, list(losses))
            row: dict[str, float] = {
                "epoch": run.epoch,
                "steps": run.scheduler.last_epoch,
                "resumed": int(run.epoch == run.resumed_at),
                **{f"train_{name}": value for name, value in losses.items()},
                **{f"valid_{name}": value for name, value in valid.items()},
                "rehearsal_loss": rehearsal_loss,
                "learning_rate": float(run.scheduler.get_last_lr()[0]),
                "seconds": time.monotonic() - started,
                "waiting": waiting,
                "memory_mb": _peak_memory(device),
            }
            run.finish_epoch(row)
            if team.leads:
                run.save(state, fingerprint)
            logger.info(
                "epoch %d of %d: loss %.4f, validation %.4f (best: epoch %d), %.0f %% of the time "
                "waiting for data",
                row["epoch"],
                config.epochs,
                row["train_loss"],
                row["valid_loss"],
                run.best_epoch,
                100 * waiting,
            )
    if team.leads:
        run.write(checkpoint, log, settings)


def state_path(checkpoint: str | Path) -> Path:
    """Where training keeps what it needs to go on: beside the checkpoint."""
    return Path(checkpoint).with_name("training_state.pt")


def choose_device(device: str, processes: int = 1) -> str:
    """`auto` is a GPU where there is one; every process has to have its own."""
    available = torch.cuda.is_available()
    if device != "cpu" and available and torch.cuda.device_count() < processes:
        raise PoseSplatterError(
            f"config: training: processes is {processes}, but the job has "
            f"{torch.cuda.device_count()} GPUs; lower it, or raise resources: gpu in the profile."
        )
    if device.startswith("cuda") and not available:
        raise PoseSplatterError(
            f"config: device is {device}, but PyTorch finds no CUDA GPU here; set device: cpu, or "
            "check the driver and the environment."
        )
    return ("cuda" if available else "cpu") if device == "auto" else device


def use_threads(threads: int) -> None:
    """Let PyTorch and Numba use as many threads as the job was given."""
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, os.cpu_count() or 1))


class _Run:
    """What changes while training goes on, and how it is saved and taken up again."""

    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        steps_per_epoch: int,
        device: str,
        team: Team,
    ) -> None:
        torch.manual_seed(config.seed)
        self.network, self.device, self.team, self.epochs = network, device, team, config.epochs
        self.model = PoseSplatter(network).to(device)
        self.replica = team.replica(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        steps = config.epochs * steps_per_epoch
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _warmup_cosine(step, config.warmup, steps)
        )
        self.epoch = 0
        self.resumed_at: int | None = None
        self.rows: list[dict[str, float]] = []
        self.best_epoch, self.best_loss = -1, math.inf
        self.best_weights: dict[str, torch.Tensor] = {}

    def finish_epoch(self, row: dict[str, float]) -> None:
        if not math.isfinite(row["valid_loss"]):
            raise PoseSplatterError(
                f"the validation loss is {row['valid_loss']} after epoch {self.epoch}; look at the "
                "validation frames' masks, or lower training: learning_rate in config."
            )
        self.rows.append(row)
        if row["valid_loss"] < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, row["valid_loss"]
            self.best_weights = {k: v.cpu().clone() for k, v in self.model.state_dict().items()}
        self.epoch += 1

    def save(self, path: str | Path, fingerprint: str) -> None:
        save_tensors(
            path,
            {
                "fingerprint": fingerprint,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler_step": self.scheduler.last_epoch,
                "epoch": self.epoch,
                "rows": self.rows,
                "best_epoch": self.best_epoch,
                "best_loss": self.best_loss,
                "best_weights": self.best_weights,
            },
        )

    def start_from(self, path: str | Path) -> None:
        """Take over the weights of another model of the same sizes."""
        other = load_checkpoint(path)
        if other.network != self.network:
            raise PoseSplatterError(
                f"{path}: the model has the sizes {asdict(other.network)}, but this experiment has "
                f"{asdict(self.network)}; set network to the former in config."
            )
        self.model.load_state_dict(other.weights)
        logger.info("starting from %s", path)

    def resume(self, path: str | Path, fingerprint: str) -> bool:
        """Go on where a run of the same fingerprint ended; False where there was none."""
        if not Path(path).exists():
            return False
        try:
            saved = load_tensors(path, self.device)
        except Exception as error:  # whatever the junk makes it stumble over
            raise PoseSplatterError(
                f"{path}: the state of training is damaged; delete it, and training starts anew."
            ) from error
        if saved["fingerprint"] != fingerprint:
            logger.info("%s belongs to other settings or data: training starts anew", path)
            return False
        if saved["epoch"] > self.epochs:
            logger.info("%s is past epoch %d: training starts anew", path, self.epochs - 1)
            return False
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        # Not the scheduler's own state: more epochs stretch the cosine from here on.
        self.scheduler.last_epoch = saved["scheduler_step"]
        self.epoch, self.rows = saved["epoch"], saved["rows"]
        self.best_epoch, self.best_loss = saved["best_epoch"], saved["best_loss"]
        self.best_weights = saved["best_weights"]
        self.resumed_at = self.epoch
        logger.info("going on after epoch %d from %s", self.epoch - 1, path)
        return True

    def write(self, checkpoint: str | Path, log: str | Path, settings: dict[str, Any]) -> None:
        save_checkpoint(
            checkpoint,
            Checkpoint(self.network, self.best_weights, settings, self.best_epoch, self.best_loss),
        )
        with atomic_path(log) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)


def _warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The learning rate's factor: a linear rise, then half a cosine to nothing."""
    rise = min((step + 1) / max(warmup, 1), 1.0)
    return rise * 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))


def _rehearsed(
    batches: Iterable[FrameBatch], rehearsal: Rehearsal | None
) -> Iterator[tuple[FrameBatch, FrameBatch | None]]:
    """Each batch, and what is rehearsed after it."""
    for batch in batches:
        yield batch, rehearsal(batch) if rehearsal else None


class _Timed(Generic[T]):
    """Batches, and the seconds for which the training process waited for them."""

    def __init__(self, batches: Iterable[T]) -> None:
        self.batches, self.waited = batches, 0.0

    def __iter__(self) -> Iterator[T]:
        started = time.monotonic()
        for batch in self.batches:
            self.waited += time.monotonic() - started
            yield batch
            started = time.monotonic()


def _train_epoch(
    run: _Run,
    batches: Iterable[tuple[FrameBatch, FrameBatch | None]],
    config: TrainingConfig,
    weights: LossWeights,
    bar: ProgressBar,
) -> Iterator[dict[str, float]]:
    run.model.train()
    for batch, rehearsed in batches:
        values = _step(run, batch, config, weights, "loss")
        if rehearsed is not None:
            after = _step(run, rehearsed, config, SILHOUETTES, "rehearsal's loss")
            values["rehearsal"] = after["loss"]
        run.scheduler.step()
        bar.advance(f"loss {values['loss']:.4f}", run.team.size)
        yield values


def _step(
    run: _Run, batch: FrameBatch, config: TrainingConfig, weights: LossWeights, name: str
) -> dict[str, float]:
    """Every loss before the step; `name` is what the sum is called where it is not finite."""
    batch = batch.to(run.device)
    losses = compute_losses(_forward(run.replica, batch, config), batch, weights)
    values = {term: float(value.detach()) for term, value in losses.items()}
    _require_finite(name, values["loss"], run.epoch, batch)
    run.optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_gradient)
    _require_finite("gradient's norm", float(norm), run.epoch, batch)
    run.optimizer.step()
    return values


def _require_finite(name: str, value: float, epoch: int, batch: FrameBatch) -> None:
    if not math.isfinite(value):
        raise PoseSplatterError(
            f"the {name} is {value} in epoch {epoch} at video frame {batch.source_frame} of "
            f"recording {batch.recording}; look at that frame's masks and images, or lower "
            "training: learning_rate in config."
        )


def _validate(
    run: _Run,
    batches: Iterable[FrameBatch],
    config: TrainingConfig,
    weights: LossWeights,
    bar: ProgressBar,
) -> Iterator[dict[str, float]]:
    run.model.eval()
    for batch in batches:
        batch = batch.to(run.device)
        with torch.no_grad():
            losses = compute_losses(_forward(run.model, batch, config), batch, weights)
        bar.advance("validating", run.team.size)
        yield {name: float(value) for name, value in losses.items()}


def _forward(model: nn.Module, batch: FrameBatch, config: TrainingConfig) -> Rendering:
    height, width = batch.masks.shape[1:]
    mixed = config.precision == "bfloat16"
    with torch.autocast(batch.masks.device.type, torch.bfloat16, enabled=mixed):
        gaussians = model(batch.volume)
    return render(gaussians, batch.viewmats, batch.Ks, width, height)


def _loader(
    dataset: FrameDataset, config: TrainingConfig, order: Sampler[int] | range
) -> DataLoader[FrameBatch]:
    return DataLoader(dataset, batch_size=None, sampler=order, num_workers=config.workers)


def _thinned(frames: range, config: TrainingConfig) -> Sequence[int]:
    """At most `validation_frames` of the frames, evenly spread."""
    if not config.validation_frames or len(frames) <= config.validation_frames:
        return frames
    return frames[:: math.ceil(len(frames) / config.validation_frames)]


def _peak_memory(device: str) -> float:
    """The most memory used so far: the GPU's, or this process's on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
