"""The parts of a spec that are the reconciler's own: stack, schedules, reconcile.

The schema has been asked before, so what is of a wrong type is passed over in silence here.
Values that many specs have in common are one value in memory: there may be 100,000 of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeVar

from reconciler import cron
from reconciler.adapters.spec_checks import section
from reconciler.adapters.spec_times import check_zone, parse_duration, parse_moment, read_windows
from reconciler.api.types import Operation, StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.model import (
    ANY_PATH,
    MissedRuns,
    OnDelete,
    OnDependency,
    Overlap,
    Response,
    Retry,
    Schedule,
    WhileRunning,
)

__all__ = ["SCHEDULED", "Sections"]

# What a schedule can run.
SCHEDULED: Final = (
    Operation.UPDATE,
    Operation.PREVIEW,
    Operation.REFRESH,
    Operation.DESTROY,
    Operation.DETECT_DRIFT,
)

_HOUR: Final = timedelta(hours=1)
_NO_RETRY_GIVEN: Final = Retry()
# An empty frozenset is not always the same one.
_NONE: Final[frozenset[str]] = frozenset()
_ON_CHANGE: Final = ("spec", "source")

E = TypeVar("E", bound=Enum)


class Sections:
    """Reads what is ours. What does not fit is kept in `faults`."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tree = tree
        self.reconcile = section(tree, "reconcile")
        self.faults: list[Fault] = []

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `Spec` that these parts say; of no use where there are faults."""
        reconcile = self.reconcile
        on_change = reconcile.get("onChange")
        on_change = on_change if isinstance(on_change, list) else _ON_CHANGE
        labels, listed = self.tree.get("labels"), self.tree.get("notSecret")
        return {
            "stack": self.stack(),
            "not_secret": frozenset(map(str, listed)) if listed else _NONE,
            "labels": _labels(labels),
            "schedules": self.schedules(),
            "suspended": reconcile.get("suspend") is True,
            "depends_on": tuple(map(str, reconcile.get("dependsOn") or ())),
            "on_dependency": self.choice("onDependency", OnDependency.NONE),
            "on_spec_change": "spec" in on_change,
            "on_source_change": "source" in on_change,
            "source_paths": self.source_paths(),
            "pin": reconcile.get("pin") is not False,
            "while_running": self.choice("whileRunning", WhileRunning.WAIT),
            "on_delete": self.choice("onDelete", OnDelete.KEEP),
            "destroy_after": self.destroy_after(),
            "on_drift": self.choice("onDrift", Response.REPORT),
            "on_foreign": self.choice("onForeign", Response.REPORT),
            "needs_approval": reconcile.get("approval") == "required",
            "dry_run": reconcile.get("dryRun") is True,
            "timeout": self.duration(reconcile, "timeout", ("reconcile",), _HOUR),
            "retry": self.retry(),
            "missed_runs": self.choice("missedRuns", MissedRuns.LATEST),
            "windows": read_windows(
                reconcile.get("windows"), ("reconcile", "windows"), self.faults
            ),
        }

    def choice(self, key: str, default: E) -> E:
        """Read one of an enumeration's values below `reconcile`."""
        given = self.reconcile.get(key)
        if given is None:
            return default
        return next((each for each in type(default) if each.value == given), default)

    def stack(self) -> StackRef | None:
        """Read which stack it is."""
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
        self, part: Mapping[str, Any], key: str, at: Pointer, default: timedelta
    ) -> timedelta:
        """Read a duration below `part`."""
        text = part.get(key)
        if not isinstance(text, str):
            return default
        try:
            return _shared_duration(text)
        except ValueError as error:
            self.faults.append(Fault((*at, key), str(error)))
            return default

    def source_paths(self) -> tuple[str, ...]:
        """Read which paths of the repository count; each is a pattern from its root."""
        given = self.reconcile.get("sourcePaths")
        if not isinstance(given, list):
            return ANY_PATH
        for index, pattern in enumerate(given):
            wrong = _check_pattern(str(pattern))
            if wrong:
                self.faults.append(Fault(("reconcile", "sourcePaths", index), wrong))
        return tuple(map(str, given))

    def destroy_after(self) -> datetime | timedelta | None:
        """Read when to destroy: a time, or how long after the first deployment."""
        text = self.reconcile.get("destroyAfter")
        if not isinstance(text, str):
            return None
        try:
            return parse_moment(text) if "-" in text else parse_duration(text)
        except ValueError as error:
            right = "; a time such as 2027-01-01T00:00:00Z or a duration such as 7d belongs here"
            wrong = str(error).split(";")[0].replace("no duration", "no time or duration")
            message = wrong + right
            self.faults.append(Fault(("reconcile", "destroyAfter"), message))
            return None

    def retry(self) -> Retry:
        """Read how a failed run is tried again."""
        given, at = section(self.reconcile, "retry"), ("reconcile", "retry")
        default = _NO_RETRY_GIVEN
        if not given:
            return default
        limit = given.get("limit", default.limit)
        backoff = self.duration(given, "backoff", at, default.backoff)
        longest = self.duration(given, "maxBackoff", at, max(default.max_backoff, backoff))
        return _shared_retry(limit if isinstance(limit, int) else default.limit, backoff, longest)

    def schedules(self) -> tuple[Schedule, ...]:
        """Read all schedules; each has its own name."""
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
        """Read one schedule; None where it cannot be one."""
        name, zone = item.get("name"), item.get("timeZone", "UTC")
        operation = item.get("operation", Operation.UPDATE)
        if not isinstance(name, str) or not isinstance(zone, str) or operation not in SCHEDULED:
            return None
        wrong_zone = check_zone(zone)
        if wrong_zone:
            self.faults.append(Fault((*at, "timeZone"), wrong_zone))
        text, once = item.get("cron"), item.get("at")
        wrong_cron = cron.check(text) if isinstance(text, str) else ""
        if wrong_cron:
            self.faults.append(Fault((*at, "cron"), wrong_cron))
        moment = None
        if isinstance(once, str) and not wrong_zone:
            try:
                moment = parse_moment(once, zone)
            except ValueError as error:
                self.faults.append(Fault((*at, "at"), str(error)))
        deadline = self.duration(item, "startingDeadline", at, _HOUR)
        overlap = Overlap.SKIP if item.get("overlap") == "skip" else Overlap.QUEUE
        when = text if isinstance(text, str) else moment
        return _shared_schedule((name, when, zone, Operation(operation)), overlap, deadline)


