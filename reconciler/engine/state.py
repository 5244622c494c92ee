"""One stack's state in its backend, as far as the engine has to do with it.

In a directory it looks for itself. In a bucket or a database only Pulumi can look: its
`stack init` changes nothing for a stack that is there, and tells so, or who holds its lock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.engine.backend import Backend
from reconciler.engine.remote_backend import RemoteBackend, locked_since
from reconciler.engine.runners.base import Command, Place
from reconciler.errors import ReconcilerError
from reconciler.files import write_durably

__all__ = ["StackState", "StateGoneError", "ask", "free_lock"]

_log = logging.getLogger(__name__)

# Freeing a lock, or looking for one, is one call of pulumi: 0.1 s, or a few in a bucket.
ASK_LIMIT_S = 60.0
LARGEST_ANSWER_BYTES = 64 * 1024

# The last words say what was wrong.
MOST_TOLD = 500

_CREDENTIALS_FILE = "backend-credentials"


class StateGoneError(ReconcilerError):
    """A stack that was made has no state any more."""


class StackState:
    """The state of one stack; `directory` is the deployment's own, for what opens the backend."""

    def __init__(self, backend: Backend | RemoteBackend, stack: StackRef, directory: Path) -> None:
        self._stack = stack
        self._local = backend if isinstance(backend, Backend) else None
        self._remote = backend if isinstance(backend, RemoteBackend) else None
        self._file = directory / _CREDENTIALS_FILE

    @property
    def looked_at(self) -> bool:
        """Whether the engine itself can look into the backend."""
        return self._local is not None

    @property
    def writable(self) -> tuple[Path, ...]:
        """The directories that Pulumi writes."""
        return () if self._local is None else (self._local.directory,)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What opens the backend, to be masked."""
        return () if self._remote is None else self._remote.secrets

    def prepare(self) -> None:
        """Make what Pulumi needs to open it, before any program of others runs."""
        if self._local is not None:
            self._local.make()
            self._local.mend(self._stack)
        elif self._remote is not None and self._remote.credentials:
            write_durably(self._file, self._remote.credentials.encode())

    def opened(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of Pulumi's own commands, which open the backend."""
        remote = self._remote
        if remote is None:
            return dict(environment)
        file = {"AWS_SHARED_CREDENTIALS_FILE": str(self._file)} if remote.credentials else {}
        return {**remote.defaults, **environment, **remote.variables, **file}

    def is_new(self, *, initialized: bool) -> bool:
        """Whether the stack may have to be made; one that was seen before is never made again.

        StateGoneError where it was, and its state is gone. In a bucket, Pulumi says that itself.
        """
        if self._local is None:
            return not initialized
        there = self._local.has(self._stack)
        if initialized and not there:
            raise StateGoneError(
                f"the state of {self._stack} is gone from {self._local.directory}: restore it from "
                "a backup; it is not made anew, since its resources would be made twice"
            )
        return not there

    def is_locked(self) -> bool:
        """Whether somebody is seen to hold the lock; in a bucket Pulumi then does not begin."""
        return self._local is not None and bool(self._local.locks(self._stack))

    def was_left_locked(self, place: Place, init: Command, begun: datetime) -> bool:
        """Whether an operation that was cut off has left its lock, made at `begun` or later."""
        if self._local is not None:
            return self._local.locked_since(self._stack, begun)
        return locked_since(ask(place, init)[1], begun)


def free_lock(place: Place, command: Command) -> bool:
    """Run `pulumi cancel`, and return whether it did it; the log says why not."""
    code, output = ask(place, command)
    if code != 0:
        _log.error("a lock could not be freed (exit code %s): %s", code, output[-MOST_TOLD:])
    return code == 0


def ask(place: Place, command: Command) -> tuple[int | None, str]:
    """Run one of Pulumi's quick commands; return its exit code, None for none, and its output."""
    output = bytearray()

    def keep(part: bytes) -> None:
        # A program of somebody's own image may never stop to write.
        output.extend(part[: LARGEST_ANSWER_BYTES - len(output)])

    try:
        process = place.start(command, keep)
    except OSError as error:
        return None, f"pulumi cannot be started: {error.strerror}"
    code = process.wait(ASK_LIMIT_S)
    if code is None:
        process.kill()
        process.wait()
    return code, output.decode(errors="replace")
