"""Tells soon that something in the directory changed. A hint, and nothing else.

Events get lost (a full queue, a directory that was replaced, a network file system), so the
directory is scanned whole from time to time in any case; without a watcher that is all.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from reconciler.planning.quiet import Word

__all__ = ["Watcher"]

# How a mounted ConfigMap changes all of its files at once: this link then leads elsewhere.
_SWAPPED: Final = "/..data"

_log = logging.getLogger(__name__)


class Watcher:
    """Tells, from a thread of its own, when specs may have changed.

    `on_files` is given the changed files, as paths below the directory, and what is known of
    them; `on_all` is called where more than single files may be other than before.
    """

    def __init__(
        self,
        directory: Path,
        on_files: Callable[[Iterable[str], Word], None],
        on_all: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._on_files = on_files
        self._on_all = on_all
        self._observer: Any = None

    def start(self) -> bool:
        """Begin to watch; False, and one line in the log, where the system does not allow it."""
        from watchdog import events, observers  # noqa: PLC0415 - commands that do not watch save it

        tell = self._tell

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                word = Word.CLOSED if isinstance(event, events.FileClosedEvent) else Word.NONE
                if event.dest_path:
                    tell(os.fsdecode(event.dest_path), Word.RENAMED, folder=event.is_directory)
                if event.src_path:
                    tell(os.fsdecode(event.src_path), word, folder=event.is_directory)

        # Opening and reading a file are no changes, and our own scan does both.
        changes = [
            events.FileClosedEvent,
            events.FileDeletedEvent,
            events.FileMovedEvent,
            events.DirCreatedEvent,
            events.DirDeletedEvent,
            events.DirMovedEvent,
        ]
        # What is moved in from elsewhere, or out, has half a move's events: these too are told.
        halves = {"generate_full_events": True} if sys.platform == "linux" else {}
        observer = observers.Observer(**halves)
        try:
            observer.schedule(Handler(), str(self._directory), recursive=True, event_filter=changes)
            observer.start()
        except OSError as error:
            reason = error.strerror or error
            _log.warning("%s is not watched, only scanned: %s", self._directory, reason)
            return False
        self._observer = observer
        return True

    def _tell(self, path: str, word: Word, *, folder: bool) -> None:
        """Tell of one event; our own status files, and what no spec is called, wake nobody."""
        relative = self._relative(path)
        if path.endswith(_SWAPPED):
            self._on_all()
        elif relative is None or not _matters(relative):
            return
        elif folder:
            self._on_all()
        else:
            self._on_files([relative], word)

    def _relative(self, path: str) -> str | None:
        root = f"{self._directory}/"
        if path == str(self._directory):
            return ""
        return path.removeprefix(root) if path.startswith(root) else None

    def stop(self) -> None:
        """End watching; does nothing where it was not begun."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()


def _matters(relative: str) -> bool:
    """Whether a path can be a spec's or a directory's; our own status files must not wake us."""
    name = relative.rpartition("/")[2]
    return not name.startswith(".") and ".status.json" not in name
