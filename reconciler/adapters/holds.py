"""What people hold by hand, over what the files say: suspensions, and approved mass changes.

holds.json   written by commands, read by the loop
masses.json  written by the loop, read by commands: which mass changes wait for a person

Both lie in the state directory, so a hold outlives a checkout, and needs no commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from reconciler.errors import NotDurableError
from reconciler.files import locked, make_folder, read_regular, write_durably
from reconciler.jsonform import from_json, to_json
from reconciler.model import Hold, Holds, Passage
from reconciler.planning.admission import Mass
from reconciler.planning.gates import APPROVAL_LASTS

__all__ = ["HoldsFiles", "MassApproval"]

# 100,000 names with their digests; what is larger was not written here.
MAX_BYTES: Final = 32 << 20
MAX_APPROVALS: Final = 100
# How often the lock is tried for, a twentieth of a second apart: who has it, has it for a write.
# A command waits for ten seconds; the loop, which comes again, does not wait for one that hangs.
_COMMAND_TRIES: Final = 200
_LOOP_TRIES: Final = 5
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class MassApproval:
    """That a person let a mass through: `code` says of which kind, these names at these digests.

    `used` are the names for which it is over. Without a code it lets nothing through.
    """

    id: str
    by: str
    at: datetime
    names: Mapping[str, str]
    code: str = ""
    used: tuple[str, ...] = ()

    @classmethod
    def of(cls, mass: Mass, by: str, at: datetime) -> MassApproval:
        """Return a person's word for a mass, as it was shown."""
        return cls(id=mass.id, by=by, at=at, names=mass.names, code=mass.code)

    def passages(self) -> Iterable[tuple[bool, Passage]]:
        """Yield what it lets through, name by name, and whether it has done so."""
        used = frozenset(self.used)
        for name, digest in self.names.items() if self.code else ():
            yield name in used, Passage(self.code, name, digest, self.at)

    @property
    def over(self) -> bool:
        """Whether it lets nothing through any more."""
        return all(used for used, _ in self.passages())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    everything: Hold | None = None
    names: Mapping[str, Hold] = field(default_factory=lambda: MappingProxyType({}))
    approvals: tuple[MassApproval, ...] = ()


def _without(book: _Book, name: str) -> _Book:
    left = {n: h for n, h in book.names.items() if n != name}
    return replace(book, names=MappingProxyType(left))


def _all_used(book: _Book) -> _Book:
    """Return what a book comes to when all has passed that it lets through."""
    return replace(book, approvals=tuple(replace(a, used=tuple(a.names)) for a in book.approvals))


def _content(book: _Book) -> bytes:
    return json.dumps(to_json(book), indent=2).encode()


