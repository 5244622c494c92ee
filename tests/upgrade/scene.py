"""A state directory as a release leaves it, and the loop of this one over it.

Files, state and the loop are the real ones. The clock and the API are made up, as what is kept
here is of one day, and has to be found on that day whenever the tests run.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from reconciler.adapters.state_directory import DirectoryState, StateDirectory
from reconciler.api.client import ApiClient
from reconciler.api.types import Operation, Secret, StackRef
from reconciler.cli import parser, wiring
from reconciler.clock import Clock
from reconciler.daemon import Daemon
from reconciler.model import Status
from reconciler.values import replace
from tests.fakes.deployments_api import TOKEN, FakeApi, Outcome, Record
from tests.fakes.world import DirectSession, SimClock

__all__ = ["SECRET", "Scene", "copied"]

# In the environment of the daemon that wrote the state, and of the one that reads it.
SECRET = ("RECONCILER_SECRET_UPGRADE", "a password of that day")
# How often the loop turns, in the time of its clock.
STEP = timedelta(seconds=5)


class RecordingApi(FakeApi):
    """The model of the API; what is asked of it can be kept, and asked again of another one."""

    def __init__(self, clock: SimClock) -> None:
        super().__init__(now=clock.now, outcome=_outcome)
        self.asked: list[dict[str, Any]] = []
        self._one = threading.Lock()  # the loop asks by many threads

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> Any:
        with self._one:
            if request.method == "POST":
                body = json.loads(request.body or b"null")
                at = self.now().isoformat()
                lasts_s = self.duration.total_seconds()
                self.asked.append({"at": at, "url": request.url, "body": body, "lasts": lasts_s})
            return super().send(request)


def _outcome(record: Record) -> Outcome:
    return Outcome.FAIL if record.shown.id.startswith("acme-app-failing-") else Outcome.SUCCEED


@dataclass
class Scene:
    """Specs in `root/specs`, the state in `root/state`; the current directory is `root`."""

    root: Path
    clock: SimClock
    api: RecordingApi = field(init=False)

    def __post_init__(self) -> None:
        self.api = RecordingApi(self.clock)
        session = DirectSession(self.api)
        self._client = ApiClient("http://localhost", lambda: Secret(TOKEN), session=session)

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def state(self) -> DirectoryState:
        return StateDirectory(self.root / "state").of_directory(self.specs)

    def place(self) -> wiring.Place:
        options = parser.build().parse_args(["run", "specs", "--data", str(self.root / "state")])
        clock: Clock = self.clock
        return replace(wiring.place(options), clock=clock)

    def play(self, lasts: timedelta) -> None:
        """Start a daemon, let it turn for so long, and stop it."""
        options = parser.build().parse_args(["run", "specs", "--data", str(self.root / "state")])
        where = self.place()
        end = self.clock.now() + lasts
        with where.root.lock(where.home, self.clock):
            daemon: Daemon = wiring.build(
                options, where, lambda: self._client, wiring.say_nothing, look_only=False
            )
            while self.clock.time < end:
                daemon.tick()
                self.clock.time += STEP
        where.repositories.close()

    def status(self, name: str) -> Status:
        return self.place().statuses.read(name)

    def write(self, name: str, text: str) -> None:
        path = self.specs / f"{name}.yaml"
        path.write_text(text)
        aged(path)

    def creates(self) -> list[tuple[str, str]]:
        """Return the stack and operation of each deployment that was made, in their order."""
        found = sorted(
            (r.number, stack, r.shown.operation)
            for stack, records in self.api.records.items()
            for r in records
        )
        return [(stack.stack, str(operation or "")) for _, stack, operation in found]

    def operation(self, name: str, version: int) -> Operation | None:
        return self.api.records[StackRef("acme", "app", name)][version - 1].shown.operation


def aged(path: Path) -> None:
    """Have a file be of long ago: one of just now may not be whole yet."""
    os.utime(path, (0, 0))


def copied(golden: Path, root: Path) -> Scene:
    """Return a scene with a copy of what a release has left, and the API as it was then."""
    for folder in ("specs", "state"):
        shutil.copytree(golden / folder, root / folder)
    kept = json.loads((golden / "api.json").read_bytes())
    scene = Scene(root, SimClock(time=datetime.fromisoformat(kept["taken"])))
    # The folder's name tells a directory by where it is.
    scene.state.folder.parent.joinpath("specs").rename(scene.state.folder)
    for path in (*scene.specs.rglob("*"), *(root / "state").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)  # git keeps no such modes
    for path in scene.specs.glob("*.yaml"):
        aged(path)
    _ask_again(scene, kept)
    return scene


def _ask_again(scene: Scene, kept: Any) -> None:
    session = DirectSession(scene.api)
    session.auth = _signed
    for asked in kept["asked"]:
        scene.clock.time = datetime.fromisoformat(asked["at"])
        scene.api.duration = timedelta(seconds=asked["lasts"])
        answer = session.request("POST", asked["url"], json=asked["body"])
        assert answer.status_code == 202, answer.text
    scene.clock.time = datetime.fromisoformat(kept["taken"])
    scene.api.settle()


def _signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"token {TOKEN}"
    return request
