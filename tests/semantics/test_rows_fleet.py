"""Rows 18 to 23 and 26 to 38: schedules, files that come and go, and many specs together."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_quiet import Quiet
from reconciler.adapters.specs import SpecReader, scan
from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.statusfile import StatusFiles
from reconciler.api.types import JobStatus, Operation, StackRef
from reconciler.clock import SystemClock
from reconciler.daemon import Daemon
from reconciler.model import (
    Broken,
    Catalog,
    Drift,
    MissedRuns,
    OnDelete,
    OnDependency,
    Overlap,
    Problem,
    ReasonCode,
    RequestKind,
    Response,
    Spec,
    State,
    Window,
)
from reconciler.planning import slots
from reconciler.planning.admission import MASS_CHANGE_WITHIN, Limits
from reconciler.planning.gates import approval_key
from reconciler.planning.quiet import Word
from tests.factories import NOW, request, spec
from tests.fakes.deployments_api import Fault, Outcome
from tests.fakes.world import World
from tests.semantics.scene import (
    DAY,
    HOUR,
    LONG,
    MINUTE,
    SECOND,
    ask,
    code,
    every,
    go,
    notes,
    operations,
    posts,
    ready,
    records,
    slots_run,
    states,
    world,
)

CHANGED = "e" * 64


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def settled(*specs: Spec) -> World:
    it = world(*specs)
    it.run_once()
    assert set(states(it).values()) == {State.READY}
    return it


# ---------------------------------------------------------------- schedules


def test_row_18_a_schedule_counts_from_when_it_is_new() -> None:
    """A schedule that is new or edited has no slots from before that."""
    it = settled(spec("web"))
    daemon = it.daemon()
    for cron in ("0 3 * * *", "0 11 * * *"):
        it.specs["web"] = spec("web", schedules=(every(cron),))
        go(it, daemon, 2 * HOUR, MINUTE)
        assert operations(it) == ["update"]
    go(it, daemon, 20 * HOUR, MINUTE)
    assert operations(it) == ["update", "refresh"]
    assert slots_run(it) == [at("2026-03-03 11:00")]


@pytest.mark.parametrize(
    ("cron", "operation", "away", "of", "expected"),
    [
        ("0 * * * *", Operation.UPDATE, 10 * HOUR, {}, 1),
        ("0 3 * * *", Operation.UPDATE, 15.5 * HOUR, {}, 1),
        ("0 3 * * *", Operation.UPDATE, 17 * HOUR, {}, 0),
        ("0 3 * * *", Operation.UPDATE, 15.5 * HOUR, {"missed_runs": MissedRuns.SKIP}, 0),
        ("0 3 * * *", Operation.DESTROY, 15.5 * HOUR, {}, 0),
        ("0 3 * * *", Operation.REFRESH, 3 * DAY, {}, 1),
        ("0 3 * * *", Operation.DETECT_DRIFT, 3 * DAY, {}, 1),
    ],
)
def test_row_19_missed_slots(
    cron: str, operation: Operation, away: timedelta, of: dict[str, object], expected: int
) -> None:
    """Of slots that passed unseen the latest runs once, if not too late; others are recorded."""
    it = settled(spec("web", schedules=(every(cron, operation),), **of))
    it.clock.time += away
    it.run_once()
    assert operations(it)[1:] == [str(operation)] * expected
    missed = len(slots.due(it.specs["web"].schedules[0], NOW, NOW + away, "x"))
    if missed > expected:
        assert "schedule often due" in notes(it)


def test_row_19_what_is_held_by_a_window_is_not_late() -> None:
    """A slot that was taken up in time keeps its right while a window is shut."""
    window = Window(start=8 * 60, end=18 * 60)
    it = settled(spec("web", schedules=(every("0 20 * * *", Operation.UPDATE),), windows=(window,)))
    daemon = it.daemon()
    go(it, daemon, 19 * HOUR, MINUTE)
    assert (operations(it), code(it)) == (["update"], ReasonCode.WINDOW)
    go(it, daemon, 3 * HOUR, MINUTE)
    assert operations(it) == ["update", "update"]
    assert slots_run(it) == [at("2026-03-02 20:00")]
    assert records(it)[1].shown.created.hour == 8


@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        ("30 2 * * *", "2026-03-28", ["2026-03-29 01:00"]),
        ("30 2 * * *", "2026-10-24", ["2026-10-25 00:30"]),
        ("30 * * * *", "2026-03-28", [f"2026-03-29 {h:02}:30" for h in range(4)]),
        ("30 * * * *", "2026-10-24", [f"2026-10-25 {h:02}:30" for h in range(4)]),
    ],
)
def test_row_20_changes_of_the_clocks(cron: str, day: str, expected: list[str]) -> None:
    """A nightly run comes once where clocks change; an hourly one follows the real hours."""
    it = world(spec("web", schedules=(every(cron, zone="Europe/Berlin"),)))
    it.source_every = None
    it.clock.time = at(f"{day} 22:45") + (timedelta(hours=1) if "03-" in day else timedelta(0))
    it.run_once()
    began = at(f"{day} 00:00") + DAY
    daemon = it.daemon()
    go(it, daemon, began + 4 * HOUR - it.clock.time, MINUTE)
    ran = [slot for slot in slots_run(it) if slot >= began]
    assert ran == [at(text) for text in expected]
    assert len(records(it)) == len(slots_run(it)) + 1


def test_row_21_a_clock_that_jumps() -> None:
    """No slot comes twice; a clock that was set back holds slots for ten minutes at most."""
    it = settled(spec("web", schedules=(every("*/5 * * * *"),)))
    daemon = it.daemon()
    go(it, daemon, HOUR + 2 * MINUTE)
    ran = len(records(it))
    assert ran == 13
    it.clock.time -= HOUR
    go(it, daemon, 9 * MINUTE)
    assert (len(records(it)), code(it)) == (ran, ReasonCode.CLOCK_BEHIND)
    go(it, daemon, 12 * MINUTE)
    assert "is believed" in notes(it)
    assert len(records(it)) in {ran + 1, ran + 2}
    go(it, daemon, 10 * MINUTE)
    count = len(records(it))
    it.clock.time += 2 * DAY
    go(it, daemon, MINUTE)
    assert len(records(it)) == count + 1


def test_row_22_many_that_are_due_are_spread() -> None:
    """`H` gives each stack and each schedule a minute of its own."""
    found = [
        slots.following(
            every("H * * * *", name=name),
            NOW,
            slots.slot_key(spec(f"s{i}"), every("H * * * *", name=name)),
        )
        for i in range(60)
        for name in ("a", "b")
    ]
    assert len(set(found)) > 40
    assert sum(found[i] != found[i + 1] for i in range(0, 120, 2)) > 50


def test_row_22_creates_in_flight_are_bounded_and_fair() -> None:
    """No more run at once than the limit says, and no organization waits for all of another."""
    many = [spec(f"big{i:02}") for i in range(30)]
    few = spec("tiny", stack=StackRef("other", "tiny", "dev"))
    it = world(*many, few)
    it.limits = Limits(max_concurrent=5)
    most = 0

    def watch(_: str, __: str) -> Fault:
        nonlocal most
        live = [r for rs in it.api.records.values() for r in rs if not r.shown.status.ended]
        most = max(most, len(live))
        return Fault.NONE

    it.api.faults = watch
    daemon = it.daemon()
    daemon.tick()
    assert it.api.creates == 5
    assert len(it.api.records[few.stack]) == 1
    assert daemon.run_once(LONG)
    assert (most, it.api.creates) == (5, 31)


@pytest.mark.parametrize("overlap", list(Overlap))
def test_row_23_a_slot_while_something_runs(overlap: Overlap) -> None:
    """Of slots that come during a run the newest follows it, or none does and that is recorded."""
    often = replace(every("*/2 * * * *"), overlap=overlap)
    it = settled(spec("web"))
    daemon = it.daemon()
    it.specs["web"] = spec("web", schedules=(often,))
    it.api.duration = 9 * MINUTE
    go(it, daemon, MINUTE)
    it.digests["web"] = CHANGED
    go(it, daemon, 40 * SECOND)
    it.api.duration = 10 * SECOND
    begun = records(it)[1].shown
    assert begun.status is JobStatus.RUNNING
    go(it, daemon, 8 * MINUTE)
    assert len(records(it)) == 2
    go(it, daemon, 75 * SECOND)
    ran = slots_run(it)
    if overlap is Overlap.SKIP:
        assert ran == []
        assert "overlap: skip" in notes(it)
    else:
        assert ran == [at("2026-03-02 12:10")]
        assert "passed over: a newer one is due" in notes(it)


# ---------------------------------------------------------------- files that go, and come


def four(**of: object) -> list[Spec]:
    """Return four specs; of these one may go without a mass guard's word."""
    return [spec("web", **of), *(spec(f"other{i}") for i in range(3))]


