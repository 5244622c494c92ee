"""Hears from forges that something was pushed, so that it is seen before the next poll.

An event only says that a repository is to be asked again, and nothing of it is believed but that:
lost, late, doubled or replayed ones do no harm. Whoever cannot sign learns nothing, and whoever is
slow or sends much is cut off.
"""

from __future__ import annotations

import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reconciler.bounded_server import BoundedServer, Quiet
from reconciler.errors import UsageError
from reconciler.files import read_regular
from reconciler.git.hooks import genuine, repositories

__all__ = ["PATH", "Webhook", "read_secrets"]

PATH: Final = "/webhook"
# Forges cut what they send off at far less than their own limits, of which GitHub's is 25 MiB.
LARGEST_BODY: Final = 1 << 20
# All bodies that are being read, together.
LARGEST_BODIES: Final = 16 << 20
MOST_CONNECTIONS: Final = 256
# Of one address: so many at once, and then so many in a second.
BURST: Final = 60
PER_SECOND: Final = 5.0
# Addresses that are remembered; who comes from more starts with a new allowance.
MOST_ADDRESSES: Final = 4096
# A secret of a person's own choice is guessed offline from one signature, if it is short.
SHORTEST_SECRET: Final = 16
LARGEST_SECRETS: Final = 4096


def read_secrets(path: Path, *, credential: bool = False) -> tuple[bytes, ...]:
    """Read the secrets of a file, one a line; UsageError says what is wrong with it.

    A `credential` is one of systemd's, which the group may read as well.
    """
    try:
        mode = path.stat().st_mode
        content = read_regular(path.resolve(), LARGEST_SECRETS)
    except OSError as error:
        raise UsageError(f"the webhook's secret cannot be read: {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXO if credential else stat.S_IRWXO | stat.S_IRWXG):
        raise UsageError(f"{path} can be read by others; `chmod 600` it")
    found = tuple(filter(None, (line.strip() for line in content.splitlines())))
    if not found or min(map(len, found)) < SHORTEST_SECRET:
        message = f"a line of {SHORTEST_SECRET} characters or more, as of `openssl rand -hex 32`"
        raise UsageError(f"{path} holds no secret for a webhook: {message}")
    return found


class Webhook:
    """Listens until `close`; `heard` is called with the identities of repositories."""

    def __init__(
        self, host: str, port: int, secrets: tuple[bytes, ...],
        heard: Callable[[frozenset[str]], None],
    ) -> None:  # fmt: skip
        """Listen from now on; UsageError where the address cannot be had."""
        try:
            self._server = _Server(host, port)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"--webhook cannot listen on {host}:{port}: {reason}") from None
        self._server.secrets = secrets
        self._server.heard = heard
        self._server.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self._server.url}{PATH}"

    def close(self) -> None:
        """Hear nothing more; who is connected is cut off."""
        self._server.stop()


class _Server(BoundedServer):
    secrets: tuple[bytes, ...]
    heard: Callable[[frozenset[str]], None]

    def __init__(self, host: str, port: int) -> None:
        self._lock = threading.Lock()
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._bodies = 0
        super().__init__(host, port, _Handler, MOST_CONNECTIONS)

    # ------------------------------------------------------------ allowances

    def may_ask(self, address: str, cost: float = 1.0) -> bool:
        """Whether an address has not asked too much; takes the cost from its allowance."""
        now = time.monotonic()
        with self._lock:
            left, at = self._allowances.pop(address, (float(BURST), now))
            left = min(BURST, left + (now - at) * PER_SECOND)
            allowed = left >= 1
            self._allowances[address] = (left - cost if allowed else left, now)
            if len(self._allowances) > MOST_ADDRESSES:
                self._allowances.popitem(last=False)
        return allowed

    def take(self, size: int) -> bool:
        """Whether there is room for a body; `give_back` it."""
        with self._lock:
            if self._bodies + size > LARGEST_BODIES:
                return False
            self._bodies += size
        return True

    def give_back(self, size: int) -> None:
        """Make room again."""
        with self._lock:
            self._bodies -= size


class _Handler(Quiet):
    server: _Server

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Take an event."""
        self.answer(self._post())

    def do_GET(self) -> None:  # noqa: N802 - the same
        """Answer whoever only looks."""
        self.answer(405 if self._is_ours() else 404)

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the library's names

    def _is_ours(self) -> bool:
        return self.path.partition("?")[0] == PATH

    def _post(self) -> int:
        if not self._is_ours():
            return 404
        address = str(self.client_address[0])
        if not self.server.may_ask(address, cost=0.0):
            return 429
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return 411
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            return 413
        size = int(length)
        if not self.server.take(size):
            return 503
        try:
            body = self.rfile.read(size)
            if len(body) < size:
                return 400
            return self._heard(body) if self.server.may_ask(address) else 429
        finally:
            self.server.give_back(size)

    def _heard(self, body: bytes) -> int:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not genuine(headers, body, self.server.secrets):
            return 401
        found = repositories(headers.get("content-type", ""), body)
        if found:
            self.server.heard(found)
        return 202  # the same whether we have such a repository or not
