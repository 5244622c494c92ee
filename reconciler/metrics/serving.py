"""Serves metrics at an address of their own.

Not beside the API: a worker has none, a scrape must not depend on the API's connections and
tokens, and what is shown are counts that name no organization and no stack.
"""

from __future__ import annotations

from reconciler.bounded_server import BoundedServer, Quiet
from reconciler.metrics.prometheus import CONTENT_TYPE, Registry

__all__ = ["PATH", "MetricsServer"]

PATH = "/metrics"
# A Prometheus scrapes one at a time; a pair of them, and a person who looks.
MOST_CONNECTIONS = 16


class MetricsServer(BoundedServer):
    """Serves one registry."""

    def __init__(self, host: str, port: int, registry: Registry) -> None:
        self.registry = registry
        super().__init__(host, port, _Handler, MOST_CONNECTIONS)


class _Handler(Quiet):
    server: MetricsServer

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Answer a scrape."""
        if self.path.partition("?")[0] == PATH:
            self.answer(200, self.server.registry.text(), CONTENT_TYPE)
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815 - the same
