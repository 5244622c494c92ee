"""A real Pulumi CLI, logged in to an engine, in a project's folder."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from reconciler.pulumi_cli import PulumiCli, find
from tests.engine.harness import Api, Gate, make_repository

_names = itertools.count(1)


@dataclass(frozen=True)
class Cli:
    """The CLI in a folder of project `web`; `stack` is one of its own, which it has selected."""

    program: Path
    folder: Path
    environment: dict[str, str]
    stack: str
    api: Api

    def run(self, *arguments: str, code: int = 0) -> str:
        """Call the CLI, which must end with `code`; return what it printed, errors behind it."""
        done = subprocess.run(
            [str(self.program), *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--output", "json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the CLI, whose output is read from it."""
        return subprocess.Popen(
            [str(self.program), *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def cli_gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """A directory in which deployments tell what they do and wait."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="session")
def cli_engine(tmp_path_factory: pytest.TempPathFactory, cli_gate: Gate) -> Iterator[Engine]:
    """An engine that runs what the CLI asks for."""
    config = EngineConfig(
        data=tmp_path_factory.mktemp("engine"),
        port=0,
        workers=4,
        local_repositories=True,
        allow_write=(cli_gate.directory,),
    )
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the program `web`."""
    return make_repository(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="session")
def logged_in(cli_engine: Engine, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The CLI after `pulumi login`, which has no stack yet."""
    found = find()
    assert isinstance(found, PulumiCli)
    home = tmp_path_factory.mktemp("home")
    caller = Caller(organization="acme", user="ann", email="ann@example.com", role=Role.ADMIN)
    token = cli_engine.tokens.create(caller, None)
    environment = {
        "PATH": f"{found.directory}:{os.environ['PATH']}",
        "HOME": str(home),
        "PULUMI_HOME": str(home / "pulumi"),
        "PULUMI_ACCESS_TOKEN": token,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    api = Api(cli_engine.url, token, "today")
    cli = Cli(found.program, project, environment, "", api)
    assert "as ann" in cli.run("login", cli_engine.url)
    return cli


@pytest.fixture
def cli(logged_in: Cli) -> Cli:
    """The CLI after `pulumi stack init`, with a stack that no other test uses."""
    stack = f"acme/web/cli{next(_names)}"
    logged_in.run("stack", "init", stack)
    return Cli(logged_in.program, logged_in.folder, logged_in.environment, stack, logged_in.api)
