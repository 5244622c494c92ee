"""What the commands of one deployment on this host share: a control group, and who waits in it.

To move a process into a group the kernel waits for all processors, some 5 ms each time. So the
supervisor of a command is made and moved while the command before it runs, and then only waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from dataclasses import dataclass

from reconciler.engine.runners.base import Needs
from reconciler.engine.runners.cgroups import Bounds
from reconciler.engine.runners.nursery import NurseryLostError, nursery

__all__ = ["Enclosure", "Waiting", "enclosures"]

# What has nothing to do ends in a millisecond; the group's removal kills what does not.
END_LIMIT_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A supervisor that waits for its order: the socket to it, and the output of what it starts."""

    control: socket.socket
    output: int

    def there(self) -> bool:
        """Whether it still waits: somebody (the kernel, out of memory) may have ended it."""
        try:
            self.control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end(self) -> None:
        """Let it go, and wait for that: it holds the other end of the output."""
        self.control.close()
        poll = select.poll()
        poll.register(self.output, select.POLLIN)
        poll.poll(END_LIMIT_MS)
        os.close(self.output)


class Enclosure:
    """The bounds of one deployment's commands. They are started one at a time."""

    def __init__(self, needs: Needs) -> None:
        self._deployment_id = needs.deployment_id
        self._bounds = Bounds(needs.deployment_id, needs.limits)
        self._lock = threading.Lock()  # held while one is made
        self._waiting: Waiting | None = None
        self._closed = False
        self.described = self._bounds.open()

    def take(self) -> Waiting:
        """Return a supervisor within the bounds; OSError where none can be made."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if waiting.there():
                return waiting
            waiting.end()
        return self._make()

    def make_next(self) -> None:
        """Have a supervisor made for the next command, and return at once."""
        if self._bounds.groups is None:
            return  # that would save a millisecond, and cost a process
        # Where no thread can be had, who takes one makes it.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._make_waiting, name="supervisor", daemon=True).start()

    def close(self) -> None:
        """End whatever is left within the bounds, and remove them."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.end()
        self._bounds.close()

    def _make_waiting(self) -> None:
        # Where none can be made now, who takes one tries again, and tells.
        with self._lock, contextlib.suppress(OSError):
            if self._waiting is None and not self._closed:
                self._waiting = self._make()

    def _make(self) -> Waiting:
        self._bounds.open()  # who ended all that was left of the deployment removed them
        try:
            return self._made()
        except NurseryLostError:
            # Somebody (the kernel, out of memory) has ended it.
            return self._made()

    def _made(self) -> Waiting:
        control, theirs = socket.socketpair()
        output, into = os.pipe()
        waiting = Waiting(control=control, output=output)
        try:
            pid = nursery.supervisor(self._deployment_id, theirs.fileno(), into)
        except BaseException:
            control.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(into)
        try:
            self._bounds.enclose(pid)
        except BaseException:
            waiting.end()
            raise
        return waiting


class Enclosures:
    """The enclosures of this process's deployments, each for as long as a place is open in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Enclosure, int]] = {}

    def enter(self, needs: Needs) -> Enclosure:
        """Return the deployment's, which is made where there is none."""
        with self._lock:
            found, places = self._open.get(needs.deployment_id) or (Enclosure(needs), 0)
            self._open[needs.deployment_id] = found, places + 1
        if not places:
            found.make_next()
        return found

    def leave(self, needs: Needs) -> None:
        """Let a deployment's go; the last one who does closes it."""
        with self._lock:
            found, places = self._open.pop(needs.deployment_id)
            if places > 1:
                self._open[needs.deployment_id] = found, places - 1
                return
        found.close()


# One for all places: a deployment has more than one, for its source and for its programs.
enclosures = Enclosures()
