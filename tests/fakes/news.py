"""Where news arrive in tests: a server that takes them, and a clock that runs ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reconciler.model import News, NewsKind

__all__ = ["HurriedClock", "Post", "Receiver", "make_news", "receiving"]

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)


def make_news(number: int = 1, **more: object) -> News:
    """Make news of a spec."""
    usual: dict[str, object] = {
        "id": f"{number:024x}",
        "kind": NewsKind.FAILED,
        "name": "team/web",
        "stack": "acme/web/prod",
        "at": NOW,
        "state": "Failed",
        "reason": "failed",
        "message": "step 'Pulumi operation' failed: error: no such bucket",
        "version": 7,
        "operation": "update",
        "commit": "a" * 40,
        "url": "https://example.com/acme/web/prod/deployments/7",
        "repository": "github.com/acme/infra",
    }
    return News(**(usual | more))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Post:
    """One call that came in; headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server that takes posts; `answer` says with which status, None: it hangs up."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    answer: Callable[[Post], int | None] = lambda _: 204
    came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, post: Post) -> int | None:
        with self.came:
            self.posts.append(post)
            self.came.notify_all()
        return self.answer(post)

    def wait(self, number: int, limit_s: float = 60.0) -> list[Post]:
        """Wait until so many have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.posts) >= number, limit_s), self.posts
            return list(self.posts)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Give a receiver that listens."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(Post(self.path, headers, self.rfile.read(length)))
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class HurriedClock:
    """A clock that runs so many times as fast as time itself."""

    def __init__(self, times: float, start: datetime = NOW) -> None:
        self._times = times
        self._start = start
        self._begun = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(time.monotonic() - self._begun) * self._times)

    def running(self) -> timedelta:
        return self.now() - self._start

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        wake.wait(max((moment - self.now()).total_seconds(), 0) / self._times)
