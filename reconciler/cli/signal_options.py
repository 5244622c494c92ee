"""The options of what a process that goes on tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.options import Options

__all__ = ["add"]


def add(parser: Options) -> None:
    """Add them."""
    parser.add_argument(
        "--log-format",
        choices=("auto", "people", "json", "journal"),
        default="auto",
        help="what it says: lines for people, JSON, or entries of systemd's journal with fields; "
        "auto, the default: the journal's in a service of systemd's, else people's",
    )
    parser.add_argument(
        "--traces",
        default="",
        metavar="URL",
        help="send traces there by OTLP over http, such as http://127.0.0.1:4318; needs "
        "reconciler[otel]",
    )
    parser.add_argument(
        "--metrics",
        default="",
        metavar="HOST:PORT",
        help="serve metrics for Prometheus there, such as 127.0.0.1:9464; port 0 takes a free one",
    )
