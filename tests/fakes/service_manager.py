"""systemd's side of sd_notify: a real datagram socket, and the process it was started for."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["LIMIT_S", "Manager", "Unit"]

LIMIT_S = 60.0


class Manager:
    """Hears what services say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0)
        self.heard: list[str] = []

    def listen(self, limit_s: float) -> bool:
        """Hear one message, or nothing until the limit."""
        if not select.select([self._socket], [], [], limit_s)[0]:
            return False
        self.heard.append(self._socket.recv(65536).decode())
        return True

    def wait_for(self, condition: Callable[[list[str]], bool], what: str) -> None:
        """Hear messages until they are what is waited for."""
        deadline = time.monotonic() + LIMIT_S
        while not condition(self.heard):
            assert time.monotonic() < deadline, f"never said: {what}; but {self.heard}"
            self.listen(0.1)

    def hears(self, message: str) -> None:
        """Wait for a message that begins so."""
        self.wait_for(lambda heard: any(m.startswith(message) for m in heard), message)

    def drain(self) -> None:
        """Forget what was said until now."""
        while self.listen(0):
            pass
        self.heard.clear()

    def close(self) -> None:
        self._socket.close()


class Unit:
    """A process that was started as a service: with the socket, and a watchdog where one is set."""

    def __init__(
        self,
        command: Sequence[str],
        manager: Manager,
        log: Path,
        environment: Mapping[str, str],
        watchdog_s: float = 0.0,
    ) -> None:
        self.manager = manager
        self.log = log
        watched = {"WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))} if watchdog_s else {}
        told = {"NOTIFY_SOCKET": str(manager.path), **watched}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env={**environment, **told},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """Return what the process itself was given."""
        content = Path(f"/proc/{self.process.pid}/environ").read_bytes()
        return dict(os.fsdecode(e).split("=", 1) for e in content.split(b"\0") if b"=" in e)

    def end(self) -> int:
        """Stop it as systemd does, and return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(LIMIT_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
