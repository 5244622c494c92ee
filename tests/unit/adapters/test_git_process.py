from __future__ import annotations

import base64
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from reconciler.adapters.git_process import Bounds, Git, GitFailedError, Repository
from reconciler.api.types import GitAuth, Secret, SshAuth
from tests import waiting
from tests.fakes.git_server import GitServer, git, make_certificate, make_repository, serve
from tests.fakes.ssh_server import SshServer, make_key, serve_ssh

pytestmark = pytest.mark.real

CANARY = "hunter2-canary"
PASSPHRASE = "p4ss c4nary' $(x) %s"
TOKEN: GitAuth[Secret] = GitAuth(access_token=Secret(CANARY))
MAIN = ["refs/heads/main"]
LIMIT_S = 30.0
eventually = partial(waiting.eventually, limit_s=LIMIT_S)


@pytest.fixture
def caller(tmp_path: Path) -> Git:
    return Git(tmp_path / "known_hosts")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    make_repository(tmp_path / "served" / "infra")
    with serve(tmp_path / "served") as served:
        yield served


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An sshd, with a repository beside it."""
    folder = tmp_path_factory.mktemp("sshd")
    make_repository(folder / "r")
    with serve_ssh(folder) as running:
        yield running


def instead_of_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script where git is looked for."""
    spy = folder / "git"
    spy.parent.mkdir(exist_ok=True)
    spy.write_text(f"#!/bin/sh\n{script}\n")
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")


def test_credentials_over_plain_http(caller: Git) -> None:
    """A credential is never sent in the clear but to this host."""
    with pytest.raises(GitFailedError, match="not sent over plain http"):
        caller.list_refs(Repository(url="http://git.example.com/x.git", auth=TOKEN), MAIN)


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c touch% M", "ssh://-oProxyCommand=touch M/x", "--upload-pack=touch M", "-u", "git://x/y",
     "fd::17/foo", "ftp://x/y", "/etc", "x:y", "http::https://x/y", "https::ext::sh", "",
     "file://-u/x", "https://user:pass@example.com/x", "git@-oProxyCommand=x:y"],
)  # fmt: skip
def test_hostile_urls(
    url: str, caller: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No URL becomes an option, a program or another transport; none is repeated."""
    monkeypatch.chdir(tmp_path)
    for auth in (None, TOKEN):
        with pytest.raises(GitFailedError) as refused:
            caller.list_refs(Repository(url=url, auth=auth), MAIN)
        assert "pass@" not in str(refused.value)
    assert list(tmp_path.rglob("M")) == []


def test_a_server_that_repeats_the_secret(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What git says is masked and cut, in case it repeats a credential."""
    words = "$(printf %s hunter2-canary | base64) hunter2-canary $(yes | head -c 9999)"
    instead_of_git(tmp_path / "bin", f'echo "fatal: {words}" >&2\nexit 1', monkeypatch)
    with pytest.raises(GitFailedError) as failed:
        Git(tmp_path / "x").list_refs(Repository(url=server.url + "/x", auth=TOKEN), MAIN)
    message = str(failed.value)
    assert "[secret]" in message
    assert CANARY not in message
    assert base64.b64encode(CANARY.encode()).decode() not in message
    assert len(message) <= 300
    assert "\n" not in message


def test_a_redirect_is_told(server: GitServer, caller: Git) -> None:
    """A server that sends us elsewhere is not followed, and the message says what to do."""
    server.redirect = server.url + "/elsewhere"
    with pytest.raises(GitFailedError, match="give the address that it has moved to"):
        caller.list_refs(Repository(url=f"{server.url}/infra/.git"), MAIN)


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """Https is asked with a certificate that is given, and not without."""
    commits = make_repository(tmp_path / "served" / "infra")
    certificate = make_certificate(tmp_path / "tls")
    with serve(tmp_path / "served", certificate) as served:
        served.credentials = f"x-access-token:{CANARY}"
        repository = Repository(url=f"{served.url}/infra/.git", auth=TOKEN)
        trusting = Git(tmp_path / "known_hosts", certificate)
        assert trusting.list_refs(repository, MAIN) == {MAIN[0]: commits[2]}
        with pytest.raises(GitFailedError, match="certificate"):
            Git(tmp_path / "known_hosts").list_refs(repository, MAIN)


def running(group: str) -> list[str]:
    """The processes of a group that have not ended (a dead one may wait for its parent)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
            if of_group == group and state != "Z":
                found.append(path.parent.name)
    return found


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("sleep 60 & sleep 60", "no answer within 0.2 s"),
        ("yes | head -c 3000000; sleep 60", "it lists more than 1048576 bytes"),
        ("exit 3", "git failed without a word"),
    ],
)
def test_git_is_bounded(
    script: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that hangs or floods is ended, with all that it started."""
    instead_of_git(tmp_path / "bin", f"echo $$ >{tmp_path}/pid\n{script}", monkeypatch)
    bounds = Bounds(timeout_s=0.2 if "yes" not in script else 30)
    with pytest.raises(GitFailedError, match=expected):
        Git(tmp_path / "x").ask(Repository(url="file:///x"), ("ls-remote",), ("HEAD",), bounds)
    group = (tmp_path / "pid").read_text().strip()
    until = time.monotonic() + 10
    while running(group) and time.monotonic() < until:
        threading.Event().wait(0.01)
    assert running(group) == []


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without git says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailedError, match="git cannot be started"):
        Git(tmp_path / "x").list_refs(Repository(url="file:///x"), ["HEAD"])


