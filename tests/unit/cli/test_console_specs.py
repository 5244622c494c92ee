"""What the console shows of a loop, over a world in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.specs import read_file
from reconciler.cli import parser, wiring
from reconciler.cli.approval_changes import UNTOLD
from reconciler.cli.console_specs import FAULTS_SHOWN, KEEP, SpecsSource
from reconciler.console.values import Act, Change, Item, Order, Tone, Viewer
from reconciler.engine.service import AnswerError
from reconciler.model import (
    Broken,
    Catalog,
    Hold,
    Holds,
    Problem,
    RequestKind,
    Schedule,
    Spec,
    Window,
)
from tests.factories import spec
from tests.fakes.deployments_api import Outcome
from tests.fakes.world import World

ADA = Viewer(name="console", role="admin")
NIGHTLY = Schedule(name="nightly", cron="0 3 * * *")


def made(of: World, tmp_path: Path) -> tuple[SpecsSource, wiring.Place]:
    """Return a source over a loop that has come to rest."""
    (tmp_path / "specs").mkdir()
    arguments = ["status", str(tmp_path / "specs"), "--data", str(tmp_path / "state")]
    where = wiring.place(parser.build().parse_args(arguments))
    return SpecsSource(where, of.run_once(), of.source, of.clock), where


def world(*specs: Spec) -> World:
    return World(specs={one.name: one for one in specs})


def items(of: World, source: SpecsSource) -> dict[str, Item]:
    of.clock.time += KEEP
    return {item.name: item for item in source.items(ADA)}


def test_how_each_spec_stands_is_told(tmp_path: Path) -> None:
    """Each has its state, its reason, its last run and the next; what needs a person is first."""
    of = world(spec("web", schedules=(NIGHTLY,)), spec("held", needs_approval=True))
    source, _ = made(of, tmp_path)
    assert [item.name for item in source.items(ADA)] == ["held", "web"]
    found = items(of, source)
    web, held = found["web"], found["held"]
    assert (web.state, web.tone, web.version, web.operation) == ("Ready", Tone.GOOD, 1, "update")
    assert web.next_run is not None
    assert web.next_run > of.clock.now()
    assert (held.tone, held.code, held.step) == (Tone.PERSON, "Approval", "Look and approve")


def test_the_next_run_is_one_that_comes(tmp_path: Path) -> None:
    """Outside its windows it is when they open; suspended, or with no API, there is none."""
    early = Window(start=9 * 60, end=10 * 60)
    of = world(
        spec("late", schedules=(NIGHTLY,), windows=(early,)),
        spec("web", schedules=(NIGHTLY,)),
        spec("held", schedules=(NIGHTLY,)),
    )
    source, _ = made(of, tmp_path)
    found = items(of, source)
    assert found["web"].next_run is not None
    assert found["late"].next_run == found["web"].next_run.replace(hour=9)
    assert found["late"].next_note.endswith(" 03:00 UTC, outside its windows")
    of.specs["held"] = spec("held", schedules=(NIGHTLY,), suspended=True)
    of.clock.time += timedelta(seconds=31)
    source._daemon.tick()
    held = items(of, source)["held"]
    assert (held.next_run, held.next_note) == (None, "none: suspended")


def test_only_what_changed_is_put_together_again(tmp_path: Path) -> None:
    """Of what rests the same item is shown; what changed, and what is gone, is seen."""
    of = world(spec("web"), spec("db"))
    source, _ = made(of, tmp_path)
    before = items(of, source)
    assert items(of, source) == before
    of.specs["db"] = spec("db", suspended=True)
    of.clock.time += timedelta(seconds=31)
    source._daemon.tick()
    after = items(of, source)
    assert after["web"] is before["web"]
    assert after["db"].state == "Suspended"


def test_a_story_is_what_why_says(tmp_path: Path) -> None:
    """One spec's page has its reason, neighbours, runs, times to come, and what can be done."""
    of = world(
        spec("web", depends_on=("db",), schedules=(NIGHTLY,), windows=(Window(start=0, end=60),)),
        spec("db"),
    )
    source, _ = made(of, tmp_path)
    now = of.clock.now()
    story = source.story(ADA, "web", now)
    assert [each.name for each in story.needs] == ["db"]
    assert [each.name for each in source.story(ADA, "db", now).needed_by] == ["web"]
    assert any("nightly" in line for line in story.following)
    assert story.acts[:1] == (Act.TRIGGER,)
    assert story.lane is not None
    assert story.lane.closed
    assert [due.operation for due in story.lane.coming][:1] == ["update"]
    (lane,) = source.lanes(ADA, ["db"], (now - timedelta(days=1), now))
    assert [run.version for run in lane.past] == [1]
    assert source.edges(ADA) == {"web": ("db",)}
    assert source.plans(ADA).settled <= 2
    with pytest.raises(AnswerError, match="no spec 'nobody'"):
        source.story(ADA, "nobody", now)


