"""What a sandbox sees of the host's files: everything, but what is hidden; and what it may write.

To look at the host costs a hundred calls to the kernel, and a deployment has several commands. So
neither what is the same for all deployments nor what is put together for one of them is looked at
more often than every few seconds.
"""

from __future__ import annotations

import os
import pwd
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.engine.runners.base import Surroundings

__all__ = ["PRIVATE_TMP", "HostFiles", "View"]

# Where in the workspace the program's /tmp is: it goes with the workspace, and its size counts.
PRIVATE_TMP = "tmp"

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

# The one thing below /run that ordinary programs need, where it leads there: host names.
_RESOLVER = Path("/etc/resolv.conf")

# What is new among the places to hide is hidden from sandboxes that begin so much later; those
# that have begun before it was there see it in any case.
FRESH_S = 5.0

# Of so many different PATHs what they lead to is remembered.
MOST_PATHS = 64


class HostFiles:
    """Where the host has secrets and programs, as it was a moment ago. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at_s = -FRESH_S
        self._secret: frozenset[Path] = frozenset()
        self._programs: dict[str, tuple[Path, ...]] = {}

    def look(self, path: str) -> tuple[frozenset[Path], tuple[Path, ...], float]:
        """Return the secret places, where the programs on this PATH are, and until when it holds.

        That is in seconds of the monotonic clock.
        """
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_at_s >= FRESH_S or len(self._programs) >= MOST_PATHS:
                self._secret = frozenset(found.resolve() for found in _secret_places())
                self._programs.clear()
                self._looked_at_s = now_s
            programs = self._programs.get(path)
            if programs is None:
                programs = self._programs[path] = tuple(dict.fromkeys(_programs(path)))
            return self._secret, programs, self._looked_at_s + FRESH_S


class View:
    """The view of one place's commands. One thread's at a time."""

    def __init__(self, host: HostFiles, surroundings: Surroundings) -> None:
        self._host = host
        self._surroundings = surroundings
        self._options: tuple[str, ...] = ()
        self._for = ""  # this PATH
        self._until_s = 0.0

    def options(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return bubblewrap's options that hide and bind. What may be written is there by now."""
        path, now_s = environment.get("PATH", ""), time.monotonic()
        if path != self._for or now_s >= self._until_s:
            secret, programs, self._until_s = self._host.look(path)
            self._options = tuple(_view(self._surroundings, secret, programs))
            self._for = path
        return self._options


def _view(
    surroundings: Surroundings, secret: frozenset[Path], programs: tuple[Path, ...]
) -> Iterator[str]:
    """Yield the options that hide and bind: the outer directories before those within."""
    workspace = surroundings.workspace.resolve()
    seen = {workspace, *(path.resolve() for path in surroundings.writable)}
    readable = {p.resolve() for p in surroundings.readable if p.exists()} - seen
    asked = {_RUN.resolve(), *(path.resolve() for path in surroundings.hidden)} - seen - readable
    usual = secret - seen - readable - asked
    tmp = Path("/tmp")  # noqa: S108 - the sandbox's own
    binds: dict[Path, tuple[str, ...]] = {path: ("--bind", str(path)) for path in seen}
    binds |= {path: ("--ro-bind", str(path)) for path in readable}
    binds[tmp] = ("--bind", str(workspace / PRIVATE_TMP))
    binds[workspace / PRIVATE_TMP] = ("--bind", str(workspace / PRIVATE_TMP))
    covers = {tmp, *usual}
    for path in programs:
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


def _programs(path: str) -> Iterator[Path]:
    """Yield where programs are: what is installed below a hidden place is there all the same."""
    yield from (Path(sys.prefix), Path(sys.base_prefix))
    for entry in path.split(os.pathsep):
        folder = Path(entry)
        if not folder.is_absolute() or not folder.is_dir():
            continue
        # A virtual environment's Python needs what is beside its `bin`.
        environment = (folder.parent / "pyvenv.cfg").exists()
        whole = folder.parent if environment else folder
        yield from (whole, whole.resolve())
        if folder.name == "bin":
            # Others need their libraries; what else is there may be anybody's.
            for beside in (folder, folder.parent / "lib", folder.parent / "libexec"):
                if beside.is_dir():
                    # Of an environment all is there, links too: what they lead to has to be.
                    yield from (beside.resolve(),) if environment else (beside, beside.resolve())
