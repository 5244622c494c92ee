"""A world for the real loop: a clock that jumps ahead, files in memory, crashes on demand."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

import requests

from reconciler.api.client import ApiClient
from reconciler.api.types import (
    DeploymentRequest,
    EnvironmentVariable,
    GitSource,
    Operation,
    Secret,
)
from reconciler.breaker import Breaker
from reconciler.daemon import Daemon, Parts
from reconciler.errors import NotDurableError, UnreadableError
from reconciler.executor import Executor, Tools
from reconciler.metrics import OFF, Meter
from reconciler.model import (
    Attempt,
    Catalog,
    Desired,
    HandRequest,
    Hold,
    Holds,
    Passage,
    Reason,
    Spec,
    State,
    Status,
)
from reconciler.observer import Observer
from reconciler.planning.admission import Limits, Mass
from reconciler.planning.digest import digest
from reconciler.planning.transitions import same
from reconciler.pool import Pool
from reconciler.ports import Statuses
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer
from reconciler.values import replace
from tests.factories import NOW
from tests.fakes.deployments_api import TOKEN, FakeApi

__all__ = ["Crash", "World"]


class Crash(BaseException):
    """The process ends here, at once."""


@dataclass
class SimClock:
    """A clock that stands until someone waits. `set_by` is what of its time never passed."""

    time: datetime = NOW
    set_by: timedelta = timedelta(0)

    def now(self) -> datetime:
        return self.time

    def running(self) -> timedelta:
        return self.time - NOW - self.set_by

    def set_ahead(self, by: timedelta) -> None:
        self.time += by
        self.set_by += by

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        if not wake.is_set():
            self.time = max(self.time, moment) + timedelta(milliseconds=1)


@dataclass
class World:
    """Everything around the loop. What is in `disk` survives a crash, as does the API."""

    specs: dict[str, Spec]
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    clock: SimClock = field(default_factory=SimClock)
    settle: timedelta = timedelta(seconds=30)
    disk: dict[str, Status] = field(default_factory=dict)
    requests: dict[str, HandRequest] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, State, Reason]] = field(default_factory=list)
    crash_at: Callable[[str], bool] = field(default=lambda _: False)
    disk_fails: Callable[[], bool] = field(default=lambda: False)
    reads_fail: Callable[[], bool] = field(default=lambda: False)
    limits: Limits = field(default_factory=lambda: Limits(max_concurrent=20))
    holds: Holds = field(default_factory=Holds)
    masses: tuple[Mass, ...] = ()
    removed: set[str] = field(default_factory=set)
    catalog: Catalog | None = None
    unreadable: bool = False
    writes: int = 0
    run_ids: int = 0
    scans: int = 0
    journal: list[Status] = field(default_factory=list)
    writing: dict[str, datetime] = field(default_factory=dict)
    source_every: timedelta | None = timedelta(seconds=60)
    meter: Meter = OFF
    tracer: Tracer = NO_TRACES
    tell: Callable[[World], Statuses] = lambda world: world
    prepared: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = FakeApi(now=self.clock.now)
        self.session = DirectSession(self.api)
        self.client = ApiClient("http://localhost", lambda: Secret(TOKEN), session=self.session)

    # ------------------------------------------------------------ what the loop is given

    def daemon(self) -> Daemon:
        """Start a process: it knows only what is on the disk."""
        breaker = Breaker(self.source, self.clock, self.meter)
        self.client.meter, self.client.tracer = self.meter, self.tracer
        statuses = self.tell(self)
        executor = Executor(
            Tools(
                breaker=breaker,
                statuses=statuses,
                requests=RequestFiles(self),
                resolver=Lookups(self),
                clock=self.clock,
                owner="owner",
                new_run_id=self.new_run_id,
                meter=self.meter,
            )
        )
        daemon = Daemon(
            Parts(
                specs=self,
                statuses=statuses,
                requests=RequestFiles(self),
                holds=HoldsInMemory(self),
                resolver=Lookups(self),
                observer=Observer(breaker, self.clock, self.settle, "owner"),
                executor=executor,
                clock=self.clock,
                limits=self.limits,
                pool=Pool(1),
                say=lambda name, state, reason: self.said.append((name, state, reason)),
                meter=self.meter,
                tracer=self.tracer,
            )
        )
        self.meter.ask(daemon.readings)
        self.meter.ask(breaker.readings)
        return daemon

    def let_through(self) -> None:
        """Let a person approve all that is held because it is very much."""
        found = {
            Passage(mass.code, name, digest, self.clock.time)
            for mass in self.masses
            for name, digest in mass.names.items()
        }
        self.holds = replace(self.holds, approved=self.holds.approved | found)

    def source(self) -> ApiClient:
        self.maybe_crash("call")
        return self.client

    def new_run_id(self) -> str:
        self.run_ids += 1
        return f"r{self.run_ids}"

    def scan(self) -> Catalog:
        self.scans += 1
        if self.catalog is not None:
            return self.catalog
        if not self.specs and self.unreadable:
            return Catalog(complete=False)
        return Catalog(specs=tuple(self.specs[n] for n in sorted(self.specs)))

    def look(self, paths: Iterable[str]) -> tuple[Spec, ...] | None:
        found = [self.specs.get(path.removesuffix(".yaml")) for path in paths]
        return None if None in found else tuple(one for one in found if one is not None)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.disk))

    def removed_by_commit(self, name: str) -> bool:
        return name in self.removed

    def forget(self, name: str) -> None:
        self.maybe_crash("before a status is forgotten")
        if self.disk_fails():
            raise NotDurableError("no space left")
        self.disk.pop(name, None)

    def read(self, name: str) -> Status:
        if self.reads_fail():
            raise UnreadableError("too many open files")
        return self.disk.get(name) or Status(name=name)

    def keeps(self, name: str) -> bool:
        return name in self.disk

    def write(self, status: Status) -> Status:
        old = self.disk.get(status.name) or Status(name=status.name)
        if same(status, old):
            return old
        self.maybe_crash("before a write")
        if self.disk_fails():
            raise NotDurableError("no space left")
        self.writes += 1
        written = replace(status, generation=old.generation + 1)
        self.disk[status.name] = written
        self.journal.append(written)
        self.maybe_crash("after a write")
        return written

    # ------------------------------------------------------------ what happens to it

    def maybe_crash(self, where: str) -> None:
        if self.crash_at(where):
            raise Crash(where)

    def run_once(self, limit: timedelta = timedelta(hours=3)) -> Daemon:
        """Run until settled; a crash is followed by a new process."""
        deadline = self.clock.now() + limit
        while True:
            daemon = self.daemon()
            try:
                settled = daemon.run_once(max(deadline - self.clock.now(), timedelta(seconds=1)))
            except Crash:
                continue
            assert settled, {n: (s.state, s.reason) for n, s in self.disk.items()}
            return daemon


class DirectSession(requests.Session):
    """A session whose requests go straight to the model; what requests adds costs two thirds."""

    def __init__(self, api: FakeApi) -> None:
        super().__init__()
        self._api = api

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Give the model a request as its transport would."""
        prepared = requests.PreparedRequest()
        params = options.get("params")
        query = _query(tuple(params.items())) if params else ""
        prepared.method, prepared.url = method, f"{url}?{query}" if query else url
        prepared.headers = requests.structures.CaseInsensitiveDict()
        body = options.get("json")
        prepared.body = json.dumps(body).encode() if body is not None else None
        assert callable(self.auth)
        return self._api.send(self.auth(prepared))


