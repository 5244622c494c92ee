from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.api.types import Operation
from reconciler.model import Schedule, Spec, Status, Window
from reconciler.planning import agenda as module
from reconciler.planning.agenda import Agenda, Fate, Subject, agenda
from tests.factories import NIGHTLY, NOW, spec

DAY = timedelta(days=1)
WEEK = (NOW, NOW + 7 * DAY)  # from a Monday
HOURLY = Schedule(name="hourly", cron="0 * * * *", operation=Operation.PREVIEW)
FRIDAYS = Schedule(name="friday", cron="0 22 * * fri", time_zone="Europe/Berlin")
MORNING = Window(start=480, end=720)
MONDAYS = Window(days=frozenset({0}), start=0, end=1440)


def subject(of: Spec, *, held: bool = False, **remembered: object) -> Subject:
    status = replace(Status(name=of.name), **remembered)  # type: ignore[arg-type]
    return Subject(spec=of, status=status, held=held)


def look(*subjects: Subject, host: tuple[Window, ...] = (), limit: int = 500) -> Agenda:
    return agenda(subjects, host, WEEK, limit)


def told(found: Agenda) -> list[tuple[str, str, str, str]]:
    return [
        (e.name, f"{e.due:%d %H:%M}", str(e.fate), f"{e.starts:%d %H:%M}" if e.starts else "never")
        for e in found.entries
    ]


def test_all_that_is_due_is_in_order() -> None:
    """Entries are sorted by time, then by name, over all specs and their schedules."""
    web, api = spec("web", schedules=(NIGHTLY, FRIDAYS)), spec("api", schedules=(NIGHTLY,))
    found = look(subject(web), subject(api))
    keys = [(e.due, e.name) for e in found.entries]
    assert keys == sorted(keys)
    assert len(keys) == 7 + 7 + 1
    assert found.left_out == 0
    friday = next(e for e in found.entries if e.schedule == "friday")
    assert friday.due == datetime(2026, 3, 6, 21, 0, tzinfo=UTC)
    assert (friday.stack, friday.operation) == ("acme/web/dev", Operation.UPDATE)
    assert (friday.time_zone, friday.fate, friday.starts) == (
        "Europe/Berlin",
        Fate.RUNS,
        friday.due,
    )


def test_the_first_moment_counts_and_the_last_does_not() -> None:
    """Two spans that follow one another have each slot once."""
    one = subject(spec(schedules=(HOURLY,)))
    found = agenda((one,), (), (NOW, NOW + timedelta(hours=2)), 100)
    assert [e.due for e in found.entries] == [NOW, NOW + timedelta(hours=1)]


def test_a_closed_window_defers() -> None:
    """A slot outside the windows waits until they open; the zone of either does not matter."""
    held = spec(schedules=(NIGHTLY,), windows=(MORNING,))
    found = look(subject(held))
    assert told(found)[0] == ("web", "03 03:00", "waits", "03 08:00")


def test_windows_of_the_host_count_too() -> None:
    """Where the spec's windows are open, and the host's are not, a slot waits for the host's."""
    found = look(subject(spec(schedules=(NIGHTLY,))), host=(MORNING,))
    assert told(found)[0] == ("web", "03 03:00", "waits", "03 08:00")
    held = spec(schedules=(NIGHTLY,), windows=(Window(start=0, end=360),))
    assert {e.fate for e in look(subject(held), host=(MORNING,)).entries} == {Fate.NEVER}


def test_of_several_that_wait_the_newest_runs() -> None:
    """What a newer slot overtakes before its window opens is passed over."""
    held = spec(schedules=(NIGHTLY,), windows=(MONDAYS,))
    assert told(look(subject(held))) == [
        ("web", "03 03:00", "passedOver", "09 00:00"),
        ("web", "04 03:00", "passedOver", "09 00:00"),
        ("web", "05 03:00", "passedOver", "09 00:00"),
        ("web", "06 03:00", "passedOver", "09 00:00"),
        ("web", "07 03:00", "passedOver", "09 00:00"),
        ("web", "08 03:00", "waits", "09 00:00"),
        ("web", "09 03:00", "runs", "09 03:00"),
    ]


