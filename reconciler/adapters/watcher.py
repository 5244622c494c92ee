"""Tells soon that something in the directory changed. A hint, and nothing else.

Events get lost (a full queue, a directory that was replaced, a network file system), so the
directory is scanned whole from time to time in any case; without a watcher that is all.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from reconciler.planning.quiet import Word

__all__ = ["Watcher"]

# How a mounted ConfigMap changes all of its files at once: this link then leads elsewhere.
_SWAPPED: Final = "/..data"

# How often it is seen whether the directory is still the one that is watched: one call of `stat`.
LOOK_EVERY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Watcher:
    """Tells, from a thread of its own, when specs may have changed.

    `on_files` is given the changed files, as paths below the directory, and what is known of
    them; `on_all` is called where more than single files may be other than before. A directory
    that was replaced by another one of its name is watched anew.
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
        self._root = ""
        self._watched: tuple[int, ...] = ()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="watcher", daemon=True)

    def start(self) -> bool:
        """Begin to watch; False, and one line in the log, where the system does not allow it."""
        self._watched = _identity(self._directory)
        watched = self._watch()
        self._keeper.start()
        return watched

    def _keep(self) -> None:
        """Watch the directory anew where it is not the one that is watched."""
        while not self._ended.wait(LOOK_EVERY_S):
            there = _identity(self._directory)
            if there == self._watched and not self._lost.is_set():
                continue
            self._end_watch()
            self._lost.clear()
            self._watched = there
            if there:
                self._watch()
            self._on_all()

    def _watch(self) -> bool:
        from watchdog import events, observers  # noqa: PLC0415 - commands that do not watch save it

        # A link is not watched, and another one in its place is seen as another directory.
        tell, lost = self._tell, self._lost
        root = self._root = os.path.realpath(self._directory)

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                word = Word.CLOSED if isinstance(event, events.FileClosedEvent) else Word.NONE
                if event.dest_path:
                    tell(os.fsdecode(event.dest_path), Word.RENAMED, folder=event.is_directory)
                if isinstance(event, events.DirDeletedEvent) and event.src_path == root:
                    lost.set()  # whatever comes in its place is another one, also of its number
                if event.src_path:
                    tell(os.fsdecode(event.src_path), word, folder=event.is_directory)

        # Opening and reading a file are no changes, and our own scan does both.
        # A file that is linked into place is only created.
        changes = [
            events.FileCreatedEvent,
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
            observer.schedule(Handler(), root, recursive=True, event_filter=changes)
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
        root = f"{self._root}/"
        if path == self._root:
            return ""
        return path.removeprefix(root) if path.startswith(root) else None

    def stop(self) -> None:
        """End watching; does nothing where it was not begun."""
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join(LOOK_EVERY_S)  # not longer: a file system may hang
        self._end_watch()

    def _end_watch(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()


def _identity(directory: Path) -> tuple[int, ...]:
    """Return what tells a directory from another of its name; nothing where there is none."""
    try:
        seen = directory.stat()
    except OSError:
        return ()
    return seen.st_dev, seen.st_ino


def _matters(relative: str) -> bool:
    """Whether a path can be a spec's or a directory's; our own status files must not wake us."""
    name = relative.rpartition("/")[2]
    return not name.startswith(".") and ".status.json" not in name
