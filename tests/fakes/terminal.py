"""A terminal of a given size that a command runs on, and what can be read on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Screenful", "TerminalRun"]

LIMIT_S = 60.0
_CODE = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[([\d;]*)m")


class Screenful:
    """What is on a terminal after it was sent some bytes: as much of it as we use."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.lines = [""] * rows
        self.wrapped = False
        self.at = 0

    def feed(self, text: str) -> None:
        """Take what a program has written, in whole lines and codes."""
        column, position = 0, 0
        while position < len(text):
            code = _CODE.match(text, position)
            if code is not None:
                position = code.end()
                column = self._obey(code[1] or "", code[2] or "m", column)
                continue
            letter = text[position]
            position += 1
            if letter == "\n":
                self.at += 1
                if self.at == len(self.lines):
                    self.lines = [*self.lines[1:], ""]
                    self.at -= 1
            elif letter == "\r":
                column = 0
            else:
                line = self.lines[self.at].ljust(column)
                self.lines[self.at] = line[:column] + letter + line[column + 1 :]
                column += 1
                self.wrapped |= column > self.columns

    def _obey(self, number: str, verb: str, column: int) -> int:
        match verb:
            case "F":
                self.at = max(self.at - int(number or 1), 0)
                return 0
            case "K":
                self.lines[self.at] = self.lines[self.at][:column]
            case "J":
                first = 0 if number == "2" else self.at
                for each in range(first, len(self.lines)):
                    self.lines[each] = ""
            case "H":
                self.at = 0
                return 0
        return column

    def text(self) -> str:
        """Return what can be read."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


class TerminalRun:
    """A command whose output is a terminal."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        size: tuple[int, int] = (100, 24),
        folder: Path | None = None,
    ) -> None:
        columns, rows = size
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            list(command),
            cwd=folder,
            env={"TERM": "xterm", **environment},
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=subprocess.STDOUT,
        )
        os.close(follower)
        os.set_blocking(self._leader, False)
        self.raw = b""
        self.size = size

    def read(self) -> str:
        """Return all that was written until now."""
        with suppress(OSError):
            while chunk := os.read(self._leader, 65536):
                self.raw += chunk
        return self.raw.decode("utf-8", "replace")

    def screen(self) -> Screenful:
        """Return what is on it now."""
        found = Screenful(*self.size)
        found.feed(self.read())
        return found

    def wait_for(self, text: str) -> str:
        """Wait until a text can be read on it; return all that can."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.screen().text():
            assert time.monotonic() < deadline, f"{text!r} never came: {self.read()!r}"
            time.sleep(0.02)
        return self.screen().text()

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, reading what it writes."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it never ended: {self.read()!r}"
            self.read()
            time.sleep(0.02)
        self.read()
        return self.process.returncode

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._leader)
