"""Starts queued deployments, each in a thread of its own, and ends them when asked to.

Which may start, `dispatch` decides. Nothing here polls: whoever adds or ends a deployment
wakes the dispatcher.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from reconciler.api.types import Ending, EndingKind, JobStatus
from reconciler.engine import dispatch
from reconciler.engine.execution import SHUTDOWN, Execution
from reconciler.engine.model import Begun, Event, Expired, Record, StepFailed, Superseded
from reconciler.engine.stopping import StopKind
from reconciler.engine.tools import Tools

__all__ = ["Queue"]

_log = logging.getLogger(__name__)

_Decide = Callable[[Record], Event | None]

# When nothing is queued, only a wake-up changes that; this is only far away.
FAR_AWAY = timedelta(days=1)

# After an error that has no reason to go away by itself, but may (a full disk).
LOOK_AGAIN = timedelta(seconds=1)

# What is left to do after the last kill: reap, free a lock, write down the end.
AFTER_KILL_S = 10.0


class Queue:
    """The dispatcher and the running deployments of one engine."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._running: dict[str, Execution] = {}  # guarded by _changed
        self._dispatcher = threading.Thread(target=self._dispatch_all, name="dispatcher")

    def start(self) -> None:
        """Begin to dispatch."""
        self._dispatcher.start()

    def wake(self) -> None:
        """Have the dispatcher look at once: something was queued."""
        self._wake.set()

    def cancel(self, deployment_id: str) -> None:
        """End a running deployment; its cancel is in the database already."""
        with self._changed:
            execution = self._running.get(deployment_id)
        if execution is not None:
            execution.stop(StopKind.CANCEL)

    def busy(self) -> bool:
        """Whether anything is running or queued."""
        with self._changed:
            if self._running:
                return True
        return bool(self._tools.store.deployments.queued())

    def stop(self) -> None:
        """Start nothing more, end what runs, and return when it has ended, within a bound.

        What is queued stays so, for the next engine.
        """
        self._stopping.set()
        self._wake.set()
        if self._dispatcher.is_alive():
            self._dispatcher.join()
        with self._changed:
            executions = tuple(self._running.values())
        for execution in executions:
            execution.stop(StopKind.SHUTDOWN)
        limit_s = SHUTDOWN.first_s + SHUTDOWN.second_s + AFTER_KILL_S
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, limit_s):
                left = ", ".join(self._running)
                _log.error("these deployments have not ended and are left behind: %s", left)

    # ------------------------------------------------------------ the dispatcher's thread

    def _dispatch_all(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            now = self._tools.clock.now()
            try:
                look_again_at = self._dispatch(now) or now + FAR_AWAY
            except Exception:  # noqa: BLE001 - the next look may do better
                _log.exception("dispatching failed; trying again")
                look_again_at = now + LOOK_AGAIN
            if not self._stopping.is_set():
                self._tools.clock.wait_until(look_again_at, self._wake)

    def _dispatch(self, now: datetime) -> datetime | None:
        with self._changed:
            stacks = tuple(e.record.stack for e in self._running.values())
        queued = self._tools.store.deployments.queued()
        paused = self._tools.store.pauses.all()
        decision = dispatch.decide(queued, stacks, self._tools.config.workers, now, paused)
        for deployment_id in decision.expire:
            self._tools.store.deployments.change(deployment_id, _expire(now))
        for deployment_id in decision.supersede:
            self._tools.store.deployments.change(deployment_id, _supersede(now))
        for deployment_id in decision.start:
            if not self._stopping.is_set():
                self._start(deployment_id, now)
        return decision.look_again_at

    def _start(self, deployment_id: str, now: datetime) -> None:
        record = self._tools.store.deployments.get(deployment_id)
        if record is None:
            return
        execution = Execution(self._tools, record, self._stopping)
        # In this order a cancel meets either a queued deployment or one that it can stop.
        with self._changed:
            self._running[deployment_id] = execution
        begun = False
        try:
            begun = self._tools.store.deployments.change(deployment_id, _begin(now))[1] is not None
            if begun:
                thread = threading.Thread(
                    target=self._work, args=(execution,), name=f"deployment-{deployment_id}"
                )
                thread.start()
            else:
                self._forget(deployment_id)
        except BaseException:
            self._forget(deployment_id)
            if begun:
                message = "the engine could not start a thread: nothing has happened"
                ending = Ending(kind=EndingKind.LOST, message=message)
                self._tools.store.deployments.apply(deployment_id, StepFailed(now, ending))
            raise

    def _forget(self, deployment_id: str) -> None:
        with self._changed:
            self._running.pop(deployment_id, None)
            self._changed.notify_all()

    # ------------------------------------------------------------ a deployment's thread

    def _work(self, execution: Execution) -> None:
        try:
            execution.run()
        finally:
            self._forget(execution.record.id)
            self._wake.set()
            execution.clean()


def _begin(now: datetime) -> _Decide:
    def decide(record: Record) -> Event | None:
        return Begun(now) if record.status is JobStatus.NOT_STARTED else None

    return decide


def _expire(now: datetime) -> _Decide:
    days = dispatch.LONGEST_WAIT.days
    ending = Ending(kind=EndingKind.EXPIRED, message=f"it waited in the queue for {days} days")

    def decide(record: Record) -> Event | None:
        return Expired(now, ending) if record.status is JobStatus.NOT_STARTED else None

    return decide


def _supersede(now: datetime) -> _Decide:
    message = "a newer deployment of this stack and operation was queued: it stands for this one"
    ending = Ending(kind=EndingKind.SUPERSEDED, message=message)

    def decide(record: Record) -> Event | None:
        return Superseded(now, ending) if record.status is JobStatus.NOT_STARTED else None

    return decide
