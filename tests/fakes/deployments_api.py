"""A model of the Deployments API in memory, put under the real client as a transport.

It queues, runs one deployment at a time per stack, and answers as the real one does; the
contract suite holds it to the real engine. On top it can lose answers before or after the
effect, answer 5xx and 429, and let its lists lag, as `faults` says for each call; `refuses`
gives the status of a refusal, `log` what else the last step has said.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import BaseAdapter

from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import (
    Dialect,
    deployment_to_json,
    list_to_json,
    log_lines_to_json,
)
from reconciler.api.types import (
    MARKER_PREFIX,
    Deployment,
    DeploymentRequest,
    Ending,
    EndingKind,
    Job,
    JobStatus,
    LogLine,
    Secret,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
    User,
)
from reconciler.api.wire import pointer_text
from reconciler.values import replace

__all__ = ["FakeApi", "Fault", "Outcome"]

TOKEN = "the-token"
LARGEST_PAGE = 100
HEADERS = ("Get Source", "Pulumi operation")


class Fault(StrEnum):
    """What may go wrong with one call."""

    NONE = "none"
    LOST_BEFORE = "lost before the effect"
    LATE = "lost, and comes through after a while"
    DOUBLED = "arrives twice"
    LOST_AFTER = "lost after the effect"
    SERVER_ERROR = "503"
    TOO_MANY = "429"


class Outcome(StrEnum):
    """How a deployment will end."""

    SUCCEED = "succeed"
    FAIL = "fail"
    INTERRUPT = "interrupt"


@dataclass(slots=True)
class Record:
    """One deployment as the model keeps it."""

    shown: Deployment
    request: DeploymentRequest[Secret]
    visible_at: datetime
    number: int = 0
    ends_at: datetime | None = None
    outcome: Outcome = Outcome.SUCCEED
    canceled: bool = False
    _written: dict[tuple[str, int], tuple[Deployment, str]] = field(default_factory=dict)

    def written(self, dialect: Dialect, latest: int = 0) -> str:
        """Return it as JSON; made anew where it has changed.

        As it stands in a list of today's, or (`latest` is the stack's latest version) alone.
        """
        known = self._written.get((dialect, latest))
        if known is not None and known[0] is self.shown:
            return known[1]
        if latest:
            item: object = deployment_to_json(replace(self.shown, latest_version=latest), dialect)
        else:
            (item,) = _listed([self.shown])
        text = json.dumps(item)
        self._written[dialect, latest] = self.shown, text
        return text


class Json(str):
    """A body that is written already."""

    __slots__ = ()


def _listed(deployments: list[Deployment]) -> list[object]:
    body = list_to_json(deployments, Dialect.TODAY, 1, 1)
    assert isinstance(body, dict)
    items = body["deployments"]
    assert isinstance(items, list)
    return items


def _succeed(_: Record) -> Outcome:
    return Outcome.SUCCEED


def _no_fault(_: str, __: str) -> Fault:
    return Fault.NONE


def _no_refusal(_: str, __: str) -> int:
    return 0


@dataclass
class FakeApi(BaseAdapter):
    """The model; mount it on a `requests.Session`. `now` is the clock it lives by."""

    now: Callable[[], datetime]
    duration: timedelta = timedelta(seconds=20)
    lag: timedelta = timedelta(0)
    knows_markers: bool = True
    outcome: Callable[[Record], Outcome] = _succeed
    faults: Callable[[str, str], Fault] = _no_fault
    refuses: Callable[[str, str], int] = _no_refusal
    log: Callable[[Record], tuple[str, ...]] = lambda _: ()
    records: dict[StackRef, list[Record]] = field(default_factory=dict)
    creates: int = 0
    late_by: Callable[[], timedelta] = lambda: timedelta(seconds=10)
    doubled: Counter[str] = field(default_factory=Counter)
    paused: set[StackRef] = field(default_factory=set)
    _alive: dict[StackRef, list[Record]] = field(default_factory=dict)
    _sorted: dict[str, tuple[list[tuple[StackRef, int]], list[Record]]] = field(
        default_factory=dict
    )
    _late: list[tuple[datetime, requests.PreparedRequest]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def close(self) -> None:
        """Nothing is held open."""

    def alive(self) -> Iterator[tuple[StackRef, list[Record]]]:
        """Yield what has not ended, by stack."""
        for stack, records in self._alive.items():
            yield stack, [r for r in records if not r.shown.status.ended]

    # ------------------------------------------------------------ transport

    def send(
        self, request: requests.PreparedRequest, *_: object, **__: object
    ) -> requests.Response:
        method, url = request.method or "", request.url or ""
        path = _where(url)[0]
        fault, code = self.faults(method, path), self.refuses(method, path)
        if code:
            return _response(request, code, _error(code, "not like this"))
        if fault is Fault.LOST_BEFORE:
            raise requests.ConnectionError("the connection was reset")
        if fault is Fault.SERVER_ERROR:
            return _response(request, 503, {"code": 503, "message": "try later"})
        if fault is Fault.TOO_MANY:
            return _response(request, 429, {"code": 429, "message": "slow down"}, "3")
        if fault is Fault.LATE:
            self._late.append((self.now() + self.late_by(), request))
            raise requests.ConnectionError("the connection was reset")
        code, body = self._answer(request)
        if fault is Fault.DOUBLED:
            self._double(request)
        if fault is Fault.LOST_AFTER:
            raise requests.ConnectionError("the connection was reset")
        return _response(request, code, body)

    def _double(self, request: requests.PreparedRequest) -> None:
        """Let a request arrive a second time; whoever sent it hears the first answer only."""
        before = self.creates
        self._answer(request)
        if self.creates > before:
            newest = max(
                (r for records in self.records.values() for r in records), key=lambda r: r.number
            )
            self.doubled[newest.shown.marker] += 1

    def _arrive(self) -> None:
        """Let in what was on its way for long."""
        now = self.now()
        due = [request for at, request in self._late if at <= now]
        self._late = [(at, request) for at, request in self._late if at > now]
        for request in due:
            self._answer(request)

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, object]:
        if request.headers.get("Authorization") != f"token {TOKEN}":
            return 401, _error(401, "the token is missing or not valid")
        self._arrive()
        self.settle()
        _, parts, query = _where(request.url or "")
        if parts[:2] == ("api", "orgs") and parts[3:] == ("deployments",):
            return self._list_organization(parts[2], query)
        if parts[:2] == ("api", "orgs") and parts[3:] == ("deployments", "metadata"):
            stacks = [f"{s.project}/{s.stack}" for s in self.paused if s.organization == parts[2]]
            return 200, {"paused": False, "pausedStacks": stacks}
        dialect = Dialect.PREVIEW if parts[1] == "preview" else Dialect.TODAY
        stack, rest = StackRef(*parts[2:5]), list(parts[6:])
        if not rest and request.method == "POST":
            return self._create(stack, json.loads(request.body or b"{}"), dialect)
        if not rest:
            return self._list_stack(stack, query, dialect)
        record = self._find(stack, rest)
        if record is None:
            return 404, _error(404, "no such deployment")
        if rest[-1] == "cancel":
            return self._cancel(record)
        if rest[-1] == "logs":
            return self._logs(record, query, dialect)
        latest = self.records[stack][-1].shown.version
        return 200, Json(record.written(dialect, latest))

    # ------------------------------------------------------------ the calls

    def _create(self, stack: StackRef, body: object, dialect: Dialect) -> tuple[int, object]:
        parsed = request_from_json(body, wire_secret, dialect)
        if isinstance(parsed, tuple):
            told = (f"{pointer_text(f.pointer)}: {f.message}" for f in parsed)
            return 400, _error(400, "; ".join(told))
        records = self.records.setdefault(stack, [])
        marker = next((v.name for v in parsed.environment if v.name.startswith(MARKER_PREFIX)), "")
        if marker and self.knows_markers:
            for record in records:
                if record.shown.marker == marker:
                    return 202, _created(record)
        self.creates += 1
        now = self.now()
        version = len(records) + 1
        shown = Deployment(
            id=f"{stack}-{version}".replace("/", "-"),
            version=version,
            status=JobStatus.NOT_STARTED,
            created=now,
            modified=now,
            requested_by=User(name="me"),
            operation=parsed.operation,
            stack=stack,
            jobs=(Job(steps=(Step(name="Get source"), Step(name="Pulumi operation"))),),
            latest_version=version,
            environment=tuple(
                ShownVariable(name=v.name, value=v.value)
                if isinstance(v.value, str)
                else ShownVariable(name=v.name, secret=True)
                for v in parsed.environment
            ),
            source=replace(parsed.source, auth=None),
        )
        record = Record(shown=shown, request=parsed, visible_at=now + self.lag, number=self.creates)
        record.outcome = self.outcome(record)
        records.append(record)
        self._alive.setdefault(stack, []).append(record)
        self.settle()
        return 202, _created(record)

    def _list_organization(self, organization: str, query: Mapping[str, str]) -> tuple[int, object]:
        now = self.now()
        found = [r for r in self._newest_first(organization) if r.visible_at <= now]
        return self._page(found, query, Dialect.TODAY)

    def _newest_first(self, organization: str) -> list[Record]:
        """Return an organization's records; sorted anew where there are more than before."""
        counts = [(stack, len(records)) for stack, records in self.records.items()]
        known = self._sorted.get(organization)
        if known is None or known[0] != counts:
            found = [
                r
                for stack, records in self.records.items()
                if stack.organization == organization
                for r in records
            ]
            found.sort(key=attrgetter("number"), reverse=True)
            known = self._sorted[organization] = counts, found
        return known[1]

    def _list_stack(
        self, stack: StackRef, query: Mapping[str, str], dialect: Dialect
    ) -> tuple[int, object]:
        now = self.now()
        found = [r for r in self.records.get(stack, []) if r.visible_at <= now]
        if dialect is Dialect.TODAY:
            found.reverse()
        return self._page(found, query, dialect)

    def _page(
        self, found: list[Record], query: Mapping[str, str], dialect: Dialect
    ) -> tuple[int, object]:
        page, size = int(query.get("page", "1")), int(query.get("pageSize", "10"))
        if page < 1 or not 1 <= size <= LARGEST_PAGE:
            return 400, _error(400, f"pageSize: is not a whole number from 1 to {LARGEST_PAGE}")
        chosen = found[(page - 1) * size : page * size]
        if dialect is Dialect.PREVIEW:
            return 200, list_to_json([r.shown for r in chosen], dialect, size, len(found))
        items = ", ".join(record.written(dialect) for record in chosen)
        text = f'{{"deployments": [{items}], "itemsPerPage": {size}, "total": {len(found)}}}'
        return 200, Json(text)

    def _cancel(self, record: Record) -> tuple[int, object]:
        if record.shown.status.ended:
            return 404, _error(404, "nothing to cancel")
        if record.shown.status is JobStatus.NOT_STARTED:
            record.canceled = True
            record.ends_at = self.now()
            message = "canceled before it started"
            ending = Ending(kind=EndingKind.CANCELED, message=message)
            record.shown = replace(record.shown, status=JobStatus.FAILED, ending=ending)
        elif not record.canceled:
            record.canceled = True
            record.ends_at = self.now()
            self.settle()
        return 200, None

    def _logs(
        self, record: Record, query: Mapping[str, str], dialect: Dialect
    ) -> tuple[int, object]:
        ended = record.shown.status.ended
        if "step" in query:
            return self._step_log(record, query, dialect)
        lines = [
            line
            for i, header in enumerate(HEADERS)
            if record.shown.steps[i].status is not StepStatus.NOT_STARTED
            for line in (LogLine(header=header), *self._lines(record, i))
        ]
        token = query.get("continuationToken") or query.get("nextToken") or "0.0.0"
        if not re.fullmatch(r"0\.0\.\d+", token):
            return 400, _error(400, f"{token!r} is no token of this log")
        given = int(token.rsplit(".", 1)[1])
        body: dict[str, object] = {"lines": log_lines_to_json(lines[given:])}
        if not ended:
            body["nextToken"] = f"0.0.{len(lines)}"
        return 200, body

    def _step_log(
        self, record: Record, query: Mapping[str, str], dialect: Dialect
    ) -> tuple[int, object]:
        step = int(query["step"]) - (dialect is Dialect.PREVIEW)
        steps = record.shown.steps
        if not 0 <= step < len(steps):
            status = 400 if step < 0 else 404
            return status, _error(status, f"step: this deployment has {len(steps)} steps")
        offset, count = int(query.get("offset", "0")), int(query.get("count", "100"))
        found = self._lines(record, step)
        lines = found[offset : offset + count]
        body: dict[str, object] = {"lines": log_lines_to_json(lines)}
        writes = steps[step].status in {StepStatus.NOT_STARTED, StepStatus.RUNNING}
        if offset + count < len(found) or (writes and not record.shown.status.ended):
            body["nextOffset"] = offset + len(lines)
        return 200, body

    def _lines(self, record: Record, step: int) -> list[LogLine]:
        if record.shown.steps[step].status is StepStatus.NOT_STARTED:
            return []
        told = self.log(record) if step else ()
        lines = (record.shown.steps[step].name, *told)
        return [LogLine(line=f"{line}\n", timestamp_ns=1) for line in lines]

    # ------------------------------------------------------------ its own life

    def settle(self) -> None:
        """Start and end what is due: one at a time per stack, first in first out."""
        now = self.now()
        for stack in tuple(self._alive):
            alive = [r for r in self._alive[stack] if not r.shown.status.ended]
            self._alive[stack] = alive
            if not alive:
                del self._alive[stack]
            for record in alive:
                if record.ends_at is None and stack in self.paused:
                    break
                if record.ends_at is None:
                    record.ends_at = now + self.duration
                    self._show(record, JobStatus.RUNNING, StepStatus.RUNNING, now)
                if record.ends_at > now:
                    break
                self._end(record)

    def _end(self, record: Record) -> None:
        ended_at = record.ends_at or self.now()
        good = record.outcome is Outcome.SUCCEED and not record.canceled
        job, step = (
            (JobStatus.SUCCEEDED, StepStatus.SUCCEEDED)
            if good
            else (JobStatus.FAILED, StepStatus.FAILED)
        )
        self._show(record, job, step, ended_at)
        if record.canceled:
            ending = Ending(kind=EndingKind.CANCELED, message="canceled")
            record.shown = replace(record.shown, ending=ending)
        elif record.outcome is Outcome.INTERRUPT:
            ending = Ending(kind=EndingKind.INTERRUPTED, message="the engine was lost")
            record.shown = replace(record.shown, ending=ending)

    @staticmethod
    def _show(record: Record, job: JobStatus, step: StepStatus, at: datetime) -> None:
        steps = (
            Step(name="Get source", status=StepStatus.SUCCEEDED, started=at, last_updated=at),
            Step(name="Pulumi operation", status=step, started=at, last_updated=at),
        )
        shown_job = Job(status=job, started=at, last_updated=at, steps=steps)
        record.shown = replace(record.shown, status=job, modified=at, jobs=(shown_job,))

    def _find(self, stack: StackRef, rest: list[str]) -> Record | None:
        records = self.records.get(stack, [])
        if rest[0] == "version":
            return next((r for r in records if r.shown.version == int(rest[1])), None)
        return next((r for r in records if r.shown.id == rest[0]), None)


@lru_cache(maxsize=10_000)
def _where(url: str) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    """Return a URL's path, the parts of it, and its query."""
    split = urlsplit(url)
    query = {k: v[0] for k, v in parse_qs(split.query).items()}
    return split.path, tuple(split.path.strip("/").split("/")), MappingProxyType(query)


def _created(record: Record) -> dict[str, object]:
    shown = record.shown
    url = f"http://localhost/{shown.stack}/deployments/{shown.version}"
    return {"id": shown.id, "version": shown.version, "consoleUrl": url}


def _error(code: int, message: str) -> dict[str, object]:
    return {"code": code, "message": message}


def _response(
    request: requests.PreparedRequest, code: int, body: object, retry_after: str = ""
) -> requests.Response:
    response = requests.Response()
    response.status_code = code
    response.request = request
    response.url = request.url or ""
    text = body if isinstance(body, Json) else "" if body is None else json.dumps(body)
    content: Any = text.encode()
    response._content = content
    response._content_consumed = True  # type: ignore[attr-defined]
    if retry_after:
        response.headers["Retry-After"] = retry_after
    return response
