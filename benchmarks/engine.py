"""Time what a large study asks of the workflow engine: a dry run of many recordings.

    python benchmarks/engine.py [--recordings 100] [--experiments 5]

Writes a configuration in which every experiment trains on the first recording and is applied to
all. Times `snakemake --dry-run` with nothing made; then lets every output be there (empty files,
which `snakemake --touch` records as made by their rules with their settings) and times a run, which
has nothing to do.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def write_config(path: Path, n_recordings: int, n_experiments: int) -> None:
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())["recordings"]["demo"]
    names = [f"recording{n}" for n in range(n_recordings)]
    experiments = {
        f"experiment{n}": {
            "train": names[:1],
            "apply": names,
            "training": {"learning_rate": 0.001 * (n + 1)},
        }
        for n in range(n_experiments)
    }
    config = {
        "recordings": dict.fromkeys(names, demo),
        "experiments": experiments,
        "run": list(experiments),
        "comparison": {"experiments": list(experiments), "baseline": "experiment0"},
    }
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True
    path.write_text(yaml.dump(config, Dumper=dumper))


# Touching rests for a tenth of a second after each of thousands of jobs.
TIRELESS = """
import snakemake.executors.touch, snakemake.cli
snakemake.executors.touch.Executor.SLEEPING_TIME = 0
snakemake.cli.main()
"""


def snakemake(folder: Path, *options: str) -> tuple[float, str]:
    """Seconds and output of a Snakemake command."""
    command = [sys.executable, "-c", TIRELESS, *options]
    command += ["--configfile", "config/config.yaml", "study.yaml"]
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=540
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def make_empty_outputs(folder: Path) -> None:
    """Create every output but the temporary ones, and let Snakemake record them as made."""
    _, summary = snakemake(folder, "--summary")
    for line in summary.splitlines():
        name = line.split("\t")[0]
        path = folder / name
        if not name.startswith("results/") or "/parts/" in name:
            continue
        if path.suffix in ("", ".zarr"):  # a folder
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    snakemake(folder, "--touch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=100)
    parser.add_argument("--experiments", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("Snakefile", "rules", "src", "config", "profiles", "envs"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, folder / part)
        os.symlink(ROOT / "resources", folder / "resources")
        write_config(folder / "study.yaml", options.recordings, options.experiments)
        seconds, output = snakemake(folder, "--dry-run")
        jobs = re.search(r"^total\s+(\d+)", output, re.M)
        print(f"{options.recordings} recordings, {options.experiments} experiments")
        print(f"dry run of {jobs.group(1) if jobs else '?'} jobs     {seconds:6.1f} s")
        make_empty_outputs(folder)
        seconds, output = snakemake(folder)
        if "Nothing to be done" not in output:
            sys.exit(f"there should be nothing to do, but:\n{output}")
        print(f"run with nothing to do   {seconds:6.1f} s")


if __name__ == "__main__":
    main()
