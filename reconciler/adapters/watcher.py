"""Tells soon that something in the directory changed. A hint, and nothing else.

Events get lost (a full queue, a directory that was replaced, a network file system), so the
directory is scanned whole from time to time in any case; without a watcher that is all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)


class Watcher:
    """Calls `on_dirty`, from a thread of its own, when a spec may have changed."""

    def __init__(self, directory: Path, on_dirty: Callable[[], None]) -> None:
        self._directory = directory
        self._on_dirty = on_dirty
        self._observer: Any = None

    def start(self) -> bool:
        """Begin to watch; False, and one line in the log, where the system does not allow it."""
        from watchdog import events, observers  # noqa: PLC0415 - commands that do not watch save it

        on_dirty = self._on_dirty

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                if any(_matters(str(path)) for path in (event.src_path, event.dest_path)):
                    on_dirty()

        # Opening and reading a file are no changes, and our own scan does both.
        changes = [
            events.FileClosedEvent,
            events.FileDeletedEvent,
            events.FileMovedEvent,
            events.DirCreatedEvent,
            events.DirDeletedEvent,
            events.DirMovedEvent,
        ]
        observer = observers.Observer()
        try:
            observer.schedule(Handler(), str(self._directory), recursive=True, event_filter=changes)
            observer.start()
        except OSError as error:
            reason = error.strerror or error
            _log.warning("%s is not watched, only scanned: %s", self._directory, reason)
            return False
        self._observer = observer
        return True

    def stop(self) -> None:
        """End watching; does nothing where it was not begun."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()


def _matters(path: str) -> bool:
    """Whether a path can be a spec's or a directory's; our own status files must not wake us."""
    name = path.rpartition("/")[2]
    return bool(name) and not name.startswith(".") and ".status.json" not in name
