"""Sources over ssh, from a real sshd: keys, passphrases and host keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret, SshAuth
from reconciler.engine.runners.process import ProcessRunner
from tests.fakes.fetching import Fetcher
from tests.fakes.git_server import git, make_repository
from tests.fakes.ssh_server import SshServer, make_key, serve_ssh

pytestmark = pytest.mark.real

PASSPHRASE = "p4ss c4nary' $(x) %s"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An sshd, with a repository beside it."""
    folder = tmp_path_factory.mktemp("sshd")
    make_repository(folder / "r", ("main", "feature/x"))
    with serve_ssh(folder) as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path, server: SshServer) -> Fetcher:
    """An engine's part that gets sources, and knows the server's host key."""
    made = Fetcher(tmp_path / "engine")
    made.known_hosts.write_text(server.known())
    return made


def source_with(
    server: SshServer, key: Path | str, password: str | None = None, **asked: str
) -> GitSource[Secret]:
    text = key if isinstance(key, str) else key.read_text()
    auth = GitAuth(
        ssh=SshAuth(
            private_key=Secret(text), password=None if password is None else Secret(password)
        )
    )
    url = server.url(server.folder / "r")
    return GitSource(repo_url=url, auth=auth, **(asked or {"branch": "main"}))


@pytest.mark.parametrize(
    ("kind", "passphrase"),
    [
        ("ed25519", ""),
        ("ed25519", PASSPHRASE),
        ("rsa PEM", ""),
        ("rsa PEM", PASSPHRASE),
        ("rsa PKCS8", PASSPHRASE),
        ("ecdsa PEM", PASSPHRASE),
    ],
)
def test_keys_of_every_form_open_a_repository(
    fetcher: Fetcher, server: SshServer, tmp_path: Path, kind: str, passphrase: str
) -> None:
    """OpenSSH and PEM keys, encrypted or not; key and passphrase are in no argument and file."""
    algorithm, _, form = kind.partition(" ")
    key = make_key(tmp_path / "key", passphrase=passphrase, kind=algorithm, form=form)
    server.accept(key)
    argv: list[str] = []
    fetcher.during = lambda _, command: argv.extend(command.argv)
    got = fetcher.get(source_with(server, key, passphrase or None))
    assert got.reason == "", got.log
    assert (got.work / "file").read_text() == "main 2\n"
    middle = key.read_text().splitlines()[4]
    for canary in filter(None, (passphrase, middle)):
        assert canary not in " ".join(argv)
        assert canary not in got.log
        for path in fetcher.root.rglob("*"):
            assert not path.is_file() or canary.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("change", ["crlf", "no end", "spaces around"])
def test_a_key_is_read_as_people_paste_it(
    fetcher: Fetcher, server: SshServer, tmp_path: Path, change: str
) -> None:
    """Line ends of another system and a missing last one do no harm."""
    key = make_key(tmp_path / "key")
    server.accept(key)
    text = key.read_text()
    changed = {
        "crlf": text.replace("\n", "\r\n"),
        "no end": text.rstrip(),
        "spaces around": f"\n{text}\n\n",
    }[change]
    assert fetcher.get(source_with(server, changed)).reason == ""


def test_branch_tag_and_commit_come_over_ssh(
    fetcher: Fetcher, server: SshServer, tmp_path: Path
) -> None:
    """Over ssh everything can be asked for that can over https."""
    key = make_key(tmp_path / "key")
    server.accept(key)
    repository = server.folder / "r"
    git(repository, "tag", "--force", "v1", "main")
    first = git(repository, "rev-list", "--reverse", "main").split()[0]
    for asked, content in (
        ({"branch": "refs/heads/feature/x"}, "feature/x 2\n"),
        ({"tag": "v1"}, "main 2\n"),
        ({"commit": first}, "main 0\n"),
        ({"commit": first[:9]}, "main 0\n"),
    ):
        got = fetcher.get(source_with(server, key, **asked))
        assert got.reason == "", got.log
        assert (got.work / "file").read_text() == content
    assert len(fetcher.kept()) == 1


def test_a_short_url_with_a_path_from_home(
    fetcher: Fetcher, server: SshServer, tmp_path: Path
) -> None:
    """`USER@HOST:PATH` is ssh; it has no port, so nothing answers here, and no key is shown."""
    key = make_key(tmp_path / "key")
    auth: GitAuth[Secret] = GitAuth(ssh=SshAuth(private_key=Secret(key.read_text())))
    url = f"{server.user}@127.0.0.9:some/where.git"
    got = fetcher.get(GitSource(repo_url=url, branch="main", auth=auth))
    assert got.reason == "the repository could not be fetched"
    assert "127.0.0.9" in got.log


@pytest.mark.parametrize("password", [None, "", "wrong"])
def test_a_wrong_passphrase_is_said(
    fetcher: Fetcher, server: SshServer, tmp_path: Path, password: str | None
) -> None:
    """A key that its password does not open fails the step with these words, and at once."""
    key = make_key(tmp_path / "key", passphrase=PASSPHRASE)
    got = fetcher.get(source_with(server, key, password))
    assert got.reason == "the repository could not be fetched"
    assert "the private key cannot be read, or its password does not open it" in got.log


@pytest.mark.parametrize("text", ["no key at all", "$(touch marker)", "-----BEGIN RSA PRIVATE"])
def test_what_is_no_key_is_said(fetcher: Fetcher, server: SshServer, text: str) -> None:
    """A text that is no key is not shown, and does nothing."""
    got = fetcher.get(source_with(server, text))
    assert "the private key cannot be read" in got.log
    assert text not in got.log
    assert list(fetcher.root.rglob("marker")) == []


def test_a_key_that_is_not_accepted(fetcher: Fetcher, server: SshServer, tmp_path: Path) -> None:
    """The server's refusal is in the log; no password and no other key is tried."""
    got = fetcher.get(source_with(server, make_key(tmp_path / "key")))
    assert got.reason == "the repository could not be fetched"
    assert "Permission denied" in got.log


def test_the_process_runner_leaves_no_agent(server: SshServer, tmp_path: Path) -> None:
    """Without a sandbox too the agent ends with the command."""
    key = make_key(tmp_path / "key")
    server.accept(key)
    fetcher = Fetcher(tmp_path / "engine", runner=ProcessRunner())
    fetcher.known_hosts.write_text(server.known())
    assert fetcher.get(source_with(server, key)).reason == ""
    agents = [
        entry
        for entry in Path("/proc").glob("[0-9]*/environ")
        if fetcher.environment["PULUMI_CI_BUILD_ID"].encode() in _read(entry)
        and b"ssh-agent" in _read(entry.with_name("cmdline"))
    ]
    assert agents == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
