"""JSON as it is found in documents: strictly, but for a comma too many."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.importing.json_text import JsonFault, JsonText, read_json

texts = st.text('a,]}"\\ \n:[{', max_size=8)
trees = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda below: (
        st.lists(below, min_size=1, max_size=3)
        | st.dictionaries(texts, below, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def with_commas(value: Any) -> str:
    """Write a value with a comma after each last item."""
    if isinstance(value, list):
        return "[" + "".join(f"{with_commas(item)} ,\n" for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{json.dumps(key)}: {with_commas(item)}," for key, item in value.items())
        return "{" + "".join(items) + " }"
    return json.dumps(value)


@given(trees)
def test_a_comma_before_a_bracket_is_passed_over(tree: Any) -> None:
    """Only such commas are: those in texts stay, and every value is as it was written."""
    assert read_json(json.dumps(tree)) == JsonText(tree, commas=False)
    text = with_commas(tree)
    assert read_json(text) == JsonText(tree, commas=isinstance(tree, list | dict))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"a":\n kanarie}', 2, "is no valid JSON here: expecting value"),
        ('{"a": 1, "a": "kanarie"}', 1, "holds a key twice in one object; keep one of them"),
        ('{"a": NaN}', 1, "holds NaN or Infinity, which are no JSON"),
        ("[" * 100_000, 1, "is nested far too deep"),
        ("[" * 50 + "]" * 50, 1, "is nested deeper than 40 levels"),
        (f"[{'0,' * 30_000}0]", 1, "holds more than 20,000 values"),
        ("1" * 5000, 1, "holds a number that is far too long"),
        ('{"' + '\\"' * 400_000, 1, "is no valid JSON here: unterminated string starting at"),
    ],
)
def test_what_is_no_json_is_a_fault(text: str, line: int, message: str) -> None:
    """A fault has a line and a reason, and nothing of the text in it, however large that is."""
    fault = read_json(text)
    assert isinstance(fault, JsonFault)
    assert (fault.line, fault.message) == (line, message)
