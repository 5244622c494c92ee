"""How things are timed, and how a figure reads."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HEADING", "Figure", "command", "in_turn", "percentile", "timed"]

ROUNDS = 7
HEADING = f"{'':<62} {'ms':>9} {'baseline':>9} {'ratio':>7}  target"


@dataclass(frozen=True)
class Figure:
    """One line of the table: seconds, what they are held against, and other figures beside."""

    what: str
    measured_s: float
    baseline_s: float | None
    target: str
    beside: str = ""

    def __str__(self) -> str:
        baseline, ratio = f"{'':9}", f"{'':7}"
        if self.baseline_s is not None:
            baseline = f"{self.baseline_s * 1000:9.2f}"
            ratio = f"{self.measured_s / self.baseline_s:7.2f}"
        line = f"{self.what:<62} {self.measured_s * 1000:9.2f} {baseline} {ratio}  {self.target}"
        return f"{line}  ({self.beside})" if self.beside else line


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turn(
    one: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS
) -> tuple[float, float]:
    """Return the medians of two things done in turn, after one round that does not count."""
    one(), other()
    pairs = [(timed(one), timed(other)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def percentile(values: list[float], part: float) -> float:
    """Return the value that `part` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def command(*arguments: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> None:
    subprocess.run(
        arguments, cwd=cwd, env=environment or dict(os.environ), check=True, capture_output=True
    )
