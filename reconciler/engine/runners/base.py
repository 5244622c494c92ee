"""What every runner offers: start a program in a deployment's own surroundings, and end it.

A runner starts one command at a time of a deployment. Its process tree is one unit: when
the command has ended, or was killed, nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Command", "OnOutput", "Process", "Runner", "Surroundings"]

# Is given bytes of standard output and standard error as they come, from one thread.
OnOutput = Callable[[bytes], None]


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
    what of `workspace` and `writable` lies below a hidden one is seen all the same.
    """

    workspace: Path
    writable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


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


class Runner(Protocol):
    """Starts commands."""

    name: str

    def start(self, command: Command, surroundings: Surroundings, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        ...
