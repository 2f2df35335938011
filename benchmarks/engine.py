"""Time what a large study asks of the workflow engine: a dry run of many recordings.

    python benchmarks/engine.py [--recordings 100] [--experiments 5]

Writes a configuration in which every experiment trains on the first recording and is applied to
all, and times `snakemake --dry-run` on it: once with nothing made, and once with everything there
(empty files, marked as made by `snakemake --touch`), when there is nothing to do.
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


def snakemake(folder: Path, *options: str) -> tuple[float, str]:
    """Seconds and output of a Snakemake command."""
    command = [sys.executable, "-m", "snakemake", *options]
    command += ["--configfile", "config/config.yaml", "study.yaml"]
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=540
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def make_empty_outputs(folder: Path, output: str) -> None:
    """Create every output that a dry run names, in the order of the stages."""
    names = {
        name
        for line in re.findall(r"^ {4}output: (.+)$", output, re.M)
        for name in line.split(", ")
    }
    for name in sorted(names, key=lambda name: ("experiments" in name, "comparison" in name)):
        path = folder / name
        if path.suffix == ".zarr":
            path.mkdir(parents=True, exist_ok=True)
            (path / ".snakemake_timestamp").touch()
        elif "/parts/" not in name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


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
        everything, output = snakemake(folder, "--dry-run")
        jobs = re.search(r"^total\s+(\d+)", output, re.M)
        print(f"{options.recordings} recordings, {options.experiments} experiments")
        print(f"dry run of {jobs.group(1) if jobs else '?'} jobs   {everything:6.1f} s")
        make_empty_outputs(folder, output)
        snakemake(folder, "--touch")
        nothing, output = snakemake(folder, "--dry-run")
        said = "nothing to do" if "Nothing to be done" in output else "jobs to do"
        print(f"dry run with {said}     {nothing:6.1f} s")


if __name__ == "__main__":
    main()
