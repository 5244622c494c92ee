"""The engine's options about sources: added to a parser, and read from what it parsed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.engine.config import SourceSettings

    Options = argparse._ActionsContainer  # noqa: SLF001 - what a group of options is has no public name

__all__ = ["add", "settings"]

_UNITS = {"MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def add(parser: Options, duration: Callable[[str], timedelta]) -> None:
    """Add the options; `duration` reads a time."""
    parser.add_argument(
        "--known-hosts",
        type=Path,
        metavar="FILE",
        help="host keys that ssh sources may have; default: known_hosts in the data directory",
    )
    parser.add_argument(
        "--repository-ca",
        type=Path,
        metavar="FILE",
        help="certificates that https sources may be signed by, besides the host's own",
    )
    parser.add_argument(
        "--allow-repository-host",
        action="append",
        default=[],
        metavar="HOST",
        help="a name, *.name, address or network that sources may come from though it is not "
        "public; may be repeated",
    )
    parser.add_argument("--lfs", action="store_true", help="get files of Git LFS")
    parser.add_argument("--submodules", action="store_true", help="get submodules")
    parser.add_argument(
        "--source-timeout",
        type=duration,
        default=timedelta(minutes=15),
        metavar="TIME",
        help="how long getting a source may take; default: 15m",
    )
    parser.add_argument(
        "--source-size",
        type=_size,
        default=4 * _UNITS["GiB"],
        metavar="SIZE",
        help="how large a source may be; default: 4GiB",
    )
    parser.add_argument(
        "--mirrors-size",
        type=_size,
        default=20 * _UNITS["GiB"],
        metavar="SIZE",
        help="how large all kept copies of repositories may be; default: 20GiB",
    )


def settings(options: argparse.Namespace) -> SourceSettings:
    """Return what the options say."""
    from reconciler.engine.config import SourceSettings  # noqa: PLC0415 - only where it is needed

    return SourceSettings(
        hosts=tuple(options.allow_repository_host),
        known_hosts=options.known_hosts and options.known_hosts.absolute(),
        certificates=options.repository_ca and options.repository_ca.absolute(),
        lfs=options.lfs,
        submodules=options.submodules,
        limit=options.source_timeout,
        largest_bytes=options.source_size,
        mirrors_bytes=options.mirrors_size,
    )


def _size(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,8})(MiB|GiB|TiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give one such as 500MiB or 4GiB")
    return int(match[1]) * _UNITS[match[2]]
