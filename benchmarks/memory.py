"""The most memory that training needs at grid 112, against the original's recipe.

    python benchmarks/memory.py

Each way trains a few steps on the demo in a process of its own; the process's highest resident
memory, less what it had before the first step, is compared. They are two networks, so their
pictures say nothing of each other.
"""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from demo import configuration, demo_recording, demo_split
from plain.recipe import train_plain
from rows import Row, table
from training import train_ours

STEPS_SECONDS = 20.0


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def plain_memory() -> float:
    recording = demo_recording()
    torch.set_num_threads(2)
    before = peak_megabytes()
    train_plain(recording, demo_split(recording).train, STEPS_SECONDS)
    return peak_megabytes() - before


def our_memory() -> float:
    recording = demo_recording()
    before = peak_megabytes()
    train_ours(recording, 1, {"training": {"rehearse_after": 0}})
    return peak_megabytes() - before


def apart(function: Callable[[], float]) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function).result()


def measure() -> list[Row]:
    grid = configuration()["presets"]["default"]["grid_size"]
    return [
        Row(
            step=f"memory of training at grid {grid}",
            ours=apart(our_memory),
            plain=apart(plain_memory),
            unit="MB",
            goal="2x",
            agreement="two networks, nothing to compare; views a step: all observed / 1",
        )
    ]


def main() -> None:
    print(table(measure()))


if __name__ == "__main__":
    main()