def test_row_26_a_missing_file_counts_after_ten_minutes() -> None:
    """A file that is away for less changes nothing; then its stack is kept and forgotten."""
    it = settled(*four())
    daemon = it.daemon()
    one = it.specs.pop("web")
    go(it, daemon, 9 * MINUTE)
    assert (it.disk["web"].state, code(it)) == (State.WAITING, ReasonCode.REMOVED)
    it.specs["web"] = one
    go(it, daemon, MINUTE)
    assert it.disk["web"].state is State.READY
    del it.specs["web"]
    go(it, daemon, 9 * MINUTE)
    daemon = it.daemon()  # what it has not seen itself does not count
    go(it, daemon, 9 * MINUTE)
    assert (it.disk["web"].state, code(it)) == (State.WAITING, ReasonCode.REMOVED)
    go(it, daemon, 3 * MINUTE)
    assert "web" not in it.disk
    assert operations(it) == ["update"]


@pytest.mark.parametrize("way", ["a clock set ahead", "a machine that was off", "an empty folder"])
def test_row_26_what_is_missing_for_seconds_is_not_removed(way: str) -> None:
    """Ten minutes that nobody has seen pass do not count, whatever the clock and the disk tell."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    daemon.tick()
    kept = it.specs.pop("web")
    daemon.wake()
    go(it, daemon, 10 * SECOND)
    assert it.disk["web"].removal is not None
    if way == "a clock set ahead":
        it.clock.set_ahead(HOUR)
    elif way == "a machine that was off":
        it.clock.time += HOUR
        daemon = it.daemon()
    else:
        others = dict(it.specs)
        it.specs.clear()
        go(it, daemon, HOUR, MINUTE)
        it.specs.update(others)
        daemon.wake()
    go(it, daemon, 9 * MINUTE)
    assert (it.disk["web"].state, code(it)) == (State.WAITING, ReasonCode.REMOVED)
    reason = it.disk["web"].reason
    assert reason is not None
    assert "this process has to see for itself first" in reason.message
    it.specs["web"] = kept
    daemon.wake()
    go(it, daemon, 5 * MINUTE)
    assert it.disk["web"].state is State.READY
    del it.specs["web"]
    daemon.wake()
    go(it, daemon, 9 * MINUTE)
    assert operations(it) == ["update"], "where it was there in between it begins anew"
    go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["update", "destroy"]


def test_row_26_processes_of_seconds_remove_too() -> None:
    """`run --once` believes another one about the ten minutes, and looks for one more itself."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    kept = it.specs.pop("web")
    for _ in range(3):
        before = it.clock.time
        it.run_once()
        assert it.clock.time - before < 10 * SECOND, "it does not wait for ten minutes"
        it.clock.time += 3 * MINUTE
    it.clock.set_ahead(HOUR)
    began, scan_now = it.clock.time, it.scan

    def back() -> Catalog:
        if it.clock.time - began > 20 * SECOND:
            it.specs["web"] = kept
        return scan_now()

    it.scan = back  # type: ignore[method-assign]
    it.run_once()
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)
    it.scan = scan_now  # type: ignore[method-assign]
    del it.specs["web"]
    it.run_once()
    it.clock.time += 11 * MINUTE
    began = it.clock.time
    it.run_once()
    assert operations(it) == ["update", "destroy"]
    assert records(it)[1].shown.created - began >= MINUTE
    assert "web" not in it.disk


