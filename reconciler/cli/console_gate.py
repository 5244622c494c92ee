"""Who gets into the console of `run`: two tokens in the state directory, and a record of acts.

console.token       sees and does everything
console-read.token  sees everything
console-audit.jsonl what was done by which, and who was refused; one JSON object a line
"""

from __future__ import annotations

import hmac
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.adapters.state_directory import StateDirectory
from reconciler.clock import Clock
from reconciler.console.ports import Denied
from reconciler.console.values import Viewer
from reconciler.engine.service import AnswerError
from reconciler.engine.throttle import Throttle, neighbourhood
from reconciler.errors import NotDurableError
from reconciler.files import make_folder
from reconciler.jsonform import time_text

__all__ = ["StateGate"]

# As many as an engine takes; a person who mistypes one stays below it.
FAILED_LOGINS: Final = 60

# Some ten thousand acts; the file before it is kept as well.
LARGEST_RECORD_BYTES: Final = 4 << 20
LONGEST_TARGET: Final = 300

ROLES: Final = {"console": "admin", "console-read": "read"}


class StateGate:
    """Knows the tokens of one state directory; they are read again when a file has changed."""

    # Each request's own scheme says it.
    secure = False

    def __init__(self, state: StateDirectory, folder: Path, clock: Clock) -> None:
        self._state = state
        self._record = folder / "console-audit.jsonl"
        self._clock = clock
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._failed = Throttle(FAILED_LOGINS)
        for name in ROLES:
            state.token(name)

    def path(self) -> Path:
        """Return the file of the token that may do everything."""
        return self._state.token_path("console")

    def admit(self, token: str, address: tuple[str, str], asked: str) -> Viewer | Denied:
        """Return who presents a token: Denied with 401, or 429 after too many wrong ones."""
        if not token:
            return Denied(status=401, message="log in first")
        place, now = neighbourhood(address[0]), self._clock.now()
        for name, role in ROLES.items():
            if hmac.compare_digest(self._state.token(name).encode(), token.encode()):
                return Viewer(name=name, role=role, address=address[0], key=token)
        with self._lock:
            wait_s = self._failed.wait(place, now).total_seconds()
            if wait_s <= 0:
                self._failed.failed(place, now)
        if wait_s > 0:
            message = f"too many wrong tokens from here; try again in {wait_s:.0f} s"
            return Denied(status=429, message=message, retry_after_s=round(wait_s) + 1)
        self._write("", place, "log in", asked, "refused 401")
        return Denied(status=401, message="this token is not good here")

    def still(self, viewer: Viewer) -> None:
        """Raise AnswerError 401 where the token is another one now."""
        token = str(viewer.key)
        if not hmac.compare_digest(self._state.token(viewer.name).encode(), token.encode()):
            raise AnswerError(401, "this token is no longer good")

    @contextmanager
    def noting(self, viewer: Viewer, action: str, target: str) -> Iterator[None]:
        """Write down what is done within; NotDurableError where that cannot be, before it is."""
        self._write(viewer.name, viewer.address, action, target, "asked")
        try:
            yield
        except AnswerError as error:
            self._write(viewer.name, viewer.address, action, target, f"refused {error.status}")
            raise

    def _write(self, *told: str) -> None:
        user, address, action, target, result = told
        body = {
            "at": time_text(self._clock.now()),
            "user": user,
            "address": address,
            "action": action,
            "target": target[:LONGEST_TARGET],
            "result": result,
        }
        line = f"{json.dumps(body)}\n".encode()
        with self._lock:
            try:
                make_folder(self._record.parent)
                _append(self._record, line)
            except OSError as error:
                raise NotDurableError(f"{self._record} cannot be written: {error}") from error


def _append(path: Path, line: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        if os.fstat(descriptor).st_size > LARGEST_RECORD_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
