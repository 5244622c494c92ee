"""Looks at how much a deployment has written, and ends what runs when it is too much.

A quota would be better, and needs a file system of its own. Between two looks a program may go
over the limit; how far, the disk's speed says. No single file can be larger (see `cgroups`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from reconciler.engine.runners.base import OnOutput, Process

__all__ = ["Watched", "used_bytes"]

# How often to look. Looking at 100,000 files takes 0.3 s; it is to cost no more than a twentieth
# of a processor.
LOOK_EVERY_S = 1.0
PAUSE_FOR_LOOK = 20.0

_BLOCK = 512  # bytes, as `stat` counts them


def used_bytes(paths: Sequence[Path], most: int) -> int:
    """Return what the files below the paths take on disk, or a little more than `most`.

    Links are not followed; what vanishes meanwhile does not count.
    """
    used = 0
    folders = [str(path) for path in paths]
    while folders and used <= most:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    try:
                        used += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                    except OSError:
                        continue
        except OSError:
            continue
    return used


class Watched:
    """A process that is killed when its deployment takes more disk than it may."""

    def __init__(
        self, process: Process, paths: Sequence[Path], most: int, on_output: OnOutput
    ) -> None:
        self._process = process
        self._paths = paths
        self._most = most
        self._on_output = on_output
        self._ended = threading.Event()
        self._exceeded = False
        self._thread = threading.Thread(target=self._watch, name="disk-watch", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit."""
        code = self._process.wait(timeout_s)
        if code is None:
            return None
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            if self._exceeded:
                text = f"ended: it takes more than {self._most // 1024**2} MiB of disk (--max-disk)"
                self._on_output(f"{text}\n".encode())
        return code

    def interrupt(self) -> None:
        """Send SIGINT to the program itself."""
        self._process.interrupt()

    def kill(self) -> None:
        """End the whole tree at once."""
        self._process.kill()

    def _watch(self) -> None:
        pause = LOOK_EVERY_S
        while not self._ended.wait(pause):
            begun = time.monotonic()
            if used_bytes(self._paths, self._most) > self._most:
                self._exceeded = True
                self._process.kill()
                return
            pause = max(LOOK_EVERY_S, (time.monotonic() - begun) * PAUSE_FOR_LOOK)
