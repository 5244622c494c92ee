"""One step's log as it is written: bytes become bounded lines, whatever they are kept in.

A log is for people and may lose its last lines in a power cut. Lengths are bounded, and a log
says where it was cut.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii

from reconciler.api.types import LogLine

__all__ = ["LARGEST_STEP_BYTES", "LONGEST_LINE_BYTES", "StepLog", "parse_entry"]

# Far longer than a person reads; a program that prints a file in one line is cut here.
LONGEST_LINE_BYTES = 64 * 1024

# What one step may write: a week of Pulumi's usual output. A loop that prints without end
# must not fill the disk.
LARGEST_STEP_BYTES = 64 * 1024 * 1024

# What one byte of a line can become in an entry (`\\u001b`, `\\ufffd`), and what is around it:
# nanoseconds, a space, quotes, and the line's end as JSON and as a byte.
_LONGEST_ESCAPE = 6
_MOST_AROUND = 32


class StepLog(ABC):
    """Appends to the log of one step. For one thread at a time.

    An entry is a line of the log in the form it is kept in: nanoseconds, a space, the text as
    JSON. `size` is of all entries there are, in bytes.
    """

    def __init__(self, now_ns: Callable[[], int], size: int) -> None:
        self._now_ns = now_ns
        self._size = self._before = size
        self._partial = b""
        self._cut = False
        self._full = False

    @property
    def written(self) -> int:
        """How many bytes of entries were written here, since it was opened."""
        return self._size - self._before

    def write(self, output: bytes) -> None:
        """Append output; a line is kept back until it is whole."""
        *whole, partial = output.split(b"\n")
        if whole:
            whole[0], self._partial = self._partial + whole[0], b""
            self._add_all(whole[1:] if self._cut else whole)
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
        self._put([text.encode("utf-8", "replace").decode() + "\n"])
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
    def _append(self, entries: Sequence[str]) -> None:
        """Take entries, of ASCII alone, to be kept at the next flush; not yet in the size."""

    @abstractmethod
    def _flush(self) -> None:
        """Keep what was taken. What cannot be kept costs the log its lines, and nothing else."""

    @abstractmethod
    def _close(self) -> None:
        """Keep what was taken, and let go."""

    def _add_all(self, lines: list[bytes]) -> None:
        """Add lines that have lost their ends: all at once where none needs a look of its own."""
        most = sum(map(len, lines)) * _LONGEST_ESCAPE + len(lines) * _MOST_AROUND
        longest = max(map(len, lines), default=0)
        if longest < LONGEST_LINE_BYTES and self._size + most <= LARGEST_STEP_BYTES:
            if lines and not self._full:
                # A byte that is no text never reaches beyond the end of its line.
                text = b"\n".join(lines).decode("utf-8", "replace")
                self._put([line + "\n" for line in text.split("\n")])
            return
        for line in lines:
            self._add(line + b"\n")

    def _add(self, line: bytes) -> None:
        if self._full:
            return
        if len(line) > LONGEST_LINE_BYTES:
            line = line[:LONGEST_LINE_BYTES] + b" [the rest of this line is not kept]\n"
        if self._size + len(line) > LARGEST_STEP_BYTES:
            self._full = True
            size = LARGEST_STEP_BYTES // (1024 * 1024)
            line = b"[this step has written %d MiB; what follows is not kept]\n" % size
        self._put([line.decode("utf-8", "replace")])

    def _put(self, texts: list[str]) -> None:
        now_ns = self._now_ns
        # As json.dumps writes a text, without its preparations for anything else.
        entries = [f"{now_ns()} {encode_basestring_ascii(text)}\n" for text in texts]
        self._append(entries)
        self._size += sum(map(len, entries))


def parse_entry(entry: bytes) -> LogLine:
    """Read what `StepLog` wrote."""
    timestamp, _, text = entry.partition(b" ")
    return LogLine(timestamp_ns=int(timestamp), line=json.loads(text))
