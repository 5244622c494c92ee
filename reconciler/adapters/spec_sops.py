"""Specs that are encrypted by sops: what of them is encrypted, and may be.

Nothing is decrypted here. An encrypted value becomes a reference, which carries the file as it
is; sops itself decrypts it, and checks the whole file's MAC, when the value is looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from reconciler.adapters.spec_layers import pointer_of
from reconciler.adapters.yaml_reader import ANYTHING, Shape
from reconciler.api.wire import Fault, Pointer
from reconciler.model import SecretReference

__all__ = ["ENCRYPTED", "NOTHING_SEALED", "Sealed", "is_sealed", "take_sealed"]

# What an encrypted value begins with.
ENCRYPTED: Final = "ENC["
# Stands in an encrypted value's place while the rest is checked; it is never looked up.
_PLACEHOLDER: Final = MappingProxyType({"secret": {"fromEnv": "RECONCILER_SECRET_SOPS"}})


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is encrypted in a spec: place (with `secret` at its end) → reference, and faults."""

    references: Mapping[Pointer, SecretReference] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


NOTHING_SEALED: Final = Sealed()


def is_sealed(tree: object) -> bool:
    """Whether a document says that sops has encrypted it."""
    return isinstance(tree, dict) and isinstance(tree.get("sops"), dict) and "mac" in tree["sops"]


def take_sealed(
    tree: Mapping[str, Any], content: bytes, shape: Shape
) -> tuple[dict[str, Any], Sealed]:
    """Return the document without sops' own part, and what of it is encrypted."""
    taker = _Taker(content.decode("utf-8-sig"))
    rest = {key: value for key, value in tree.items() if key != "sops"}
    return taker.object(rest, (), shape), Sealed(taker.references, tuple(taker.faults))


class _Taker:
    def __init__(self, content: str) -> None:
        self.content = content
        self.references: dict[Pointer, SecretReference] = {}
        self.faults: list[Fault] = []

    def object(self, tree: Mapping[str, Any], at: Pointer, shape: Shape) -> dict[str, Any]:
        return {
            key: self.value(value, (*at, key), shape.keys.get(key) or shape.other or ANYTHING)
            for key, value in tree.items()
        }

    def value(self, value: Any, at: Pointer, shape: Shape) -> Any:
        if isinstance(value, str) and value.startswith(ENCRYPTED):
            if shape.whole and "secret" in shape.keys:
                return self.take(at, (*at, "secret"))
            self.faults.append(
                Fault(
                    at,
                    "is encrypted, and no secret may stand here; say which keys sops encrypts "
                    "(encrypted_regex)",
                )
            )
            return value
        if isinstance(value, dict):
            inner = value.get("secret")
            if shape.whole and isinstance(inner, str) and inner.startswith(ENCRYPTED):
                return self.take((*at, "secret"), (*at, "secret"))
            return self.object(value, at, shape)
        if isinstance(value, list):
            items = shape.items or ANYTHING
            return [self.value(item, (*at, i), items) for i, item in enumerate(value)]
        return value

    def take(self, place: Pointer, at: Pointer) -> dict[str, Any]:
        name = f"{pointer_of(place)}\n{self.content}"
        self.references[at] = SecretReference("sops", name)
        return dict(_PLACEHOLDER)
