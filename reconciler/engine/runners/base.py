"""What every runner offers: a place for a deployment, in which its commands run, and its end.

A deployment has one place, from its first step to its last: what a command changes in it, the
next one finds. One command runs there at a time, and its process tree is one unit: when the
command has ended, or was killed, nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reconciler.engine.config import Limits

__all__ = [
    "Command",
    "Image",
    "Inside",
    "Needs",
    "OnOutput",
    "Place",
    "PlaceError",
    "Process",
    "Runner",
    "Surroundings",
]

# Is given bytes of standard output and standard error as they come, from one thread.
OnOutput = Callable[[bytes], None]


class PlaceError(Exception):
    """A place cannot be had, or is of no use; the message is for the deployment's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start: its arguments (never a secret among them) and whole environment."""

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a deployment's programs may see of the host.

    `workspace` is the deployment's own directory and writable, as are those in `writable`.
    Those in `hidden` (the engine's data) are not to be seen, where the runner can hide them;
    what of `workspace`, `writable` and `readable` lies below a hidden one is seen all the same.
    All have the same paths in the place as on the host. What
    of `writable` is also in `caches` may be lost: a place that does not share the host's files
    has it empty.
    """

    workspace: Path
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    caches: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image a place is made from, and how to get it; an empty reference: none was asked."""

    reference: str = ""
    user_name: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a deployment needs of its place. `deployment_id` is how strays are found again."""

    deployment_id: str
    surroundings: Surroundings
    image: Image = Image()
    limits: Limits = Limits()  # noqa: RUF009 - the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The programs of a place that has its own: paths, `path` is its PATH.

    `described` says what they come from, as a log tells it ("of the image …"). `environment`
    is what the place's image sets besides.
    """

    pulumi: str
    version: str
    shell: str
    path: str
    described: str
    environment: Mapping[str, str] = field(default_factory=dict)


class Process(Protocol):
    """A started command and all it has started."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit.

        Once it has returned a code, all output has been given and no process is left.
        """
        ...

    def interrupt(self) -> None:
        """Send SIGINT to the program itself, so that it can end in its own way."""
        ...

    def kill(self) -> None:
        """End the whole tree at once. May be called at any time, more than once."""
        ...


class Place(Protocol):
    """Where the commands of one deployment run, one at a time."""

    @property
    def inside(self) -> Inside | None:
        """The place's own programs, known once it is ready; None where it has the host's."""
        ...

    def prepare(self, on_output: OnOutput) -> Process:
        """Make the place ready: get the image, start what there is to start.

        It is a process, so that it can be stopped like any other: code 0 when the place is
        ready, and otherwise the output says why it is not. Comes before everything else.
        """
        ...

    def start(self, command: Command, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        ...

    def send(self, path: Path) -> None:
        """Make what the engine has put at `path`, in the workspace, the place's as well.

        Nothing is to be done where both see the same files. PlaceError where it fails.
        """
        ...

    def fetch(self, path: Path) -> None:
        """Make what a command has put at `path`, in the workspace, the engine's as well."""
        ...

    def close(self) -> None:
        """End whatever is left and give the place up. May be called more than once.

        It logs what goes wrong, and raises nothing: `Runner.end_strays` is there for the rest.
        """
        ...


class Runner(Protocol):
    """Gives places to deployments."""

    name: str

    def open(self, needs: Needs) -> Place:
        """Return a place, which is to be made ready, and closed in any case. Does no work."""
        ...

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, and return how many there were.

        ReconcilerError where something does not go.
        """
        ...
