"""Sources through the whole engine: both dialects, cancels, canaries, links."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from reconciler.engine import server as engine_server
from reconciler.engine import tokens
from reconciler.engine.config import EngineConfig, SourceSettings
from reconciler.engine.server import Engine
from tests.engine.harness import NO_INSTALL, Api, Gate, commit_all, make_repository, statuses
from tests.fakes import git_server
from tests.fakes.git_server import GitServer
from tests.fakes.ssh_server import SshServer, make_key, serve_ssh
from tests.waiting import eventually

pytestmark = pytest.mark.real

TOKEN = "t0ken-c4nary-91e6"


@pytest.fixture(scope="module")
def engine(
    tmp_path_factory: pytest.TempPathFactory, ssh: SshServer, gate: Gate
) -> Iterator[Engine]:
    """An engine that gets submodules and large files, and knows the ssh server."""
    known = ssh.folder / "known_hosts"
    known.write_text(ssh.known())
    config = EngineConfig(
        data=tmp_path_factory.mktemp("engine"),
        port=0,
        workers=2,
        local_repositories=True,
        allow_write=(gate.directory,),
        sources=SourceSettings(known_hosts=known, lfs=True, submodules=True),
    )
    with engine_server.running(config) as running:
        yield running


def api_of(engine: Engine) -> Api:
    token = tokens.create(
        engine.layout.data,
        organization="acme",
        user="norm",
        email="norm@example.com",
        role="deploy",
        expires=None,
    )
    return Api(engine.url, token)


@pytest.fixture(scope="module")
def api(engine: Engine) -> Api:
    """A caller of organization acme."""
    return api_of(engine)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An sshd with a repository beside it."""
    folder = tmp_path_factory.mktemp("sshd")
    make_repository(folder / "r")
    with serve_ssh(folder) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A private repository over http."""
    make_repository(tmp_path / "served" / "r")
    with git_server.serve(tmp_path / "served") as served:
        served.credentials = f"x-access-token:{TOKEN}"
        try:
            yield served
        finally:
            if served.gate is not None:
                served.gate.set()


def create(api: Api, stack: str, source: dict[str, Any], **context: object) -> str:
    key = "repoURL" if api.dialect == "preview" else "repoUrl"
    asked = {key: source.pop("url"), **({} if "commit" in source else {"branch": "main"}), **source}
    context = {"operation": "preview", "options": NO_INSTALL, **context}
    answer = api.post(api.path(stack), api.body(asked, **context))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


@dataclass(frozen=True)
class Private:
    """A private repository, and what opens it; no other test has the same secrets."""

    url: str
    ssh_url: str
    token: str
    key: str
    passphrase: str

    def auth(self, kind: str, dialect: str) -> dict[str, Any]:
        """Return gitAuth as a dialect writes it."""
        name = "privateKey" if dialect == "preview" else "sshPrivateKey"
        user: Any = "x-access-token" if dialect == "preview" else {"secret": "x-access-token"}
        return {
            "token": {"accessToken": {"secret": self.token}},
            "basic": {"basicAuth": {"userName": user, "password": {"secret": self.token}}},
            "ssh": {
                "sshAuth": {name: {"secret": self.key}, "password": {"secret": self.passphrase}}
            },
        }[kind]


@pytest.fixture
def private(server: GitServer, ssh: SshServer, tmp_path: Path) -> Private:
    """A repository that is behind both servers."""
    token, passphrase = f"t0ken-{uuid.uuid4()}", f"p4ss-{uuid.uuid4()}"
    server.credentials = f"x-access-token:{token}"
    key = make_key(tmp_path / "key", passphrase=passphrase)
    ssh.accept(key)
    return Private(
        url=f"{server.url}/r",
        ssh_url=ssh.url(ssh.folder / "r"),
        token=token,
        key=key.read_text(),
        passphrase=passphrase,
    )


class Snoop:
    """Looks at every process's arguments until it is stopped."""

    def __init__(self, canaries: list[bytes]) -> None:
        self.canaries = canaries
        self.found: list[bytes] = []
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.005):
            self.looks += 1
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments = entry.read_bytes()
                except OSError:
                    continue
                self.found += [c for c in self.canaries if c in arguments]


def forms(*secrets: str) -> list[bytes]:
    """Return how secrets may be written down: plain, in base64, in hex, escaped."""
    found = []
    for secret in secrets:
        raw = secret.encode()
        found += [raw, base64.b64encode(raw), raw.hex().encode(), json.dumps(secret).encode()]
        found.append(base64.b64encode(f"x-access-token:{secret}".encode()))
    return found


