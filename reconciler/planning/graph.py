"""The order that dependencies ask for, and the circles in them. Pure.

Nothing here recurses: a chain of ten thousand specs is as good as one of two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Order", "order"]

# A circle of more is shown as one of its paths to all who are in it; to look for each one's
# own shortest path would take as many steps as the square of their number.
MAX_OWN_PATHS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All names, dependencies first; and for each name in a circle a path such as (a, b, a).

    In a circle of more than `MAX_OWN_PATHS` names the path may begin with another name.
    """

    names: tuple[str, ...]
    cycles: Mapping[str, tuple[str, ...]]


def order(dependencies: Mapping[str, tuple[str, ...]]) -> Order:
    """Sort names so that what one depends on comes before it; otherwise as they were given.

    A dependency that is no name itself is passed over.
    """
    graph = {
        name: tuple(other for other in others if other in dependencies)
        for name, others in dependencies.items()
    }
    names: list[str] = []
    cycles: dict[str, tuple[str, ...]] = {}
    for group in _strong_groups(graph):
        names += group
        if len(group) > 1 or group[0] in graph[group[0]]:
            cycles |= _paths(graph, group)
    return Order(
        names=tuple(names), cycles={name: cycles[name] for name in dependencies if name in cycles}
    )


def _strong_groups(graph: Mapping[str, tuple[str, ...]]) -> Iterator[list[str]]:
    """Yield groups of names that all lead to one another, dependencies first (Tarjan's way)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    is_waiting: set[str] = set()
    for root in graph:
        path: list[tuple[str, Iterator[str]]] = []
        if root not in index:
            path.append((root, iter(graph[root])))
        while path:
            name, others = path[-1]
            if name not in index:
                index[name] = lowest[name] = len(index)
                waiting.append(name)
                is_waiting.add(name)
            for other in others:
                if other not in index:
                    path.append((other, iter(graph[other])))
                    break
                if other in is_waiting:
                    lowest[name] = min(lowest[name], index[other])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    lowest[parent] = min(lowest[parent], lowest[name])
                if lowest[name] == index[name]:
                    begin = waiting.index(name) if waiting[-1] != name else len(waiting) - 1
                    group = waiting[begin:]
                    del waiting[begin:]
                    is_waiting.difference_update(group)
                    yield group


def _paths(
    graph: Mapping[str, tuple[str, ...]], group: list[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    inside = set(group)
    if len(group) > MAX_OWN_PATHS:
        shared = _shortest_circle(graph, inside, group[0])
        yield from ((name, shared) for name in group)
        return
    for name in group:
        yield name, _shortest_circle(graph, inside, name)


def _shortest_circle(
    graph: Mapping[str, tuple[str, ...]], inside: set[str], start: str
) -> tuple[str, ...]:
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        name = queue.popleft()
        for other in graph[name]:
            if other == start:
                path = [start, name] if name != start else [start]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                back = path[::-1]
                return (*back, start) if back[-1] != start or len(back) == 1 else tuple(back)
            if other in inside and other not in came_from:
                came_from[other] = name
                queue.append(other)
    raise AssertionError("every name of the group leads back to itself")
