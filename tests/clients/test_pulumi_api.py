"""The Pulumi CLI reads the engine's OpenAPI document, and calls the API by it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.http.app import OPERATIONS
from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from reconciler.pulumi_cli import PulumiCli, find

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that starts no deployments."""
    config = EngineConfig(data=tmp_path_factory.mktemp("engine"), port=0, workers=0)
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="module")
def pulumi(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Calls the CLI, logged in to that engine, and returns the JSON it prints."""
    cli = find()
    assert isinstance(cli, PulumiCli)
    home = tmp_path_factory.mktemp("home")
    caller = Caller(organization="acme", user="ann", email="", role=Role.DEPLOY)
    environment = {
        "PATH": f"{cli.directory}:{os.environ['PATH']}",
        "HOME": str(home),
        "PULUMI_HOME": str(home / "pulumi"),
        "PULUMI_ACCESS_TOKEN": engine.tokens.create(caller, None),
        "PULUMI_BACKEND_URL": engine.url,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }

    def call(*arguments: str, where: Path = home) -> Any:
        answer = subprocess.run(
            [str(cli.program), *arguments],
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr + answer.stdout
        return json.loads(answer.stdout)

    return call


def test_it_lists_every_operation(pulumi: Callable[..., Any]) -> None:
    """`pulumi api list` shows each operation of the document, by its id."""
    listed = pulumi("api", "list", "--output", "json")
    found = {operation["operationId"] for operation in listed["operations"]}
    assert found == {operation.id for operation in OPERATIONS}


def test_it_describes_an_operation(pulumi: Callable[..., Any]) -> None:
    """`pulumi api describe` explains the body of a create, with the schemas put in place."""
    described = pulumi("api", "describe", "CreateAPIDeploymentHandlerV2", "--output", "json")
    assert "sourceContext" in json.dumps(described)


def test_it_calls_by_the_document(pulumi: Callable[..., Any]) -> None:
    """`pulumi api` fills a path in by its names, and calls it."""
    fields = ("orgName=acme", "projectName=web", "stackName=api")
    flags = [flag for field in fields for flag in ("-F", field)]
    assert pulumi("api", "CreateStack", *flags[:4], "-F", "stackName=api") == {}
    stack = pulumi("api", "GetStack", *flags)
    assert (stack["orgName"], stack["projectName"], stack["stackName"]) == ("acme", "web", "api")
