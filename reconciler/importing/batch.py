"""Many imports together: a spec a name and a stack, only dependencies that are there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.importing.documents import Result
from reconciler.importing.draft import Imported, Refused, Remark
from reconciler.planning.graph import order

__all__ = ["join_schedules", "settle"]


def join_schedules(results: Sequence[Result]) -> list[Result]:
    """Add schedules that came by themselves to the spec of their stack."""
    specs = {
        result.stack: result
        for result in reversed(results)
        if isinstance(result, Imported) and "sourceContext" in result.tree
    }
    joined: list[Result] = []
    for result in results:
        if not isinstance(result, Imported) or "sourceContext" in result.tree:
            joined.append(result)
            continue
        spec = specs.get(result.stack)
        if spec is None:
            message = (
                f"is a schedule by itself; import it together with a request of {result.stack}"
            )
            joined.append(Refused(pointer=(), message=message, hidden=result.hidden))
            continue
        specs[result.stack] = replace(
            spec,
            tree=_with_schedules(spec.tree, result.tree),
            remarks=(*spec.remarks, *result.remarks),
        )
        joined.append(replace(result, tree={}))
    return [
        specs[result.stack]
        if isinstance(result, Imported) and _is_first(result, results)
        else result
        for result in joined
    ]


def _is_first(spec: Imported, results: Sequence[Result]) -> bool:
    """Whether it is the first spec of its stack."""
    same = (
        r
        for r in results
        if isinstance(r, Imported) and r.stack == spec.stack and "sourceContext" in r.tree
    )
    return next(same, None) is spec


def _with_schedules(tree: Mapping[str, Any], more: Mapping[str, Any]) -> Mapping[str, Any]:
    schedules = list(tree.get("schedules", ()))
    for schedule in more.get("schedules", ()):
        taken = {each["name"] for each in schedules}
        name, number = schedule["name"], 2
        while name in taken:
            name, number = f"{schedule['name']}-{number}", number + 1
        schedules.append({**schedule, "name": name})
    reconcile = {**tree.get("reconcile", {}), **more.get("reconcile", {})}
    joined = {**tree, "schedules": schedules}
    return {**joined, "reconcile": reconcile} if reconcile else joined


def settle(
    found: Sequence[Imported], names: Collection[str], stacks: Mapping[str, str]
) -> list[Imported | Refused]:
    """Say which of some imports can stand in a directory of `names`, whose `stacks` are taken.

    `stacks` says by what. The answer has an item for each, in the same order.
    """
    kept: dict[str, Imported] = {}
    taken = dict(stacks)
    meanings: dict[str, str] = {}
    answers: list[Imported | Refused] = []
    for item in found:
        if item.name in names or item.name in kept:
            message = f"there is a spec named {item.name} already, which stays as it is"
            answers.append(_refused(item, message))
        elif item.stack in taken:
            message = f"{item.stack} belongs to {taken[item.stack]}; a stack belongs to one spec"
            answers.append(_refused(item, message))
        elif other := _other_meaning(item, meanings):
            message = f"{other} is the name of another spec's secret; import this by itself"
            answers.append(_refused(item, f"{message}, and rename the variable"))
        else:
            meanings |= _meanings(item)
            kept[item.name] = item
            taken[item.stack] = item.name
            answers.append(item)
    cycles = order({name: _depends_on(item) for name, item in kept.items()}).cycles
    there = {*names, *kept}
    return [
        answer
        if isinstance(answer, Refused)
        else _with_dependencies(answer, there, cycles.get(answer.name, ()))
        for answer in answers
    ]


def _meanings(item: Imported) -> dict[str, str]:
    """Return what each variable of a spec stands for: names can come to the same letters."""
    return {n.variable: n.origin if n.shared else f"of {item.name}" for n in item.needs}


def _other_meaning(item: Imported, meanings: Mapping[str, str]) -> str:
    """Return a variable that stands for something else in another spec, or an empty text."""
    mine = _meanings(item)
    return next((name for name in mine if meanings.get(name, mine[name]) != mine[name]), "")


def _refused(item: Imported, message: str) -> Refused:
    return Refused(pointer=(), message=message, hidden=item.hidden)


def _depends_on(item: Imported) -> tuple[str, ...]:
    return tuple(item.tree.get("reconcile", {}).get("dependsOn", ()))


def _with_dependencies(item: Imported, there: Collection[str], cycle: tuple[str, ...]) -> Imported:
    """Take out dependencies that are not there, or lead back to the spec itself."""
    remarks = list(item.remarks)
    kept = []
    for name in _depends_on(item):
        if name in cycle:
            message = f"depends on itself: {' → '.join(cycle)}; one of them has to be left out"
        elif name not in there:
            message = f"there is no spec named {name}; import it too, or add it to dependsOn later"
        else:
            kept.append(name)
            continue
        pointer = ("spec", "prerequisites")
        remarks.append(Remark(pointer=pointer, message=message, lost=True))
    if len(kept) == len(_depends_on(item)):
        return item
    reconcile = {**item.tree["reconcile"], "dependsOn": kept}
    if not kept:
        del reconcile["dependsOn"]
    tree = {**item.tree, "reconcile": reconcile}
    if not reconcile:
        del tree["reconcile"]
    return replace(item, tree=tree, remarks=tuple(remarks))
