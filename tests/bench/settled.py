"""Many specs that have all been deployed, a model API and a daemon beside them, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import scan
from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.status_form import render
from reconciler.adapters.statusfile import ENDING, StatusFiles
from reconciler.model import Run, Spec, Status
from reconciler.planning.digest import digest, fields

__all__ = ["Api", "Place", "daemon", "model_api", "processor_s", "resident", "settle", "wait_for"]

A_FOLDER = 1_000
LIMIT_S = 600.0

SPEC = """\
# The {number}th of many: a source that is pinned, a few variables, labels.
stack: acme/web/prod-{number}
sourceContext:
  git:
    repoUrl: https://example.com/acme/infra.git
    commit: "{commit}"
    repoDir: services/web-{number}
operationContext:
  operation: update
  environmentVariables:
    AWS_REGION: us-west-2
    REPLICAS: 3
  options: {{skipInstallDependencies: true}}
labels: {{team: web}}
reconcile:
  retry: {{limit: 3, backoff: 30s, maxBackoff: 30m}}
"""


@dataclass(frozen=True)
class Place:
    """A directory of specs and a state directory."""

    specs: Path
    data: Path

    @classmethod
    def make(cls, root: Path) -> Place:
        """Make both below a folder."""
        place = cls(root / "specs", root / "data")
        place.specs.mkdir(parents=True)
        return place

    def spec(self, number: int) -> Path:
        """Return where a spec's file stands."""
        return self.specs / f"team-{number // A_FOLDER}" / f"web-{number}.yaml"

    def write(self, number: int, commit: str = "a" * 40, ago_s: float = 0.0) -> None:
        """Rename a spec's file into place, that was written so many seconds ago."""
        path = self.spec(number)
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_name(f".{path.name}.tmp")
        fresh.write_text(SPEC.format(number=number, commit=commit))
        if ago_s:
            written = time.time() - ago_s
            os.utime(fresh, (written, written))
        fresh.rename(path)

    def statuses(self) -> StatusFiles:
        """Return the status files."""
        return StatusFiles(self.specs, None, self.copies())

    def copies(self) -> Path:
        """Return the folder of the statuses' copies."""
        return StateDirectory(self.data).of_directory(self.specs).statuses


@dataclass(frozen=True)
class Api:
    """The model's address."""

    url: str

    def calls(self) -> list[tuple[int, str, str]]:
        """Return the calls so far: monotonic nanoseconds, method, target."""
        return [(at, method, target) for at, method, target in self._get("calls")]

    def creates(self) -> list[tuple[int, str]]:
        """Return when the creates came, and of what."""
        return [(at, target) for at, method, target in self.calls() if method == "POST"]

    def created(self) -> dict[str, list[str]]:
        """Return the markers of each stack's creates."""
        found: dict[str, list[str]] = self._get("created")
        return found

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{what}", timeout=30) as answer:  # noqa: S310
            return json.load(answer)


def wait_for(what: Callable[[], bool], limit_s: float = LIMIT_S, every_s: float = 0.05) -> None:
    """Wait until something holds; TimeoutError."""
    until = time.monotonic() + limit_s
    while not what():
        if time.monotonic() > until:
            raise TimeoutError("it took too long")
        time.sleep(every_s)


@contextmanager
def model_api(
    before: int = 0, answer_after_s: float = 0.0, duration_s: float = 2.0
) -> Iterator[Api]:
    """Start the model API for the length of a block; `before` stacks have been deployed."""
    command = [sys.executable, "-m", "tests.bench.model_api"]
    command += ["--answer-after", str(answer_after_s), "--duration", str(duration_s)]
    command += ["--before", str(before)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Api(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


@contextmanager
def daemon(place: Place, api: Api, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the reconciler for the length of a block; what it says goes to `said` in its data."""
    command = [sys.executable, "-m", "reconciler", "run", *more]
    command += ["--api-url", api.url, "--data", str(place.data), str(place.specs)]
    environment = {**os.environ, "PULUMI_ACCESS_TOKEN": "t"}
    place.data.mkdir(exist_ok=True)
    with (
        said(place).open("wb") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def said(place: Place) -> Path:
    """Return the file of what the daemon says."""
    return place.data.with_name("said")


def loaded(place: Place, count: int) -> Callable[[], bool]:
    """Say whether the daemon has told of every spec."""
    return lambda: said(place).read_bytes().count(b"\n") >= count


def processor_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields_of = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields_of[11]) + int(fields_of[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settle(place: Place, count: int) -> None:
    """Write specs, and the statuses that each has after a deployment: one is really made."""
    place.write(0, ago_s=3600)
    with model_api(duration_s=0.1) as api:
        command = [
            sys.executable,
            "-m",
            "reconciler",
            "run",
            "--once",
            "--timeout",
            "30s",
            "--api-url",
            api.url,
        ]
        command += ["--data", str(place.data), str(place.specs)]
        environment = {**os.environ, "PULUMI_ACCESS_TOKEN": "t"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
    files = place.statuses()
    model = files.read("team-0/web-0")
    for number in range(1, count):
        place.write(number, ago_s=3600)
    for spec in scan(place.specs, SecretRules()).specs:
        content = render(_like(model, spec))
        for folder in (place.specs, place.copies()):
            path = folder / (spec.name + ENDING)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _like(model: Status, spec: Spec) -> Status:
    assert model.attempt is not None
    canonical = fields(spec.request, lambda _: "")
    wanted = digest(canonical)

    def run(one: Run | None) -> Run | None:
        return replace(one, id=f"id-of-{spec.name}", digest=wanted, version=1) if one else None

    return replace(
        model,
        name=spec.name,
        stack=str(spec.stack),
        attempt=replace(model.attempt, digest=wanted, fields=canonical),
        last=run(model.last),
        latest=run(model.latest),
        last_version=1,
        applied=1,
        last_good_spec=model.last_good_spec.replace("prod-0", f"prod-{spec.stack.stack[5:]}"),
    )
