"""The loop over a world in memory: what holds, what goes on, and what costs nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from reconciler.api.types import JobStatus, Operation
from reconciler.daemon import Daemon
from reconciler.model import (
    Broken,
    Catalog,
    HandRequest,
    OnDelete,
    Problem,
    ReasonCode,
    RequestKind,
    RunEnd,
    Spec,
    State,
    Writing,
)
from tests.factories import NOW, spec, trigger
from tests.fakes.deployments_api import Fault, Outcome
from tests.fakes.world import World

FOREVER = timedelta(hours=3)


def world(*specs: Spec) -> World:
    return World(specs={one.name: one for one in specs})


def calls(of: World) -> Counter[str]:
    """Count the calls of the API from now on, by method."""
    counted: Counter[str] = Counter()

    def count(method: str, _: str) -> Fault:
        counted[method] += 1
        return Fault.NONE

    of.api.faults = count
    return counted


def tick(of: World, daemon: Daemon, seconds: float = 0.0) -> None:
    of.clock.time += timedelta(seconds=seconds)
    daemon.tick()


def cancel(name: str) -> HandRequest:
    return HandRequest(id=f"c-{name}", kind=RequestKind.CANCEL, name=name, by="ada", at=NOW)


def states(of: World) -> dict[str, State]:
    return {name: status.state for name, status in of.disk.items()}


# ---------------------------------------------------------------- at rest


def test_what_is_at_rest_is_written_only_where_it_went() -> None:
    """A look at what stands as it did writes nothing; a status that went is written again."""
    it = world(spec("a"), spec("b"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    before, writes = dict(it.disk), it.writes
    daemon.mark(["a", "b"])
    tick(it, daemon, 1)
    assert it.writes == writes
    del it.disk["a"]
    daemon.mark(["a", "b"])
    tick(it, daemon, 1)
    assert it.writes == writes + 1
    assert states(it) == {"a": State.READY, "b": State.READY}
    assert it.disk["a"].last == before["a"].last


# ---------------------------------------------------------------- dependencies


def test_a_dependency_comes_first_and_its_own_end_starts_the_next() -> None:
    """What depends on another starts in the very pass that sees the other succeed."""
    it = world(spec("app", depends_on=("net",)), spec("net"))
    it.run_once()
    assert set(states(it).values()) == {State.READY}
    app, net = (it.api.records[it.specs[n].stack][0].shown for n in ("app", "net"))
    assert app.created >= net.modified
    assert (app.created - net.modified) < timedelta(seconds=5)


def test_a_cancelled_dependency_holds() -> None:
    """What depends on a cancelled one waits, until a person lets that one go on."""
    it = world(spec("app", depends_on=("net",)), spec("net"))
    daemon = it.daemon()
    tick(it, daemon)
    tick(it, daemon, 1)
    it.requests["c"] = replace(cancel("net"), id="c")
    assert daemon.run_once(FOREVER)
    assert states(it) == {"app": State.WAITING, "net": State.STALLED}
    last = it.disk["net"].last
    assert last is not None
    assert last.end is RunEnd.CANCELED
    tick(it, daemon, 3600)
    assert it.api.creates == 1
    assert it.requests == {}
    it.requests["q1"] = replace(trigger(), name="net")
    it.run_once()
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == 3


def test_a_failing_dependency_holds_what_is_new_and_not_what_is_up_to_date() -> None:
    """Only a start waits for a dependency."""
    it = world(spec("app", depends_on=("net",)), spec("net"))
    it.run_once()
    it.api.outcome = lambda _: Outcome.FAIL
    it.heads["net"] = "b" * 40
    it.run_once()
    assert states(it) == {"app": State.READY, "net": State.STALLED}
    it.heads["app"] = "b" * 40
    it.clock.time += timedelta(minutes=2)
    it.run_once()
    assert states(it)["app"] is State.WAITING


# ---------------------------------------------------------------- single files


def test_a_changed_file_is_acted_on_without_a_scan() -> None:
    """What is told of single files starts at once; who else is there is not looked at."""
    it = world(spec("web"), spec("api"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    scans = it.scans
    it.specs |= {"web": replace(it.specs["web"], suspended=True), "new": spec("new")}
    daemon.touched(["web.yaml", "new.yaml"])
    tick(it, daemon)
    assert (it.scans, it.api.creates) == (scans, 3)
    assert daemon.run_once(FOREVER)
    assert states(it) == {"api": State.READY, "new": State.READY, "web": State.SUSPENDED}


@pytest.mark.parametrize(
    "change",
    [
        {"stack": spec("api").stack},
        {"depends_on": ("api",)},
    ],
)
def test_what_concerns_others_is_scanned(change: dict[str, object]) -> None:
    """A claim of another stack, or another place in the order, needs all that is there."""
    it = world(spec("web"), spec("api"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    scans = it.scans
    it.specs["web"] = replace(it.specs["web"], **change)  # type: ignore[arg-type]
    daemon.touched(["web.yaml"])
    tick(it, daemon)
    assert it.scans == scans + 1
    if "stack" in change:
        assert states(it)["web"] is State.CONFLICT


# ---------------------------------------------------------------- files that are being written


def written(at: datetime, *, long: bool) -> MappingProxyType[str, Writing]:
    path, until = Path("/specs/web.yaml"), at + timedelta(seconds=5)
    return MappingProxyType({"web": Writing(path=path, until=until, since=at if long else None)})


def test_a_file_that_may_not_be_whole_is_waited_for() -> None:
    """A pass to the end does not end before it; it is looked at when its time has come."""
    it = world(spec("web"))
    it.catalog = Catalog(writing=written(NOW, long=False))
    it.writing = {"web.yaml": NOW + timedelta(seconds=5)}
    daemon = it.daemon()
    looked = it.look

    def look(paths: Iterable[str]) -> tuple[Spec, ...] | None:
        if "web.yaml" in paths:
            it.catalog, it.writing = None, {}
        return looked(paths)

    it.look = look  # type: ignore[method-assign]
    assert daemon.run_once(FOREVER)
    assert (states(it), it.api.creates, it.scans) == ({"web": State.READY}, 1, 1)
    first = it.api.records[spec("web").stack][0].shown
    assert timedelta(seconds=5) <= first.created - NOW < timedelta(seconds=6)


def test_a_trigger_is_for_the_file_as_it_was_just_written() -> None:
    """Asked for right after an edit, a run waits until the edit is read; a cancel does not."""
    it = world(spec("web"), spec("api"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    it.writing = {"web.yaml": it.clock.time + timedelta(seconds=5)}
    it.requests |= {"q1": replace(trigger(), id="q1", name="web"), "c-web": cancel("web")}
    tick(it, daemon, 1)
    assert (list(it.requests), it.api.creates) == (["q1"], 2)
    it.writing, it.digests["web"] = {}, "e" * 64
    it.specs["web"] = replace(it.specs["web"], labels={"edit": "1"})
    daemon.touched(["web.yaml"])
    assert daemon.run_once(FOREVER)
    made = [one.shown for one in it.api.records[spec("web").stack]]
    assert (len(made), it.requests) == (2, {})
    assert it.disk["web"].last is not None
    assert it.disk["web"].last.digest == "e" * 64


def test_a_file_that_is_written_for_long_says_so_and_its_stack_rests() -> None:
    """What was read before starts nothing meanwhile; nothing is taken for gone, and it goes on."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    it.catalog = Catalog(specs=(spec("web"),), writing=written(it.clock.time, long=True))
    it.heads["web"] = "b" * 40
    for _ in range(30):
        tick(it, daemon, 31)
    assert (states(it), it.api.creates) == ({"web": State.WAITING}, 1)
    reason = it.disk["web"].reason
    assert reason is not None
    assert reason.code is ReasonCode.BEING_WRITTEN
    assert "left alone for 5 seconds" in reason.message
    it.catalog = None
    tick(it, daemon, 31)
    assert daemon.run_once(FOREVER)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)


