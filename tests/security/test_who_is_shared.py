"""An engine that others reach does not take its own machine for theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.harness import make_repository
from tests.engine.served import served

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), 202),
        (("--public-url", "https://engine.example.com"), 400),
        (("--trusted-proxy", "127.0.0.1"), 400),
        (("--public-url", "https://engine.example.com", "--local-repositories"), 202),
    ],
)
def test_a_proxy_before_loopback_makes_an_engine_shared(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    """Who listens on loopback for a proxy takes no local repository, but by the option."""
    repository = make_repository(tmp_path / "r")
    with served(tmp_path / "engine", *options) as engine:
        api = engine.api()
        body = api.body({"repoURL": f"file://{repository}", "branch": "main"}, operation="preview")
        assert api.post(api.path("acme/web/dev"), body).status_code == status
        body = api.body({"repoURL": "http://127.0.0.1:1/r", "branch": "main"})
        assert api.post(api.path("acme/web/other"), body).status_code == status
