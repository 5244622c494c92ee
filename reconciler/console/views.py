"""What each page is made of: a template, and the values that it writes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from reconciler.api.types import JobStatus, LogLine
from reconciler.console import graph as graphs
from reconciler.console import overview as overviews
from reconciler.console import runs
from reconciler.console import timeline as timelines
from reconciler.console.pages import BASE, address
from reconciler.console.ports import Source
from reconciler.console.values import Act, Shown, Viewer

__all__ = ["Visit", "graph", "item", "overview", "plan", "run", "timeline"]

# A timeline of more is longer than anybody scrolls.
LANES: Final = 25

# What a page holds of a log; a script brings the rest, and a link the whole of it.
LOG_LINES: Final = 2000
# How far a log is read for the line that says why it failed.
FAILURE_LINES: Final = 20_000

LARGEST_PAGE: Final = 10_000
LARGEST_LINE: Final = 10_000_000

# Said of plans where there are very many; the rest is in the list.
PLANS_SHOWN: Final = 200

Page = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A page that somebody asks for."""

    source: Source
    viewer: Viewer
    now: datetime
    query: Mapping[str, str]
    path: Mapping[str, Any]

    def number(self, name: str, largest: int) -> int:
        """Return a number of the address, from 1; 1 where it is none."""
        text = self.query.get(name, "")
        fine = text.isascii() and text.isdecimal() and len(text) < 9  # noqa: PLR2004 - digits enough
        return min(max(int(text), 1), largest) if fine else 1

    @property
    def asked(self) -> overviews.Asked:
        """What is looked for."""
        return overviews.Asked(
            words=self.query.get("q", "")[: overviews.LONGEST_QUERY],
            state=self.query.get("state", "")[:50],
            page=self.number("page", LARGEST_PAGE),
        )


def _linker(place: str, query: Mapping[str, str]) -> Any:
    """Return what makes addresses of the same page with something else in the query."""

    def to(**changed: object) -> str:
        given = {k: v for k, v in {**query, **changed}.items() if v}
        return f"{place}?{urlencode(given)}" if given else place

    return to


def overview(visit: Visit) -> Page:
    """How everything stands."""
    found = overviews.overview(visit.source.items(visit.viewer), visit.asked)
    query = {"q": visit.asked.words, "state": visit.asked.state}
    return "overview.html", {
        "here": "overview",
        "view": found,
        "to": _linker(f"{BASE}/", query),
    }


def timeline(visit: Visit) -> Page:
    """What ran, runs and will run: a lane for each of a page of items."""
    items = overviews.chosen(visit.source.items(visit.viewer), visit.asked)
    pages = max(-(-len(items) // LANES), 1)
    page = min(visit.asked.page, pages)
    names = [item.name for item in items[(page - 1) * LANES : page * LANES]]
    chosen = visit.query.get("span", "")
    chosen = chosen if chosen in timelines.SPANS else "24h"
    begin, end = timelines.span_of(chosen, visit.now)
    lanes = visit.source.lanes(visit.viewer, names, (begin, end))
    query = {"q": visit.asked.words, "state": visit.asked.state, "span": chosen}
    return "timeline.html", {
        "here": "timeline",
        "picture": timelines.picture(lanes, begin, end, visit.now),
        "lanes": lanes,
        "asked": visit.asked,
        "page": page,
        "pages": pages,
        "found": len(items),
        "chosen": chosen,
        "spans": tuple(timelines.SPANS),
        "to": _linker(f"{BASE}/timeline", query),
    }


def graph(visit: Visit) -> Page:
    """Who depends on whom."""
    of = visit.query.get("of", "")
    found = graphs.draw(visit.source.items(visit.viewer), visit.source.edges(visit.viewer), of)
    return "graph.html", {
        "here": "graph",
        "graph": found,
        "of": of,
        "node": (graphs.NODE_WIDTH, graphs.NODE_HEIGHT),
    }


def plan(visit: Visit) -> Page:
    """What the next pass would do."""
    found = visit.source.plans(visit.viewer)
    return "plan.html", {
        "here": "plan",
        "plans": found,
        "shown": found.rows[:PLANS_SHOWN],
        "acts": Act,
    }


def item(visit: Visit) -> Page:
    """All of one item."""
    story = visit.source.story(visit.viewer, str(visit.path["name"]), visit.now)
    begin, end = timelines.span_of("7d", visit.now)
    picture, running = None, ""
    if story.lane is not None:
        running = runs.running_for(story.lane.past, visit.now)
        picture = timelines.picture([story.lane], begin, end, visit.now)
    return "item.html", {"story": story, "picture": picture, "running": running, "acts": Act}


def run(visit: Visit) -> Page:
    """One deployment, with its log."""
    source, viewer = visit.source, visit.viewer
    shown = source.deployment(viewer, str(visit.path["name"]), int(visit.path["version"]))
    first = visit.number("n", LARGEST_LINE)
    lines, token, more = _log(visit, shown)
    whole = lines if not more and not visit.query.get("from") else None
    failure, place = _failure(visit, shown, whole, range(first, first + len(lines)))
    return "run.html", {
        "shown": shown,
        "run": runs.run_view(shown.deployment, visit.now),
        "usual": runs.length(shown.usual) if shown.usual is not None else "",
        "lines": tuple(runs.lines_of(lines)),
        "first": first,
        "token": token,
        "more": more,
        "failure": failure,
        "place": place,
        "acts": Act,
    }


def _failure(
    visit: Visit, shown: Shown, whole: list[LogLine] | None, here: range
) -> tuple[runs.Failure, str]:
    """Say why a deployment failed, and where the line that says so is; `here` are those shown."""
    if shown.deployment.status is not JobStatus.FAILED:
        return runs.Failure(), ""
    begins = {1: ""}
    if whole is None:
        whole, begins = _whole(visit, shown)
    # Of what is longer, what was read is not the end of it.
    found = runs.failure_of(shown.deployment, whole if len(whole) < FAILURE_LINES else ())
    if not found.line:
        return found, ""
    if found.line in here:
        return found, f"#L{found.line}"
    begin = max(number for number in begins if number <= found.line)
    query = urlencode({"from": begins[begin], "n": begin}) if begins[begin] else ""
    page = address("run", shown.item.name, shown.deployment.version)
    return found, f"{page}?{query}#L{found.line}"


def _whole(visit: Visit, shown: Shown) -> tuple[list[LogLine], dict[int, str]]:
    """Return a log up to its end, and the token of each part by the line that it begins with."""
    lines: list[LogLine] = []
    begins: dict[int, str] = {}
    token = ""
    while len(lines) < FAILURE_LINES:
        part = visit.source.log(visit.viewer, shown, token)
        if part.lines:
            begins[len(lines) + 1] = token
        lines += part.lines
        if not part.token or part.token == token or not part.lines:
            break
        token = part.token
    return lines, begins


def _log(visit: Visit, shown: Shown) -> tuple[list[LogLine], str, bool]:
    """Return the first lines, the token that goes on, and whether there is more already."""
    lines: list[LogLine] = []
    token = visit.query.get("from", "")
    while len(lines) < LOG_LINES:
        part = visit.source.log(visit.viewer, shown, token)
        lines += part.lines
        if not part.token or part.token == token or not part.lines:
            return lines, part.token, False
        token = part.token
    return lines, token, True
