"""A terminal of bash, for what a page tells somebody to type."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.waiting import eventually

__all__ = ["Bash"]


class Bash:
    """Runs scripts in a folder, as a terminal of bash does that stops at what fails."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], logs: Path, limit_s: float
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._logs = logs
        self._limit_s = limit_s
        self._log = logs / "terminal-0.log"
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, script: str) -> str:
        """Run a script to its end, and return what it printed."""
        done = subprocess.run(
            self._words(script),
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self._limit_s,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{self.said()}"
        return done.stdout

    def start(self, script: str, expected: str) -> None:
        """Start what goes on until it is stopped, and wait for what it says first."""
        self._log = self._logs / f"terminal-{len(self._running)}.log"
        with self._log.open("wb") as output:
            self._running.append(
                subprocess.Popen(
                    self._words(script),
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        eventually(lambda: expected in self.said(), f"{expected!r} of {script}", self._limit_s)

    def said(self) -> str:
        """Return what the last one that was started has said so far."""
        return self._log.read_text() if self._log.exists() else ""

    def stop(self) -> None:
        """Press Ctrl-C, and wait for the end."""
        while self._running:
            process = self._running.pop()
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(self._limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"it does not end by Ctrl-C:\n{self.said()}") from None

    def _words(self, script: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", script]
