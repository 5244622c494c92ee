"""What an engine says of itself in its data directory, and when an embedded one may end.

engine.lock     held by the one engine of this directory; holds its process id
users.lock      held shared by every process that uses an embedded engine
successor.lock  held shared by who wants one with other options in its place
address.json    where an embedded engine answers, while it does
embedded.token  the token that its users present
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from reconciler.engine.config import Layout
from reconciler.engine.tokens import EVERY_ORGANIZATION, Caller, Role, Tokens
from reconciler.errors import AnotherInstanceError

__all__ = ["announce", "only_engine", "wait"]

# How often to look whether anybody is left: a lock tells nobody when it is let go.
LOOK_EVERY_S = 1.0


@contextmanager
def only_engine(layout: Layout, *, shared: bool = False) -> Iterator[None]:
    """Hold the directory's lock; AnotherInstanceError names who holds it.

    Processes of one shared database may share a directory, with one another only.
    """
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(20).strip() or "unknown"
            message = (
                f"another engine uses {layout.data}: process {holder}; give this one a "
                "--data of its own, or deploy by that one (--api-url)"
            )
            raise AnotherInstanceError(message) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def announce(layout: Layout, url: str, tokens: Tokens) -> None:
    """Write down where this engine answers and the token for it."""
    os.close(os.open(layout.users_lock, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        token = layout.embedded_token.read_text().strip()
    except FileNotFoundError:
        token = ""
    if not token or tokens.verify(token) is None:
        owner = Caller(
            organization=EVERY_ORGANIZATION, user="reconciler", email="", role=Role.ADMIN
        )
        _write(layout.embedded_token, tokens.create(owner, None))
    _write(layout.address, json.dumps({"url": url, "pid": os.getpid()}))


def wait(
    layout: Layout, busy: Callable[[], bool], idle_exit: timedelta, stop: threading.Event
) -> None:
    """Return when `stop` is set, or nobody has used the engine for `idle_exit`.

    It does not wait so long for a next user where somebody waits for it to end.
    Whoever takes the users' lock from then on waits until this process has ended, and then
    finds no address.
    """
    limit_s = idle_exit.total_seconds()
    idle_since: float | None = None
    while not stop.wait(min(LOOK_EVERY_S, max(limit_s / 5, 0.05))):
        now = time.monotonic()
        if busy() or not _nobody(layout.users_lock):
            idle_since = None
            continue
        idle_since = now if idle_since is None else idle_since
        enough = now - idle_since >= limit_s or not _nobody(layout.successor_lock)
        if enough and _close(layout, busy):
            return
    layout.address.unlink(missing_ok=True)


def _nobody(lock: Path) -> bool:
    """Whether nobody holds a lock; it is made where it is not there."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _close(layout: Layout, busy: Callable[[], bool]) -> bool:
    """Keep everybody out, for good, unless somebody has come in between."""
    descriptor = os.open(layout.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not busy():
            layout.address.unlink(missing_ok=True)
            return True  # the lock is let go by the end of the process
    os.close(descriptor)
    return False


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner reads, all or nothing, on the disk."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
