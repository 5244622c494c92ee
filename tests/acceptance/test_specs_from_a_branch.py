"""The daemon with specs from a branch, as a process of its own: a push is told by a webhook."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.git_server import git, make_repository

pytestmark = pytest.mark.real

LIMIT_S = 60.0
SECRET = "0123456789abcdef-canary"


class Running:
    """A daemon whose API does not answer, so that only what it looks up is seen."""

    def __init__(self, folder: Path, work: Path) -> None:
        secret = folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        self.log = folder / "log"
        where = ["--repo", f"file://{work}", "--data", str(folder / "state")]
        api = ["--api-url", "http://127.0.0.1:9"]
        hook = ["--webhook", "--webhook-secret-file", str(secret), "--poll-interval", "1d"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "run", *api, *where, *hook],
                env={**os.environ, "PULUMI_ACCESS_TOKEN": "x"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text()

    def eventually(self, condition: Callable[[str], object], what: str) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition(self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, f"never came: {what}\n{self.said()}"
            time.sleep(0.02)

    def push(self, url: str, secret: str) -> int:
        """Send what GitHub sends after a push."""
        found = re.search(r"webhooks are heard at (\S+)", self.said())
        assert found is not None
        parts = urlsplit(found[1])
        body = json.dumps({"repository": {"clone_url": url}}).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=LIMIT_S)
        try:
            headers = {"X-Hub-Signature-256": f"sha256={signature}"}
            connection.request("POST", parts.path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The repository of the specs; one of them follows another repository."""
    make_repository(tmp_path / "program")
    path = tmp_path / "specs"
    (path / "deployments.d").mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    write(path, "web", "main")
    return path


def write(path: Path, name: str, branch: str) -> str:
    source = f"{{git: {{repoUrl: file://{path.parent}/program, branch: {branch}}}}}"
    text = f"stack: acme/{name}/prod\nsourceContext: {source}\n"
    (path / "deployments.d" / f"{name}.yaml").write_text(text)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "x")
    return git(path, "rev-parse", "HEAD")


@pytest.fixture
def running(tmp_path: Path, work: Path) -> Iterator[Running]:
    made = Running(tmp_path, work)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()


def test_pushes_are_told(running: Running, work: Path) -> None:
    """A signed event brings new commits of specs and sources at once; SIGTERM ends it."""
    running.eventually(lambda said: "  web  " in said, "the first pass")
    running.eventually(lambda said: "webhooks are heard" in said, "the webhook")
    commit = write(work, "gone", "nowhere")
    url = f"file://{work}"
    assert running.push(url, "another-secret-of-theirs") == 401
    assert running.push(url, SECRET) == 202
    running.eventually(lambda said: f"at {commit[:12]} since" in said, "the new commit")
    program = f"file://{work.parent}/program"
    missing = f"{program} has no branch 'nowhere'"
    running.eventually(lambda said: missing in said, "the new spec")
    git(work.parent / "program", "branch", "nowhere")
    before = len(running.said())
    assert running.push(program, SECRET) == 202
    running.eventually(lambda said: "  gone  " in said[before:], "the branch")
    assert missing not in running.said()[before:]
    assert SECRET not in running.said()
    begun = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(LIMIT_S) == 0
    assert time.monotonic() - begun < 30
