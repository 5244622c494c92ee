"""Ends a command that takes too long or writes too much."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reconciler.engine.runners.base import Process
from reconciler.engine.sources.commands import SMALLEST_ENTRY_BYTES

__all__ = ["Watch", "measure", "too_large"]

# How often to measure: often enough that no disk fills in between, and never more than a tenth
# of the time for what the last measurement took.
LOOK_EVERY_S = 0.25
REST_PER_WORK = 9


class Watch:
    """A time limit for everything, from its making on, and a size limit for each command."""

    def __init__(self, limit_s: float, largest_bytes: int) -> None:
        self._end = time.monotonic() + limit_s
        self._limit_s = limit_s
        self._largest = largest_bytes

    def reason(self) -> str:
        """Return why nothing more may be done; empty while there is time."""
        if time.monotonic() < self._end:
            return ""
        return (
            f"getting the source took longer than {self._limit_s:.0f} s; "
            "--source-timeout says how long it may take"
        )

    @contextmanager
    def over(self, paths: Sequence[Path]) -> Iterator[_Watched]:
        """Watch one command, which writes below these paths, until the end of the block."""
        watched = _Watched(self, paths, self._largest)
        thread = threading.Thread(target=watched.look, name="source-watch", daemon=True)
        thread.start()
        try:
            yield watched
        finally:
            watched.ended.set()
            thread.join()


class _Watched:
    """One command under watch; `reason` says why it was ended, if it was."""

    def __init__(self, watch: Watch, paths: Sequence[Path], largest: int) -> None:
        self._watch = watch
        self._paths = paths
        self._largest = largest
        self._process: Process | None = None
        self.ended = threading.Event()
        self.reason = ""
        self.too_large = False

    def begun(self, process: Process) -> None:
        """Say which process it is."""
        self._process = process
        if self.reason:
            process.kill()

    def look(self) -> None:
        """Look until the end, and end the command where a limit is passed."""
        rest = LOOK_EVERY_S
        while not self.ended.wait(rest):
            begun = time.monotonic()
            self.reason = self._watch.reason() or self._against_size()
            if self.reason:
                if self._process is not None:
                    self._process.kill()
                return
            rest = max(LOOK_EVERY_S, REST_PER_WORK * (time.monotonic() - begun))

    def check(self) -> str:
        """Return the reason, after a last look at the size: the command may have been quick."""
        self.reason = self.reason or self._against_size()
        return self.reason

    def _against_size(self) -> str:
        if sum(measure(path, self._largest) for path in self._paths) <= self._largest:
            return ""
        self.too_large = True
        return too_large(self._largest)


def too_large(most: int) -> str:
    """Return what to say of a source that is larger than `most` bytes."""
    return (
        f"the source is larger than {most // 1024**2} MiB; --source-size says how large it may be"
    )


def measure(root: Path, enough: int) -> int:
    """Return how many bytes a directory takes on disk; stops counting beyond `enough`."""
    total = 0
    folders = [str(root)]
    while folders and total <= enough:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it is gone already
                    found = entry.stat(follow_symlinks=False)
                    total += max(found.st_blocks * 512, SMALLEST_ENTRY_BYTES)
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(entry.path)
                if total > enough:
                    break
    return total
