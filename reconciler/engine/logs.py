"""The logs of deployments: one appended file a step, read by line or followed by token.

    LOGS/<deployment id>/<step>.log     a line each: nanoseconds, a space, the text as JSON
    LOGS/<deployment id>/<step>.index   8 bytes each: where every 128th line begins

A log is for people and may lose its last lines in a power cut: it is written through to the
operating system at once, and not to the disk. Lengths are bounded, and a log says where it
was cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reconciler.api.types import LogLine, StepStatus
from reconciler.engine.store import Claim

__all__ = ["BadTokenError", "LogPage", "LogStore", "StepLog", "StepState"]

# Far longer than a person reads; a program that prints a file in one line is cut here.
LONGEST_LINE_BYTES = 64 * 1024

# What one step may write: a week of Pulumi's usual output. A loop that prints without end
# must not fill the disk.
LARGEST_STEP_BYTES = 64 * 1024 * 1024

# What one answer carries: enough that following costs few calls, little enough to hold.
STREAM_LINES = 1000
LARGEST_PAGE_BYTES = 2 * 1024 * 1024

_INDEX_EVERY = 128
_INDEX_ENTRY = struct.Struct(">Q")

_TOKEN = re.compile(r"0\.(\d{1,4})\.(\d{1,12})\Z")


class BadTokenError(Exception):
    """A token that this engine never gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """What following needs to know of a step; `header` begins its part of the log."""

    header: str
    status: StepStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines, and where to go on; None where there is and will be nothing more."""

    lines: tuple[LogLine, ...]
    next_token: str | None = None
    next_offset: int | None = None


class StepLog:
    """Appends to the log of one step. For one thread at a time."""

    def __init__(self, path: Path, now_ns: Callable[[], int]) -> None:
        # There are lines already where an engine was lost: its closing line is added.
        self._lines = _take_up(path) if path.exists() else 0
        self._file = _append_to(path)
        self._index = _append_to(path.with_suffix(".index"))
        self._now_ns = now_ns
        self._size = self._file.seek(0, os.SEEK_END)
        self._partial = b""
        self._cut = False
        self._full = False

    def write(self, output: bytes) -> None:
        """Append output; a line is kept back until it is whole."""
        *whole, partial = output.split(b"\n")
        for line in whole:
            text, self._partial = self._partial + line, b""
            if not self._cut:
                self._add(text + b"\n")
            self._cut = False
        self._partial += partial
        if self._cut:
            self._partial = b""
        elif len(self._partial) > LONGEST_LINE_BYTES:
            self._add(self._partial + b"\n")
            self._partial, self._cut = b"", True
        self._flush()

    def note(self, text: str) -> None:
        """Append a line of the engine's own, also to a log that is full."""
        self.end_line()
        self._put(text.encode("utf-8", "replace") + b"\n")
        self._flush()

    def end_line(self) -> None:
        """End a line that the program left open, as it stands."""
        if self._partial and not self._cut:
            self._add(self._partial)
        self._partial, self._cut = b"", False

    def close(self) -> None:
        """Write what is left and let go of the files."""
        self.end_line()
        for file in (self._file, self._index):
            with contextlib.suppress(OSError):
                file.close()

    def _flush(self) -> None:
        """Write through. A full disk costs the log its lines, and the deployment nothing."""
        with contextlib.suppress(OSError):
            self._file.flush()
            self._index.flush()

    def _add(self, line: bytes) -> None:
        if self._full:
            return
        if len(line) > LONGEST_LINE_BYTES:
            line = line[:LONGEST_LINE_BYTES] + b" [the rest of this line is not kept]\n"
        if self._size + len(line) > LARGEST_STEP_BYTES:
            self._full = True
            size = LARGEST_STEP_BYTES // (1024 * 1024)
            line = b"[this step has written %d MiB; what follows is not kept]\n" % size
        self._put(line)

    def _put(self, line: bytes) -> None:
        text = json.dumps(line.decode("utf-8", "replace"))
        entry = b"%d %s\n" % (self._now_ns(), text.encode())
        if self._lines % _INDEX_EVERY == 0:
            self._index.write(_INDEX_ENTRY.pack(self._size))
        self._file.write(entry)
        self._size += len(entry)
        self._lines += 1


