"""Runs a deployment's commands in a sandbox: own view of the files, own process ids.

Everything is there to be read but what is hidden, and nothing can be written but the workspace
and what is asked for. When the sandbox's first process ends, the kernel ends all others in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess  # noqa: TID251 - a runner starts programs
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reconciler.engine.runners.base import (
    Command,
    Needs,
    OnOutput,
    Place,
    Process,
)
from reconciler.engine.runners.enclosure import Enclosure
from reconciler.engine.runners.host import HostPlace, end_on_host
from reconciler.engine.runners.local_layer import LOCAL, local_layer
from reconciler.engine.runners.process import Sandbox, program_path, start_supervised
from reconciler.engine.runners.supervisor import ARGUMENTS
from reconciler.engine.runners.view import PRIVATE_TMP, HostFiles, View

__all__ = ["BubblewrapRunner"]

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

# bubblewrap takes 9,000 arguments, and a variable is three.
MOST_VARIABLES = 2500

# By its path: the sandbox would look for it in every directory of the program's PATH, and one
# of those may be the program's to write.
_ENV = shutil.which("env", path=os.defpath) or "/usr/bin/env"


class BubblewrapRunner:
    """Starts commands in bubblewrap (`bwrap`)."""

    def __init__(self) -> None:
        self.name = "bubblewrap"
        self._bwrap = shutil.which("bwrap") or "bwrap"
        self._host = HostFiles()

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
        return HostPlace(needs, partial(self._start, View(self._host, needs.surroundings)))

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, and return how many there were."""
        return end_on_host(deployment_id)

    def _start(
        self,
        view: View,
        command: Command,
        place: HostPlace,
        enclosure: Enclosure,
        on_output: OnOutput,
    ) -> Process:
        """Start the command; OSError where it cannot be started.

        A writable directory that is not there is made, as one cannot be bound otherwise.
        """
        surroundings = place.needs.surroundings
        program = program_path(command)
        for path in surroundings.writable:
            if not path.exists():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_tmp(surroundings.workspace)
        arguments = ("--chdir", str(command.cwd), *_variables(command))
        sandbox = Sandbox(arguments=arguments, layer=local_layer(place.folder))
        argv = [self._bwrap, *_base(), *view.options(command.environment)]
        if sandbox.layer is not None:
            argv += ["--bind", str(LOCAL), str(LOCAL)]
        argv += ["--args", str(ARGUMENTS), "--"]
        argv += [*_own_pwd(command), program, *command.argv[1:]]
        return start_supervised(command, argv, on_output, enclosure, sandbox)


def _make_tmp(workspace: Path) -> None:
    """Make what the sandbox has as /tmp. It is a mount there: no program can put a link here."""
    tmp = workspace / PRIVATE_TMP
    with contextlib.suppress(FileExistsError):
        tmp.mkdir(mode=0o700)
    if not stat.S_ISDIR(tmp.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "is not a directory any more", str(tmp))


def _variables(command: Command) -> Iterator[str]:
    """Yield the options that set the program's variables, out of sight and of the sandbox's own."""
    if len(command.environment) > MOST_VARIABLES:
        raise OSError(errno.E2BIG, f"has more than {MOST_VARIABLES} environment variables")
    for name, value in command.environment.items():
        yield from ("--setenv", name, value)


def _base() -> Iterator[str]:
    """Yield the options that every sandbox has."""
    yield from _ISOLATION
    if os.geteuid() == 0:
        yield from ("--cap-drop", "ALL")
        for capability in _ROOT_KEEPS:
            yield from ("--cap-add", capability)
    yield from ("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")


def _own_pwd(command: Command) -> tuple[str, ...]:
    """Return what undoes bubblewrap's own PWD: the program gets what it was given."""
    pwd = command.environment.get("PWD")
    return (_ENV, "-u", "PWD") if pwd is None else (_ENV, f"PWD={pwd}")