@cache
def _query(params: tuple[tuple[str, str], ...]) -> str:
    return urlencode(params)


@dataclass
class HoldsInMemory:
    """What people hold by hand."""

    world: World

    def read(self) -> Holds:
        return self.world.holds

    def of(self, name: str) -> Hold | None:
        return self.world.holds.of(name)

    def move(self, old: str, new: str) -> None:
        self.world.maybe_crash("before a hold is moved")
        names = dict(self.world.holds.names)
        if old in names:
            names.setdefault(new, names[old])
            self.world.holds = replace(self.world.holds, names=names)

    def moved(self, old: str) -> None:
        self.world.maybe_crash("before a hold is dropped")
        names = {n: hold for n, hold in self.world.holds.names.items() if n != old}
        self.world.holds = replace(self.world.holds, names=names)

    def tell(self, masses: Sequence[Mass]) -> bool:
        self.world.masses = tuple(masses)
        return True

    def use_up(self, passages: Iterable[Passage]) -> None:
        self.world.maybe_crash("before an approval is used up")
        gone, holds = frozenset(passages), self.world.holds
        self.world.holds = replace(holds, approved=holds.approved - gone, used=holds.used | gone)


@dataclass
class RequestFiles:
    """The requests by hand, which are files of their own."""

    world: World

    def all(self) -> tuple[HandRequest, ...]:
        return tuple(self.world.requests.values())

    def move(self, old: str, new: str) -> None:
        self.world.maybe_crash("before a request is moved")
        for request in self.all():
            if request.name == old:
                self.world.requests[request.id] = replace(request, name=new)

    def moved(self, old: str) -> None:
        """Nothing stays with an old name."""

    def put(self, request: HandRequest) -> None:
        self.world.maybe_crash("before a request is put")
        self.world.requests[request.id] = request

    def remove(self, request_id: str) -> None:
        self.world.maybe_crash("before a request is removed")
        self.world.requests.pop(request_id, None)


@dataclass
class Lookups:
    """What a spec leaves open."""

    world: World

    def prepare(self, specs: Iterable[Spec]) -> None:
        self.world.prepared.append(tuple(spec.name for spec in specs))

    def desired(self, spec: Spec) -> Desired:
        wanted = self.world.digests.get(spec.name, "d" * 64)
        every = self.world.source_every
        return Desired(
            spec=spec,
            fields={"digest": wanted},
            digest=wanted,
            commit=self.world.heads.get(spec.name, "a" * 40),
            source_again_at=self.world.clock.now() + every if every is not None else None,
        )

    def removed(self, spec: Spec, attempt: Attempt | None) -> Desired:
        known = attempt or Attempt(digest="", commit="")
        fields = {**known.fields, "operation": "destroy"}
        return Desired(
            spec=spec,
            fields=fields,
            digest=digest(fields),
            commit=known.commit,
            source=known.source,
        )

    def request(
        self, spec: Spec, operation: Operation, commit: str, marker: str
    ) -> DeploymentRequest[Secret]:
        return DeploymentRequest(
            operation=operation,
            source=GitSource(repo_url=spec.request.source.repo_url, commit=commit),
            environment=(EnvironmentVariable(name=marker, value="1"),),
        )
