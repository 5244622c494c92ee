"""Writes the JSON Schemas that editors use out of the one that a whole spec has to fit.

A file of specs need not be whole: what a `_defaults.yaml` above it says may be missing, and a
null removes what that says. `python -m tools.make_schemas` after each change of a spec's keys.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WHOLE = ROOT / "reconciler/schemas/deployment.schema.json"
DEFAULTS = ROOT / "reconciler/schemas/defaults.schema.json"
FOR_EDITORS = ROOT / "reconciler/schemas/editor.schema.json"

# What is replaced as one has to be whole wherever it stands.
REPLACED_AS_ONE = ("schedule", "secretReference", "secretValue", "window")


def main() -> None:
    """Write both."""
    for path, schema in made().items():
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def made() -> dict[Path, dict[str, Any]]:
    """Return path -> schema of what editors use."""
    whole = json.loads(WHOLE.read_text())
    part = _partial(whole)
    part["required"] = ["stack"]
    defaults = deepcopy(part)
    defaults["title"] = "Defaults of a directory"
    defaults["description"] = (
        "What all specs at and below this directory say unless they say otherwise: objects merge, "
        "lists and scalars replace, null removes."
    )
    del defaults["required"], defaults["properties"]["stack"]
    del defaults["$defs"]["reconcile"]["properties"]["confirm"]
    return {FOR_EDITORS: part, DEFAULTS: defaults}


def _partial(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = {
        name: part if name in REPLACED_AS_ONE else _loosened(part)
        for name, part in schema["$defs"].items()
    }
    rest = {key: part for key, part in schema.items() if key != "$defs"}
    loosened: dict[str, Any] = _loosened(rest)
    return loosened | {"$defs": definitions}


def _loosened(part: Any) -> Any:
    """Ask for no key, and allow a null as the value of each."""
    if isinstance(part, list):
        return [_loosened(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: _loosened(below) for key, below in part.items() if key != "required"}
    if "properties" in part:
        found["properties"] = {key: _or_null(below) for key, below in found["properties"].items()}
    if isinstance(part.get("additionalProperties"), dict):
        found["additionalProperties"] = _or_null(found["additionalProperties"])
    return found


def _or_null(part: dict[str, Any]) -> dict[str, Any]:
    nothing = {"type": "null"}
    if "$ref" in part:
        rest = {key: below for key, below in part.items() if key != "$ref"}
        return {"anyOf": [{"$ref": part["$ref"]}, nothing]} | rest
    if "anyOf" in part:
        return part | {"anyOf": [*part["anyOf"], nothing]}
    types = part["type"] if isinstance(part["type"], list) else [part["type"]]
    found = part | {"type": types if "null" in types else [*types, "null"]}
    if "enum" in part and None not in part["enum"]:
        found["enum"] = [*part["enum"], None]
    return found


if __name__ == "__main__":
    main()
