"""With which options a container can be made on this host: found by trying, once.

Where an engine runs below another container or as an ordinary user, the kernel or the runtime
does not take every limit. What cannot be had is left out, and said: in the engine's log, and in
that of each deployment.
"""

from __future__ import annotations

import logging
import resource
import shutil
import threading
from dataclasses import dataclass

from reconciler.engine.config import Limits

__all__ = ["Way", "Ways"]

_log = logging.getLogger(__name__)

# What a container gets of each kind where it cannot have its engine's default: more than any
# program here needs, and less than any host has. Processes are bounded by the cgroup.
_LIMITS = (
    ("nofile", resource.RLIMIT_NOFILE, 4096),
    ("nproc", resource.RLIMIT_NPROC, 4096),
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to start containers.

    `files` 1: with limits of its own for files and processes; `runtime` 1: with runc by name;
    `bounds`: how many of the limits (swap, memory, processes) are left out.
    """

    files: int = 0
    runtime: int = 0
    bounds: int = 0

    def arguments(self, limits: Limits) -> list[str]:
        """Return the options."""
        found = []
        if self.files == 1:
            # By default a container asks for more than an engine without the right to raise
            # its own limits may give.
            for name, which, most in _LIMITS:
                hard = resource.getrlimit(which)[1]
                limit = most if hard == resource.RLIM_INFINITY else min(hard, most)
                found += ["--ulimit", f"{name}={limit}:{limit}"]
        if self.runtime == 1:
            found += ["--runtime", "runc"]
        if limits.processes and self.bounds < 3:  # noqa: PLR2004 - see `_FEWEST`
            found += ["--pids-limit", str(limits.processes)]
        if limits.memory_bytes and self.bounds < 2:  # noqa: PLR2004 - the same
            found += ["--memory", f"{limits.memory_bytes}b"]
            if self.bounds == 0:
                found += ["--memory-swap", f"{limits.memory_bytes}b"]
        return found

    def described(self, limits: Limits, warnings: str) -> str:
        """Say in words what bounds a container."""
        ignored = "not supported" in warnings or "ignored" in warnings.lower()
        processes = memory = "as many as the host has"
        if limits.processes and self.bounds < 3 and not ignored:  # noqa: PLR2004 - as above
            processes = f"at most {limits.processes}"
        if limits.memory_bytes and self.bounds < 2 and not ignored:  # noqa: PLR2004 - as above
            memory = f"at most {limits.memory_bytes // 1024**2} MiB"
        return f"processes {processes}, memory {memory} (by the container's cgroup)"


# The last way of each kind.
_FEWEST = Way(files=1, runtime=1, bounds=3)


class Ways:
    """Finds by trying which options work on this host, and keeps to them."""

    def __init__(self) -> None:
        self.current = Way()
        self._lock = threading.Lock()

    def next(self, failed: Way, reason: str) -> bool:
        """Go on to another way for what the reason speaks of; False where there is none."""
        text = reason.lower()
        with self._lock:
            if self.current != failed:
                return True  # another deployment has gone on already
            files, runtime, bounds = failed.files, failed.runtime, failed.bounds
            if "rlimit" in text or "ulimit" in text:
                if files < _FEWEST.files:
                    files += 1
                elif runtime < _FEWEST.runtime and shutil.which("runc"):
                    runtime += 1
                else:
                    return False
            elif any(word in text for word in ("cgroup", "memory", "swap", "pids")):
                if bounds == _FEWEST.bounds:
                    return False
                bounds += 1
            else:
                return False
            self.current = Way(files, runtime, bounds)
            _log.warning("containers are made with other options from now on: %s", reason)
            return True
