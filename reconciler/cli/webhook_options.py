"""The options of a webhook, and what listens as they say."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.addresses import is_loopback, parse
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.options import Options

__all__ = ["add", "listening"]

ANY_PORT = "127.0.0.1:0"


def add(parser: Options) -> None:
    """Add them."""
    parser.add_argument(
        "--webhook",
        nargs="?",
        const=ANY_PORT,
        metavar="HOST:PORT",
        help=f"hear from forges of what is pushed; without an address {ANY_PORT}: a free port",
    )
    parser.add_argument(
        "--webhook-secret-file",
        type=Path,
        metavar="FILE",
        help="what forges sign with, mode 0600; default: the systemd credential webhook.secret",
    )


@contextmanager
def listening(
    options: argparse.Namespace, heard: Callable[[frozenset[str]], None]
) -> Iterator[None]:
    """Listen until the end of the block, where the options say so; UsageError."""
    if options.webhook is None:
        if options.webhook_secret_file is not None:
            raise UsageError("--webhook-secret-file goes with --webhook")
        yield
        return
    from reconciler import log_output  # noqa: PLC0415 - rarely used
    from reconciler.adapters.webhook import Webhook, read_secrets  # noqa: PLC0415 - the same

    host, port = parse(options.webhook, "--webhook", ANY_PORT)
    file: Path | None = options.webhook_secret_file
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    path = file or (Path(directory) / "webhook.secret" if directory else None)
    if path is None:
        raise UsageError("--webhook needs a secret: give --webhook-secret-file FILE")
    webhook = Webhook(host, port, read_secrets(path, credential=file is None), heard)
    try:
        log_output.say(f"webhooks are heard at {webhook.url}", url=webhook.url)
        if not is_loopback(host):
            log_output.tell_problem("the webhook is plain http: put a proxy with TLS before it")
        yield
    finally:
        webhook.close()
