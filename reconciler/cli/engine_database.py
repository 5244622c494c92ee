"""The options of processes that share an engine's database; no password is in an argument."""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import Options, duration, number
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.database_url import DatabaseUrl

__all__ = ["VARIABLE", "add", "add_logs", "add_work", "database_of"]

# In the environment a URL may hold its password: nobody else sees it there.
VARIABLE = "RECONCILER_DATABASE_URL"


def add(parser: Options) -> None:
    """Add the options that name a database."""
    parser.add_argument(
        "--database",
        metavar="URL",
        help="postgresql://USER@HOST/NAME, shared by servers and workers; "
        "default: $RECONCILER_DATABASE_URL, or a file of its own",
    )
    parser.add_argument(
        "--database-password-file",
        type=Path,
        metavar="FILE",
        help="default: $PGPASSWORD or ~/.pgpass; a password in the URL is refused",
    )


def add_work(parser: Options) -> None:
    """Add the options that say how much is done at once."""
    parser.add_argument(
        "--workers",
        type=number,
        metavar="N",
        help="deployments at once; default: one per processor, at least 2; 0 leaves all to others",
    )
    parser.add_argument(
        "--per-organization",
        type=number,
        default=0,
        metavar="N",
        help="deployments of one organization at once, over all workers; default: no limit",
    )


def add_logs(parser: Options) -> None:
    """Add the options that say which logs are kept."""
    parser.add_argument(
        "--keep-logs",
        type=duration,
        default=timedelta(days=90),
        metavar="TIME",
        help="how long logs of ended deployments are kept; 0d: for ever; default: 90d",
    )
    parser.add_argument(
        "--keep-logs-size",
        type=number,
        default=10,
        metavar="GIB",
        help="how large all logs may be, in GiB: the oldest go first; 0: no limit; default: 10",
    )


def database_of(options: argparse.Namespace) -> DatabaseUrl | None:
    """Return the shared database that is named, or None for the engine's own file."""
    from reconciler.engine.database_url import DatabaseUrl  # noqa: PLC0415 - only here

    file: Path | None = options.database_password_file
    text = options.database or os.environ.get(VARIABLE, "")
    if not text:
        if file is not None:
            raise UsageError("--database-password-file is for a database: give --database URL too")
        return None
    password = "" if file is None else _read(file)
    return DatabaseUrl.parse(text, password=password, may_hold_password=not options.database)


def _read(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o077:
            raise UsageError(f"{file} can be read by others; `chmod 600` it")
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        message = f"--database-password-file {file} cannot be read: {error.strerror}"
        raise UsageError(message) from error
