"""Ends what an engine that has crashed may have left behind, by what marks it as its own.

Every command of a deployment has the deployment's id in its environment, and what it starts
inherits that, or at least its session.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

from reconciler.engine.runners.supervisor import Seen, processes, send
from reconciler.errors import ReconcilerError

__all__ = ["BUILD_ID", "end_processes", "end_strays"]

# The environment variable that holds a deployment's id.
BUILD_ID = "PULUMI_CI_BUILD_ID"

# A killed process is gone in milliseconds, unless the kernel waits for a disk or a network
# file system on its behalf; after this a person has to look.
GONE_LIMIT_S = 30.0

# How long to wait before looking at /proc again.
LOOK_AGAIN_S = 0.02


def end_strays(deployment_id: str) -> int:
    """Kill every process of that deployment, and wait until they are gone; return how many.

    A process belongs to it by `PULUMI_CI_BUILD_ID` in its environment, or by being in the
    session of one that does. ReconcilerError where some do not go.
    """
    return end_processes(deployment_id)


def end_processes(deployment_id: str, session: int = 0) -> int:
    """Do as `end_strays`, for a session (0: none) as well as a deployment (empty: none)."""
    marker = f"{BUILD_ID}={deployment_id}".encode() if deployment_id else b""
    sessions = {session} if session else set()
    killed: set[tuple[int, int]] = set()
    end = time.monotonic() + GONE_LIMIT_S
    pause = threading.Event()
    while left := _belonging(marker, sessions):
        if time.monotonic() > end:
            numbers = ", ".join(str(process.pid) for process in left)
            raise ReconcilerError(
                f"processes of deployment {deployment_id} are still there {GONE_LIMIT_S:.0f} s "
                f"after they were killed: {numbers}. Look at them (`ps -o pid,state,wchan,args`)"
            )
        for process in left:
            killed.add((process.pid, process.started))
            with contextlib.suppress(PermissionError):
                send(process, signal.SIGKILL)
        pause.wait(LOOK_AGAIN_S)
    return len(killed)


def _belonging(marker: bytes, sessions: set[int]) -> list[Seen]:
    """Return the live processes that belong; their sessions are added to `sessions`.

    Never this process, its session or what it descends from: a marker of its own would mean
    that this engine itself runs within a deployment.
    """
    there = {process.pid: process for process in processes() if process.alive}
    spared = {os.getsid(0)}
    ancestors = set()
    pid = os.getpid()
    while pid in there:
        ancestors.add(pid)
        pid = there[pid].parent
    marked = [process for process in there.values() if marker and _has(process.pid, marker)]
    sessions |= {process.session for process in marked} - spared - {0}
    found = {p.pid: p for p in there.values() if p.session in sessions}
    found |= {process.pid: process for process in marked}
    return [process for pid, process in found.items() if pid not in ancestors]


def _has(pid: int, variable: bytes) -> bool:
    """Whether the process began with this environment variable; false where one cannot tell."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return variable in environment.split(b"\0")
