"""`plan`: what a person reads, on a terminal and elsewhere, and what a program does."""

from __future__ import annotations

import json
import re

from reconciler.api.types import Operation
from reconciler.cli.look import Look
from reconciler.cli.plan import as_json, as_text
from reconciler.model import CauseKind, Plan, Reason, ReasonCode, State, Submit
from reconciler.planning.admission import Mass
from tests.factories import NOW, cause


def plan(
    name: str, state: State, code: ReasonCode, operation: Operation | None = None, *changes: str
) -> Plan:
    submit = Submit(cause=cause(CauseKind.CHANGE), operation=operation) if operation else None
    return Plan(
        name=name,
        state=state,
        verdict=Reason(code, f"it is {code}"),
        actions=(submit,) if submit else (),
        changes=changes,
        look_again_at=NOW,
    )


PLANS = (
    plan(
        "a", State.PROGRESSING, ReasonCode.SPEC_CHANGED, Operation.UPDATE, "X: 1 → 2", "Y: added 3"
    ),
    plan("b", State.PROGRESSING, ReasonCode.EXPIRED, Operation.DESTROY),
    plan("c", State.READY, ReasonCode.UP_TO_DATE),
    plan("d", State.WAITING, ReasonCode.MASS_CHANGE, None, "X: 1 → 2"),
    plan("e", State.WAITING, ReasonCode.MASS_CHANGE, None, "X: 1 → 2"),
)
MASS = Mass(
    code=ReasonCode.MASS_CHANGE, id="0123abcd", names={"e": "d2", "d": "d1"}, message="held"
)
FILES = {name: f"specs/{name}.yaml" for name in "abcde"}

PLAIN = """\
a: start update
  specs/a.yaml: X: 1 → 2
  specs/a.yaml: Y: added 3
b: start destroy
  because: it is Expired
c: nothing (Ready)
  because: it is UpToDate
d: nothing (Waiting)
  because: it is MassChange
  specs/d.yaml: X: 1 → 2
e: nothing (Waiting)
  because: it is MassChange
  specs/e.yaml: X: 1 → 2

held: 2 at once (MassChange), with the ID 0123abcd
  d, e
  `reconciler approve --mass 0123abcd` lets exactly these through, as they are now

2 of 5 would act; 2 need a person"""


def test_a_plan_reads_as_it_should() -> None:
    """Each change by its file and field, each reason, and what is held with whom it is about."""
    assert as_text(PLANS, (MASS,), FILES, Look()) == PLAIN
    assert as_text((), (), {}, Look()).endswith("\nnothing to do")


def test_what_does_not_act_is_counted_by_what_it_is() -> None:
    """Only where all is as it should be there is nothing to do."""
    ready = plan("c", State.READY, ReasonCode.UP_TO_DATE)
    stalled = plan("s", State.STALLED, ReasonCode.CANCELED)
    asks = plan("w", State.WAITING, ReasonCode.APPROVAL)
    waits = plan("x", State.WAITING, ReasonCode.WINDOW)
    held = plan("h", State.SUSPENDED, ReasonCode.SUSPENDED, None, "X: 1 → 2")

    def last(*plans: Plan) -> str:
        return as_text(plans, (), {}, Look()).splitlines()[-1]

    assert last(ready, ready) == "nothing to do"
    assert last(ready, stalled) == "0 of 2 would act; 1 needs a person"
    assert last(held, held) == "0 of 2 would act; 2 Suspended"
    told = "1 of 6 would act; 2 need a person, 1 Waiting, 1 Suspended"
    assert last(PLANS[0], ready, stalled, asks, waits, held) == told
    assert last(PLANS[0], ready) == "1 of 2 would act"


def test_a_terminal_shows_what_matters() -> None:
    """What is as it should be is counted there; a destroy stands out."""
    text = as_text(PLANS, (MASS,), FILES, Look(colour=True, width=80))
    assert "\x1b[31;1mstart destroy\x1b[0m" in text
    bare = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "UpToDate" not in bare
    assert "1 is as they should be" not in bare
    assert "1 is as it should be" in bare
    assert bare.splitlines()[0] == "a: start update"


def test_json_is_exact() -> None:
    """A list by name, with every key each time; what is held names its mass."""
    body = json.loads(as_json(PLANS, (MASS,), FILES))
    assert [each["name"] for each in body] == list("abcde")
    assert [each["mass"] for each in body] == [None, None, None, "0123abcd", "0123abcd"]
    assert body[0] == {
        "name": "a",
        "file": "specs/a.yaml",
        "state": "Progressing",
        "reason": "SpecChanged",
        "message": "it is SpecChanged",
        "actions": ["start update"],
        "changes": ["X: 1 → 2", "Y: added 3"],
        "mass": None,
        "lookAgainAt": "2026-03-02T12:00:00Z",
    }
