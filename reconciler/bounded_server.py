"""A small HTTP server of a side door: few connections, none of them for long, no word too many.

Whoever is slow or sends much is cut off, and costs a thread until then and nothing else.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

__all__ = ["LONGEST_CONNECTION_S", "BoundedServer", "Quiet"]

_log = logging.getLogger(__name__)

# A connection is a thread, and none lives longer than this.
LONGEST_CONNECTION_S: Final = 10.0
# How often is looked for those that take too long, and for the end.
_LOOK_EVERY_S: Final = 0.2


class BoundedServer(ThreadingHTTPServer):
    """Listens from now on, answers between `start` and `stop`; OSError where it cannot."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler], most: int
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.most = most
        self._connections = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": _LOOK_EVERY_S}, daemon=True
        )
        super().__init__((host, port), handler)

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def start(self) -> None:
        """Answer from now on, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more; who is connected is cut off."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        self.cut_off(older_than_s=0.0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, where there are not too many."""
        with self._connections:
            full = len(self._open) >= self.most
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._connections:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long; called several times in a second."""
        self.cut_off(older_than_s=LONGEST_CONNECTION_S)

    def cut_off(self, older_than_s: float) -> None:
        """End the connections that are as old; their threads then end by themselves."""
        begun_before = time.monotonic() - older_than_s
        with self._connections:
            late = [each for each, begun in self._open.items() if begun <= begun_before]
        for connection in late:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has just ended

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a connection broke; that is the other side's business."""
        del request
        _log.debug("a connection of %s broke", client_address, exc_info=True)


class Quiet(BaseHTTPRequestHandler):
    """One answer a connection, and no word about who we are or what was wrong."""

    timeout = LONGEST_CONNECTION_S
    server_version = "reconciler"
    sys_version = ""

    def answer(self, status: int, body: bytes = b"", content_type: str = "") -> None:
        """Answer, and end the connection."""
        self.close_connection = True
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, without a word."""
        del message, explain
        self.answer(code)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Say nothing: whoever wants could fill the log."""
