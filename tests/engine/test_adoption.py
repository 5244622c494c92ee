"""Stacks come from elsewhere and go elsewhere, with the real Pulumi on both sides."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from reconciler.pulumi_cli import PulumiCli, find
from tests.engine.harness import LIMIT_S, Api, commit_all, make_repository

pytestmark = pytest.mark.real

PASSPHRASE = "the one it had elsewhere"
SECRET = "canary-of-a-configuration"
NAME = "organization/web/prod"

WITH_SECRET = """\
name: web
runtime: yaml
config:
  password: {type: string, secret: true}
outputs:
  password: ${password}
"""


class ByHand:
    """A person with Pulumi, a backend of their own and a passphrase."""

    def __init__(self, root: Path, passphrase: str) -> None:
        cli = find()
        assert isinstance(cli, PulumiCli)
        self.backend = root / "backend"
        self.backend.mkdir(parents=True)
        self.program = cli.program
        self.environment = {
            "PATH": f"{cli.directory}:{os.environ['PATH']}",
            "HOME": str(root),
            "PULUMI_HOME": str(root / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.backend}",
            "PULUMI_CONFIG_PASSPHRASE": passphrase,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def __call__(self, where: Path, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [str(self.program), *arguments, "--stack", NAME, "--non-interactive"]
            if arguments[:2] != ("stack", "init")
            else [str(self.program), *arguments, NAME, "--non-interactive"],
            cwd=where,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose configuration, in the repository, has a secret."""
    return make_repository(tmp_path_factory.mktemp("repository"), program=WITH_SECRET)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> ByHand:
    """A stack that a person has made, on a file backend, and committed the configuration of."""
    person = ByHand(tmp_path_factory.mktemp("person"), PASSPHRASE)
    person(repository, "stack", "init")
    person(repository, "config", "set", "--secret", "password", SECRET)
    person(repository, "up", "--yes", "--skip-preview")
    commit_all(repository)
    return person


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("data")
    config = EngineConfig(data=data, port=0, workers=2, local_repositories=True)
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="module")
def api(engine: Engine) -> Api:
    owner = Caller(organization="acme", user="ann", email="", role=Role.DEPLOY)
    return Api(engine.url, engine.tokens.create(owner, None))


def stack(engine: Engine, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reconciler", "engine", "stack", *arguments]
    return subprocess.run(
        [*command, "--data", str(engine.layout.data)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def secret_file(folder: Path, text: str) -> str:
    path = folder / "passphrase"
    path.touch(mode=0o600)
    path.write_text(f"{text}\n")
    return str(path)


def test_a_stack_comes_and_goes(
    engine: Engine, api: Api, by_hand: ByHand, repository: Path, tmp_path: Path
) -> None:
    """From a file backend to the engine, whose update sees no change, and out to Pulumi again."""
    name = "acme/web/prod"
    passphrase = secret_file(tmp_path, PASSPHRASE)
    source = ("--from", f"file://{by_hand.backend}", "--passphrase-file", passphrase)
    done = stack(engine, "import", name, *source)
    assert done.returncode == 0, done.stderr
    assert f"{name}: 1 resources" in done.stdout
    again = stack(engine, "import", name, *source)
    assert again.returncode == 2
    assert "it is not replaced" in again.stderr

    made = api.create(name, repository)
    assert api.ended(name, made["id"])["status"] == "succeeded", api.log(name, made["id"])
    log = "".join(api.log(name, made["id"]))
    assert "1 unchanged" in log
    assert " created" not in log

    out, opened = tmp_path / "export.json", tmp_path / "opened"
    done = stack(engine, "export", name, str(out), "--passphrase-to", str(opened))
    assert done.returncode == 0, done.stderr
    assert opened.read_text() == PASSPHRASE
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out, opened)} == {0o600}
    assert SECRET not in out.read_text()
    elsewhere = ByHand(tmp_path / "elsewhere", opened.read_text())
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    configuration = (clone / "Pulumi.prod.yaml").read_text()
    elsewhere(clone, "stack", "init")
    (clone / "Pulumi.prod.yaml").write_text(configuration)
    elsewhere(clone, "stack", "import", given=out.read_text())
    elsewhere(clone, "preview", "--expect-no-changes")


def test_an_export_is_encrypted_anew(
    engine: Engine, by_hand: ByHand, repository: Path, tmp_path: Path
) -> None:
    """With a new passphrase the old one opens nothing, and no secret is written in plain text."""
    name = "second/web/prod"
    export = tmp_path / "export.json"
    export.write_text(by_hand(repository, "stack", "export"))
    arguments = ("import", name, "--file", str(export))
    refused = stack(engine, *arguments)
    assert refused.returncode == 2
    assert "--passphrase-file" in refused.stderr
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    refused = stack(
        engine, *arguments, "--new-passphrase", "--passphrase-file", secret_file(wrong, "wrong")
    )
    assert refused.returncode == 1
    assert "incorrect passphrase" in refused.stderr
    passphrase = secret_file(tmp_path, PASSPHRASE)
    done = stack(engine, *arguments, "--new-passphrase", "--passphrase-file", passphrase)
    assert done.returncode == 0, done.stderr
    opened, out = tmp_path / "opened", tmp_path / "out.json"
    assert stack(engine, "export", name, str(out), "--passphrase-to", str(opened)).returncode == 0
    assert opened.read_text() != PASSPHRASE
    provider = json.loads(out.read_text())["deployment"]["secrets_providers"]
    before = json.loads(export.read_text())["deployment"]["secrets_providers"]
    assert provider["type"] == "passphrase"
    assert provider != before
    plain = tmp_path / "plain.json"
    assert stack(engine, "export", name, str(plain), "--show-secrets").returncode == 0
    assert SECRET in plain.read_text()
    for path in engine.layout.data.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path
    assert list(engine.layout.work.iterdir()) == []


def test_an_export_in_plain_text_is_encrypted(
    engine: Engine, by_hand: ByHand, repository: Path, tmp_path: Path
) -> None:
    """What another service has exported with its secrets shown is encrypted here."""
    export = tmp_path / "export.json"
    shown = json.loads(by_hand(repository, "stack", "export", "--show-secrets"))
    shown["deployment"]["secrets_providers"] = {"type": "service", "state": {}}
    export.write_text(json.dumps(shown))
    done = stack(engine, "import", "third/web/prod", "--file", str(export))
    assert done.returncode == 0, done.stderr
    assert "new passphrase" in done.stdout
    state = engine.layout.backend("third") / ".pulumi" / "stacks" / "web" / "prod.json"
    assert SECRET.encode() not in state.read_bytes()
    assert b"ciphertext" in state.read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "no export"),
        ("[]", "no export"),
        (
            '{"deployment": {"resources": [{"ciphertext": 1}], "secrets_providers": {"type":"x"}}}',
            "--show-secrets",
        ),
        ('{"version": 3, "deployment": {"resources": 7}}', "pulumi stack import failed"),
    ],
)
def test_what_cannot_be_taken_over_leaves_nothing(
    engine: Engine, tmp_path: Path, content: str, words: str
) -> None:
    """A file that is no export, or whose secrets nobody here can open, is refused with why."""
    export = tmp_path / "export.json"
    export.write_text(content)
    done = stack(engine, "import", "fourth/web/prod", "--file", str(export))
    assert done.returncode == 1
    assert words in done.stderr
    assert not list(engine.layout.backend("fourth").rglob("prod.json"))
    none = stack(engine, "export", "fourth/web/prod", str(tmp_path / "out"))
    assert none.returncode == 1
    assert "has no state" in none.stderr
