"""What the engine's tests share: a caller of its API, and repositories to deploy from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.waiting import eventually

__all__ = [
    "NO_INSTALL",
    "Api",
    "EngineProcess",
    "Gate",
    "commit_all",
    "make_repository",
    "make_slow_provider",
    "make_slow_repository",
]

# Everything waited for here happens within seconds; the limit is for a machine under load.
LIMIT_S = 60.0

T = TypeVar("T")

PROGRAM = """\
name: {project}
runtime: yaml
outputs:
  region: us-west-2
"""


# `pulumi install` asks the network for a provider that the program brings along itself.
NO_INSTALL = {"skipInstallDependencies": True}

SLOW_PROGRAM = """\
name: web
runtime: yaml
plugins:
  providers:
    - {{name: slow, path: {provider}}}
resources:
  thing:
    type: slow:index:Thing
    properties:
      begun: {begun}
      open: {open}
"""


def git(directory: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.com",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.com",
        },
    )
    return answer.stdout.strip()


def commit_all(repository: Path) -> str:
    """Commit everything and return the commit."""
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "a change")
    return git(repository, "rev-parse", "HEAD")


def make_repository(directory: Path, project: str = "web", program: str = PROGRAM) -> Path:
    """Make a repository with a program at its root and one more below `infra/db`."""
    (directory / "infra" / "db").mkdir(parents=True)
    (directory / "Pulumi.yaml").write_text(program.replace("{project}", project))
    (directory / "infra" / "db" / "Pulumi.yaml").write_text(PROGRAM.replace("{project}", "db"))
    git(directory, "init", "-q", "-b", "main")
    commit_all(directory)
    return directory


def make_slow_repository(directory: Path, gate: Gate, name: str) -> Path:
    """Make a repository whose program has one resource: its creation waits at the gate."""
    program = SLOW_PROGRAM.format(
        provider="provider",
        begun=gate.directory / f"{name}.begun",
        open=gate.directory / f"{name}.open",
    )
    make_slow_provider(directory / "provider")
    return make_repository(directory, program=program)


def make_slow_provider(directory: Path) -> None:
    """Make the provider's program, and the script beside it that it runs."""
    directory.mkdir(parents=True)
    provider = directory / "pulumi-resource-slow"
    script = provider.with_name("slow_provider.py")
    script.write_bytes(Path(__file__).with_name(script.name).read_bytes())
    provider.write_text(f'#!/bin/sh\nexec {sys.executable} "${{0%/*}}/{script.name}" "$@"\n')
    provider.chmod(0o755)


@dataclass(frozen=True)
class Gate:
    """A directory that deployments may write: they say what they do, and wait to be let go."""

    directory: Path

    def waits(self, name: str) -> str:
        """Return a shell command that says it has begun and waits to be opened."""
        begun, opened = self.directory / f"{name}.begun", self.directory / f"{name}.open"
        return f"touch {begun}; until [ -e {opened} ]; do sleep 0.02; done"

    def begun(self, name: str) -> None:
        """Wait until the command has begun."""
        eventually((self.directory / f"{name}.begun").exists, f"{name} begins")

    def open(self, name: str) -> None:
        """Let the command go."""
        (self.directory / f"{name}.open").touch()


