"""Bounds what all programs of one deployment use together, by a control group of its own.

Where the engine may make one: as root, or where systemd has delegated its group (`Delegate=yes`).
Everywhere else there are only the kernel's limits of single processes, which are weak: each of
many may use as much, and root has no limit of processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import resource
import signal
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from reconciler.engine.config import Limits

__all__ = ["Bounds", "Groups", "find_groups", "within_reach"]

_log = logging.getLogger(__name__)

_PREFIX = "reconciler-"

# A killed process leaves its group in milliseconds.
GONE_ROUNDS = 200
LOOK_AGAIN_S, LOOK_AGAIN_AT_MOST_S = 0.001, 0.01

_MIB = 1024**2

_CONTROLLERS = frozenset({"memory", "pids"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Where groups can be made: a directory a controller, the same one for both in version 2."""

    version: int
    memory: Path
    pids: Path

    def of(self, deployment_id: str) -> tuple[Path, ...]:
        """Return the directories of a deployment's group."""
        name = _PREFIX + re.sub(r"[^A-Za-z0-9_.-]", "_", deployment_id)[:100]
        return tuple(dict.fromkeys((self.memory / name, self.pids / name)))


@cache
def find_groups() -> Groups | None:
    """Return where this process may make groups; None where it may not. Tried, not guessed."""
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found = find_in(own, mounts)
    except (OSError, ValueError):
        return None
    if found is None:
        return None
    try:
        if found.version == 2:  # noqa: PLR2004 - the kernel's own number
            _open_for_groups(found.memory)
        for path in found.of(f"trial-{os.getpid()}"):
            path.mkdir()
            path.rmdir()
    except OSError as error:
        _log.info("no control groups can be made here: %s", error)
        return None
    return found


def within_reach() -> int:
    """Return the version of the groups that this process could make, 0 for none; makes none."""
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found = find_in(own, mounts)
        if found is None:
            return 0
        needed = [found.memory, found.pids]
        if found.version == 2:  # noqa: PLR2004 - the kernel's own number
            if not set((found.memory / "cgroup.controllers").read_text().split()) >= _CONTROLLERS:
                return 0
            needed += [found.memory / name for name in ("cgroup.procs", "cgroup.subtree_control")]
    except (OSError, ValueError):
        return 0
    return found.version if all(os.access(path, os.W_OK) for path in needed) else 0


def find_in(own: list[str], mounts: list[str]) -> Groups | None:
    """Read where a process's groups are from /proc/self/cgroup and /proc/self/mountinfo."""
    paths = {}
    for line in own:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    version_1: dict[str, Path] = {}
    version_2: Path | None = None
    for line in mounts:
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split()[:3]
        if kind == "cgroup2":
            version_2 = _below(point, root, paths.get("", "/"))
        elif kind == "cgroup":
            for controller in {"memory", "pids"} & set(options.split(",")) & paths.keys():
                version_1[controller] = _below(point, root, paths[controller])
    if version_1.keys() == {"memory", "pids"}:
        return Groups(version=1, memory=version_1["memory"], pids=version_1["pids"])
    if version_2 is None:
        return None
    return Groups(version=2, memory=version_2, pids=version_2)


def _below(point: str, root: str, path: str) -> Path:
    inside = path.removeprefix(root) if root != "/" else path
    return Path(point) / inside.lstrip("/")


def _open_for_groups(group: Path) -> None:
    """Have a group of version 2 give its controllers on; it may then hold no process itself."""
    if not set((group / "cgroup.controllers").read_text().split()) >= _CONTROLLERS:
        raise OSError(0, "the memory and pids controllers are not given to this group")
    if set((group / "cgroup.subtree_control").read_text().split()) >= _CONTROLLERS:
        return
    own = group / "engine"
    own.mkdir(exist_ok=True)
    for pid in (group / "cgroup.procs").read_text().split():
        (own / "cgroup.procs").write_text(pid)
    (group / "cgroup.subtree_control").write_text("+memory +pids")


