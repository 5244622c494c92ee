"""Rows 17, 26 to 30: files that are back in time, and names that come in the place of others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from reconciler.adapters.holds import HoldsFiles
from reconciler.api.types import StackRef
from reconciler.daemon import Daemon
from reconciler.errors import UnreadableError
from reconciler.model import Broken, Catalog, Hold, OnDelete, Problem, ReasonCode, State, Status
from reconciler.planning.admission import Mass
from tests.factories import spec
from tests.fakes.deployments_api import Fault
from tests.fakes.world import Crash, HoldsInMemory, World
from tests.semantics.scene import (
    HOUR,
    LONG,
    MINUTE,
    SECOND,
    code,
    go,
    operations,
    posts,
    states,
    world,
)


def some() -> World:
    """Return a world of which one stack may go without a mass guard's word, deployed."""
    it = world(spec("web", on_delete=OnDelete.DESTROY), *(spec(f"other{i}") for i in range(3)))
    it.run_once()
    it.clock.time += HOUR
    return it


def held(it: World, *names: str) -> None:
    it.holds = replace(it.holds, names={n: Hold(by="ada", at=it.clock.time) for n in names})


@pytest.mark.parametrize("back", [9 * MINUTE + 45 * SECOND, 10 * MINUTE - SECOND])
def test_row_26_a_file_that_is_back_since_the_last_scan_is_seen(back: timedelta) -> None:
    """Nothing is destroyed of a file that came back after the last scan, and before its time."""
    it = some()
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    kept = it.specs.pop("web")
    daemon.wake()
    go(it, daemon, back, 700 * timedelta(milliseconds=1))
    assert it.disk["web"].removal is not None
    it.specs["web"] = kept
    go(it, daemon, 5 * MINUTE, SECOND)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)


def test_row_26_processes_of_seconds_look_again_before_they_remove() -> None:
    """`run --once`, which nothing wakes, looks once more when its minute is over."""
    it = some()
    kept = it.specs.pop("web")
    it.run_once()
    it.clock.time += 11 * MINUTE
    began, wait = it.clock.time, it.clock.wait_until

    def waits(moment: datetime, wake: threading.Event) -> None:
        wait(moment, wake)
        if it.clock.time - began >= 35 * SECOND:
            it.specs["web"] = kept

    it.clock.wait_until = waits  # type: ignore[method-assign]
    assert it.daemon().run_once(LONG)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)


def test_row_26_what_was_held_is_looked_for_before_it_goes_on() -> None:
    """A removal that a suspension held for an hour does not go on where the file is back."""
    it = some()
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    kept = it.specs.pop("web")
    held(it, "web")
    daemon.wake()
    go(it, daemon, HOUR, MINUTE)
    assert (code(it), operations(it)) == (ReasonCode.SUSPENDED, ["update"])
    go(it, daemon, 10 * SECOND)
    it.specs["web"] = kept
    held(it)
    go(it, daemon, 5 * MINUTE, SECOND)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)
    del it.specs["web"]
    held(it, "web")
    go(it, daemon, HOUR, MINUTE)
    held(it)
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", "destroy"]


# ---------------------------------------------------------------- names in the place of others


def unreadable(it: World, name: str) -> None:
    """Let the status of a name be there, and not be readable."""
    read = it.read

    def fails(asked: str) -> Status:
        if asked == name:
            raise UnreadableError("too many open files")
        return read(asked)

    it.read = fails  # type: ignore[assignment, method-assign]


def renamed(it: World, new: str = "site", old: str = "web") -> None:
    it.specs[new] = replace(it.specs.pop(old), name=new, path=Path(f"/specs/{new}.yaml"))


def deployed() -> tuple[World, Daemon]:
    """Return a world of four stacks that are deployed, and the process that has done it."""
    it = world(spec("web"), *(spec(f"other{i}") for i in range(3)))
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    return it, daemon


