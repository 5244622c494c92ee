"""One file's document → a `Spec`, or every fault in it with its place.

The schema says what may stand where; this module adds what a schema cannot say: names of
stacks and time zones, cron, durations, and that no secret is written in the clear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from reconciler import cron
from reconciler.adapters import spec_schema
from reconciler.adapters.spec_secrets import find_secrets
from reconciler.adapters.yaml_faults import one_line
from reconciler.adapters.yaml_reader import Document, escape
from reconciler.api.create_body import is_relative_url, request_from_json
from reconciler.api.types import PREVIEW_OPERATIONS, DeploymentRequest, Operation, StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.model import Problem, Retry, Schedule, SecretReference, Spec

__all__ = ["Allows", "parse_duration", "spec_from_document", "stack_of"]

# Says why a reference may not be read on this host and what would be right; empty: it may.
Allows = Callable[[SecretReference], str]

# A year: longer ones are slips of the keyboard.
_LONGEST: Final = timedelta(days=366)
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?\Z"
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SSH_LIKE: Final = re.compile(r"[\w.-]+@[\w.-]+:")


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `10m`, `1h30m` or `7d`; ValueError says what is wrong with it."""
    match = _DURATION.match(text)
    if not text or match is None:
        raise ValueError("is no duration; 30s, 10m, 1h30m or 7d belongs here")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if days > _LONGEST.days:
        raise ValueError(f"is longer than {_LONGEST.days} days")
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < duration <= _LONGEST:
        raise ValueError(f"is not between 1s and {_LONGEST.days}d")
    return duration


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
        if part == "secret" and pointer[index + 1 : index + 2] not in {
            ("fromEnv",), ("fromFile",), ("fromCredential",), ("fromCommand",), ("onRotate",),
        }:  # fmt: skip
            return pointer[: index + 1]
    return pointer


def spec_from_document(
    name: str, path: Path, document: Document, allows: Allows
) -> Spec | tuple[Problem, ...]:
    """Read a spec; all its problems in the order of the file where there are some."""
    place = _Place(name, path, document)
    found = list(spec_schema.faults(document.tree))
    tree: Mapping[str, Any] = document.tree if isinstance(document.tree, dict) else {}
    read = _Sections(tree)
    request = _request(tree, allows)
    later = [] if isinstance(request, DeploymentRequest) else list(request)
    later += [*_check_source(tree), *_check_operation(tree), *find_secrets(tree)]
    spec = read.spec(place, request if isinstance(request, DeploymentRequest) else None)
    for fault in (*later, *read.faults):
        # What the schema has found at a place, or above it, explains what follows from it.
        if not any(fault.pointer[: len(known.pointer)] == known.pointer for known in found):
            found.append(fault)
    if spec is None or found:
        planned = [fault.pointer for fault in found if fault.message.startswith("not yet")]
        problems = [
            place.problem(fault)
            for fault in found
            # What is planned already explains why what holds it is wrong.
            if not any(fault.pointer == at[: len(fault.pointer)] != at for at in planned)
        ]
        return tuple(sorted(problems, key=lambda p: (p.line, p.column, p.pointer, p.message)))
    return spec


def _request(
    tree: Mapping[str, Any], allows: Allows
) -> DeploymentRequest[SecretReference] | tuple[Fault, ...]:
    def read_secret(value: object, at: Pointer) -> SecretReference | Fault:
        if not isinstance(value, dict) or len(value) != 1:
            return Fault(at, spec_schema.IN_THE_CLEAR)
        ((kind, text),) = value.items()
        if kind not in {"fromEnv", "fromFile"} or not isinstance(text, str):
            return Fault(at, "one of fromEnv and fromFile belongs here")
        reference = SecretReference(kind, text)
        refused = allows(reference)
        return Fault((*at, kind), refused) if refused else reference

    return request_from_json(tree, read_secret, None)


