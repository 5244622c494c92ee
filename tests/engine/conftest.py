from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from tests.engine.harness import Api, Gate, make_repository

_names = itertools.count(1)


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """A directory in which deployments tell what they do and wait."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Engine]:
    """An engine for all tests that do not need one of their own."""
    config = EngineConfig(
        data=tmp_path_factory.mktemp("engine"),
        port=0,
        workers=4,
        local_repositories=True,
        # All tests come from one address, and some present invalid tokens on purpose.
        failed_logins=1_000_000,
        allow_write=(gate.directory,),
    )
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="session")
def make_token(engine: Engine) -> Callable[..., str]:
    """Makes tokens for that engine."""

    def make(organization: str = "acme", role: str = "deploy") -> str:
        return tokens.create(
            engine.layout.data,
            organization=organization,
            user="norm",
            email="norm@example.com",
            role=role,
            expires=None,
        )

    return make


@pytest.fixture(scope="session")
def api(engine: Engine, make_token: Callable[..., str]) -> Api:
    """A caller of organization acme."""
    return Api(engine.url, make_token())


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the programs `web` (at its root) and `db` (in infra/db)."""
    return make_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def stack() -> str:
    """A stack that no other test uses."""
    return f"acme/web/stack{next(_names)}"