@pytest.mark.parametrize("way", ["renamed", "a new spec of its stack", "a known spec of its stack"])
def test_row_17_what_cannot_be_read_may_be_of_any_stack(way: str) -> None:
    """Until a status can be read, none begins that is new on its stack: two could run there."""
    it = world(spec("web"))
    it.api.knows_markers = False
    it.api.late_by = lambda: 25 * SECOND
    it.api.duration = 5 * MINUTE
    if way == "a known spec of its stack":
        it.specs = {"site": spec("site")}
        it.run_once()
        it.specs["web"] = spec("web")
    first = [Fault.LATE]
    it.api.faults = lambda method, _: first.pop() if method == "POST" and first else Fault.NONE
    it.daemon().tick()
    assert it.disk["web"].intent is not None
    stack = it.specs["web"].stack
    if way == "renamed":
        renamed(it)
    else:
        it.specs["web"] = replace(it.specs["web"], stack=StackRef("acme", "elsewhere", "dev"))
        it.specs["site"] = replace(spec("site"), stack=stack)
    read, sent = it.read, posts(it)
    unreadable(it, "web")
    daemon = it.daemon()
    go(it, daemon, 40 * SECOND)
    assert (sent, code(it, "site")) == ([], ReasonCode.NOT_DURABLE)
    it.read = read  # type: ignore[method-assign]
    go(it, daemon, 20 * MINUTE)
    assert operations(it) == ["update"]


def test_row_29_a_hold_waits_for_a_status_that_cannot_be_read() -> None:
    """What is suspended under a name that cannot be read does not run under a new one."""
    it, daemon = deployed()
    held(it, "web")
    it.heads = dict.fromkeys(("web", "site"), "c" * 40)
    renamed(it)
    read = it.read
    unreadable(it, "web")
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    assert code(it, "site") is ReasonCode.NOT_DURABLE
    it.read = read  # type: ignore[method-assign]
    go(it, daemon, 12 * MINUTE)
    assert (operations(it), it.disk["site"].state) == (["update"], State.SUSPENDED)
    assert (list(it.holds.names), "web" in it.disk) == (["site"], False)


@pytest.mark.parametrize("crash", ["a write", "is forgotten", "is dropped"])
@pytest.mark.parametrize("back", ["taken back", "not taken back"])
def test_row_29_a_hold_outlives_a_rename_that_is_cut_off(crash: str, back: str) -> None:
    """What is suspended runs under neither name, wherever the process ends in a rename."""
    it, daemon = deployed()
    held(it, "web")
    go(it, daemon, 10 * SECOND)
    it.heads = dict.fromkeys(("web", "site"), "c" * 40)
    kept = it.specs["web"]
    renamed(it)
    it.crash_at = lambda where: where.endswith(crash)
    with pytest.raises(Crash):
        go(it, daemon, MINUTE)
    it.crash_at = lambda _: False
    if back == "taken back":
        del it.specs["site"]
        it.specs["web"] = kept
    go(it, it.daemon(), 15 * MINUTE)
    assert operations(it) == ["update"]
    left = {name: s.state for name, s in it.disk.items() if name in {"web", "site"}}
    assert left == {"web" if back == "taken back" else "site": State.SUSPENDED}


