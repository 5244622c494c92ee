"""A client of the Deployments API: typed calls, one way to send, a bound on each call.

A create is never sent twice from here: whoever asked settles an unanswered one by its
marker. The token is asked for at each call, so a renewed one is used at once.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from reconciler.addresses import is_loopback
from reconciler.api.create_body import request_to_json
from reconciler.api.dialects import (
    Dialect,
    created_from_json,
    deployment_from_json,
    list_from_json,
    log_lines_from_json,
)
from reconciler.api.types import (
    Created,
    Deployment,
    DeploymentRequest,
    LogLine,
    Secret,
    StackRef,
)
from reconciler.errors import LostError, RefusedError, UsageError
from reconciler.metrics import OFF, Meter, of_loop
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = ["ApiClient", "Identity", "LogPage", "Paused", "StepLogPage", "check_url"]

R = TypeVar("R")

# A call that takes longer has failed for us: the API answers a create within a second or two.
CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0

# The largest answer that is read: a page of 100 deployments is about 100 kB.
LARGEST_ANSWER = 16 * 1024 * 1024

# What the last small answers said is kept: most of what is asked again has not changed, and
# reading it costs ten times what comparing it does. Ten megabytes where all are that large.
ANSWERS_KEPT = 64
LARGEST_KEPT = 32 * 1024

# A server's own words are shown to people, and kept in status files: a sentence or two.
LONGEST_MESSAGE = 500

ERROR_STATUS = 400
NOT_FOUND = 404
REQUEST_TIMEOUT = 408
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of a deployment's log; an empty token says that nothing more will come."""

    lines: tuple[LogLine, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class StepLogPage:
    """A page of a step's log; None as the next offset says that nothing more will come."""

    lines: tuple[LogLine, ...]
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class Paused:
    """Whether all of an organization is paused, and which of its stacks (`project/stack`)."""

    everything: bool
    stacks: frozenset[str]

    def holds(self, stack: StackRef) -> bool:
        """Whether a stack's deployments do not start."""
        return self.everything or f"{stack.project}/{stack.stack}" in self.stacks


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose the token is, the organizations it sees, and its role where the API tells that."""

    user: str
    organizations: frozenset[str]
    role: str


class _TokenAuth(AuthBase):
    """Sets the header itself, so that no other source of credentials replaces it."""

    def __init__(self, token: Callable[[], Secret]) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        token = self._token().value
        if not (token.isascii() and token.isprintable()):
            # The libraries below would say so with the token in their words.
            raise RefusedError(401, "not sent: the token holds characters that no token has")
        request.headers["Authorization"] = f"token {token}"
        return request


class _BoundedReader(socket.SocketIO):
    """Reads from a socket until a moment, however little comes at a time.

    A socket's own time limit is for each read: an answer could come drop by drop for ever.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, "r")
        self._socket = sock
        self._until = time.monotonic() + CALL_TIMEOUT_S
        # As a socket's own makefile counts, which keeps it open until it has been read.
        sock._io_refs += 1  # type: ignore[attr-defined]  # noqa: SLF001

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is; TimeoutError when the moment has come."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"the answer took longer than {CALL_TIMEOUT_S:.0f} s")
        self._socket.settimeout(left_s)
        return super().readinto(buffer)


class _BoundedResponse(http.client.HTTPResponse):
    """An answer, head and body, that has to come within the limit of a call."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_BoundedReader(sock))


class _Connection(HTTPConnection):
    response_class = _BoundedResponse


class _SecureConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Transport(HTTPAdapter):
    """requests' own transport, over connections whose answers are bounded in time."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(*arguments, **named)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class ApiClient:
    """Calls one API in one dialect.

    Every call raises `RefusedError` on a 4xx answer and `LostError` where there is no
    usable answer. `session` is given by tests that put another transport in; `connections` is
    how many are kept, as many as there are threads that call. `server_time` is what the last
    answer's Date said, None where it said nothing. `meter` and
    `tracer` may be set.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], Secret],
        dialect: Dialect = Dialect.TODAY,
        session: requests.Session | None = None,
        connections: int = 10,
    ) -> None:
        check_url(url)
        self.url = url.rstrip("/")
        self.dialect = dialect
        self.server_time: datetime | None = None
        self.meter: Meter = OFF
        self.tracer: Tracer = NO_TRACES
        self._session = _session(connections) if session is None else session
        self._session.auth = _TokenAuth(token)
        self._session.headers["Accept"] = "application/json"
        self._session.headers["User-Agent"] = "reconciler"

    def identity(self) -> Identity:
        """Return whose the token is."""
        return _read(_identity_from_json, self._send("GET", "/api/user"))

    def create(self, stack: StackRef, request: DeploymentRequest[Secret]) -> Created:
        """Ask for a deployment."""
        body = request_to_json(request, self.dialect)
        answer = self._send("POST", self.dialect.stack_path(stack), body=body)
        return _read(created_from_json, answer)

    def get(self, stack: StackRef, deployment_id: str) -> Deployment | None:
        """Return a deployment, or None where the API knows of none."""
        path = f"{self.dialect.stack_path(stack)}/{quote(deployment_id, safe='')}"
        return self._get_deployment(path, stack)

    def by_version(self, stack: StackRef, version: int) -> Deployment | None:
        """Return the stack's deployment of that version, or None where there is none."""
        path = f"{self.dialect.stack_path(stack)}/version/{version}"
        return self._get_deployment(path, stack)

    def list_organization(
        self, organization: str, page: int, page_size: int
    ) -> tuple[Deployment, ...]:
        """Return a page of all the organization's deployments, newest first. Today's dialect."""
        content = self._ask(
            "GET",
            f"/api/orgs/{organization}/deployments",
            params={"page": str(page), "pageSize": str(page_size)},
        )
        return _read(lambda content: _deployments(content, organization), content)

    def list_stack(self, stack: StackRef, page_size: int) -> tuple[Deployment, ...]:
        """Return the stack's newest deployments, newest first; none of an unknown stack.

        Today's dialect; what a list leaves out of a deployment is at its default.
        """
        params = {"page": "1", "pageSize": str(page_size)}
        try:
            content = self._ask("GET", self.dialect.stack_path(stack), params=params)
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return ()
            raise
        return _read(lambda content: _deployments(content, stack.organization), content)

    def paused(self, organization: str) -> Paused:
        """Return what of an organization is paused. Today's dialect."""
        answer = self._send("GET", f"/api/orgs/{organization}/deployments/metadata")
        return _read(_paused_from_json, answer)

    def latest_version(self, stack: StackRef) -> int:
        """Return the stack's highest version, 0 where it has no deployments."""
        params = {"page": "1", "pageSize": "1"}
        try:
            answer = self._send("GET", self.dialect.stack_path(stack), params=params)
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return 0
            raise
        found = _read(list_from_json, answer)
        if not found:
            return 0
        if self.dialect is Dialect.TODAY:
            return found[0].version
        # The preview dialect lists the oldest first; each one tells the latest version.
        oldest = self.by_version(stack, found[0].version)
        return max(found[0].version, oldest.latest_version if oldest is not None else 0)

    def cancel(self, stack: StackRef, deployment_id: str) -> bool:
        """Cancel a deployment; False where there was nothing to cancel."""
        path = f"{self.dialect.stack_path(stack)}/{quote(deployment_id, safe='')}/cancel"
        try:
            self._send("POST", path)
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    def logs(self, stack: StackRef, deployment_id: str, token: str = "") -> LogPage:
        """Return the next page of a deployment's log; the same token means nothing new yet."""
        key = "continuationToken" if self.dialect is Dialect.TODAY else "nextToken"
        path = f"{self.dialect.stack_path(stack)}/{quote(deployment_id, safe='')}/logs"
        answer = self._send("GET", path, params={key: token} if token else {})
        return _read(
            lambda body: LogPage(
                log_lines_from_json(body.get("lines")), str(body.get("nextToken") or "")
            ),
            answer,
        )

    def step_logs(
        self, stack: StackRef, deployment_id: str, step: int, offset: int, count: int = 499
    ) -> StepLogPage:
        """Return a page of the log of one step, which counts from 0."""
        path = f"{self.dialect.stack_path(stack)}/{quote(deployment_id, safe='')}/logs"
        number = step if self.dialect is Dialect.TODAY else step + 1
        params = {"job": "0", "step": str(number), "offset": str(offset), "count": str(count)}
        answer = self._send("GET", path, params=params)

        def read(body: Mapping[str, object]) -> StepLogPage:
            following = body.get("nextOffset")
            return StepLogPage(
                log_lines_from_json(body.get("lines")),
                following if isinstance(following, int) else None,
            )

        return _read(read, answer)

    def _get_deployment(self, path: str, stack: StackRef) -> Deployment | None:
        try:
            content = self._ask("GET", path)
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return _read(lambda content: _deployment(content, stack.organization), content)

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> object:
        """Send one request, once, and return the JSON of the answer (None: an empty one)."""
        return _json(self._ask(method, path, params, body))

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> bytes:
        """Send one request, once, and return the answer's body."""
        deadline = time.monotonic() + CALL_TIMEOUT_S
        try:
            with (
                self.meter.timed(of_loop.API_DURATION, method),
                self.tracer.span(f"API {method}", {"path": path}) as span,
                self._session.request(
                    method,
                    self.url + path,
                    params=params,
                    json=body,
                    timeout=(CONNECT_TIMEOUT_S, CALL_TIMEOUT_S),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                self.server_time = _date(response)
                content = _content(response, deadline)
                span.set("status", response.status_code)
        except requests.RequestException as error:
            self.meter.count(of_loop.API_CALLS, method, "none")
            raise LostError(f"{self.url} did not answer: {_cause(error)}") from None
        self.meter.count(of_loop.API_CALLS, method, str(response.status_code))
        if response.status_code >= ERROR_STATUS:
            raise _error(response, content)
        return content


def _session(connections: int) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Transport(pool_maxsize=connections))
    return session


def check_url(url: str) -> None:
    """Refuse a URL over which a secret would travel in the clear; raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{url!r} is no URL of an API; give one such as https://api.pulumi.com")
    if parts.username or parts.password:
        raise UsageError("the API's URL holds credentials; give the token by --token-file")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise UsageError(
            f"secrets are not sent over plain http to {parts.hostname}; use https "
            "(plain http is for 127.0.0.1, ::1 and localhost)"
        )


def _content(response: requests.Response, deadline: float) -> bytes:
    """Read the answer, bounded in size and time: a read's own time limit is per read."""
    content = bytearray()
    for chunk in response.iter_content(64 * 1024):
        content += chunk
        if len(content) > LARGEST_ANSWER:
            raise requests.RequestException(f"the answer is larger than {LARGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise requests.RequestException(f"the answer took longer than {CALL_TIMEOUT_S:.0f} s")
    return bytes(content)


def _json(content: bytes) -> Any:
    """Read an answer's body; None where it is empty."""
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise LostError("the API answered with no JSON") from None


def _kept(read: Callable[[bytes, str], R]) -> Callable[[bytes, str], R]:
    """Keep what was read of the last small answers; `read` gets the body and the organization."""
    known = lru_cache(maxsize=ANSWERS_KEPT)(read)

    def reading(content: bytes, organization: str) -> R:
        return (known if len(content) <= LARGEST_KEPT else read)(content, organization)

    return reading


@_kept
def _deployment(content: bytes, organization: str) -> Deployment:
    return deployment_from_json(_json(content), organization)


@_kept
def _deployments(content: bytes, organization: str) -> tuple[Deployment, ...]:
    return list_from_json(_json(content), organization)


def _paused_from_json(body: Mapping[str, object]) -> Paused:
    stacks = body.get("pausedStacks")
    return Paused(
        everything=body.get("paused") is True,
        stacks=frozenset(str(s) for s in stacks) if isinstance(stacks, list) else frozenset(),
    )


def _identity_from_json(body: Mapping[str, Any]) -> Identity:
    organizations = body.get("organizations") or []
    return Identity(
        user=str(body["githubLogin"]),
        organizations=frozenset(str(each["githubLogin"]) for each in organizations),
        role=str(body.get("role") or ""),
    )


def _date(response: requests.Response) -> datetime | None:
    text = response.headers.get("Date", "")
    try:
        said = parsedate_to_datetime(text) if text else None
    except (TypeError, ValueError):
        return None
    return said if said is not None and said.tzinfo is not None else None


def _error(response: requests.Response, content: bytes) -> RefusedError | LostError:
    message = ""
    try:
        body = json.loads(content)
        if isinstance(body, dict):
            message = str(body.get("message") or "")
    except (ValueError, RecursionError):
        message = content.decode(errors="replace")
    # Nothing that a terminal obeys, or that no file can hold.
    message = "".join(c if c.isprintable() else " " for c in message)
    message = " ".join(message.split())[:LONGEST_MESSAGE] or response.reason or "no message"
    wait = _retry_after(response)
    # 408 is said by who stands between: whether what was sent has arrived is not known.
    if response.status_code >= SERVER_ERROR or response.status_code == REQUEST_TIMEOUT:
        return LostError(f"the API answered {response.status_code}: {message}", wait)
    return RefusedError(response.status_code, message, wait)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that Retry-After (seconds or a date) asks for, or None."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        until: datetime = parsedate_to_datetime(text)
        since = parsedate_to_datetime(response.headers.get("Date", ""))
        return max((until - since).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def _cause(error: requests.RequestException) -> str:
    """Say what went wrong without the address and the objects in requests' own texts."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    text = str(reason if reason is not None else inner).rsplit(": ", 1)[-1]
    # An errno is a number that says nothing to people.
    text = re.sub(r"^\[Errno -?\d+\] ", "", text)
    if text == "Connection refused":
        return "nothing listens there (connection refused)"
    return text[:LONGEST_MESSAGE] or type(error).__name__


def _read(read: Callable[[Any], R], answer: object) -> R:
    """Read an answer of the expected shape; another shape is no usable answer."""
    try:
        return read(answer)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise LostError(f"the API's answer cannot be read: {type(error).__name__}") from error