def test_row_26_what_is_queued_for_a_kept_stack_is_cancelled() -> None:
    """What has not begun when its spec is removed is cancelled; what runs goes on."""
    it = settled(*four())
    it.api.paused.add(it.specs["web"].stack)
    it.digests["web"] = CHANGED
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    del it.specs["web"]
    go(it, daemon, 15 * MINUTE)
    assert records(it)[1].canceled
    assert "web" not in it.disk
    assert it.api.creates == 5


@pytest.mark.parametrize("on_delete", list(OnDelete))
def test_row_26_what_was_asked_of_a_removed_one_goes_with_it(on_delete: OnDelete) -> None:
    """Where a file is gone nothing is taken over, and no wish waits for another of its name."""
    it = settled(*four(on_delete=on_delete))
    it.api.duration = HOUR
    daemon = it.daemon()
    one = it.specs.pop("web")
    go(it, daemon, 5 * MINUTE)
    ask(it, RequestKind.ADOPT)
    if on_delete is OnDelete.KEEP:
        ask(it, RequestKind.TRIGGER)
    go(it, daemon, 10 * MINUTE)
    if on_delete is OnDelete.DESTROY:
        assert "web" in it.disk, "the destroy takes its time"
    go(it, daemon, 2 * HOUR, 10 * SECOND)
    assert "web" not in it.disk
    assert it.requests == {}
    destroyed = ["destroy"] if on_delete is OnDelete.DESTROY else []
    assert operations(it) == ["update", *destroyed]
    it.specs["web"] = one
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", *destroyed, *(["update"] if destroyed else [])]


def test_row_26_what_was_only_previewed_is_not_destroyed() -> None:
    """With `dryRun` a spec has made nothing: with its file gone, it is forgotten."""
    it = settled(*four(on_delete=OnDelete.DESTROY, dry_run=True))
    daemon = it.daemon()
    del it.specs["web"]
    go(it, daemon, 30 * MINUTE)
    assert operations(it) == ["preview"]
    assert "web" not in it.disk
    assert any("dryRun goes before onDelete" in reason.message for _, _, reason in it.said)


