"""Starts queued deployments, each in a thread of its own, and ends them when asked to.

Which may start, `dispatch` decides. Nothing here polls: whoever adds or ends a deployment
wakes the dispatcher, from another process too. Only where the database is shared does it look
by itself now and then as well, since a signal may be lost with a connection.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.api.types import Ending, EndingKind, JobStatus, StackRef
from reconciler.engine import dispatch
from reconciler.engine.dispatch import Decision, Places, Queued
from reconciler.engine.execution import SHUTDOWN, Execution
from reconciler.engine.model import Begun, Event, Expired, Record, StepFailed, Superseded
from reconciler.engine.stopping import StopKind
from reconciler.engine.store import Claim, DatabaseLostError, Signal, Topic
from reconciler.engine.tools import Tools
from reconciler.metrics import of_engine
from reconciler.traces import Attribute

__all__ = ["Queue", "Watch"]

_log = logging.getLogger(__name__)

# When nothing is queued, only a wake-up changes that; this is only far away.
FAR_AWAY = timedelta(days=1)

# How late a lost signal is made up for.
LOOK_EVERY = timedelta(seconds=5)

# After an error that has no reason to go away by itself, but may (a full disk).
LOOK_AGAIN = timedelta(seconds=1)

# What is left to do after the last kill: reap, free a lock, write down the end.
AFTER_KILL_S = 10.0


class Watch(Protocol):
    """Is told what runs, so that it can be ended should this process hang."""

    def begins(self, deployment_id: str) -> None:
        """Watch over a deployment, before anything of it is started."""
        ...

    def ended(self, deployment_id: str) -> None:
        """Watch over it no more: nothing of it is left."""
        ...


class Queue:
    """The dispatcher and the running deployments of one process.

    It begins nothing before it has joined, as a worker with a number; 0 is an engine alone.
    """

    def __init__(self, tools: Tools, watch: Watch | None = None) -> None:
        """Prepare; `watch` is told of every deployment before anything of it is started."""
        self._tools = tools
        self._watch = watch
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._running: dict[str, Execution] = {}  # guarded by _changed
        self._worker: int | None = None  # guarded by _changed
        self._looks = 0  # guarded by _changed
        self._dispatcher = threading.Thread(target=self._dispatch_all, name="dispatcher")
        self._end_hearing = tools.store.signals.subscribe(self._hear)

    def start(self) -> None:
        """Begin to dispatch."""
        self._dispatcher.start()

    def join(self, worker: int) -> None:
        """Take part as the worker of this number."""
        with self._changed:
            self._worker = worker
        self._wake.set()

    def abandon(self) -> None:
        """Take no part any more, kill what runs, and return when nothing of it is left.

        Nothing of it is recorded: whoever takes it over does that.
        """
        with self._changed:
            self._worker = None
            executions = tuple(self._running.values())
        for execution in executions:
            execution.abandon()
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def wake(self) -> None:
        """Have all dispatchers look at once: something was queued, or may go on."""
        self._tools.store.tell(Signal(Topic.QUEUE))

    def cancel(self, deployment_id: str) -> None:
        """End a running deployment of this process; its cancel is in the database already."""
        with self._changed:
            execution = self._running.get(deployment_id)
        if execution is not None:
            execution.stop(StopKind.CANCEL)

    def running(self) -> frozenset[str]:
        """Return the ids of what this process runs."""
        with self._changed:
            return frozenset(self._running)

    def turns(self, limit_s: float) -> bool:
        """Whether the dispatcher looks at the queue within a time, as it is asked to here."""
        with self._changed:
            begun = self._looks
            self._wake.set()
            # The look that is under way may have begun long ago: the next one counts.
            return self._changed.wait_for(lambda: self._looks > begun, limit_s)

    def busy(self) -> bool:
        """Whether anything is running or queued."""
        with self._changed:
            if self._running:
                return True
        try:
            return self._tools.store.deployments.waiting() is not None
        except DatabaseLostError as error:
            _log.warning("whether anything waits cannot be told: %s", error)
            return True

    def stop(self) -> None:
        """Start nothing more, end what runs, and return when it has ended, within a bound.

        What is queued stays so, for the next engine, as does what had not begun its operation.
        """
        self._end_hearing()
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

    # ------------------------------------------------------------ signals

    def _hear(self, signal: Signal) -> None:
        if signal.topic in {Topic.QUEUE, Topic.LOOK}:
            self._wake.set()
        elif signal.topic == Topic.CANCEL:
            self.cancel(signal.about)

    # ------------------------------------------------------------ the dispatcher's thread

    def _dispatch_all(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            with self._changed:
                self._looks += 1
                self._changed.notify_all()
            now = self._tools.clock.now()
            try:
                with self._tools.meter.timed(of_engine.DISPATCH):
                    look_again_at = self._look(now)
            except Exception:  # noqa: BLE001 - the next look may do better
                _log.exception("dispatching failed; trying again")
                look_again_at = now + LOOK_AGAIN
            if not self._stopping.is_set():
                self._tools.clock.wait_until(look_again_at, self._wake)

    def _look(self, now: datetime) -> datetime:
        """Start what may start, and return when to look again."""
        with self._changed:
            worker, running = self._worker, tuple(self._running)
        if worker is None:
            return now + FAR_AWAY
        far = now + (LOOK_EVERY if self._tools.store.shared else FAR_AWAY)
        if running and self._tools.store.shared:
            for deployment_id in self._tools.store.deployments.canceled(running):
                self.cancel(deployment_id)
        # A look at the queue alone is cheaper than a turn at it.
        oldest = self._tools.store.deployments.waiting()
        if oldest is None:
            return far
        free = self._tools.config.workers - len(running)
        expires = oldest + dispatch.LONGEST_WAIT
        if free <= 0 and expires > now:
            # Nothing can start here, and a long queue is not worth reading for that.
            return min(expires, far)
        return min(self._dispatch(worker, free, now) or far, far)

    def _dispatch(self, worker: int, free: int, now: datetime) -> datetime | None:
        paused = self._tools.store.pauses.all()
        decision = Decision()

        def choose(
            queued: Sequence[Queued], running: Sequence[StackRef]
        ) -> Iterator[tuple[str, Event]]:
            nonlocal decision
            places = Places(
                total=len(running) + max(free, 0),
                per_organization=self._tools.config.most_per_organization,
            )
            decision = dispatch.decide(queued, running, places, now, paused)
            yield from ((found, _expired(now)) for found in decision.expire)
            yield from ((found, _superseded(now)) for found in decision.supersede)
            yield from ((found, Begun(now)) for found in decision.start)

        for record, claim in self._tools.store.deployments.dispatch(worker, choose):
            try:
                self._start(record, claim)
            except Exception:  # noqa: BLE001 - the others are to start all the same
                _log.exception("deployment %s could not be started", record.id)
        return decision.look_again_at

    def _start(self, record: Record, claim: Claim) -> None:
        try:
            execution = Execution(self._tools, record, claim, self._stopping)
            with self._changed:
                if self._worker != claim.worker:
                    return  # the session was lost in between: it is settled with all others
                self._running[record.id] = execution
            if self._watch is not None:
                self._watch.begins(record.id)
            # A cancel may have come before it could be stopped here.
            with contextlib.suppress(DatabaseLostError):
                if self._tools.store.deployments.canceled((record.id,)):
                    execution.stop(StopKind.CANCEL)
            threading.Thread(
                target=self._work, args=(execution,), name=f"deployment-{record.id}"
            ).start()
        except BaseException:
            self._forget(record.id)
            message = "the engine could not start a thread: nothing has happened"
            ending = Ending(kind=EndingKind.LOST, message=message)
            event = StepFailed(self._tools.clock.now(), ending)
            self._tools.store.deployments.apply(record.id, event, claim)
            raise

    def _forget(self, deployment_id: str) -> None:
        with self._changed:
            self._running.pop(deployment_id, None)
            self._changed.notify_all()

    # ------------------------------------------------------------ a deployment's thread

    def _work(self, execution: Execution) -> None:
        record = execution.record
        about: dict[str, Attribute] = {
            "deployment": record.id,
            "stack": str(record.stack),
            "version": record.version,
            "operation": str(record.operation),
        }
        try:
            with self._tools.tracer.span("deployment", about) as span:
                execution.run()
                span.set("status", str(execution.record.status))
                if execution.record.status is JobStatus.FAILED:
                    span.fail("it failed")
        finally:
            if self._watch is not None:
                self._watch.ended(execution.record.id)
            self._forget(execution.record.id)
            self._wake.set()
            execution.clean()


def _expired(now: datetime) -> Expired:
    days = dispatch.LONGEST_WAIT.days
    message = f"it waited in the queue for {days} days"
    return Expired(now, Ending(kind=EndingKind.EXPIRED, message=message))


def _superseded(now: datetime) -> Superseded:
    message = "a newer deployment of this stack and operation was queued: it stands for this one"
    return Superseded(now, Ending(kind=EndingKind.SUPERSEDED, message=message))
