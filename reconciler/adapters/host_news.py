"""Whom a host wants to be told, as its config says: targets, with secrets by reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.adapters.news_texts import Texts, mistake_in
from reconciler.adapters.spec_checks import section
from reconciler.api.wire import Fault, Pointer
from reconciler.model import NewsKind, SecretReference

__all__ = ["SERVICES", "Target", "check_targets", "read_targets"]

SERVICES: Final = ("apprise", "webhook", "github", "gitlab")
_FORGES: Final = frozenset({"github", "gitlab"})
_USUAL: Final = frozenset(NewsKind) - {NewsKind.SUCCEEDED}
_URLS: Final = {"github": "https://api.github.com", "gitlab": "https://gitlab.com/api/v4"}
_CONTEXT: Final = "reconciler/$name"
_AT: Final = "notifications"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target: of which service, where, and what it is told.

    `secret` is apprise's URL, a webhook's key or a forge's token. `specs` are patterns of names.
    """

    name: str
    service: str
    secret: SecretReference
    on: frozenset[NewsKind]
    specs: tuple[str, ...] = ("*",)
    url: str = ""
    repository: str = ""
    context: str = _CONTEXT
    texts: Texts = field(default_factory=Texts)


def read_targets(tree: Mapping[str, Any]) -> tuple[Target, ...]:
    """Read what fits the schema; of no use where `check_targets` finds faults."""
    found = (_target(name, each) for name, each in section(tree, _AT).items())
    return tuple(target for target in found if target is not None)


def check_targets(tree: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what the schema cannot tell: URLs, and templates that name no word."""
    for name, given in section(tree, _AT).items():
        at: Pointer = (_AT, name)
        for key in ("title", "body"):
            wrong = (
                mistake_in(text)
                if isinstance(text := section(tree, _AT, name).get(key), str)
                else ""
            )
            if wrong:
                yield Fault((*at, key), wrong)
        for service in SERVICES if isinstance(given, dict) else ():
            url = section(given, service).get("url")
            if isinstance(url, str) and not _is_safe(url):
                right = "is no https URL without a user; plain http is for this machine alone"
                yield Fault((*at, service, "url"), right)


def _target(name: str, given: object) -> Target | None:
    if not isinstance(given, dict):
        return None
    service = next((each for each in SERVICES if isinstance(given.get(each), dict)), "")
    more = section(given, service)
    key = {"apprise": "url", "webhook": "secret"}.get(service, "token")
    reference = _reference(more.get(key))
    if not service or reference is None:
        return None
    kinds = given.get("events")
    usual = frozenset(NewsKind) if service in _FORGES else _USUAL
    usual_texts, url = Texts(), more.get("url")
    return Target(
        name=name,
        service=service,
        secret=reference,
        on=_kinds(kinds) if isinstance(kinds, list) else usual,
        specs=tuple(map(str, given.get("specs") or ("*",))),
        url=url.rstrip("/") if isinstance(url, str) else _URLS.get(service, ""),
        repository=str(more.get("repository") or ""),
        context=str(more.get("context") or _CONTEXT),
        texts=Texts(
            title=str(given.get("title") or usual_texts.title),
            body=str(given.get("body") or usual_texts.body),
        ),
    )


def _kinds(given: list[object]) -> frozenset[NewsKind]:
    return frozenset(kind for kind in NewsKind if str(kind) in given)


def _reference(given: object) -> SecretReference | None:
    """Read `{secret: {fromEnv: …}}`, or what stands below `secret`."""
    while isinstance(given, dict) and isinstance(given.get("secret"), dict):
        given = given["secret"]
    if not isinstance(given, dict):
        return None
    return next((SecretReference(str(k), str(v)) for k, v in given.items()), None)


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        _ = parts.port
    except ValueError:
        return False
    good = parts.scheme == "https" or (parts.scheme == "http" and here)
    return good and bool(parts.hostname) and "@" not in parts.netloc