def test_a_suspended_spec_runs_nothing() -> None:
    """Its slots are told of, and that they do not run."""
    held = spec(schedules=(NIGHTLY,), suspended=True)
    assert told(look(subject(held)))[0] == ("web", "03 03:00", "suspended", "never")
    by_hand = subject(spec(schedules=(NIGHTLY,)), held=True)
    assert told(look(by_hand))[0] == ("web", "03 03:00", "suspended", "never")


def test_a_dry_run_is_a_preview() -> None:
    """With dryRun only previews run, whatever a schedule says; detect-drift changes nothing."""
    drift = Schedule(name="drift", cron="0 4 * * *", operation=Operation.DETECT_DRIFT)
    found = look(subject(spec(schedules=(NIGHTLY, drift), dry_run=True)))
    assert {e.operation for e in found.entries} == {Operation.PREVIEW, Operation.DETECT_DRIFT}


def test_once_is_once() -> None:
    """A schedule with a time has one entry, in its span."""
    once = Schedule(name="once", at=NOW + DAY)
    assert told(look(subject(spec(schedules=(once,))))) == [("web", "03 12:00", "runs", "03 12:00")]
    gone = Schedule(name="once", at=NOW - DAY)
    assert look(subject(spec(schedules=(gone,)))).entries == ()


def test_the_end_of_a_stack() -> None:
    """`destroyAfter` is due at its time, or so long after the first deployment."""
    at_a_time = spec(destroy_after=NOW + DAY)
    (entry,) = look(subject(at_a_time)).entries
    assert (entry.schedule, entry.operation, entry.due) == ("", Operation.DESTROY, NOW + DAY)
    later = spec(destroy_after=timedelta(days=3))
    assert look(subject(later)).entries == ()
    (entry,) = look(subject(later, first_applied=NOW - DAY)).entries
    assert entry.due == NOW + 2 * DAY
    assert look(subject(at_a_time, destroyed=True)).entries == ()


def test_a_destroyed_stack_is_left_alone() -> None:
    """After its end nothing runs; after another destroy an update does, which makes it again."""
    update = Schedule(name="deploy", cron="0 4 * * *")
    of = spec(schedules=(NIGHTLY, update), destroy_after=NOW + DAY)
    found = look(subject(of)).entries
    assert [(f"{e.due:%d %H}", e.schedule, str(e.fate)) for e in found[:5]] == [
        ("03 03", "nightly", "runs"),
        ("03 04", "deploy", "runs"),
        ("03 12", "", "runs"),
        ("04 03", "nightly", "destroyed"),
        ("04 04", "deploy", "destroyed"),
    ]
    at_once = look(subject(spec(schedules=(HOURLY,), destroy_after=NOW + DAY))).entries
    assert [(e.schedule, str(e.fate)) for e in at_once if e.due == NOW + DAY] == [
        ("", "runs"),
        ("hourly", "destroyed"),
    ]
    gone = look(subject(spec(schedules=(NIGHTLY, update)), destroyed=True))
    assert told(gone)[:2] == [
        ("web", "03 03:00", "destroyed", "never"),
        ("web", "03 04:00", "runs", "03 04:00"),
    ]


def test_a_skipped_time_is_marked() -> None:
    """Where clocks are set on, what is due right after its skipped time says so."""
    berlin = Schedule(name="n", cron="30 2 * * *", time_zone="Europe/Berlin")
    spring = datetime(2026, 3, 28, tzinfo=UTC)
    found = agenda((subject(spec(schedules=(berlin,))),), (), (spring, spring + 3 * DAY), 10)
    assert [e.skipped_time for e in found.entries] == [False, True, False]


def test_what_is_left_out_is_counted() -> None:
    """The limit cuts what is shown, not what is counted, and counting has an end too."""
    web = subject(spec(schedules=(HOURLY,)))
    found = look(web, limit=10)
    assert (len(found.entries), found.left_out, found.counted) == (10, 158, True)
    assert found.entries == look(web).entries[:10]
    often = Schedule(name="often", cron="* * * * *")
    many = [subject(spec(f"s{n}", schedules=(often,))) for n in range(50)]
    found = look(*many, limit=10)
    assert (len(found.entries), found.left_out, found.counted) == (10, module._COUNTED, False)
