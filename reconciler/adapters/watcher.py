"""Tells soon that something in the directory changed. A hint, and nothing else.

Events get lost (a directory that was replaced, a network file system), so the directory is
scanned whole from time to time in any case; without a watcher that is all.

The system's events are read as they come and told in one piece, so that a burst of very many
costs little more than reading it. Nobody asks which two of them are one rename.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.planning.quiet import Word

if TYPE_CHECKING:
    from inotify_simple import Event, INotify

__all__ = ["Watcher"]

# How a mounted ConfigMap changes all of its files at once: this link then leads elsewhere.
_SWAPPED: Final = "..data"

# How often it is seen whether the directory is still the one that is watched: one call of `stat`.
LOOK_EVERY_S: Final = 1.0

# As inotify(7) numbers them. Opening, reading and each piece that is written are no changes, and
# our own scan does the first two. A file that is linked into place is only created.
_CLOSE_WRITE: Final = 0x08
_MOVED_TO: Final = 0x80
_DELETE_SELF: Final = 0x400
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_IS_FOLDER: Final = 0x4000_0000
_GONE_FROM: Final = 0x40 | 0x200  # moved away, deleted
_WATCHED: Final = (
    _CLOSE_WRITE | _MOVED_TO | _DELETE_SELF | _GONE_FROM | 0x100  # created
) | 0x0300_0000  # folders alone, and none behind a link

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
        self._folders: _Folders | None = None
        self._watched: tuple[int, ...] = ()
        self._ended = threading.Event()
        self._end = -1
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> bool:
        """Begin to watch; False, and one line in the log, where the system does not allow it."""
        self._watched = _identity(self._directory)
        watched = self._watch()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread.start()
        return watched

    def stop(self) -> None:
        """End watching; does nothing where it was not begun."""
        self._ended.set()
        if self._thread.is_alive():
            os.eventfd_write(self._end, 1)
            self._thread.join(LOOK_EVERY_S)  # not longer: a file system may hang
            if not self._thread.is_alive():
                os.close(self._end)

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._ended.is_set():
            self._wait()
            folders = self._folders
            if folders is not None:
                self._take(folders, folders.read())
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._keep()
        self._end_watch()

    def _wait(self) -> None:
        """Wait for events, the end, or until the directory is to be looked at."""
        waiting = select.poll()
        waiting.register(self._end, select.POLLIN)
        if self._folders is not None:
            waiting.register(self._folders.fileno(), select.POLLIN)
        waiting.poll(LOOK_EVERY_S * 1000)

    def _keep(self) -> None:
        """Watch the directory anew where it is not the one that is watched."""
        there = _identity(self._directory)
        lost = self._folders is not None and self._folders.lost
        if there == self._watched and not lost:
            return
        self._end_watch()
        self._watched = there
        if there:
            self._watch()
        self._on_all()

    def _watch(self) -> bool:
        try:
            # A link is not watched, and another one in its place is seen as another directory.
            self._folders = _Folders(os.path.realpath(self._directory))
        except OSError as error:
            reason = error.strerror or error
            _log.warning("%s is not watched, only scanned: %s", self._directory, reason)
            return False
        return True

    def _end_watch(self) -> None:
        folders, self._folders = self._folders, None
        if folders is not None:
            folders.close()

    def _take(self, folders: _Folders, events: Iterable[Event]) -> None:
        """Tell what these events mean; our own files, and what no spec is called, wake nobody."""
        files: dict[str, Word] = {}
        everything = False
        for event in events:
            if event.mask & _OVERFLOW:
                self._overflowed()
                self._on_all()
                return
            if not event.name:
                folders.ended(event)
                continue
            folder = folders.path(event.wd)
            if folder is None or not _matters(event.name):
                continue
            path = f"{folder}/{event.name}" if folder else event.name
            if event.mask & _IS_FOLDER:
                folders.changed(path, event.mask)
                everything = True
            elif event.name == _SWAPPED:
                everything = True
            else:
                files[path] = _word(event.mask)
        folders.complete()
        for word in Word:
            told = [path for path, last in files.items() if last is word]
            if told:
                self._on_files(told, word)
        if everything:
            self._on_all()

    def _overflowed(self) -> None:
        _log.warning("%s: the queue overflowed, so events are lost", self._directory)
        self._end_watch()
        if not self._watch():
            self._watched = ()  # tried again with the next look


class _Folders:
    """The folders that are watched: a directory, and all below it. For one thread.

    Raises OSError where the directory itself cannot be watched.
    """

    def __init__(self, root: str) -> None:
        from inotify_simple import INotify  # noqa: PLC0415 - commands that do not watch save it

        self._root = root
        self._paths: dict[int, str] = {}  # by the system's number: the path below the directory
        self._refused = False
        self._gone = False  # whether a folder that went away may have come as another
        self._inotify: INotify = INotify(nonblocking=True)
        self.lost = False  # whether the directory is another one by now, also of its number
        try:
            self._top = self._add("")
        except OSError:
            self.close()
            raise
        self._add_below("")

    def fileno(self) -> int:
        """Return what can be waited for."""
        number: int = self._inotify.fileno()
        return number

    def read(self) -> Iterable[Event]:
        """Return the events that there are by now."""
        found: list[Event] = self._inotify.read(timeout=0)
        return found

    def close(self) -> None:
        """End watching."""
        self._inotify.close()

    def path(self, number: int) -> str | None:
        """Return a watched folder's path below the directory; None of one that is gone."""
        return self._paths.get(number)

    def ended(self, event: Event) -> None:
        """Take what a folder's own event says: that it is gone."""
        if event.mask & (_DELETE_SELF | _IGNORED):
            self._paths.pop(event.wd, None)
            self.lost = self.lost or event.wd == self._top

    def changed(self, path: str, mask: int) -> None:
        """Take that a folder came or went. One that moved is another one by its new path."""
        if mask & _GONE_FROM:
            self._gone = True
            inside = f"{path}/"
            for number, known in tuple(self._paths.items()):
                if known == path or known.startswith(inside):
                    del self._paths[number]
                    with suppress(OSError):  # it is gone already
                        self._inotify.rm_watch(number)
        else:
            self._add_below(path, itself=True)

    def complete(self) -> None:
        """Watch what is not watched yet: two folders that were exchanged came before they went."""
        if self._gone:
            self._gone = False
            self._add_below("")

    def _add_below(self, path: str, *, itself: bool = False) -> None:
        """Watch what is in a folder, however deep, as far as the system allows it."""
        left = [(path, itself)]
        while left:
            folder, new = left.pop()
            try:
                if new:
                    self._add(folder)
                with os.scandir(f"{self._root}/{folder}") as entries:
                    names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            except OSError as error:
                self._refuse(folder, error)
                continue
            inside = f"{folder}/" if folder else ""
            left += [(inside + name, True) for name in names if _matters(name)]

    def _add(self, folder: str) -> int:
        path = f"{self._root}/{folder}" if folder else self._root
        number: int = self._inotify.add_watch(path, _WATCHED)
        self._paths[number] = folder
        return number

    def _refuse(self, folder: str, error: OSError) -> None:
        """Say once that a folder is not watched; one that is gone need not be."""
        if self._refused or isinstance(error, FileNotFoundError | NotADirectoryError):
            return
        self._refused = True
        path, reason = f"{self._root}/{folder}", error.strerror or error
        _log.warning("%s and maybe others are not watched, only scanned: %s", path, reason)


def _word(mask: int) -> Word:
    if mask & _MOVED_TO:
        return Word.RENAMED
    return Word.CLOSED if mask & _CLOSE_WRITE else Word.NONE


def _identity(directory: Path) -> tuple[int, ...]:
    """Return what tells a directory from another of its name; nothing where there is none."""
    try:
        seen = directory.stat()
    except OSError:
        return ()
    return seen.st_dev, seen.st_ino


def _matters(name: str) -> bool:
    """Whether it can be a spec's name or a directory's; our own status files must not wake us."""
    return name == _SWAPPED or (not name.startswith(".") and ".status.json" not in name)
