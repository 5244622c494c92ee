"""A spec's merged document → a `Spec`, or every fault in it.

The schema says what may stand where; what it cannot say is added by `spec_sections` (names of
stacks and time zones, cron, durations), `spec_checks` (the API's blocks) and `spec_secrets`
(that no secret is written in the clear).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from reconciler.adapters.spec_checks import check_request
from reconciler.adapters.spec_layers import Origins, pointer_of
from reconciler.adapters.spec_schema import IN_THE_CLEAR, MAX_FAULTS, SPEC, told_once
from reconciler.adapters.spec_secrets import find_secrets
from reconciler.adapters.spec_sections import Sections
from reconciler.adapters.spec_sops import Sealed
from reconciler.adapters.yaml_faults import one_line
from reconciler.adapters.yaml_plain import Places
from reconciler.api.create_body import request_from_json
from reconciler.api.types import DeploymentRequest, EnvironmentVariable, StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.mistakes import Mistake
from reconciler.model import OnRotate, Problem, SecretReference, Spec

__all__ = [
    "Allows",
    "Source",
    "most_helpful",
    "problem_at",
    "sorted_problems",
    "spec_from_tree",
    "stack_of",
    "without_followers",
]

# Says why a reference may not be read on this host and what would be right; empty: it may.
Allows = Callable[[SecretReference], str]

_Environment = tuple[EnvironmentVariable[SecretReference], ...]

# Where a secret can come from; one of them stands in each reference.
_KINDS: Final = ("fromEnv", "fromFile", "fromCredential", "fromCommand")
_IN_REFERENCE: Final = frozenset({*_KINDS, "onRotate"})


def stack_of(tree: object) -> StackRef | None:
    """Return the stack a faulty document names, if that much of it can be read."""
    try:
        return StackRef.parse(str(tree["stack"])) if isinstance(tree, dict) else None
    except (KeyError, ValueError):
        return None


class Source(NamedTuple):
    """Which spec it is, its places that are told of later, and what of it is encrypted."""

    name: str
    path: Path
    places: Places
    sealed: Sealed


def spec_from_tree(source: Source, tree: object, allows: Allows) -> Spec | tuple[Fault, ...]:
    """Read a spec that is whole, its defaults in it; all its faults where there are some."""
    found = [] if SPEC.fits(tree) else list(SPEC.faults(tree))
    body: Mapping[str, Any] = tree if isinstance(tree, dict) else {}
    sections = Sections(body)
    fields = sections.fields()
    request = _request(body, source.sealed, allows)
    faults = list(source.sealed.faults)
    faults += [] if isinstance(request, DeploymentRequest) else list(request)
    faults += [*check_request(body), *find_secrets(body), *sections.faults]
    if found or faults or not isinstance(request, DeploymentRequest):
        return told_once(without_followers(found, faults))
    if request.environment:
        request = replace(request, environment=_shared_environment(request.environment))
    places = _shared_places(source.places)
    return Spec(name=source.name, path=source.path, request=request, places=places, **fields)


def without_followers(found: Sequence[Fault], more: Iterable[Fault]) -> list[Fault]:
    """Return both but what only follows: a fault at, or above, the place explains it.

    Not more than `MAX_FAULTS` of them.
    """
    kept = list(found)
    for fault in more:
        if len(kept) >= MAX_FAULTS:
            break
        if not any(fault.pointer[: len(known.pointer)] == known.pointer for known in kept):
            kept.append(fault)
    return kept


def problem_at(origins: Origins, fault: Fault) -> Problem:
    """Return a fault with the place where it stands."""
    pointer = _shown(fault.pointer)
    origin = origins.of(pointer, key=fault.message.startswith("is no key"))
    return Problem(
        path=origin.path,
        line=origin.line,
        column=origin.column,
        pointer=one_line(pointer_of(pointer)),
        message=one_line(fault.message),
        kind=fault.kind,
    )


def sorted_problems(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems in the order of the file, or of the files, they stand in."""
    return tuple(
        sorted(problems, key=lambda p: (str(p.path), p.line, p.column, p.pointer, p.message))
    )


def most_helpful(problems: Sequence[Problem]) -> Problem:
    """Return the problem of a file that stands for all of them, where one only is told.

    The first one, but where that is a key that is missing and another key is almost its name.
    """
    if problems[0].kind is Mistake.MISSING_KEY:
        for problem in problems:
            near = problem.kind is Mistake.UNKNOWN_KEY and "did you mean" in problem.message
            if near and problem.path == problems[0].path:
                return problem
    return problems[0]


def _shown(pointer: Pointer) -> Pointer:
    """Cut a pointer after `secret`, but for known keys: what stands there may be one."""
    for index, part in enumerate(pointer):
        if part == "secret" and not _IN_REFERENCE.issuperset(pointer[index + 1 : index + 2]):
            return pointer[: index + 1]
    return pointer


@lru_cache(maxsize=4096)
def _shared_reference(kind: str, name: str, *, ignored: bool) -> SecretReference:
    return SecretReference(kind, name, OnRotate.IGNORE if ignored else OnRotate.RUN)


@lru_cache(maxsize=4096)
def _shared_environment(variables: _Environment) -> _Environment:
    """Return those that were here first and are the same: mostly many specs have them alike."""
    return variables


@lru_cache(maxsize=4096)
def _shared_places(places: Places) -> Mapping[str, tuple[int, int]]:
    return MappingProxyType(dict(places))


def _request(
    tree: Mapping[str, Any], sealed: Sealed, allows: Allows
) -> DeploymentRequest[SecretReference] | tuple[Fault, ...]:
    def read_secret(value: object, at: Pointer) -> SecretReference | Fault:
        if at in sealed.references:
            return sealed.references[at]
        if not isinstance(value, dict):
            return Fault(at, IN_THE_CLEAR, Mistake.SECRET_IN_THE_CLEAR)
        kind = next((known for known in _KINDS if known in value), "")
        text = value.get(kind)
        if not isinstance(text, str):
            here = (*at, kind) if kind else at
            return Fault(
                here, "one of fromEnv, fromFile, fromCredential and fromCommand belongs here"
            )
        ignored = value.get("onRotate") == "ignore"
        reference = _shared_reference(kind, text, ignored=ignored)
        refused = allows(reference)
        return Fault((*at, kind), refused, Mistake.SECRET_NOT_ALLOWED) if refused else reference

    return request_from_json(tree, read_secret, None)
