"""Whether an imported spec is one: it is read back as any other file.

What does not fit is taken out, with its reason; where a spec cannot do without, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from reconciler.adapters import yaml_reader
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_defaults import Defaults
from reconciler.adapters.spec_file import Source, spec_from_tree
from reconciler.adapters.spec_layers import lay_over
from reconciler.adapters.spec_schema import SPEC
from reconciler.adapters.spec_sops import NOTHING_SEALED
from reconciler.adapters.yaml_faults import YamlFault, one_line
from reconciler.api.wire import Fault, Pointer
from reconciler.importing.draft import Imported, Refused, Remark
from reconciler.importing.scrubbing import leaks, redactor
from reconciler.importing.yaml_text import MODELINE, render
from reconciler.model import Spec

__all__ = ["check", "write_out"]

# Each round takes something out; a spec that is not valid by then is not worth keeping.
MAX_ROUNDS: Final = 20
# Where a fault stands → how much of its place is taken out with it.
_PARTS: Final = {"operationContext": 3, "executorContext": 1, "schedules": 2, "reconcile": 2}
# Without these it would do something else than what was imported.
_NEEDED: Final[frozenset[Pointer]] = frozenset(
    {(), ("operationContext",), ("operationContext", "operation")}
)


def check(item: Imported, path: Path, defaults: Defaults) -> Imported | Refused:
    """Return a spec that validates, with a remark for each thing taken out of it.

    `defaults` are those of the directory it is for: they hold for it as for its neighbours.
    """
    tree: dict[str, Any] = deepcopy(dict(item.tree))
    remarks = list(item.remarks)
    for _ in range(MAX_ROUNDS):
        faults = _faults(replace(item, tree=tree), path, defaults)
        if not faults:
            needs = tuple(need for need in item.needs if _is_used(tree, need.variable))
            return replace(item, tree=tree, remarks=tuple(remarks), needs=needs)
        before = len(remarks)
        # From the end, so that the numbers of a list's items stay right.
        for fault in sorted(faults, key=lambda f: tuple(map(_sortable, f.pointer)), reverse=True):
            at = _taken_out(fault.pointer)
            if not at:
                return _refused(item, fault)
            if _remove(tree, at):
                message = one_line(fault.message)
                remarks.append(Remark(pointer=at, message=message, lost=True))
        if len(remarks) == before:  # it is the defaults that do not fit
            return _refused(item, faults[0])
    return _refused(item, Fault((), "does not become a valid spec"))


def _sortable(part: str | int) -> tuple[int, str]:
    return (part, "") if isinstance(part, int) else (-1, part)


def _refused(item: Imported, fault: Fault) -> Refused:
    return Refused(pointer=fault.pointer, message=one_line(fault.message), hidden=item.hidden)


def write_out(item: Imported, source: str, schema: str) -> str | Refused:
    """Return the text of a valid spec; `schema` is where editors find its form, if anywhere."""
    lost = [remark for remark in item.remarks if remark.lost]
    head = [f"{MODELINE}{schema}", "#"] if schema else []
    head += [f"# Imported from {source}. `reconciler plan` says what it would do."]
    head += ["#", "# Not carried over:"] if lost else []
    for remark in lost:
        pointer = "".join(f"/{part}" for part in remark.pointer)
        line = f"#   {pointer}: {remark.message}"
        head.append("".join(c if c.isprintable() else "?" for c in line))
    text = render(item.tree, item.comments, tuple(head))
    if leaks(text, redactor(item.hidden)):
        message = "the value of a secret would stand in the spec; take it out first"
        return Refused(pointer=(), message=message, hidden=item.hidden)
    return text


def _faults(item: Imported, path: Path, defaults: Defaults) -> tuple[Fault, ...]:
    try:
        content = render(item.tree, item.comments, ()).encode()
    except UnicodeEncodeError:
        return (Fault((), "holds half a character (a lone surrogate), which no file can"),)
    document = yaml_reader.read(content, SPEC.shape)
    if isinstance(document, YamlFault):
        return (Fault((), document.message),)
    tree = document.tree
    if defaults.tree and isinstance(tree, dict):
        tree = lay_over(defaults.tree, tree, SPEC.shape)
    source = Source(item.name, path, (), NOTHING_SEALED)
    found = spec_from_tree(source, tree, SecretRules().allows)
    return () if isinstance(found, Spec) else found


def _taken_out(parts: Pointer) -> Pointer:
    """Return what is taken out for a fault at a place; empty where a spec is none without it."""
    if parts in _NEEDED:
        return ()
    if parts[0] == "inheritSettings":
        return parts[:1]
    length = _PARTS.get(str(parts[0]), 0)
    return parts[:length] if length and len(parts) >= min(length, 2) else ()


def _remove(tree: dict[str, Any], at: Pointer) -> bool:
    """Take one place out of a tree, and what is empty then; whether it was there."""
    nodes: list[Any] = [tree]
    for part in at[:-1]:
        node = nodes[-1]
        node = node.get(part) if isinstance(node, Mapping) else None
        if node is None:
            return False
        nodes.append(node)
    last = at[-1]
    node = nodes[-1]
    if isinstance(node, list):
        index = int(last) if str(last).isdigit() else len(node)
        if index >= len(node):
            return False
        del node[index]
    elif isinstance(node, dict) and last in node:
        del node[last]
    else:
        return False
    for parent, part in zip(reversed(nodes[:-1]), reversed(at[:-1]), strict=True):
        if not parent[part]:
            del parent[part]
    return True


def _is_used(value: object, variable: str) -> bool:
    match value:
        case {"fromEnv": str() as name}:
            return name == variable
        case dict():
            return any(_is_used(below, variable) for below in value.values())
    return False