def test_a_name_whose_file_is_only_half_there_is_not_gone() -> None:
    """After a restart a file that is not read yet is no missing one."""
    it = world(spec("web"))
    it.run_once()
    it.catalog = Catalog(writing=written(it.clock.time, long=False))
    daemon = it.daemon()
    for _ in range(30):
        tick(it, daemon, 31)
    assert (states(it), it.disk["web"].removal) == ({"web": State.READY}, None)


# ---------------------------------------------------------------- the disk


def test_a_full_disk_starts_nothing() -> None:
    """Where the intent cannot be written no create is sent, and it goes on once there is room."""
    it = world(spec("web"))
    counted = calls(it)
    it.disk_fails = lambda: True
    daemon = it.daemon()
    for _ in range(20):
        tick(it, daemon, 7)
    assert counted["POST"] == 0
    assert daemon.standings()["web"].plan.verdict.code is ReasonCode.NOT_DURABLE
    assert "no space left" in it.said[-1][2].message
    it.disk_fails = lambda: False
    assert daemon.run_once(FOREVER)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)


def test_a_disk_that_fills_up_after_the_create() -> None:
    """The answer that could not be written is found again by its marker; nothing runs twice."""
    it = world(spec("web"))
    it.disk_fails = lambda: it.api.creates == 1 and it.clock.time < NOW + timedelta(minutes=1)
    daemon = it.daemon()
    tick(it, daemon)
    assert it.disk["web"].intent is not None
    assert daemon.run_once(FOREVER)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)
    assert "found again" in it.disk["web"].history[0].text


