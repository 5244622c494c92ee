from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.console.overview import PAGE_SIZE, Asked, overview
from reconciler.console.values import Item, Tone


def item(name: str, state: str = "Ready", tone: Tone = Tone.GOOD, reason: str = "") -> Item:
    return Item(name=name, stack=f"acme/{name}/prod", state=state, tone=tone, reason=reason)


SOME = [
    item("billing", "Waiting", Tone.PERSON, "waits for approval of its preview"),
    item("web", "Failed", Tone.BAD, "exit code 255"),
    item("network", "Waiting", Tone.WAITS, "waits for its window"),
    item("db"),
    item("cache"),
]


@pytest.mark.parametrize(
    ("words", "state", "names"),
    [
        ("", "", ["billing", "web", "network", "db", "cache"]),
        ("WAITS", "", ["billing", "network"]),
        ("waits window", "", ["network"]),
        ("acme/db", "", ["db"]),
        ("ready", "", ["db", "cache"]),
        ("", "Waiting", ["billing", "network"]),
        ("", "needs a person", ["billing"]),
        ("web", "Ready", []),
        ("<script>", "", []),
    ],
)
def test_what_fits_is_shown(words: str, state: str, names: list[str]) -> None:
    """Each word has to stand in a name, a stack or a reason, or be the state; in their order."""
    found = overview(SOME, Asked(words=words, state=state))
    assert [row.name for row in found.rows] == names
    assert (found.found, found.total) == (len(names), 5)


def test_each_is_counted_once_by_its_state() -> None:
    """The counts of the states are those of all items, however few are shown."""
    found = overview(SOME, Asked(words="nothing of it"))
    counts = {count.label: count.number for count in found.counts}
    assert counts == {"All": 5, "Needs you": 1, "Failed": 1, "Waiting": 2, "Ready": 2}
    states = sum(c.number for c in found.counts if c.label not in {"All", "Needs you"})
    assert states == 5
    assert [count.label for count in found.counts][:3] == ["All", "Needs you", "Failed"]


def test_what_needs_a_person_is_not_counted_where_nothing_does() -> None:
    """Nobody is told that nothing needs them."""
    assert [c.label for c in overview([item("db")], Asked()).counts] == ["All", "Ready"]


@pytest.mark.parametrize(
    ("page", "first", "last", "is_page"),
    [(1, 1, PAGE_SIZE, 1), (3, 101, 120, 3), (99, 101, 120, 3), (0, 1, PAGE_SIZE, 1)],
)
def test_a_page_is_one_of_those_there_are(page: int, first: int, last: int, is_page: int) -> None:
    """A page beyond the last one is the last one."""
    found = overview([item(f"s{n:03}") for n in range(120)], Asked(page=page))
    assert (found.first, found.last, found.asked.page, found.pages) == (first, last, is_page, 3)


def test_of_nothing_there_is_one_empty_page() -> None:
    """Where nothing is there, the page says so and has no places."""
    found = overview([], Asked())
    assert (found.first, found.last, found.pages, found.rows) == (0, 0, 1, ())


def test_what_is_beneath_a_suspension_is_counted() -> None:
    """What would need a person were it not suspended has a count of its own, and is found by it."""
    held = replace(item("held", "Suspended", Tone.RESTS), beneath="Stalled")
    some = [*SOME, held, item("quiet", "Suspended", Tone.RESTS)]
    found = overview(some, Asked())
    (count,) = [count for count in found.counts if count.label.startswith("Suspended, and")]
    assert (count.number, count.tone) == (1, Tone.PERSON)
    assert sum(c.number for c in found.counts if c.label == c.state) == len(some)
    for asked in (Asked(state=count.state), Asked(words="stalled")):
        assert [row.name for row in overview(some, asked).rows] == ["held"]
