"""What the console shows of an engine: its stacks and their deployments, for `engine serve`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from starlette.routing import BaseRoute

from reconciler import cron
from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import Dialect
from reconciler.api.types import EndingKind, JobStatus, StackRef
from reconciler.cli.console_failures import NOTHING, Failures
from reconciler.clock import Clock, SystemClock
from reconciler.console.app import Console
from reconciler.console.keeping import Kept
from reconciler.console.ports import Denied
from reconciler.console.runs import past_of, usual_time
from reconciler.console.values import (
    Act,
    Coming,
    Item,
    Lane,
    LogPart,
    Order,
    Past,
    Plans,
    Shown,
    Story,
    Tone,
    Viewer,
)
from reconciler.engine.http.streams import Streams
from reconciler.engine.service import AnswerError, Service
from reconciler.engine.service.access import Asked, Refused
from reconciler.engine.service.errors import refused
from reconciler.engine.service.stacks import StackStanding
from reconciler.engine.store import PageQuery, StoredSchedule
from reconciler.engine.tokens import EVERY_ORGANIZATION, Caller
from reconciler.errors import NotDurableError
from reconciler.planning.moments import when

__all__ = ["EngineGate", "EngineSource", "pages"]

# A page is looked at by several people at once, and again every few seconds.
KEEP: Final = timedelta(seconds=1)

# Of one stack's past: what fits a picture, and a table below it.
RUNS_SHOWN: Final = 30
SLOTS_SHOWN: Final = 100

_OPERATIONS: Final = ("", "update", "preview", "refresh", "detect-drift", "destroy")
_WORDS: Final = {
    JobStatus.NOT_STARTED: "Queued",
    JobStatus.ACCEPTED: "Queued",
    JobStatus.RUNNING: "Running",
    JobStatus.FAILED: "Failed",
    JobStatus.SUCCEEDED: "Succeeded",
    JobStatus.SKIPPED: "Skipped",
}


def pages(service: Service, streams: Streams) -> Sequence[BaseRoute]:
    """Return the console's routes over an engine."""
    clock = SystemClock()
    return Console(EngineSource(service, clock), EngineGate(service), clock, streams).routes()


def _caller(viewer: Viewer) -> Caller:
    assert isinstance(viewer.key, Caller)  # noqa: S101 - the gate below has put it there
    return viewer.key


class EngineGate:
    """Lets in whom the API lets in, with the same roles and into the same audit log."""

    def __init__(self, service: Service) -> None:
        self._access = service.access
        self.secure = service.base_url.startswith("https:")

    def admit(self, token: str, address: tuple[str, str], asked: str) -> Viewer | Denied:
        """Return who presents a token; refused ones are written down, as the API's are."""
        place = self._access.address(*address)
        found = self._access.admit(token, place)
        if isinstance(found, Refused):
            if token:
                method, _, path = asked.partition(" ")
                about = Asked(
                    action=f"{method} console", target=path, organization="", address=place
                )
                self._access.record_refused(about, found)
            return Denied(
                status=found.status, message=found.message, retry_after_s=found.retry_after_s
            )
        every = found.organization == EVERY_ORGANIZATION
        return Viewer(
            name=found.user,
            role=str(found.role),
            organization="" if every else found.organization,
            address=place,
            key=found,
        )

    def still(self, viewer: Viewer) -> None:
        """Raise AnswerError 401 where the token was revoked or has expired."""
        self._access.look_again(_caller(viewer))

    @contextmanager
    def noting(self, viewer: Viewer, action: str, target: str) -> Iterator[None]:
        """Have the change that is made within take its entry of the audit log along."""
        caller = _caller(viewer)
        organization = target.partition("/")[0]
        asked = Asked(
            action=f"console {action}",
            target=target,
            organization=organization if caller.sees(organization) else caller.organization,
            address=viewer.address,
        )
        note = self._access.note(asked, caller)
        try:
            with self._access.noting(note):
                yield
        except AnswerError as error:
            self._access.record(asked, caller, f"refused {error.status}")
            raise
        except NotDurableError:
            raise
        if not note.written:
            self._access.record(asked, caller, "done")


