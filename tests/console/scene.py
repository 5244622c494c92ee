"""A fleet that was thought up, for the console to show: one spec in each state, and much else.

It stands where the loop or an engine would (`reconciler.console.ports`), so that a test sees a
page in a state that would take a day to come about, or with a name that no file may have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware

from reconciler.api.types import (
    Deployment,
    Job,
    JobStatus,
    LogLine,
    Operation,
    Step,
    StepStatus,
    User,
)
from reconciler.clock import SystemClock
from reconciler.console.app import Console
from reconciler.console.ports import Denied
from reconciler.console.values import (
    Act,
    Change,
    Coming,
    Held,
    Item,
    Lane,
    LogPart,
    Order,
    Past,
    PlanRow,
    Plans,
    Shown,
    Story,
    Tone,
    Viewer,
)
from reconciler.engine.config import EngineConfig, HttpLimits
from reconciler.engine.http.headers import SafeHeaders
from reconciler.engine.http.streams import Streams
from reconciler.engine.service import AnswerError
from reconciler.engine.serving import answering, listen, url_of
from tests.fakes.world import SimClock

NOW = SystemClock().now().replace(microsecond=0)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

TOKENS = {"rcc_admin-token-of-a-test": "admin", "rcc_read-token-of-a-test": "read"}
ADMIN, READER = TOKENS


def item(name: str, state: str, tone: Tone, reason: str, **more: object) -> Item:
    base = Item(
        name=name, stack=f"acme/{name.rsplit('/', maxsplit=1)[-1]}/prod", state=state, tone=tone
    )
    return replace(base, reason=reason, **more)  # type: ignore[arg-type]


FLEET = (
    item(
        "billing",
        "Waiting",
        Tone.PERSON,
        "waits for approval of update: 2 to create, 1 to replace",
        code="Approval",
        version=41,
        operation="preview",
        step="Look and approve",
    ),
    item(
        "search",
        "Invalid",
        Tone.PERSON,
        "specs/search.yaml:7:5: /schedules/0/cron: 61 is no minute: 0 to 59",
        step="Mend the file",
    ),
    item(
        "warehouse",
        "Stalled",
        Tone.PERSON,
        "interrupted in the operation: the worker was lost while Pulumi ran",
        version=9,
        operation="update",
        step="Look at its state",
    ),
    item(
        "shop/web",
        "Failed",
        Tone.BAD,
        "version 118 failed in 'Pulumi operation'; tried again",
        version=118,
        operation="update",
        step="Read its log",
    ),
    item(
        "shop/api",
        "Progressing",
        Tone.BUSY,
        "update runs as version 77: Pulumi operation",
        version=77,
        operation="update",
        step="Follow its log",
    ),
    item(
        "reports",
        "Waiting",
        Tone.WAITS,
        "waits for shop/api (Progressing)",
        version=12,
        operation="update",
        step="See what it waits for",
        next_run=NOW + 3 * HOUR,
    ),
    item(
        "mail",
        "Waiting",
        Tone.WAITS,
        "waits for its windows, which open Mon 08:00 UTC",
        version=3,
        operation="update",
        step="Run it outside its windows",
        next_run=NOW + 9 * HOUR,
    ),
    item(
        "network",
        "Ready",
        Tone.GOOD,
        "version 30 is at 1f6f30ae45a5, as wanted",
        version=30,
        operation="update",
        next_run=NOW + 5 * HOUR,
    ),
    item(
        "dns",
        "Ready",
        Tone.GOOD,
        "version 8 is at 1f6f30ae45a5, as wanted",
        version=8,
        operation="refresh",
    ),
    item(
        "database",
        "Ready",
        Tone.GOOD,
        "version 22 is at 77aa01bc9e02, as wanted",
        version=22,
        operation="update",
        next_run=NOW + 2 * HOUR,
    ),
    item(
        "legacy",
        "Suspended",
        Tone.RESTS,
        "ada suspended it on 2026-11-20 09:12 UTC",
        version=5,
        operation="update",
        step="Resume it",
    ),
)
EDGES = {
    "database": ("network",),
    "dns": ("network",),
    "shop/api": ("database", "dns"),
    "shop/web": ("shop/api", "dns"),
    "billing": ("database",),
    "reports": ("shop/api", "billing"),
    "warehouse": ("database", "lost"),
}
CHANGES = (
    Change(
        field="operationContext.environmentVariables.REGION", old="eu-central-1", new="us-west-2"
    ),
    Change(field="operationContext.preRunCommands[0]", new="./warm-cache.sh"),
    Change(
        field="operationContext.environmentVariables.DB_PASSWORD",
        old="(secret)",
        new="(another secret)",
    ),
)
LOG = (
    ("", "Get source"),
    ("HEAD is now at 1f6f30a A larger database\n", ""),
    ("", "Pulumi operation"),
    ("Updating (\x1b[35macme/shop/prod\x1b[0m)\n", ""),
    (" \x1b[32m+\x1b[0m  aws:rds:Instance db \x1b[1;32mcreating\x1b[0m (0s)\n", ""),
    (
        " \x1b[33m~\x1b[0m  aws:ecs:Service api \x1b[33mupdating\x1b[0m [diff: ~taskDefinition]\n",
        "",
    ),
    (" \x1b[31m-\x1b[0m  aws:sqs:Queue old \x1b[31mdeleting\x1b[0m\n", ""),
)


def line(text: str, header: str = "") -> LogLine:
    stamp = None if header else int(NOW.timestamp()) * 10**9
    return LogLine(line=text, header=header, timestamp_ns=stamp)


def run_of(version: int, status: JobStatus) -> Deployment:
    begun = NOW - 4 * MINUTE
    live = not status.ended
    steps = (
        Step(
            name="Get source",
            status=StepStatus.SUCCEEDED,
            started=begun,
            last_updated=begun + timedelta(seconds=11),
        ),
        Step(
            name="Pulumi operation",
            status=StepStatus.RUNNING if live else StepStatus(str(status)),
            started=begun + timedelta(seconds=11),
            last_updated=NOW - MINUTE,
        ),
    )
    job = Job(status=status, started=begun, last_updated=NOW - MINUTE, steps=steps)
    return Deployment(
        id=f"id-{version}",
        version=version,
        status=status,
        created=begun - timedelta(seconds=4),
        modified=NOW - MINUTE,
        operation=Operation.UPDATE,
        jobs=(job,),
        requested_by=User(name="ada"),
    )


@dataclass
class Scene:
    """What is shown, and what was asked for."""

    fleet: Sequence[Item] = FLEET
    depends: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EDGES)
    log_lines: list[LogLine] = field(default_factory=lambda: [line(*each) for each in LOG])
    statuses: dict[int, JobStatus] = field(
        default_factory=lambda: {77: JobStatus.RUNNING, 118: JobStatus.FAILED}
    )
    orders: list[tuple[str, Order]] = field(default_factory=list)
    noted: list[tuple[str, str, str]] = field(default_factory=list)
    heard: list[Callable[[], None]] = field(default_factory=list)
    things: str = "specs"
    plans_ahead: bool = True
    secure: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    # ------------------------------------------------------------ the gate

    def admit(self, token: str, address: tuple[str, str], asked: str) -> Viewer | Denied:
        assert address[0] == "127.0.0.1", asked
        if token not in TOKENS:
            return Denied(status=401, message="this token is not good here")
        return Viewer(name="ada", role=TOKENS[token], address=address[0], key=token)

    def still(self, viewer: Viewer) -> None:
        assert viewer.key in TOKENS

    @contextmanager
    def noting(self, viewer: Viewer, action: str, target: str) -> Iterator[None]:
        try:
            yield
        except AnswerError as error:
            self.noted.append((viewer.name, f"{action} {target}", f"refused {error.status}"))
            raise
        self.noted.append((viewer.name, f"{action} {target}", "done"))

    # ------------------------------------------------------------ the source

    def items(self, viewer: Viewer) -> Sequence[Item]:
        assert viewer.role
        return self.fleet

    def edges(self, viewer: Viewer) -> Mapping[str, tuple[str, ...]]:
        assert viewer.role
        return self.depends

    def lanes(
        self, viewer: Viewer, names: Sequence[str], span: tuple[datetime, datetime]
    ) -> Sequence[Lane]:
        assert viewer.role
        assert span[0] < span[1]
        return [self.lane(found) for found in self.fleet if found.name in names]

    def lane(self, found: Item) -> Lane:
        seed = sum(map(ord, found.name))
        past = [
            Past(
                version=max(found.version - n, 1),
                operation=found.operation,
                status="succeeded",
                tone=Tone.GOOD,
                begun=NOW - (n * 3 + seed % 3) * HOUR,
                ended=NOW - (n * 3 + seed % 3) * HOUR + (8 + seed % 30) * MINUTE,
            )
            for n in range(1, min(found.version, 4))
        ]
        if found.tone in {Tone.BUSY, Tone.BAD}:
            tone = found.tone
            ended = None if tone is Tone.BUSY else NOW - 9 * MINUTE
            past.append(
                Past(
                    version=found.version,
                    operation="update",
                    begun=NOW - 25 * MINUTE,
                    ended=ended,
                    tone=tone,
                    status="running" if tone is Tone.BUSY else "failed",
                )
            )
        runs = found.tone is not Tone.RESTS
        coming = [
            Coming(
                at=NOW + (n * 4 + seed % 4) * HOUR,
                operation="refresh",
                schedule="every-4h",
                runs=runs,
                note="" if runs else "does not run: suspended",
            )
            for n in range(1, 4 if seed % 2 else 2)
        ]
        closed = ((NOW - 20 * HOUR, NOW - 4 * HOUR), (NOW + 6 * HOUR, NOW + 40 * HOUR))
        return Lane(
            name=found.name,
            state=found.state,
            tone=found.tone,
            past=tuple(past),
            coming=tuple(coming),
            closed=closed if found.name == "mail" else (),
        )

    def story(self, viewer: Viewer, name: str, now: datetime) -> Story:
        assert viewer.role
        assert now >= NOW
        found = self.find(name)
        by_name = {each.name: each for each in self.fleet}
        acts: tuple[Act, ...] = (Act.TRIGGER, Act.SUSPEND)
        if found.code == "Approval":
            acts = (Act.APPROVE, *acts)
        if found.tone is Tone.BUSY:
            acts = (Act.CANCEL, *acts)
        return Story(
            item=found,
            since=NOW - 40 * MINUTE,
            path=f"specs/{name}.yaml",
            changes=CHANGES if found.code == "Approval" else (),
            following=(
                "update can be approved until tomorrow",
                "schedule nightly, refresh: in 3 hours",
            ),
            done=("update (version 40; the spec had changed) succeeded, 2 days ago",),
            log=("error: the bucket is not empty",) if found.tone is Tone.BAD else (),
            advice=((f"reconciler why {name}", "says the same on a terminal"),),
            history=(
                (NOW - 47 * HOUR, f"update failed: {'the bucket is not empty; ' * 12}", 41),
                (NOW - 48 * HOUR, "update: succeeded", 40),
            ),
            needs=tuple(by_name[n] for n in self.depends.get(name, ()) if n in by_name),
            needed_by=tuple(
                by_name[n] for n, on in self.depends.items() if name in on and n in by_name
            ),
            lane=self.lane(found),
            acts=acts,
            operations=("", "update", "preview", "refresh", "destroy"),
            meant="update, as its file says",
            binds="key-of-41" if found.code == "Approval" else "",
            approves="update, as #41 has shown it: 2 to create, 1 to replace",
            run_id=f"id-{found.version}",
        )

    def plans(self, viewer: Viewer) -> Plans:
        assert viewer.role
        acting = [each for each in self.fleet if each.tone in {Tone.PERSON, Tone.BAD, Tone.BUSY}]
        rows = tuple(
            PlanRow(
                item=each,
                does=("start update",) if each.tone is Tone.BAD else (),
                changes=CHANGES if each.code == "Approval" else (),
            )
            for each in acting
        )
        held = Held(id="m-17", message="14 specs changed within a minute", names=("dns", "mail"))
        return Plans(rows=rows, held=(held,), settled=len(self.fleet) - len(rows) - 1, suspended=1)

    def deployment(self, viewer: Viewer, name: str, version: int) -> Shown:
        assert viewer.role
        found = self.find(name)
        status = self.statuses.get(version, JobStatus.SUCCEEDED)
        return Shown(
            item=found,
            deployment=run_of(version, status),
            cause="the spec had changed",
            usual=5 * MINUTE,
            facts={"Commit": "1f6f30ae45a5", "Stack": found.stack},
        )

    def log(self, viewer: Viewer, shown: Shown, token: str) -> LogPart:
        assert viewer.role
        begin = int(token or 0)
        ended = self.statuses.get(shown.deployment.version, JobStatus.SUCCEEDED).ended
        with self.lock:
            lines = tuple(self.log_lines[begin : begin + 1000])
            left = begin + len(lines) < len(self.log_lines)
        return LogPart(lines=lines, token="" if ended and not left else str(begin + len(lines)))

    def hear(self, shown: Shown, tell: Callable[[], None]) -> Callable[[], None]:
        assert shown.deployment.id
        self.heard.append(tell)
        return lambda: self.heard.remove(tell)

    def act(self, viewer: Viewer, order: Order) -> str:
        if order.act is Act.APPROVE and order.binds != "key-of-41":
            raise AnswerError(409, "what billing waits for has changed since you looked")
        self.orders.append((viewer.name, order))
        return f"{order.act} of {order.name or 'all'} is asked for"

    # ------------------------------------------------------------ what happens meanwhile

    def find(self, name: str) -> Item:
        for each in self.fleet:
            if each.name == name:
                return each
        raise AnswerError(404, f"there is no spec {name!r}")

    def write(self, *texts: str) -> None:
        """Have the log go on."""
        with self.lock:
            self.log_lines += [line(text) for text in texts]
        self.tell()

    def tell(self) -> None:
        for tell in tuple(self.heard):
            tell()

    def becomes(self, name: str, **changes: object) -> None:
        """Have a spec stand otherwise."""
        self.fleet = tuple(
            replace(each, **changes) if each.name == name else each  # type: ignore[arg-type]
            for each in self.fleet
        )


@contextmanager
def shown(scene: Scene) -> Iterator[str]:
    """Serve a scene, and give the console's address."""
    limits = HttpLimits()
    streams = Streams(limits)
    app = Starlette(
        routes=Console(scene, scene, SimClock(time=NOW), streams).routes(),
        middleware=[Middleware(SafeHeaders)],
    )
    config = EngineConfig(data=Path("/nowhere"), port=0, http=limits)
    with listen(config) as listener, answering(app, listener, config, streams.close):
        yield f"{url_of(config, listener)}/console"
