"""What Pulumi's exit and its summary say about drift."""

from __future__ import annotations

import pytest

from reconciler.engine.drift import TAIL_BYTES, Tail, found
from reconciler.pulumi_output import summary, told

LOOK = """\
Previewing refresh (dev):
 -  localfile:index:File a delete
 ~  localfile:index:File b update [diff: ~content,sha256]
\x1b[38;5;13m\x1b[1mResources:\x1b[0m
    \x1b[38;5;3m~ 1 to update\x1b[0m
    \x1b[38;5;1m- 2 to delete\x1b[0m
    3 changes. 1 unchanged

error: no changes were expected for refresh but changes were proposed
"""
DONE = """\
Resources:
    + 2 created
    ~ 1 updated
    +-1 replaced
    - 3 deleted
    7 changes. 4 unchanged

Duration: 5s
"""


def text(output: str) -> str:
    tail = Tail()
    tail.add(output.encode())
    return tail.text


@pytest.mark.parametrize(
    ("code", "tail", "expected"),
    [
        (0, "", False),
        (7, "", True),
        (255, "error: no changes were expected but changes were proposed", True),
        (1, "error: the provider is gone", None),
        (137, "", None),
        (None, "", None),
    ],
)
def test_the_exit_says_whether_there_is_drift(
    code: int | None, tail: str, *, expected: bool | None
) -> None:
    """Changes that were not expected are drift; every other failure is one."""
    assert found(code, tail) is expected


def test_a_summary_counts_by_what_was_or_would_be_done() -> None:
    """Colors and what stands around it do not matter, and the last summary counts."""
    assert summary(text(LOOK)) == {"update": 1, "delete": 2, "same": 1}
    assert summary(text(DONE)) == {"create": 2, "update": 1, "replace": 1, "delete": 3, "same": 4}
    assert summary(text(LOOK + DONE))["create"] == 2
    assert summary(text("Resources:\n    4 unchanged\n")) == {"same": 4}
    assert summary("nothing of the kind") == {}


def test_what_a_program_prints_is_no_summary() -> None:
    """Numbers outside of the block are not counted."""
    assert summary(text("9 deleted\nResources:\n    1 unchanged\n\n  8 created\n")) == {"same": 1}


def test_changes_are_told() -> None:
    """A log names what changed, in words."""
    assert told({"update": 1, "delete": 2, "same": 9}) == "2 to delete, 1 to update"
    assert told({}) == ""


def test_a_tail_is_bounded_and_the_newest() -> None:
    """However much is printed, only the end of it is kept."""
    tail = Tail()
    for number in range(5000):
        tail.add(f"line {number}\n".encode())
        assert len(tail.kept) <= 2 * TAIL_BYTES
    tail.add(b"x" * 10 * TAIL_BYTES)
    tail.add(b"the end")
    assert tail.text.endswith("xthe end")
    assert len(tail.text) == TAIL_BYTES
