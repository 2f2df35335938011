"""Fine-tuning against training from nothing, on a rig that the pretrained model has not seen.

    python benchmarks/fine_tuning.py [--epochs 20]

Trains `pretrained` on two of the small recordings in tests/data/rigs, packs it as a release, then
trains on the third twice: `scratch` from random weights, `tuned` from the release. Prints how many
steps each needs to the best validation loss that `scratch` reaches.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
RIGS = {"six": 6, "five": 5, "four": 4}


def study(epochs: int) -> dict:
    """The configuration of the three experiments."""
    recordings = {
        name: {
            "calibration": str(ROOT / f"tests/data/rigs/{name}/calibration.h5"),
            "cameras": list(range(count)),
            "videos": str(ROOT / f"tests/data/rigs/{name}/videos/camera{{camera}}.mp4"),
            "masks": str(ROOT / f"tests/data/rigs/{name}/masks/camera{{camera}}.mp4"),
        }
        for name, count in RIGS.items()
    }
    training = {"epochs": epochs, "validation_frames": 0, "warmup": 10}
    third = {"preset": "rigs", "train": ["four"], "apply": ["four"], "training": training}
    release = "results/experiments/pretrained/release"
    return {
        "recordings": recordings,
        "presets": {"rigs": {"downsample": 1, "grid_size": 64}},
        "experiments": {
            "pretrained": {**third, "train": ["six", "five"]},
            "scratch": third,
            "tuned": {**third, "init_from": release},
        },
    }


def steps_to(log: pd.DataFrame, loss: float) -> int | None:
    """Training steps until the validation loss is at most `loss`; None if it never is."""
    reached = log.loc[log["valid_loss"] <= loss, "steps"]
    return int(reached.iloc[0]) if len(reached) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "study.yaml").write_text(yaml.safe_dump(study(options.epochs)))
        targets = {
            name: f"results/experiments/{name}/training_log.csv" for name in ("scratch", "tuned")
        }
        command = [sys.executable, "-m", "snakemake", "--directory", folder, "--quiet", "all"]
        command += ["--snakefile", f"{ROOT}/Snakefile", *targets.values()]
        command += ["--configfile", f"{ROOT}/config/config.yaml", f"{folder}/study.yaml"]
        subprocess.run(command, check=True)
        logs = {name: pd.read_csv(Path(folder, path)) for name, path in targets.items()}
    best = logs["scratch"]["valid_loss"].min()
    print(f"best validation loss from scratch  {best:.4f}")
    for name, log in logs.items():
        print(
            f"{name:8s} first {log['valid_loss'].iloc[0]:.4f}, best {log['valid_loss'].min():.4f}, "
            f"steps to {best:.4f}: {steps_to(log, best)} of {log['steps'].iloc[-1]}"
        )


if __name__ == "__main__":
    main()