def _section(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return what is below the keys; empty where there is nothing, or no object."""
    for key in keys:
        below = tree.get(key)
        tree = below if isinstance(below, dict) else {}
    return tree


def _check_source(tree: Mapping[str, Any]) -> list[Fault]:
    at: Pointer = ("sourceContext", "git")
    git = _section(tree, "sourceContext", "git")
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
    given = [tree.get("operation"), _section(tree, "operationContext").get("operation")]
    for at, operation in zip(places, given, strict=True):
        if operation == "destroy" and _section(tree, "reconcile").get("confirm") != "destroy":
            return [Fault(at, "destroys the stack; say so with reconcile: {confirm: destroy}")]
    return []


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


class _Sections:
    """Reads what is ours: stack, schedules, reconcile. What does not fit is kept in `faults`.

    The schema has been asked before, so what is of a wrong type is passed over in silence.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree
        self.faults: list[Fault] = []

    def spec(
        self, place: _Place, request: DeploymentRequest[SecretReference] | None
    ) -> Spec | None:
        stack, schedules, retry = self.stack(), self.schedules(), self.retry()
        reconcile = _section(self.tree, "reconcile")
        timeout = self.duration(reconcile, "timeout", ("reconcile",), timedelta(hours=1))
        if request is None or stack is None or self.faults:
            return None
        on_change = reconcile.get("onChange", ["spec", "source"])
        labels = self.tree.get("labels")
        return Spec(
            name=place.name,
            path=place.path,
            stack=stack,
            request=request,
            not_secret=frozenset(map(str, self.tree.get("notSecret") or ())),
            labels=MappingProxyType(dict(labels) if isinstance(labels, dict) else {}),
            schedules=schedules,
            suspended=reconcile.get("suspend") is True,
            depends_on=tuple(map(str, reconcile.get("dependsOn") or ())),
            on_spec_change=isinstance(on_change, list) and "spec" in on_change,
            on_source_change=isinstance(on_change, list) and "source" in on_change,
            timeout=timeout,
            retry=retry,
            places=MappingProxyType(dict(place.document.places)),
        )

    def stack(self) -> StackRef | None:
        text = self.tree.get("stack")
        if not isinstance(text, str):
            return None
        try:
            return StackRef.parse(text)
        except ValueError as error:
            message = f"{str(error)[:300]}; write it as acme/web/prod"
            self.faults.append(Fault(("stack",), message))
            return None

    def duration(
        self, section: Mapping[str, Any], key: str, at: Pointer, default: timedelta
    ) -> timedelta:
        text = section.get(key)
        if not isinstance(text, str):
            return default
        try:
            return parse_duration(text)
        except ValueError as error:
            self.faults.append(Fault((*at, key), str(error)))
            return default

    def retry(self) -> Retry:
        section = _section(self.tree, "reconcile", "retry")
        at: Pointer = ("reconcile", "retry")
        default = Retry()
        limit = section.get("limit", default.limit)
        backoff = self.duration(section, "backoff", at, default.backoff)
        return Retry(
            limit=limit if isinstance(limit, int) else default.limit,
            backoff=backoff,
            max_backoff=self.duration(section, "maxBackoff", at, max(default.max_backoff, backoff)),
        )

    def schedules(self) -> tuple[Schedule, ...]:
        given = self.tree.get("schedules")
        found: dict[str, Schedule] = {}
        for index, item in enumerate(given if isinstance(given, list) else ()):
            at: Pointer = ("schedules", index)
            schedule = self.schedule(item, at) if isinstance(item, dict) else None
            if schedule is None:
                continue
            if schedule.name in found:
                message = f"'{schedule.name}' is the name of another schedule of this spec"
                self.faults.append(Fault((*at, "name"), message + "; give it its own"))
            found[schedule.name] = schedule
        return tuple(found.values())

    def schedule(self, item: Mapping[str, Any], at: Pointer) -> Schedule | None:
        name, text, zone = item.get("name"), item.get("cron"), item.get("timeZone", "UTC")
        if not isinstance(name, str) or not isinstance(text, str) or not isinstance(zone, str):
            return None
        wrong_cron, wrong_zone = cron.check(text), _check_zone(zone)
        if wrong_cron:
            self.faults.append(Fault((*at, "cron"), wrong_cron))
        if wrong_zone:
            self.faults.append(Fault((*at, "timeZone"), wrong_zone))
        operation = item.get("operation", Operation.UPDATE)
        if operation not in PREVIEW_OPERATIONS:
            return None
        return Schedule(name=name, cron=text, time_zone=zone, operation=Operation(operation))


@lru_cache(maxsize=1024)
def _check_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        known = spec_schema.did_you_mean(zone, _places())
        return f"'{zone[:80]}' is no time zone of the IANA's" + (
            known or "; such as Europe/Berlin or UTC"
        )
    return ""


def _places() -> list[str]:
    """Return the zones named after places; `CET` and the like are better not proposed."""
    return sorted(zone for zone in available_timezones() if "/" in zone and "Etc/" not in zone)
