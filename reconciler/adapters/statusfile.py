"""Where statuses are kept: one file beside each spec, and a copy in the state directory.

The status file is the reconciler's whole memory of a stack. It is written before anything is
started, whole or not at all, first the copy and then the file beside the spec; of the two the
newer one is believed. A checkout can be wiped and a state directory lost, not both. Where the
directory of specs is gone there is the copy alone: it is not for us to make it again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters.status_form import (
    Form,
    OtherReleaseError,
    checksum,
    form_in,
    form_of,
)
from reconciler.errors import NewerReleaseError, NotDurableError, UnreadableError
from reconciler.files import (
    make_folder,
    must_stay_below,
    read_regular,
    remove_durably,
    write_durably,
)
from reconciler.model import Status
from reconciler.planning.transitions import same
from reconciler.values import replace

__all__ = ["ENDING", "StatusFiles"]

ENDING: Final = ".status.json"
# A status holds a short history and the end of one log; a larger file is none of ours.
MAX_BYTES: Final = 4 << 20
# Enough to look at what happened; more would fill the disk when something breaks each write.
MAX_CORRUPT: Final = 5

# Nothing is there; a name that is too long for a file stands for nothing either.
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
# What we say ourselves of a link, a pipe, a file that is too large; and what a socket answers.
_NO_STATUS: Final = frozenset({0, None, errno.ENXIO})
_ADVICE: Final = {
    errno.EACCES: "give it to the user who reconciles (chown)",
    errno.EPERM: "give it to the user who reconciles (chown)",
    errno.EMFILE: "let it have more files open (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "let the machine have more files open (fs.file-max)",
}
_LOST_ADVICE: Final = "look at its disk; where it is lost, remove it, and the other copy counts"


class StatusFiles:
    """Reads and writes the statuses of one directory of specs.

    `status_dir` replaces the directory itself as the place of the files, where it is
    read-only; `copies` is the folder of the copies. One process at a time may write.
    """

    def __init__(self, directory: Path, status_dir: Path | None, copies: Path) -> None:
        self.beside = status_dir or directory
        self._makes_folder = status_dir is not None
        self._copies = copies
        self._known: dict[str, _Known] = {}
        self._differing: set[str] = set()  # whose two files do not say the same
        self._broken: dict[str, tuple[Path, ...]] = {}  # what of a name's files is no status
        self._least: dict[str, int] = {}  # of whom a write failed: what was durable before it

    def path(self, name: str) -> Path:
        """Return where the status of a spec stands."""
        return _path(self.beside, name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all statuses, sorted; also of specs that are no longer there."""
        return tuple(sorted({*_names(self.beside), *_names(self._copies)}))

    def read(self, name: str) -> Status:
        """Return the newer of the two copies; one without history where there is none.

        A torn, edited or foreign file is not used; who writes next sets it aside first, as
        `….corrupt-<n>`: to look alone renames nothing.

        Raises UnreadableError where one of the two cannot be read now, though the other can: it
        may be the newer one, and hold the only word of a deployment that was asked for. So too
        where after a write that failed less is there than before it. Raises NewerReleaseError
        where a newer release has written one: it is left as it is.
        """
        found: dict[bytes, Form] = {}
        folders = (self._copies, self.beside)
        broken = tuple(f for f in folders if not self._read_one(f, name, found))
        if broken:
            self._broken[name] = broken
        else:
            self._broken.pop(name, None)
        newest = max(found.values(), key=lambda form: form.status.generation, default=None)
        if newest is None:
            newest = form_of(Status(name=name))
        if newest.status.generation < self._least.get(name, 0):
            raise UnreadableError(
                f"{self.path(name)} and its copy are gone, or older than before: bring them back; "
                "or start reconciler again, to go on from what the API tells"
            )
        self._known[name] = _known_of(newest)
        if len(found) > 1:  # we were killed after the first of two writes
            self._differing.add(name)
        else:
            self._differing.discard(name)
        return newest.status

    def keeps(self, name: str) -> bool:
        """Whether both files of a name that was read or written are there, and say the same."""
        known = self._known.get(name)
        return known is not None and known.generation > 0 and self._both_there(name)

    def write(self, status: Status) -> Status:
        """Make a status durable and return it with its generation; an unchanged one stays.

        Raises NotDurableError: what depends on it must not happen then.
        """
        name = status.name
        if name not in self._known:
            self.read(name)
        known = self._known[name]
        if known.generation and _same(status, known) and self._both_there(name):
            return replace(status, generation=known.generation, written=known.written)
        generation = max(status.generation, known.generation) + 1
        written = replace(status, generation=generation)
        form = form_of(written)
        self._known.pop(name, None)  # until both are there, the disk has to be asked
        self._least[name] = known.generation
        for folder in self._places():
            path = _path(folder, name)
            kept = folder is self.beside and not self._makes_folder
            make_folder(path.parent, folder if kept else None, as_above=True)
            must_stay_below(path.parent, folder)
            if folder in self._broken.get(name, ()):
                _set_aside(path)
            write_durably(path, form.content, as_above=True)
        self._known[name] = _known_of(form)
        self._differing.discard(name)
        self._broken.pop(name, None)
        self._least.pop(name, None)
        return written

    def forget(self, name: str) -> None:
        """Take a status away: beside the spec first, so that no copy outlives its file.

        Raises NotDurableError.
        """
        self._known.pop(name, None)
        self._differing.discard(name)
        self._least.pop(name, None)
        for folder in (self.beside, self._copies):
            path = _path(folder, name)
            try:
                there = _is_there(path)
            except OSError as error:
                message = f"{path} cannot be removed: {error.strerror}"
                raise NotDurableError(message) from error
            if there:
                must_stay_below(path.parent, folder)
                remove_durably(path)

    def _both_there(self, name: str) -> bool:
        there = all(os.path.lexists(_path(folder, name)) for folder in self._places())
        return there and name not in self._differing and name not in self._broken

    def _places(self) -> tuple[Path, ...]:
        """Return the folders that statuses belong below, the copies' first."""
        if self._makes_folder or self.beside.is_dir():
            return self._copies, self.beside
        return (self._copies,)

    def _read_one(self, folder: Path, name: str, found: dict[bytes, Form]) -> bool:
        """Add what one copy says to what was found; mostly both say the same.

        False where what is there is no status of ours; UnreadableError.
        """
        path = _path(folder, name)
        try:
            if not _is_there(path):
                return True
            must_stay_below(path.parent, folder)
            content = read_regular(path, MAX_BYTES)
        except (OSError, NotDurableError) as error:
            return _is_gone(path, error)
        try:
            form = found.get(content) or form_in(content)
        except OtherReleaseError as error:
            # What it says that we do not know could not be kept when it is written again.
            raise NewerReleaseError(str(path), str(error)) from error
        except (ValueError, RecursionError):
            return False
        if form.status.name != name:  # a copied file must not tell one stack's story as another's
            return False
        found[content] = form
        return True


