"""Where the link in a notification leads: to a page that who reads it can open."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from reconciler.addresses import parse
from reconciler.cli.console_options import DEFAULT
from reconciler.console.addresses import BASE, address
from reconciler.model import News, NewsKind

__all__ = ["links"]

# A console that listens on all addresses has none of them for a name.
_ALL: frozenset[str] = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is opened here


def links(options: argparse.Namespace, console_url: str, *, remote: bool) -> Callable[[News], str]:
    """Return what gives news its link: the console's page, else the API's own.

    `console_url` is the host's word for the console's address; without one it is what `--console`
    says. The embedded engine (not `remote`) has a port of its own each time, for which nobody but
    us has a token: a link to it would be dead.
    """
    base = console_url or _address(options)

    def link(news: News) -> str:
        if base and news.name:
            of_run = news.version and news.kind is not NewsKind.APPROVAL
            kind, version = ("run", news.version) if of_run else ("item", 0)
            return f"{base}{address(kind, news.name, version)}"
        if base:
            return f"{base}{BASE}/plan"
        return news.url if remote else ""

    return link


def _address(options: argparse.Namespace) -> str:
    console = getattr(options, "console", None)
    if not console:
        return ""
    host, port = parse(console, "--console", DEFAULT)
    if not port or host in _ALL:
        return ""
    scheme = "https" if options.console_certificate is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
