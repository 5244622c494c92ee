"""What a schema cannot say of the blocks that go to the API: sources and operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from reconciler.api.create_body import is_relative_url
from reconciler.api.wire import Fault, Pointer
from reconciler.mistakes import Mistake

__all__ = ["check_request", "check_source", "section"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SSH_LIKE: Final = re.compile(r"[\w.-]+@[\w.-]+:")


def section(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return what is below the keys; empty where there is nothing, or no object."""
    for key in keys:
        below = tree.get(key)
        tree = below if isinstance(below, dict) else {}
    return tree


def check_request(tree: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the source and the operation of a spec."""
    return [*check_source(tree), *_check_operation(tree)]


def check_source(tree: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the URL of a source."""
    at: Pointer = ("sourceContext", "git")
    git = section(tree, "sourceContext", "git")
    key = "repoURL" if "repoURL" in git else "repoUrl"
    found: list[Fault] = []
    if "repoUrl" in git and "repoURL" in git:
        found.append(Fault((*at, "repoURL"), "says the same as repoUrl; keep one of them"))
    url = git.get(key)
    wrong = _check_url(url, fixed="commit" in git) if isinstance(url, str) and url else ""
    if wrong:
        found.append(Fault((*at, key), wrong))
    return found


def _check_operation(tree: Mapping[str, Any]) -> list[Fault]:
    places: list[Pointer] = [("operation",), ("operationContext", "operation")]
    given = [tree.get("operation"), section(tree, "operationContext").get("operation")]
    for at, operation in zip(places, given, strict=True):
        if operation == "destroy" and section(tree, "reconcile").get("confirm") != "destroy":
            message = "destroys the stack; say so with reconcile: {confirm: destroy}"
            return [Fault(at, message, Mistake.UNCONFIRMED_DESTROY)]
    return []


@lru_cache(maxsize=1024)
def _check_url(url: str, *, fixed: bool) -> str:
    if is_relative_url(url):
        return ""
    scheme = _SCHEME.match(url)
    if _SSH_LIKE.match(url) or (scheme and scheme[1].lower() in {"ssh", "git+ssh"}):
        if fixed:  # nothing has to be looked up there
            return ""
        return "not yet: following a branch or tag over ssh; give an https URL, or a commit"
    if scheme is None or scheme[1].lower() not in {"https", "http", "file"}:
        return (
            "is no URL of a repository; https://…, http://…, file:///… or a path that begins "
            "with './' or '../' belongs here"
        )
    authority = url[scheme.end() :].split("/", 1)[0]
    if "@" in authority:
        return "holds a user name or a secret; leave it out and use gitAuth"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "holds a space or a control character; write it as %20"
    return ""
