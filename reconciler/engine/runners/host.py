"""A place on the host itself: it is there from the start, and sees the engine's own files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from reconciler.engine.runners.base import Command, Inside, Needs, OnOutput, Process
from reconciler.engine.runners.cgroups import find_groups, remove
from reconciler.engine.runners.disk import Watched
from reconciler.engine.runners.enclosure import Enclosure, enclosures
from reconciler.engine.runners.preparing import Ready
from reconciler.engine.runners.strays import end_strays

__all__ = ["HostPlace", "end_on_host"]


class HostPlace:
    """Starts each command by itself: nothing but the files lives from one to the next.

    `folder`, beside the workspace, is the place's own: no program can reach it by its name.
    """

    def __init__(self, needs: Needs, start: Start) -> None:
        self.needs = needs
        self.folder = needs.surroundings.workspace.with_name(
            f".{needs.surroundings.workspace.name}.place"
        )
        self._start = start
        self._enclosure: Enclosure | None = None

    @property
    def inside(self) -> Inside | None:
        """None: the programs are the host's."""
        return None

    def prepare(self, on_output: OnOutput) -> Process:
        """Say what bounds the deployment."""
        on_output(f"Limits: {self._enclosed().described}\n".encode())
        return Ready()

    def start(self, command: Command, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        process = self._start(command, self, self._enclosed(), on_output)
        most = self.needs.limits.disk_bytes
        if not most:
            return process
        paths = (self.needs.surroundings.workspace, self.folder)
        return Watched(process, paths, most, on_output)

    def send(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def fetch(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def close(self) -> None:
        """Remove what is the place's own; each command's end has left no process behind."""
        if self._enclosure is not None:
            self._enclosure = None
            enclosures.leave(self.needs)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _enclosed(self) -> Enclosure:
        if self._enclosure is None:
            self._enclosure = enclosures.enter(self.needs)
        return self._enclosure


# Starts a command in a place.
Start = Callable[[Command, HostPlace, Enclosure, OnOutput], Process]


def end_on_host(deployment_id: str) -> int:
    """End what a lost engine has left of a deployment on this host; return how many."""
    ended = end_strays(deployment_id)
    groups = find_groups()
    return ended + (remove(groups, deployment_id) if groups is not None else 0)