def test_one_that_cannot_be_written_does_not_hold_the_others() -> None:
    """A status file that is not to be written is one stack's trouble."""
    it = world(spec("a"), spec("b"), spec("c"))
    written = it.write

    def refuse(status: object) -> object:
        it.disk_fails = lambda: getattr(status, "name", "") == "b"
        return written(status)  # type: ignore[arg-type]

    it.write = refuse  # type: ignore[method-assign, assignment]
    daemon = it.daemon()
    for _ in range(40):
        tick(it, daemon, 5)
    assert {n: s.state for n, s in it.disk.items()} == {"a": State.READY, "c": State.READY}


# ---------------------------------------------------------------- stop


def test_stop_starts_nothing_new_and_leaves_what_runs() -> None:
    """Told to stop in the middle of a pass, no further create is sent; what runs goes on."""
    it = world(*(spec(f"s{i}") for i in range(5)))
    daemon = it.daemon()

    def fault(method: str, _: str) -> Fault:
        if method == "POST":
            daemon.stop()
        return Fault.NONE

    it.api.faults = fault
    daemon.run()
    assert (it.api.creates, daemon.started) == (1, 1)
    (stack,) = it.api.records
    assert it.api.records[stack][0].shown.status is JobStatus.RUNNING
    begun = [s for s in it.disk.values() if s.run is not None or s.intent is not None]
    assert [s.intent for s in begun] == [None]
    it.api.faults = lambda _, __: Fault.NONE
    it.run_once()
    assert it.api.creates == 5


def test_stop_wakes_one_that_sleeps() -> None:
    """The loop ends at once when it is told to, however long it would have slept."""
    it = world(spec("web"))
    daemon = it.daemon()

    @dataclass
    class Sleeper:
        slept: int = 0

        def now(self) -> datetime:
            return NOW

        def running(self) -> timedelta:
            return timedelta(0)

        def wait_until(self, moment: datetime, wake: threading.Event) -> None:
            assert moment > NOW
            self.slept += 1
            daemon.stop()
            assert wake.is_set()

    sleeper = Sleeper()
    daemon._parts = replace(daemon._parts, clock=sleeper)
    daemon.run()
    assert sleeper.slept == 1


# ---------------------------------------------------------------- files that change


def broken(name: str, of: Spec | None = None) -> dict[str, Broken]:
    problem = Problem(path=Path(f"/specs/{name}.yaml"), line=3, column=1, message="is no number")
    return {name: Broken(problem, of.stack if of is not None else None)}


def test_a_spec_that_goes_broken_is_invalid_and_the_others_go_on() -> None:
    """A bad edit stops its own stack only, keeps what is remembered, and a good one mends it."""
    one, two = spec("one"), spec("two")
    it = world(one, two)
    it.catalog = Catalog(specs=(one, two))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    it.catalog = Catalog(specs=(two,), broken=MappingProxyType(broken("one", one)))
    it.heads = {"one": "b" * 40, "two": "b" * 40}
    tick(it, daemon, 90)
    assert daemon.run_once(FOREVER)
    assert states(it) == {"one": State.INVALID, "two": State.READY}
    reason = it.disk["one"].reason
    assert reason is not None
    assert reason.message == "/specs/one.yaml:3:1: is no number"
    assert it.disk["one"].last_version == 1
    assert it.api.creates == 3
    it.catalog = Catalog(specs=(one, two))
    tick(it, daemon, 90)
    assert daemon.run_once(FOREVER)
    assert states(it) == {"one": State.READY, "two": State.READY}
    assert it.disk["one"].last_version == 2


