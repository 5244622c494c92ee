"""What is written as YAML is read as the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters import yaml_reader
from reconciler.adapters.yaml_reader import Document, Shape
from reconciler.importing.yaml_text import render

# Every text but what no file can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
lines = st.lists(st.text("ab: #-'\"{}[]|>\\ ", max_size=8), min_size=2, max_size=4).map("\n".join)
trees = st.dictionaries(
    keys,
    st.recursive(
        texts | lines,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def as_written(depth: int = 20) -> Shape:
    shape = Shape(types=frozenset({"string"}))
    for _ in range(depth):
        shape = Shape(types=shape.types, other=shape, items=shape)
    return shape


@given(trees)
def test_any_tree_is_read_back(tree: dict[str, object]) -> None:
    """Whatever texts a tree holds, the YAML that is written means the same."""
    read = yaml_reader.read(render(tree, {}, ("# a head",)).encode(), as_written())
    if not tree:
        return
    assert isinstance(read, Document), read
    assert read.tree == tree


def test_a_comment_stands_above_its_key_and_stays_one() -> None:
    """A comment is lines of its own, with nothing that ends it early."""
    text = render({"a": {"b": "c"}}, {("a", "b"): "one\ntwo\x07: {"}, ())
    assert text == "a:\n  # one\n  # two?: {\n  b: c\n"


def test_texts_that_look_like_something_else_are_quoted() -> None:
    """Numbers, booleans and dates stay texts; a text of many lines stays readable."""
    tree = {
        "a": "1234567",
        "b": "true",
        "c": "12e4567",
        "d": "x y",
        "e": "if x\n  y\nfi",
        "f": True,
    }
    assert render(tree, {}, ()) == (
        'a: "1234567"\nb: "true"\nc: "12e4567"\nd: "x y"\ne: |-\n  if x\n    y\n  fi\nf: true\n'
    )
