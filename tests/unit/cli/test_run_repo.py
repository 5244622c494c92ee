from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli import parser
from tests.fakes.git_server import git

pytestmark = pytest.mark.real


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with a program, and a spec of it that follows the repository itself."""
    path = tmp_path / "infra"
    (path / "deployments.d").mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, "stack: acme/web/prod\nsourceContext: {git: {repoUrl: ..}}\n")
    return path


def commit(path: Path, text: str) -> str:
    (path / "deployments.d/web.yaml").write_text(text)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "x")
    return git(path, "rev-parse", "HEAD")


def call(
    command: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    where = ["--repo", f"file://{work}", "--data", str(work.parent / "state")]
    code = parser.run([*command, *where])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An API that does not answer: what is planned shows, and nothing is started."""
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "x")
    return ["--api-url", "http://127.0.0.1:9"]


def test_a_branch_is_the_directory(
    work: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`run --repo` fetches and says what is in force; `status` shows it without the server."""
    code, _, errors = call(["status"], work, capsys)
    assert code == 2
    assert "has not been fetched yet; `run --repo` does that" in errors
    once = ["run", "--once", "--timeout", "1s", *nobody]
    first = git(work, "rev-parse", "HEAD")
    code, printed, _ = call(once, work, capsys)
    assert code == 1
    assert f"branch main, deployments.d: at {first[:12]} since" in printed
    assert "web  " in printed
    bad = commit(work, "stack: acme/web\n")
    _, printed, _ = call(once, work, capsys)
    assert f"{bad[:12]} is not taken since" in printed
    work.rename(work.with_name("away"))
    code, printed, _ = call(["status"], work, capsys)
    assert code == 0
    line, empty, heading, *rows = printed.splitlines()
    assert f"at {first[:12]} since" in line
    assert "deployments.d/web.yaml:1:1: " in line
    assert empty == ""
    assert heading.startswith("NAME")
    assert rows[0].split()[:3] == ["web", "acme/web/prod", "Unknown"]
    _, printed, _ = call(["status", "-o", "json"], work, capsys)
    found = json.loads(printed)
    assert [row["name"] for row in found["specs"]] == ["web"]
    directory = found["directory"]
    refused = directory.pop("refused")
    assert (refused["commit"], "deployments.d/web.yaml:1:1: " in refused["message"]) == (bad, True)
    assert directory.pop("since") <= refused["since"]
    assert directory == {
        "url": f"file://{work}",
        "branch": "main",
        "path": "deployments.d",
        "commit": first,
        "unreachable": None,
    }
    work.with_name("away").rename(work)
    assert list(work.rglob("*.status.json")) == []


def test_a_watch_tells_of_the_branch(
    work: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs a watch has a line for the branch too, and another one when it has moved."""
    once = ["run", "--once", "--timeout", "1s", *nobody]
    call(once, work, capsys)
    where = ["--repo", f"file://{work}", "--data", str(work.parent / "state")]
    command = [sys.executable, "-m", "reconciler", "status", "--watch", "-o", "json", *where]
    first = git(work, "rev-parse", "HEAD")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["directory"]["commit"] == first
            assert json.loads(watching.stdout.readline())["name"] == "web"
            second = commit(work, "stack: acme/web/dev\nsourceContext: {git: {repoUrl: ..}}\n")
            call(once, work, capsys)
            lines = iter(watching.stdout.readline, "")
            moved = next(body for line in lines if "directory" in (body := json.loads(line)))
            assert moved["directory"]["commit"] == second
        finally:
            watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 0


def test_a_relative_url_is_the_repository(
    work: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`..` in a spec of the checkout is the repository of `--repo`, at its branch."""
    call(["run", "--once", "--timeout", "1s", *nobody], work, capsys)
    git(work, "checkout", "--quiet", "-b", "other")
    commit(work, "stack: acme/other/prod\n")
    code, printed, _ = call(["plan", "-o", "json", *nobody], work, capsys)
    assert code == 0
    (plan,) = json.loads(printed)
    assert plan["state"] == "Unknown"
    assert "cannot be asked" not in plan["message"]


def test_what_cannot_be(work: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that climbs out, a URL that is none, a server that is away are said."""
    for more, said in (
        (["--path", "../x"], "is no directory in a repository"),
        (["--path", "/x"], "is no directory in a repository"),
        (["--branch", "a..b"], "the branch is not a name that git allows"),
        (["--branch", "nowhere"], "couldn't find remote ref"),
        (["--repo-token-file", "/nonexistent/x"], "/nonexistent/x cannot be read"),
    ):
        code, _, errors = call(["run", "--once", *nobody, *more], work, capsys)
        assert code in {1, 2}
        assert said in errors


def test_a_webhook_needs_a_secret(
    work: Path, nobody: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing listens without a secret, nor at what is no address."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o600)
    for more, said in (
        (["--webhook"], "--webhook needs a secret"),
        (["--webhook", "deployments.d", "--webhook-secret-file", str(secret)], "is no address"),
        (["--webhook-secret-file", str(secret)], "goes with --webhook"),
    ):
        code, _, errors = call(["run", *nobody, *more], work, capsys)
        assert code == 2
        assert said in errors
