"""`reconciler init`: a first spec that is valid, that a plan understands, and no harm done."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import scan
from reconciler.cli.parser import run

LIMIT_S = 90.0
WHO = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *WHO, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a program in a folder of its own."""
    root = tmp_path / "infra"
    (root / "web").mkdir(parents=True)
    (root / "web/Pulumi.yaml").write_text("name: shop\nruntime: yaml\n")
    (root / "web/Pulumi.staging.yaml").write_text("config: {}\n")
    git(root, "init", "--quiet", "--initial-branch", "trunk")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "x")
    return root


def init(folder: Path) -> Any:
    """Make a first spec; return it, once it has been found to be valid."""
    assert run(["init", str(folder / "deployments.d")]) == 0
    catalog = scan(folder / "deployments.d", SecretRules())
    assert catalog.problems == ()
    assert len(catalog.specs) == 1
    return yaml.safe_load(catalog.specs[0].path.read_text())


def test_a_repository_without_a_remote_is_its_own_source(repository: Path) -> None:
    """The program is found, and named as its Pulumi.yaml and its configuration say."""
    assert init(repository) == {
        "stack": "acme/shop/staging",
        "sourceContext": {"git": {"repoUrl": "..", "repoDir": "web"}},
        "operationContext": {"operation": "update"},
    }
    assert sorted(p.name for p in (repository / "deployments.d").iterdir()) == [
        ".defaults.schema.json",
        ".deployment.schema.json",
        ".gitignore",
        "shop-staging.yaml",
    ]


@pytest.mark.parametrize(
    ("origin", "url", "organization"),
    [
        ("https://example.com/ada/infra.git", "https://example.com/ada/infra.git", "ada"),
        ("https://ada:kanarie@example.com/ada/i", "https://example.com/ada/i", "ada"),
        ("https://example.com/ada/i?t=kanarie", "https://example.com/ada/i", "ada"),
        ("git@example.com:ada/infra.git", "https://example.com/ada/infra.git", "ada"),
        ("ssh://git@example.com:2222/ada/i.git", "https://example.com/ada/i.git", "ada"),
        ("file:///srv/git/infra", "file:///srv/git/infra", "acme"),
        ("/srv/git/infra", "file:///srv/git/infra", "acme"),
        ("../elsewhere", "..", "acme"),
    ],
)
def test_origin_is_where_the_source_is(
    repository: Path, origin: str, url: str, organization: str
) -> None:
    """The URL of origin is followed on the branch at hand; ssh is told as https, no secret kept."""
    git(repository, "remote", "add", "origin", origin)
    spec = init(repository)
    branch = {} if url == ".." else {"branch": "trunk"}
    assert spec["sourceContext"]["git"] == {"repoUrl": url, **branch, "repoDir": "web"}
    assert spec["stack"].split("/")[0] == organization
    written = [p.read_text() for p in (repository / "deployments.d").iterdir()]
    assert "kanarie" not in "".join(written)


def test_the_program_that_is_nearest_is_meant(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of several programs the one of the folder is taken, and the others are named."""
    (repository / "api").mkdir()
    (repository / "api/Pulumi.yaml").write_text("name: api\n")
    assert init(repository / "web")["stack"] == "acme/shop/staging"
    assert "There are other programs too: api" in capsys.readouterr().out


def test_outside_of_a_repository_it_is_an_example(tmp_path: Path) -> None:
    """Where nothing is known, the spec is an example that says so, and is valid all the same."""
    assert init(tmp_path)["stack"] == "acme/web/dev"
    text = (tmp_path / "deployments.d/web-dev.yaml").read_text()
    assert "There is no git repository here" in text
    assert text.startswith("# yaml-language-server: $schema=.deployment.schema.json\n")


def test_an_editor_takes_what_validate_takes(repository: Path) -> None:
    """The schemas that are written take the guide's specs, whose `_defaults.yaml` says the rest."""
    init(repository)
    folder = repository / "deployments.d"
    page = Path("docs/how-to/environments.md").read_text()
    files = re.findall(r"^cat > (\S+) <<'END'\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)
    specs = {"dev/web.yaml": "stack: acme/web/dev\nsourceContext: {git: {branch: null, tag: v1}}\n"}
    specs |= {name.removeprefix("deployments.d/"): text for name, text in files}
    for name, text in specs.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        kind = "defaults" if path.name == "_defaults.yaml" else "deployment"
        schema = json.loads((folder / f".{kind}.schema.json").read_text())
        jsonschema.validate(yaml.safe_load(text), schema)
        modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert modeline is None or (path.parent / modeline[1]).is_file()
    assert {"_defaults.yaml", "dev/web.yaml", "prod/_defaults.yaml", "prod/eu.yaml"} <= set(specs)
    catalog = scan(folder, SecretRules())
    assert catalog.problems == ()


def test_nothing_is_overwritten(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call, and files of one's own, stay as they are; what is missing is said."""
    folder = repository / "deployments.d"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.bak\n")
    init(repository)
    assert "add to it: *.status.json *.status.json.corrupt-*" in capsys.readouterr().out
    (folder / "shop-staging.yaml").rename(folder / "mine.yaml")
    before = {p.name: p.read_text() for p in folder.iterdir()}
    init(repository)
    assert {p.name: p.read_text() for p in folder.iterdir()} == before
    assert "mine.yaml: kept: it is the spec of acme/shop/staging" in capsys.readouterr().out


@pytest.mark.real
def test_what_it_writes_is_planned(repository: Path, tmp_path: Path) -> None:
    """A plan over the first spec would start an update, from the repository it found."""
    state = tmp_path / "state"
    git(repository, "remote", "add", "origin", str(repository))
    command = [sys.executable, "-m", "reconciler"]
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"HOME": os.environ["HOME"], "PATH": path}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    call("init")
    try:
        plans = json.loads(call("plan", "-o", "json", "--data", str(state)))
    finally:
        stop_engine(state / "engine/address.json")
    assert [(p["name"], p["actions"]) for p in plans] == [("shop-staging", ["start update"])]


def stop_engine(address: Path) -> None:
    """End the embedded engine of a state directory, and wait until it has gone."""
    if not address.exists():
        return
    os.kill(json.loads(address.read_bytes())["pid"], signal.SIGTERM)
    deadline = time.monotonic() + LIMIT_S
    while address.exists():
        assert time.monotonic() < deadline, "the engine does not end"
        time.sleep(0.02)
