"""The options of `engine serve` about who may reach it, and how."""

from __future__ import annotations

import argparse
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import Options, count, duration
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.config import TlsFiles

__all__ = ["add", "tls_files"]


def add(parser: Options) -> None:
    """Add the options."""
    parser.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="PEM, with its chain; serves https"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key, PEM")
    parser.add_argument(
        "--insecure-listen",
        action="store_true",
        help="listen on other addresses than loopback without TLS",
    )
    parser.add_argument(
        "--trusted-proxy",
        type=_network,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an address or network whose X-Forwarded-For is believed; may be repeated",
    )
    parser.add_argument(
        "--failed-logins",
        type=count,
        metavar="N",
        help="invalid tokens that one address may present in a minute; default: 60",
    )
    parser.add_argument(
        "--keep-audit",
        type=duration,
        metavar="TIME",
        help="how long entries of the audit log are kept; default: 400d",
    )


def tls_files(options: argparse.Namespace) -> TlsFiles | None:
    """Return the certificate's files; UsageError for one without the other."""
    from reconciler.engine.config import TlsFiles  # noqa: PLC0415 - only to serve

    certificate, key = options.tls_certificate, options.tls_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("--tls-certificate and --tls-key belong together: give both")
    return TlsFiles(certificate=certificate.absolute(), key=key.absolute())


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address or network, such as 192.0.2.7 or 10.0.0.0/8"
        ) from None
