"""Rows 1 to 7: what is known of a create that was sent, and what its refusal may tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from reconciler.api.types import DeploymentRequest, EnvironmentVariable, Secret, StackRef
from reconciler.model import (
    Attempt,
    Desired,
    OnDelete,
    Reason,
    ReasonCode,
    RequestKind,
    Spec,
    State,
)
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Fault
from tests.fakes.world import Crash, Lookups
from tests.semantics.scene import (
    DAY,
    MINUTE,
    SECOND,
    ask,
    beside,
    calls,
    code,
    go,
    notes,
    operations,
    posts,
    records,
    states,
    world,
)

Look = Callable[..., Desired]
PASSWORD = "correct horse\tbattery staple"


@pytest.mark.parametrize("padding", [0, 473])
@pytest.mark.parametrize("answer", [400, 403, 408, 429, 500, 502])
def test_row_05_what_an_api_says_of_a_create_tells_no_secret_of_it(
    answer: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says back what it was sent does so to nobody, nor where it cuts it short."""
    build = Lookups.request

    def with_secret(*given: object) -> DeploymentRequest[Secret]:
        made = build(*given)  # type: ignore[arg-type]
        variable = EnvironmentVariable(name="DB_PASSWORD", value=Secret(PASSWORD))
        return replace(made, environment=(*made.environment, variable))

    monkeypatch.setattr(Lookups, "request", with_secret)
    it = world(spec("web"), spec("zed"))
    send = it.session.request

    def gateway(method: str, url: str, **options: object) -> requests.Response:
        response = send(method, url, **options)
        if method == "POST" and url.endswith("/web/dev/deployments"):
            assert PASSWORD in json.dumps(options["json"]).replace("\\t", "\t")
            told = {"message": f"it was {'x' * padding} {PASSWORD}, and that is wrong"}
            response.status_code, response._content = answer, json.dumps(told).encode()
        return response

    it.session.request = gateway  # type: ignore[method-assign]
    go(it, it.daemon(), 2 * MINUTE)
    told = "\n".join([*map(repr, it.journal), *(reason.message for _, _, reason in it.said)])
    assert "it was " in told
    assert "correct" not in told
    assert "battery" not in told


@pytest.mark.parametrize("answer", [0, 401, 403, 404, 429])
def test_row_02_a_create_that_is_sent_again_in_vain_keeps_its_name(answer: int) -> None:
    """That the second one was refused, or not sent, tells nothing of the first, which is late."""
    it = world(spec("web"), spec("zed"))
    daemon = it.daemon()
    go(it, daemon, 3 * MINUTE)
    sent = posts(it)
    faults, broken = it.api.faults, [answer == 0]
    it.api.late_by = lambda: 5 * MINUTE

    def first_is_late(method: str, path: str) -> Fault:
        before = len(sent)
        told = faults(method, path)
        if len(sent) == 1 and "/zed/" in path and broken and broken.pop():
            return Fault.SERVER_ERROR
        return Fault.LATE if before == 0 and len(sent) == 1 else told

    it.api.faults = first_is_late
    it.api.refuses = lambda method, _: answer if method == "POST" and len(sent) == 2 else 0
    it.heads["web"] = "c" * 40
    daemon.mark(["web"])
    go(it, daemon, 29 * SECOND)
    # While it is looked for, another stack's call finds that the API does not answer.
    it.clock.time += 2 * SECOND
    it.heads["zed"] = "c" * 40
    daemon.mark(["web", "zed"])
    go(it, daemon, 10 * MINUTE)
    assert states(it) == {"web": State.READY, "zed": State.READY}
    assert len(operations(it)) == 2, [r.shown.marker for r in records(it)]