@dataclass(slots=True)
class Bounds:
    """The bounds of one deployment's programs on this host."""

    deployment_id: str
    limits: Limits
    groups: Groups | None = field(default_factory=find_groups)

    def open(self) -> str:
        """Make the group, and return in words what bounds the deployment, and how."""
        if self.groups is not None:
            try:
                self._make(self.groups)
            except OSError as error:
                _log.warning("deployment %s has no control group: %s", self.deployment_id, error)
                self.groups = None
        how = "limits of each process alone: weak"
        if self.groups is not None:
            how = f"a control group, version {self.groups.version}"
        return f"{_words(self.limits)} (by {how}; disk: looked at)"

    def enclose(self, pid: int) -> None:
        """Bound a process that has not begun, and all that will come of it."""
        if self.groups is not None:
            for path in self.groups.of(self.deployment_id):
                (path / "cgroup.procs").write_text(str(pid))
        with contextlib.suppress(ProcessLookupError):
            self._limit(pid)

    def close(self) -> None:
        """End what is in the group and remove it."""
        if self.groups is not None:
            remove(self.groups, self.deployment_id)

    def _make(self, groups: Groups) -> None:
        for path in groups.of(self.deployment_id):
            path.mkdir(exist_ok=True)
        memory, pids = groups.of(self.deployment_id)[0], groups.of(self.deployment_id)[-1]
        if self.limits.processes:
            (pids / "pids.max").write_text(str(self.limits.processes))
        if not self.limits.memory_bytes:
            return
        size = str(self.limits.memory_bytes)
        if groups.version == 1:
            (memory / "memory.limit_in_bytes").write_text(size)
            with contextlib.suppress(OSError):  # where the kernel does not count swap
                (memory / "memory.memsw.limit_in_bytes").write_text(size)
        else:
            (memory / "memory.max").write_text(size)
            with contextlib.suppress(OSError):  # the same
                (memory / "memory.swap.max").write_text("0")

    def _limit(self, pid: int) -> None:
        """Set the limits of each single process."""
        _at_most(pid, resource.RLIMIT_CORE, 0)
        if self.limits.disk_bytes:
            _at_most(pid, resource.RLIMIT_FSIZE, self.limits.disk_bytes)
        if self.groups is None and self.limits.memory_bytes:
            # Of what is written to, not of what is reserved: some languages reserve terabytes.
            _at_most(pid, resource.RLIMIT_DATA, self.limits.memory_bytes)
        if self.groups is None and self.limits.processes and os.geteuid() != 0:
            # The kernel counts all processes of the user.
            _at_most(pid, resource.RLIMIT_NPROC, self.limits.processes + _processes_of_user())


def remove(groups: Groups, deployment_id: str) -> int:
    """End what is in a deployment's group and remove it; return how many processes there were."""
    killed: set[str] = set()
    pause = threading.Event()
    for path in groups.of(deployment_id):
        wait_s = LOOK_AGAIN_S
        for _ in range(GONE_ROUNDS):
            try:
                left = (path / "cgroup.procs").read_text().split()
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                killed.update(left)
                if not left:
                    path.rmdir()
                    break
            except FileNotFoundError:
                break
            except OSError as error:
                _log.debug("%s: %s", path, error)
            pause.wait(wait_s)
            wait_s = min(2 * wait_s, LOOK_AGAIN_AT_MOST_S)
        else:
            _log.warning("the control group %s stays", path)
    return len(killed)


def _words(limits: Limits) -> str:
    processes = f"at most {limits.processes}" if limits.processes else "no limit"
    memory = f"at most {limits.memory_bytes // _MIB} MiB" if limits.memory_bytes else "no limit"
    disk = f"at most {limits.disk_bytes // _MIB} MiB" if limits.disk_bytes else "no limit"
    return f"processes {processes}, memory {memory}, disk {disk}"


def _at_most(pid: int, which: int, value: int) -> None:
    hard = resource.prlimit(pid, which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(hard, value)
    resource.prlimit(pid, which, (value, value))


def _processes_of_user() -> int:
    user, count = os.geteuid(), 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            count += entry.name.isdigit() and entry.stat().st_uid == user
    return count
