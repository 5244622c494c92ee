"""One file's document → a `Spec`, or every fault in it with its place.

The schema says what may stand where; what it cannot say is added by `spec_sections` (names of
stacks and time zones, cron, durations), `spec_checks` (the API's blocks) and `spec_secrets`
(that no secret is written in the clear).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from reconciler.adapters import spec_schema
from reconciler.adapters.spec_checks import check_request
from reconciler.adapters.spec_secrets import find_secrets
from reconciler.adapters.spec_sections import Sections
from reconciler.adapters.yaml_faults import one_line
from reconciler.adapters.yaml_reader import Document, escape
from reconciler.api.create_body import request_from_json
from reconciler.api.types import DeploymentRequest, StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.model import OnRotate, Problem, SecretReference, Spec

__all__ = ["Allows", "spec_from_document", "stack_of"]

# Says why a reference may not be read on this host and what would be right; empty: it may.
Allows = Callable[[SecretReference], str]

# Where a secret can come from; one of them stands in each reference.
_KINDS: Final = ("fromEnv", "fromFile", "fromCredential", "fromCommand")
_IN_REFERENCE: Final = frozenset({*_KINDS, "onRotate"})
# What is told of later, when specs are held against one another.
_TOLD_LATER: Final = "/reconcile/dependsOn"


def stack_of(tree: object) -> StackRef | None:
    """Return the stack a faulty document names, if that much of it can be read."""
    try:
        return StackRef.parse(str(tree["stack"])) if isinstance(tree, dict) else None
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    path: Path
    document: Document

    def problem(self, fault: Fault) -> Problem:
        pointer = _shown(fault.pointer)
        text = _text(pointer)
        keys, places = self.document.keys, self.document.places
        at = keys if fault.message.startswith("is no key") else places
        line, column = at.get(text) or self.nearest(pointer)
        return Problem(
            path=self.path,
            line=line,
            column=column,
            pointer=one_line(text),
            message=one_line(fault.message),
        )

    def nearest(self, pointer: Pointer) -> tuple[int, int]:
        while pointer:
            pointer = pointer[:-1]
            if _text(pointer) in self.document.places:
                break
        return self.document.places.get(_text(pointer), (1, 1))


def _text(pointer: Pointer) -> str:
    return "".join("/" + escape(str(part)) for part in pointer)


def _shown(pointer: Pointer) -> Pointer:
    """Cut a pointer after `secret`, but for known keys: what stands there may be one."""
    for index, part in enumerate(pointer):
        if part == "secret" and not _IN_REFERENCE.issuperset(pointer[index + 1 : index + 2]):
            return pointer[: index + 1]
    return pointer


def spec_from_document(
    name: str, path: Path, document: Document, allows: Allows
) -> Spec | tuple[Problem, ...]:
    """Read a spec; all its problems in the order of the file where there are some."""
    place = _Place(name, path, document)
    found = list(spec_schema.faults(document.tree))
    tree: Mapping[str, Any] = document.tree if isinstance(document.tree, dict) else {}
    sections = Sections(tree)
    fields = sections.fields()
    request = _request(tree, allows)
    later = [] if isinstance(request, DeploymentRequest) else list(request)
    for fault in (*later, *check_request(tree), *find_secrets(tree), *sections.faults):
        # What the schema has found at a place, or above it, explains what follows from it.
        if not any(fault.pointer[: len(known.pointer)] == known.pointer for known in found):
            found.append(fault)
    if found or not isinstance(request, DeploymentRequest):
        problems = map(place.problem, found)
        return tuple(sorted(problems, key=lambda p: (p.line, p.column, p.pointer, p.message)))
    return Spec(
        name=name,
        path=path,
        request=request,
        places=_kept_places(document.places.items()),
        **fields,
    )


def _kept_places(places: Iterable[tuple[str, tuple[int, int]]]) -> Mapping[str, tuple[int, int]]:
    kept = [item for item in places if item[0] == "/stack" or item[0].startswith(_TOLD_LATER)]
    return _shared_places(tuple(kept))


@lru_cache(maxsize=4096)
def _shared_places(
    items: tuple[tuple[str, tuple[int, int]], ...],
) -> Mapping[str, tuple[int, int]]:
    return MappingProxyType(dict(items))


def _request(
    tree: Mapping[str, Any], allows: Allows
) -> DeploymentRequest[SecretReference] | tuple[Fault, ...]:
    def read_secret(value: object, at: Pointer) -> SecretReference | Fault:
        if not isinstance(value, dict):
            return Fault(at, spec_schema.IN_THE_CLEAR)
        kind = next((known for known in _KINDS if known in value), "")
        text = value.get(kind)
        if not isinstance(text, str):
            here = (*at, kind) if kind else at
            return Fault(
                here, "one of fromEnv, fromFile, fromCredential and fromCommand belongs here"
            )
        ignored = value.get("onRotate") == "ignore"
        reference = SecretReference(kind, text, OnRotate.IGNORE if ignored else OnRotate.RUN)
        refused = allows(reference)
        return Fault((*at, kind), refused) if refused else reference

    return request_from_json(tree, read_secret, None)