def test_who_suspended_by_a_file_is_told_the_file(tmp_path: Path) -> None:
    """The file is what ends it: it is named, as the next step too, and no button says otherwise."""
    of = world(spec("web", suspended=True))
    source, where = made(of, tmp_path)
    assert items(of, source)["web"].step == "Edit its file"
    story = source.story(ADA, "web", of.clock.now())
    told = "nothing starts as long as /specs/web.yaml says reconcile: {suspend: true}"
    assert told in story.following
    assert story.acts == ()
    where.holds.suspend("web", Hold(by="ada", at=of.clock.now()))
    assert source.story(ADA, "web", of.clock.now()).acts == (Act.RESUME,)


def test_a_plan_counts_what_is_suspended(tmp_path: Path) -> None:
    """Suspended is not as it should be: it is counted, and shown where it differs."""
    of = world(spec("web"), spec("db"), spec("new", suspended=True))
    source, _ = made(of, tmp_path)
    plans = source.plans(ADA)
    assert (plans.settled, plans.suspended, plans.new) == (2, 1, 1)
    assert plans.rows == ()
    of.specs["db"] = spec("db", suspended=True)
    of.digests["db"] = "e" * 64
    of.clock.time += timedelta(seconds=31)
    source._daemon.tick()
    of.clock.time += KEEP
    plans = source.plans(ADA)
    assert [(row.item.name, row.does, row.changes) for row in plans.rows] == [
        ("db", (), (Change(field="digest", old="d" * 64, new="e" * 64),))
    ]
    assert plans.tally == (
        "1 is as it should be.",
        "2 are suspended: 1 differs from what was deployed, 1 was never deployed.",
    )


def test_a_missing_dependency_is_a_persons(tmp_path: Path) -> None:
    """Only a person can mend it: it needs one, and what is not there leads nowhere."""
    of = world(spec("web", depends_on=("db",)))
    source, _ = made(of, tmp_path)
    web = items(of, source)["web"]
    assert (web.tone, web.step) == (Tone.PERSON, "Mend its dependsOn")
    story = source.story(ADA, "web", of.clock.now())
    assert [each.state for each in story.needs] == ["missing"]
    commands = [command for command, _ in story.advice]
    assert "$EDITOR /specs/web.yaml" in commands
    assert not any(command.startswith("reconciler why") for command in commands)


def test_who_runs_what_waits_for_approval_is_told_so(tmp_path: Path) -> None:
    """A run by hand does not go past an approval: that is said, with how to give it."""
    of = world(spec("web", needs_approval=True), spec("db"))
    source, _ = made(of, tmp_path)

    def said(name: str, operation: str = "") -> str:
        return source.act(ADA, Order(act=Act.TRIGGER, name=name, operation=operation))

    waits = "; it waits for its approval: press Approve, or `reconciler approve web --directory "
    assert said("web").startswith(f"a run of web is asked for{waits}")
    assert said("web", "update").startswith(f"update of web is asked for{waits}")
    assert said("web", "refresh") == "refresh of web is asked for"
    assert said("web", "destroy") == "destroy of web is asked for; a person has to approve it first"
    assert said("db") == "a run of db is asked for"


def test_how_long_it_stands_so_is_of_how_it_stands_now(tmp_path: Path) -> None:
    """From when it stands otherwise, nothing is said of for how long it stood as before."""
    of = world(spec("web"))
    source, _ = made(of, tmp_path)
    story = source.story(ADA, "web", of.clock.now())
    assert story.since is not None
    assert (story.meant, story.runs) == ("update, as its file says", "Run now")
    of.digests["web"] = "e" * 64
    source._daemon.mark({"web"})
    source._daemon.survey(frozenset({"web"}))
    of.clock.time += KEEP
    story = source.story(ADA, "web", of.clock.now())
    assert (story.item.state, story.since) == ("Progressing", None)


def test_what_a_window_holds_is_run_outside_it(tmp_path: Path) -> None:
    """Whoever runs it by hand is told that this is outside its windows."""
    later = Window(start=9 * 60, end=10 * 60)
    source, _ = made(world(spec("web", windows=(later,))), tmp_path)
    (item,) = source.items(ADA)
    assert (item.code, item.step) == ("Window", "Run it outside its windows")
    story = source.story(ADA, "web", source._clock.now())
    assert story.runs == "Run now, outside its windows"


def test_what_was_approved_is_not_asked_again(tmp_path: Path) -> None:
    """From the press on the button is gone, before the loop has seen it."""
    of = world(spec("web", needs_approval=True))
    source, _ = made(of, tmp_path)
    story = source.story(ADA, "web", of.clock.now())
    assert story.acts[0] is Act.APPROVE
    source.act(ADA, Order(act=Act.APPROVE, name="web", binds=story.binds))
    assert Act.APPROVE not in source.story(ADA, "web", of.clock.now()).acts


