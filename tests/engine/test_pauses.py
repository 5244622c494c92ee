"""Pausing, resuming, and skipping what is intermediate, on an engine that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.harness import Api, Gate

pytestmark = pytest.mark.real


def test_a_paused_stack_starts_nothing_and_goes_on_in_order(
    api: Api, gate: Gate, stack: str, repository: Path
) -> None:
    """What runs at a pause ends, what is created waits, and a resume runs it in its order."""
    today = api.speaking("today")
    name = stack.rpartition("/")[2]
    first = api.create(stack, repository, preRunCommands=[gate.waits(name), "exit 1"])["id"]
    gate.begun(name)
    assert today.post(f"{today.path(stack)}/pause").content == b""
    waiting = [api.create(stack, repository, operation="preview")["id"] for _ in range(2)]
    gate.open(name)
    assert api.ended(stack, first)["status"] == "failed"
    # Another stack's turn shows that the dispatcher has looked since.
    api.ended(f"{stack}-other", api.create(f"{stack}-other", repository, operation="preview")["id"])
    assert [api.deployment(stack, d)["status"] for d in waiting] == ["not-started"] * 2
    state = today.get(f"{today.path(stack)}/metadata")
    assert state["paused"]
    assert (state["stackPaused"], state["organizationPaused"]) == (True, False)
    assert today.post(f"{today.path(stack)}/resume").status_code == 200
    ended = [api.ended(stack, d) for d in waiting]
    assert [d["status"] for d in ended] == ["succeeded"] * 2
    assert ended[0]["jobs"][0]["lastUpdated"] <= ended[1]["jobs"][0]["started"]
    assert not today.get(f"{today.path(stack)}/metadata")["paused"]


def test_a_paused_organization_waits_and_another_does_not(
    api: Api, make_token: Callable[..., str], repository: Path
) -> None:
    """An administrator pauses an organization, and others go on; its state says so."""
    path, stack = "/api/orgs/held/deployments", "held/web/dev"
    held = Api(api.url, make_token("held", "admin"))
    deploys = Api(api.url, make_token("held"))
    assert deploys.post(f"{path}/pause").status_code == 403
    assert held.post(f"{path}/pause").status_code == 200
    waits = deploys.create(stack, repository, operation="preview")["id"]
    other = "acme/web/not-held"
    api.ended(other, api.create(other, repository, operation="preview")["id"])
    assert deploys.deployment(stack, waits)["status"] == "not-started"
    assert held.post(f"/api/stacks/{stack}/deployments/pause").status_code == 200
    state = held.get(f"{path}/metadata")
    assert (state["paused"], state["pausedStacks"]) == (True, ["web/dev"])
    assert state["concurrency"] == 4
    assert (state["deploymentCounts"]["notStarted"], state["deploymentCounts"]["total"]) == (1, 1)
    assert held.post(f"{path}/resume").status_code == 200
    assert held.post(f"/api/stacks/{stack}/deployments/resume").status_code == 200
    assert deploys.ended(stack, waits)["status"] == "succeeded"
    assert held.get(f"{path}/metadata")["deploymentCounts"]["succeeded"] == 1


def test_what_nobody_knows_cannot_be_paused(api: Api) -> None:
    """A stack or organization that the caller has not is 404, as everywhere."""
    for path in ("/api/stacks/acme/web/none/deployments", "/api/orgs/other/deployments"):
        assert api.post(f"{path}/pause").status_code == 404
        assert api.post(f"{path}/resume").status_code == 404
        assert api.refused(f"{path}/metadata")[0] == 404


def test_intermediate_deployments_are_skipped(
    api: Api, gate: Gate, stack: str, repository: Path
) -> None:
    """Of three queued updates that say so only the newest runs; the preview between them does."""
    name = stack.rpartition("/")[2]
    options = {"skipIntermediateDeployments": True}
    first = api.create(stack, repository, preRunCommands=[gate.waits(name), "exit 1"])["id"]
    gate.begun(name)
    old = [api.create(stack, repository, options=options)["id"] for _ in range(2)]
    preview = api.create(stack, repository, operation="preview", options=options)["id"]
    newest = api.create(stack, repository, options=options)["id"]
    gate.open(name)
    ended = [api.ended(stack, d) for d in (first, *old, preview, newest)]
    statuses = [d["status"] for d in ended]
    assert statuses == ["failed", "skipped", "skipped", "succeeded", "succeeded"]
    assert {d["ending"]["kind"] for d in ended[1:3]} == {"superseded"}
    assert {s["status"] for s in ended[1]["jobs"][0]["steps"]} == {"not-started"}
