"""Schedules of stacks: made, looked at, edited, held and ended by callers; fired when due.

A schedule keeps the body of a create. The stack's settings are put under it when it fires, as
they are then; whether that would do is looked at when it is made, too.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import Dialect
from reconciler.api.types import MARKER_PREFIX, Operation, StackRef
from reconciler.api.wire import Fault
from reconciler.engine import timing, validation
from reconciler.engine.queue import Queue
from reconciler.engine.secrets_box import KeyFileError
from reconciler.engine.service.errors import AnswerError, may_deploy, may_see, refused
from reconciler.engine.service.making import Asker, maker
from reconciler.engine.service.settings import Settings
from reconciler.engine.settings import marked, only_known
from reconciler.engine.store import MakeDeployment, ScheduleKind, StoredSchedule, TakenSlot
from reconciler.engine.timing import Timing, Turn
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools
from reconciler.engine.validation import Accepted, Policy, Refusal

__all__ = ["Schedules", "ShownSchedule", "Wanted"]

_log = logging.getLogger(__name__)

# Of one stack: far more than people keep an eye on.
MOST_SCHEDULES = 50

# What one look at the due ones takes up; the next look follows at once.
BATCH = 100

# A schedule that another process made is due at its own time there; this bounds how long a
# clock that went back is not noticed.
LOOK_EVERY = timedelta(minutes=10)

# After a fault that has no reason to go away by itself, but may.
LOOK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a schedule is to be: `body` is that of a create, in today's dialect."""

    kind: ScheduleKind
    timing: Timing
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSchedule:
    """A schedule, and its create's body as it may be shown: each secret is a ciphertext."""

    stored: StoredSchedule
    body: object


