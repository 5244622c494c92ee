"""Logs in files: one appended file a step, readable by the engine that writes it.

    LOGS/<deployment id>/<step>.log     an entry a line
    LOGS/<deployment id>/<step>.index   8 bytes each: where every 128th line begins

Lines are written through to the operating system at once, and not to the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from reconciler.api.types import LogLine
from reconciler.engine.logs.lines import StepLog, parse_entry
from reconciler.engine.logs.pages import LARGEST_PAGE_BYTES, KeptLog, LogStore
from reconciler.engine.store import Claim

__all__ = ["FileLogs"]

_INDEX_EVERY = 128
_INDEX_ENTRY = struct.Struct(">Q")


class _StepFile(StepLog):
    """The log of one step; `tell` is called when there is something new to read."""

    def __init__(self, path: Path, now_ns: Callable[[], int], tell: Callable[[], None]) -> None:
        # There are lines already where an engine was lost: what follows is added.
        self._lines = _take_up(path) if path.exists() else 0
        self._file = _append_to(path)
        self._index = _append_to(path.with_suffix(".index"))
        self._taken: list[str] = []
        self._end = self._file.seek(0, os.SEEK_END)  # of the last whole line
        self._tell = tell
        super().__init__(now_ns, self._end)

    def _append(self, entries: Sequence[str]) -> None:
        self._taken += entries

    def _flush(self) -> None:
        taken, self._taken = self._taken, []
        sizes = [0, *accumulate(map(len, taken))]
        if not _is_written(self._file, "".join(taken).encode(), self._end):
            return
        marks = range(-self._lines % _INDEX_EVERY, len(taken), _INDEX_EVERY)
        index = b"".join(_INDEX_ENTRY.pack(self._end + sizes[line]) for line in marks)
        if index and not self._index.closed:
            entries = -(-self._lines // _INDEX_EVERY)
            # A log without its index is read all the same, and one with a wrong one is not.
            if not _is_written(self._index, index, entries * _INDEX_ENTRY.size):
                self._index.close()
        self._lines += len(taken)
        self._end += sizes[-1]
        self._tell()

    def _close(self) -> None:
        self._flush()
        for file in (self._file, self._index):
            with contextlib.suppress(OSError):
                file.close()
        self._tell()


class FileLogs(LogStore):
    """All logs below one directory; `tell` is given the deployment that has something new."""

    def __init__(
        self, directory: Path, now_ns: Callable[[], int], tell: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._now_ns = now_ns
        self._tell = tell

    def open(self, claim: Claim, step: int) -> StepLog:
        """Open the log of a step, counted from 0, to append to it."""
        path = self._path(claim.deployment_id, step)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _StepFile(path, self._now_ns, lambda: self._tell(claim.deployment_id))

    def page(
        self, deployment_id: str, step: int, offset: int, count: int
    ) -> tuple[tuple[LogLine, ...], bool]:
        """Return up to `count` lines of a step from line `offset` on; whether there are more."""
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
                lines.append(parse_entry(entry))
                size += len(entry)
        return tuple(lines), False

    def kept(self) -> tuple[KeptLog, ...]:
        """Return what there is, deployment by deployment."""
        found = []
        for folder in self._directory.iterdir() if self._directory.exists() else ():
            try:
                seen = [path.stat() for path in folder.iterdir()]
            except OSError:
                continue
            if seen:
                written = max(status.st_mtime for status in seen)
                found.append(
                    KeptLog(
                        deployment_id=folder.name,
                        written=datetime.fromtimestamp(written, UTC),
                        size_bytes=sum(status.st_size for status in seen),
                    )
                )
        return tuple(found)

    def forget(self, deployment_ids: Collection[str]) -> None:
        """Delete the logs of these deployments, of which nothing is written any more."""
        for deployment_id in deployment_ids:
            shutil.rmtree(self._directory / deployment_id, ignore_errors=True)

    def _path(self, deployment_id: str, step: int) -> Path:
        return self._directory / deployment_id / f"{step}.log"


def _append_to(path: Path) -> FileIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    return FileIO(os.open(path, flags, 0o600), "ab")


def _is_written(file: FileIO, content: bytes, end: int) -> bool:
    """Append all of it at `end`, or nothing; return whether it is there. A disk may be full."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(end)
        return False
    return True


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
