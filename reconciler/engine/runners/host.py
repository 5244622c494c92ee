"""A place on the host itself: it is there from the start, and sees the engine's own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconciler.engine.runners.base import Command, Inside, Needs, OnOutput, Process
from reconciler.engine.runners.preparing import Ready

__all__ = ["HostPlace"]

# Starts a command in the place of a deployment that needs these.
Start = Callable[[Command, Needs, OnOutput], Process]


class HostPlace:
    """Starts each command by itself: nothing but the workspace lives from one to the next."""

    def __init__(self, needs: Needs, start: Start) -> None:
        self._needs = needs
        self._start = start

    @property
    def inside(self) -> Inside | None:
        """None: the programs are the host's."""
        return None

    def prepare(self, on_output: OnOutput) -> Process:
        """Do nothing: it is ready."""
        del on_output
        return Ready()

    def start(self, command: Command, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        return self._start(command, self._needs, on_output)

    def send(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def fetch(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def close(self) -> None:
        """Do nothing: each command's end has left nothing behind."""