def _check_pattern(pattern: str) -> str:
    if pattern.startswith(("/", "!", "./")) or ".." in pattern.split("/") or "\\" in pattern:
        return (
            "is no pattern of paths from the repository's root; one such as web/** belongs here, "
            "without '/', './' or '!' before it, '..' or '\\'"
        )
    return ""


def _labels(given: object) -> Mapping[str, str]:
    items = given.items() if isinstance(given, dict) else ()
    return _shared_labels(tuple((name, text) for name, text in items if isinstance(text, str)))


@lru_cache(maxsize=4096)
def _shared_labels(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return MappingProxyType(dict(items))


@lru_cache(maxsize=4096)
def _shared_schedule(
    what: tuple[str, str | datetime | None, str, Operation], overlap: Overlap, deadline: timedelta
) -> Schedule:
    name, when, zone, operation = what
    return Schedule(
        name=name,
        cron=when if isinstance(when, str) else "",
        at=when if isinstance(when, datetime) else None,
        time_zone=zone,
        operation=operation,
        overlap=overlap,
        starting_deadline=deadline,
    )


@lru_cache(maxsize=1024)
def _shared_duration(text: str) -> timedelta:
    return parse_duration(text)


@lru_cache(maxsize=1024)
def _shared_retry(limit: int, backoff: timedelta, longest: timedelta) -> Retry:
    return Retry(limit=limit, backoff=backoff, max_backoff=longest)
