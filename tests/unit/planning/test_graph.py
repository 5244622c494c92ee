from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from reconciler.planning.graph import MAX_OWN_PATHS, order


@pytest.mark.parametrize(
    ("dependencies", "names"),
    [
        ({}, ()),
        ({"b": (), "a": ()}, ("b", "a")),
        ({"a": ("b",), "b": ("c",), "c": ()}, ("c", "b", "a")),
        ({"a": ("missing",)}, ("a",)),
        ({"a": ("c", "b"), "b": (), "c": ("b",)}, ("b", "c", "a")),
    ],
)
def test_dependencies_come_first(
    dependencies: dict[str, tuple[str, ...]], names: tuple[str, ...]
) -> None:
    """What one depends on comes before it; otherwise the order given is kept."""
    assert order(dependencies).names == names
    assert order(dependencies).cycles == {}


def test_circles_have_their_paths() -> None:
    """Each name in a circle has its own path through it, and only those."""
    found = order(
        {"a": ("b",), "b": ("c",), "c": ("a",), "d": ("a",), "e": ("e",), "f": ("g",), "g": ("f",)}
    )
    assert found.cycles == {
        "a": ("a", "b", "c", "a"),
        "b": ("b", "c", "a", "b"),
        "c": ("c", "a", "b", "c"),
        "e": ("e", "e"),
        "f": ("f", "g", "f"),
        "g": ("g", "f", "g"),
    }
    assert sorted(found.names) == ["a", "b", "c", "d", "e", "f", "g"]
    assert found.names.index("d") > found.names.index("a")


def chain(size: int, last: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {f"n{i}": (f"n{i + 1}",) for i in range(size - 1)} | {f"n{size - 1}": last}


def test_ten_thousand_in_a_row() -> None:
    """A chain of ten thousand is sorted at once."""
    begin = time.thread_time()
    found = order(chain(10_000, ()))
    assert found.names == tuple(f"n{i}" for i in reversed(range(10_000)))
    assert time.thread_time() - begin < 2


def test_ten_thousand_in_a_circle() -> None:
    """A circle of ten thousand is found at once; its names share one path."""
    begin = time.thread_time()
    found = order(chain(10_000, ("n0",)))
    assert len(found.cycles) == 10_000 > MAX_OWN_PATHS
    assert len(found.cycles["n7"]) == 10_001
    assert time.thread_time() - begin < 2


def test_any_graph() -> None:
    """Names outside circles follow all they depend on, and each path is a real circle."""
    dice = random.Random(11)
    for _ in range(300):
        names = [f"n{i}" for i in range(dice.randint(1, 12))]
        graph = {n: tuple(dice.sample(names, dice.randint(0, min(3, len(names))))) for n in names}
        found = order(graph)
        assert sorted(found.names) == sorted(names)
        place = {name: i for i, name in enumerate(found.names)}
        for name, others in graph.items():
            if name not in found.cycles:
                assert all(place[other] < place[name] for other in others)
        for name, path in found.cycles.items():
            assert path[0] == path[-1] == name
            assert all(b in graph[a] for a, b in pairwise(path))
