"""An engine in a process of its own, and what is asked of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.api.client import ApiClient
from reconciler.api.types import DeploymentRequest, GitSource, Secret
from reconciler.engine import tokens
from reconciler.engine.runners.supervisor import descendants, look, processes
from reconciler.pulumi_cli import PulumiCli, find
from tests.bench.figures import command

__all__ = ["Served", "make_repository", "pulumi", "request_for", "serving", "spent_s"]

# Starting takes a second, and longer where a database has to be made.
END_LIMIT_S = 120.0


class Served:
    """A running engine: its address, its process, and a token of organization acme."""

    def __init__(self, url: str, pid: int, token: str) -> None:
        self.url = url
        self.pid = pid
        self.token = token
        self.client = ApiClient(url, lambda: Secret(token))


@contextmanager
def serving(data: Path, *options: str) -> Iterator[Served]:
    """Give an engine that serves from `data`, and end it."""
    token = tokens.create(
        data, organization="acme", user="bench", email="", role="deploy", expires=None
    )
    words = ("engine", "serve", "--data", str(data), "--listen", "127.0.0.1:0", *options)
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        yield Served(line.removeprefix("listening on ").strip(), process.pid, token)
    finally:
        process.terminate()
        process.communicate(timeout=END_LIMIT_S)


def spent_s(pid: int) -> float:
    """Return the processor time that a process has taken, with all it has started."""
    fields, ticks = slice(11, 15), 0
    for process in descendants(processes(), {pid}) | {look(pid)}:
        if process is not None:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, stat[fields]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pulumi() -> PulumiCli:
    """Return the pulumi that both sides use."""
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    return cli


def make_repository(path: Path, program: str) -> Path:
    """Make a repository with a program at its root, beside whatever is in `path` already."""
    path.mkdir(exist_ok=True)
    (path / "Pulumi.yaml").write_text(program)
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "one"]):
        command("git", *words, cwd=path)
    return path


def request_for(repository: Path, *, install: bool = True) -> DeploymentRequest[Secret]:
    """Return what is asked for: an update from the repository's main branch."""
    return DeploymentRequest(
        source=GitSource(repo_url=f"file://{repository}", branch="main"),
        skip_install_dependencies=not install,
    )
