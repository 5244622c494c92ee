"""Chooses the runners: bubblewrap where it works, and never quietly something weaker."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from reconciler.engine.runners.base import Image, Runner
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.process import ProcessRunner
from reconciler.errors import ReconcilerError, UsageError

__all__ = ["RUNNERS", "Runners", "choose"]

RUNNERS = ("bubblewrap", "process")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runners:
    """The runners of one engine.

    `usual` is for deployments, `host` for what the engine itself has to run among the host's
    own files, such as git.
    """

    usual: Runner
    host: Runner

    def of(self, image: Image) -> Runner:
        """Return the runner for a deployment that asks for this image, or for none."""
        del image
        return self.usual

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, whichever runner it had."""
        every = {runner.name: runner for runner in (self.usual, self.host)}
        return sum(runner.end_strays(deployment_id) for runner in every.values())


def choose(name: str | None) -> Runners:
    """Return the runners by the usual one's name; None: bubblewrap where it works, else process.

    UsageError for an unknown name, ReconcilerError where the named one does not work here.
    """
    if name is not None and name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}: choose one of {', '.join(RUNNERS)}")
    host = _host(name)
    return Runners(usual=host, host=host)


def _host(name: str | None) -> Runner:
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
