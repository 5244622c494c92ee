"""The pages of docs/how-to are followed in an empty folder, and show what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.pulumi_cli import PulumiCli, find
from tests.docs.shells import ROOT, Shell, person, steps
from tests.waiting import eventually
from tools.build_sops import location

PAGES = ROOT / "docs/how-to"
# A key of age of this test alone; its public half is on the page.
IDENTITY = "AGE-SECRET-KEY-1ESQEFNMZHR5R9EDLL5F66CVRZH6ZCQ64CEXKLXX7U6ZYRZ6NLA6QA9X0VH"
PROGRAM = "name: web\nruntime: yaml\noutputs: {size: small}\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def repository(folder: Path) -> None:
    """Make a repository with a program that needs no provider."""
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(PROGRAM)
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for arguments in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        [*who, "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def deployed_by_a_job(here: Path) -> None:
    """A stack that `pulumi up` has made, with its state in a directory."""
    repository(here / "infra")
    (here / "state").mkdir()
    (here / "passphrase").write_text("correct horse\n")
    (here / "passphrase").chmod(0o600)
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    environment = {
        **person(),
        "PATH": f"{cli.directory}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_HOME": str(here.parent / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{here}/state",
        "PULUMI_CONFIG_PASSPHRASE": "correct horse",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    init = [str(cli.program), "stack", "init", "organization/web/prod"]
    up = [str(cli.program), "up", "--yes", "--skip-preview", "--non-interactive"]
    for command in (init, up):
        subprocess.run(
            command, cwd=here / "infra", env=environment, check=True, capture_output=True
        )
    subprocess.run(["git", "clean", "-fdq"], cwd=here / "infra", check=True)


def may_decrypt(here: Path) -> None:
    (here / "age.txt").write_text(IDENTITY + "\n")


def written(name: str) -> Callable[[Path], None]:
    """Return what puts a file that the page gives where the page wants it."""

    def given(here: Path) -> None:
        page = (PAGES / "moving-from-the-operator.md").read_text()
        found = re.search(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        assert found
        (here / name).write_text(found[1])

    return given


def in_use(here: Path) -> None:
    """An engine's data with a stack in it, and the state directory of its reconciler."""
    repository(here / "infra")
    (here / "deployments.d").mkdir()
    spec = "stack: acme/web/prod\nsourceContext: {git: {repoUrl: ../infra, branch: main}}\n"
    (here / "deployments.d/web.yaml").write_text(spec)
    command = [sys.executable, "-m", "reconciler", "run", "--once", "--data", "reconciler"]
    subprocess.run(command, cwd=here, env=person(), check=True, capture_output=True)
    engine_ended(here / "reconciler/engine")
    shutil.move(here / "reconciler/engine", here / "engine")


def engine_ended(data: Path) -> None:
    eventually(lambda: not (data / "address.json").exists(), "the end of the engine")


def nothing(_: Path) -> None:
    """The page begins with nothing."""


GIVEN: dict[str, Callable[[Path], None]] = {
    "backup": in_use,
    "environments": nothing,
    "monorepo": nothing,
    "moving-from-cron": deployed_by_a_job,
    "moving-from-the-operator": written("stacks.yaml"),
    "sops": may_decrypt,
    "upgrade": in_use,
}
UPSTREAM = "https://example.com/acme/infra.git"
# Where a commit of it is looked up: it is on this machine, and needs no network.
LOOKED_UP = ("environments", "sops")
# What no test can do on one machine, and why.
NOT_RUN = {
    "kubectl ": "needs a cluster with the operator in it",
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what a page has left running is ended afterwards."""
    found = tmp_path / "here"
    found.mkdir()
    yield found
    for address in tmp_path.rglob("address.json"):
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads(address.read_bytes())["pid"], signal.SIGTERM)
            engine_ended(address.parent)


@pytest.mark.real
@pytest.mark.parametrize("name", GIVEN)
def test_a_page_is_followed(name: str, here: Path, tmp_path: Path) -> None:
    """Each block works, in its order, and prints what the page shows below it."""
    GIVEN[name](here)
    repository(tmp_path / "upstream")
    replaced = {
        "127.0.0.1:8080": f"127.0.0.1:{free_port()}",
        "/srv/host": str(here),
    }
    if name in LOOKED_UP:
        replaced[UPSTREAM] = f"file://{tmp_path}/upstream"
    shell = Shell(tmp_path, here, replaced)
    shell.run(
        f"export PATH={ROOT}/.venv/bin:{location().parent}:$PATH\n"
        f"export STATE_DIRECTORY={tmp_path}/state\n"
    )
    for step in steps((PAGES / f"{name}.md").read_text()):
        if step.goes_on:
            shell.start(step.commands, here, "listening on")
        elif not step.commands.startswith(tuple(NOT_RUN)):
            shell.follow(step)
    shell.stop()


@pytest.mark.real
def test_the_nightly_backup_goes_on_for_weeks(here: Path, tmp_path: Path) -> None:
    """Cron adds both parts each time and removes old ones, but none where it fails."""
    in_use(here)
    (here / "backup").mkdir()
    page = (PAGES / "backup.md").read_text()
    write = next(s.commands for s in steps(page) if s.commands.startswith("cat > daily-backup"))
    line = re.search(r"^30 2 \* \* \*  \w+  (/srv/host/.+)$", page, re.MULTILINE)
    assert line is not None, "the page has no line for cron"
    shell = Shell(tmp_path, here, {"/srv/host": str(here)})
    shell.run(f"export PATH={ROOT}/.venv/bin:$PATH\n")
    shell.run(write)
    old = here / "backup/engine-2026-01-01-023000.tgz"
    for name in ("engine.key", old.name):
        (here / "backup" / name).touch()
        os.utime(here / "backup" / name, (0, 0))
    second = int(time.time())
    eventually(lambda: int(time.time()) > second, "another second")
    assert shell.run(line[1]) == ""
    left = sorted(re.sub(r"-[\d-]+", "", path.name) for path in (here / "backup").iterdir())
    parts = ["engine.key", *["engine.tgz"] * 2, *["reconciler.tgz"] * 2, "said"]
    assert left == parts
    old.touch()
    os.utime(old, (0, 0))
    (here / "engine").rename(here / "elsewhere")
    shell.run(f"! {line[1]}")
    assert old.exists()


def test_each_page_is_followed_or_has_no_commands() -> None:
    """A page with a block of commands is one of those above."""
    pages = {path.stem for path in PAGES.glob("*.md") if list(steps(path.read_text()))}
    assert pages == set(GIVEN)
