"""A program in a container, over one WebSocket, in one thread.

The library's protocol does no input or output itself, and so what is done with the TLS
connection is ours: two threads must not use one at a time, as Python before 3.13 does not keep
them apart. The one module that knows `websockets`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from reconciler.engine.runners.kubernetes.access import Access
from reconciler.engine.runners.kubernetes.answers import ApiError, UnreachableError, refusal

__all__ = ["Exec", "open_exec"]

# An answer to the request for a connection comes when the node has started the program.
CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 60.0

# After so long without a word from the server it is asked for one, and then it has so long.
PING_S = 15.0
PONG_S = 30.0

# Channels of `v5.channel.k8s.io`: the first byte of each message.
STDIN, STDOUT, STDERR, RESULT = b"\0", b"\1", b"\2", b"\3"
PROTOCOLS = [Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")]

# A message from the server is at most what the kubelet reads at once, 32 KiB.
LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024
READ_BYTES = 65536


def open_exec(access: Access, path: str, headers: Mapping[str, str]) -> Exec:
    """Start the program that the path asks for; ApiError or UnreachableError where it cannot be."""
    parts = urlsplit(access.server)
    host = parts.hostname or ""
    uri = parse_uri(f"wss://{access.server.removeprefix('https://')}{path}")
    protocol = ClientProtocol(uri, subprotocols=PROTOCOLS, max_size=LARGEST_MESSAGE_BYTES)
    try:
        plain = socket.create_connection((host, parts.port or 443), CONNECT_LIMIT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = access.server_name or host
            connection = access.trust.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
    except OSError as error:
        raise UnreachableError(
            f"the Kubernetes API at {access.server} does not answer: {error}"
        ) from error
    made = Exec(connection, protocol)
    try:
        made.begin(headers)
    except BaseException:
        made.close()
        raise
    return made


class Exec:
    """A program in a container. `abort` may be called by any thread, all else by one."""

    def __init__(self, connection: ssl.SSLSocket, protocol: ClientProtocol) -> None:
        self._connection = connection
        self._protocol = protocol

    def begin(self, headers: Mapping[str, str]) -> None:
        """Shake hands."""
        request = self._protocol.connect()
        request.headers.update(headers)
        self._connection.settimeout(ANSWER_LIMIT_S)
        try:
            self._protocol.send_request(request)
            self._flush()
            while self._protocol.state is not OPEN and self._protocol.handshake_exc is None:
                self._read()
        except OSError as error:
            raise UnreachableError(f"no connection to the pod: {error}") from error
        problem = self._protocol.handshake_exc
        if isinstance(problem, InvalidStatus):
            status = problem.response.status_code
            raise ApiError(status, refusal(status, bytes(problem.response.body or b"")))
        if problem is not None:
            raise UnreachableError(f"no connection to the pod: {problem}")
        self._protocol.events_received()  # the answer itself

    def send(self, data: bytes) -> None:
        """Give the program input; UnreachableError where the connection is lost."""
        try:
            self._protocol.send_binary(STDIN + data)
            self._flush()
        except (OSError, WebSocketException) as error:
            raise UnreachableError("the connection to the pod was lost") from error

    def receive(
        self, on_stdout: Callable[[bytes], None], on_stderr: Callable[[bytes], None]
    ) -> int:
        """Hand on all output, and return the exit code.

        UnreachableError where the connection ends before the program, ApiError where the
        program could not be run.
        """
        content = b""
        while True:
            try:
                frames = self._next_frames()
            except (OSError, WebSocketException) as error:
                raise UnreachableError("the connection to the pod was lost") from error
            for frame in frames:
                if frame.opcode not in {Opcode.BINARY, Opcode.TEXT, Opcode.CONT}:
                    continue
                content += bytes(frame.data)
                if not frame.fin:
                    continue
                channel, content, message = content[:1], b"", content[1:]
                if channel == STDOUT and message:
                    on_stdout(message)
                elif channel == STDERR and message:
                    on_stderr(message)
                elif channel == RESULT:
                    return _exit_code(message)

    def abort(self) -> None:
        """End the connection from another thread: whoever uses it finds it lost."""
        with contextlib.suppress(OSError):
            # Not the TLS connection's own method, which another thread may be in.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection up. May be called more than once."""
        self.abort()
        self._connection.close()

    def _next_frames(self) -> list[Frame]:
        """Return what has come; OSError where nothing comes any more."""
        asked_at = 0.0
        while True:
            frames = [
                event for event in self._protocol.events_received() if isinstance(event, Frame)
            ]
            if frames:
                return frames
            if self._protocol.state is not OPEN:
                raise ConnectionResetError("the connection has ended")
            self._connection.settimeout(PING_S)
            try:
                self._read()
            except TimeoutError:
                now = time.monotonic()
                if asked_at and now - asked_at > PONG_S:
                    raise
                if not asked_at:
                    asked_at = now
                    self._protocol.send_ping(b"")
                    self._flush()

    def _read(self) -> None:
        """Read once, and answer what asks for an answer."""
        data = self._connection.recv(READ_BYTES)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)


def _exit_code(content: bytes) -> int:
    """Return the exit code that a `Status` object tells of; ApiError where there was none."""
    try:
        status = json.loads(content)
        if status.get("status") == "Success":
            return 0
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
        message = str(status.get("message"))
    except (ValueError, AttributeError, TypeError, KeyError):
        message = "the answer of the node cannot be read"
    raise ApiError(500, message)
