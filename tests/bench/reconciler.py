"""What the daemon costs over very many specs: how soon it acts, in memory, and at rest."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Figure, percentile, timed
from tests.bench.settled import (
    Place,
    daemon,
    loaded,
    model_api,
    processor_s,
    resident,
    settle,
    wait_for,
)

__all__ = ["MEASURES"]

COUNT = 10_000
LARGE = 100_000
AT_ONCE = 1_000
RENAMES = 40
IDLE_S = 60.0
MANY = ("--max-concurrent", "1000")


def soon(root: Path) -> Figure:
    """From a rename into place to the create's arrival, one change at a time."""
    place = Place.make(root)
    settle(place, COUNT)
    took: list[float] = []
    with model_api() as api, daemon(place, api, *MANY):
        wait_for(loaded(place, COUNT))
        for number in range(RENAMES):
            before = len(api.creates())
            # A moment that has nothing to do with the daemon's own.
            time.sleep(0.25 + 0.037 * (number % 8))
            changed = time.monotonic_ns()
            place.write(number * 7 + 1, "b" * 40)
            wait_for(lambda known=before: len(api.creates()) > known)  # type: ignore[misc]
            took.append((api.creates()[-1][0] - changed) / 1e9)
    what = f"renamed into place to the POST, {COUNT:,} specs"
    worst = percentile(took, 0.99) * 1000
    return Figure(what, statistics.median(took), None, "<= 50, p99 <= 250", f"p99 {worst:.0f} ms")


def at_once(root: Path) -> Figure:
    """From the first of many renames to the last create's arrival, and the poll rounds after."""
    place = Place.make(root)
    settle(place, COUNT)
    with (
        model_api(answer_after_s=0.05, duration_s=600) as api,
        daemon(place, api, *MANY) as process,
    ):
        wait_for(loaded(place, COUNT))
        spent = processor_s(process.pid)
        started = time.monotonic_ns()
        for number in range(AT_ONCE):
            place.write(number, "c" * 40)
        wait_for(lambda: len(api.creates()) >= AT_ONCE, every_s=0.5)
        spent = processor_s(process.pid) - spent
        took = (api.creates()[-1][0] - started) / 1e9
        time.sleep(15)  # a few rounds in which all are in flight
        calls = [c for c in api.calls() if c[1] == "GET" and "/api/orgs/" in c[2]]
        single = [c for c in api.calls() if c[1] == "GET" and "/api/stacks/" in c[2]]
        late = [c for c in single if c[0] > api.creates()[-1][0] + 2e9]
        pages = Counter(c[2] for c in calls)
    what = f"{AT_ONCE:,} changed at once to the last POST, 50 ms an answer"
    beside = f"{spent:.1f} s of a core; pages {dict(pages)}; asked alone {len(late)}"
    return Figure(what, took, None, "<= 10,000", beside)


def _memory(root: Path, count: int, target: str, *, idle: bool) -> Figure:
    place = Place.make(root)
    settle(place, count)
    beside = ""
    with model_api() as api, daemon(place, api) as process:
        took = timed(lambda: wait_for(loaded(place, count)))
        time.sleep(5)
        held = resident(process.pid)
        beside = f"loaded in {took:.1f} s"
        if idle:
            spent = processor_s(process.pid)
            time.sleep(IDLE_S)
            share = (processor_s(process.pid) - spent) / IDLE_S * 100
            beside += f"; idle {share:.2f} % of a core, <= 0.50"
    # A figure of seconds elsewhere: here it is megabytes, written as thousandths.
    return Figure(f"MB resident, {count:,} specs", held / 1e9, None, target, beside)


def memory(root: Path) -> Figure:
    return _memory(root, COUNT, "<= 120", idle=True)


def much_memory(root: Path) -> Figure:
    return _memory(root, LARGE, "<= 500", idle=False)


MEASURES: tuple[Callable[[Path], Figure], ...] = (soon, at_once, memory, much_memory)
