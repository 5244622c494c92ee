"""The options of `schedule`: how far to look, and the expression to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.options import count, duration, moment

if TYPE_CHECKING:
    from reconciler.cli.options import Options

__all__ = ["add"]


def add(parser: Options) -> None:
    """Add them."""
    parser.add_argument(
        "--for",
        dest="span",
        type=duration,
        metavar="TIME",
        help="how far to look; default: 7d, with --cron without an end",
    )
    parser.add_argument(
        "--from",
        dest="begin",
        type=moment,
        metavar="T",
        help="a date or time to look from, such as 2027-03-28 or 2027-03-28T01:00Z; default: now",
    )
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="show this many, and count the others; default: 200, with --cron 10",
    )
    parser.add_argument(
        "--cron",
        metavar="EXPRESSION",
        help="an expression that is in no file yet, such as '30 2 * * mon-fri': say when it is due",
    )
    parser.add_argument(
        "--time-zone",
        metavar="ZONE",
        help="by which clocks, with --cron; default: UTC",
    )
    parser.add_argument("-o", "--output", choices=("table", "json", "ics"), default="table")
