"""Looks again and again for deployments that nobody runs any more, and has them settled.

Those of workers that are lost, of workers that nobody knows any more, and those that this
process has taken and does not run: the answer to its claim was lost, or settling broke off.
One that cannot be settled keeps its stack waiting, and nothing else.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from reconciler.engine import recovery
from reconciler.engine.recovery import Watched
from reconciler.engine.runners.supervisor import look
from reconciler.engine.store import Claim, Identity, LostWorker
from reconciler.engine.tools import Tools

__all__ = ["HAND_OVER", "LEFT_TO_WORKERS", "Settler", "own_identity"]

_log = logging.getLogger(__name__)

# Counted from when its lock was first seen free, which is never before its last proof. By this
# machine's own time, also while it sleeps: no clock that is set makes it shorter or longer.
HAND_OVER = timedelta(seconds=12)

# A process without a place for deployments may lack what settling needs (pulumi, the state).
# It waits until any worker that there is had its turn.
LEFT_TO_WORKERS = timedelta(seconds=20)

# Between tries to settle one that could not be.
TRY_AGAIN_S = 60.0


class Settler:
    """Settles for one process; for one thread. `running` are the ids of what that runs."""

    def __init__(
        self, tools: Tools, running: Callable[[], frozenset[str]], watched: Watched
    ) -> None:
        self._tools = tools
        self._running = running
        self._watched = watched
        self._works = tools.config.workers > 0
        self._gone: set[int] = set()  # who we were: nothing of that is left
        self._seen_s: dict[int, float] = {}  # since when a worker's lock is seen free
        self._again_s: dict[str, float] = {}  # when to try again, by deployment
        self._orphans: frozenset[Claim] = frozenset()

    def was(self, number: int) -> None:
        """Take note that this process was that worker, and has ended all that it ran as such."""
        self._gone.add(number)

    def look(self, number: int) -> None:
        """Look once, as the worker of this number; 0 is an engine alone."""
        if self._tools.store.shared:
            self._settle_lost(number)
        self._settle_orphans(number)

    def _settle_lost(self, number: int) -> None:
        store = self._tools.store
        lost = self._lost()
        claims = store.deployments.claims()
        # Asked for afterwards: who has a claim was known before, and no number is given twice.
        known = store.workers.numbers()
        left = self._settle(
            (c for c in claims if c.worker in lost or c.worker not in known), number
        )
        for gone in lost - {claim.worker for claim in left}:
            if store.workers.forget(gone):
                _log.warning("worker %d was lost; what it had is settled", gone)
                recovery.remove_workspace_of(self._tools, gone)

    def _lost(self) -> frozenset[int]:
        """Return the workers whose deployments may be taken over by now."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        free = self._tools.store.workers.lost()
        self._seen_s = {w.number: self._seen_s.get(w.number, now_s) for w in free}
        patience_s = (HAND_OVER if self._works else LEFT_TO_WORKERS).total_seconds()
        return frozenset(
            worker.number
            for worker in free
            if worker.number in self._gone
            or (self._works and is_gone(worker))
            or now_s - self._seen_s[worker.number] >= patience_s
        )

    def _settle_orphans(self, number: int) -> None:
        """Settle what is this worker's and not run by it, twice in a row."""
        running = self._running()
        claims = self._tools.store.deployments.claims()
        orphans = frozenset(
            c for c in claims if c.worker == number and c.deployment_id not in running
        )
        found, self._orphans = orphans & self._orphans, orphans
        self._settle(found, number)

    def _settle(self, claims: Iterable[Claim], number: int) -> tuple[Claim, ...]:
        """Settle each by itself, and return those that could not be."""
        left: list[Claim] = []
        for claim in claims:
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            if now_s < self._again_s.get(claim.deployment_id, 0.0):
                left.append(claim)
                continue
            self._again_s.pop(claim.deployment_id, None)
            if not recovery.try_to_settle(self._tools, claim, number, self._watched):
                self._again_s[claim.deployment_id] = now_s + TRY_AGAIN_S
                left.append(claim)
        return tuple(left)


def own_identity() -> Identity:
    """Return who this process is, to others of its host."""
    own = look(os.getpid())
    return Identity(host=_host(), process="" if own is None else f"{own.pid}:{own.started}")


def is_gone(lost: LostWorker) -> bool:
    """Whether the process of a lost worker is seen to be gone; False for one of another host."""
    if lost.host != _host() or ":" not in lost.process:
        return False
    pid, started = map(int, lost.process.split(":"))
    now = look(pid)
    return now is None or now.started != started or not now.alive


def _host() -> str:
    """Return what names this start of this machine, and its process numbers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
