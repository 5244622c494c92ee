"""What people ask for by hand, as files in the state directory: no port, no socket.

A command puts a request there; the daemon that reconciles the directory takes it up in its
next pass and removes it when it has been dealt with.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from reconciler.files import make_folder, read_regular, write_durably
from reconciler.jsonform import from_json, to_json
from reconciler.model import HandRequest
from reconciler.values import replace

__all__ = ["HandRequests"]

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ENDING: Final = ".json"
# A request is 200 bytes; a larger file is none.
MAX_BYTES: Final = 64 << 10
# More at a time are no longer asked for by hand; the oldest are dealt with first.
MAX_REQUESTS: Final = 10_000


class HandRequests:
    """The requests in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, request: HandRequest) -> None:
        """Add a request, whole and mode 0600; NotDurableError where that cannot be done."""
        path = self._path(request.id)
        make_folder(self._folder)
        write_durably(path, json.dumps(to_json(request)).encode())

    def all(self) -> tuple[HandRequest, ...]:
        """Return the requests, oldest first; what is torn or no request is passed over."""
        try:
            paths = [path for path in self._folder.iterdir() if path.suffix == _ENDING]
        except FileNotFoundError:
            return ()
        found = [request for path in paths[:MAX_REQUESTS] if (request := _read(path))]
        return tuple(sorted(found, key=lambda request: (request.at, request.id)))

    def remove(self, request_id: str) -> None:
        """Remove a request; one that is not there is removed already."""
        self._path(request_id).unlink(missing_ok=True)

    def move(self, old: str, new: str) -> None:
        """Let the requests about a name be about another one; NotDurableError."""
        for request in self.all():
            if request.name == old:
                self.put(replace(request, name=new))

    def _path(self, request_id: str) -> Path:
        if not _ID.match(request_id):
            raise ValueError("a request's id is 1 to 64 letters, digits, '_' or '-'")
        return self._folder / (request_id + _ENDING)


def _read(path: Path) -> HandRequest | None:
    try:
        request = from_json(HandRequest, json.loads(read_regular(path, MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None
    return request if request.id + _ENDING == path.name else None
