"""A shared engine asks nobody inside: a listener that is there to be hit counts nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, Secret, SshAuth
from reconciler.engine.config import SourceSettings
from reconciler.engine.sources import lookup
from reconciler.engine.sources.commands import Revision, fetch
from reconciler.git.isolation import Contact, Scratch, remote
from reconciler.git.urls import Location, Reach, parse, refuse
from tests.fakes.fetching import Fetcher, source_of
from tests.fakes.git_server import GitServer, git, make_repository, serve
from tests.fakes.ssh_server import make_key

pytestmark = pytest.mark.real


class Listener:
    """Counts who connects, on every address of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.hits = 0


@contextmanager
def listen() -> Iterator[Listener]:
    with socket.create_server(("", 0), family=socket.AF_INET) as server:
        listener = Listener(server.getsockname()[1])
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    listener.hits += 1

        server.settimeout(0.05)
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listener
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listener on loopback and every other address."""
    with listen() as running:
        yield running


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """What gets sources for a shared engine."""
    return Fetcher(tmp_path / "engine", reach=Reach())


OWN_NAME = socket.gethostname()
HOSTS = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1"),
    *("017700000001", "127.000.000.001", "0", "0.0.0.0"),  # noqa: S104 - asked, not bound
    *("localhost", "LOCALHOST", "a.localhost"),
    *("localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"),
    *("[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "169.254.169.254", "169.254.1.1", "10.0.0.1"),
    *("172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
    *("１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1%2f.example.com", "ip6-localhost"),  # noqa: RUF001
    *(
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "127.0.0.1#example.com",
        "127.0.0.1\\.example.com",
    ),
]


@pytest.mark.parametrize("host", [*HOSTS, OWN_NAME])
@pytest.mark.parametrize("scheme", ["http", "https", "ssh"])
def test_inner_hosts_are_not_asked(
    fetcher: Fetcher, listener: Listener, host: str, scheme: str
) -> None:
    """Loopback, link-local, private and odd forms are refused, by number and by name."""
    user = "git@" if scheme == "ssh" else ""
    source = source_of(f"{scheme}://{user}{host}:{listener.port}/r")
    if scheme == "ssh":
        source = replace(source, auth=GitAuth(ssh=SshAuth(private_key=Secret("a key"))))
    got = fetcher.get(source)
    assert got.reason not in {"", "the repository could not be fetched"}
    assert got.log == ""
    assert listener.hits == 0


def test_a_name_that_stands_for_an_inner_address_is_not_asked(
    fetcher: Fetcher, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the address, and one inner one among public ones is enough."""
    answers = {"rebind.example.com": ("1.1.1.1", "127.0.0.1")}
    monkeypatch.setattr(lookup, "_ask", lambda host, _: answers.get(host, ()))
    got = fetcher.get(source_of(f"http://rebind.example.com:{listener.port}/r"))
    assert "rebind.example.com stands for 127.0.0.1" in got.reason
    assert "--allow-repository-host" in got.reason
    got = fetcher.get(source_of(f"http://nobody.example.com:{listener.port}/r"))
    assert "has no address" in got.reason
    assert listener.hits == 0


def test_what_was_judged_is_what_is_asked(tmp_path: Path, server: GitServer) -> None:
    """Git gets the addresses that were found, and asks no name server again."""
    place = parse(server.url.replace("127.0.0.1", "pinned.example.com") + "/r")
    assert isinstance(place, Location)
    url = f"http://pinned.example.com:{place.port}/r"
    contact = Contact(url=url, location=place, addresses=("127.0.0.1",))
    fetcher = Fetcher(tmp_path / "engine")
    scratch, mirror = Scratch(tmp_path / "scratch"), tmp_path / "mirror"
    scratch.root.mkdir()
    mirror.mkdir()
    environment = remote(fetcher.environment, scratch, contact)
    command = fetch(contact, Revision(kind="branch", name="main"), mirror, environment)
    assert fetcher.start(command, (scratch.root, mirror)) == (0, "")
    assert server.seen != []


def test_ssh_too_gets_the_address(tmp_path: Path) -> None:
    """The name is known to ssh only as that of the host key."""
    place = Location(scheme="ssh", user="git", host="pinned.example.com", port=2222, path="/r")
    key = make_key(tmp_path / "key").read_text()
    auth: GitAuth[Secret] = GitAuth(ssh=SshAuth(private_key=Secret(key)))
    contact = Contact(url="ssh://x", location=place, auth=auth, addresses=("1.1.1.1", "1.0.0.1"))
    command = remote({}, Scratch(tmp_path), contact)["GIT_SSH_COMMAND"]
    assert "HostName=1.1.1.1" in command
    assert "'HostKeyAlias=[pinned.example.com]:2222'" in command


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repository `r`."""
    make_repository(tmp_path / "served" / "r")
    with serve(tmp_path / "served") as served:
        yield served


@pytest.mark.parametrize("target", ["http://127.0.0.1", "http://localhost", "http://0x7f.1"])
def test_a_redirect_inside_is_not_followed(
    tmp_path: Path, server: GitServer, listener: Listener, target: str
) -> None:
    """A server that is allowed cannot send git to one that is not."""
    fetcher = Fetcher(tmp_path / "engine", reach=Reach(hosts=("127.0.0.1",)))
    server.redirect = f"{target}:{listener.port}"
    got = fetcher.get(source_of(f"{server.url}/r"))
    assert "is not followed" in got.reason
    assert server.seen != []
    assert listener.hits == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:{port}/r", "http://localhost:{port}/r", "file:///etc", "ext::touch x"]
)
def test_a_submodule_inside_is_not_asked(
    tmp_path: Path, server: GitServer, listener: Listener, url: str
) -> None:
    """A repository that is allowed cannot name one that is not."""
    reach = Reach(hosts=("127.0.0.1",))
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True), reach)
    repository = server.root / "r"
    commit = git(repository, "rev-parse", "HEAD")
    (repository / ".gitmodules").write_text(
        f'[submodule "sub"]\n\tpath = sub\n\turl = {url.format(port=listener.port)}\n'
    )
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    git(repository, "add", ".gitmodules")
    git(repository, "commit", "--quiet", "--message", "sub")
    got = fetcher.get(source_of(f"{server.url}/r"))
    assert "submodule 'sub'" in got.reason
    assert listener.hits == 0


def test_large_files_come_only_from_hosts_that_are_named(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of LFS says where files lie, so a public name is not enough to trust it."""
    monkeypatch.setattr(lookup, "_ask", lambda *_: ("127.0.0.1",))
    monkeypatch.setattr("reconciler.engine.sources.fetching.against_addresses", lambda *_: "")
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(lfs=True), Reach())
    url = server.url.replace("127.0.0.1", "public.example.com")
    got = fetcher.get(source_of(f"{url}/r"))
    assert "only from a host that --allow-repository-host names: public.example.com" in got.reason


def test_an_engine_of_one_machine_asks_them_all(tmp_path: Path, server: GitServer) -> None:
    """The same URL is fine where the engine serves its own machine, or its host is named."""
    url = f"{server.url}/r"
    assert refuse(source_of(url), Reach()) != ""
    assert Fetcher(tmp_path / "a", reach=Reach(local=True)).get(source_of(url)).reason == ""
    named = Reach(hosts=("127.0.0.0/8",))
    assert Fetcher(tmp_path / "b", reach=named).get(source_of(url)).reason == ""
    assert Fetcher(tmp_path / "c", reach=Reach()).get(source_of(url)).reason != ""
