"""A place with specs, a program in a git repository, and the real command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import waiting

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 90.0
eventually = partial(waiting.eventually, limit_s=LIMIT_S)


@dataclass
class Place:
    """A directory of specs, their programs' repository, and the state of both."""

    root: Path
    flags: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def data(self) -> Path:
        return self.root / "state"

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def made(self) -> Path:
        """Where the managed files are."""
        return self.root / "made"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "reconciler", *arguments]

    def full_environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {"PATH": path, "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}
        if "XDG_CACHE_HOME" in os.environ:
            kept["XDG_CACHE_HOME"] = os.environ["XDG_CACHE_HOME"]
        return kept | self.environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.full_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def reconciler(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.full_environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def run_arguments(self) -> list[str]:
        return ["--data", str(self.data), *self.flags]

    def once(self, code: int = 0) -> str:
        done = self.reconciler("run", "--once", "specs", *self.run_arguments())
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def by_hand(self, verb: str, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.reconciler(verb, name, "--directory", "specs", *more, *self.run_arguments())

    def plan(self, code: int) -> str:
        done = self.reconciler("plan", "specs", "--detailed-exitcode", *self.plan_arguments())
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def plan_arguments(self) -> list[str]:
        return self.run_arguments()

    def status(self, name: str) -> dict[str, Any]:
        """Return one object of `status -o json`."""
        done = self.reconciler("status", "specs", "--data", str(self.data), "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return next(item for item in found if item["name"] == name)

    def status_file(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.specs / f"{name}.status.json").read_bytes())
        return content

    # ------------------------------------------------------------ what a person writes

    def spec(self, name: str, more: str = "", program: str = "web") -> Path:
        """Have a spec of a stack of that name, written some time ago."""
        path = self.specs / f"{name}.yaml"
        path.write_text(
            f"stack: acme/{program}/{name}\n"
            f"sourceContext: {{git: {{repoUrl: ../repository, repoDir: {program}}}}}\n"
            "operationContext:\n"
            "  options: {skipInstallDependencies: true}\n"
            "  environmentVariables: {REGION: eu, FAILS: ''}\n" + more
        )
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
        return path

    def program(self, name: str = "web", delay: str = "", fails: str = "") -> None:
        """Write and commit a program of one managed file per stack."""
        shutil.copytree(
            ROOT / "examples/provider", self.repository / "provider", dirs_exist_ok=True
        )
        folder = self.repository / name
        folder.mkdir(parents=True, exist_ok=True)
        extra = f"      delaySeconds: {delay}\n" if delay else ""
        extra += f"      failWith: {fails}\n" if fails else ""
        (folder / "Pulumi.yaml").write_text(
            f"name: {name}\nruntime: yaml\n"
            "plugins: {providers: [{name: localfile, path: ../provider}]}\n"
            "resources:\n"
            "  file:\n"
            "    type: localfile:File\n"
            "    properties:\n"
            f"      path: {self.made}/${{pulumi.stack}}.txt\n"
            "      contentFromEnv: REGION\n" + extra
        )
        self.commit(f"program {name} {delay} {fails}")

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=self.repository,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    # ------------------------------------------------------------ the engine's side

    def state_file(self, organization: str, project: str, stack: str) -> Path:
        base = self.data / "engine" / "backends" / organization
        return base / ".pulumi" / "stacks" / project / f"{stack}.json"

    def locks(self) -> list[Path]:
        return [p for p in self.root.rglob(".pulumi/locks/**/*.json") if p.is_file()]

    def processes(self) -> list[str]:
        """Return the command lines of all processes that have to do with this place."""
        return list(self._alive().values())

    def _alive(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if os.fsencode(self.root) in command + (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode()
        return found

    def end(self) -> None:
        """End whatever a test has left running, a failed one above all."""
        for pid, command in self._alive().items():
            if "reconciler" in command:
                with suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
        with suppress(AssertionError):
            eventually(lambda: not self._alive(), "the end of all", limit_s=20)
        for pid in self._alive():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    where = Place(tmp_path)
    for folder in (where.specs, where.repository, where.made):
        folder.mkdir()
    subprocess.run(
        ["git", "init", "--quiet", "--initial-branch=main", where.repository], check=True
    )
    where.flags = ["--allow-write", str(where.made)]
    yield where
    where.end()
