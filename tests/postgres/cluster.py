"""An API process and some workers of one database, each a process that a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from reconciler.engine.database_url import DatabaseUrl
from reconciler.pulumi_cli import PROGRAMS, PulumiCli, find
from tests.engine.harness import LIMIT_S, Api

__all__ = ["Alone", "Cluster", "Process", "watched_pulumi"]

# It tells of each Pulumi operation that begins, in a file that it makes only once, and holds a
# lock of its stack as long as anything of it lives.
WRAPPER = """\
#!/bin/sh
case "$1" in up|refresh|destroy)
  set -C
  if ! (: >"{evidence}/$PULUMI_CI_BUILD_ID.begun") 2>/dev/null; then
    : >>"{evidence}/$PULUMI_CI_BUILD_ID.twice"
  fi
  exec 9>>"{evidence}/$PULUMI_STACK_OF_TEST.lock"
  flock -n 9 || : >>"{evidence}/$PULUMI_CI_BUILD_ID.beside"
  echo "$PULUMI_STACK_OF_TEST $PULUMI_CI_BUILD_NUMBER" >>"{evidence}/order"
esac
exec "{pulumi}" "$@"
"""


def watched_pulumi(directory: Path, evidence: Path) -> Path:
    """Make a directory with a pulumi that tells of its operations, to be first on PATH."""
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    directory.mkdir()
    evidence.mkdir()
    for name in PROGRAMS[1:]:
        (directory / name).symlink_to(cli.directory / name)
    program = directory / PROGRAMS[0]
    program.write_text(WRAPPER.format(evidence=evidence, pulumi=cli.program))
    program.chmod(0o755)
    return directory


def search_path(directory: Path) -> str:
    """Return a PATH with `directory` first.

    The real pulumi is on it as well: a sandbox sees of a person's home what is on PATH alone.
    """
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    return os.pathsep.join((str(directory), str(cli.directory), os.environ["PATH"]))


class Process:
    """One `reconciler engine …` process."""

    def __init__(self, *arguments: str, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "engine", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._line = ""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def ready(self) -> bool:
        """Whether it has told that it is ready."""
        return self._ready.is_set()

    def said(self) -> str:
        """Wait for the line that tells that it is ready, and return it."""
        assert self._ready.wait(LIMIT_S), "it is not ready"
        return self._line

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._line = self.process.stdout.readline().strip()
        self._ready.set()

    def kill(self) -> None:
        """Kill the process itself, as a crash would."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """Ask the process to end, and return its exit code."""
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        code = self.process.wait(LIMIT_S)
        self.close()
        return code

    def close(self) -> None:
        """Let go of its output."""
        assert self.process.stdout is not None
        self._reader.join()
        self.process.stdout.close()
        self._log.close()


def make_token(where: tuple[str, ...], environment: dict[str, str]) -> str:
    """Make a token in a process of its own: this one may run an engine."""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "reconciler", "engine", "token", "create"),
            *("--organization", "acme", *where),
        ],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return made.stdout.strip()


class Cluster:
    """One API process and workers, on one database and one directory."""

    def __init__(self, root: Path, url: str, path: Path | None = None) -> None:
        self.database = DatabaseUrl.parse(url, may_hold_password=True)
        self.data = root / "data"
        self.log = root / "processes.log"
        search = os.environ["PATH"] if path is None else search_path(path)
        self.environment = os.environ | {
            "PGPASSWORD": self.database.password,
            "PATH": search,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self.write = root
        self.options: tuple[str, ...] = ()  # of all processes
        self.processes: list[Process] = []

    def api(self) -> Api:
        """Start a process that answers and does no work, and return a caller of it."""
        process = self.start("serve", "--listen", "127.0.0.1:0", workers=0)
        return Api(process.said().removeprefix("listening on "), self.token())

    def worker(self, places: int = 2) -> Process:
        """Start a worker."""
        return self.start("worker", workers=places)

    def elsewhere(self, name: str, port: int = 0) -> Process:
        """Start a worker with a folder of its own, which reaches the database at this port."""
        data = self.write / name
        data.mkdir()
        (data / "engine.key").write_bytes((self.data / "engine.key").read_bytes())
        (data / "engine.key").chmod(0o600)
        url = f"postgresql://{self.database.user}@{self.database.host}"
        url += f":{port or self.database.port}/{self.database.database}"
        return self.start("worker", "--data", str(data), "--database", url, workers=2)

    def start(self, verb: str, *more: str, workers: int) -> Process:
        """Start a process of the cluster."""
        process = Process(
            *(verb, "--database", str(self.database), "--data", str(self.data)),
            *("--workers", str(workers), "--runner", "process", "--local-repositories"),
            *("--allow-write", str(self.write), *self.options, *more),
            environment=self.environment,
            log=self.log,
        )
        self.processes.append(process)
        return process

    def token(self) -> str:
        """Make a token of organization acme."""
        return make_token(("--database", str(self.database)), self.environment)

    def stop(self) -> None:
        """End all processes that are left."""
        for process in reversed(self.processes):
            if process.process.poll() is None:
                process.stop()
            process.close()


class Alone:
    """One engine with a file of its own, and another one after it was killed."""

    process: Process

    def __init__(self, root: Path, path: Path) -> None:
        self._root = root
        self._environment = os.environ | {
            "PATH": search_path(path),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        data = root / "alone"
        data.mkdir()
        self._token = make_token(("--data", str(data)), self._environment)
        self._arguments = ("--data", str(data), "--listen", "127.0.0.1:0", "--workers", "3")

    def start(self) -> Api:
        """Start the engine, and return a caller of it."""
        self.process = Process(
            *("serve", *self._arguments, "--runner", "process", "--allow-write", str(self._root)),
            environment=self._environment,
            log=self._root / "processes.log",
        )
        return Api(self.process.said().removeprefix("listening on "), self._token)
