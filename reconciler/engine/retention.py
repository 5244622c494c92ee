"""Deletes old logs: those of long ago, and the oldest where all together are too large.

Never of what waits or runs. Deployments themselves stay, without their logs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from reconciler.engine.config import KeepLogs
from reconciler.engine.logs import KeptLog
from reconciler.engine.tools import Tools

__all__ = ["outdated", "sweep", "sweeping"]

_log = logging.getLogger(__name__)

# Soon after the start, for an engine that never lives long, and then now and then.
FIRST_S, EVERY_S = 60.0, 3600.0

# So many are deleted at once: a transaction of its own each, where they are in a database.
AT_ONCE = 100


def outdated(logs: Iterable[KeptLog], now: datetime, keep: KeepLogs) -> tuple[str, ...]:
    """Say whose logs are to go, the oldest first. Pure."""
    gone: list[str] = []
    size = 0
    for log in sorted(logs, key=lambda kept: kept.written, reverse=True):
        size += log.size_bytes
        too_old = keep.age.total_seconds() > 0 and now - log.written > keep.age
        if too_old or (keep.size_bytes and size > keep.size_bytes):
            gone.append(log.deployment_id)
    return tuple(reversed(gone))


def sweep(tools: Tools) -> int:
    """Delete what is outdated now, and return the logs of how many deployments that were."""
    kept = tools.logs.kept()
    # Asked for afterwards: what is not among these by now has ended, or has come since.
    alive = {queued.id for queued in tools.store.deployments.queued()}
    alive |= {claim.deployment_id for claim in tools.store.deployments.claims()}
    ended = (log for log in kept if log.deployment_id not in alive)
    gone = outdated(ended, tools.clock.now(), tools.config.keep_logs)
    for start in range(0, len(gone), AT_ONCE):
        tools.logs.forget(gone[start : start + AT_ONCE])
    return len(gone)


@contextmanager
def sweeping(tools: Tools) -> Iterator[None]:
    """Sweep now and then within."""
    stopping = threading.Event()

    def run() -> None:
        wait_s = FIRST_S
        while not stopping.wait(wait_s):
            wait_s = EVERY_S
            try:
                count = sweep(tools)
            except Exception:  # noqa: BLE001 - the next sweep may do better
                _log.exception("old logs could not be deleted")
            else:
                if count:
                    _log.info("the logs of %d old deployments were deleted", count)

    thread = threading.Thread(target=run, name="retention")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
