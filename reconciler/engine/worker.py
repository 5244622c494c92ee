"""Takes part in the work on a database: alone, or as one of many workers of a shared one.

A worker of a shared database is one as long as its session lasts. What loses its session, or
cannot prove it in time, ends everything it runs first, and then comes back as a new worker.
The others see its lock free and settle what it had: at once where they can see that its
process is gone, else after a time in which it must have ended everything:

    last proof ──5..7 s──▶ the worker kills ──▶ 9 s: its guard kills ──▶ 12 s: others take over
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from reconciler.engine import recovery
from reconciler.engine.guard import Guard
from reconciler.engine.queue import Queue
from reconciler.engine.settling import Settler, own_identity
from reconciler.engine.store import SessionLostError, Signal, StoreError, Topic
from reconciler.engine.tools import Tools
from reconciler.errors import NotDurableError

if TYPE_CHECKING:
    from reconciler.engine.store.session import Session

__all__ = ["LOST_AFTER_S", "Part"]

_log = logging.getLogger(__name__)

# Without a proof for so long a worker takes its session for lost: three round trips were missed.
LOST_AFTER_S = 7.0

# How often to look for workers whose lock is free: nobody tells of that. One short query.
LOOK_FOR_LOST_S = 3.0

# The same for an engine alone, which can only have lost something itself.
LOOK_ALONE_S = 10.0

# Between tries to reach a database that is gone.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Part:
    """This process's part in the work: its queue, which begins deployments within `taken`."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._guard = Guard() if tools.store.shared else None
        self.queue = Queue(tools, self._guard)
        watched = _nobody if self._guard is None else self._guard.over
        self._settler = Settler(tools, self.queue.running, watched)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take part within; at its end what runs is ended in order."""
        session = self._tools.store.session()
        if session is None or self._guard is None:
            self.queue.join(0)
            with self._settling(), self._dispatching():
                yield
            return
        try:
            member = _Membership(self._tools, self.queue, session, self._guard, self._settler)
            with member.held(), self._dispatching():
                yield
        finally:
            self._guard.close()

    @contextmanager
    def _dispatching(self) -> Iterator[None]:
        self.queue.start()
        try:
            yield
        finally:
            self.queue.stop()

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Settle what an engine alone has taken and does not run."""
        ending = threading.Event()

        def run() -> None:
            while not ending.wait(LOOK_ALONE_S):
                _look(self._settler, 0)

        thread = threading.Thread(target=run, name="settling")
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


def _nobody(_: str) -> AbstractContextManager[None]:
    """Watch over nothing: who is alone has nobody beside it that would take over."""
    return nullcontext()


def _look(settler: Settler, number: int) -> None:
    try:
        settler.look(number)
    except (StoreError, NotDurableError) as error:
        _log.warning("lost deployments are looked for again: %s", error)
    except Exception:  # noqa: BLE001 - the next look may do better
        _log.exception("lost deployments could not be looked for; trying again")


class _Membership:
    """Keeps a process a worker, also where it has no place for deployments."""

    def __init__(
        self, tools: Tools, queue: Queue, session: Session, guard: Guard, settler: Settler
    ) -> None:
        self._tools = tools
        self._queue = queue
        self._session = session
        self._guard = guard
        self._settler = settler
        self._identity = own_identity()
        self._ending = threading.Event()
        self._number = 0  # this worker's; 0 while it is none
        self._proven_s = 0.0
        self._proof = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be a member within."""
        threads = [
            threading.Thread(target=self._belong, name="session"),
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
            self._session.end()
            for thread in threads:
                thread.join()
            self._session.close()
            if number and not self._queue.running():
                self._forget(number)

    def _forget(self, number: int) -> None:
        try:
            self._tools.store.workers.forget(number)
        except NotDurableError as error:
            _log.warning("others will find that worker %d is gone: %s", number, error)

    # ------------------------------------------------------------ the session's thread

    def _belong(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._ending.is_set():
            try:
                number = self._session.open(self._identity)
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
            except Exception:  # noqa: BLE001 - a worker without this thread would never work again
                _log.exception("the session to the database is given up")
            with self._proof:
                self._number = 0
            # First of all: from now on others may take what it runs.
            self._queue.abandon()
            self._session.close()
            self._settler.was(number)
            self._ending.wait(FIRST_PAUSE_S)

    def _begin(self, number: int) -> None:
        """Become the worker of this number."""
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
            # One and the same throughout: it may be lost at any moment, and 0 is nobody here.
            number = self._number
            if not number:
                self._ending.wait(FIRST_PAUSE_S)
                continue
            if not swept:
                swept = self._sweep()
            _look(self._settler, number)

    def _sweep(self) -> bool:
        try:
            recovery.remove_workspaces(self._tools, self._tools.store.workers.numbers)
        except (StoreError, OSError) as error:
            _log.warning("old workspaces are looked for again: %s", error)
            return False
        return True
