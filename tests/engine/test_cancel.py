"""What a cancel does to a deployment, wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from tests.engine.harness import NO_INSTALL, Api, Gate, make_slow_repository, statuses
from tests.waiting import eventually

pytestmark = pytest.mark.real


def locks(engine: Engine, stack: str) -> list[Path]:
    backend = engine.layout.backend(stack.partition("/")[0])
    name = stack.partition("/")[2]
    return list((backend / ".pulumi" / "locks" / "organization" / name).glob("*"))


def test_a_queued_deployment_is_withdrawn(
    api: Api, gate: Gate, stack: str, repository: Path
) -> None:
    """A cancelled one that was queued reads failed at once, none of its steps ever starts."""
    name = stack.rpartition("/")[2]
    first = api.create(stack, repository, preRunCommands=[gate.waits(name)])["id"]
    second = api.create(stack, repository)["id"]
    gate.begun(name)
    assert api.cancel(stack, second) == 200
    ended = api.ended(stack, second)
    assert ended["status"] == "failed"
    assert ended["ending"]["kind"] == "canceled"
    assert set(statuses(ended)) == {"not-started"}
    assert api.log(stack, second) == []
    assert api.cancel(stack, second) == 404
    gate.open(name)
    assert api.ended(stack, first)["status"] == "succeeded"


def test_a_pre_run_command_is_killed(
    api: Api, engine: Engine, gate: Gate, stack: str, repository: Path
) -> None:
    """A cancel before the operation ends the whole tree at once, and says so in the log."""
    name = stack.rpartition("/")[2]
    command = f"trap '' INT TERM HUP; (setsid sh -c '{gate.waits(name)}'); true"
    made = api.create(stack, repository, preRunCommands=[command, "echo later"])["id"]
    gate.begun(name)
    assert api.cancel(stack, made) == 200
    ended = api.ended(stack, made)
    assert ended["status"] == "failed"
    assert ended["ending"] == {"kind": "canceled", "message": "the deployment was canceled"}
    assert statuses(ended)[3:] == ["failed", "not-started", "not-started"]
    assert api.log(stack, made)[-1] == "the deployment was canceled\n"
    assert api.cancel(stack, made) == 404
    eventually(
        lambda: not (engine.layout.work / made).exists(), "the workspace of the canceled is gone"
    )


def test_an_operation_is_interrupted(
    api: Api, engine: Engine, gate: Gate, stack: str, tmp_path: Path
) -> None:
    """In the operation the resource in hand is finished, and no lock or pending one is left."""
    name = stack.rpartition("/")[2]
    repository = make_slow_repository(tmp_path / "r", gate, name)
    made = api.create(stack, repository, options=NO_INSTALL)["id"]
    gate.begun(name)
    assert api.cancel(stack, made) == 200
    assert api.cancel(stack, made) == 200
    assert api.deployment(stack, made)["status"] == "running"
    gate.open(name)
    ended = api.ended(stack, made)
    assert ended["status"] == "failed"
    assert ended["ending"]["kind"] == "canceled"
    log = api.log(stack, made)
    assert log[-1] == "the deployment was canceled\n"
    assert "pending" not in "".join(log)
    assert locks(engine, stack) == []
    again = api.create(stack, repository, operation="destroy", options=NO_INSTALL)["id"]
    assert api.ended(stack, again)["status"] == "succeeded", api.log(stack, again)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Callable[[str], object]:
    """Makes the settings of an engine that waits for no interrupted operation."""

    def config(runner: str) -> EngineConfig:
        return EngineConfig(
            data=tmp_path_factory.mktemp("impatient"),
            port=0,
            runner=runner,
            local_repositories=True,
            allow_write=(gate.directory,),
            cancel_grace=timedelta(seconds=0),
        )

    return config


@pytest.mark.parametrize("runner", ["bubblewrap", "process"])
def test_an_operation_that_does_not_end_is_cut_off(
    impatient: Callable[[str], EngineConfig], gate: Gate, tmp_path: Path, runner: str
) -> None:
    """After the grace a second interrupt ends Pulumi; the stack can be deployed again."""
    name, stack = f"hard-{runner}", "acme/web/hard"
    repository = make_slow_repository(tmp_path / "r", gate, name)
    with server.running(impatient(runner)) as engine:
        token = tokens.create(
            engine.layout.data, organization="acme", user="u", email="", role="admin", expires=None
        )
        api = Api(engine.url, token)
        made = api.create(stack, repository, options=NO_INSTALL)["id"]
        gate.begun(name)
        assert api.cancel(stack, made) == 200
        ended = api.ended(stack, made)
        assert ended["ending"]["kind"] == "canceled"
        assert "pending operations may exist" in ended["ending"]["message"]
        assert locks(engine, stack) == []
        gate.open(name)
        again = api.create(stack, repository, operation="refresh", options=NO_INSTALL)["id"]
        assert api.ended(stack, again)["status"] == "succeeded", api.log(stack, again)


def test_nothing_to_cancel(api: Api, stack: str) -> None:
    """An unknown deployment cannot be cancelled."""
    assert api.cancel(stack, "9e5e1331-a018-4845-8714-1598ba8dc52e") == 404
