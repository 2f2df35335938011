"""A verdict on one thing, and how what the library raises and logs becomes one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pose_splatter.cameras import CameraRig
from pose_splatter.errors import PoseSplatterError

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Verdict:
    """What was found of one thing, and what to do about it (empty where nothing is to be done)."""

    name: str
    level: Level
    message: str
    fix: str = ""


def named(rig: CameraRig, chosen: Any) -> str:
    """The cameras for which `chosen` (one truth for each) is set."""
    names = [name for name, is_one in zip(rig.names, chosen, strict=True) if is_one]
    return f"{'camera' if len(names) == 1 else 'cameras'} {', '.join(names)}"


def from_error(name: str, error: PoseSplatterError) -> Verdict:
    """An error of the library's is one sentence; what comes after its last semicolon is the fix."""
    message, _, fix = str(error).rpartition("; ")
    return Verdict(name, "error", message or fix, fix.rstrip(".") if message else "")


@dataclass(frozen=True)
class Log:
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@contextmanager
def collected_log() -> Iterator[Log]:
    """What the library logs, instead of on the screen."""
    log, logger = Log(), logging.getLogger("pose_splatter")
    handler = logging.Handler()

    def keep(record: logging.LogRecord) -> None:
        warned = record.levelno >= logging.WARNING
        (log.warnings if warned else log.remarks).append(record.getMessage())

    handler.emit = keep  # type: ignore[method-assign]
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield log
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
