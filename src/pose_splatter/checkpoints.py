"""Trained models on disk: checkpoint.pt to go on from, a release folder to give away."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pose_splatter.config import RELEASE_FILES
from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path, save_json
from pose_splatter.model import NetworkConfig, PoseSplatter

WEIGHTS, CONFIG, CHECKSUMS = RELEASE_FILES
CARD = "README.md"


@dataclass(frozen=True)
class Checkpoint:
    """A model's weights, and what made them: network sizes, settings, best epoch and its loss."""

    network: NetworkConfig
    weights: dict[str, Tensor]
    settings: dict[str, Any]
    epoch: int
    valid_loss: float

    def model(self, device: str) -> PoseSplatter:
        """The model, ready to use."""
        model = PoseSplatter(self.network)
        model.load_state_dict(self.weights)
        return model.to(device).eval()


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write checkpoint.pt; it holds tensors and plain values alone."""
    save_tensors(path, {**vars(checkpoint), "network": asdict(checkpoint.network)})


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read checkpoint.pt, or a release folder. No code in the file is ever run."""
    try:
        if Path(path).is_dir():
            _verify(Path(path))
            saved = json.loads(Path(path, CONFIG).read_text())
            saved["weights"] = load_file(Path(path, WEIGHTS))
        else:
            saved = load_tensors(path, "cpu")
        network = NetworkConfig.of(saved["network"])
        PoseSplatter(network).load_state_dict(saved["weights"])
        return Checkpoint(**{**saved, "network": network})
    except Exception as error:  # torch.load raises whatever the junk makes it stumble over
        raise PoseSplatterError(
            f"{path}: not a checkpoint of this program ({_reason(error)}); delete it and train "
            "again, or name another."
        ) from error


def _reason(error: Exception) -> str:
    if "weights_only" in str(error):  # torch goes on to say how it could be run all the same
        return "it holds more than numbers; nothing in it was run"
    return next(iter(str(error).splitlines()), type(error).__name__)


def save_tensors(path: str | Path, content: dict[str, Any]) -> None:
    """`torch.save`, atomically, the same bytes for the same content."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)  # by its name, that would be written into the file


def load_tensors(path: str | Path, device: str) -> dict[str, Any]:
    """`torch.load` of what holds no code, after its checksums were verified, which torch leaves."""
    with ZipFile(path) as file:
        if damaged := file.testzip():
            raise ValueError(f"the checksum of its {damaged} is wrong")
    return torch.load(path, map_location=device, weights_only=True)


def write_release(path: str | Path, checkpoint: Checkpoint, card: str) -> None:
    """Write a folder with the weights alone, their configuration, a model card and checksums.

    The card has no checksum: whoever gives the model away writes its licence there.
    """
    with atomic_path(path) as temporary:
        temporary.mkdir()
        save_file(checkpoint.weights, temporary / WEIGHTS)
        (temporary / WEIGHTS).chmod(0o644)  # safetensors keeps it to its owner
        content = {**vars(checkpoint), "network": asdict(checkpoint.network)}
        del content["weights"]
        save_json(temporary / CONFIG, content)
        (temporary / CARD).write_text(card)
        sums = "".join(f"{_sha256(temporary / name)}  {name}\n" for name in (CONFIG, WEIGHTS))
        (temporary / CHECKSUMS).write_text(sums)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _verify(release: Path) -> None:
    """Weights and configuration are what SHA256SUMS says they were."""
    lines = (release / CHECKSUMS).read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    for name in (CONFIG, WEIGHTS):
        if sums.get(name) != _sha256(release / name):
            raise ValueError(f"{name} is not what {CHECKSUMS} says; copy the folder again")


def starting_point(inputs: Sequence[str | Path] | str | Path) -> Path | None:
    """What a job's inputs are of: a checkpoint, a release folder, or such a folder's files."""
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not paths:
        return None
    return Path(paths[0]).parent if Path(paths[0]).name == WEIGHTS else Path(paths[0])


def model_card(
    experiment: str,
    checkpoint: Checkpoint,
    recordings: Mapping[str, str],
    version: str,
) -> str:
    """The card's Markdown; `recordings` maps those it was evaluated on to their metrics tables."""
    settings = checkpoint.settings
    preset, heldout = settings["preset"], settings["heldout_cameras"]
    data = "\n".join(
        f"- {name}: held-out cameras {', '.join(heldout[name]) or 'none'}"
        for name in settings["train"]
    )
    sizes = ", ".join(f"{key} {value}" for key, value in preset.items())
    start = settings["init_from"] or "random weights"
    parameters = sum(weight.numel() for weight in checkpoint.weights.values())
    tables = "\n\n".join(f"### {name}\n\n{table}" for name, table in recordings.items())
    return f"""# {experiment}

A Pose Splatter model: from the carved volume of an animal, seen by several calibrated cameras, to
3D Gaussians. Weights in `{WEIGHTS}` ({parameters:,} parameters), sizes and settings in `{CONFIG}`.

To start from it, set `init_from:` of an experiment to this folder.

## Data

Trained on

{data}

from {start}. Weights are those of epoch {checkpoint.epoch}, with a validation loss of
{checkpoint.valid_loss:.4f}. Recordings were prepared with {sizes}.

## Metrics on test frames

Observed cameras carve and were trained on; held-out cameras were never seen. `psnr_fg` is the PSNR
on the animal's box in decibels.

{tables}

## Code

pose-splatter {version}, trained by code {settings["code"]}

## Licence

To be filled in by whoever gives this model away: its licence, and that of its training data.
"""
