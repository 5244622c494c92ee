from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from tests.engine.harness import Api


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that starts no deployments, for all tests that only knock at its door."""
    config = EngineConfig(
        data=tmp_path_factory.mktemp("engine"),
        port=0,
        workers=0,
        # All tests come from one address and present invalid tokens on purpose.
        failed_logins=1_000_000,
    )
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="session")
def make_token(engine: Engine) -> Callable[..., str]:
    """Makes tokens for that engine."""

    def make(
        organization: str = "acme", role: str = "deploy", expires: timedelta | None = None
    ) -> str:
        return tokens.create(
            engine.layout.data,
            organization=organization,
            user="ann",
            email="ann@example.com",
            role=role,
            expires=expires,
        )

    return make


@pytest.fixture(scope="session")
def admin(engine: Engine, make_token: Callable[..., str]) -> Api:
    """An admin of organization acme."""
    return Api(engine.url, make_token(role="admin"))
