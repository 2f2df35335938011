"""What a benchmark reports: ours against the plain way, side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One comparison; `ours` and `plain` are medians or best times of the same run, in `unit`.

    `goal` is the ratio to reach ("5x"); `agreement` says in a few words how far both results are
    the same.
    """

    step: str
    ours: float
    plain: float
    unit: str
    goal: str
    agreement: str
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float:
        """How many times better ours is: above 1 is good."""
        return self.plain / self.ours if self.better == "lower" else self.ours / self.plain

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio}


HEADER = ("step", "ours", "plain", "ratio", "goal", "same result")


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned plain text; numbers to the right, words to the left."""
    lines = [HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    ours, plain = (f"{_number(value)} {row.unit}" for value in (row.ours, row.plain))
    return row.step, ours, plain, f"{row.ratio:.1f}x", row.goal, row.agreement


def _number(value: float) -> str:
    """Three digits, and no exponent for what is large."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    step, *numbers, agreement = (
        cell.ljust(width) if column in (0, len(HEADER) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([step, *numbers, agreement]).rstrip()


def timed(function: Callable[[], T], repeats: int) -> tuple[T, float]:
    """The result, and the median time of a call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, median(times)
