from __future__ import annotations

from reconciler.console.graph import MOST_NODES, Graph, around, draw
from reconciler.console.values import Item, Tone

EDGES = {"web": ("db", "cache"), "db": ("network",), "cache": ("network",), "jobs": ("db",)}


def items(*names: str) -> list[Item]:
    return [Item(name=n, stack=f"acme/{n}/dev", state="Ready", tone=Tone.GOOD) for n in names]


ALL = items("web", "db", "cache", "network", "jobs", "alone")


def column(found: Graph, name: str) -> float:
    return next(node.x for node in found.nodes if node.name == name)


def test_what_comes_first_stands_on_the_left() -> None:
    """Each stands to the right of all that it depends on."""
    found = draw(ALL, EDGES)
    for then, firsts in EDGES.items():
        assert all(column(found, first) < column(found, then) for first in firsts)
    assert {(e.first, e.then) for e in found.edges} == {
        (first, then) for then, firsts in EDGES.items() for first in firsts
    }


def test_no_two_boxes_lie_on_one_another() -> None:
    """Every box has a place of its own, within the drawing."""
    found = draw(ALL, EDGES)
    places = {(node.x, node.y) for node in found.nodes}
    assert len(places) == len(found.nodes) == 5
    assert all(0 <= n.x < found.width and 0 <= n.y < found.height for n in found.nodes)


def test_what_depends_on_nothing_is_counted() -> None:
    """Those that nothing connects are no boxes, and are told of."""
    assert draw(ALL, EDGES).apart == 1
    assert draw(items("alone"), {}) == Graph(width=206.0, height=16.0, nodes=(), edges=(), apart=1)


def test_a_missing_dependency_is_drawn() -> None:
    """A name that no spec has is a box that needs a person."""
    (node,) = [n for n in draw(items("web"), {"web": ("gone",)}).nodes if n.name == "gone"]
    assert (node.state, node.tone) == ("missing", Tone.PERSON)


def test_a_circle_is_drawn_too() -> None:
    """Specs that wait for one another all have a box and their arrows."""
    found = draw(items("a", "b", "c"), {"a": ("b",), "b": ("c",), "c": ("a",)})
    assert len(found.nodes) == 3
    assert len(found.edges) == 3


def test_around_one_is_what_it_needs_and_what_needs_it() -> None:
    """Neighbours at any distance are there, others are not."""
    assert around(EDGES, "db") == {"db", "network", "web", "jobs"}
    assert {n.name for n in draw(ALL, EDGES, of="jobs").nodes} == {"jobs", "db", "network"}
    assert [n.name for n in draw(ALL, EDGES, of="alone").nodes] == ["alone"]
    assert draw(ALL, EDGES, of="nobody").nodes == ()


def test_neighbours_stand_at_one_height() -> None:
    """Chains beside one another do not cross."""
    chains = {f"{c}{n}": (f"{c}{n - 1}",) for c in "zyx" for n in (1, 2)}
    found = draw(items(*{*chains, "x0", "y0", "z0"}), chains)
    heights = {node.name: node.y for node in found.nodes}
    for chain in "xyz":
        assert len({heights[f"{chain}{n}"] for n in range(3)}) == 1


def test_of_very_many_those_are_drawn_that_people_look_at_first() -> None:
    """A picture has a bound, and says how many are missing."""
    names = [f"s{n}" for n in range(MOST_NODES + 50)]
    found = draw(items(*names), dict.fromkeys(names[1:], ("s0",)))
    assert len(found.nodes) == MOST_NODES
    assert found.left_out == 50


def test_a_long_name_is_cut_in_its_box() -> None:
    """The end of a path tells more than its beginning."""
    name = "team/production/eu-west-1/network"
    (node,) = draw(items(name), {name: ()}).nodes
    assert node.label == "…ction/eu-west-1/network"