def test_row_26_a_commit_that_removed_it_needs_no_ten_minutes() -> None:
    """Where a commit says that a file was removed, that is acted on at once."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    daemon.tick()
    del it.specs["web"]
    it.removed.add("web")
    go(it, daemon, 2 * MINUTE)
    assert operations(it) == ["update", "destroy"]
    assert "web" not in it.disk


def test_row_26_a_destroy_comes_in_reverse_order() -> None:
    """`onDelete: destroy` runs from what is remembered, dependents first, then forgets."""
    chain = [
        spec("net", on_delete=OnDelete.DESTROY),
        spec("app", on_delete=OnDelete.DESTROY, depends_on=("net",)),
    ]
    it = settled(*chain, *(spec(f"other{i}") for i in range(6)))
    daemon = it.daemon()
    daemon.tick()
    for name in ("net", "app"):
        del it.specs[name]
    go(it, daemon, 15 * MINUTE)
    assert operations(it, "net") == operations(it, "app") == ["update", "destroy"]
    net, app = (records(it, name)[1].shown for name in ("net", "app"))
    assert net.created >= app.modified
    assert not {"net", "app"} & set(it.disk)


@pytest.mark.parametrize("valid", [True, False])
def test_row_26_a_stack_that_another_spec_claims_is_left_to_it(*, valid: bool) -> None:
    """Where a second spec, valid or not, names the stack of one that went, nothing is destroyed."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    second = spec("second", stack=it.specs["web"].stack)
    it.specs["second"] = second
    go(it, daemon, MINUTE)
    assert it.disk["second"].state is State.CONFLICT
    del it.specs["web"]
    if not valid:
        del it.specs["second"]
        problem = Problem(path=second.path, message="is no number")
        broken = MappingProxyType({"second": Broken(problem, second.stack)})
        it.catalog = Catalog(specs=tuple(it.specs[n] for n in sorted(it.specs)), broken=broken)
    go(it, daemon, HOUR, 10 * SECOND)
    assert set(operations(it)) == {"update"}
    assert "web" not in it.disk


@pytest.mark.parametrize("way", ["many", "empty", "unreadable"])
def test_row_27_very_many_removals_do_nothing(way: str) -> None:
    """Where too many files go, or the directory is empty or unreadable, nothing is removed."""
    specs = [spec(f"s{i}", on_delete=OnDelete.DESTROY) for i in range(9)]
    it = settled(*specs)
    daemon = it.daemon()
    daemon.tick()
    for one in specs[:4] if way == "many" else specs:
        del it.specs[one.name]
    it.unreadable = way == "unreadable"
    go(it, daemon, 5 * HOUR, MINUTE)
    assert it.api.creates == 9
    assert len(it.disk) == 9
    assert code(it, "s0") is ReasonCode.MASS_REMOVAL
    reason = it.disk["s0"].reason
    assert reason is not None
    told = {"many": "files of 4 of 9", "empty": "holds no spec", "unreadable": "cannot be read"}
    assert told[way] in reason.message
    assert ("approve --mass" in reason.message) is bool(it.masses) is (way == "many")


@pytest.mark.parametrize("left", ["nothing", "a broken file", "a valid file"])
def test_row_27_what_cannot_be_read_is_not_gone(left: str) -> None:
    """Where a part of the directory cannot be read, nothing counts as removed, and it says so."""
    gone = [spec(f"s{i}", on_delete=OnDelete.DESTROY) for i in range(2)]
    other = spec("other")
    it = settled(*gone, other) if left != "nothing" else settled(*gone)
    daemon = it.daemon()
    daemon.tick()
    broken = Broken(Problem(path=other.path, message="is no number"), other.stack)
    it.catalog = Catalog(
        specs=(other,) if left == "a valid file" else (),
        broken=MappingProxyType({"other": broken} if left == "a broken file" else {}),
        problems=(Problem(path=Path("/specs/team"), message="cannot be read: no permission"),),
        complete=False,
    )
    go(it, daemon, HOUR, 10 * SECOND)
    for one in gone:
        assert operations(it, one.name) == ["update"]
        assert code(it, one.name) is ReasonCode.MASS_REMOVAL
        reason = it.disk[one.name].reason
        assert reason is not None
        assert "/specs/team:1:1: cannot be read: no permission" in reason.message


def test_row_27_one_after_the_other_counts_too() -> None:
    """Removals within an hour count together, however they are spread over it."""
    specs = [spec(f"s{i}", on_delete=OnDelete.DESTROY) for i in range(6)]
    it = settled(*specs)
    daemon = it.daemon()
    daemon.tick()
    for one in specs[:4]:
        del it.specs[one.name]
        it.removed.add(one.name)
        go(it, daemon, 5 * MINUTE)
    assert it.api.creates == 6 + 2
    assert it.disk["s3"].state is State.WAITING


