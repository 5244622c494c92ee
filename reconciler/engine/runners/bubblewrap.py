"""Runs a deployment's commands in a sandbox: own view of the files, own process ids.

Everything is there to be read but what is hidden, and nothing can be written but the workspace
and what is asked for. When the sandbox's first process ends, the kernel ends all others in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess  # noqa: TID251 - a runner starts programs
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler.engine.runners.base import (
    Command,
    Needs,
    OnOutput,
    Place,
    Process,
    Surroundings,
)
from reconciler.engine.runners.host import HostPlace
from reconciler.engine.runners.process import program_path, start_supervised
from reconciler.engine.runners.strays import end_strays

__all__ = ["PRIVATE_TMP", "BubblewrapRunner"]

# Where in the workspace the program's /tmp is: it goes with the workspace, and its size counts.
PRIVATE_TMP = "tmp"

# An empty sandbox takes 10 ms.
TRY_LIMIT_S = 30.0

# `--die-with-parent` goes by the thread that forked; the supervisor has one only.
_ISOLATION = (
    "--unshare-pid",
    "--unshare-ipc",
    "--die-with-parent",
    "--new-session",
)

# What a program run by root keeps: enough to unpack archives and change owners as root does.
# Not what could undo the sandbox: mounting, opening files by handle (which reaches those that
# are hidden), tracing, raw devices.
_ROOT_KEEPS = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_SETGID",
    "CAP_SETUID",
)

# Sockets in here give a program the host (docker.sock) or its other services, and a read-only
# mount does not keep anyone from connecting to them. Secrets of services are here as well.
_RUN = Path("/run")

# The one thing below /run that ordinary programs need, where it leads there: host names.
_RESOLVER = Path("/etc/resolv.conf")


class BubblewrapRunner:
    """Starts commands in bubblewrap (`bwrap`)."""

    def __init__(self) -> None:
        self.name = "bubblewrap"
        self._bwrap = shutil.which("bwrap") or "bwrap"

    def works(self) -> bool:
        """Whether a sandbox can be made here: bubblewrap is there and the kernel lets it."""
        try:
            ended = subprocess.run(
                [self._bwrap, *_base(), "--", shutil.which("true") or "true"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TRY_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return ended.returncode == 0

    def open(self, needs: Needs) -> Place:
        """Return a place."""
        return HostPlace(needs, self._start)

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, and return how many there were."""
        return end_strays(deployment_id)

    def _start(self, command: Command, needs: Needs, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started.

        A writable directory that is not there is made, as one cannot be bound otherwise.
        """
        surroundings = needs.surroundings
        program = program_path(command)
        for path in surroundings.writable:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (surroundings.workspace / PRIVATE_TMP).mkdir(mode=0o700, exist_ok=True)
        argv = [self._bwrap, *_base(), *_view(surroundings, command)]
        argv += ["--chdir", str(command.cwd), "--", *_own_pwd(command), program]
        return start_supervised(command, [*argv, *command.argv[1:]], on_output, inner=True)


def _base() -> Iterator[str]:
    """Yield the options that every sandbox has."""
    yield from _ISOLATION
    if os.geteuid() == 0:
        yield from ("--cap-drop", "ALL")
        for capability in _ROOT_KEEPS:
            yield from ("--cap-add", capability)
    yield from ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")


def _view(surroundings: Surroundings, command: Command) -> Iterator[str]:
    """Yield the options that hide and bind: the outer directories before those within."""
    workspace = surroundings.workspace.resolve()
    seen = {workspace, *(path.resolve() for path in surroundings.writable)}
    readable = {p.resolve() for p in surroundings.readable if p.exists()} - seen
    hidden = {_RUN.resolve(), *(path.resolve() for path in surroundings.hidden)} - seen - readable
    tmp = Path("/tmp")  # noqa: S108 - the sandbox's own
    binds: dict[Path, tuple[str, ...]] = {path: ("--bind", str(path)) for path in seen}
    binds |= {path: ("--ro-bind", str(path)) for path in readable}
    binds[tmp] = ("--bind", str(workspace / PRIVATE_TMP))
    for path in _programs(command):
        if path.is_relative_to(tmp) and not any(h.is_relative_to(path) for h in hidden):
            binds.setdefault(path, ("--ro-bind", str(path)))
    emptied = []
    for path in sorted(hidden):
        if path.is_relative_to(tmp) or not path.exists():
            continue  # there is no such thing in the sandbox's /tmp
        if path.is_dir():
            emptied.append(path)
        else:
            binds[path] = ("--ro-bind", os.devnull)
    resolver = _RESOLVER.resolve()
    if resolver.is_relative_to(_RUN) and resolver.is_file():
        binds[resolver] = ("--ro-bind", str(resolver))
    binds |= dict.fromkeys(emptied, ("--tmpfs",))
    for path, options in sorted(binds.items(), key=lambda item: len(item[0].parts)):
        yield from (*options, str(path))
    for path in emptied:
        yield from ("--remount-ro", str(path))


def _programs(command: Command) -> Iterator[Path]:
    """Yield where programs are: one that is installed below /tmp is to be there all the same."""
    yield Path(sys.prefix)
    for entry in command.environment.get("PATH", "").split(os.pathsep):
        folder = Path(entry)
        if not folder.is_absolute() or not folder.is_dir():
            continue
        # A virtual environment's Python needs what is beside its `bin`.
        whole = folder.parent if (folder.parent / "pyvenv.cfg").exists() else folder
        yield from (whole, whole.resolve())


def _own_pwd(command: Command) -> tuple[str, ...]:
    """Return what undoes bubblewrap's own PWD: the program gets what it was given."""
    pwd = command.environment.get("PWD")
    return ("env", "-u", "PWD") if pwd is None else ("env", f"PWD={pwd}")
