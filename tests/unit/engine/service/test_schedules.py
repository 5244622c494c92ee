"""Schedules fire once a slot, whatever time, crashes and other engines do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.api.types import JobStatus, StackRef
from reconciler.engine.config import EngineConfig, Layout
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.queue import Queue
from reconciler.engine.secrets_box import open_box
from reconciler.engine.service import AnswerError, Service, Wanted
from reconciler.engine.service.schedules import LOOK_AGAIN, LOOK_EVERY, MOST_SCHEDULES
from reconciler.engine.store import (
    PageQuery,
    ScheduleKind,
    Store,
    StoredSchedule,
    deployments,
)
from reconciler.engine.timing import Timing
from reconciler.engine.tokens import Caller, Role, Tokens
from reconciler.engine.tools import Tools
from tests.fakes.world import SimClock
from tests.postgres_server import PostgresServer

WEB = StackRef("acme", "web", "prod")
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANN = Caller(organization="acme", user="ann", email="ann@example.com", role=Role.DEPLOY)
BODY: dict[str, object] = {
    "operation": "refresh",
    "sourceContext": {"git": {"repoUrl": "https://example.com/r.git", "branch": "main"}},
    "operationContext": {"environmentVariables": {"S": {"secret": "canary"}}},
}
HOURLY = Wanted(kind=ScheduleKind.RAW, timing=Timing(cron="0 * * * *"), body=BODY)


@dataclass
class Engine:
    """The use cases over one database, with a clock that a test sets."""

    service: Service
    store: Store
    clock: SimClock

    def fire(self, at: datetime) -> datetime:
        self.clock.time = at
        return self.service.schedules.fire_due()

    def deployments(self) -> list[Any]:
        query = PageQuery(organization="acme", stack=WEB, page_size=100, ascending=True)
        return list(self.store.deployments.page(query)[0])

    def begin_all(self) -> None:
        """Let nothing wait in the queue."""
        for record in self.deployments():
            if record.status is JobStatus.NOT_STARTED:
                self.service.deployments.cancel(ANN, WEB, record.id)

    def history(self, schedule_id: str) -> list[str]:
        return [e.result for e in self.service.schedules.history(ANN, WEB, schedule_id)]


def make_engine(data: Path, store: Store) -> Engine:
    clock = SimClock(time=NOW)
    tools = Tools(  # noqa: S604 - the shell is a field
        config=EngineConfig(data=data, workers=0),
        layout=Layout(data),
        store=store,
        logs=cast("Any", None),
        box=open_box(data / "engine.key", create=not (data / "engine.key").exists()),
        clock=clock,
        runners=cast("Any", None),
        environment={},
        shell="sh",
        python_directory="",
        base_url="http://engine.example.com",
        find_pulumi=lambda: "none",
    )
    service = Service(tools, Queue(tools), Tokens(store, clock))
    return Engine(service, store, clock)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine whose queue starts nothing."""
    store = Store(tmp_path / "engine.db")
    store.stacks.make(WEB)
    yield make_engine(tmp_path, store)
    store.close()


def test_a_slot_makes_one_deployment_of_whoever_made_the_schedule(engine: Engine) -> None:
    """At its time a schedule makes its deployment, with its secrets, and says so."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    assert made.next == NOW + timedelta(hours=1)
    assert engine.fire(NOW + timedelta(minutes=59)) == NOW + timedelta(minutes=60)
    assert engine.deployments() == []
    due = NOW + timedelta(hours=1)
    assert engine.fire(due) == due + LOOK_EVERY
    engine.fire(due)
    (record,) = engine.deployments()
    assert (record.operation, record.initiator) == ("refresh", "schedule")
    assert (record.requested_by.name, record.requested_by.email) == ("ann", "ann@example.com")
    assert engine.history(made.id) == ["not-started"]
    shown = engine.service.schedules.get(ANN, WEB, made.id)
    assert shown.stored.last_executed == due
    assert shown.stored.next == due + timedelta(hours=1)
    assert "canary" not in repr(shown.body)
    assert "ciphertext" in repr(shown.body)


def test_after_an_absence_there_is_one(engine: Engine) -> None:
    """Nine hours away are one deployment, the latest slot's; then the schedule goes on."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    engine.fire(NOW + timedelta(hours=9, minutes=5))
    engine.begin_all()
    engine.fire(NOW + timedelta(hours=10))
    assert len(engine.deployments()) == 2
    slots = [e.slot for e in engine.service.schedules.history(ANN, WEB, made.id)]
    assert slots == [NOW + timedelta(hours=10), NOW + timedelta(hours=9)]


