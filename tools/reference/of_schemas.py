"""Keys of a JSON Schema as tables: their type, default, limits and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.reference.markdown import anchor, code, escaped, table

__all__ = ["Key", "keys", "shown", "type_of"]

_SECRETS = {"secretValue": "secret", "textOrSecret": "text or secret"}
_WORDS = {
    "string": "text",
    "boolean": "true, false",
    "integer": "whole number",
    "number": "number",
    "object": "object",
    "array": "list",
}
# Left out, mostly: it is as if the key were absent.
_NULL = {"type": "null"}
_FORMATS = {"date-time": "time", "uuid": "UUID"}
_NUMBERS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "maxProperties": "at most {} of them",
    "maxLength": "at most {} characters",
}
# Above it a list of values is a matter of another page.
_MOST_VALUES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key by its path (`a.b`, of a list's items `a[].b`), and the schema of its value."""

    path: str
    schema: Mapping[str, Any]
    required: bool


def keys(whole: Mapping[str, Any], part: Mapping[str, Any], at: str = "") -> Iterator[Key]:
    """Yield all keys below a part of a schema; the inside of a secret is left out."""
    resolved, name = _resolved(whole, part)
    if name in _SECRETS:
        return
    for choice in resolved.get("anyOf", ()):
        yield from keys(whole, choice, at)
    if isinstance(resolved.get("items"), dict):
        yield from keys(whole, resolved["items"], f"{at}[]")
    if isinstance(resolved.get("additionalProperties"), dict):
        yield from keys(whole, resolved["additionalProperties"], f"{at}.NAME" if at else "NAME")
    for key, below in resolved.get("properties", {}).items():
        path = f"{at}.{key}" if at else key
        yield Key(path=path, schema=below, required=key in resolved.get("required", ()))
        yield from keys(whole, below, path)


def _resolved(whole: Mapping[str, Any], part: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return a part with what it refers to, and the name of that."""
    reference = str(part.get("$ref", ""))
    name = reference.rpartition("/")[2]
    return ({**whole["$defs"][name], **part} if name in whole.get("$defs", {}) else part), name


def type_of(whole: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    """Return what may stand there, in Markdown."""
    resolved, name = _resolved(whole, part)
    if name in _SECRETS:
        return _SECRETS[name]
    if name and resolved is part:
        return f"[{name}](#{anchor(name)})"
    if name == "duration":
        return "duration"
    if "enum" in resolved or "const" in resolved:
        values = [value for value in resolved.get("enum", [resolved.get("const")]) if value != ""]
        many = len(values) > _MOST_VALUES
        return "text" if many else ", ".join(code(str(value)) for value in values)
    if "anyOf" in resolved:
        choices = [choice for choice in resolved["anyOf"] if choice != _NULL]
        return " or ".join(dict.fromkeys(type_of(whole, choice) for choice in choices))
    kinds = resolved.get("type", "object" if "properties" in resolved else ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if resolved.get("x-asWritten"):
        return "text"
    if resolved.get("format") in _FORMATS:
        return _FORMATS[resolved["format"]]
    if "array" in kinds:
        item = type_of(whole, resolved["items"]) if "items" in resolved else ""
        return f"list of {item}" if item else "list"
    if isinstance(resolved.get("additionalProperties"), dict):
        return f"object of {type_of(whole, resolved['additionalProperties'])}"
    return " or ".join(_WORDS[kind] for kind in kinds if kind != "null") or "anything"


def shown(whole: Mapping[str, Any], found: list[Key]) -> list[str]:
    """Return a table of keys; a column that says nothing of any of them is left out."""
    rows = [
        (
            code(key.path) + (", required" if key.required else ""),
            type_of(whole, key.schema),
            _default(whole, key.schema),
            _says(whole, key.schema),
        )
        for key in found
    ]
    columns = list(zip(("key", "type", "default", "what it says"), *rows, strict=True))
    head, *cells = zip(*(column for column in columns if any(column[1:])), strict=True)
    return table(head, cells)


def _facts(whole: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part with what its only choice beside null says."""
    resolved, _ = _resolved(whole, part)
    choices = [c for c in resolved.get("anyOf", ()) if c != _NULL]
    return {**_facts(whole, choices[0]), **resolved} if len(choices) == 1 else resolved


def _default(whole: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    facts = _facts(whole, part)
    if facts.get("default") in (None, [], {}):
        return ""
    return code(_json(facts["default"]))


def _says(whole: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    facts = _facts(whole, part)
    limits = [text.format(facts[name]) for name, text in _NUMBERS.items() if name in facts]
    right = facts.get("x-right", "") if "examples" not in facts and "default" not in facts else ""
    said = [escaped(facts.get("description", "").rstrip("."))]
    said += ["; ".join(limits).capitalize()] if limits else []
    said += [escaped(right[:1].upper() + right[1:])] if right else []
    examples = [code(_json(example)) for example in facts.get("examples", ())]
    if examples and type_of(whole, part) != "duration":
        said.append(f"Such as {', '.join(examples)}")
    return ". ".join(text for text in said if text)


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
