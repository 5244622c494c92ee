from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.types import StackRef
from reconciler.engine.dispatch import LONGEST_WAIT, Queued, decide

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def stack(name: str) -> StackRef:
    return StackRef("acme", "web", name)


def queue(*entries: str, age: timedelta = timedelta(minutes=1)) -> tuple[Queued, ...]:
    """Make queued deployments from texts like `a1`: a stack and a number, in order."""
    return tuple(
        Queued(id=text, sequence=n, stack=stack(text[0]), created=NOW - age)
        for n, text in enumerate(entries, start=1)
    )


@pytest.mark.parametrize(
    ("queued", "running", "workers", "start"),
    [
        ((), (), 2, ()),
        (("a1",), (), 2, ("a1",)),
        (("a1", "a2"), (), 2, ("a1",)),
        (("a1", "a2", "b1"), (), 2, ("a1", "b1")),
        (("a1", "b1", "c1"), (), 2, ("a1", "b1")),
        (("a1", "b1"), ("a",), 2, ("b1",)),
        (("a1", "b1"), ("c",), 2, ("a1",)),
        (("a1", "b1"), ("c", "d"), 2, ()),
        (("a1", "a2", "a3"), ("a",), 9, ()),
    ],
)
def test_first_in_first_out_per_stack_within_the_limit(
    queued: Sequence[str], running: Sequence[str], workers: int, start: Sequence[str]
) -> None:
    """One at a time per stack, the longest waiting first, no more than there are workers."""
    decision = decide(queue(*queued), [stack(s) for s in running], workers, NOW)
    assert decision.start == start
    assert decision.expire == ()


def test_what_waited_for_seven_days_expires() -> None:
    """A deployment that has waited for 7 days is not started but expires; the next one runs."""
    old = queue("a1", age=LONGEST_WAIT)
    new = Queued(id="a2", sequence=2, stack=stack("a"), created=NOW)
    decision = decide([*old, new], [], 2, NOW)
    assert decision.expire == ("a1",)
    assert decision.start == ("a2",)


def test_the_next_look_is_when_the_first_waiting_one_expires() -> None:
    """What stays queued is looked at again when its 7 days are over, at the latest."""
    decision = decide(queue("a1", "a2"), [], 2, NOW)
    assert decision.look_again_at == NOW - timedelta(minutes=1) + LONGEST_WAIT
    assert decide(queue("a1"), [], 2, NOW).look_again_at is None


@given(
    st.lists(st.sampled_from("abcd"), max_size=20),
    st.sets(st.sampled_from("abcd")),
    st.integers(1, 6),
)
def test_no_decision_breaks_the_rules(names: list[str], running: set[str], workers: int) -> None:
    """Never two of one stack, never past an older one of it, never idle without a reason."""
    queued = queue(*(f"{name}{n}" for n, name in enumerate(names)))
    start = decide(queued, [stack(s) for s in running], workers, NOW).start
    stacks = [text[0] for text in start]
    assert len(set(stacks)) == len(stacks)
    assert not set(stacks) & running
    for text in start:
        first = next(q.id for q in queued if q.stack == stack(text[0]))
        assert text == first
    possible = len({name for name in names if name not in running})
    assert len(start) == max(0, min(possible, workers - len(running)))