def test_a_destroy_that_was_missed_is_recorded_and_not_made(engine: Engine) -> None:
    """A change whose slot is long over is skipped, and its history says why."""
    nightly = Timing(cron="0 20 * * *")
    body = {**BODY, "operation": "destroy"}
    made = engine.service.schedules.create(ANN, WEB, replace(HOURLY, timing=nightly, body=body))
    engine.fire(datetime(2026, 11, 21, 8, 0, tzinfo=UTC))
    assert engine.deployments() == []
    assert engine.history(made.stored.id) == [
        "skipped: the engine did not run at 2026-11-20 20:00 UTC"
    ]
    engine.fire(datetime(2026, 11, 21, 20, 0, tzinfo=UTC))
    assert len(engine.deployments()) == 1


def test_no_more_than_one_of_a_schedule_waits(engine: Engine) -> None:
    """While a stack is paused, its schedule does not fill the queue."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    for hour in (1, 2, 3):
        engine.fire(NOW + timedelta(hours=hour))
    assert len(engine.deployments()) == 1
    results = engine.history(made.id)
    assert results[2] == "not-started"
    assert (
        results[0]
        == results[1]
        == ("skipped: the deployment of the slot before this one still waits")
    )


def test_a_slot_is_skipped_where_the_queue_is_full(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot for which no more may wait is recorded with that reason; the next one counts again."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    monkeypatch.setattr(deployments, "MOST_WAITING", 0)
    engine.fire(NOW + timedelta(hours=1))
    monkeypatch.undo()
    engine.fire(NOW + timedelta(hours=2))
    later, skipped = engine.history(made.id)
    assert later == "not-started"
    assert skipped.startswith("skipped: 0 deployments of acme wait in the queue, and no more may")
    assert len(engine.deployments()) == 1


def test_a_crash_in_between_leaves_the_slot_due(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks before the transaction's end leaves neither slot nor deployment."""
    engine.service.schedules.create(ANN, WEB, HOURLY)
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.engine.store.schedules._prune", _die)
        assert engine.fire(NOW + timedelta(hours=1)) == NOW + timedelta(hours=1) + LOOK_AGAIN
    assert engine.deployments() == []
    engine.fire(NOW + timedelta(hours=1, seconds=5))
    assert len(engine.deployments()) == 1


