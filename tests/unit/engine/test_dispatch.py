from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.types import Operation, StackRef
from reconciler.engine.dispatch import LONGEST_WAIT, Paused, Places, Queued, decide

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def stack(name: str) -> StackRef:
    return StackRef("acme", "web", name)


def queue(*entries: str, age: timedelta = timedelta(minutes=1)) -> tuple[Queued, ...]:
    """Make queued deployments from texts like `a1`, in order: a stack and a number.

    `!` behind it: intermediate ones are skipped for it; `p`: it is a preview.
    """
    return tuple(
        Queued(
            id=text,
            sequence=n,
            stack=stack(text[0]),
            created=NOW - age,
            operation=Operation.PREVIEW if "p" in text[1:] else Operation.UPDATE,
            skip_intermediate="!" in text,
        )
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
    decision = decide(queue(*queued), [stack(s) for s in running], Places(total=workers), NOW)
    assert decision.start == start
    assert decision.expire == ()


def test_what_waited_for_seven_days_expires() -> None:
    """A deployment that has waited for 7 days is not started but expires; the next one runs."""
    old = queue("a1", age=LONGEST_WAIT)
    new = Queued(id="a2", sequence=2, stack=stack("a"), created=NOW)
    decision = decide([*old, new], [], Places(total=2), NOW)
    assert decision.expire == ("a1",)
    assert decision.start == ("a2",)


def test_the_next_look_is_when_the_first_waiting_one_expires() -> None:
    """What stays queued is looked at again when its 7 days are over, at the latest."""
    decision = decide(queue("a1", "a2"), [], Places(total=2), NOW)
    assert decision.look_again_at == NOW - timedelta(minutes=1) + LONGEST_WAIT
    assert decide(queue("a1"), [], Places(total=2), NOW).look_again_at is None


@pytest.mark.parametrize(
    ("queued", "running", "paused", "start", "superseded"),
    [
        # The newest that asks for it stands for all before it.
        (("a1!", "a2!", "a3!"), (), "", ("a3!",), ("a1!", "a2!")),
        # It need not be asked of those that are skipped.
        (("a1", "a2", "a3!"), (), "", ("a3!",), ("a1", "a2")),
        # What came after the one that asks keeps its turn.
        (("a1", "a2!", "a3"), (), "", ("a2!",), ("a1",)),
        # Nobody asks: first in, first out.
        (("a1", "a2"), (), "", ("a1",), ()),
        # Another operation is not stood for, and keeps its place.
        (("a1", "a2p", "a3!"), (), "", ("a2p",), ("a1",)),
        (("a1p!", "a2"), (), "", ("a1p!",), ()),
        # Another stack is another queue.
        (("a1", "b1", "b2!"), (), "", ("a1", "b2!"), ("b1",)),
        # Nothing is skipped before its stack's turn: the newest may still be canceled.
        (("a1", "a2!"), ("a",), "", (), ()),
        (("a1", "a2!"), (), "a", (), ()),
        (("a1", "a2!"), ("c", "d", "e", "f", "g", "h"), "", (), ()),
    ],
)
def test_intermediate_ones_are_skipped_when_their_stack_s_turn_comes(
    queued: Sequence[str],
    running: Sequence[str],
    paused: str,
    start: Sequence[str],
    superseded: Sequence[str],
) -> None:
    """Of those queued for one operation the newest that says so runs, those before it do not."""
    held = Paused(stacks=frozenset(map(stack, paused)))
    decision = decide(queue(*queued), [stack(s) for s in running], Places(total=6), NOW, held)
    assert decision.start == start
    assert decision.supersede == superseded


def test_what_is_paused_keeps_its_place_and_holds_nobody_else() -> None:
    """A paused stack or organization starts nothing; others do, and it goes on where it was."""
    waiting = queue("a1", "b1", "a2")
    other = Queued(id="o1", sequence=9, stack=StackRef("other", "web", "a"), created=NOW)
    by_stack = Paused(stacks=frozenset({stack("a")}))
    assert decide([*waiting, other], [], Places(total=9), NOW, by_stack).start == ("b1", "o1")
    by_organization = Paused(organizations=frozenset({"acme"}))
    assert decide([*waiting, other], [], Places(total=9), NOW, by_organization).start == ("o1",)
    assert decide(waiting, [], Places(total=9), NOW).start == ("a1", "b1")


def test_what_is_paused_expires_like_all_that_waits() -> None:
    """A pause does not make a deployment wait for more than 7 days."""
    old = queue("a1", age=LONGEST_WAIT)
    assert decide(old, [], Places(total=2), NOW, Paused(stacks=frozenset({stack("a")}))).expire == (
        "a1",
    )


@given(
    st.lists(st.sampled_from(["a", "a!", "ap", "ap!", "b", "b!"]), max_size=14),
    st.sets(st.sampled_from("ab")),
    st.sets(st.sampled_from("ab")),
    st.integers(0, 3),
)
def test_no_skip_breaks_the_rules(
    names: list[str], running: set[str], paused: set[str], workers: int
) -> None:
    """Each skipped one has a newer one that stands for it and is left; its stack moves on."""
    queued = queue(*(f"{name[0]}{n}{name[1:]}" for n, name in enumerate(names)))
    held = Paused(stacks=frozenset(map(stack, paused)))
    decision = decide(queued, [stack(s) for s in running], Places(total=workers), NOW, held)
    gone = set(decision.supersede)
    moved = {text[0] for text in decision.start}
    assert not moved & (paused | running)
    assert not gone & set(decision.start)
    for old in (q for q in queued if q.id in gone):
        assert old.id[0] in moved
        assert [
            q
            for q in queued
            if q.stack == old.stack
            and q.operation == old.operation
            and q.sequence > old.sequence
            and q.skip_intermediate
            and q.id not in gone
        ]
    for started in decision.start:
        before = [q for q in queued if q.stack == stack(started[0]) and q.id not in gone]
        assert before[0].id == started


@given(
    st.lists(st.sampled_from("abcd"), max_size=20),
    st.sets(st.sampled_from("abcd")),
    st.integers(1, 6),
)
def test_no_decision_breaks_the_rules(names: list[str], running: set[str], workers: int) -> None:
    """Never two of one stack, never past an older one of it, never idle without a reason."""
    queued = queue(*(f"{name}{n}" for n, name in enumerate(names)))
    start = decide(queued, [stack(s) for s in running], Places(total=workers), NOW).start
    stacks = [text[0] for text in start]
    assert len(set(stacks)) == len(stacks)
    assert not set(stacks) & running
    for text in start:
        first = next(q.id for q in queued if q.stack == stack(text[0]))
        assert text == first
    possible = len({name for name in names if name not in running})
    assert len(start) == max(0, min(possible, workers - len(running)))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=20),
    st.integers(1, 8),
    st.integers(1, 3),
)
def test_no_organization_has_more_than_its_share(
    names: list[tuple[str, str]], total: int, share: int
) -> None:
    """Of one organization no more run than its share, and no place stays empty for another's."""
    queued = [
        Queued(id=f"{n}", sequence=n, stack=StackRef(organization, "web", name), created=NOW)
        for n, (organization, name) in enumerate(names)
    ]
    stacks = {q.id: q.stack for q in queued}
    places = Places(total=total, per_organization=share)
    started = [stacks[i] for i in decide(queued, [], places, NOW).start]
    possible = 0
    for organization in "abc":
        ours = [stack for stack in started if stack.organization == organization]
        assert len(ours) <= share
        possible += min(share, len({s for s in stacks.values() if s.organization == organization}))
    assert len(started) == min(possible, total)