def test_a_run_of_a_spec_that_goes_broken_is_followed_once_it_is_mended() -> None:
    """What runs when the file breaks goes on, and is concluded, not run again."""
    one = spec("one")
    it = world(one)
    it.catalog = Catalog(specs=(one,))
    daemon = it.daemon()
    tick(it, daemon)
    it.catalog = Catalog(broken=MappingProxyType(broken("one", one)))
    tick(it, daemon, 31)
    assert states(it) == {"one": State.INVALID}
    assert it.disk["one"].run is not None
    it.catalog = Catalog(specs=(one,))
    tick(it, daemon, 31)
    assert daemon.run_once(FOREVER)
    assert (states(it), it.api.creates) == ({"one": State.READY}, 1)


def test_a_broken_file_keeps_its_stack() -> None:
    """Another spec does not get a stack by the first one's file being broken."""
    one, thief = spec("one"), spec("thief", stack=spec("one").stack)
    it = world(one)
    it.catalog = Catalog(specs=(thief,), broken=MappingProxyType(broken("one", one)))
    daemon = it.daemon()
    assert daemon.run_once(timedelta(minutes=5))
    assert states(it) == {"one": State.INVALID, "thief": State.CONFLICT}
    assert it.api.creates == 0


def test_what_a_pass_needs_is_looked_up_for_all_its_names_at_once() -> None:
    """Before the first is asked for, the specs of a pass are told, of removed ones too."""
    names = ("one", "three", "two")
    it = world(*(spec(name, on_delete=OnDelete.DESTROY) for name in names))
    daemon = it.daemon()
    daemon.tick()
    assert it.prepared[0] == names
    assert daemon.run_once(FOREVER)
    del it.specs["two"]
    it.removed.add("two")
    it.prepared.clear()
    tick(it, daemon, 60)
    assert names in [tuple(sorted(each)) for each in it.prepared]


def test_a_file_that_is_gone_starts_nothing_and_one_that_was_not_seen_is_not_gone() -> None:
    """Where a folder could not be read, what was in it stays as it stood."""
    one, two = spec("one"), spec("two")
    it = world(one, two)
    it.catalog = Catalog(specs=(one, two))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    it.catalog = Catalog(specs=(one,), complete=False)
    tick(it, daemon, 60)
    tick(it, daemon, 3600)
    assert set(daemon.standings()) == {"one", "two"}
    assert states(it)["two"] is State.WAITING
    it.catalog = Catalog(specs=(one, two))
    tick(it, daemon, 60)
    assert set(states(it).values()) == {State.READY}
    it.catalog = Catalog(specs=(one,))
    it.heads = {"two": "b" * 40}
    for _ in range(12):
        tick(it, daemon, 60)
    assert set(daemon.standings()) == {"one"}
    assert it.api.creates == 2
    assert "two" not in it.disk


def test_an_edited_spec_is_seen_when_woken_and_not_only_at_the_next_scan() -> None:
    """A file's event makes the next pass scan."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    it.digests["web"] = "e" * 64
    it.specs["web"] = replace(it.specs["web"], labels={"edit": "1"})
    daemon.tick()
    assert it.api.creates == 1
    daemon.wake()
    daemon.tick()
    assert it.api.creates == 2


def test_a_survey_of_one_asks_about_no_other() -> None:
    """One name's plan is made with how those it depends on stood last, and nothing is written."""
    it = world(spec("app", depends_on=("net",)), spec("net"))
    it.run_once()
    it.heads = {"app": "b" * 40, "net": "b" * 40}
    counted, written = calls(it), it.writes
    (plan,) = it.daemon().survey(frozenset({"app"}))
    assert plan.name == "app"
    assert plan.verdict.code is ReasonCode.SOURCE_CHANGED
    assert counted["POST"] == 0
    assert it.writes == written
    assert [p.name for p in it.daemon().survey()] == ["app", "net"]


# ---------------------------------------------------------------- limits and costs


