"""What the tests of the runners share: places to run commands in, and what they leave."""

import os
from pathlib import Path

from reconciler.engine.config import Limits
from reconciler.engine.runners.base import (
    Command,
    Needs,
    OnOutput,
    Place,
    Process,
    Runner,
    Surroundings,
)
from reconciler.engine.runners.nursery import nursery
from reconciler.engine.runners.supervisor import processes

__all__ = ["LIMIT_S", "World", "left", "nothing", "supervisors"]

# Far more than anything here takes, also on a machine that does much else.
LIMIT_S = 60.0


def left(token: str) -> list[str]:
    """Return the command lines of the live processes that hold `token`."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            try:
                line = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if token.encode() in line:
                found.append(f"{directory.name}: {line.decode(errors='replace')}")
    return found


def supervisors() -> set[int]:
    """Return what the nursery has made and is still there, whoever asked for it."""
    return {p.pid for p in processes() if p.parent == nursery.pid and nursery.pid}


def nothing(_: bytes) -> None:
    """Take output and do nothing with it."""


class World:
    """A runner with a workspace, and what a command printed."""

    def __init__(self, runner: Runner, root: Path) -> None:
        self.runner = runner
        self.root = root
        self.workspace = root / "workspace"
        self.workspace.mkdir()
        self.directory = Path()
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.writable: tuple[Path, ...] = ()
        self.hidden: tuple[Path, ...] = ()
        self.deployment_id = root.name
        self.limits = Limits()
        self._places: list[tuple[Needs, Place]] = []
        self._pieces: list[bytes] = []

    @property
    def output(self) -> bytes:
        """What the last command has printed so far."""
        return b"".join(self._pieces)

    def place(self) -> Place:
        """Return the place for what is set here, ready; the same one while that is the same."""
        surroundings = Surroundings(
            workspace=self.workspace, writable=self.writable, hidden=self.hidden
        )
        needs = Needs(
            deployment_id=self.deployment_id, surroundings=surroundings, limits=self.limits
        )
        if not self._places or self._places[-1][0] != needs:
            place = self.runner.open(needs)
            self._places.append((needs, place))
            self._pieces = []
            assert place.prepare(self._pieces.append).wait(LIMIT_S) == 0, self.output.decode()
        return self._places[-1][1]

    def close(self) -> None:
        """Give up all places."""
        for _, place in self._places:
            place.close()

    def start(self, *argv: str, on_output: OnOutput | None = None) -> Process:
        """Start a command in the workspace; its output is kept, or given to `on_output`."""
        place = self.place()
        self._pieces = []
        command = Command(
            argv=argv, cwd=self.workspace / self.directory, environment=self.environment
        )
        return place.start(command, on_output or self._pieces.append)

    def run(self, *argv: str) -> int:
        """Run a command to its end."""
        code = self.start(*argv).wait(LIMIT_S)
        assert code is not None, f"{argv} did not end"
        return code

    def sh(self, script: str) -> int:
        """Run a shell script to its end."""
        return self.run("sh", "-c", script)
