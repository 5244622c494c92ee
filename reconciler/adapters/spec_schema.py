"""The schemas: what they make of scalars, and what does not fit one, in our words.

jsonschema-rs says whether all fits; where it does not, jsonschema finds what. Messages of both
repeat the values they are about, so only the findings are used. Beside what JSON Schema knows,
ours says `x-asWritten` (a number is read as the text that was written), `x-secret` (a secret
belongs there) and `x-right`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any, Final

from reconciler.adapters.yaml_reader import Shape
from reconciler.api.wire import Fault, Pointer
from reconciler.mistakes import Mistake

__all__ = [
    "DEFAULTS",
    "IN_THE_CLEAR",
    "MAX_FAULTS",
    "SPEC",
    "Form",
    "did_you_mean",
    "is_secret_place",
    "told_once",
]

IN_THE_CLEAR: Final = (
    "is a secret in the clear; name where it comes from instead: "
    "{secret: {fromEnv: RECONCILER_SECRET_…}} or {secret: {fromFile: …}}"
)
_INNER_IN_THE_CLEAR: Final = (
    "is a secret in the clear; name where it comes from instead: "
    "{fromEnv: RECONCILER_SECRET_…} or {fromFile: …}"
)

# A person mends the first few and looks again; somebody else's file could have a million.
MAX_FAULTS: Final = 100

# Places whose lines are told of after a file was read: when specs are held against one another.
_TOLD_LATER: Final = frozenset({"/stack", "/reconcile/dependsOn"})
# Values below these keys may be secrets, whatever the schema thinks of them: never shown.
_PRIVATE: Final = frozenset(
    {"environmentVariables", "secret", "gitAuth", "credentials", "preRunCommands", "oidc"}
)
# More known keys than these in a message help nobody.
_KEYS_SHOWN: Final = 12

# A key that may stand at more places than these is told without them.
_PLACES_SHOWN: Final = 2
# What many things have, and people give to what has none.
_OF_MANY: Final = "name"
_NO_KEY: Final = "is no key of"
_QUOTED: Final = re.compile("'([^']+)'")

_KINDS: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "an object",
    "string": "a text",
}


@dataclass(frozen=True, slots=True)
class Form:
    """One of our schemas: `file` is its name, `noun` what one of its documents is called."""

    file: str
    noun: str

    @property
    def shape(self) -> Shape:
        """What scalars are read as, at each place of such a document."""
        return _shape_of(self.file)

    def fits(self, tree: object) -> bool:
        """Whether a document fits the schema; a hundred times faster than to ask for faults."""
        fits: bool = _fast_validator(self.file).is_valid(tree)
        return fits

    def faults(self, tree: object) -> tuple[Fault, ...]:
        """Return what in a document does not fit the schema, at most one fault a place.

        Not more than `MAX_FAULTS` of them.
        """
        found: dict[Pointer, Fault] = {}
        errors = _validator(self.file).iter_errors(tree)
        for fault in (fault for error in errors for fault in _explain(error, self)):
            found.setdefault(fault.pointer, fault)
            if len(found) >= MAX_FAULTS:
                break
        return tuple(found.values())


SPEC: Final = Form("deployment.schema.json", "a spec")
DEFAULTS: Final = Form("defaults.schema.json", "the defaults of a directory")


@cache
def _schema(file: str) -> dict[str, Any]:
    text = resources.files("reconciler").joinpath(f"schemas/{file}").read_text()
    schema: dict[str, Any] = json.loads(text)
    inlined: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    return inlined


def _inline(part: Any, definitions: Mapping[str, Any]) -> Any:
    """Put definitions where they are referred to: jsonschema looks each one up each time."""
    if isinstance(part, list):
        return [_inline(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    own = {key: _inline(item, definitions) for key, item in part.items() if key != "$ref"}
    if "$ref" not in part:
        return own
    target = definitions[part["$ref"].removeprefix("#/$defs/")]
    inlined: dict[str, Any] = _inline(target, definitions)
    return inlined | own


@cache
def _shape_of(file: str) -> Shape:
    return _shape(_schema(file), "")


def _shape(schema: Mapping[str, Any], at: str) -> Shape:
    if "anyOf" in schema:
        return _union([_shape(choice, at) for choice in schema["anyOf"]])
    types = schema.get("type", [])
    others = schema.get("additionalProperties")
    return Shape(
        types=frozenset({"string"})
        if schema.get("x-asWritten")
        else frozenset([types] if isinstance(types, str) else types),
        keys={
            key: _shape(below, f"{at}/{key}") for key, below in schema.get("properties", {}).items()
        },
        other=_shape(others, f"{at}/*") if isinstance(others, dict) else None,
        items=_shape(schema["items"], f"{at}/*") if "items" in schema else None,
        whole=bool(schema.get("x-secret")),
        told=at if at in _TOLD_LATER else "",
    )


def _union(shapes: list[Shape]) -> Shape:
    return Shape(
        types=frozenset().union(*(shape.types for shape in shapes)),
        keys={key: below for shape in shapes for key, below in shape.keys.items()},
        other=next((shape.other for shape in shapes if shape.other), None),
        items=next((shape.items for shape in shapes if shape.items), None),
        whole=any(shape.whole for shape in shapes),
    )


@cache
def _validator(file: str) -> Any:
    import jsonschema  # noqa: PLC0415 - takes 100 ms, and is asked only where there is a mistake

    return jsonschema.Draft202012Validator(_schema(file))


@cache
def _fast_validator(file: str) -> Any:
    import jsonschema_rs  # noqa: PLC0415 - commands that read no spec save its 15 MB

    return jsonschema_rs.Draft202012Validator(_schema(file))


def is_secret_place(pointer: Pointer) -> bool:
    """Whether what stands at a place may be a secret and is not to be shown."""
    return any(part in _PRIVATE for part in pointer)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known one, or an empty text."""
    lower = {name.lower(): name for name in known}
    near = get_close_matches(text.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean '{lower[near[0]]}'?" if near else ""


def _explain(error: Any, form: Form) -> Iterator[Fault]:
    at: Pointer = tuple(error.absolute_path)
    schema: Mapping[str, Any] = error.schema
    match error.validator:
        case "type" | "anyOf" | "enum" if error.instance is None:
            yield Fault(at, _null(schema))
        case "additionalProperties":
            known = schema.get("properties", {})
            for key in sorted(error.instance.keys() - known.keys()):
                yield _unknown_key(at, key, known, form)
        case "required":
            for key in sorted(set(error.validator_value) - error.instance.keys()):
                message = "is required" + _describe(schema, key)
                yield Fault((*at, key), message, Mistake.MISSING_KEY)
        case "anyOf":
            yield from _explain_choice(error, at, form)
        case "oneOf":
            yield Fault(at, _one_of(error))
        case "type":
            yield _wrong_type(error, at)
        case "enum":
            yield Fault(at, _none_of(error, at))
        case validator:
            yield Fault(at, _limit(validator, error.validator_value, schema))


def _unknown_key(at: Pointer, key: str, known: Mapping[str, Any], form: Form) -> Fault:
    names = list(known)
    if "secret" in at:  # what stands here may be a secret itself
        return Fault(at, f"has a key that is none of {_list(names)}", Mistake.UNKNOWN_KEY)
    elsewhere = _places_of(form.file).get(key, ())
    if 0 < len(elsewhere) <= _PLACES_SHOWN:
        message = f"{_NO_KEY} {form.noun} at this level; did you mean {_list(elsewhere, 'or')}?"
        return Fault((*at, key), message, Mistake.UNKNOWN_KEY)
    right = did_you_mean(key, names)
    if not right and names:
        shown = names if len(names) <= _KEYS_SHOWN else [*names[:_KEYS_SHOWN], "…"]
        right = f"; known here: {', '.join(shown)}"
    return Fault((*at, key), f"{_NO_KEY} {form.noun}{right}", Mistake.UNKNOWN_KEY)


@cache
def _places_of(file: str) -> Mapping[str, tuple[str, ...]]:
    """Return key → where it may stand, as people write it: `'reconcile.retry'`."""
    found: dict[str, list[str]] = {}
    for key, place in _places(_schema(file), ""):
        top = "" if "." in place else " at the top level"
        found.setdefault(key, []).append(f"'{place}'{top}")
    return {key: tuple(dict.fromkeys(places)) for key, places in found.items()}


def _places(schema: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    for choice in schema.get("anyOf", ()):
        yield from _places(choice, at)
    for key, below in schema.get("properties", {}).items():
        place = f"{at}.{key}" if at else key
        if key != _OF_MANY:
            yield key, place
        yield from _places(below, place)
    if "items" in schema:
        yield from _places(schema["items"], f"{at}[]")


def told_once(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Leave out that a key is missing where another fault says that it is misspelt or misplaced."""
    given = tuple(faults)
    meant = {place for fault in given for place in _meant(fault)}
    return tuple(f for f in given if f.pointer not in meant or f.kind is not Mistake.MISSING_KEY)


def _meant(fault: Fault) -> Iterator[Pointer]:
    """Yield the places of the keys that a fault proposes in place of one that is none."""
    if fault.kind is not Mistake.UNKNOWN_KEY:
        return
    before, _, proposed = fault.message.partition("; did you mean ")
    for words in _QUOTED.findall(proposed):
        names: Pointer = tuple(words.split("."))
        yield names if before.endswith(" at this level") else (*fault.pointer[:-1], *names)


def _describe(schema: Mapping[str, Any], key: str) -> str:
    below = schema.get("properties", {}).get(key, {})
    text = str(below.get("description", "")).rstrip(".")
    return f": {text}" if text else ""


def _explain_choice(error: Any, at: Pointer, form: Form) -> Iterator[Fault]:
    """Explain by the one choice of an `anyOf` that is of the right type."""
    choices: dict[int, list[Any]] = {}
    for inner in error.context:
        choices.setdefault(inner.schema_path[0], []).append(inner)
    for inners in choices.values():
        if not any(e.validator == "type" and not e.path for e in inners):
            for inner in inners:
                for found in _explain(inner, form):
                    yield replace(found, pointer=(*at, *_tail(found, at)))
            return
    kinds = [kind for i in choices.values() for e in i if not e.path for kind in _types(e.schema)]
    yield Fault(at, f"is {_kind(error.instance)}; {_either(kinds)} belongs here")


def _tail(fault: Fault, at: Pointer) -> Pointer:
    return fault.pointer[len(at) :]


def _types(schema: Mapping[str, Any]) -> list[str]:
    if schema.get("x-asWritten"):
        return ["string"]
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _null(schema: Mapping[str, Any]) -> str:
    """Explain a null where there is nothing that it could remove."""
    choices = schema.get("anyOf", [schema])
    text = any("string" in _types(choice) for choice in choices)
    right = "; write '' for an empty text" if text else "; give it a value"
    return f"is null{right}, or leave the key out"


def _wrong_type(error: Any, at: Pointer) -> Fault:
    if error.schema.get("x-secret") and not isinstance(error.instance, (dict, list)):
        message = _INNER_IN_THE_CLEAR if at and at[-1] == "secret" else IN_THE_CLEAR
        return Fault(at, message, Mistake.SECRET_IN_THE_CLEAR)
    right = f"{_either(_types(error.schema))} belongs here"
    instance = error.instance
    if isinstance(instance, str) and "object" in _types(error.schema):
        right += ": write its keys below, indented"
    return Fault(at, f"is {_kind(instance)}; {right}")


def _one_of(error: Any) -> str:
    """Explain a `oneOf` of required keys: none of them is there, or several are."""
    keys = [choice["required"][0] for choice in error.validator_value]
    given = [key for key in keys if key in error.instance]
    named = _list(f"'{key}'" for key in given or keys)
    return f"{named} exclude one another; keep one of them" if given else f"needs one of {named}"


def _none_of(error: Any, at: Pointer) -> str:
    values = [v for v in error.validator_value if v is not None]
    right = {1: f"not {values[0]}", 2: f"neither {_list(values, 'nor')}"}.get(
        len(values), f"none of {_list(values)}"
    )
    if is_secret_place(at) or not isinstance(error.instance, str):
        return f"is {right}"
    return f"'{error.instance[:80]}' is {right}{did_you_mean(error.instance, values)}"


def _limit(validator: str, value: object, schema: Mapping[str, Any]) -> str:
    """Explain what is neither a type nor a key, without the value itself."""
    right = schema.get("x-right")
    if right:
        return f"does not fit: {right}"
    known = {
        "minLength": "is empty; give it a value or leave the key out",
        "minimum": f"is below {value}",
        "maximum": f"is above {value}",
        "maxItems": f"has more than {value} items",
        "maxProperties": f"has more than {value} keys",
        "minProperties": f"has fewer than {value} keys",
        "minItems": "is empty; give it an item or leave the key out",
        "uniqueItems": "says the same thing twice; keep one of them",
    }
    return known.get(validator, "does not fit the schema")


def _kind(value: object) -> str:
    """Name what stands at a place that wants something else; a scalar there was left a text."""
    match value:
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a text"


def _either(types: Iterable[str]) -> str:
    return _list(dict.fromkeys(_KINDS[name] for name in types if name != "null"), "or")


def _list(words: Iterable[str], last: str = "and") -> str:
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else str(end)
