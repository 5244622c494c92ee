"""Gives a meter, and serves what it takes where an address is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler import __version__
from reconciler.addresses import is_loopback, parse
from reconciler.errors import UsageError
from reconciler.log_output import tell_problem
from reconciler.metrics import OFF, Measure, Meter

__all__ = ["metered"]

EXAMPLE = "127.0.0.1:9464"


@contextmanager
def metered(
    address: str, measures: tuple[Measure, ...], say: Callable[[str], object]
) -> Iterator[Meter]:
    """Give a meter whose numbers are served within; one that takes nothing for no address.

    UsageError where the address is none, or cannot be had.
    """
    if not address:
        yield OFF
        return
    host, port = parse(address, "--metrics", EXAMPLE)
    # With Prometheus's client this costs 60 ms.
    from reconciler.metrics.prometheus import Registry  # noqa: PLC0415
    from reconciler.metrics.serving import PATH, MetricsServer  # noqa: PLC0415

    registry = Registry(measures, __version__)
    try:
        server = MetricsServer(host, port, registry)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--metrics cannot listen on {address}: {reason}") from None
    server.start()
    try:
        say(f"metrics are at {server.url}{PATH}")
        if not is_loopback(host):
            tell_problem("the metrics are plain http and need no token: guard their network")
        yield registry
    finally:
        server.stop()
