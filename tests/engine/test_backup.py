"""A backup of a running engine makes an engine that goes on where the first was."""

from __future__ import annotations

import gzip
import io
import json
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import StackRef
from reconciler.engine import server
from reconciler.engine.config import EngineConfig, Layout
from reconciler.engine.server import Engine
from reconciler.engine.store import Store
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import LIMIT_S, Api, Gate, make_repository

pytestmark = pytest.mark.real

WEB = "acme/web/prod"


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reconciler", "engine", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


def config(data: Path, gate: Gate) -> EngineConfig:
    return EngineConfig(
        data=data, port=0, workers=2, local_repositories=True, allow_write=(gate.directory,)
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Engine]:
    with server.running(config(tmp_path_factory.mktemp("data"), gate)) as running:
        yield running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def token(engine: Engine) -> str:
    owner = Caller(organization="acme", user="ann", email="", role=Role.ADMIN)
    return engine.tokens.create(owner, None)


@pytest.fixture(scope="module")
def backup(
    engine: Engine,
    gate: Gate,
    repository: Path,
    token: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A backup, made while a deployment runs, of an engine with one that has ended."""
    api = Api(engine.url, token)
    done = api.create(WEB, repository)
    assert api.ended(WEB, done["id"])["status"] == "succeeded"
    stack = "acme/web/busy"
    busy = api.create(stack, repository, preRunCommands=[gate.waits("busy")])
    gate.begun("busy")
    folder = tmp_path_factory.mktemp("backups")
    data = str(engine.layout.data)
    made = cli("backup", str(folder / "all"), "--with-key", "--with-logs", "--data", data)
    assert made.returncode == 0, made.stderr
    assert "The key is in it" in made.stdout
    gate.open("busy")
    assert api.ended(stack, busy["id"])["status"] == "succeeded"
    return folder / "all"


def test_a_restored_engine_goes_on(
    backup: Path, gate: Gate, repository: Path, token: str, tmp_path: Path
) -> None:
    """Tokens, deployments, logs, secrets and state are there; the next update changes nothing."""
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    done = cli("restore", str(backup), "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "2 stacks" in done.stdout
    folders = [tmp_path / "data", *(p for p in (tmp_path / "data").rglob("*") if p.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    with server.running(config(tmp_path / "data", gate)) as engine:
        api = Api(engine.url, token)
        first = api.get(api.path(WEB))
        assert [d["status"] for d in first] == ["succeeded"]
        assert "region" in "".join(api.log(WEB, first[0]["id"]))
        # What ran when the backup was made had not come to Pulumi: it is begun again.
        busy = api.get(api.path("acme/web/busy"))
        assert api.ended("acme/web/busy", busy[0]["id"])["status"] == "succeeded"
        made = api.create(WEB, repository)
        assert made["version"] == 2
        assert api.ended(WEB, made["id"])["status"] == "succeeded", api.log(WEB, made["id"])
        log = "".join(api.log(WEB, made["id"]))
        assert "1 unchanged" in log
        assert " created" not in log
    entries = json.loads(
        cli(
            "audit", "list", "-o", "json", "--count", "500", "--data", str(tmp_path / "data")
        ).stdout
    )
    assert "restore" in [e["action"] for e in entries]
    assert cli("audit", "verify", "--data", str(tmp_path / "data")).returncode == 0


def test_a_backup_says_what_is_in_it(engine: Engine, backup: Path, tmp_path: Path) -> None:
    """Without being asked neither key, logs, locks nor workspaces are in it, and it says so."""
    file = tmp_path / "small"
    made = cli("backup", str(file), "--data", str(engine.layout.data))
    assert made.returncode == 0, made.stderr
    assert "The key is not in it" in made.stdout
    with tarfile.open(file) as archive:
        small = set(archive.getnames())
    with tarfile.open(backup) as archive:
        whole = set(archive.getnames())
    assert whole - small >= {"engine.key"}
    assert not any(name.startswith(("logs/", "work/", "plugins/")) for name in small)
    assert not any("/locks/" in name for name in whole)
    assert any(name.startswith("logs/") for name in whole)
    again = cli("backup", str(file), "--data", str(engine.layout.data))
    assert again.returncode == 2
    assert "there already" in again.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"small"}
    assert not list(engine.layout.data.glob("backup-*"))
    restored = cli("restore", str(file), "--data", str(tmp_path / "data"))
    assert "The key was not in the backup" in restored.stdout
    assert cli("backup", str(tmp_path / "x"), "--data", str(tmp_path / "none")).returncode == 1


def test_a_used_directory_is_left_alone(backup: Path, tmp_path: Path) -> None:
    """Nothing is restored over what is there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("precious")
    done = cli("restore", str(backup), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "holds something already" in done.stderr
    assert (tmp_path / "data" / "precious").read_text() == "precious"


def damaged(backup: Path, how: str) -> bytes:
    content = backup.read_bytes()
    if how == "cut":
        return content[: len(content) // 2]
    if how == "nonsense":
        return b"nonsense"
    plain = gzip.decompress(content)
    if how == "changed":
        at = plain.index(b"SQLite format 3") + 5000
        return gzip.compress(plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :], 1)
    names = {"outside": "../outside", "absolute": "/tmp/outside", "link": "backends/link"}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo(names[how])
        if how == "link":
            info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
    return target.getvalue()


@pytest.mark.parametrize("how", ["cut", "nonsense", "changed", "outside", "absolute", "link"])
def test_a_damaged_or_hostile_backup_restores_nothing(
    backup: Path, tmp_path: Path, how: str
) -> None:
    """A file that is not whole, was changed or leads out is refused, and nothing is left of it."""
    file = tmp_path / "damaged"
    file.write_bytes(damaged(backup, how))
    done = cli("restore", str(file), "--data", str(tmp_path / "below" / "data"))
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "below" / "data").exists()
    assert list((tmp_path / "below").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_what_is_kept_elsewhere_is_named(tmp_path: Path) -> None:
    """A backup says whose state is not in it, and where a database has its own backups."""
    data = tmp_path / "data"
    data.mkdir()
    store = Store(Layout(data).database)
    store.stacks.make(StackRef("acme", "web", "bucket"))
    store.stacks.mark_initialized(StackRef("acme", "web", "bucket"))
    store.close()
    made = cli("backup", str(tmp_path / "backup"), "--data", str(data))
    assert made.returncode == 0, made.stderr
    assert "state of these stacks is not in it" in made.stdout
    assert "acme/web/bucket" in made.stdout
    none = cli("backup", str(tmp_path / "other"), "--data", str(tmp_path / "nothing"))
    assert none.returncode == 1
    assert "pg_dump" in none.stderr
