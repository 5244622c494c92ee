"""The options about repositories that the reconciler itself asks, and what is made of them."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from reconciler.adapters.git_process import Git
from reconciler.adapters.gitchanges import GitChanges
from reconciler.adapters.gitrefs import GitRefs, Helpers, Pace
from reconciler.adapters.state_directory import StateDirectory
from reconciler.clock import SystemClock
from reconciler.metrics import OFF, Meter

__all__ = ["Repositories", "engine_arguments", "repositories"]

# Without a daemon there is no later: a pass waits until git has answered or failed, each of
# which has a limit of its own; a first look for `sourcePaths` takes the longest.
WAIT_WITHOUT_DAEMON_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """Who asks repositories; `close` ends what is being asked."""

    git: Git
    refs: GitRefs
    poll_interval: timedelta

    def watch(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Ask by itself from now on, and tell the names for which the answer is another."""
        self.refs.watch(changed)

    def close(self) -> None:
        """End it, with the processes that run."""
        self.refs.close()
        self.git.close()


def repositories(
    options: argparse.Namespace,
    root: StateDirectory,
    usual: timedelta | None = None,
    meter: Meter = OFF,
) -> Repositories:
    """Return what the options say; nothing is asked yet. `usual` is the host's poll interval."""
    git = Git(_known_hosts(options, root), getattr(options, "repository_ca", None))
    changes = GitChanges(git, root.root / "sources", root.hash_key)
    helpers = Helpers(
        git=git, fingerprints=changes, clock=SystemClock(), jitter=random.random, meter=meter
    )
    poll: timedelta | None = getattr(options, "poll_interval", None)
    pace = Pace(
        poll_interval=poll or usual or Pace().poll_interval, alone_wait_s=WAIT_WITHOUT_DAEMON_S
    )
    return Repositories(git=git, refs=GitRefs(helpers, pace), poll_interval=pace.poll_interval)


def engine_arguments(options: argparse.Namespace, root: StateDirectory) -> tuple[str, ...]:
    """Return the same as arguments of `engine serve`, for the embedded engine."""
    found = ("--known-hosts", str(_known_hosts(options, root).absolute()))
    certificates: Path | None = getattr(options, "repository_ca", None)
    if certificates is None:
        return found
    return (*found, "--repository-ca", str(certificates.absolute()))


def _known_hosts(options: argparse.Namespace, root: StateDirectory) -> Path:
    return getattr(options, "known_hosts", None) or root.root / "known_hosts"
