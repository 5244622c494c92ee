"""The options of the console of `run`, and what serves it as they say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.addresses import is_loopback, parse
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.options import Options
    from reconciler.cli.wiring import Place
    from reconciler.daemon import Daemon
    from reconciler.ports import ApiSource

__all__ = ["Shown", "add", "check", "serving"]

DEFAULT = "127.0.0.1:8090"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the console shows: a directory of specs, the loop over them and the API of both."""

    where: Place
    daemon: Daemon
    api: ApiSource


def add(parser: Options) -> None:
    """Add them."""
    parser.add_argument(
        "--console",
        nargs="?",
        const=DEFAULT,
        metavar="HOST:PORT",
        help=f"show the console, a page for browsers; without an address {DEFAULT}",
    )
    parser.add_argument(
        "--console-certificate", type=Path, metavar="FILE", help="PEM, with its chain: https"
    )
    parser.add_argument("--console-key", type=Path, metavar="FILE", help="its key, PEM")
    parser.add_argument(
        "--console-insecure",
        action="store_true",
        help="show the console on other addresses than loopback without TLS",
    )


def check(options: argparse.Namespace) -> None:
    """Refuse what does not go together; UsageError."""
    if options.console is None:
        if options.console_certificate or options.console_key or options.console_insecure:
            raise UsageError("--console-certificate, -key and -insecure go with --console")
        return
    if options.once:
        raise UsageError("--console is for as long as `run` runs; leave out --once")
    host, _ = parse(options.console, "--console", DEFAULT)
    if not is_loopback(host) and not options.console_certificate and not options.console_insecure:
        raise UsageError(
            f"{host} is not this machine alone, and without TLS the token can be read on the way: "
            "give --console-certificate and --console-key, or show the console on 127.0.0.1 behind "
            "a proxy with TLS, or say --console-insecure where the network itself is safe"
        )
    if (options.console_certificate is None) is not (options.console_key is None):
        raise UsageError("--console-certificate and --console-key belong together: give both")


@contextmanager
def serving(options: argparse.Namespace, shown: Shown) -> Iterator[None]:
    """Serve the console until the end of the block, where the options say so; UsageError."""
    if options.console is None:
        yield
        return
    from starlette.applications import Starlette  # noqa: PLC0415 - costs 300 ms with the rest
    from starlette.middleware import Middleware  # noqa: PLC0415 - the same

    from reconciler import log_output  # noqa: PLC0415 - the same
    from reconciler.cli.console_gate import StateGate  # noqa: PLC0415 - the same
    from reconciler.cli.console_specs import SpecsSource  # noqa: PLC0415 - the same
    from reconciler.clock import SystemClock  # noqa: PLC0415 - the same
    from reconciler.console.app import Console  # noqa: PLC0415 - the same
    from reconciler.engine.config import EngineConfig, HttpLimits, TlsFiles  # noqa: PLC0415 - the same
    from reconciler.engine.http.headers import SafeHeaders  # noqa: PLC0415 - the same
    from reconciler.engine.http.streams import Streams  # noqa: PLC0415 - the same
    from reconciler.engine.serving import answering, listen, url_of  # noqa: PLC0415 - the same

    host, port = parse(options.console, "--console", DEFAULT)
    # All who look share a token here.
    limits = HttpLimits(connections=200, streams_per_token=32)
    where, clock = shown.where, SystemClock()
    tls = None
    if options.console_certificate is not None:
        tls = TlsFiles(
            certificate=options.console_certificate.absolute(), key=options.console_key.absolute()
        )
    config = EngineConfig(
        data=where.root.root,
        host=host,
        port=port,
        tls=tls,
        insecure_listen=options.console_insecure,
        http=limits,
    )
    gate = StateGate(where.root, where.state.folder, clock)
    source = SpecsSource(where, shown.daemon, shown.api, clock)
    streams = Streams(limits)
    app = Starlette(
        routes=Console(source, gate, clock, streams).routes(),
        middleware=[Middleware(SafeHeaders)],
    )
    with listen(config) as listener, answering(app, listener, config, streams.close):
        log_output.say(f"console: {url_of(config, listener)}/console/")
        log_output.say(f"its token: {gate.path()}")
        end = source.keep_ready()
        try:
            yield
        finally:
            end()