class _Kept(NamedTuple):
    """What a file says, as far as it takes to know that something else says the same."""

    generation: int
    written: datetime | None
    checksum: bytes


# What is in flight is written again and again, and held by the loop in any case.
_Known = Status | _Kept


def _known_of(form: Form) -> _Known:
    status = form.status
    if status.run is not None or status.intent is not None:
        return status
    return _Kept(status.generation, status.written, bytes.fromhex(form.checksum))


def _same(status: Status, known: _Known) -> bool:
    """Whether both say the same, but for when and how often they were written."""
    if isinstance(known, Status):
        return same(status, known)
    as_written = replace(status, generation=known.generation, written=known.written)
    return bytes.fromhex(checksum(as_written)) == known.checksum


def _path(folder: Path, name: str) -> Path:
    parts = name.split("/")
    if not all(parts) or ".." in parts or "." in parts or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a spec")
    return folder / (name + ENDING)


def _is_there(path: Path) -> bool:
    """Whether anything is at a path; OSError where that cannot be told."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise
    return True


def _is_gone(path: Path, error: OSError | NotDurableError) -> bool:
    """Say what it means that a file was not read: True for gone, False for no status of ours.

    Raises UnreadableError for all else: that says nothing of what is in the file.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    if not isinstance(cause, OSError):  # its folder leads elsewhere
        return False
    if cause.errno in _NOT_THERE:
        return True
    if cause.errno in _NO_STATUS:
        return False
    advice = _ADVICE.get(cause.errno or 0, _LOST_ADVICE)
    message = f"{path} cannot be read: {cause.strerror}; until it can nothing is started: {advice}"
    raise UnreadableError(message) from error


def _set_aside(path: Path) -> None:
    """Rename a file that cannot be used, so that a person can look at it; the oldest goes."""
    targets = [path.with_name(f"{path.name}.corrupt-{n}") for n in range(1, MAX_CORRUPT + 1)]
    free = next((target for target in targets if not os.path.lexists(target)), targets[-1])
    try:
        path.replace(free)
    except OSError:  # a read-only directory: the next write says so, loudly
        return


def _names(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        relative = Path(parent).relative_to(folder)
        for file in files:
            if file.endswith(ENDING) and not file.startswith("."):
                yield (relative / file.removesuffix(ENDING)).as_posix()