class Api:
    """Calls one engine with one token, in one dialect."""

    def __init__(self, url: str, token: str, dialect: str = "preview") -> None:
        self.url = url
        self.token = token
        self.dialect = dialect
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"token {token}"

    def speaking(self, dialect: str) -> Api:
        """Return the same caller in the other dialect."""
        return Api(self.url, self.token, dialect)

    def path(self, stack: str) -> str:
        """Return the path of a stack's deployments."""
        return f"/api/{'preview' if self.dialect == 'preview' else 'stacks'}/{stack}/deployments"

    def body(self, source: Mapping[str, object], **context: object) -> dict[str, object]:
        """Return a create's body: `context` is the operationContext, `operation` in it too."""
        operation = context.pop("operation", "update")
        body: dict[str, object] = {
            "sourceContext": {"git": dict(source)},
            "operationContext": context,
        }
        if self.dialect == "preview":
            context["operation"] = operation
        else:
            body["operation"] = operation
        return body

    def create(self, stack: str, repository: Path, **context: object) -> dict[str, Any]:
        """Create a deployment of a repository's main branch."""
        key = "repoURL" if self.dialect == "preview" else "repoUrl"
        source = {key: f"file://{repository}", "branch": "refs/heads/main"}
        source.update(context.pop("source", {}))  # type: ignore[call-overload]
        answer = self.post(self.path(stack), self.body(source, **context))
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def post(self, path: str, body: object = None) -> requests.Response:
        return self.session.post(self.url + path, json=body, timeout=LIMIT_S)

    def get(self, path: str, **query: object) -> Any:
        """Return the answer to a GET, which must be a good one."""
        answer = self.session.get(self.url + path, params=query, timeout=LIMIT_S)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, **query: object) -> tuple[int, str]:
        """Return status and message of a GET that must fail."""
        answer = self.session.get(self.url + path, params=query, timeout=LIMIT_S)  # type: ignore[arg-type]
        assert answer.status_code >= 400
        error = answer.json()
        assert set(error) == {"code", "message"}
        assert error["code"] == answer.status_code
        return answer.status_code, error["message"]

    def deployment(self, stack: str, deployment_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"{self.path(stack)}/{deployment_id}")
        return found

    def ended(self, stack: str, deployment_id: str) -> dict[str, Any]:
        """Wait until a deployment has ended, and return it as today's dialect shows it."""
        today = self.speaking("today")

        def look() -> dict[str, Any] | None:
            found = today.deployment(stack, deployment_id)
            return found if found["status"] in {"failed", "succeeded", "skipped"} else None

        found = eventually(look, f"{deployment_id} ends")
        assert found is not None
        return found

    def step(self, stack: str, deployment_id: str, name: str) -> None:
        """Wait until a step runs."""

        def runs() -> bool:
            found = self.deployment(stack, deployment_id)
            steps = {s["name"]: s["status"] for s in found["jobs"][0]["steps"]}
            assert steps[name] in {"not-started", "running"}, steps
            return bool(steps[name] == "running")

        eventually(runs, f"{name} runs")

    def cancel(self, stack: str, deployment_id: str) -> int:
        return self.post(f"{self.path(stack)}/{deployment_id}/cancel").status_code

    def so_far(self, stack: str, deployment_id: str) -> str:
        """Return the first page of what the Pulumi operation has printed so far."""
        path = f"{self.path(stack)}/{deployment_id}"
        step = len(self.get(path)["jobs"][0]["steps"])
        page = self.get(f"{path}/logs", job=0, step=step)
        return "".join(entry["line"] for entry in page["lines"])

    def log(self, stack: str, deployment_id: str) -> list[str]:
        """Return the whole log, headers as `# header`."""
        lines: list[str] = []
        token = ""
        for _ in range(1000):
            page = self.get(f"{self.path(stack)}/{deployment_id}/logs", nextToken=token)
            lines += [
                f"# {entry['header']}" if "header" in entry else entry["line"]
                for entry in page["lines"]
            ]
            if "nextToken" not in page:
                return lines
            token = page["nextToken"]
        raise AssertionError("the log does not end")


def statuses(deployment: Mapping[str, Any]) -> list[str]:
    """Return the statuses of a deployment's steps."""
    return [step["status"] for step in deployment["jobs"][0]["steps"]]


class EngineProcess:
    """An engine in a process of its own, which a test may kill."""

    CODE = """\
import sys
from datetime import timedelta
from pathlib import Path
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import serve
data, write, runner, embedded = sys.argv[1:]
sys.exit(serve(EngineConfig(
    data=Path(data), port=0, workers=4, runner=runner or None, local_repositories=True,
    allow_write=(Path(write),), embedded=bool(embedded), idle_exit=timedelta(seconds=0.5),
)))
"""

    def __init__(
        self, data: Path, write: Path, runner: str = "", *, embedded: bool = False
    ) -> None:
        flag = "1" if embedded else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(data), str(write), runner, flag],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), self.end()
        self.url = line.removeprefix("listening on ").strip()

    def kill(self) -> None:
        """Kill the engine itself, as a crash would."""
        self.process.kill()
        self.end()

    def stop(self) -> int:
        """Ask the engine to end, and return its exit code."""
        self.process.terminate()
        self.end()
        return self.process.returncode

    def end(self) -> str:
        """Wait for the end of the process and return what it wrote to standard error."""
        errors = self.process.communicate(timeout=LIMIT_S)[1]
        assert isinstance(errors, str)
        return errors