def test_row_28_very_many_changes_wait_for_a_person_once() -> None:
    """Too many changes at once are held; an approval is for these names and digests alone."""
    it = settled(*(spec(f"s{i}") for i in range(12)))
    daemon = it.daemon()
    daemon.tick()
    for i in range(6):
        it.digests[f"s{i}"] = CHANGED
    go(it, daemon, HOUR, 10 * SECOND)
    assert it.api.creates == 12
    assert {code(it, f"s{i}") for i in range(6)} == {ReasonCode.MASS_CHANGE}
    (mass,) = it.masses
    assert f"approve --mass {mass.id}" in mass.message
    it.let_through()
    it.digests["s0"] = "f" * 64
    go(it, daemon, 2 * MINUTE)
    assert it.api.creates == 12 + 6
    assert [r.shown.marker[-8:] for r in records(it, "s1")] == ["d" * 8, "e" * 8]
    for i in range(6):
        it.digests[f"s{i}"] = "a" * 64
    go(it, daemon, HOUR, 10 * SECOND)
    assert it.api.creates == 12 + 6
    (again,) = it.masses
    assert again.id != mass.id


@pytest.mark.parametrize("source_every", [None, MINUTE], ids=["nothing else is due", "others are"])
def test_row_28_what_is_no_mass_any_more_goes_on(source_every: timedelta | None) -> None:
    """With what was changed just before they were too many; once that is old, they are not."""
    it = settled(*(spec(f"s{i}") for i in range(8)))
    it.source_every = source_every
    daemon = it.run_once()
    for i in range(6):
        it.digests[f"s{i}"] = CHANGED
        it.specs[f"s{i}"] = replace(it.specs[f"s{i}"], labels={"edit": "1"})
        daemon.wake()
        if i == 2:
            go(it, daemon, 2 * MINUTE)
    go(it, daemon, MINUTE)
    assert it.api.creates == 8 + 3
    assert {code(it, f"s{i}") for i in range(3, 6)} == {ReasonCode.MASS_CHANGE}
    go(it, daemon, MASS_CHANGE_WITHIN + MINUTE, 10 * SECOND)
    assert it.api.creates == 8 + 6
    assert it.masses == ()


def test_row_28_new_specs_and_new_commits_do_not_count() -> None:
    """Many new specs, and a commit that many follow, are no mass change."""
    it = settled(*(spec(f"s{i}") for i in range(8)))
    it.heads = dict.fromkeys(it.specs, "b" * 40)
    it.specs |= {f"n{i}": spec(f"n{i}") for i in range(20)}
    it.clock.time += 2 * MINUTE
    it.run_once()
    assert it.api.creates == 8 + 8 + 20


def test_row_29_a_rename_runs_nothing() -> None:
    """A file that is renamed takes its status along."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    daemon.tick()
    one = it.specs.pop("web")
    it.specs["site"] = replace(one, name="site", path=Path("/specs/site.yaml"))
    go(it, daemon, HOUR, 10 * SECOND)
    assert it.api.creates == 4
    assert "web" not in it.disk
    assert it.disk["site"].state is State.READY
    assert it.disk["site"].last_version == 1


def test_row_29_a_renamed_status_outlives_an_older_copy(tmp_path: Path) -> None:
    """A copy that another path of the directory has left does not win over what was renamed."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    root = StateDirectory(tmp_path / "state")
    it = world(*four())

    def started(directory: Path) -> tuple[StatusFiles, Daemon]:
        files = StatusFiles(directory, None, root.of_directory(directory).statuses)
        it.tell = lambda _: files
        return files, it.daemon()

    def renamed(old: str, new: str) -> None:
        it.specs[new] = replace(it.specs.pop(old), name=new, path=Path(f"/specs/{new}.yaml"))
        daemon.wake()
        assert daemon.run_once(LONG)

    files, daemon = started(one)
    for number in range(6):
        it.digests["web"] = it.digests["site"] = f"{number}" * 64
        assert daemon.run_once(LONG)
        go(it, daemon, 2 * MINUTE)
    one.rename(two)
    files, daemon = started(two)
    renamed("web", "site")
    renamed("site", "web")
    newest = files.read("web")
    assert newest.last_version == 6
    two.rename(one)
    assert started(one)[0].read("web") == newest


def test_row_29_an_edited_stack_is_a_new_one() -> None:
    """Where a spec names another stack, that is deployed and the old one is left as it is."""
    it = settled(*four(on_delete=OnDelete.DESTROY))
    daemon = it.daemon()
    daemon.tick()
    new = StackRef("acme", "web", "prod")
    it.specs["web"] = replace(it.specs["web"], stack=new)
    go(it, daemon, HOUR, 10 * SECOND)
    assert operations(it) == ["update"]
    assert len(it.api.records[new]) == 1
    assert it.disk["web"].state is State.READY