def test_no_more_than_the_limit_are_in_flight() -> None:
    """Of 50 wants 20 are in flight at any time, the others wait, and all of them get their turn."""
    it = world(*(spec(f"s{i:02}") for i in range(50)))
    most = 0

    def watch(_: str, __: str) -> Fault:
        nonlocal most
        live = [r for rs in it.api.records.values() for r in rs if not r.shown.status.ended]
        most = max(most, len(live))
        return Fault.NONE

    it.api.faults = watch
    daemon = it.daemon()
    tick(it, daemon)
    assert it.api.creates == 20
    assert Counter(states(it).values()) == {State.PROGRESSING: 20, State.WAITING: 30}
    assert it.disk["s49"].reason is not None
    assert it.disk["s49"].reason.code is ReasonCode.LIMIT
    assert daemon.run_once(FOREVER)
    assert (most, it.api.creates) == (20, 50)
    assert set(states(it).values()) == {State.READY}


def test_a_pass_over_one_does_not_wait_for_the_end_of_others() -> None:
    """What is asked for by hand while all places are taken says so, and does not wait in vain."""
    it = world(*(spec(f"s{i:02}") for i in range(21)))
    tick(it, it.daemon())
    daemon = it.daemon()
    assert daemon.run_once(FOREVER, frozenset({"s20"}))
    assert it.clock.time - NOW < timedelta(minutes=1)
    assert daemon.standings()["s20"].plan.verdict.code is ReasonCode.LIMIT


@pytest.fixture(scope="module")
def thousand() -> World:
    it = world(*(spec(f"s{i:04}") for i in range(1000)))
    it.api.duration = timedelta(0)
    it.run_once()
    return it


def test_a_pass_without_changes_makes_no_call(thousand: World) -> None:
    """With 1000 specs up to date no file is written, and one list a minute asked for."""
    counted = calls(thousand)
    written, said = thousand.writes, len(thousand.said)
    daemon = thousand.daemon()
    for _ in range(5):
        tick(thousand, daemon, 61)
    assert counted == {"GET": 4}
    assert thousand.writes == written
    assert len(thousand.said) == said + 1000, "a new process says once how each stands"


def test_a_new_commit_of_one_of_a_thousand_makes_a_few_calls(thousand: World) -> None:
    """The calls are of the stack that changed."""
    daemon = thousand.daemon()
    tick(thousand, daemon, 61)
    counted = calls(thousand)
    thousand.heads["s0500"] = "b" * 40
    tick(thousand, daemon, 61)
    assert daemon.run_once(FOREVER)
    assert counted["POST"] == 1
    assert counted["GET"] <= 5


# ---------------------------------------------------------------- very many at once


def test_a_checkout_without_half_of_the_specs_destroys_nothing() -> None:
    """However long the other branch is checked out, and `onDelete: destroy` on all of them."""
    specs = [spec(f"s{n}", on_delete=OnDelete.DESTROY) for n in range(10)]
    it = world(*specs)
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    kept = dict(it.specs)
    for name in list(kept)[5:]:
        del it.specs[name]
    daemon.wake()
    for _ in range(30):
        tick(it, daemon, 600)
    assert {it.disk[f"s{n}"].reason.code for n in range(5, 10)} == {ReasonCode.MASS_REMOVAL}  # type: ignore[union-attr]
    daemon = it.daemon()
    tick(it, daemon, 600)
    it.specs.update(kept)
    daemon.wake()
    tick(it, daemon, 1)
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == 10
    assert {r.shown.operation for rs in it.api.records.values() for r in rs} == {Operation.UPDATE}


def test_a_mass_removal_that_a_person_lets_through_goes() -> None:
    """Exactly the names that were held are destroyed, each once, and forgotten."""
    specs = [spec(f"s{n}", on_delete=OnDelete.DESTROY) for n in range(10)]
    it = world(*specs)
    daemon = it.daemon()
    assert daemon.run_once(FOREVER)
    for n in range(5, 10):
        del it.specs[f"s{n}"]
    daemon.wake()
    for _ in range(3):
        tick(it, daemon, 600)
    (mass,) = it.masses
    assert sorted(mass.names) == [f"s{n}" for n in range(5, 10)]
    it.let_through()
    for _ in range(10):
        tick(it, daemon, 30)
    assert sorted(it.disk) == [f"s{n}" for n in range(5)]
    destroyed = [
        r.shown.stack
        for rs in it.api.records.values()
        for r in rs
        if r.shown.operation is Operation.DESTROY
    ]
    assert sorted(map(str, destroyed)) == [f"acme/s{n}/dev" for n in range(5, 10)]
