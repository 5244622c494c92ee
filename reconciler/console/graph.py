"""The graph of dependencies as a picture: a column for each step of the order. Pure.

What depends on nothing stands on the left; an arrow goes from what comes first to what comes
after it. In a column, neighbours of the columns before it stand at about their height.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.console.values import Item, Tone
from reconciler.planning.graph import order

__all__ = ["MOST_NODES", "Edge", "Graph", "Node", "around", "draw"]

NODE_WIDTH: Final = 190.0
NODE_HEIGHT: Final = 40.0
COLUMN: Final = 260.0
ROW: Final = 54.0
MARGIN: Final = 8.0

# More of them are no picture any more, but a carpet; a person looks at a part then.
MOST_NODES: Final = 300

# A longer name is cut in its box; the whole of it is the box's title.
LONGEST_LABEL: Final = 24

_SWEEPS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One item, and the upper left corner of its box."""

    name: str
    label: str
    state: str
    tone: Tone
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An arrow from what comes first to what depends on it; `path` is that of an SVG."""

    first: str
    then: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The drawing; `apart` is how many items depend on nothing and nothing on them."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    apart: int = 0
    left_out: int = 0


def around(edges: Mapping[str, tuple[str, ...]], name: str) -> frozenset[str]:
    """Return an item with all that it depends on and all that depends on it, at any distance."""
    back: dict[str, list[str]] = {}
    for then, firsts in edges.items():
        for first in firsts:
            back.setdefault(first, []).append(then)
    return _reached(name, edges) | _reached(name, back)


def _reached(name: str, leads: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found, left = {name}, [name]
    while left:
        for other in leads.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return frozenset(found)


def draw(items: Iterable[Item], edges: Mapping[str, tuple[str, ...]], of: str = "") -> Graph:
    """Draw who depends on whom: all of it, or what is around one item.

    A dependency that is no item is drawn too: it is missing. Of very many, those are left out
    that come last where people look.
    """
    known = {item.name: item for item in items}
    connected = {*edges, *(first for firsts in edges.values() for first in firsts)}
    wanted = (connected & around(edges, of)) | ({of} & known.keys()) if of else connected
    ranked = [name for name in known if name in wanted]
    ranked += sorted(wanted - known.keys())
    names = frozenset(ranked[:MOST_NODES])
    inside = {
        name: tuple(first for first in edges.get(name, ()) if first in names)
        for name in sorted(names)
    }
    columns = _columns(inside)
    places = {
        name: (MARGIN + column * COLUMN, MARGIN + row * ROW)
        for column, group in enumerate(columns)
        for row, name in enumerate(group)
    }
    return Graph(
        width=2 * MARGIN + max(len(columns) - 1, 0) * COLUMN + NODE_WIDTH,
        height=2 * MARGIN + max(map(len, columns), default=0) * ROW,
        nodes=tuple(_node(name, known.get(name), places[name]) for g in columns for name in g),
        edges=tuple(
            Edge(first=first, then=then, path=_path(places[first], places[then]))
            for then, firsts in inside.items()
            for first in firsts
        ),
        apart=sum(1 for name in known if name not in connected),
        left_out=len(ranked) - len(names),
    )


def _columns(inside: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """Put each name behind all that it depends on, then neighbours near one another."""
    level: dict[str, int] = {}
    for name in order(inside).names:
        # In a circle some come later; their arrows go back.
        level[name] = max((level[f] + 1 for f in inside[name] if f in level), default=0)
    columns: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in inside:
        columns[level[name]].append(name)
    after: dict[str, list[str]] = {}
    for name, firsts in inside.items():
        for first in firsts:
            after.setdefault(first, []).append(name)
    for sweep in range(_SWEEPS):
        leads: Mapping[str, Sequence[str]] = inside if sweep % 2 == 0 else after
        height = {name: row for group in columns for row, name in enumerate(group)}
        for group in columns if sweep % 2 == 0 else reversed(columns):
            middles = {name: _middle(leads.get(name, ()), height, height[name]) for name in group}
            group.sort(key=lambda name: (middles[name], name))
            height.update({name: row for row, name in enumerate(group)})
    return columns


def _middle(others: Sequence[str], height: Mapping[str, int], own: int) -> float:
    return sum(height[other] for other in others) / len(others) if others else float(own)


def _node(name: str, item: Item | None, place: tuple[float, float]) -> Node:
    label = name if len(name) <= LONGEST_LABEL else f"…{name[-LONGEST_LABEL + 1 :]}"
    return Node(
        name=name,
        label=label,
        state="missing" if item is None else item.state,
        tone=Tone.PERSON if item is None else item.tone,
        x=place[0],
        y=place[1],
    )


def _path(first: tuple[float, float], then: tuple[float, float]) -> str:
    begin = (first[0] + NODE_WIDTH, first[1] + NODE_HEIGHT / 2)
    end = (then[0], then[1] + NODE_HEIGHT / 2)
    bend = max((end[0] - begin[0]) / 2, COLUMN / 4)
    return (
        f"M{begin[0]:g} {begin[1]:g} C{begin[0] + bend:g} {begin[1]:g} "
        f"{end[0] - bend:g} {end[1]:g} {end[0]:g} {end[1]:g}"
    )
