"""No source comes from a host that is not known to be itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret, SshAuth
from reconciler.engine.config import SourceSettings
from reconciler.git.known_hosts import SHIPPED
from tests.fakes.fetching import Fetcher
from tests.fakes.git_server import make_repository
from tests.fakes.ssh_server import SshServer, make_key, serve_ssh

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An sshd, with a repository beside it."""
    folder = tmp_path_factory.mktemp("sshd")
    make_repository(folder / "r")
    with serve_ssh(folder) as running:
        yield running


@pytest.fixture
def source(server: SshServer, tmp_path: Path) -> GitSource[Secret]:
    """A source there, with a key that is accepted."""
    key = make_key(tmp_path / "key")
    server.accept(key)
    auth: GitAuth[Secret] = GitAuth(ssh=SshAuth(private_key=Secret(key.read_text())))
    return GitSource(repo_url=server.url(server.folder / "r"), branch="main", auth=auth)


def logins(server: SshServer) -> int:
    return (server.folder / "log").read_text().count("Accepted publickey")


def test_an_unknown_host_key_fails_the_step(
    server: SshServer, source: GitSource[Secret], tmp_path: Path
) -> None:
    """Nobody logs in, and the reason says how the key is got, checked and added."""
    fetcher = Fetcher(tmp_path / "engine")
    before = logins(server)
    got = fetcher.get(source)
    assert "is not known here" in got.reason
    assert f"ssh-keyscan -p {server.port} 127.0.0.1" in got.reason
    assert str(fetcher.known_hosts) in got.reason
    assert logins(server) == before
    assert not fetcher.known_hosts.exists()
    # What the reason says is what helps, and the engine need not be started again.
    scanned = subprocess.run(
        ["ssh-keyscan", "-p", str(server.port), "127.0.0.1"],
        capture_output=True,
        check=True,
    )
    fetcher.known_hosts.write_bytes(scanned.stdout)
    assert fetcher.get(source).reason == ""


def test_a_changed_host_key_fails_the_step(
    server: SshServer, source: GitSource[Secret], tmp_path: Path
) -> None:
    """Another key than the known one is never taken, also where it came from there before."""
    fetcher = Fetcher(tmp_path / "engine")
    fetcher.known_hosts.write_text(server.known())
    assert fetcher.get(source).reason == ""
    before = logins(server)
    other = make_key(tmp_path / "other").with_name("other.pub").read_text().split()
    fetcher.known_hosts.write_text(f"[127.0.0.1]:{server.port} {other[0]} {other[1]}\n")
    got = fetcher.get(source)
    assert "is another than the known one" in got.reason
    assert str(fetcher.known_hosts) in got.reason
    assert logins(server) == before


def test_a_file_of_host_keys_by_option(
    server: SshServer, source: GitSource[Secret], tmp_path: Path
) -> None:
    """A named file counts in place of the one in the data directory."""
    named = tmp_path / "a folder%h" / "known"
    named.parent.mkdir()
    named.write_text(server.known())
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(known_hosts=named))
    assert fetcher.get(source).reason == ""
    other = Fetcher(tmp_path / "other", SourceSettings(known_hosts=tmp_path / "absent"))
    other.known_hosts.write_text(server.known())
    assert str(tmp_path / "absent") in other.get(source).reason


def test_the_users_own_settings_do_not_count(
    server: SshServer, source: GitSource[Secret], tmp_path: Path
) -> None:
    """Neither HOME's ssh settings nor variables turn the check off."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("Host *\n  StrictHostKeyChecking no\n")
    (home / ".ssh" / "known_hosts").write_text(server.known())
    fetcher = Fetcher(tmp_path / "engine")
    fetcher.environment |= {
        "HOME": str(home),
        "GIT_SSH_COMMAND": "ssh -o StrictHostKeyChecking=no",
        "GIT_SSH": "ssh",
        "GIT_SSL_NO_VERIFY": "1",
    }
    before = logins(server)
    assert "is not known" in fetcher.get(source).reason
    assert logins(server) == before


def test_shipped_keys_are_the_published_ones(tmp_path: Path) -> None:
    """The fingerprints are those that the forges publish."""
    file = tmp_path / "known_hosts"
    file.write_text(SHIPPED)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(file)], capture_output=True, check=True, text=True
    ).stdout
    assert [line.split()[1:3] for line in shown.splitlines()] == [
        ["SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU", "github.com"],
        ["SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8", "gitlab.com"],
        ["SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM", "bitbucket.org"],
    ]
