"""A server whose certificate nobody vouches for is not asked for a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret
from reconciler.engine.config import SourceSettings
from tests.fakes.fetching import Fetcher
from tests.fakes.git_server import GitServer, make_certificate, make_repository, serve

pytestmark = pytest.mark.real

TOKEN = "t0ken-c4nary-77aa"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself."""
    return make_certificate(tmp_path / "tls")


@pytest.fixture
def server(tmp_path: Path, certificate: Path) -> Iterator[GitServer]:
    """A private repository behind it."""
    make_repository(tmp_path / "served" / "r")
    with serve(tmp_path / "served", certificate) as served:
        served.credentials = f"x-access-token:{TOKEN}"
        yield served


@pytest.fixture
def source(server: GitServer) -> GitSource[Secret]:
    """That repository, with what opens it."""
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
    return GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth)


def test_a_self_signed_certificate_fails(
    tmp_path: Path, server: GitServer, source: GitSource[Secret]
) -> None:
    """The step fails with git's words, and the server has seen no request and no credential."""
    fetcher = Fetcher(tmp_path / "engine")
    fetcher.environment |= {"GIT_SSL_NO_VERIFY": "true", "GIT_SSL_CAINFO": "/dev/null"}
    got = fetcher.get(source)
    assert got.reason == "the repository could not be fetched"
    assert "certificate" in got.log
    assert server.seen == []


def test_a_named_certificate_works(
    tmp_path: Path, certificate: Path, source: GitSource[Secret]
) -> None:
    """With the certificate in a file that the engine is told of, the source comes."""
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(certificates=certificate))
    got = fetcher.get(source)
    assert got.reason == "", got.log
    assert (got.work / "file").read_text() == "main 2\n"


def test_a_certificate_of_another_address_fails(
    tmp_path: Path, source: GitSource[Secret], server: GitServer
) -> None:
    """That some certificate is trusted does not make this one so."""
    other = make_certificate(tmp_path / "other", "127.0.0.2")
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(certificates=other))
    assert fetcher.get(source).reason != ""
    assert server.seen == []


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, source: GitSource[Secret]) -> None:
    """A missing file of certificates fails the step by the option's name."""
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(certificates=tmp_path / "absent"))
    assert "--repository-ca" in fetcher.get(source).reason