def test_row_30_the_spec_in_force_keeps_the_stack() -> None:
    """Of two specs of one stack the one that deployed it goes on, the other does nothing."""
    it = settled(spec("web"))
    daemon = it.daemon()
    daemon.tick()
    it.specs["thief"] = spec("thief", stack=it.specs["web"].stack)
    it.digests["web"] = CHANGED
    ask(it, RequestKind.TRIGGER, "thief")
    go(it, daemon, 10 * MINUTE)
    assert states(it) == {"web": State.READY, "thief": State.CONFLICT}
    assert [r.shown.marker[-8:] for r in records(it)] == ["d" * 8, "e" * 8]


def test_row_31_a_bad_file_stops_its_own_stack_alone() -> None:
    """A broken file keeps its stack, fires no schedules, and holds up nobody else."""
    web, other = spec("web", schedules=(every("*/5 * * * *"),)), spec("other")
    thief = spec("thief", stack=web.stack)
    it = settled(web, other)
    problem = Problem(path=web.path, line=3, column=1, message="is no number")
    it.catalog = Catalog(
        specs=(other, thief), broken=MappingProxyType({"web": Broken(problem, web.stack)})
    )
    it.heads["other"] = "b" * 40
    go(it, it.daemon(), HOUR, 10 * SECOND)
    assert states(it) == {
        "web": State.INVALID,
        "other": State.READY,
        "thief": State.CONFLICT,
    }
    assert (operations(it), operations(it, "other")) == (["update"], ["update", "update"])


def test_row_32_a_file_that_is_not_whole_is_not_acted_on(tmp_path: Path) -> None:
    """What does not parse yet is no spec, and an editor's temporary files are none at all."""
    text = "stack: acme/web/dev\nsourceContext: {git: {repoUrl: ., branch: main}}\n"
    path = tmp_path / "web.yaml"
    for name in (".web.yaml.swp", "web.yaml~", "web.yaml.tmp", "4913"):
        (tmp_path / name).write_text(text)
    for written in range(1, len(text) - 2, 7):
        path.write_text(text[:written])
        found = scan(tmp_path, SecretRules())
        assert (found.specs, list(found.broken)) == ((), ["web"])
    path.write_text(text)
    found = scan(tmp_path, SecretRules())
    assert [one.name for one in found.specs] == ["web"]
    assert not found.problems


def test_row_32_a_file_whose_first_part_is_a_spec_is_waited_for(tmp_path: Path) -> None:
    """What parses may still be written: what was read before holds until it was left alone."""
    clock = [datetime(2026, 11, 24, 12, tzinfo=UTC)]
    quiet = Quiet(tmp_path, lambda: clock[0])
    reader = SpecReader(tmp_path, SecretRules(), quiet)
    path = tmp_path / "web.yaml"
    head = "stack: acme/web/dev\nsourceContext: {git: {repoUrl: ., branch: main}}\n"
    whole = head + "reconcile: {onDelete: destroy}\n"

    def written(text: str, word: Word) -> list[OnDelete]:
        path.write_text(text)
        os.utime(path, (clock[0].timestamp(),) * 2)
        quiet.heard(["web.yaml"], word)
        return [one.on_delete for one in reader.scan().specs]

    assert written(whole, Word.RENAMED) == [OnDelete.DESTROY]
    assert written(head, Word.NONE) == [OnDelete.DESTROY]
    clock[0] += timedelta(seconds=4.9)
    assert written(whole, Word.CLOSED) == [OnDelete.DESTROY]
    clock[0] += timedelta(seconds=4.9)
    assert written(head, Word.CLOSED) == [OnDelete.DESTROY]
    clock[0] += timedelta(seconds=1)
    assert [one.on_delete for one in reader.scan().specs] == [OnDelete.KEEP]


# ---------------------------------------------------------------- order, approval, drift


def test_row_33_dependencies() -> None:
    """A missing, a failed and a circular dependency each hold who depends on it, by name."""
    it = world(
        spec("lonely", depends_on=("nobody",)),
        spec("app", depends_on=("net",)),
        spec("net", retry=replace(spec().retry, limit=0)),
        spec("a", depends_on=("b",)),
        spec("b", depends_on=("a",)),
    )
    it.api.outcome = lambda _: Outcome.FAIL
    daemon = it.daemon()
    go(it, daemon, 10 * MINUTE)
    told = {n: s.reason.message for n, s in it.disk.items() if s.reason is not None}
    assert states(it) == {
        "lonely": State.WAITING,
        "app": State.WAITING,
        "net": State.STALLED,
        "a": State.INVALID,
        "b": State.INVALID,
    }
    assert "nobody (there is no such spec)" in told["lonely"]
    assert "net (Stalled)" in told["app"]
    assert "a → b → a" in told["a"]
    assert it.api.creates == 1
    it.api.outcome = lambda _: Outcome.SUCCEED
    ask(it, RequestKind.TRIGGER, "net")
    go(it, daemon, 5 * MINUTE)
    assert states(it)["app"] is State.READY


