from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.kubernetes_server import KubernetesServer, kubernetes_server
from tests.moto_server import MotoServer, moto_server
from tests.postgres_server import PostgresServer, postgres_server

# A busy machine is no fault of the code; a test that runs away meets pytest's own limit.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, started at its first use; a test makes its own database in it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def api_server() -> Iterator[KubernetesServer]:
    """A real Kubernetes API server, started at its first use; a test makes its own namespace."""
    with kubernetes_server() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """AWS's STS, IAM and S3, started at their first use."""
    with moto_server() as server:
        yield server
