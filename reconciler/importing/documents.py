"""Tells what a document is, and has it read. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from reconciler.api.types import StackRef
from reconciler.api.wire import Pointer
from reconciler.importing.draft import (
    Draft,
    Imported,
    RefusalError,
    Refused,
    Skipped,
)
from reconciler.importing.operator_stack import Cluster, read_stack, stack_name
from reconciler.importing.request_body import read_request
from reconciler.importing.schedules import is_schedule, read_schedule
from reconciler.importing.scrubbing import scrub
from reconciler.importing.settings_view import is_view, read_view

__all__ = ["Document", "Result", "cluster_of", "convert", "is_known", "spread"]

Result = Imported | Refused | Skipped

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_REQUEST: Final = frozenset(
    {"sourceContext", "operationContext", "executorContext", "operation", "gitHub", "vcs", "git"}
)
_NO_STACK: Final = "give --stack ORG/PROJECT/STACK"
_KINDS: Final = (
    "a request body, a curl command, deployment settings or a Stack of the operator belongs here"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object of the input, `at` a place of its file; `stack` where its context says one.

    `route` is the path of the API below `deployments/` that it was sent to.
    """

    tree: object
    at: Pointer = ()
    stack: str = ""
    route: str = ""


def spread(document: Document) -> Iterator[Document]:
    """Yield the documents of a list, or the one itself."""
    tree = document.tree
    key = ""
    if isinstance(tree, dict):
        of_kubernetes = str(tree.get("kind", "")).endswith("List")
        key = "items" if of_kubernetes else "schedules" if set(tree) == {"schedules"} else ""
    items: Any = tree.get(key) if key and isinstance(tree, dict) else tree
    if not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        at = (*document.at, *([key] if key else []), index)
        yield Document(tree=item, at=at, stack=document.stack, route=document.route)


def is_known(tree: object) -> bool:
    """Whether an object has the form of something that is read here, or of Kubernetes."""
    if not isinstance(tree, dict):
        return False
    keys = tree.keys() & (_REQUEST | {"settings"})
    return bool(_kind(tree)[0] or keys or is_view(tree) or is_schedule(tree))


def cluster_of(documents: tuple[Document, ...]) -> Cluster:
    """Return what Stacks among some documents may refer to: of Secrets the keys, and no values."""
    secrets: dict[tuple[str, str], frozenset[str]] = {}
    repositories: dict[tuple[str, str], object] = {}
    for document in documents:
        tree = document.tree
        metadata = tree.get("metadata") if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or not isinstance(metadata, dict):
            continue
        version, kind = _kind(tree)
        key = (str(metadata.get("namespace") or ""), str(metadata.get("name")))
        if kind == "Secret":
            data = [tree.get(part) for part in ("data", "stringData")]
            names = {str(name) for part in data if isinstance(part, dict) for name in part}
            secrets[key] = frozenset(names)
        elif kind == "GitRepository" and version.startswith("source.toolkit.fluxcd.io/"):
            repositories[key] = tree.get("spec")
    return Cluster(secrets=MappingProxyType(secrets), repositories=MappingProxyType(repositories))


def _kind(tree: object) -> tuple[str, str]:
    if not isinstance(tree, dict):
        return "", ""
    version, kind = tree.get("apiVersion"), tree.get("kind")
    return (version, kind) if isinstance(version, str) and isinstance(kind, str) else ("", "")


def convert(document: Document, cluster: Cluster) -> Result:
    """Read one document; whatever it holds, the answer is a value."""
    tree, at = document.tree, document.at
    version, kind = _kind(tree)
    if version:
        return _kubernetes(document, (version, kind), cluster)
    if document.route or is_schedule(tree):
        drift = document.route.startswith("drift")
        if not is_schedule(tree) and document.route != "settings":
            return Refused(pointer=at, message="is no schedule with a cron or a time")
        if is_schedule(tree):
            return _draft(document, "", lambda draft: read_schedule(draft, tree, at, drift=drift))
    if isinstance(tree, dict) and isinstance(tree.get("settings"), dict):
        below = (*at, "settings")
        return _draft(document, "", lambda draft: read_request(draft, tree["settings"], below))
    if isinstance(tree, dict) and tree.keys() & _REQUEST:
        return _draft(document, "", lambda draft: read_request(draft, tree, at))
    if is_view(tree):
        return _draft(document, "", lambda draft: read_view(draft, tree, at))
    return Refused(pointer=at, message=f"is none of what can be imported; {_KINDS}")


def _kubernetes(document: Document, kind: tuple[str, str], cluster: Cluster) -> Result:
    version, word = kind
    shown = word[:60] if word.isalnum() else "kind"
    if kind in {("pulumi.com/v1", "Stack"), ("pulumi.com/v1alpha1", "Stack")}:
        name, stack = stack_name(document.tree)
        if name and not _NAME.match(name):
            message = "cannot be the name of a spec: letters, digits, '_', '.' and '-' belong here"
            return Refused(pointer=(*document.at, "metadata", "name"), message=message)
        at = document.at
        given = document.stack or stack
        known = Document(tree=document.tree, at=at, stack=given)
        return _draft(known, name, lambda draft: read_stack(draft, document.tree, at, cluster))
    if version.startswith("pulumi.com/") and word == "Program":
        message = "a Program is not carried over: commit it to a git repository as a Pulumi.yaml"
        return Skipped(pointer=document.at, message=message, lost=True)
    if version.startswith(("pulumi.com/", "auto.pulumi.com/")):
        message = f"is a {shown}, which is the operator's own to make"
        return Skipped(pointer=document.at, message=message)
    return Skipped(pointer=document.at, message=f"is a {shown}, no Stack")


def _draft(document: Document, name: str, read: Callable[[Draft], None]) -> Result:
    if not document.stack:
        return Refused(pointer=document.at, message=f"names no stack; {_NO_STACK}")
    try:
        stack = StackRef.parse(document.stack)
    except ValueError:
        shown = document.stack if document.stack.isprintable() else ""
        message = f"its stack {shown[:100]!r} is not ORG/PROJECT/STACK; {_NO_STACK}"
        return Refused(pointer=document.at, message=message)
    draft = Draft(name or f"{stack.project}-{stack.stack}", str(stack))
    try:
        read(draft)
        scrub(draft)
    except RefusalError as refusal:
        return Refused(
            pointer=refusal.pointer, message=refusal.message, hidden=frozenset(draft.hidden)
        )
    return draft.result()
