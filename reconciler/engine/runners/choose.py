"""Chooses the runner: bubblewrap where it works, and never quietly something weaker."""

from __future__ import annotations

import logging

from reconciler.engine.runners.base import Runner
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.runners.strays import end_strays
from reconciler.errors import ReconcilerError, UsageError

__all__ = ["RUNNERS", "choose", "end_strays"]

RUNNERS = ("bubblewrap", "process")

_log = logging.getLogger(__name__)


def choose(name: str | None) -> Runner:
    """Return the runner of that name; for None bubblewrap where it works, else process.

    UsageError for an unknown name, ReconcilerError where the named one does not work here.
    """
    if name is not None and name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}: choose one of {', '.join(RUNNERS)}")
    if name != "process":
        sandbox = BubblewrapRunner()
        if sandbox.works():
            return sandbox
        if name is not None:
            raise ReconcilerError(
                "the bubblewrap runner does not work here: install bubblewrap (`apt-get install "
                "bubblewrap`) and allow user namespaces (`sysctl kernel.unprivileged_userns_clone"
                "=1`; in a container also seccomp and AppArmor), or choose the process runner for "
                "programs you trust"
            )
    _log.warning(
        "the process runner is for programs you trust: they run as the engine's user and can "
        "read all that it can, secrets and tokens included"
    )
    return ProcessRunner()
