"""Does one thing for many values at once, in a bounded number of threads, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Pool"]

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """Up to `workers` threads; with one, everything is done by the caller, in order.

    The threads stay for the next time: a burst is many rounds, and thirty threads begun in each
    would cost more than what they do. They end with the process.

    `done` is called after each piece of work, by the thread that has done it.
    """

    def __init__(self, workers: int, done: Callable[[], None] = lambda: None) -> None:
        self._workers = workers
        self._threads: ThreadPoolExecutor | None = None
        self.done = done

    def map(self, work: Callable[[T], R], values: Iterable[T]) -> list[R]:
        """Return what `work` gives for each value, in their order; the first error is raised."""
        given = list(values)

        def one(value: T) -> R:
            found = work(value)
            self.done()
            return found

        if self._workers == 1 or len(given) <= 1:
            return [one(value) for value in given]
        from concurrent.futures import ThreadPoolExecutor, wait  # noqa: PLC0415 - only where needed

        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._workers)
        # What is around the caller is around its threads' work as well: a trace, above all.
        futures = [self._threads.submit(copy_context().run, one, value) for value in given]
        wait(futures)
        return [future.result() for future in futures]
