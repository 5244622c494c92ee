"""Rows 2, 13, 15 and 17 where the API shows runs of ours that no status tells of."""

from __future__ import annotations

import pytest
import requests

from reconciler.api.types import Operation
from reconciler.model import ReasonCode, RequestKind, State
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Outcome
from tests.semantics.scene import (
    HOUR,
    LONG,
    MINUTE,
    SECOND,
    ask,
    beside,
    code,
    every,
    go,
    notes,
    operations,
    ready,
    records,
    slots_run,
    states,
    world,
)

MOVED = "c" * 40
HOURLY = every("0 * * * *", Operation.UPDATE)


@pytest.mark.parametrize("over", [False, True])
def test_row_17_a_slot_that_a_restored_status_does_not_know_of_runs_once(*, over: bool) -> None:
    """A run of its operation that was asked for since is it, whether it has ended or not."""
    it = world(spec("web", schedules=(HOURLY,)))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    backup = it.disk["web"]
    it.api.duration = 10 * MINUTE
    it.clock.time = NOW + HOUR
    go(it, daemon, (15 if over else 1) * MINUTE)
    it.disk["web"] = backup
    go(it, it.daemon(), 20 * MINUTE)
    assert (operations(it), states(it)) == (["update", "update"], {"web": State.READY})
    assert len(slots_run(it)) == 1
    (schedule,) = it.disk["web"].schedules
    assert (schedule.last, schedule.outcome, schedule.version) == (NOW + HOUR, "succeeded", 2)
    assert "version 2 carries our marker and was taken up" in notes(it)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEED, Outcome.FAIL])
def test_row_17_a_change_that_a_restored_status_does_not_know_of_runs_once(
    outcome: Outcome,
) -> None:
    """What brought the stack to what is wanted is taken up, with how it ended."""
    it = world(spec("web"))
    assert it.daemon().run_once(LONG)
    backup = it.disk["web"]
    it.heads["web"] = MOVED
    it.api.outcome = lambda _: outcome
    daemon = it.daemon()
    go(it, daemon, 25 * SECOND)
    assert len(records(it)) == 2
    it.disk["web"] = backup
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND)
    assert len(records(it)) == 2
    it.api.outcome = lambda _: Outcome.SUCCEED
    go(it, daemon, 10 * MINUTE)
    assert len(records(it)) == (2 if outcome is Outcome.SUCCEED else 3), "a failure is tried again"
    assert states(it) == {"web": State.READY}


def test_row_17_what_is_not_wanted_is_waited_for_and_told() -> None:
    """A run of another request, or of another time, is not taken for what is to run now."""
    it = world(spec("web"))
    assert it.daemon().run_once(LONG)
    backup = it.disk["web"]
    it.api.duration = 5 * MINUTE
    it.digests["web"] = "e" * 64
    go(it, it.daemon(), MINUTE)
    it.disk["web"] = backup
    it.digests["web"] = "f" * 64
    overlaps = beside(it)
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 3, {"web": State.READY})
    assert "update of a run of ours that is not remembered ended" in notes(it)


def test_row_17_a_stack_that_is_at_what_nobody_remembers_is_not_ready() -> None:
    """What nothing asks for now has changed the stack all the same: a person decides."""
    it = world(spec("web"))
    assert it.daemon().run_once(LONG)
    backup = it.disk["web"]
    it.heads["web"] = MOVED
    assert it.daemon().run_once(LONG)
    it.heads.clear()
    it.disk["web"] = backup
    daemon = it.daemon()
    go(it, daemon, 5 * MINUTE)
    assert (code(it), len(records(it))) == (ReasonCode.FOREIGN_CHANGE, 2)
    assert not ready(it.disk["web"])
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.READY}, 3)


def test_row_17_a_trigger_is_not_answered_by_what_ran_before_it() -> None:
    """A person who asks for a run after a backup came back gets one, after what still runs."""
    it = world(spec("web"))
    assert it.daemon().run_once(LONG)
    backup = it.disk["web"]
    it.api.duration = 5 * MINUTE
    ask(it, RequestKind.TRIGGER)
    go(it, it.daemon(), MINUTE)
    it.disk["web"] = backup
    ask(it, RequestKind.TRIGGER, request_id="second")
    overlaps = beside(it)
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 2)
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 3, {"web": State.READY})
    assert it.requests == {}


def test_row_13_two_of_one_owner_deploy_a_commit_once() -> None:
    """What the other one has asked for in our name is taken up, and not asked for again."""
    one, other = world(spec("web")), world(spec("web"))
    other.clock, other.api, other.client, other.run_ids = one.clock, one.api, one.client, 1000
    daemons = one.daemon(), other.daemon()

    def both(minutes: int) -> None:
        for _ in range(minutes * 12):
            for daemon in daemons:
                daemon.tick()
            one.clock.time += 5 * SECOND

    both(2)
    one.heads["web"] = other.heads["web"] = MOVED
    overlaps = beside(one)
    both(4)
    assert (overlaps, len(records(one))) == ([], 2)
    assert states(one) == states(other) == {"web": State.READY}


@pytest.mark.parametrize("answer", [408, 403, 404, 429])
def test_row_02_an_answer_that_is_not_the_apis_own_starts_no_second_one(answer: int) -> None:
    """A gateway may refuse what the API has accepted: the run that came of it is taken up."""
    it = world(spec("web"))
    it.api.knows_markers = False
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.api.duration = 5 * MINUTE
    send, left = it.session.request, [answer]

    def gateway(method: str, url: str, **options: object) -> requests.Response:
        response = send(method, url, **options)
        if method == "POST" and url.endswith("/deployments") and left:
            response.status_code, response._content = left.pop(), b'{"message": "not from here"}'
        return response

    it.session.request = gateway  # type: ignore[method-assign]
    it.heads["web"] = MOVED
    overlaps = beside(it)
    go(it, daemon, 10 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 2, {"web": State.READY})
    assert it.disk["web"].applied == 2


def test_row_15_a_trigger_waits_for_our_run_that_is_not_what_is_wanted() -> None:
    """Without a status a run of ours of an older request is in flight: a person's comes after."""
    it = world(spec("web"))
    it.api.duration = 5 * MINUTE
    go(it, it.daemon(), 10 * SECOND)
    it.disk.clear()
    it.digests["web"] = "e" * 64
    overlaps = beside(it)
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND)
    assert code(it) is ReasonCode.HISTORY_UNKNOWN
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, MINUTE)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 2, {"web": State.READY})


def test_row_17_a_refresh_of_a_slot_is_not_taken_for_an_update() -> None:
    """The same request at the same commit is another run where it does something else."""
    it = world(spec("web", schedules=(every("0 * * * *"),)))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    backup = it.disk["web"]
    it.clock.time = NOW + HOUR
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", "refresh"]
    it.disk["web"], it.heads["web"] = backup, MOVED
    go(it, it.daemon(), 5 * MINUTE)
    assert operations(it) == ["update", "refresh", "update"], "and the slot is not run again"
    assert states(it) == {"web": State.READY}
    assert "12:00 UTC" not in notes(it)
    assert "13:00 UTC passed over: version 2, a run of ours" in notes(it)