def test_row_33_a_dependency_that_deployed_starts_who_wants_that() -> None:
    """With `onDependency: run` a newly deployed dependency starts one run, else none."""
    it = settled(
        spec("net"),
        spec("app", depends_on=("net",), on_dependency=OnDependency.RUN),
        spec("calm", depends_on=("net",)),
    )
    daemon = it.daemon()
    it.digests["net"] = CHANGED
    go(it, daemon, 10 * MINUTE)
    assert [len(records(it, name)) for name in ("net", "app", "calm")] == [2, 2, 1]


def approve(it: World, name: str = "web") -> None:
    approval = it.disk[name].approval
    assert approval is not None
    ask(it, RequestKind.APPROVE, name, approval_key(approval))


def test_row_34_an_approval_binds_what_was_shown() -> None:
    """Only a preview runs before a person agrees, and what changed since needs a new word."""
    it = world(spec("web", needs_approval=True))
    daemon = it.daemon()
    go(it, daemon, HOUR, 10 * SECOND)
    assert (operations(it), code(it)) == (["preview"], ReasonCode.APPROVAL)
    old = it.disk["web"].approval
    assert old is not None
    it.digests["web"] = CHANGED
    ask(it, RequestKind.APPROVE, "web", approval_key(old))
    go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["preview", "preview"], "what was approved is no longer wanted"
    it.api.outcome = lambda r: (
        Outcome.FAIL if str(r.request.operation) == "update" and r.number < 4 else Outcome.SUCCEED
    )
    approve(it)
    go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["preview", "preview", "update", "update"], "retries are covered"
    assert it.disk["web"].state is State.READY


def test_row_34_an_approval_ends_and_a_destroy_needs_one() -> None:
    """What is not approved within a day is shown anew; a destroy waits for a person too."""
    it = world(spec("web", needs_approval=True))
    daemon = it.daemon()
    go(it, daemon, 25 * HOUR, MINUTE)
    assert operations(it) == ["preview", "preview"]
    approve(it)
    go(it, daemon, 5 * MINUTE)
    assert operations(it)[2:] == ["update"]
    it.specs["web"] = spec("web", needs_approval=True, request=request(Operation.DESTROY))
    it.digests["web"] = CHANGED
    daemon.wake()
    go(it, daemon, HOUR, 10 * SECOND)
    assert operations(it)[3:] == []
    approve(it)
    go(it, daemon, 5 * MINUTE)
    assert operations(it)[3:] == ["destroy"]


def test_row_34_an_approval_that_was_not_used_ends() -> None:
    """What was approved more than a day ago is shown, and asked for, anew."""
    late = Window(days=frozenset({3}), start=8 * 60, end=18 * 60)
    it = world(spec("web", needs_approval=True))
    daemon = it.daemon()
    go(it, daemon, 5 * MINUTE)
    it.specs["web"] = replace(it.specs["web"], windows=(late,))
    daemon.wake()
    approve(it)
    go(it, daemon, 67 * HOUR, 5 * MINUTE)
    assert (operations(it), code(it)) == (["preview"], ReasonCode.WINDOW)
    go(it, daemon, 2 * HOUR, MINUTE)
    assert (operations(it), code(it)) == (["preview", "preview"], ReasonCode.APPROVAL)
    approve(it)
    go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["preview", "preview", "update"]


@pytest.mark.parametrize("unsaved", [False, True])
@pytest.mark.parametrize("on_drift", list(Response))
def test_row_35_drift_is_told_or_mended_once(on_drift: Response, *, unsaved: bool) -> None:
    """Drift that was found is a condition of its own; `onDrift: update` starts one update.

    It refreshes first where Pulumi's state does not hold the drift, so that it is undone.
    """
    it = settled(spec("web", on_drift=on_drift))
    drift = Drift(version=1, found=NOW, summary="1 to update", unsaved=unsaved)
    it.disk["web"] = replace(it.disk["web"], drift=drift)
    daemon = it.daemon()
    go(it, daemon, HOUR, 10 * SECOND)
    drifted = next(c.status for c in it.disk["web"].conditions if c.type == "Drifted")
    if on_drift is Response.REPORT:
        assert (drifted, code(it), operations(it)) == (True, ReasonCode.DRIFTED, ["update"])
    else:
        mending = "remediate-drift" if unsaved else "update"
        assert (drifted, operations(it)) == (False, ["update", mending])


