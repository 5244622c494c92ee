"""Gives a tracer, and sends what it makes where an address is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from reconciler.errors import UsageError
from reconciler.traces import OFF, Tracer

__all__ = ["traced"]


@contextmanager
def traced(url: str, service: str) -> Iterator[Tracer]:
    """Give a tracer whose spans are sent to `url` within; one that makes none for no URL.

    UsageError where the URL is none, or what sends is not installed.
    """
    if not url:
        yield OFF
        return
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        )
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"--traces {url!r} is no URL such as http://127.0.0.1:4318")
    try:
        from reconciler.traces.otel import Provider  # noqa: PLC0415 - costs 300 ms, and is an extra
    except ImportError as error:
        raise UsageError(
            f"--traces needs OpenTelemetry ({error.name} is missing): install reconciler[otel]"
        ) from None
    provider = Provider(url, service)
    try:
        yield provider
    finally:
        provider.close()
