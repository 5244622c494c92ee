"""Which pages are made from what of the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler import __version__
from reconciler.cli import parser
from reconciler.engine.http.app import OPERATIONS
from reconciler.engine.http.document import build
from reconciler.engine.http.schemas import SCHEMAS
from tools import metrics_page
from tools.reference import of_api, of_commands
from tools.reference.markdown import MADE, escaped, lines
from tools.reference.of_schemas import Key, keys, shown

__all__ = ["every"]

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"

_WORDS = (
    "A *secret* is `{secret: {…}}`, see [below](#secrets). Where a *text* belongs and a number or "
    "`true` stands, the text that was written is taken. A *duration* is `30s`, `10m`, `1h30m` or "
    "`7d`, up to 366 days; a *time* is `2027-01-01T08:00:00Z`."
)


def every() -> dict[Path, str]:
    """Return each page that is made from the code, with its text as it should be."""
    return {
        REFERENCE / "spec.md": _spec(),
        REFERENCE / "status.md": _status(),
        REFERENCE / "config.md": _config(),
        REFERENCE / "commands.md": of_commands.page(parser.build()),
        REFERENCE / "api.md": _api(),
        metrics_page.PAGE: metrics_page.whole(metrics_page.PAGE.read_text()),
    }


def _schema(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((ROOT / f"schemas/{name}.schema.json").read_bytes())
    return found


def _by_section(schema: Mapping[str, Any]) -> list[str | list[str]]:
    """Return tables of a schema's keys: one of the small ones, then one for each object."""
    found: dict[str, list[Key]] = {}
    for key in keys(schema, schema):
        found.setdefault(key.path.split(".")[0].removesuffix("[]"), []).append(key)
    small = [key for section in found.values() if len(section) == 1 for key in section]
    parts: list[str | list[str]] = ["## Keys by themselves", shown(schema, small)] if small else []
    for name, section in found.items():
        if len(section) > 1:
            parts += [f"## {name}", shown(schema, section)]
    return parts


def _secrets(schema: Mapping[str, Any]) -> list[str | list[str]]:
    inside = list(keys(schema, schema["$defs"]["secretReference"], "secret"))
    about = escaped(schema["$defs"]["secretReference"]["description"])
    return ["## Secrets", about, shown(schema, inside)]


def _spec() -> str:
    schema = _schema("deployment")
    return lines(
        "# Keys of a spec",
        MADE,
        "From [schemas/deployment.schema.json](../../schemas/deployment.schema.json), which an "
        "editor and `reconciler validate` use. What the keys are for, with examples: "
        "[Specs](../specs.md).",
        _WORDS,
        *_by_section(schema),
        *_secrets(schema),
    )


def _status() -> str:
    return lines(
        "# Fields of a status file",
        MADE,
        "From [schemas/status.schema.json](../../schemas/status.schema.json). What is empty is "
        "left out. What states and reasons mean, and what to do: [Status](../status.md).",
        *_by_section(_schema("status")),
    )


def _config() -> str:
    schema = _schema("config")
    return lines(
        "# Keys of the host's config",
        MADE,
        "From [schemas/config.schema.json](../../schemas/config.schema.json). Where the file is "
        "and who may write it: [Operating](../operating.md#the-hosts-config). A `NAME` in a path "
        "is a name of your own.",
        *_by_section(schema),
        *_secrets(schema),
    )


def _api() -> str:
    document = json.loads(json.dumps(build(OPERATIONS, SCHEMAS, __version__)))
    roles = {o.id: "none, for anybody" if o.public else o.role for o in OPERATIONS}
    return of_api.page(document, roles)
