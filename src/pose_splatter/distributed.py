"""Processes that train one model together: one per GPU, or several on a CPU."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from pose_splatter.errors import PoseSplatterError
from pose_splatter.progress import configure_logging


@dataclass(frozen=True)
class Team:
    """The processes that train together, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files, which one of a team must."""
        return self.rank == 0

    def device(self, kind: str) -> str:
        """This process's own GPU, the current one from now on, or the CPU that all share."""
        if kind != "cuda":
            return kind
        torch.cuda.set_device(self.rank)  # what takes no device would go to the first GPU
        return f"cuda:{self.rank}"

    def replica(self, model: nn.Module) -> nn.Module:
        """The model as the team trains it: gradients are averaged over all processes."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def mean(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
        """The mean of each named value over the rows of all processes."""
        sums = torch.tensor(
            [*(sum(row[name] for row in rows) for name in names), len(rows)], dtype=torch.float64
        )
        if self.size > 1:
            distributed.all_reduce(sums)
        return dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))


def launch(
    function: Callable[..., None], processes: int, log: str | None, arguments: Mapping[str, Any]
) -> None:
    """Call `function(**arguments, team=...)` in a team of processes on this machine.

    One process calls it as it is. More are started as torchrun starts them; the first of them
    writes on to the `log`. Where one fails all end, and its PoseSplatterError is raised here.
    """
    if processes == 1:
        function(**arguments, team=Team())
        return
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"pose-splatter-{os.getpid()}",
        max_restarts=0,
    )
    try:
        elastic_launch(config, _member)(function, log, arguments)
    except ChildFailedError as error:
        message = error.get_first_failure()[1].message
        if isinstance(message, dict):
            message = message["message"]
        kind, _, sentence = str(message).partition(": ")
        if kind == PoseSplatterError.__name__:
            raise PoseSplatterError(sentence) from error
        raise


def _member(function: Callable[..., None], log: str | None, arguments: Mapping[str, Any]) -> None:
    """One process of a team, in the environment that torchrun sets up."""
    # Torch interrupts it where its job was killed, which takes seconds: it would still write, and
    # use a GPU that others take for free.
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    distributed.init_process_group()
    team = Team(distributed.get_rank(), distributed.get_world_size())
    if team.leads:
        configure_logging(log, append=True)
    try:
        function(**arguments, team=team)
    finally:
        distributed.destroy_process_group()