class LogStore:
    """All logs below one directory."""

    def __init__(self, directory: Path, now_ns: Callable[[], int]) -> None:
        self._directory = directory
        self._now_ns = now_ns

    def open(self, claim: Claim, step: int) -> StepLog:
        """Open the log of a step, counted from 0, to append to it."""
        path = self._path(claim.deployment_id, step)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return StepLog(path, self._now_ns)

    def page(
        self, deployment_id: str, step: int, offset: int, count: int
    ) -> tuple[tuple[LogLine, ...], bool]:
        """Return up to `count` lines of a step from line `offset` on, both counted from 0.

        And whether there are more of them: it stops early where the page grows too large.
        """
        path = self._path(deployment_id, step)
        lines: list[LogLine] = []
        size = 0
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return (), False
        with file:
            skip = _seek(file, path, offset)
            for entry in file:
                if not entry.endswith(b"\n"):
                    break  # being written just now
                if skip:
                    skip -= 1
                    continue
                if len(lines) >= count or size > LARGEST_PAGE_BYTES:
                    return tuple(lines), True
                lines.append(_parse(entry))
                size += len(entry)
        return tuple(lines), False

    def step_page(
        self, deployment_id: str, step: int, window: tuple[int, int], *, ended: bool
    ) -> LogPage:
        """Return a step's lines by `window` (offset, count); `ended`: it writes no more.

        `ended` must have been so before this call, or its last lines could be missed.
        """
        offset, count = window
        lines, more = self.page(deployment_id, step, offset, count)
        go_on = more or not ended
        return LogPage(lines=lines, next_offset=offset + len(lines) if go_on else None)

    def follow(
        self, deployment_id: str, steps: Sequence[StepState], token: str, *, ended: bool
    ) -> LogPage:
        """Return what comes after `token` (empty: from the beginning) over all steps.

        `steps` and `ended` (the deployment's) must have been so before this call. While more
        may come there is a next token, the same one when nothing is new.
        """
        step, offset = parse_token(token, len(steps)) if token else (0, 0)
        started = sum(1 for s in steps if s.status is not StepStatus.NOT_STARTED)
        lines: list[LogLine] = []
        full = False
        while step < started and not full:
            if len(lines) >= STREAM_LINES:
                full = True
                break
            if offset == 0:
                lines.append(LogLine(header=steps[step].header))
                offset = 1
            room = max(STREAM_LINES - len(lines), 0)
            found, full = self.page(deployment_id, step, offset - 1, room)
            lines += found
            offset += len(found)
            if full or step + 1 >= started:
                break
            step, offset = step + 1, 0
        if ended and not full:
            return LogPage(lines=tuple(lines))
        return LogPage(lines=tuple(lines), next_token=f"0.{step}.{offset}")

    def _path(self, deployment_id: str, step: int) -> Path:
        return self._directory / deployment_id / f"{step}.log"


def parse_token(token: str, steps: int) -> tuple[int, int]:
    """Read `job.step.offset`: the step from 0, and the offset that counts the header as one."""
    match = _TOKEN.match(token)
    if match is None or int(match[1]) >= max(steps, 1):
        raise BadTokenError(f"{token[:40]!r} is no token of this log")
    return int(match[1]), int(match[2])


def _append_to(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    return os.fdopen(os.open(path, flags, 0o600), "ab")


def _take_up(path: Path) -> int:
    """Return how many lines a log has, after cutting off one that a lost engine left torn.

    The index is written anew, since it may have lost entries or have one too many.
    """
    lines, size = 0, 0
    index = b""
    with path.open("rb") as file:
        for entry in file:
            if not entry.endswith(b"\n"):
                break
            if lines % _INDEX_EVERY == 0:
                index += _INDEX_ENTRY.pack(size)
            lines += 1
            size += len(entry)
    os.truncate(path, size)
    path.with_suffix(".index").write_bytes(index)
    return lines


def _seek(file: BinaryIO, path: Path, offset: int) -> int:
    """Go near line `offset` by the index, if it tells; return how many lines to skip there."""
    try:
        with path.with_suffix(".index").open("rb") as index:
            known = index.seek(0, os.SEEK_END) // _INDEX_ENTRY.size
            if known == 0:
                return offset
            entry = min(offset // _INDEX_EVERY, known - 1)
            index.seek(entry * _INDEX_ENTRY.size)
            file.seek(_INDEX_ENTRY.unpack(index.read(_INDEX_ENTRY.size))[0])
    except FileNotFoundError:
        return offset
    return offset - entry * _INDEX_EVERY


def _parse(entry: bytes) -> LogLine:
    timestamp, _, text = entry.partition(b" ")
    return LogLine(timestamp_ns=int(timestamp), line=json.loads(text))
