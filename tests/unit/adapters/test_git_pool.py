from __future__ import annotations

import logging
import threading
from functools import partial

import pytest

from reconciler.adapters.git_pool import Pool
from tests import waiting

LIMIT_S = 30.0
eventually = partial(waiting.eventually, limit_s=LIMIT_S)


def test_a_host_that_hangs_leaves_room() -> None:
    """However many jobs of one host hang, those of another are done."""
    pool = Pool(workers=4, per_host=2)
    gate, done = threading.Event(), threading.Semaphore(0)
    running: list[str] = []

    def hang() -> None:
        running.append("x")
        gate.wait(LIMIT_S)

    for _ in range(20):
        pool.submit("slow", hang)
    for _ in range(20):
        pool.submit("quick", done.release)
    for _ in range(20):
        assert done.acquire(timeout=LIMIT_S)
    assert len(running) == 2
    gate.set()
    eventually(lambda: len(running) == 20, "those that waited")
    pool.close()


def test_no_more_than_there_are() -> None:
    """At most so many jobs run at once, over all hosts, and each is done once."""
    pool = Pool(workers=3, per_host=3)
    lock, now, most, done = threading.Lock(), [0], [0], [0]

    def job() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.002)
        with lock:
            now[0] -= 1
            done[0] += 1

    for index in range(60):
        pool.submit(str(index), job)
    eventually(lambda: done[0] == 60, "the end of all")
    assert most[0] <= 3
    pool.close()


def test_a_job_that_fails_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in one job is logged, and the thread goes on to the next."""
    pool = Pool(workers=1, per_host=1)
    done = threading.Event()

    def fail() -> None:
        raise ValueError("x")

    with caplog.at_level(logging.ERROR):
        pool.submit("a", fail)
        pool.submit("a", done.set)
        assert done.wait(LIMIT_S)
    assert "asking a has failed" in caplog.text
    pool.close()


def test_after_the_end_nothing_begins() -> None:
    """A pool that is closed takes no job, and forgets those that wait."""
    pool = Pool(workers=1, per_host=1)
    gate, begun, later = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait(LIMIT_S)

    pool.submit("a", hang)
    assert begun.wait(LIMIT_S)
    pool.submit("a", later.set)
    pool.close()
    pool.submit("a", later.set)
    gate.set()
    assert not later.wait(0.05)