class HoldsFiles:
    """The holds of one directory of specs, in its folder of the state directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "holds.json"
        self._masses = folder / "masses.json"
        self._seen: tuple[tuple[int, int, int], Holds] | None = None

    def read(self) -> Holds:
        """Return what is held and approved now; the file is read when it has changed."""
        try:
            return self._held()
        except NotDurableError as error:
            # Until a person has looked, nothing starts by itself.
            return Holds(everything=Hold(by=f"nobody ({error})", at=_NEVER, everything=True))

    def _held(self) -> Holds:
        """Return what is held and approved now; NotDurableError where that cannot be told."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return Holds()
        except OSError as error:  # nor is what cannot be looked at taken for none
            told = f"{self._path} cannot be looked at: {error.strerror}"
            raise NotDurableError(told) from error
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._seen is None or self._seen[0] != stamp:
            book = self._book()
            found_in = [each for a in book.approvals for each in a.passages()]
            holds = Holds(
                everything=book.everything,
                names=book.names,
                approved=frozenset(passage for used, passage in found_in if not used),
                used=frozenset(passage for used, passage in found_in if used),
            )
            self._seen = (stamp, holds)
        return self._seen[1]

    def of(self, name: str) -> Hold | None:
        """Return what holds a name at this moment."""
        return self.read().of(name)

    def move(self, old: str, new: str) -> None:
        """Hold a name as another one is held; NotDurableError."""
        if old not in self._held().names:
            return

        def change(book: _Book) -> _Book:
            hold = book.names.get(old)
            if hold is None or new in book.names:
                return book
            return replace(book, names=MappingProxyType({**book.names, new: hold}))

        self._change(change, _LOOP_TRIES)

    def moved(self, old: str) -> None:
        """Hold a name no longer, whose hold has moved on; NotDurableError."""
        if old in self._held().names:
            self._change(lambda book: _without(book, old), _LOOP_TRIES)

    def tell(self, masses: Sequence[Mass]) -> bool:
        """Let commands see which mass changes and removals wait for a person.

        False where that cannot be written: it is told in each status too, and tried again.
        """
        body = [to_json(mass) for mass in masses]
        try:
            if not masses and not self._masses.exists():
                return True
            make_folder(self._folder, as_above=True)
            write_durably(self._masses, json.dumps(body).encode(), as_above=True)
        except (OSError, NotDurableError):
            return False
        return True

    def use_up(self, passages: Iterable[Passage]) -> None:
        """Take down that these let nothing through any more; NotDurableError."""
        gone = frozenset(passages)

        def change(book: _Book) -> _Book:
            left = tuple(
                replace(a, used=tuple(sorted(p.name for u, p in a.passages() if u or p in gone)))
                for a in book.approvals
            )
            return replace(book, approvals=left)

        self._change(change, _LOOP_TRIES)

    # ------------------------------------------------------------ for commands

    def suspend(self, name: str, hold: Hold) -> None:
        """Hold a name, or with an empty one all of them."""

        def change(book: _Book) -> _Book:
            if not name:
                return replace(book, everything=replace(hold, everything=True))
            return replace(book, names=MappingProxyType({**book.names, name: hold}))

        self._change(change)

    def resume(self, name: str) -> bool:
        """Take a hold away; False where there was none. An empty name takes the one of all."""
        found = False

        def change(book: _Book) -> _Book:
            nonlocal found
            if not name:
                found = book.everything is not None
                return replace(book, everything=None)
            found = name in book.names
            return _without(book, name)

        self._change(change)
        return found

    def waiting(self) -> Mapping[str, Mass]:
        """Return the mass changes and removals that wait for a person, by their ids."""
        try:
            body = json.loads(read_regular(self._masses, MAX_BYTES))
            return {mass.id: mass for mass in (from_json(Mass, each) for each in body)}
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def approve(self, approval: MassApproval) -> None:
        """Let a mass change through; approvals of more than a day ago go. NotDurableError.

        So do those that are over, where there is no room; nor is one taken that leaves none to
        take down later what it has let through.
        """

        def change(book: _Book) -> _Book:
            kept = [a for a in book.approvals if approval.at - a.at < APPROVAL_LASTS]
            found = replace(book, approvals=(*kept, approval)[-MAX_APPROVALS:])
            if len(_content(_all_used(found))) > MAX_BYTES:
                found = replace(found, approvals=tuple(a for a in found.approvals if not a.over))
            self._must_fit(_content(_all_used(found)))
            return found

        self._change(change)

    def _change(self, change: Callable[[_Book], _Book], tries: int = _COMMAND_TRIES) -> None:
        """Read, change and write, with nobody else in between; NotDurableError."""
        make_folder(self._folder, as_above=True)
        try:
            with locked(self._folder, tries):
                before = self._book()
                book = change(before)
                if book is not before:
                    content = _content(book)
                    self._must_fit(content)
                    write_durably(self._path, content, as_above=True)
        except OSError as error:
            told = error.strerror
            if isinstance(error, BlockingIOError):
                told = "another command, which may hang, has it locked; look at what runs"
            raise NotDurableError(f"{self._path} cannot be changed: {told}") from error

    def _must_fit(self, content: bytes) -> None:
        """Refuse to write what could not be read again."""
        if len(content) > MAX_BYTES:
            raise NotDurableError(
                f"{self._path} would be larger than {MAX_BYTES} bytes, and is left as it is: an "
                "approval goes a day after it was given; let fewer specs change at once"
            )

    def _book(self) -> _Book:
        try:
            return from_json(_Book, json.loads(read_regular(self._path, MAX_BYTES)))
        except FileNotFoundError:
            return _Book()
        except (OSError, ValueError, RecursionError) as error:
            # A hold that cannot be read must not be taken for none.
            told = getattr(error, "strerror", None) or str(error)
            raise NotDurableError(
                f"{self._path} cannot be read: {told}; where a newer release has written it, "
                "install that one again, else bring back the file or remove it"
            ) from error