def test_what_is_asked_for_lies_where_the_loop_looks(tmp_path: Path) -> None:
    """A trigger is a request in the state directory with its author; a hold is a hold."""
    of = world(spec("web"))
    source, where = made(of, tmp_path)
    source.act(ADA, Order(act=Act.TRIGGER, name="web", operation="refresh"))
    (asked,) = where.requests.all()
    assert (asked.kind, asked.name, asked.by) == (RequestKind.TRIGGER, "web", "console")
    source.act(ADA, Order(act=Act.SUSPEND, name="web"))
    assert "web" in where.holds.read().names
    with pytest.raises(AnswerError, match="suspended by console"):
        source.act(ADA, Order(act=Act.TRIGGER, name="web"))
    with pytest.raises(AnswerError, match="nothing of web is running"):
        source.act(ADA, Order(act=Act.CANCEL, name="web"))
    with pytest.raises(AnswerError, match="not held any more"):
        source.act(ADA, Order(act=Act.LET_THROUGH, binds="m-1"))
    assert source.act(ADA, Order(act=Act.RESUME, name="web")) == "web goes on"


def test_a_deployment_comes_from_the_api(tmp_path: Path) -> None:
    """A version that the API knows is shown with what it is for; another one is not there."""
    of = world(spec("web"))
    source, _ = made(of, tmp_path)
    shown = source.deployment(ADA, "web", 1)
    assert (shown.deployment.version, shown.cause) == (1, "the spec was new")
    with pytest.raises(AnswerError, match="knows no version 9"):
        source.deployment(ADA, "web", 9)


def test_who_approves_sees_what_differs(tmp_path: Path) -> None:
    """What waits for approval is told field by field, as the API tells of both requests."""
    of = world(spec("web"))
    of.run_once()
    of.specs["web"] = spec("web", needs_approval=True)
    of.heads["web"] = "b" * 40
    of.clock.time += timedelta(seconds=61)
    source, _ = made(of, tmp_path)
    found = items(of, source)["web"]
    assert (found.code, found.version) == ("Approval", 2)
    differs = (
        Change(field="source commit", old="a" * 12, new="b" * 12),
        Change(field="", note=UNTOLD),
    )
    assert source.story(ADA, "web", of.clock.now()).changes == differs
    (row,) = source.plans(ADA).rows
    assert row.changes == differs


BROKEN = """\
stack: acme/web
sourceContext: {git: {repoURL: https://example.com/infra.git}}
schedule: []
"""


def test_every_mistake_of_a_file_is_told(tmp_path: Path) -> None:
    """An invalid file has all its mistakes on its page, with their places and what mends each."""
    of = world(spec("web"))
    problem = Problem(path=tmp_path / "specs/bad.yaml", line=1, column=8, message="the first")
    broken = {"bad": Broken(problem=problem, stack=None)}
    of.catalog = Catalog(specs=tuple(of.specs.values()), broken=broken)
    source, where = made(of, tmp_path)
    path = where.directory / "bad.yaml"
    path.write_text(BROKEN)
    story = source.story(ADA, "bad", of.clock.now())
    said = [f"{fault.place}: {fault.text}" for fault in story.faults]
    assert said == [str(p) for p in read_file(path, where.directory, where.rules)]  # type: ignore[union-attr]
    assert len(said) == 3
    assert said[0].startswith(f"{path}:1:8: /stack: ")
    assert all(fault.mend for fault in story.faults)
    path.write_text(BROKEN + "".join(f"k{n}: 1\n" for n in range(FAULTS_SHOWN)))
    long = source.story(ADA, "bad", of.clock.now())
    assert len(long.faults) == FAULTS_SHOWN
    assert long.more_faults == len(said)
    path.unlink()
    assert source.story(ADA, "bad", of.clock.now()).faults == ()
    assert source.story(ADA, "web", of.clock.now()).faults == ()


def test_who_is_suspended_with_all_is_told_what_ends_it(tmp_path: Path) -> None:
    """Its next step is to end it for all; what needs a person beneath that is still told."""
    of = world(spec("web"), spec("vault", needs_approval=True), spec("bad"))
    of.api.outcome = lambda record: Outcome.FAIL if "bad" in record.shown.id else Outcome.SUCCEED
    of.run_once()
    of.holds = Holds(everything=Hold(by="ada", at=of.clock.now(), everything=True))
    source, _ = made(of, tmp_path)
    found = items(of, source)
    assert {name: (i.state, i.step, i.with_all) for name, i in found.items()} == dict.fromkeys(
        ("web", "vault", "bad"), ("Suspended", "End the suspension of all", True)
    )
    beneath = {name: item.beneath for name, item in found.items()}
    assert beneath == {"web": "", "vault": "Waits for approval", "bad": "Stalled"}
    of.holds = Holds(names={"web": Hold(by="ada", at=of.clock.now())})
    of.clock.time += timedelta(seconds=31)
    source._daemon.tick()
    web = items(of, source)["web"]
    assert (web.step, web.with_all) == ("Resume it", False)
