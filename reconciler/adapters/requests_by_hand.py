"""What people ask for by hand, as files in the state directory: no port, no socket.

A command puts a request there; the daemon that reconciles the directory takes it up in its
next pass and removes it when it has been dealt with.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Final

from reconciler.files import make_folder, read_regular, write_durably
from reconciler.jsonform import from_json, to_json
from reconciler.model import HandRequest
from reconciler.values import replace

__all__ = ["HandRequests"]

_LOG: Final = logging.getLogger(__name__)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ENDING: Final = ".json"
# A request is 200 bytes; a larger file is none.
MAX_BYTES: Final = 64 << 10
# More at a time are no longer asked for by hand; the oldest are dealt with first.
MAX_REQUESTS: Final = 10_000


class HandRequests:
    """The requests in one folder; what of it cannot be read or removed is logged, once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: frozenset[str] = frozenset()
        self._stuck: dict[str, str] = {}  # what has been dealt with and cannot be removed, and why

    def put(self, request: HandRequest) -> None:
        """Add a request, whole and mode 0600; NotDurableError where that cannot be done."""
        path = self._path(request.id)
        make_folder(self._folder, as_above=True)
        write_durably(path, json.dumps(to_json(request)).encode(), as_above=True)

    def all(self) -> tuple[HandRequest, ...]:
        """Return the requests, oldest first; what is torn or no request is passed over.

        What cannot be read is told, and waits until it can be.
        """
        unread: dict[str, str] = {}
        found = [
            request
            for path in self._paths(unread)
            if (request := _read(path, unread)) and request.id not in self._stuck
        ]
        self._tell({*unread.values(), *self._stuck.values()})
        return tuple(sorted(found, key=lambda request: (request.at, request.id)))

    def remove(self, request_id: str) -> None:
        """Remove a request; one that is not there is removed already.

        One that cannot be removed is none from now on: it has been dealt with.
        """
        path = self._path(request_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._stuck[request_id] = (
                f"{path} cannot be removed: {error.strerror}; it has been dealt with: remove it, "
                "and give its folder to the user who reconciles (chown)"
            )
        else:
            self._stuck.pop(request_id, None)

    def _paths(self, unread: dict[str, str]) -> list[Path]:
        try:
            paths = [path for path in self._folder.iterdir() if path.suffix == _ENDING]
        except FileNotFoundError:
            return []
        except OSError as error:
            unread[str(self._folder)] = _unreadable(self._folder, error)
            return []
        return paths[:MAX_REQUESTS]

    def _tell(self, troubles: set[str]) -> None:
        for each in sorted(troubles - self._told):
            _LOG.warning("%s", each)
        self._told = frozenset(troubles)

    def move(self, old: str, new: str) -> None:
        """Let the requests about a name be about another one; NotDurableError."""
        for request in self.all():
            if request.name == old:
                self.put(replace(request, name=new))

    def moved(self, old: str) -> None:
        """Nothing stays with an old name."""

    def _path(self, request_id: str) -> Path:
        if not _ID.match(request_id):
            raise ValueError("a request's id is 1 to 64 letters, digits, '_' or '-'")
        return self._folder / (request_id + _ENDING)


def _read(path: Path, unread: dict[str, str]) -> HandRequest | None:
    try:
        request = from_json(HandRequest, json.loads(read_regular(path, MAX_BYTES)))
    except (ValueError, RecursionError, FileNotFoundError):
        return None
    except OSError as error:
        if error.errno:  # else it is a link, or no file at all
            unread[str(path)] = _unreadable(path, error)
        return None
    return request if request.id + _ENDING == path.name else None


def _unreadable(path: Path, error: OSError) -> str:
    advice = "give it to the user who reconciles (chown -R)"
    return f"{path} cannot be read: {error.strerror}; what was asked for by hand waits: {advice}"
