"""What people hold by hand, over what the files say: suspensions, and approved mass changes.

holds.json   written by commands, read by the loop
masses.json  written by the loop, read by commands: which mass changes wait for a person

Both lie in the state directory, so a hold outlives a checkout, and needs no commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from reconciler.errors import NotDurableError
from reconciler.files import locked, make_folder, read_regular, write_durably
from reconciler.jsonform import from_json, to_json
from reconciler.model import Hold, Holds
from reconciler.planning.admission import Mass

__all__ = ["HoldsFiles", "MassApproval"]

# 100,000 names with their digests; what is larger was not written here.
MAX_BYTES: Final = 32 << 20
# What was let through a day ago was let through in another world.
APPROVAL_LASTS: Final = timedelta(hours=24)
MAX_APPROVALS: Final = 100
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class MassApproval:
    """That a person let a mass change through: these names, at these digests."""

    id: str
    by: str
    at: datetime
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    everything: Hold | None = None
    names: Mapping[str, Hold] = field(default_factory=lambda: MappingProxyType({}))
    approvals: tuple[MassApproval, ...] = ()


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
            found = self._path.stat()
        except FileNotFoundError:
            return Holds()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._seen is None or self._seen[0] != stamp:
            try:
                book = self._book()
            except NotDurableError as error:
                # Until a person has looked, nothing starts by itself.
                return Holds(everything=Hold(by=f"nobody ({error})", at=_NEVER, everything=True))
            approved = frozenset(
                (name, digest) for a in book.approvals for name, digest in a.names.items()
            )
            holds = Holds(everything=book.everything, names=book.names, approved=approved)
            self._seen = (stamp, holds)
        return self._seen[1]

    def tell(self, masses: Sequence[Mass]) -> None:
        """Let commands see which mass changes and removals wait for a person."""
        body = [{"id": m.id, "message": m.message, "names": dict(m.names)} for m in masses]
        try:
            make_folder(self._folder)
            write_durably(self._masses, json.dumps(body).encode())
        except NotDurableError:
            return  # it is told in each status too; the next pass tries again

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
            left = {n: h for n, h in book.names.items() if n != name}
            return replace(book, names=MappingProxyType(left))

        self._change(change)
        return found

    def waiting(self) -> Mapping[str, Mapping[str, str]]:
        """Return the mass changes that wait for a person: id → name → digest."""
        try:
            body = json.loads(read_regular(self._masses, MAX_BYTES))
            return {str(m["id"]): {str(n): str(d) for n, d in m["names"].items()} for m in body}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def approve(self, approval: MassApproval) -> None:
        """Let a mass change through; approvals of more than a day ago go."""

        def change(book: _Book) -> _Book:
            kept = [a for a in book.approvals if approval.at - a.at < APPROVAL_LASTS]
            return replace(book, approvals=(*kept, approval)[-MAX_APPROVALS:])

        self._change(change)

    def _change(self, change: Callable[[_Book], _Book]) -> None:
        """Read, change and write, with nobody else in between; NotDurableError."""
        make_folder(self._folder)
        with locked(self._folder):
            book = change(self._book())
            write_durably(self._path, json.dumps(to_json(book), indent=2).encode())

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
