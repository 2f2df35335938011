"""Progress of long jobs: a bar where a person looks on, plain lines where a log file does."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pose_splatter.errors import PoseSplatterError

T = TypeVar("T")
logger = logging.getLogger(__name__)
LOG_EVERY = 30.0  # seconds between the lines of a job without a terminal


class ProgressBar:
    """A context manager that counts frames; `advance` may carry a short status such as the loss."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self.done, self.started, self.logged = 0, time.monotonic(), time.monotonic()
        console = Console(stderr=True)
        self.bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "ProgressBar":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.description, total=self.total, status="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, status: str = "", count: int = 1) -> None:
        """Count so many frames more."""
        self.done += count
        elapsed = time.monotonic() - self.started
        rate = self.done / max(elapsed, 1e-9)
        status = f"{status}  {rate:.1f} frames/s".strip()
        if self.bar:
            self.bar.update(self.task, advance=count, status=status)
        elif time.monotonic() - self.logged > LOG_EVERY:
            self.logged = time.monotonic()
            left = timedelta(seconds=round((self.total - self.done) / rate))
            logger.info(
                "%s: %d of %d, %s, %s left",
                self.description,
                self.done,
                self.total,
                status,
                left,
            )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items and show how far the loop over them has come."""
    with ProgressBar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()


@contextmanager
def job(log: str | None) -> Iterator[None]:
    """Run a job's body: its messages are logged, and an error of the user's is one sentence."""
    configure_logging(log)
    try:
        yield
    except PoseSplatterError as error:
        logger.error("Error: %s", error)
        sys.exit(1)


class _StderrHandler(logging.StreamHandler):
    """Looks for standard error anew at every message: a bar puts its own there, to stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def configure_logging(log: str | None, *, append: bool = False) -> None:
    """Messages go to standard error and, where a job has one, to its log file."""
    handlers: list[logging.Handler] = [_StderrHandler()]
    if log:
        handlers.append(logging.FileHandler(log, mode="a" if append else "w"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
        force=True,
    )
