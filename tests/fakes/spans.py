"""Reads what a receiver of OpenTelemetry's protocol was sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.news import Post

__all__ = ["Seen", "spans"]


@dataclass(frozen=True)
class Seen:
    """A span that came in."""

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    attributes: dict[str, Any]
    failed: str
    service: str
    took_ns: int


def spans(posts: Iterable[Post]) -> list[Seen]:
    """Return all spans, in the order of their ends."""
    found = []
    for post in posts:
        assert post.path == "/v1/traces"
        assert post.headers["content-type"] == "application/x-protobuf"
        request = ExportTraceServiceRequest.FromString(post.body)
        for resource in request.resource_spans:
            service = next(
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            )
            found += [
                Seen(
                    name=span.name,
                    id=span.span_id,
                    parent=span.parent_span_id,
                    trace=span.trace_id,
                    attributes={
                        a.key.removeprefix("reconciler."): a.value.string_value or a.value.int_value
                        for a in span.attributes
                    },
                    failed=span.status.message if span.status.code == 2 else "",
                    service=service,
                    took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]
    return found
