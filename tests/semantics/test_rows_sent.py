"""Rows 1 to 7: what is known of a create that was sent, and what its refusal may tell."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import requests

from reconciler.api.types import DeploymentRequest, EnvironmentVariable, Secret
from reconciler.model import ReasonCode, State
from tests.factories import spec
from tests.fakes.deployments_api import Fault
from tests.fakes.world import Lookups
from tests.semantics.scene import (
    MINUTE,
    SECOND,
    beside,
    code,
    go,
    notes,
    operations,
    posts,
    records,
    states,
    world,
)

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
