"""What may start, across all stacks."""

from __future__ import annotations

from reconciler.model import Plan, Reason, ReasonCode, State, Submit
from reconciler.planning.admission import Facts, Limits, Place, admit, conflicts
from tests.factories import STACK, cause, run, settled, spec, status


def starting(name: str) -> Plan:
    submit = Submit(cause=cause(), operation=run().operation)
    reason = Reason(ReasonCode.NEW, "never deployed")
    return Plan(name=name, state=State.PROGRESSING, verdict=reason, actions=(submit,))


def facts(*in_flight: str) -> Facts:
    """What is known where only the number in flight matters."""
    places = {n: Place("acme") for n in (*in_flight, "a", "b")}
    return Facts(places=places, in_flight=frozenset(in_flight), total=10)


def test_no_more_than_the_limit_start() -> None:
    """With one place left the first starts, the others wait and say for what."""
    plans = admit(
        [starting("a"), starting("b")], facts("w", "x", "y", "z"), Limits(max_concurrent=5)
    )
    assert [p.state for p in plans] == [State.PROGRESSING, State.WAITING]
    assert plans[1].verdict.code is ReasonCode.LIMIT
    assert "never deployed" in plans[1].verdict.message
    assert plans[1].actions == ()


def test_what_starts_nothing_is_let_through() -> None:
    """A plan without a create needs no place."""
    resting = Plan(name="a", state=State.READY, verdict=Reason(ReasonCode.UP_TO_DATE, "ok"))
    assert admit([resting], facts("x"), Limits(max_concurrent=1)) == (resting,)


def test_the_one_in_force_keeps_the_stack() -> None:
    """Of two specs for a stack the one that deployed it goes on, the other makes no call."""
    one, other = spec("web"), spec("copy", stack=spec("web").stack)
    found = conflicts([one, other], {"web": settled(), "copy": status(name="copy")})
    assert list(found) == ["copy"]
    assert str(one.path) in found["copy"].message


def test_where_none_is_in_force_none_goes_on() -> None:
    """Two new specs for one stack both wait for a person."""
    one, other = spec("web"), spec("copy", stack=spec("web").stack)
    assert set(conflicts([one, other], {})) == {"web", "copy"}
    assert conflicts([one], {}) == {}
    assert str(STACK) == str(one.stack)