@pytest.mark.parametrize("way", ["removed", "removed while it is destroyed", "moved"])
def test_row_30_what_was_sent_for_a_stack_holds_no_other_spec_for_ever(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that went with the file is not waited for, nor is a claimed stack destroyed."""
    one = spec("web", on_delete=OnDelete.DESTROY)
    it = world(one, spec("site"))
    daemon = it.daemon()
    destroys = way == "removed while it is destroyed"
    if destroys:
        go(it, daemon, 2 * MINUTE)
        del it.specs["web"]
    it.api.faults = lambda method, path: (
        Fault.LOST_BEFORE if method == "POST" and "/web/" in path else Fault.NONE
    )
    go(it, daemon, (11 if destroys else 0) * MINUTE + 10 * SECOND)
    assert it.disk["web"].intent is not None
    it.api.faults = lambda _, __: Fault.NONE
    missing = Reason(ReasonCode.SECRET_UNAVAILABLE, "DB_PASSWORD is not set")
    for kind in ("removed", "desired"):
        look = getattr(Lookups, kind)

        def without(self: Lookups, of: Spec, *given: Attempt, look: Look = look) -> Desired:
            found = look(self, of, *given)
            return replace(found, blocked=missing) if of.name == "web" and not destroys else found

        monkeypatch.setattr(Lookups, kind, without)
    if way == "moved":
        it.specs["web"] = replace(one, stack=StackRef("acme", "elsewhere", "dev"))
    else:
        it.specs.pop("web", None)
    it.specs["site"] = replace(spec("site"), stack=one.stack)
    go(it, daemon, 20 * MINUTE)
    assert (operations(it), states(it)["site"]) == (["update"], State.READY)
    assert states(it).get("web", State.WAITING) is State.WAITING
    assert ("web" in it.disk) is (way == "moved")


@pytest.mark.parametrize("over", [False, True])
def test_row_03_one_that_is_there_again_is_followed_to_its_end(*, over: bool) -> None:
    """What counted as lost and was not is no reason for a person, and nothing starts beside it."""
    it = world(spec("web"), spec("zed"))
    it.api.duration = 30 * MINUTE
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND)
    stack = it.specs["web"].stack
    kept, it.api.records[stack] = it.api.records[stack], []
    go(it, daemon, (35 if over else 15) * MINUTE)
    assert (states(it)["web"], code(it)) == (State.STALLED, ReasonCode.HISTORY_LOST)
    it.api.records[stack] = kept
    overlaps = beside(it)
    it.heads["web"] = "c" * 40
    go(it, it.daemon() if over else daemon, 80 * MINUTE)
    assert (overlaps, states(it)["web"], len(records(it))) == ([], State.READY, 2)
    assert "version 1, which was nowhere to be found, is there again" in notes(it)
    assert "update: succeeded at aaaaaaaaaaaa" in notes(it)


@pytest.mark.parametrize("doubled", [False, True])
def test_row_25_a_clock_that_is_set_back_keeps_no_cancel_away(*, doubled: bool) -> None:
    """Where a crash came between its record and the call, it is sent by the next process."""
    it = world(spec("web"))
    it.api.duration = 10 * MINUTE
    it.api.knows_markers = not doubled
    daemon = it.daemon()
    if doubled:
        it.api.faults = lambda method, path: (
            Fault.DOUBLED if method == "POST" and path.endswith("/deployments") else Fault.NONE
        )
        it.crash_at = lambda where: where == "after a write" and "twice" in notes(it)
    else:
        go(it, daemon, MINUTE)
        ask(it, RequestKind.CANCEL)
        it.crash_at = lambda where: where == "after a write" and bool(it.disk["web"].canceling)
    with pytest.raises(Crash):
        go(it, daemon, 30 * MINUTE)
    it.crash_at = lambda _: False
    it.clock.set_ahead(-DAY)
    it.api.now = lambda: NOW + it.clock.running()  # the API's clock goes on
    sent = calls(it)
    go(it, it.daemon(), MINUTE)
    assert [record.canceled for record in records(it)] == ([False, True] if doubled else [True])
    assert sum(call.endswith("/cancel") for call in sent) == 1
