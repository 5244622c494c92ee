"""Waits for the slots of schedules and has them taken; every engine that serves the API has one.

Several engines on one database do no harm: a slot is taken by the first of them alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from reconciler.clock import Clock
from reconciler.engine.service import Service

__all__ = ["scheduling"]

_log = logging.getLogger(__name__)

# After an error that has no reason to go away by itself, but may (a full disk).
LOOK_AGAIN = timedelta(seconds=1)


@contextmanager
def scheduling(service: Service, clock: Clock) -> Iterator[None]:
    """Take what is due, in a thread of its own, until the block is left."""
    stopping = threading.Event()
    changed = service.schedules.changed
    thread = threading.Thread(target=_fire_all, args=(service, clock, stopping), name="scheduler")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        changed.set()
        thread.join()


def _fire_all(service: Service, clock: Clock, stopping: threading.Event) -> None:
    changed = service.schedules.changed
    while not stopping.is_set():
        changed.clear()
        try:
            look_again_at = service.schedules.fire_due()
        except Exception:  # noqa: BLE001 - the next look may do better
            _log.exception("the schedules could not be looked at; trying again")
            look_again_at = clock.now() + LOOK_AGAIN
        if not stopping.is_set():
            clock.wait_until(look_again_at, changed)
