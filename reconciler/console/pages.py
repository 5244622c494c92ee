"""Writes pages: the one place that knows the template library.

Whatever is put into a template is made harmless twice: what would act unseen becomes visible
(`text.visible`), and then what HTML would obey is escaped. No template can leave that out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.console.addresses import BASE, address
from reconciler.console.text import visible
from reconciler.planning.moments import relative, span

__all__ = ["BASE", "STATIC", "address", "render", "static_version", "told"]

STATIC: Final = Path(__file__).with_name("static")
_TEMPLATES: Final = Path(__file__).with_name("templates")


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a page."""
    return _environment().get_template(template).render(values)


def _exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _lasting(since: datetime, now: datetime) -> str:
    return span(now - since)


def told(text: str) -> Markup:
    """Write a sentence in which commands stand between backticks: `reconciler why web`."""
    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _harmless(value: object) -> object:
    """Return what may be written: a text with nothing unseen in it, and nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(str(value))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(base=BASE, address=address, static=static_version())
    environment.filters.update(relative=relative, exact=_exact, lasting=_lasting, told=told)
    return environment


@cache
def static_version() -> str:
    """Return what stands for the content of the style sheet and the script in addresses."""
    found = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]