class EngineSource:
    """The stacks of an engine that were ever deployed."""

    things = "stacks"
    plans_ahead = False

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._items: Kept[tuple[Item, ...]] = Kept(clock, KEEP)
        self._failures = Failures(service)

    def items(self, viewer: Viewer) -> Sequence[Item]:
        """Return how each stack stands, those that failed first."""

        def make() -> tuple[Item, ...]:
            caller = _caller(viewer)
            standing, order = self._service.stacks.standing(caller), tuple(Tone)
            why = self._failures.of(caller, [each.newest for each in standing])
            found = (_item(each, why.get(each.newest.stack, "")) for each in standing)
            return tuple(sorted(found, key=lambda item: (order.index(item.tone), item.name)))

        return self._items.get(viewer.organization, make)

    def lanes(
        self, viewer: Viewer, names: Sequence[str], span: tuple[datetime, datetime]
    ) -> Sequence[Lane]:
        """Return what of these stacks ran, runs and is due."""
        known = {item.name: item for item in self.items(viewer)}
        return [self._lane(viewer, known[name], span) for name in names if name in known]

    def _lane(self, viewer: Viewer, item: Item, span: tuple[datetime, datetime]) -> Lane:
        caller, stack = _caller(viewer), StackRef.parse(item.name)
        schedules = [shown.stored for shown in self._service.schedules.of_stack(caller, stack)]
        begin = max(span[0], self._clock.now())
        coming = [due for each in schedules for due in _coming(each, begin, span[1])]
        return Lane(
            name=item.name,
            state=item.state,
            tone=item.tone,
            past=self._past(caller, stack),
            coming=tuple(sorted(coming, key=lambda due: due.at)),
        )

    def _past(self, caller: Caller, stack: StackRef) -> tuple[Past, ...]:
        """Return a stack's last runs."""
        query = PageQuery(organization=stack.organization, stack=stack, page_size=RUNS_SHOWN)
        return tuple(map(past_of, self._service.deployments.page(caller, query).deployments))

    def edges(self, viewer: Viewer) -> Mapping[str, tuple[str, ...]]:
        """Return nothing: an engine knows of no dependencies between stacks."""
        del viewer
        return {}

    def plans(self, viewer: Viewer) -> Plans:
        """Return nothing: an engine does what it is asked for."""
        del viewer
        return Plans()

    def story(self, viewer: Viewer, name: str, now: datetime) -> Story:
        """Return all that is known of one stack."""
        item, caller, stack = self._find(viewer, name), _caller(viewer), _stack(name)
        lane = self._lane(viewer, item, (now, now + timedelta(days=7)))
        state = self._service.pauses.stack_state(caller, stack)
        live = [run for run in lane.past if run.ended is None]
        following = [f"{live[0].operation} #{live[0].version} {live[0].status}"] if live else []
        if state.organization_paused:
            following.append(f"all deployments of {stack.organization} are paused")
        following += [
            f"{due.operation} is due {when(due.at, now)} ({due.schedule})"
            for due in lane.coming[:3]
        ]
        failure = self._failures.look(caller, stack, item.version) if item.version else NOTHING
        done: tuple[str, ...] = ()
        if failure.step:
            done = (f"{item.operation} #{item.version} failed in its step '{failure.step}'",)
        if state.drift.detected:
            done += ("drift was found, and is still there",)
        acts = [Act.CANCEL] if live else []
        acts.append(Act.RESUME if state.stack_paused else Act.SUSPEND)
        settings = self._service.settings.has(stack)
        if settings:
            acts.insert(0, Act.TRIGGER)
        else:
            following.append("it can be run from here once it has deployment settings")
        return Story(
            item=item,
            following=tuple(following) or ("nothing by itself",),
            done=done,
            log=failure.tail,
            history=tuple((r.begun, f"{r.operation}: {r.status}", r.version) for r in lane.past),
            lane=lane,
            acts=tuple(acts),
            operations=_OPERATIONS,
            meant="as its deployment settings say",
            run_id=str(live[0].version) if live else "",
        )

    def deployment(self, viewer: Viewer, name: str, version: int) -> Shown:
        """Return a deployment by its version."""
        caller, stack = _caller(viewer), _stack(name)
        found = self._service.deployments.get_version(caller, stack, version)
        item = self._find(viewer, name)
        facts = {"Initiator": found.initiator} if found.initiator else {}
        if found.source is not None:
            source = found.source
            facts["Source"] = source.repo_url
            facts["At"] = source.commit[:12] or source.tag or source.branch_name
        usually = usual_time(self._past(caller, stack), str(found.operation or ""))
        return Shown(item=item, deployment=found, facts=facts, usual=usually)

    def log(self, viewer: Viewer, shown: Shown, token: str) -> LogPart:
        """Return the next part of a log."""
        stack = _stack(shown.item.name)
        page = self._service.logs.follow(_caller(viewer), stack, shown.deployment.id, token)
        return LogPart(lines=page.lines, token=page.next_token or "")

    def hear(self, shown: Shown, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called when the log may have more."""
        return self._service.logs.hear(shown.deployment.id, tell)

    # ------------------------------------------------------------ what people ask for

    def act(self, viewer: Viewer, order: Order) -> str:
        """Do it, as the API would."""
        caller, stack, service = _caller(viewer), _stack(order.name), self._service
        self._items.forget()
        match order.act:
            case Act.CANCEL:
                return self._cancel(caller, stack, order)
            case Act.SUSPEND:
                service.pauses.pause_stack(caller, stack)
                return f"{stack} is paused: nothing of it starts; what runs goes on"
            case Act.RESUME:
                service.pauses.resume_stack(caller, stack)
                return f"{stack} goes on"
            case Act.TRIGGER:
                return self._trigger(caller, stack, order.operation)
        raise AnswerError(400, f"an engine's stacks know no {order.act}")

    def _cancel(self, caller: Caller, stack: StackRef, order: Order) -> str:
        deployments, wanted = self._service.deployments, order.binds
        if wanted.isdecimal() and wanted.isascii() and len(wanted) < 10:  # noqa: PLR2004 - a version
            wanted = deployments.get_version(caller, stack, int(wanted)).id
        deployments.cancel(caller, stack, wanted)
        return "it is cancelled; what runs ends as soon as it can"

    def _trigger(self, caller: Caller, stack: StackRef, operation: str) -> str:
        body: dict[str, object] = {"inheritSettings": True}
        if operation:
            body["operation"] = operation
        value = self._service.settings.inherited(caller, stack, body)
        request = request_from_json(value, wire_secret, Dialect.TODAY)
        if isinstance(request, tuple):
            raise refused(request)
        made = self._service.deployments.create(caller, stack, request, "console")
        return f"{request.operation} #{made.version} of {stack} is asked for"

    def _find(self, viewer: Viewer, name: str) -> Item:
        stack = _stack(name)
        found = next((item for item in self.items(viewer) if item.name == name), None)
        if found is None:
            # Known, but never deployed; or made within this second.
            self._service.stacks.get(_caller(viewer), stack)
            return Item(name=name, stack=name, state="New", tone=Tone.UNSURE)
        return found


def _stack(name: str) -> StackRef:
    try:
        return StackRef.parse(name)
    except ValueError:
        raise AnswerError(404, "not found") from None


def _item(found: StackStanding, why: str) -> Item:
    newest, name = found.newest, str(found.newest.stack)
    tone, state = Tone.of_run(newest.status), _WORDS[newest.status]
    ended = f"{newest.operation} #{newest.version} {newest.status}"
    reason = newest.ending_message or (f"{ended}: {why}" if why else ended)
    step = "Read its log" if tone is Tone.BAD else ""
    if newest.ending_kind == EndingKind.INTERRUPTED:
        tone, step = Tone.PERSON, "Look at its state"
    if found.paused and newest.status != JobStatus.RUNNING:
        tone, state, step = Tone.RESTS, "Paused", "Resume it"
        reason = f"paused; before that: {reason}"
    return Item(
        name=name,
        stack=name,
        state=state,
        tone=tone,
        reason=reason,
        version=newest.version,
        operation=str(newest.operation),
        next_run=found.next_run,
        step=step,
    )


def _coming(schedule: StoredSchedule, begin: datetime, end: datetime) -> Iterator[Coming]:
    timing = schedule.timing
    if timing.once is not None:
        due = [timing.once] if schedule.next is not None and begin <= timing.once < end else []
    else:
        due = []
        for slot in cron.slots_after(timing, begin, schedule.id):
            if slot >= end or len(due) >= SLOTS_SHOWN:
                break
            due.append(slot)
    for moment in due:
        yield Coming(
            at=moment,
            operation=str(schedule.operation),
            schedule=timing.cron or "once",
            runs=not schedule.paused,
            note="the schedule is paused" if schedule.paused else "",
        )
