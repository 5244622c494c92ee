"""What the daemon costs over very many specs: how soon it acts, in memory, and at rest."""

from __future__ import annotations

import statistics
import subprocess
import time
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
# Two rescans and one look at what others deploy.
IDLE_S = 60.0
# When the last create has been answered and taken down, and how long rounds are counted from then.
POLLS_BEGIN_NS = 5_000_000_000
POLLED_S = 20.0
# A machine that does much else besides takes long over very many.
LOADED_S = 3600.0
MANY = ("--max-concurrent", "1000")


def soon(root: Path) -> Figure:
    """From a rename into place to the create's arrival, one change at a time."""
    place = Place.make(root)
    settle(place, COUNT)
    took: list[float] = []
    with model_api(COUNT) as api, daemon(place, api, *MANY):
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


def at_once(root: Path) -> tuple[Figure, ...]:
    """From the first of many renames to the last create's arrival, and the poll rounds after."""
    place = Place.make(root)
    settle(place, COUNT)
    with (
        model_api(COUNT, answer_after_s=0.05, duration_s=600) as api,
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
        time.sleep(POLLED_S)
        rounds = _rounds(api.calls(), after_ns=api.creates()[-1][0] + POLLS_BEGIN_NS)
    what = f"{AT_ONCE:,} changed at once to the last POST, 50 ms an answer"
    first = Figure(what, took, None, "<= 10,000", f"{spent:.1f} s of a core")
    # A figure of seconds elsewhere: here it is a number, written as thousandths.
    worst = max((len(asked) / len(set(asked)) for asked in rounds), default=0.0) / 1000
    what = f"{AT_ONCE:,} in flight: requests a poll round and page"
    beside = f"{len(rounds)} rounds, of pages and single ones {[len(set(r)) for r in rounds]}"
    return first, Figure(what, worst, None, "<= 1", beside)


def _rounds(calls: list[tuple[int, str, str]], after_ns: int) -> list[list[str]]:
    """Return what each whole round of asking after those in flight has asked for.

    A round begins with the first page. One of a single deployment counts as a page of its own,
    and the look at what others deploy, which comes once a minute, has smaller pages.
    """
    rounds: list[list[str]] = []
    for at, method, target in calls:
        listed = "/api/orgs/" in target and "pageSize=100" in target
        if method != "GET" or at < after_ns or not (listed or "/api/stacks/" in target):
            continue
        if "page=1&" in target:
            rounds.append([])
        if rounds:
            rounds[-1].append(target)
    return rounds[:-1]  # the last may still go on


def _memory(place: Place, count: int, target: str, process: subprocess.Popen[bytes]) -> Figure:
    took = timed(lambda: wait_for(loaded(place, count), limit_s=LOADED_S))
    time.sleep(5)
    # A figure of seconds elsewhere: here it is megabytes, written as thousandths.
    held = resident(process.pid) / 1e9
    return Figure(f"MB resident, {count:,} specs", held, None, target, f"loaded in {took:.1f} s")


def at_rest(root: Path) -> tuple[Figure, ...]:
    """What many specs take in memory, and what it costs to watch over them while nothing is."""
    place = Place.make(root)
    settle(place, COUNT)
    with model_api(COUNT) as api, daemon(place, api) as process:
        memory = _memory(place, COUNT, "<= 120", process)
        spent = processor_s(process.pid)
        time.sleep(IDLE_S)
        spent = processor_s(process.pid) - spent
    what = f"idle over {COUNT:,} specs, processor time a second"
    return memory, Figure(what, spent / IDLE_S, None, "<= 5 ms, 0.5 % of a core")


def much_memory(root: Path) -> Figure:
    """What very many specs take in memory."""
    place = Place.make(root)
    settle(place, LARGE)
    with model_api(LARGE) as api, daemon(place, api) as process:
        return _memory(place, LARGE, "<= 500", process)


MEASURES: tuple[Callable[[Path], Figure | tuple[Figure, ...]], ...] = (
    soon,
    at_once,
    at_rest,
    much_memory,
)
