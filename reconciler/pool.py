"""Does one thing for many values at once, in a bounded number of threads, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["Pool"]

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """Up to `workers` threads; with one, everything is done by the caller, in order."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(self, work: Callable[[T], R], values: Iterable[T]) -> list[R]:
        """Return what `work` gives for each value, in their order; the first error is raised."""
        given = list(values)
        if self._workers == 1 or len(given) <= 1:
            return [work(value) for value in given]
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where needed

        with ThreadPoolExecutor(min(self._workers, len(given))) as threads:
            return list(threads.map(work, given))
