"""The package as people get it: built, installed in each way, and used without the source tree."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import requests

from reconciler import __version__
from tests.package import ROOT, uv

pytestmark = pytest.mark.real

LIMIT_S = 240
BIN = Path(sys.executable).parent


def environment(**more: str | Path) -> dict[str, str]:
    """Return a person's environment, with nothing of this one's Python."""
    ours = ("PYTHON", "VIRTUAL_ENV", "PULUMI_", "RECONCILER_", "COVERAGE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **{name: str(value) for name, value in more.items()}}


def run(command: list[str | Path], folder: Path, **more: str | Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def head(wheel: Path) -> str:
    source = wheel.parents[1] / "source"
    return run(["git", "-C", source, "rev-parse", "HEAD"], source).strip()


def test_nothing_is_missing_and_nothing_too_much(wheel: Path) -> None:
    """The wheel holds what the program reads beside its modules, and no test."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "reconciler"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {n for n in tracked.stdout.split() if n not in names} == set()
    assert "reconciler/commit.txt" in names
    assert {n for n in names if not n.startswith(("reconciler/", "reconciler-"))} == set()


def test_it_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    """Help, version, a first spec, its check, units and completion work from the wheel alone."""
    uv("venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    uv("pip", "install", "--quiet", "--python", tmp_path / "venv/bin/python", wheel)
    program = tmp_path / "venv/bin/reconciler"
    assert run([program, "--help"], tmp_path).startswith("usage: reconciler")
    facts = json.loads(run([program, "version", "-o", "json"], tmp_path))
    assert (facts["version"], facts["commit"]) == (__version__, head(wheel))
    work = tmp_path / "work"
    work.mkdir()
    (work / "Pulumi.yaml").write_text("name: web\nruntime: yaml\n")
    run(["git", "init", "--quiet", "--initial-branch=main"], work)
    run([program, "init"], work)
    (spec,) = (work / "deployments.d").glob("*.yaml")
    spec.write_text(SPEC)
    assert run([program, "validate"], work) == "1 spec is valid\n"
    assert "WatchdogSec=" in run([program, "install-systemd", "--program", program], work)
    assert "complete" in run([program, "completion", "bash"], work)
    serves(program, tmp_path / "engine")
    for form in sorted(RELEASED.glob("*.sql")):
        upgrades(program, tmp_path / form.stem, form)


def upgrades(program: Path, data: Path, form: Path) -> None:
    """Have the engine take over the data of an older one: its tokens are known, and its work."""
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(data / "engine.db")) as database:
        database.executescript(form.read_text())
    (data / "engine.db").chmod(0o600)
    listed = run([program, "engine", "token", "list", "--data", data], data)
    assert "ann" in listed
    serves(program, data)
    assert "ann" in run([program, "engine", "token", "list", "--data", data], data)


def serves(program: Path, data: Path) -> None:
    """Have the engine make its database, answer, and make a token."""
    command: list[str | Path] = [
        program,
        "engine",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
    ]
    with subprocess.Popen(
        command, cwd="/", env=environment(), stdout=subprocess.PIPE, text=True
    ) as engine:
        try:
            assert engine.stdout is not None
            line = engine.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:")
            with requests.get(line.split()[-1] + "/healthz", timeout=60) as answer:
                assert answer.status_code == 200
            create = ("token", "create", "--organization", "acme", "--data", data)
            assert run([program, "engine", *create], data).startswith("rct_")
        finally:
            engine.terminate()


RELEASED = ROOT / "tests/unit/engine/store/released"
SPEC = "stack: acme/web/dev\nsourceContext: {git: {repoUrl: .., branch: main}}\n"


def test_uv_installs_it_as_a_tool(wheel: Path, tmp_path: Path) -> None:
    """`uv tool install FILE` gives a program that runs."""
    places = {"UV_TOOL_DIR": tmp_path / "tools", "UV_TOOL_BIN_DIR": tmp_path / "bin"}
    run([BIN / "uv", "tool", "install", "--quiet", wheel], tmp_path, **places)
    said = run([tmp_path / "bin/reconciler", "--version"], tmp_path)
    assert said.startswith(f"reconciler {__version__} (commit {head(wheel)[:12]})\n")


def test_pipx_installs_it(wheel: Path, tmp_path: Path) -> None:
    """`pipx install FILE` does too."""
    places = {"PIPX_HOME": tmp_path / "pipx", "PIPX_BIN_DIR": tmp_path / "bin"}
    run([BIN / "pipx", "install", "--quiet", wheel], tmp_path, **places)
    said = run([tmp_path / "bin/reconciler", "--version"], tmp_path)
    assert said.startswith(f"reconciler {__version__} (commit {head(wheel)[:12]})\n")


def test_the_container_file_has_no_fault() -> None:
    """Hadolint has nothing to say of it."""
    lint = [BIN / "hadolint", ROOT / "Containerfile"]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