class Schedules:
    """The schedules of those stacks that a caller sees, and their due slots."""

    def __init__(self, tools: Tools, queue: Queue, settings: Settings, policy: Policy) -> None:
        self._tools = tools
        self._queue = queue
        self._settings = settings
        self._policy = policy
        # Set when a slot may be due earlier than whoever waits for it knows.
        self.changed = threading.Event()

    def create(self, caller: Caller, stack: StackRef, wanted: Wanted) -> ShownSchedule:
        """Make a schedule; it counts from now."""
        may_deploy(caller, stack.organization)
        self._known(stack)
        body, operation = self._checked(stack, wanted)
        schedule_id, now = str(uuid.uuid4()), self._tools.clock.now()
        schedule = StoredSchedule(
            id=schedule_id,
            stack=stack,
            kind=wanted.kind,
            operation=operation,
            timing=wanted.timing,
            created=now,
            modified=now,
            counted_from=now,
            next=timing.first(wanted.timing, schedule_id, now),
            user=caller.user,
            email=caller.email,
            request=self._seal(schedule_id, body),
        )
        if not self._tools.store.schedules.add(schedule, MOST_SCHEDULES):
            raise AnswerError(400, f"{stack} has {MOST_SCHEDULES} schedules, the most there can be")
        self.changed.set()
        return self._shown(schedule)

    def get(self, caller: Caller, stack: StackRef, schedule_id: str) -> ShownSchedule:
        """Return a schedule by its id."""
        may_see(caller, stack.organization)
        return self._shown(self._find(stack, schedule_id))

    def of_stack(self, caller: Caller, stack: StackRef) -> tuple[ShownSchedule, ...]:
        """Return a stack's schedules, the oldest first."""
        may_see(caller, stack.organization)
        self._known(stack)
        return tuple(map(self._shown, self._tools.store.schedules.of_stack(stack)))

    def update(
        self, caller: Caller, stack: StackRef, schedule_id: str, wanted: Wanted
    ) -> ShownSchedule:
        """Replace what a schedule is; it counts from now. An empty body leaves its request."""
        may_deploy(caller, stack.organization)
        old = self._find(stack, schedule_id)
        if old.kind is not wanted.kind:
            raise AnswerError(404, f"schedule {schedule_id} is of another kind: {old.kind}")
        if not wanted.body:
            wanted = replace(wanted, body=self._open(old))
        body, operation = self._checked(stack, wanted)
        now, sealed = self._tools.clock.now(), self._seal(old.id, body)

        def edited(found: StoredSchedule) -> StoredSchedule:
            return replace(
                found,
                operation=operation,
                timing=wanted.timing,
                version=found.version + 1,
                modified=now,
                counted_from=now,
                next=timing.first(wanted.timing, found.id, now),
                request=sealed,
            )

        return self._shown(self._changed(old, edited))

    def pause(self, caller: Caller, stack: StackRef, schedule_id: str) -> None:
        """Let a schedule take no slot."""
        may_deploy(caller, stack.organization)
        now = self._tools.clock.now()
        old = self._find(stack, schedule_id)
        self._changed(old, lambda found: replace(found, paused=True, modified=now))

    def resume(self, caller: Caller, stack: StackRef, schedule_id: str) -> None:
        """Let a schedule go on; what was due in between is not made up for."""
        may_deploy(caller, stack.organization)
        old = self._find(stack, schedule_id)
        now = self._tools.clock.now()

        def resumed(found: StoredSchedule) -> StoredSchedule:
            if not found.paused:
                return found
            upcoming = None if found.next is None else timing.first(found.timing, found.id, now)
            return replace(found, paused=False, modified=now, counted_from=now, next=upcoming)

        self._changed(old, resumed)

    def delete(self, caller: Caller, stack: StackRef, schedule_id: str) -> None:
        """Forget a schedule; one that is gone is no fault."""
        may_deploy(caller, stack.organization)
        self._known(stack)
        self._tools.store.schedules.delete(stack, schedule_id)

    def history(self, caller: Caller, stack: StackRef, schedule_id: str) -> tuple[TakenSlot, ...]:
        """Return the slots that a schedule has taken, the newest first."""
        may_see(caller, stack.organization)
        self._find(stack, schedule_id)
        return self._tools.store.schedules.history(schedule_id)

    # ------------------------------------------------------------ firing

    def fire_due(self) -> datetime:
        """Take the slots that are due now, and return when to look again."""
        now = self._tools.clock.now()
        store = self._tools.store.schedules
        due = store.due(now, now + timing.WENT_BACK, BATCH)
        broken = False
        for schedule in due:
            turn = timing.turn(schedule.decides, now)
            if turn is None:
                continue
            try:
                self._take(schedule, turn, now)
            except Exception:  # noqa: BLE001 - the others are due all the same
                _log.exception("schedule %s of %s failed", schedule.id, schedule.stack)
                broken = True
        if broken:
            return now + LOOK_AGAIN
        if len(due) == BATCH:
            return now
        upcoming = store.next_slot()
        return min(now + LOOK_EVERY, upcoming or now + LOOK_EVERY)

    def _take(self, schedule: StoredSchedule, turn: Turn, now: datetime) -> None:
        if turn.slot is None and turn.counted_from == now:
            _log.warning("the clock went back: schedule %s counts from now", schedule.id)
        make: MakeDeployment | str = turn.missed
        if turn.slot is not None and not turn.missed:
            make = self._make(schedule)
        taken = self._tools.store.schedules.take(schedule, turn, now, make)
        if taken is not None:
            _log.info("schedule %s of %s: deployment %s", schedule.id, schedule.stack, taken.id)
            self._queue.wake()

    def _make(self, schedule: StoredSchedule) -> MakeDeployment | str:
        """Return what makes the deployment of a slot, or why there can be none."""
        try:
            body = self._open(schedule)
            accepted = self._accept(schedule.stack, body)
        except (AnswerError, KeyFileError) as error:
            return f"failed: {error}"
        asker = Asker(user=schedule.user, email=schedule.email, initiator="schedule")
        return maker(self._tools, schedule.stack, accepted, asker)

    # ------------------------------------------------------------ inside

    def _checked(self, stack: StackRef, wanted: Wanted) -> tuple[object, Operation]:
        """Return the body to keep, and its operation; 400 for what could not be deployed."""
        once = wanted.timing.once
        if once is not None and once <= self._tools.clock.now():
            at = "timestamp" if wanted.kind is ScheduleKind.TTL else "scheduleOnce"
            raise AnswerError(400, f"{at}: {once.isoformat()} is over; give a time to come")
        body = self._settings.opened(stack, wanted.body)
        accepted = self._accept(stack, body, asked=wanted.kind is ScheduleKind.RAW)
        if accepted.marker:
            at = f"request.operationContext.environmentVariables.{accepted.marker}"
            raise AnswerError(400, f"{at}: {MARKER_PREFIX}… names one deployment, not all")
        kept = marked(only_known(body), validation.looks_secret)
        return kept, accepted.request.operation

    def _accept(self, stack: StackRef, body: object, *, asked: bool = False) -> Accepted:
        """Return what would be deployed now; `asked`: the caller sent the body, as `request`."""
        request = request_from_json(self._settings.under(stack, body), wire_secret, Dialect.TODAY)
        if isinstance(request, tuple):
            if not asked and not self._settings.has(stack):
                raise AnswerError(
                    400,
                    f"stack {stack} has no deployment settings: set them first, so that the "
                    "schedule knows its program",
                )
            prefix = ("request",) if asked else ()
            raise refused([Fault((*prefix, *f.pointer), f.message) for f in request])
        accepted = validation.check(request, self._policy)
        if isinstance(accepted, Refusal):
            raise AnswerError(400, accepted.message)
        return accepted

    def _find(self, stack: StackRef, schedule_id: str) -> StoredSchedule:
        found = self._tools.store.schedules.get(schedule_id)
        if found is None or found.stack != stack:
            raise AnswerError(404, f"schedule {schedule_id[:100]!r} of {stack} not found")
        return found

    def _known(self, stack: StackRef) -> None:
        if self._tools.store.stacks.get(stack) is None:
            raise AnswerError(404, f"stack {stack} not found")

    def _changed(
        self, old: StoredSchedule, decide: Callable[[StoredSchedule], StoredSchedule]
    ) -> StoredSchedule:
        new = self._tools.store.schedules.change(old.id, decide)
        if new is None:
            raise AnswerError(404, f"schedule {old.id} of {old.stack} not found")
        self.changed.set()
        return new

    def _shown(self, schedule: StoredSchedule) -> ShownSchedule:
        body = self._settings.hidden(schedule.stack, self._open(schedule))
        return ShownSchedule(stored=schedule, body=body)

    def _seal(self, schedule_id: str, body: object) -> bytes:
        return self._tools.box.encrypt(json.dumps(body).encode(), _context(schedule_id))

    def _open(self, schedule: StoredSchedule) -> dict[str, object]:
        body: dict[str, object] = json.loads(
            self._tools.box.decrypt(schedule.request, _context(schedule.id))
        )
        return body


def _context(schedule_id: str) -> str:
    return f"schedule/{schedule_id}"
