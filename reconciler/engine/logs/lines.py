"""One step's log as it is written: bytes become bounded lines, whatever they are kept in.

A log is for people and may lose its last lines in a power cut. Lengths are bounded, and a log
says where it was cut.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from reconciler.api.types import LogLine

__all__ = ["LARGEST_STEP_BYTES", "LONGEST_LINE_BYTES", "StepLog", "parse_entry"]

# Far longer than a person reads; a program that prints a file in one line is cut here.
LONGEST_LINE_BYTES = 64 * 1024

# What one step may write: a week of Pulumi's usual output. A loop that prints without end
# must not fill the disk.
LARGEST_STEP_BYTES = 64 * 1024 * 1024


class StepLog(ABC):
    """Appends to the log of one step. For one thread at a time.

    An entry is a line of the log in the form it is kept in: nanoseconds, a space, the text as
    JSON. `size` is of all entries there are, in bytes.
    """

    def __init__(self, now_ns: Callable[[], int], size: int) -> None:
        self._now_ns = now_ns
        self._size = size
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
        """Write what is left and let go of the log."""
        self.end_line()
        self._close()

    @abstractmethod
    def _append(self, entry: bytes) -> None:
        """Take an entry, to be kept at the next flush."""

    @abstractmethod
    def _flush(self) -> None:
        """Keep what was taken. What cannot be kept costs the log its lines, and nothing else."""

    @abstractmethod
    def _close(self) -> None:
        """Keep what was taken, and let go."""

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
        # As json.dumps writes a text, without its preparations for anything else.
        text = encode_basestring_ascii(line.decode("utf-8", "replace"))
        entry = b"%d %s\n" % (self._now_ns(), text.encode())
        self._append(entry)
        self._size += len(entry)


def parse_entry(entry: bytes) -> LogLine:
    """Read what `StepLog` wrote."""
    timestamp, _, text = entry.partition(b" ")
    return LogLine(timestamp_ns=int(timestamp), line=json.loads(text))
