"""Rows 26 to 29: what a person's word and a hold are for, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.api.types import Operation
from reconciler.model import Hold, OnDelete, ReasonCode, RequestKind, Retry, State
from tests.factories import request, spec
from tests.fakes.deployments_api import Fault, Outcome, Record
from tests.fakes.world import Crash, World
from tests.semantics.scene import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    ask,
    code,
    go,
    notes,
    operations,
    others,
    records,
    states,
    world,
)

NAMES = [f"s{n}" for n in range(8)]


def eight() -> World:
    it = world(*(spec(name, on_delete=OnDelete.DESTROY) for name in NAMES))
    it.run_once()
    it.clock.time += HOUR
    return it


def edit(it: World, digest: str) -> None:
    for name in NAMES:
        it.digests[name] = digest * 64
        it.specs[name] = replace(it.specs[name], labels={"edit": digest})


def held(it: World) -> list[ReasonCode]:
    return [mass.code for mass in it.masses]


def fails_half_way(name: str) -> Callable[[Record], Outcome]:
    return lambda of: Outcome.FAIL if f"/{name}/" in str(of.shown.stack) else Outcome.SUCCEED


@pytest.mark.parametrize("again", [False, True], ids=["new", "made again after its destroy"])
def test_row_26_a_half_made_stack_is_destroyed_with_its_spec(again: bool) -> None:  # noqa: FBT001
    """What failed in the middle has made the first half: its removal destroys that too."""
    others = (spec("a"), spec("b"), spec("c"), spec("d"))
    one = spec("web", on_delete=OnDelete.DESTROY, retry=Retry(limit=0))
    it = world(*others, *((replace(one, request=request(Operation.DESTROY)),) if again else (one,)))
    before = ["destroy"] if again else []
    daemon = it.daemon()
    if again:
        go(it, daemon, MINUTE)
        it.specs["web"], it.digests["web"] = one, "e" * 64
    it.api.outcome = fails_half_way("web")
    daemon.wake()
    go(it, daemon, 2 * MINUTE)
    assert (operations(it), states(it)["web"]) == ([*before, "update"], State.STALLED)
    it.api.outcome = lambda _: Outcome.SUCCEED
    del it.specs["web"]
    daemon.wake()
    go(it, daemon, 15 * MINUTE)
    assert operations(it) == [*before, "update", "destroy"]
    assert "web" not in it.disk


def test_row_26_what_a_half_made_stack_needs_is_destroyed_after_it() -> None:
    """A dependent that failed in the middle is there, so it goes before what it depends on."""
    it = world(
        *(spec(name) for name in "abcdef"),
        spec("net", on_delete=OnDelete.DESTROY),
        spec("web", on_delete=OnDelete.DESTROY, depends_on=("net",), retry=Retry(limit=0)),
    )
    it.api.outcome = fails_half_way("web")
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    it.api.outcome = lambda _: Outcome.SUCCEED
    del it.specs["web"], it.specs["net"]
    daemon.wake()
    go(it, daemon, 15 * MINUTE)
    found = [records(it, name)[-1] for name in ("web", "net")]
    assert [str(one.request.operation) for one in found] == ["destroy", "destroy"]
    assert found[0].number < found[1].number


@pytest.mark.parametrize("ran", [False, True], ids=["held", "deployed"])
def test_row_26_a_stack_is_destroyed_by_what_it_was_made_of(ran: bool) -> None:  # noqa: FBT001
    """An edit that was never deployed, of the repository say, fits no commit that was."""
    it = world(*(spec(name) for name in "abcd"), spec("web", on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    if not ran:
        it.holds = replace(it.holds, names={"web": Hold(by="ada", at=it.clock.time)})
    source = replace(request().source, repo_url="https://example.com/other.git")
    edited = replace(it.specs["web"], request=replace(request(), source=source))
    it.specs["web"], it.digests["web"] = edited, "e" * 64
    it.heads["web"] = "c" * 40
    daemon.wake()
    go(it, daemon, MINUTE)
    daemon = it.daemon()
    del it.specs["web"]
    go(it, daemon, 2 * MINUTE)
    it.holds = replace(it.holds, names={})
    go(it, daemon, 15 * MINUTE)
    destroy = records(it)[-1].request
    assert (destroy.operation, len(records(it))) == (Operation.DESTROY, 3 if ran else 2)
    made_of = ("other", "c") if ran else ("infra", "a")
    assert destroy.source.repo_url == f"https://example.com/{made_of[0]}.git"
    assert destroy.source.commit == made_of[1] * 40


def test_row_26_what_is_to_be_done_on_removal_is_on_the_disk_at_once() -> None:
    """An edit that starts nothing holds all the same where the file goes while nobody runs."""
    it = world(*(spec(name) for name in "abcd"), spec("web"))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.specs["web"] = spec("web", on_delete=OnDelete.DESTROY)
    daemon.wake()
    go(it, daemon, MINUTE)
    del it.specs["web"]
    go(it, it.daemon(), 15 * MINUTE)
    assert (operations(it), "web" in it.disk) == (["update", "destroy"], False)


def test_row_26_a_stack_of_which_nothing_began_is_forgotten() -> None:
    """A run that was cancelled in the queue has made nothing, so there is nothing to destroy."""
    it = world(*(spec(name) for name in "abcd"), spec("web", on_delete=OnDelete.DESTROY))
    it.api.paused.add(it.specs["web"].stack)
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    ask(it, RequestKind.CANCEL)
    go(it, daemon, MINUTE)
    assert code(it) is ReasonCode.CANCELED
    del it.specs["web"]
    daemon.wake()
    go(it, daemon, 15 * MINUTE)
    assert (operations(it), "web" in it.disk) == (["update"], False)


def test_row_27_the_approval_of_a_change_lets_no_removal_through() -> None:
    """What a person has let change may not be taken away by that word, soon or late."""
    it = eight()
    daemon = it.daemon()
    edit(it, "e")
    go(it, daemon, MINUTE)
    it.let_through()
    go(it, daemon, 5 * MINUTE)
    assert [operations(it, name) for name in NAMES] == [["update"] * 2] * 8
    for name in NAMES[:6]:
        del it.specs[name]
    for _ in range(3):
        daemon.wake()
        go(it, daemon, HOUR, MINUTE)
        assert held(it) == [ReasonCode.MASS_REMOVAL]
        it.clock.time += 30 * DAY
    assert {code(it, name) for name in NAMES[:6]} == {ReasonCode.MASS_REMOVAL}
    assert [operations(it, name) for name in NAMES] == [["update"] * 2] * 8


def test_row_27_a_removal_is_let_through_once() -> None:
    """What came back after it was let go, and is gone again, waits for another word."""
    it = eight()
    daemon = it.daemon()
    kept = dict(it.specs)
    for again in (1, 2):
        for name in NAMES[:6]:
            del it.specs[name]
        daemon.wake()
        go(it, daemon, 20 * MINUTE, 10 * SECOND)
        assert held(it) == [ReasonCode.MASS_REMOVAL]
        it.let_through()
        go(it, daemon, 20 * MINUTE, 10 * SECOND)
        assert held(it) == []
        assert [operations(it, name) for name in NAMES[:6]] == [["update", "destroy"] * again] * 6
        it.specs.update(kept)
        daemon.wake()
        go(it, daemon, 5 * MINUTE)


def test_row_27_files_that_came_back_end_the_approval() -> None:
    """A removal that was let through and did not come about is over, once the files are there."""
    it = eight()
    daemon = it.daemon()
    kept = dict(it.specs)
    for name in NAMES[:6]:
        del it.specs[name]
    daemon.wake()
    go(it, daemon, MINUTE)
    it.let_through()
    go(it, daemon, MINUTE)
    it.specs.update(kept)
    daemon.wake()
    go(it, daemon, MINUTE)
    for name in NAMES[:6]:
        del it.specs[name]
    daemon.wake()
    go(it, daemon, HOUR, 10 * SECOND)
    assert held(it) == [ReasonCode.MASS_REMOVAL]
    assert [operations(it, name) for name in NAMES] == [["update"]] * 8


def test_row_28_a_change_is_let_through_once() -> None:
    """What was let through, and was changed since, is not let through a second time."""
    it = eight()
    daemon = it.daemon()
    for digest in "efe":
        edit(it, digest)
        daemon.wake()
        go(it, daemon, HOUR, 10 * SECOND)
        assert held(it) == [ReasonCode.MASS_CHANGE]
        it.let_through()
        go(it, daemon, HOUR, 10 * SECOND)
        assert held(it) == []
    assert [len(operations(it, name)) for name in NAMES] == [4] * 8


@pytest.mark.parametrize("gone", [False, True], ids=["a change", "a removal"])
def test_row_28_what_was_approved_a_day_ago_is_held_again(gone: bool) -> None:  # noqa: FBT001
    """An approval that could not have its effect within a day has none any more."""
    it = eight()
    daemon = it.daemon()
    if gone:
        for name in NAMES[:6]:
            del it.specs[name]
    else:
        edit(it, "e")
    daemon.wake()
    go(it, daemon, MINUTE)
    it.let_through()
    hold = Hold(by="ada", at=it.clock.time, everything=True)
    it.holds = replace(it.holds, everything=hold)
    if gone:  # nothing of ours can be written, so nothing is begun
        it.disk_fails = lambda: True
    go(it, daemon, DAY, 10 * MINUTE)
    it.disk_fails = lambda: False
    it.holds = replace(it.holds, everything=None)
    go(it, daemon, HOUR, MINUTE)
    assert len(held(it)) == 1
    assert [operations(it, name) for name in NAMES] == [["update"]] * 8


@pytest.mark.parametrize("gone", [False, True], ids=["a change", "a removal"])
@pytest.mark.parametrize("after", range(0, 60, 7))
def test_row_28_what_was_approved_goes_through_once_over_a_crash(
    gone: bool,  # noqa: FBT001
    after: int,
) -> None:
    """Wherever the process ends: all that was let through comes about, each once, and no more."""
    it = eight()
    it.limits = replace(it.limits, max_concurrent=3)
    chosen = NAMES[:6] if gone else NAMES
    if gone:
        for name in chosen:
            del it.specs[name]
    else:
        edit(it, "e")
    go(it, it.daemon(), MINUTE)
    it.let_through()
    left = [after, 5, 9]

    def crashes(_: str) -> bool:
        if left:
            left[0] -= 1
            if left[0] < 0:
                left.pop(0)
                return True
        return False

    it.crash_at = crashes
    daemon = it.daemon()
    end = it.clock.time + HOUR
    while it.clock.time < end:
        try:
            daemon.tick()
        except Crash:
            daemon = it.daemon()
        it.clock.time += 10 * SECOND
    assert not left
    then = ["update", "destroy" if gone else "update"]
    assert [operations(it, name) for name in chosen] == [then] * len(chosen)
    assert (held(it), it.holds.approved) == ([], frozenset())


def test_row_29_a_hold_goes_with_a_renamed_file() -> None:
    """What a person suspended stays so under its new name, and what it held does not run."""
    it = world(spec("web"), spec("other"))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.holds = replace(it.holds, names={"web": Hold(by="ada", at=it.clock.time)})
    it.heads = {"web": "c" * 40, "site": "c" * 40}
    daemon.mark({"web"})
    go(it, daemon, MINUTE)
    it.specs["site"] = replace(it.specs.pop("web"), name="site")
    daemon.wake()
    go(it, daemon, HOUR, MINUTE)
    assert (operations(it), states(it)["site"]) == (["update"], State.SUSPENDED)
    assert list(it.holds.names) == ["site"]
    it.holds = replace(it.holds, names={})
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", "update"]


@pytest.mark.parametrize("crash", ["", "hold", "request", "status", "forgotten"])
def test_row_29_a_request_goes_with_a_renamed_file(crash: str) -> None:
    """What waits to be taken up is taken up under the new name, once, also over a crash."""
    it = world(spec("web"), spec("other"))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.api.faults = lambda *_: Fault.SERVER_ERROR
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, MINUTE)
    it.specs["site"] = replace(it.specs.pop("web"), name="site")
    where = {"hold": "hold is moved", "request": "request is moved", "status": "a write"}
    left = [where.get(crash, "is forgotten")] if crash else []

    def crashes(at: str) -> bool:
        if left and at.endswith(left[0]):
            left.clear()
            return True
        return False

    it.crash_at = crashes
    daemon.wake()
    try:
        daemon.tick()
    except Crash:
        daemon = it.daemon()
    assert not left
    go(it, daemon, MINUTE)
    it.api.faults = lambda *_: Fault.NONE
    go(it, daemon, 10 * MINUTE)
    assert (operations(it), it.requests) == (["update", "update"], {})
    assert set(it.disk) == {"site", "other"}


def test_a_hold_stops_what_the_pass_has_not_sent_yet() -> None:
    """What is suspended in the middle of a long pass starts nothing more, and says so."""
    it = world(*(spec(f"s{n}") for n in range(10)))
    hold = Hold(by="ada", at=it.clock.time, everything=True)

    def suspends(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/deployments") and it.api.creates == 3:
            it.holds = replace(it.holds, everything=hold)
        return Fault.NONE

    it.api.faults = suspends
    daemon = it.daemon()
    daemon.tick()
    sent = it.api.creates
    assert sent <= 4
    go(it, daemon, MINUTE)
    assert it.api.creates == sent
    assert set(states(it).values()) == {State.SUSPENDED}
    it.holds = replace(it.holds, everything=None)
    go(it, daemon, 2 * MINUTE)
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == 10


@pytest.mark.parametrize("pushed", [False, True], ids=["nothing came since", "a commit was pushed"])
def test_row_12_an_adoption_is_for_what_was_wanted_then(pushed: bool) -> None:  # noqa: FBT001
    """Asked for while the API was away, it takes no later commit for deployed."""
    it = world(spec("web"))
    it.run_once()
    others(it, Operation.UPDATE)
    it.clock.time += MINUTE
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    assert code(it) is ReasonCode.FOREIGN_CHANGE
    it.api.faults = lambda *_: Fault.SERVER_ERROR
    ask(it, RequestKind.ADOPT)
    go(it, daemon, 20 * MINUTE, 10 * SECOND)
    if pushed:
        it.heads["web"] = "c" * 40
        daemon.mark({"web"})
        go(it, daemon, MINUTE)
    it.api.faults = lambda *_: Fault.NONE
    go(it, daemon, 5 * MINUTE)
    ran = [record.request.source.commit for record in records(it)]
    assert ran == ["a" * 40, "b" * 40, *(["c" * 40] if pushed else [])], "what was pushed is lost"
    assert (code(it), it.requests) == (ReasonCode.UP_TO_DATE, {})
    assert ("`reconciler adopt web` again" in notes(it)) is pushed
    assert ("taken over at version 2 by ada" in notes(it)) is not pushed


def test_row_12_an_adoption_that_nobody_took_up_is_asked_for_anew() -> None:
    """What lay about for an hour says nothing of what is wanted by now."""
    it = world(spec("web"))
    it.run_once()
    others(it, Operation.UPDATE)
    it.clock.time += MINUTE
    go(it, it.daemon(), MINUTE)
    ask(it, RequestKind.ADOPT)
    it.heads["web"] = "c" * 40
    it.clock.time += HOUR
    go(it, it.daemon(), MINUTE)
    assert (operations(it), it.requests) == (["update"] * 3, {})
    assert "`reconciler adopt web` again" in notes(it)


def test_row_25_a_cancel_is_for_the_run_that_was_seen() -> None:
    """One that comes when the next run is under way leaves that one alone, and says so."""
    it = world(spec("web"))
    it.run_once()
    seen = it.disk["web"].last
    assert seen is not None
    it.api.paused.add(it.specs["web"].stack)
    it.heads["web"] = "c" * 40
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    ask(it, RequestKind.CANCEL, binds=seen.id)
    go(it, daemon, MINUTE)
    assert (it.disk["web"].canceling, it.requests) == (None, {})
    assert "`reconciler cancel web` cancels that one" in notes(it)
    run = it.disk["web"].run
    assert run is not None
    ask(it, RequestKind.CANCEL, binds=run.id)
    go(it, daemon, MINUTE)
    assert code(it) is ReasonCode.CANCELED


def test_row_25_a_cancel_follows_a_create_without_an_answer() -> None:
    """It is for the run that was asked for, by the name that it had before it had an id."""
    it = world(spec("web"))
    it.api.faults = lambda method, _: Fault.LOST_AFTER if method == "POST" else Fault.NONE
    it.api.paused.add(it.specs["web"].stack)
    daemon = it.daemon()
    daemon.tick()
    it.api.faults = lambda *_: Fault.NONE
    intent = it.disk["web"].intent
    assert intent is not None
    ask(it, RequestKind.CANCEL, binds=intent.run_id)
    go(it, daemon, 2 * MINUTE)
    assert (operations(it), code(it), it.requests) == (["update"], ReasonCode.CANCELED, {})
