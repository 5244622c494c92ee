"""Takes part in the work on a database: alone, or as one of many workers of a shared one.

A worker of a shared database is one as long as its session lasts. What loses its session, or
cannot prove it in time, ends everything it runs first, and then comes back as a new worker.
The others see its lock free and settle what it had: at once where they can see that its
process is gone, else after a time in which it must have ended everything:

    last proof ──5..7 s──▶ the worker kills ──▶ 9 s: its guard kills ──▶ 12 s: others take over
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.engine import recovery
from reconciler.engine.guard import Guard
from reconciler.engine.queue import Queue
from reconciler.engine.runners.supervisor import look
from reconciler.engine.store import (
    Claim,
    Identity,
    LostWorker,
    SessionLostError,
    Signal,
    StoreError,
    Topic,
)
from reconciler.engine.tools import Tools
from reconciler.errors import NotDurableError

if TYPE_CHECKING:
    from reconciler.engine.store.session import Session

__all__ = ["HAND_OVER", "LOST_AFTER_S", "Part"]

_log = logging.getLogger(__name__)

# Without a proof for so long a worker takes its session for lost: three round trips were missed.
LOST_AFTER_S = 7.0

# Counted from when its lock was first seen free, which is never before its last proof.
HAND_OVER = timedelta(seconds=12)

# How often to look for workers whose lock is free: nobody tells of that. One short query.
LOOK_FOR_LOST_S = 3.0

# Between tries to reach a database that is gone.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Part:
    """This process's part in the work: its queue, which begins deployments within `taken`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        watched = tools.store.shared and tools.config.workers > 0
        self._guard = Guard() if watched else None
        self.queue = Queue(tools, self._guard)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take part within; at its end what runs is ended in order."""
        session = self._tools.store.session()
        if session is None:
            self.queue.join(0)
            with self._dispatching():
                yield
            return
        try:
            membership = _Membership(self._tools, self.queue, session, self._guard)
            with membership.held(), self._dispatching():
                yield
        finally:
            if self._guard is not None:
                self._guard.close()

    @contextmanager
    def _dispatching(self) -> Iterator[None]:
        self.queue.start()
        try:
            yield
        finally:
            self.queue.stop()


class _Membership:
    """Keeps a process a worker, or only a listener where it has no place for deployments."""

    def __init__(self, tools: Tools, queue: Queue, session: Session, guard: Guard | None) -> None:
        self._tools = tools
        self._queue = queue
        self._session = session
        self._guard = guard
        self._ending = threading.Event()
        self._number = 0  # this worker's; 0 while it is none
        self._gone: set[int] = set()  # who we were: nothing of that is left
        self._orphans: frozenset[Claim] = frozenset()
        self._proven_s = 0.0
        self._proof = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be a member within."""
        threads = [threading.Thread(target=self._belong, name="session")]
        if self._guard is not None:
            threads += [
                threading.Thread(target=self._watch, name="session-watch"),
                threading.Thread(target=self._settle_all, name="settling"),
            ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            with self._proof:
                self._proof.notify_all()
            number = self._number
            self._session.cut()
            for thread in threads:
                thread.join()
            self._session.close()
            if number and not self._queue.running():
                self._tools.store.workers.forget(number)

    # ------------------------------------------------------------ the session's thread

    def _belong(self) -> None:
        pause_s = FIRST_PAUSE_S
        identity = None if self._guard is None else own_identity()
        while not self._ending.is_set():
            try:
                number = self._session.open(identity)
            except SessionLostError as error:
                _log.error("the database cannot be reached: %s; trying again", error)
                self._ending.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            try:
                self._begin(number)
                self._session.listen(self._prove)
            except (SessionLostError, StoreError, NotDurableError) as error:
                if self._ending.is_set():
                    return
                _log.error("the session to the database was lost: %s", error)
            with self._proof:
                self._number = 0
            # First of all: from now on others may take what it runs.
            self._queue.abandon()
            self._session.close()
            self._gone.add(number)

    def _begin(self, number: int) -> None:
        """Become the worker of this number."""
        if self._guard is None:
            self._tools.store.signals.emit(Signal(Topic.LOOK))
            return
        from reconciler.engine.store.session import uptime_s  # noqa: PLC0415 - loaded by now

        self._prove(uptime_s())
        with self._proof:
            self._number = number
        _log.info("worker %d takes part", number)
        self._queue.join(number)
        self._tools.store.signals.emit(Signal(Topic.LOOK))

    def _prove(self, at_s: float) -> None:
        with self._proof:
            self._proven_s = at_s
        if self._guard is not None:
            self._guard.proof(at_s)

    # ------------------------------------------------------------ the watching thread

    def _watch(self) -> None:
        """Cut a session that cannot be proven: its thread waits for an answer that may not come."""
        from reconciler.engine.store.session import uptime_s  # noqa: PLC0415 - loaded by now

        with self._proof:
            while not self._ending.is_set():
                left_s = (
                    self._proven_s + LOST_AFTER_S - uptime_s() if self._number else LOST_AFTER_S
                )
                if left_s > 0:
                    self._proof.wait(left_s)
                    continue
                _log.error("the session to the database did not answer for %.0f s", LOST_AFTER_S)
                self._number = 0
                self._session.cut()

    # ------------------------------------------------------------ the settling thread

    def _settle_all(self) -> None:
        swept = False
        while not self._ending.wait(LOOK_FOR_LOST_S if swept else 0):
            if not self._number:
                self._ending.wait(FIRST_PAUSE_S)
                continue
            try:
                if not swept:
                    recovery.remove_workspaces(self._tools, self._tools.store.workers.numbers)
                    swept = True
                self._settle_lost(self._number)
                self._settle_orphans(self._number)
            except (StoreError, NotDurableError) as error:
                _log.warning("lost workers are looked for again: %s", error)
            except Exception:  # noqa: BLE001 - the next look may do better
                _log.exception("a lost worker could not be settled; trying again")

    def _settle_lost(self, number: int) -> None:
        lost = [
            worker.number
            for worker in self._tools.store.workers.lost()
            if worker.lost_for >= HAND_OVER or worker.number in self._gone or is_gone(worker)
        ]
        if not lost:
            return
        for claim in self._tools.store.deployments.claims():
            if claim.worker in lost:
                recovery.settle_one(self._tools, claim, number)
        for gone in lost:
            if self._tools.store.workers.forget(gone):
                _log.warning("worker %d was lost; what it had is settled", gone)
                recovery.remove_workspace_of(self._tools, gone)

    def _settle_orphans(self, number: int) -> None:
        """Settle what is this worker's and not run by it, twice in a row.

        It was claimed, and then the answer was lost, or settling it broke off.
        """
        running = self._queue.running()
        claims = self._tools.store.deployments.claims()
        orphans = frozenset(
            c for c in claims if c.worker == number and c.deployment_id not in running
        )
        for claim in orphans & self._orphans:
            recovery.settle_one(self._tools, claim, number)
        self._orphans = orphans


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
