"""What is wrong between specs: one stack twice, a dependency missing, a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from reconciler.adapters.specs import Explained, explain
from reconciler.adapters.yaml_faults import one_line
from reconciler.api.types import StackRef
from reconciler.api.wire import Pointer
from reconciler.mistakes import Mistake
from reconciler.model import Problem, Spec
from reconciler.planning.graph import order

__all__ = ["check_together"]

_DEPENDS_ON: Pointer = ("reconcile", "dependsOn")


def check_together(specs: tuple[Spec, ...]) -> tuple[Problem, ...]:
    """Return what is wrong between specs, each problem with its place."""
    by_name = {spec.name: spec for spec in specs}
    return (
        *_shared_stacks(specs),
        *(problem for spec in specs for problem in _missing(spec, by_name)),
        *_cycles(by_name),
    )


def _shared_stacks(specs: tuple[Spec, ...]) -> Iterator[Problem]:
    owners: dict[StackRef, list[Spec]] = {}
    for spec in specs:
        owners.setdefault(spec.stack, []).append(spec)
    for sharing in owners.values():
        for spec in sharing if len(sharing) > 1 else ():
            others = ", ".join(str(other.path) for other in sharing if other is not spec)
            message = f"{spec.stack} also belongs to {others}; a stack belongs to one spec"
            yield spec.problem("/stack", message, Mistake.SHARED_STACK)


def _missing(spec: Spec, by_name: Mapping[str, Spec]) -> Iterator[Problem]:
    for index, name in enumerate(spec.depends_on):
        if name not in by_name:
            near = get_close_matches(name, by_name, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            message = one_line(f"there is no spec named '{name}'{hint}")
            at = (*_DEPENDS_ON, index)
            yield _problem(spec, at, message, Mistake.MISSING_DEPENDENCY)


def _cycles(by_name: Mapping[str, Spec]) -> Iterator[Problem]:
    cycles = order({name: spec.depends_on for name, spec in by_name.items()}).cycles
    for name, path in cycles.items():
        message = f"depends on itself: {' → '.join(path)}; take one of them out"
        yield _problem(by_name[name], _DEPENDS_ON, message, Mistake.DEPENDENCY_CYCLE)


def _problem(spec: Spec, pointer: Pointer, message: str, kind: Mistake) -> Problem:
    """Return a problem where it stands: in the spec's own file, or in defaults above it."""
    text = "".join(f"/{part}" for part in pointer)
    directory = Path(str(spec.path)[: -len(spec.name + spec.path.suffix)] or ".")
    found = None if text in spec.places else explain(spec.path, directory)
    if not isinstance(found, Explained):
        return spec.problem(text, message, kind)
    path, line, column = found.origins.of(pointer)
    return Problem(path=path, line=line, column=column, pointer=text, message=message, kind=kind)
