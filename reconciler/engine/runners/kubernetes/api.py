"""Calls the API of a cluster: objects by HTTP, commands in a pod by a WebSocket.

The one module that knows `urllib3`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

from reconciler.engine.runners.kubernetes.access import Access
from reconciler.engine.runners.kubernetes.answers import ApiError, UnreachableError, refusal
from reconciler.engine.runners.kubernetes.websocket import Exec, open_exec
from reconciler.errors import ReconcilerError

__all__ = ["Api", "ExecTarget"]

# A call takes 5-50 ms; a busy API server queues it for at most a minute.
CALL_LIMIT_S = 60.0
CONNECT_LIMIT_S = 10.0

# How often a call is repeated that found nobody, or a server that is too busy, and the pauses
# before each: 7 s in all, as long as a server takes to come back from a change of leader.
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 3.0)
AGAIN_STATUSES = frozenset({429, 500, 502, 503, 504})

# An answer that is no more than a list of a deployment's own objects.
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecTarget:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


class Api:
    """One cluster's API. Any thread may call it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=16,
            ssl_context=access.trust,
            server_hostname=access.server_name or None,
            assert_hostname=access.server_name or None,
            retries=False,
        )

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the object that the API answers with.

        What found nobody, or a server that is too busy, is repeated for some seconds, so that
        a create may meet its own object: then it is a 409. ApiError where the API refuses,
        UnreachableError where it does not answer.
        """
        last: ReconcilerError = UnreachableError("")
        pause = threading.Event()
        for wait_s in (*PAUSES_S, None):
            try:
                return self._once(method, path, body, query)
            except UnreachableError as error:
                last = error
            except ApiError as error:
                if error.status not in AGAIN_STATUSES:
                    raise
                last = error
            if wait_s is not None:
                pause.wait(wait_s)
        raise last

    def exec(self, target: ExecTarget, argv: Iterable[str], *, stdin: bool) -> Exec:
        """Start a program in a container; ApiError or UnreachableError where it cannot be."""
        words = [("command", word) for word in argv]
        options = [("stdout", "true"), ("stderr", "true"), ("container", target.container)]
        if stdin:
            options.append(("stdin", "true"))
        path = f"/api/v1/namespaces/{quote(target.namespace)}/pods/{quote(target.pod)}/exec"
        return open_exec(self._access, f"{path}?{urlencode([*words, *options])}", self._headers())

    def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        headers = self._headers() | {"Accept": "application/json"}
        if body is not None:
            patch = "application/merge-patch+json"
            headers["Content-Type"] = patch if method == "PATCH" else "application/json"
        url = f"{self._access.server}{path}"
        try:
            answer = self._pool.request(
                method,
                f"{url}?{urlencode(query)}" if query else url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_LIMIT_S, read=CALL_LIMIT_S),
                redirect=False,
                preload_content=False,
            )
            try:
                content = answer.read(LARGEST_ANSWER_BYTES)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # that no second try changes
                raise ReconcilerError(self._unreachable(error)) from error
            raise UnreachableError(self._unreachable(error)) from error
        if answer.status >= 300:  # noqa: PLR2004 - what HTTP calls success ends there
            raise ApiError(answer.status, refusal(answer.status, content))
        try:
            made = json.loads(content)
        except ValueError as error:
            raise ApiError(answer.status, "the answer is no JSON") from error
        return made if isinstance(made, dict) else {}

    def _headers(self) -> dict[str, str]:
        token = self._access.token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, error: Exception) -> str:
        cause = getattr(error, "reason", None) or error
        return f"the Kubernetes API at {self._access.server} does not answer: {cause}"
