from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.console.timeline import LEAST_WIDTH, SPANS, WIDTH, picture, span_of
from reconciler.console.values import Coming, Lane, Past, Tone

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEGIN, END = NOW - timedelta(hours=12), NOW + timedelta(hours=12)
HOUR = timedelta(hours=1)


def past(begun: datetime, ended: datetime | None, version: int = 1) -> Past:
    return Past(
        version=version,
        operation="update",
        status="succeeded" if ended else "running",
        tone=Tone.GOOD if ended else Tone.BUSY,
        begun=begun,
        ended=ended,
    )


def lane(**changes: object) -> Lane:
    return Lane(name="web", state="Ready", tone=Tone.GOOD, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "place"),
    [
        (past(NOW - 6 * HOUR, NOW), (25.0, 25.0)),
        (past(NOW - HOUR, None), (45.833, 4.167)),
        (past(BEGIN - 5 * HOUR, BEGIN + 6 * HOUR), (0.0, 25.0)),
        (past(NOW - HOUR, NOW - HOUR), (45.833, LEAST_WIDTH)),
        (past(BEGIN - 5 * HOUR, BEGIN - HOUR), None),
        (past(END + HOUR, END + 2 * HOUR), None),
    ],
)
def test_a_run_lies_where_it_was(run: Past, place: tuple[float, float] | None) -> None:
    """A run is a bar from its begin to its end, what runs goes up to now, none is unseen."""
    bars = picture([lane(past=(run,))], BEGIN, END, NOW).rows[0].bars
    assert [(bar.x, bar.width) for bar in bars] == ([place] if place else [])


def test_a_bar_at_the_edge_stays_inside() -> None:
    """The least width does not lead out of the picture."""
    (bar,) = picture([lane(past=(past(END, END),))], BEGIN, END, END).rows[0].bars
    assert bar.x + bar.width == WIDTH


def test_a_bar_says_what_it_is() -> None:
    """The title has the operation, the version, the end, the time and the length."""
    (bar,) = picture([lane(past=(past(NOW - HOUR, NOW, 7),))], BEGIN, END, NOW).rows[0].bars
    assert bar.title == "update, version 7: succeeded, Mon 02 Mar 11:00 UTC, took 60 minutes"


def test_what_is_due_is_a_mark() -> None:
    """Marks stand at their times; those that will not run say why."""
    due = Coming(at=NOW + 6 * HOUR, operation="refresh", schedule="nightly")
    off = Coming(at=NOW + 3 * HOUR, operation="update", schedule="h", runs=False, note="suspended")
    far = Coming(at=END + HOUR, operation="update", schedule="h")
    marks = picture([lane(coming=(due, off, far))], BEGIN, END, NOW).rows[0].marks
    assert [(m.x, m.runs) for m in marks] == [(75.0, True), (62.5, False)]
    assert marks[1].title == "update, h: Mon 02 Mar 15:00 UTC; suspended"


def test_closed_windows_are_shaded() -> None:
    """A closed stretch is cut to the picture; one beyond it is not there."""
    closed = ((BEGIN - HOUR, BEGIN + 6 * HOUR), (END + HOUR, END + 2 * HOUR))
    shades = picture([lane(closed=closed)], BEGIN, END, NOW).rows[0].shades
    assert [(s.x, s.width) for s in shades] == [(0.0, 25.0)]


@pytest.mark.parametrize("name", SPANS)
def test_the_scale_has_round_times(name: str) -> None:
    """Lines of the scale are few, in order, and now lies between the ends."""
    begin, end = span_of(name, NOW)
    found = picture([lane()], begin, end, NOW)
    assert 2 <= len(found.ticks) <= 10
    assert [t.x for t in found.ticks] == sorted(t.x for t in found.ticks)
    assert 0 < found.now < WIDTH


def test_labels_of_a_day_name_the_day_at_midnight() -> None:
    """Within a day hours are shown, and the day where it begins."""
    labels = [t.label for t in picture([lane()], BEGIN, END, NOW).ticks]
    assert labels[:3] == ["Mon 02", "03:00", "06:00"]


def test_lanes_lie_below_one_another() -> None:
    """Each lane has its own height, and the picture room for all."""
    found = picture([lane(), lane(), lane()], BEGIN, END, NOW)
    assert [row.y for row in found.rows] == [22.0, 50.0, 78.0]
    assert found.height == 106.0


def test_an_unknown_span_is_a_day() -> None:
    """What an address says wrongly shows the usual picture."""
    assert span_of("<b>", NOW) == span_of("24h", NOW)


def test_what_has_ended_lies_before_now() -> None:
    """However short a run was, and however long ago: it never reaches into what is to come."""
    begin, end = span_of("7d", NOW)
    moment = timedelta(seconds=1)
    runs = [past(NOW - moment, NOW), past(NOW - timedelta(hours=1), NOW - timedelta(hours=1))]
    found = picture([lane(past=tuple(runs))], begin, end, NOW)
    for bar in found.rows[0].bars:
        assert bar.width == LEAST_WIDTH
        assert bar.x + bar.width <= found.now + 0.001


def test_what_runs_once_a_day_is_on_the_day() -> None:
    """As much lies ahead as the name of a span says."""
    begin, end = span_of("24h", NOW)
    assert end - NOW == timedelta(hours=24)
    assert begin < NOW
