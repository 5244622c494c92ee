"""Runs a deployment's commands in a sandbox: own view of the files, own process ids.

Everything is there to be read but what is hidden, and nothing can be written but the workspace
and what is asked for. When the sandbox's first process ends, the kernel ends all others in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import stat
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
from reconciler.engine.runners.host import HostPlace, end_on_host
from reconciler.engine.runners.local_layer import LOCAL, local_layer
from reconciler.engine.runners.process import Sandbox, program_path, start_supervised
from reconciler.engine.runners.supervisor import ARGUMENTS

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

# What else of a host is no program's business: homes, other services' data, keys and passwords.
# Programs that are installed there and on PATH are seen; more is by `--allow-write`.
_SECRET_PLACES = (
    *("home", "root", "srv", "mnt", "media"),
    *("var/lib", "var/log", "var/spool", "var/mail", "var/backups", "var/cache"),
    *("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-", "etc/sudoers.d"),
    *("etc/ssl/private", "etc/ssh/ssh_host_*_key", "etc/kubernetes", "etc/reconciler"),
    *("etc/credstore", "etc/credstore.encrypted", "etc/docker", "etc/containers/auth.json"),
)

# bubblewrap takes 9,000 arguments, and a variable is three.
MOST_VARIABLES = 2500

# By its path: the sandbox would look for it in every directory of the program's PATH, and one
# of those may be the program's to write.
_ENV = shutil.which("env", path=os.defpath) or "/usr/bin/env"

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
        return end_on_host(deployment_id)

    def _start(self, command: Command, place: HostPlace, on_output: OnOutput) -> Process:
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
        argv = [self._bwrap, *_base(), *_view(surroundings, command)]
        if sandbox.layer is not None:
            argv += ["--bind", str(LOCAL), str(LOCAL)]
        argv += ["--args", str(ARGUMENTS), "--"]
        argv += [*_own_pwd(command), program, *command.argv[1:]]
        return start_supervised(command, argv, on_output, place.bounds, sandbox)


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


def _view(surroundings: Surroundings, command: Command) -> Iterator[str]:
    """Yield the options that hide and bind: the outer directories before those within."""
    workspace = surroundings.workspace.resolve()
    seen = {workspace, *(path.resolve() for path in surroundings.writable)}
    readable = {p.resolve() for p in surroundings.readable if p.exists()} - seen
    asked = {_RUN.resolve(), *(path.resolve() for path in surroundings.hidden)} - seen - readable
    usual = {path.resolve() for path in _secret_places()} - seen - readable - asked
    tmp = Path("/tmp")  # noqa: S108 - the sandbox's own
    binds: dict[Path, tuple[str, ...]] = {path: ("--bind", str(path)) for path in seen}
    binds |= {path: ("--ro-bind", str(path)) for path in readable}
    binds[tmp] = ("--bind", str(workspace / PRIVATE_TMP))
    binds[workspace / PRIVATE_TMP] = ("--bind", str(workspace / PRIVATE_TMP))
    covers = {tmp, *usual}
    for path in dict.fromkeys(_programs(command)):
        if path in covers or covers.isdisjoint(path.parents):
            continue
        if not any(path == hidden or path in hidden.parents for hidden in asked):
            binds.setdefault(path, ("--ro-bind", str(path)))
    emptied = []
    for path in sorted(asked | usual):
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


def _secret_places() -> Iterator[Path]:
    """Yield where a host keeps what is no program's business: homes, data, keys."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    if home.is_absolute() and len(home.parts) > 1:
        yield home
    for pattern in _SECRET_PLACES:
        yield from Path("/").glob(pattern)


def _programs(command: Command) -> Iterator[Path]:
    """Yield where programs are: what is installed below a hidden place is there all the same."""
    yield from (Path(sys.prefix), Path(sys.base_prefix))
    for entry in command.environment.get("PATH", "").split(os.pathsep):
        folder = Path(entry)
        if not folder.is_absolute() or not folder.is_dir():
            continue
        # A virtual environment's Python needs what is beside its `bin`.
        environment = (folder.parent / "pyvenv.cfg").exists()
        whole = folder.parent if environment else folder
        yield from (whole, whole.resolve())
        if folder.name == "bin":
            # Others need their libraries; what else is there may be anybody's.
            for path in (folder, folder.parent / "lib", folder.parent / "libexec"):
                if path.is_dir():
                    # Of an environment all is there, links too: what they lead to has to be.
                    yield from (path.resolve(),) if environment else (path, path.resolve())


def _own_pwd(command: Command) -> tuple[str, ...]:
    """Return what undoes bubblewrap's own PWD: the program gets what it was given."""
    pwd = command.environment.get("PWD")
    return (_ENV, "-u", "PWD") if pwd is None else (_ENV, f"PWD={pwd}")