def test_row_29_holds_that_cannot_be_read_keep_a_name_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While holds cannot be read a renamed file runs nothing, and takes all along afterwards."""
    holds = HoldsFiles(tmp_path / "s")
    monkeypatch.setattr("tests.fakes.world.HoldsInMemory", lambda _: holds)
    it, daemon = deployed()
    holds.suspend("web", Hold(by="ada", at=it.clock.time))
    it.heads = dict.fromkeys(("web", "site"), "c" * 40)
    path = tmp_path / "s" / "holds.json"
    kept = path.read_bytes()
    path.write_bytes(b"{torn")
    renamed(it)
    go(it, daemon, 20 * MINUTE)
    assert (states(it)["web"], states(it)["site"]) == (State.WAITING, State.UNKNOWN)
    assert code(it, "site") is ReasonCode.NOT_DURABLE
    path.write_bytes(kept)
    go(it, daemon, 5 * MINUTE)
    assert (operations(it), it.disk["site"].state) == (["update"], State.SUSPENDED)
    assert (list(holds.read().names), "web" in it.disk) == (["site"], False)


def test_row_29_a_slip_in_a_renamed_file_loses_nothing() -> None:
    """A renamed file with a mistake takes its hold along, where that is mended in ten minutes."""
    it, daemon = deployed()
    held(it, "web")
    it.heads = dict.fromkeys(("web", "site"), "c" * 40)
    renamed(it)
    problem = Problem(path=Path("/specs/site.yaml"), line=3, column=1, message="is no number")
    it.catalog = Catalog(
        specs=tuple(one for name, one in sorted(it.specs.items()) if name != "site"),
        broken=MappingProxyType({"site": Broken(problem, it.specs["site"].stack)}),
    )
    go(it, daemon, 9 * MINUTE)
    assert (states(it)["web"], states(it)["site"]) == (State.WAITING, State.INVALID)
    it.catalog = None
    go(it, daemon, 5 * MINUTE)
    assert (operations(it), it.disk["site"].state) == (["update"], State.SUSPENDED)
    assert (list(it.holds.names), "web" in it.disk) == (["site"], False)


@pytest.mark.parametrize("had", ["nothing", "another stack"])
@pytest.mark.parametrize("process", ["the same process", "another process"])
def test_row_30_a_file_that_is_gone_for_a_moment_keeps_its_stack(had: str, process: str) -> None:
    """Who stands in conflict takes a stack over only when the other file counts as removed."""
    it, daemon = deployed()
    if had == "another stack":
        it.specs["new"] = spec("new")
        go(it, daemon, 2 * MINUTE)
    it.specs["new"] = replace(spec("new"), stack=it.specs["web"].stack)
    it.digests["new"] = "e" * 64
    go(it, daemon, 2 * MINUTE)
    assert it.disk["new"].state is State.CONFLICT
    kept = it.specs.pop("web")
    daemon = it.daemon() if process == "another process" else daemon
    daemon.wake()
    go(it, daemon, 9 * MINUTE)
    assert (states(it)["web"], states(it)["new"]) == (State.WAITING, State.CONFLICT)
    it.specs["web"] = kept
    go(it, daemon, 3 * MINUTE)
    assert (states(it)["web"], states(it)["new"]) == (State.READY, State.CONFLICT)
    assert operations(it) == ["update"]
    del it.specs["web"]
    go(it, daemon, 12 * MINUTE)
    assert ("web" in it.disk, it.disk["new"].state is State.CONFLICT) == (False, False)


def test_row_30_a_copy_whose_original_goes_is_a_rename() -> None:
    """Of a file that is copied and then removed the copy takes over what was said of it."""
    it, daemon = deployed()
    held(it, "web")
    it.heads = dict.fromkeys(("web", "site"), "c" * 40)
    it.specs["site"] = replace(it.specs["web"], name="site", path=Path("/specs/site.yaml"))
    go(it, daemon, MINUTE)
    del it.specs["web"]
    go(it, daemon, 12 * MINUTE)
    assert (operations(it), it.disk["site"].state) == (["update"], State.SUSPENDED)
    assert (list(it.holds.names), "web" in it.disk) == (["site"], False)


def test_row_28_what_is_held_is_told_again_after_a_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What could not be written for commands to see is written once there is space, and once."""
    full, told = [True], list[int]()

    class Full(HoldsInMemory):
        def tell(self, masses: Sequence[Mass]) -> bool:
            told.append(len(masses))
            return not full[0] and super().tell(masses)

    monkeypatch.setattr("tests.fakes.world.HoldsInMemory", Full)
    it = world(*(spec(f"s{n}") for n in range(10)))
    daemon = it.daemon()
    go(it, daemon, 15 * MINUTE, MINUTE)
    it.digests = dict.fromkeys(it.specs, "e" * 64)
    go(it, daemon, 2 * MINUTE)
    assert (code(it, "s0"), it.masses) == (ReasonCode.MASS_CHANGE, ())
    full[0] = False
    go(it, daemon, MINUTE)
    assert len(it.masses) == 1
    before = len(told)
    go(it, daemon, 5 * MINUTE)
    assert len(told) == before
