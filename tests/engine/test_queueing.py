"""Which deployment runs when, and what is never run twice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from reconciler.engine.store import Store, deployments
from tests.engine.harness import Api, Gate

pytestmark = pytest.mark.real


def test_first_in_first_out_on_one_stack(
    api: Api, gate: Gate, stack: str, repository: Path
) -> None:
    """Deployments of one stack run one at a time in the order of their creates."""
    name = stack.rpartition("/")[2]
    order = gate.directory / f"{name}.order"
    commands = [
        f"echo begin $PULUMI_CI_BUILD_NUMBER >>{order}; sleep 0.1",
        f"echo end $PULUMI_CI_BUILD_NUMBER >>{order}; exit 1",
    ]
    first = api.create(stack, repository, preRunCommands=[gate.waits(name), "exit 1"])["id"]
    ids = [api.create(stack, repository, preRunCommands=commands)["id"] for _ in range(3)]
    gate.begun(name)
    assert {api.deployment(stack, d)["status"] for d in ids} == {"not-started"}
    assert api.deployment(stack, first)["latestVersion"] == 4
    gate.open(name)
    for deployment_id in (first, *ids):
        api.ended(stack, deployment_id)
    told = [f"{what} {number}" for number in (2, 3, 4) for what in ("begin", "end")]
    assert order.read_text().splitlines() == told


def test_stacks_do_not_wait_for_one_another(api: Api, gate: Gate, repository: Path) -> None:
    """While one stack's deployment runs, another's starts and ends."""
    slow, quick = "acme/web/slow", "acme/web/quick"
    first = api.create(slow, repository, preRunCommands=[gate.waits("slow"), "exit 1"])["id"]
    gate.begun("slow")
    second = api.create(quick, repository, operation="preview")["id"]
    assert api.ended(quick, second)["status"] == "succeeded"
    assert api.deployment(slow, first)["status"] == "running"
    gate.open("slow")
    api.ended(slow, first)


def test_a_marker_starts_once(api: Api, stack: str, repository: Path) -> None:
    """A create that was sent again, or eight times at once, is one deployment."""
    marked = {"environmentVariables": {"RECONCILER_RUN_owner_run1_0123abcd": "1"}}
    answers: list[dict[str, object]] = []

    def send() -> None:
        caller = Api(api.url, api.token)
        answers.append(caller.create(stack, repository, operation="preview", **marked))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(answer) for answer in answers}) == 1
    made = answers[0]
    api.ended(stack, str(made["id"]))
    assert api.create(stack, repository, **marked) == made
    assert len(api.get(api.path(stack))) == 1
    assert api.create(stack, repository, operation="preview")["version"] == 2


def test_what_waited_for_seven_days_is_skipped(tmp_path: Path, repository: Path) -> None:
    """A deployment that an engine finds in its queue after a week reads skipped."""
    config = EngineConfig(data=tmp_path / "data", port=0, local_repositories=True, workers=0)
    with server.running(config) as engine:
        api = caller(engine)
        made = api.create("acme/web/old", repository)["id"]
    old = datetime.now(UTC) - timedelta(days=7, seconds=1)
    store = Store(engine.layout.database)
    with store._database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE deployments SET created = ?", (int(old.timestamp() * 1e6),)
        )
    store.close()
    with server.running(config) as engine:
        ended = caller(engine).ended("acme/web/old", made)
    assert ended["status"] == "skipped"
    assert ended["ending"]["kind"] == "expired"


def test_a_queue_has_an_end(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where as many wait as may, a create is refused; what was made by it before is still told."""
    monkeypatch.setattr(deployments, "MOST_WAITING", 2)
    config = EngineConfig(data=tmp_path / "data", port=0, local_repositories=True, workers=0)
    stack, marked = "acme/web/full", {"RECONCILER_RUN_owner_run1_0123abcd": "1"}
    with server.running(config) as engine:
        api = caller(engine)
        made = api.create(stack, repository, environmentVariables=marked)
        waiting = api.create(stack, repository)["id"]
        source = {"repoUrl": f"file://{repository}", "branch": "refs/heads/main"}
        refused = api.post(api.path(stack), api.body(source))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert refused.json()["message"] == (
            "2 deployments of acme wait in the queue, and no more may: cancel some, or try again "
            "later"
        )
        assert api.create(stack, repository, environmentVariables=marked) == made
        assert api.cancel(stack, waiting) == 200
        assert api.create(stack, repository)["version"] == 3


def caller(engine: Engine) -> Api:
    token = tokens.create(
        engine.layout.data, organization="acme", user="u", email="", role="admin", expires=None
    )
    return Api(engine.url, token)
