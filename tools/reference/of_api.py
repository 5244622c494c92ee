"""The engine's OpenAPI document as a page: each operation, and each body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.reference.markdown import MADE, anchor, code, escaped, lines, table
from tools.reference.of_schemas import keys, shown, type_of

__all__ = ["page"]

# What a body refers to has a heading of its own, and is not told again.
_WHOLE: Mapping[str, Any] = {"$defs": {}}
_FIRST_REFUSAL = 400
_METHODS = ("get", "post", "put", "patch", "delete")


def page(document: Mapping[str, Any], roles: Mapping[str, str]) -> str:
    """Return the page of a document; `roles` says by operation who may call it."""
    schemas = document["components"]["schemas"]
    by_tag: dict[str, list[str | list[str]]] = {}
    for path, methods in document["paths"].items():
        for method in (m for m in _METHODS if m in methods):
            operation = methods[method]
            part = by_tag.setdefault(operation["tags"][0], [])
            heading = f"{method.upper()} {path}"
            part += [f"### {operation['operationId']}", ["```text", heading, "```"]]
            part += _operation(operation, roles[operation["operationId"]])
    parts: list[str | list[str]] = [
        "# The API, route by route",
        MADE,
        (
            "What the engine serves, from the OpenAPI document that it serves itself at "
            "`/api/openapi/pulumi-spec.json`. What is common to all calls, the two forms and what "
            "differs from Pulumi Cloud: [The API](../api.md)."
        ),
        "Each refusal is an [Error](#error):",
        _refusals(document),
    ]
    for tag, found in by_tag.items():
        parts += [f"## {tag}", *found]
    parts += ["## Bodies"]
    for name, schema in schemas.items():
        parts += [f"### {name}", escaped(str(schema.get("description", ""))), *_body(schema)]
    return lines(*parts)


def _operation(operation: Mapping[str, Any], role: str) -> list[str | list[str]]:
    said = escaped(str(operation["summary"]).rstrip("."))
    parts: list[str | list[str]] = [f"{said}. Role: {role}."]
    rows = [
        (code(p["name"]), p["in"], type_of(_WHOLE, p["schema"]), escaped(p.get("description", "")))
        for p in operation.get("parameters", ())
        if p["in"] != "path"
    ]
    if rows:
        parts += [table(("parameter", "in", "type", "what it says"), rows)]
    body = operation.get("requestBody", {}).get("content", {})
    for content in body.values():
        parts += [f"Body: {_named(content['schema'])}."]
    answers = operation["responses"]
    good = ", ".join(
        f"{status} {_answer(answer)}".rstrip()
        for status, answer in answers.items()
        if int(status) < _FIRST_REFUSAL
    )
    refused = ", ".join(status for status in answers if int(status) >= _FIRST_REFUSAL)
    return [*parts, f"Answer: {good}." + (f" Refused with {refused}." if refused else "")]


def _refusals(document: Mapping[str, Any]) -> list[str]:
    """Return what each refusal means; it is the same for all operations."""
    found = {
        status: answer["description"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if int(status) >= _FIRST_REFUSAL
    }
    return table(("refused with", "means"), [(s, escaped(found[s])) for s in sorted(found)])


def _answer(answer: Mapping[str, Any]) -> str:
    found = [_named(content["schema"]) for content in answer.get("content", {}).values()]
    return " or ".join(found)


def _named(schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        return f"[{name}](#{anchor(name)})"
    fields = [code(key.path) for key in keys(_WHOLE, schema) if "." not in key.path]
    return "object of " + ", ".join(fields) if fields else type_of(_WHOLE, schema)


def _body(schema: Mapping[str, Any]) -> list[str | list[str]]:
    found = list({key.path: key for key in keys(_WHOLE, schema)}.values())
    return [shown(_WHOLE, found)] if found else [f"A value: {type_of(_WHOLE, schema)}."]
