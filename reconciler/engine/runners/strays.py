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

from reconciler.engine.runners.supervisor import Seen, descendants, processes, send, supervises
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

    A process belongs to it by `PULUMI_CI_BUILD_ID` in its environment, by being in the session
    of one that does, or by coming from one of these. ReconcilerError where some do not go.
    """
    return end_processes(deployment_id)


def end_processes(deployment_id: str, session: int = 0) -> int:
    """Do as `end_strays`, for a session (0: none) as well as a deployment (empty: none)."""
    belonging = _Belonging(deployment_id, session)
    killed: set[tuple[int, int]] = set()
    end = time.monotonic() + GONE_LIMIT_S
    pause = threading.Event()
    while left := belonging.look():
        if time.monotonic() > end:
            numbers = ", ".join(str(process.pid) for process in left)
            raise ReconcilerError(
                f"processes of deployment {deployment_id} are still there {GONE_LIMIT_S:.0f} s "
                f"after they were killed: {numbers}. Look at them (`ps -o pid,state,wchan,args`)"
            )
        others = left - belonging.supervisors
        killed |= {(process.pid, process.started) for process in others}
        # Stopped first: a script must not go on behind a command that was killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in others:
                with contextlib.suppress(PermissionError):
                    send(process, number)
        pause.wait(LOOK_AGAIN_S)
    return len(killed)


class _Belonging:
    """Finds what belongs to a deployment; keeps in mind the sessions it has seen.

    Its supervisor belongs too, and is waited for: it ends by itself with what it holds, and
    killing it would set that free.
    """

    def __init__(self, deployment_id: str, session: int) -> None:
        self._marker = f"{BUILD_ID}={deployment_id}".encode() if deployment_id else None
        self._deployment_id = deployment_id
        self._sessions = {session} if session else set()
        self.supervisors: set[Seen] = set()

    def look(self) -> set[Seen]:
        """Return the live processes that belong.

        Never this process, its session or what it descends from: a marker of its own would
        mean that this engine itself runs within a deployment.
        """
        there = {process.pid: process for process in processes()}
        spared = set()
        pid = os.getpid()
        while pid in there:
            spared.add(there[pid])
            pid = there[pid].parent
        others = set(there.values()) - spared
        variables = {process: _environment(process.pid) for process in others}
        marked = {process for process in others if self._marker in variables[process]}
        if self._deployment_id:
            self.supervisors = {p for p in others if supervises(p.pid, self._deployment_id)}
        self._sessions |= {process.session for process in marked} - {os.getsid(0), 0}
        found = marked | self.supervisors | {p for p in others if p.session in self._sessions}
        found |= descendants(others, {process.pid for process in found})
        return {process for process in found if process.alive}


def _environment(pid: int) -> list[bytes]:
    """Return the variables the process began with; none where one cannot tell."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