def key_of(key: Path, password: str | None = None) -> GitAuth[Secret]:
    secret = None if password is None else Secret(password)
    return GitAuth(ssh=SshAuth(private_key=Secret(key.read_text()), password=secret))


def agents(folder: Path) -> list[str]:
    """The agents that a test of this folder has left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes():
                command = path.with_name("cmdline").read_bytes()
                found += [path.parent.name] if b"ssh-agent" in command else []
    return found


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
def test_keys_open_a_repository(
    caller: Git, sshd: SshServer, tmp_path: Path, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key, encrypted or not, answers over ssh; it is in no argument, and its agent ends."""
    key = make_key(tmp_path / "key", passphrase=passphrase)
    sshd.accept(key)
    (tmp_path / "known_hosts").write_text(sshd.known())
    script = f'tr "\\0" " " </proc/$PPID/cmdline >>{tmp_path}/argv\nexec /usr/bin/git "$@"'
    instead_of_git(tmp_path / "bin", script, monkeypatch)
    repository = Repository(url=sshd.url(sshd.folder / "r"), auth=key_of(key, passphrase or None))
    commit = git(sshd.folder / "r", "rev-parse", "main")
    assert caller.list_refs(repository, MAIN) == {MAIN[0]: commit}
    argv = (tmp_path / "argv").read_text()
    assert "ls-remote" in argv
    assert key.read_text().splitlines()[3] not in argv
    eventually(lambda: agents(tmp_path) == [], "the end of the agent")


def test_host_keys_are_checked(caller: Git, sshd: SshServer, tmp_path: Path) -> None:
    """An unknown host key, and a changed one, are refused, and the message says what to do."""
    key = make_key(tmp_path / "key")
    sshd.accept(key)
    repository = Repository(url=sshd.url(sshd.folder / "r"), auth=key_of(key))
    with pytest.raises(GitFailedError, match="is not known here: get it with `ssh-keyscan"):
        caller.list_refs(repository, MAIN)
    other = make_key(tmp_path / "other").with_name("other.pub").read_text().split()[:2]
    known = " ".join([f"[127.0.0.1]:{sshd.port}", *other])
    (tmp_path / "known_hosts").write_text(known + "\n")
    with pytest.raises(GitFailedError, match="another than the known one: somebody may be in"):
        caller.list_refs(repository, MAIN)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_wrong_passphrase_is_said(
    caller: Git, sshd: SshServer, tmp_path: Path, password: str | None
) -> None:
    """A key that its password does not open says so, and neither is shown."""
    key = make_key(tmp_path / "key", passphrase=PASSPHRASE)
    (tmp_path / "known_hosts").write_text(sshd.known())
    repository = Repository(url=sshd.url(sshd.folder / "r"), auth=key_of(key, password))
    with pytest.raises(GitFailedError, match="its password does not open it"):
        caller.list_refs(repository, MAIN)


def test_ssh_without_a_key(caller: Git) -> None:
    """An ssh URL without a key says what it needs; a token is not for it."""
    for auth in (None, TOKEN):
        with pytest.raises(GitFailedError, match=r"an ssh URL needs gitAuth\.sshAuth"):
            caller.list_refs(Repository(url="git@example.com:x.git", auth=auth), MAIN)


def test_closing_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends does not wait for a server, and leaves no process."""
    script = f"echo $$ >{tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 60"
    instead_of_git(tmp_path / "bin", script, monkeypatch)
    caller = Git(tmp_path / "x")
    failed: list[str] = []

    def ask() -> None:
        try:
            caller.list_refs(Repository(url="https://example.com/x"), MAIN)
        except GitFailedError as error:
            failed.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    eventually((tmp_path / "pid").exists, "a process that hangs")
    caller.close()
    thread.join(LIMIT_S)
    assert len(failed) == 1
    assert running((tmp_path / "pid").read_text().strip()) == []
    with pytest.raises(GitFailedError, match="is ending"):
        caller.list_refs(Repository(url="https://example.com/x"), MAIN)


def test_a_file_has_a_limit(tmp_path: Path) -> None:
    """What is fetched may have so many bytes, and no more reach the disk."""
    make_repository(tmp_path / "infra")
    (tmp_path / "infra" / "big").write_bytes(os.urandom(3 << 20))
    git(tmp_path / "infra", "add", "--all")
    git(tmp_path / "infra", "commit", "--quiet", "--message", "big")
    copy = tmp_path / "copy"
    caller = Git(tmp_path / "x")
    caller.local(("init", "--quiet", "--bare", "--", str(copy)), copy)
    repository = Repository(url=f"file://{tmp_path}/infra")
    bounds = Bounds(file_bytes=1 << 20)
    with pytest.raises(GitFailedError, match="it is larger than 1 MiB"):
        caller.ask(repository, ("fetch", "--quiet"), ("main",), bounds, copy)
    files = [p.stat().st_size for p in copy.rglob("*") if p.is_file()]
    assert max(files) <= 1 << 20
