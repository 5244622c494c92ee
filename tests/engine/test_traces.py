"""The trace of a deployment that really ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from tests.engine.harness import NO_INSTALL, Api
from tests.fakes.news import receiving
from tests.fakes.spans import spans


@pytest.mark.real
def test_a_deployment_is_a_trace(tmp_path: Path, repository: Path) -> None:
    """Its steps are part of it, each with its name; a failed one says so, and no secret shows."""
    with receiving() as receiver:
        receiver.answer = lambda _: 200
        config = EngineConfig(
            data=tmp_path / "engine",
            port=0,
            workers=2,
            local_repositories=True,
            traces=receiver.url,
            runner="process",
        )
        with server.running(config) as engine:
            token = tokens.create(
                config.data,
                organization="acme",
                user="norm",
                email="norm@example.com",
                role="deploy",
                expires=None,
            )
            api = Api(engine.url, token)
            made = api.create(
                "acme/web/one",
                repository,
                options=NO_INSTALL,
                environmentVariables={"PASSWORD": {"secret": "canary-of-traces"}},
                preRunCommands=["echo $PASSWORD; exit 3"],
            )
            api.ended("acme/web/one", made["id"])
    found = spans(receiver.posts)
    whole = next(s for s in found if s.name == "deployment")
    steps = [s for s in found if s.parent == whole.id]
    assert whole.service == "reconciler-engine"
    assert whole.attributes | {"deployment": ""} == {
        "deployment": "",
        "stack": "acme/web/one",
        "version": 1,
        "operation": "update",
        "status": "failed",
    }
    assert whole.attributes["deployment"] == made["id"]
    assert [s.name for s in steps] == ["step executor", "step source", "step pre-run"]
    assert [s.failed for s in (*steps, whole)] == ["", "", "it failed", "it failed"]
    assert steps[2].attributes["step"] == "Pre-run command 1"
    assert b"canary" not in b"".join(post.body for post in receiver.posts)
