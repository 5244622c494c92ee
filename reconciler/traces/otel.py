"""Spans by OpenTelemetry, sent by OTLP over HTTP. The one user of its SDK.

A provider of its own, never the process's global one. What waits to be sent is bounded, and
what a receiver does not take costs nothing but the spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode

from reconciler import __version__
from reconciler.traces import Attribute, Span

__all__ = ["Provider"]

_PATH: Final = "/v1/traces"
MOST_WAITING: Final = 4096
SEND_EVERY_MS: Final = 2000
SEND_LIMIT_S: Final = 10.0
# How long the end of a process waits for the spans that are left.
CLOSE_LIMIT_MS: Final = 5000
LONGEST_REASON: Final = 300


class Provider:
    """A `Tracer` that sends."""

    def __init__(self, url: str, service: str) -> None:
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        endpoint = url.rstrip("/")
        exporter = OTLPSpanExporter(
            endpoint if endpoint.endswith(_PATH) else endpoint + _PATH, timeout=SEND_LIMIT_S
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter, max_queue_size=MOST_WAITING, schedule_delay_millis=SEND_EVERY_MS
            )
        )
        self._tracer = self._provider.get_tracer("reconciler", __version__)

    @contextmanager
    def span(self, name: str, attributes: dict[str, Attribute] | None = None) -> Iterator[Span]:
        """Give the span of a block."""
        given = {f"reconciler.{key}": value for key, value in (attributes or {}).items()}
        # An error's own words may hold what no trace may; its kind does not.
        with self._tracer.start_as_current_span(
            name, attributes=given, record_exception=False, set_status_on_exception=False
        ) as current:
            span = _Span(current)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    def close(self) -> None:
        """Send what is left, within a bound."""
        self._provider.force_flush(CLOSE_LIMIT_MS)
        self._provider.shutdown()


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: Attribute) -> None:
        """Say something of it."""
        self._span.set_attribute(f"reconciler.{name}", value)

    def fail(self, why: str) -> None:
        """Say that it did not go well."""
        self._span.set_status(Status(StatusCode.ERROR, why[:LONGEST_REASON]))