def _die(*_: object) -> None:
    raise RuntimeError("the end")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_many_engines_one_takes_a_slot(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Eight engines that look at one database at once make one deployment a slot."""
    where: Path | DatabaseUrl = tmp_path / "engine.db"
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        where = DatabaseUrl.parse(server.make_database(), may_hold_password=True)
    stores = [Store(where) for _ in range(8)]
    stores[0].stacks.make(WEB)
    engines = [make_engine(tmp_path, store) for store in stores]
    made = engines[0].service.schedules.create(ANN, WEB, HOURLY).stored
    try:
        for hour in range(1, 6):
            _all_at_once([partial(e.fire, NOW + timedelta(hours=hour)) for e in engines])
            engines[0].begin_all()
        assert len(engines[0].deployments()) == 5
        assert len(engines[0].history(made.id)) == 5
    finally:
        for store in stores:
            store.close()


def _all_at_once(calls: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_clock_that_goes_back_takes_no_slot_twice(engine: Engine) -> None:
    """An hour back, the slots of that hour are not taken again; those after it are."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    for hour in (1, 2, 3):
        engine.fire(NOW + timedelta(hours=hour))
        engine.begin_all()
    engine.fire(NOW + timedelta(hours=1, minutes=30))
    for hour in (2, 3, 4):
        engine.fire(NOW + timedelta(hours=hour))
        engine.begin_all()
    slots = [e.slot for e in engine.service.schedules.history(ANN, WEB, made.id)]
    assert slots == [NOW + timedelta(hours=hour) for hour in (4, 3, 2, 1)]
    assert len(engine.deployments()) == 4


def test_a_paused_schedule_takes_nothing_and_makes_up_for_nothing(engine: Engine) -> None:
    """What was due while a schedule was held is over when it goes on."""
    schedules = engine.service.schedules
    made = schedules.create(ANN, WEB, HOURLY).stored
    schedules.pause(ANN, WEB, made.id)
    engine.fire(NOW + timedelta(hours=3, minutes=30))
    schedules.resume(ANN, WEB, made.id)
    engine.fire(NOW + timedelta(hours=3, minutes=45))
    assert engine.deployments() == []
    engine.fire(NOW + timedelta(hours=4))
    assert len(engine.deployments()) == 1


def test_an_edited_schedule_counts_from_then(engine: Engine) -> None:
    """An edit replaces when and what, never backwards; without a request it keeps that."""
    schedules = engine.service.schedules
    made = schedules.create(ANN, WEB, HOURLY).stored
    engine.clock.time = NOW + timedelta(hours=5)
    new = Wanted(kind=ScheduleKind.RAW, timing=Timing(cron="30 * * * *"), body={})
    edited = schedules.update(ANN, WEB, made.id, new).stored
    assert edited.version == 2
    assert edited.next == NOW + timedelta(hours=5, minutes=30)
    engine.fire(NOW + timedelta(hours=5, minutes=30))
    (record,) = engine.deployments()
    assert record.operation == "refresh"
    with pytest.raises(AnswerError) as refused:
        schedules.update(ANN, WEB, made.id, replace(new, kind=ScheduleKind.TTL))
    assert refused.value.status == 404


def test_the_end_of_a_stack_s_life_comes_once_and_is_forgotten(engine: Engine) -> None:
    """A TTL that fires, however late, destroys once; then it is gone, and deleting it is fine."""
    body = {**BODY, "operation": "destroy"}
    once = Timing(once=NOW + timedelta(hours=1))
    schedules = engine.service.schedules
    made = schedules.create(ANN, WEB, Wanted(kind=ScheduleKind.TTL, timing=once, body=body)).stored
    engine.fire(NOW + timedelta(days=3))
    engine.fire(NOW + timedelta(days=4))
    assert [r.operation for r in engine.deployments()] == ["destroy"]
    with pytest.raises(AnswerError):
        schedules.get(ANN, WEB, made.id)
    schedules.delete(ANN, WEB, made.id)


def test_what_can_no_longer_be_deployed_says_so(engine: Engine) -> None:
    """A schedule whose settings are gone when it is due records that, and goes on."""
    service = engine.service
    service.settings.replace(ANN, WEB, {"sourceContext": BODY["sourceContext"]})
    drift = Wanted(
        kind=ScheduleKind.DRIFT, timing=Timing(cron="0 * * * *"), body={"operation": "detect-drift"}
    )
    made = service.schedules.create(ANN, WEB, drift).stored
    engine.fire(NOW + timedelta(hours=1))
    assert [r.operation for r in engine.deployments()] == ["detect-drift"]
    engine.begin_all()
    service.settings.delete(ANN, WEB)
    engine.fire(NOW + timedelta(hours=2))
    results = engine.history(made.id)
    assert results[0].startswith("failed: stack acme/web/prod has no deployment settings")
    assert service.schedules.get(ANN, WEB, made.id).stored.next == NOW + timedelta(hours=3)
    with pytest.raises(AnswerError, match="no deployment settings"):
        service.schedules.create(ANN, WEB, drift)


def test_a_stack_has_so_many_schedules_and_no_more(engine: Engine) -> None:
    """One schedule over the limit is refused; one less makes room."""
    schedules = engine.service.schedules
    made = [schedules.create(ANN, WEB, HOURLY).stored.id for _ in range(MOST_SCHEDULES)]
    with pytest.raises(AnswerError, match="50 schedules"):
        schedules.create(ANN, WEB, HOURLY)
    schedules.delete(ANN, WEB, made[0])
    schedules.create(ANN, WEB, HOURLY)
    assert len(schedules.of_stack(ANN, WEB)) == MOST_SCHEDULES


def test_history_is_kept_within_bounds(engine: Engine) -> None:
    """Of a schedule's slots the last hundred are kept."""
    made = engine.service.schedules.create(ANN, WEB, HOURLY).stored
    for hour in range(1, 105):
        engine.fire(NOW + timedelta(hours=hour))
    assert len(engine.history(made.id)) == 100


def test_a_pause_undoes_no_edit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that comes in the middle of somebody's pause is kept, and so is the pause."""
    schedules = engine.service.schedules
    made = schedules.create(ANN, WEB, HOURLY).stored
    find = schedules._find

    def found_and_edited(stack: StackRef, schedule_id: str) -> StoredSchedule:
        found = find(stack, schedule_id)
        monkeypatch.setattr(schedules, "_find", find)
        schedules.update(ANN, WEB, made.id, replace(HOURLY, timing=Timing(cron="7 * * * *")))
        return found

    monkeypatch.setattr(schedules, "_find", found_and_edited)
    schedules.pause(ANN, WEB, made.id)
    kept = schedules.get(ANN, WEB, made.id).stored
    assert (kept.timing.cron, kept.paused, kept.version) == ("7 * * * *", True, 2)