@pytest.mark.parametrize("dialect", ["preview", "today"])
@pytest.mark.parametrize("kind", ["token", "basic", "ssh"])
def test_credentials_are_nowhere(
    engine: Engine, gate: Gate, private: Private, kind: str, dialect: str
) -> None:
    """They open the repository, and no file, log, answer, argument or later step shows them."""
    api = api_of(engine).speaking(dialect)
    eventually(lambda: not list(engine.layout.work.iterdir()), "the workspaces are deleted")
    stack = f"acme/web/{kind}-{dialect}"
    canaries = forms(private.token, private.passphrase, *private.key.splitlines()[1:-1])
    url = private.ssh_url if kind == "ssh" else private.url
    look = """env; cat .git/config; git log --oneline; ls -la ~ .. ../..
        cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"""
    with Snoop(canaries) as snoop:
        source = {"url": url, "gitAuth": private.auth(kind, dialect)}
        made = create(api, stack, source, preRunCommands=[look, gate.waits(kind + dialect)])
        gate.begun(kind + dialect)
    # The clone and the mirror are there now, and nothing changes them.
    assert list(engine.layout.work.glob("*/source/.git/config"))
    for path in engine.layout.data.rglob("*"):
        for canary in canaries:
            assert canary.decode() not in path.name
            if path.is_file() and not path.is_symlink():
                assert canary not in path.read_bytes(), path
    gate.open(kind + dialect)
    ended = api.ended(stack, made)
    log = "".join(api.log(stack, made))
    assert ended["status"] == "succeeded", log
    assert f"Successfully cloned: {url}" in log
    assert snoop.looks > 10
    assert snoop.found == []
    answer = api.session.get(f"{api.url}{api.path(stack)}/{made}", timeout=30).content
    for canary in canaries:
        assert canary not in log.encode()
        assert canary not in answer


@pytest.mark.parametrize("again", [False, True])
def test_a_cancel_ends_a_clone_that_stalls(
    engine: Engine, api: Api, server: GitServer, *, again: bool
) -> None:
    """A server that says nothing holds up no cancel; the mirror serves the next one."""
    stack = f"acme/web/stalls-{again}"
    source = {"url": f"{server.url}/r", "gitAuth": {"accessToken": {"secret": TOKEN}}}
    if again:
        first = create(api, stack, dict(source))
        assert api.ended(stack, first)["status"] == "succeeded"
    server.gate = threading.Event()
    before = len(server.seen)
    made = create(api, stack, dict(source))
    eventually(lambda: len(server.seen) > before, "the server is asked")
    waiting = create(api, stack + "-other", dict(source))
    api.step(stack + "-other", waiting, "Get source")
    for name, deployment in ((stack + "-other", waiting), (stack, made)):
        assert api.cancel(name, deployment) == 200
        ended = api.ended(name, deployment)
        assert ended["ending"]["kind"] == "canceled"
        assert statuses(ended)[1] == "failed"
    server.gate.set()
    last = create(api, stack, dict(source))
    assert api.ended(stack, last)["status"] == "succeeded", api.log(stack, last)
    eventually(lambda: not list(engine.layout.work.iterdir()), "the workspaces are deleted")


@pytest.mark.parametrize(
    "target", ["/etc", "../../..", "infra/../../../..", ".git/..", "/proc/self/root", "link2"]
)
def test_a_link_in_the_clone_leads_nowhere(api: Api, server: GitServer, target: str) -> None:
    """A repoDir that is a link out of the clone is refused, and nothing behind it is shown."""
    repository = server.root / "r"
    (repository / "link2").symlink_to("/etc")
    (repository / "link").symlink_to(target)
    commit_all(repository)
    name = target.strip("/.").replace("/", "-") or "up"
    stack = f"acme/web/link-{name}"
    source = {
        "url": f"{server.url}/r",
        "gitAuth": {"accessToken": {"secret": TOKEN}},
        "repoDir": "link",
    }
    made = create(api, stack, source)
    ended = api.ended(stack, made)
    log = "".join(api.log(stack, made))
    inside = target == ".git/.."
    assert ended["status"] == ("succeeded" if inside else "failed")
    assert inside or "repoDir" in log
    assert "root:" not in log


def test_many_deployments_use_one_mirror(engine: Engine, api: Api, server: GitServer) -> None:
    """Stacks of one repository are deployed at once, each with its own clone."""
    before = len(list(engine.layout.repositories.glob("*/git-*")))
    stacks = [f"acme/web/many{number}" for number in range(6)]
    auth = {"accessToken": {"secret": TOKEN}}
    made = [create(api, s, {"url": f"{server.url}/r", "gitAuth": auth}) for s in stacks]
    for stack, deployment in zip(stacks, made, strict=True):
        assert api.ended(stack, deployment)["status"] == "succeeded", api.log(stack, deployment)
    assert len(list(engine.layout.repositories.glob("*/git-*"))) == before + 1


def test_a_shared_engine_refuses_at_the_create(tmp_path: Path) -> None:
    """Inner addresses and local files are 400 there, with the field's path."""
    config = EngineConfig(data=tmp_path / "data", port=0, workers=0)
    with engine_server.running(config) as engine:
        token = tokens.create(
            engine.layout.data, organization="acme", user="u", email="", role="deploy", expires=None
        )
        api = Api(engine.url, token)
        for url in ("http://127.0.0.1/r", "https://10.0.0.1/r", "file:///srv/r"):
            answer = api.post(api.path("acme/web/x"), api.body({"repoURL": url, "branch": "main"}))
            assert answer.status_code == 400
            assert answer.json()["message"].startswith("sourceContext.git.repoURL: ")