def test_row_35_what_a_failed_try_did_not_undo_is_tried_in_the_same_way() -> None:
    """Of drift that no state holds, each try refreshes first, by itself and for a person."""
    it = settled(spec("web", on_drift=Response.UPDATE))
    drift = Drift(version=1, found=NOW, summary="1 to update", unsaved=True)
    it.disk["web"] = replace(it.disk["web"], drift=drift)
    it.api.outcome = lambda record: Outcome.FAIL if record.number == 2 else Outcome.SUCCEED
    daemon = it.daemon()
    go(it, daemon, HOUR, 10 * SECOND)
    assert operations(it) == ["update", "remediate-drift", "remediate-drift"]
    it.specs["web"] = spec("web")
    it.disk["web"] = replace(it.disk["web"], drift=replace(drift, version=3))
    daemon = it.daemon()
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, MINUTE)
    assert operations(it)[3:] == ["remediate-drift"]
    assert (it.disk["web"].drift, code(it)) == (None, ReasonCode.UP_TO_DATE)


# ---------------------------------------------------------------- processes, and the whole


def reconciler(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `run` over a directory with one spec, and an API that is not there."""
    specs = tmp_path / "specs"
    specs.mkdir(exist_ok=True)
    (specs / "web.yaml").write_text(
        "stack: acme/web/dev\nsourceContext: {git: {repoUrl: ./none, branch: main}}\n"
    )
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "reconciler", "run", str(specs), *arguments),
            *("--data", str(tmp_path / "state"), "--api-url", "http://127.0.0.1:1"),
        ],
        env={"PULUMI_ACCESS_TOKEN": "x", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.real
def test_row_36_a_second_one_names_the_first(tmp_path: Path) -> None:
    """Of two that reconcile one directory the second ends with 75 and says who the first is."""
    (tmp_path / "specs").mkdir()
    with StateDirectory(tmp_path / "state").lock(tmp_path / "specs", SystemClock()):
        record = next((tmp_path / "state").rglob("instance.json"))
        second = reconciler(tmp_path, "--once")
        _, said = second.communicate(timeout=60)
        assert second.returncode == 75
        assert f"process {json.loads(record.read_text())['pid']}" in said


@pytest.mark.parametrize("seed", range(4))
def test_row_37_when_faults_end_all_settles(seed: int) -> None:
    """Whatever was lost, doubled or killed for an hour, all come to rest by themselves then."""
    dice = random.Random(seed)
    it = world(*(spec(f"s{i}", schedules=(every("*/20 * * * *"),)) for i in range(5)))
    bad = [f for f in Fault if f is not Fault.LATE]
    it.api.faults = lambda _, __: dice.choice(bad) if dice.random() < 0.4 else Fault.NONE
    it.crash_at = lambda _: dice.random() < 0.01
    it.disk_fails = lambda: dice.random() < 0.1
    end = it.clock.time + HOUR
    while it.clock.time < end:
        daemon = it.daemon()
        try:
            go(it, daemon, end - it.clock.time)
        except BaseException as crash:
            if type(crash).__name__ != "Crash":
                raise
    waiting = [s for s in it.journal if s.state not in {State.READY, State.SUSPENDED}]
    assert waiting
    assert all(s.reason is not None and s.reason.message for s in waiting)
    it.api.faults, it.crash_at, it.disk_fails = (
        (lambda _, __: Fault.NONE),
        (lambda _: False),
        (lambda: False),
    )
    it.run_once()
    assert set(states(it).values()) == {State.READY}
    assert all(ready(status) for status in it.disk.values())


@pytest.mark.real
def test_row_38_a_signal_ends_it_within_five_seconds(tmp_path: Path) -> None:
    """On SIGTERM it ends soon and well, with its status files written."""
    process = reconciler(tmp_path)
    try:
        path = tmp_path / "specs/web.status.json"
        deadline = time.monotonic() + 60
        while not path.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)
        assert process.returncode == 0
        assert json.loads(path.read_text())["name"] == "web"
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_row_38_what_runs_goes_on_and_is_found_again() -> None:
    """Told to stop, nothing new is sent; a new process finds what runs and starts the rest."""
    it = world(*(spec(f"s{i}") for i in range(4)))
    daemon = it.daemon()
    sent = posts(it)
    faults = it.api.faults

    def stop_at_the_first(method: str, path: str) -> Fault:
        daemon.stop()
        return faults(method, path)

    daemon.tick()
    assert len(sent) == 4
    it.digests = dict.fromkeys(it.specs, CHANGED)
    it.clock.time += MINUTE
    it.api.faults = stop_at_the_first
    daemon.tick()
    daemon.run()
    assert it.api.creates <= 5
    it.api.faults = lambda _, __: Fault.NONE
    it.run_once()
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == 8
