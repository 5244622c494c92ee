"""The runner: a Job in a cluster for each deployment, whose pod is the place of all its steps."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path

from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import (
    Command,
    Inside,
    Needs,
    OnOutput,
    Place,
    PlaceError,
    Process,
)
from reconciler.engine.runners.kubernetes import agent, files
from reconciler.engine.runners.kubernetes.access import find_access
from reconciler.engine.runners.kubernetes.api import Api
from reconciler.engine.runners.kubernetes.objects import mounts_of, selector
from reconciler.engine.runners.kubernetes.pod import Namespace, Pod
from reconciler.engine.runners.kubernetes.process import PodProcess
from reconciler.engine.runners.preparing import Preparation
from reconciler.errors import ReconcilerError

__all__ = ["KubernetesRunner"]

_log = logging.getLogger(__name__)

# Asking pulumi for its version, on a node that has just read it from the disk for the first
# time.
PROBE_LIMIT_S = 120.0


class KubernetesRunner:
    """Gives places in a cluster."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Find the way to the cluster; UsageError where there is none. Asks it nothing yet."""
        self.name = "kubernetes"
        access = find_access(settings.config, os.environ, _now)
        self._settings = settings
        name = settings.namespace or access.namespace
        self._namespace = Namespace(Api(access), name, settings.gone_limit)

    def open(self, needs: Needs) -> Place:
        """Return a place, which is to be made ready, and closed in any case."""
        return PodPlace(self._namespace, self._settings, needs)

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, and return how many there were.

        ReconcilerError where something does not go.
        """
        return self._namespace.end(deployment_id)


class PodPlace:
    """The pod of one deployment."""

    def __init__(self, namespace: Namespace, settings: KubernetesSettings, needs: Needs) -> None:
        self._settings = settings
        self._needs = needs
        digest = hashlib.sha256(needs.deployment_id.encode()).hexdigest()[:16]
        self._pod = Pod(namespace, f"reconciler-{digest}-{secrets.token_hex(4)}", needs)
        self._numbers = itertools.count(1)
        self._inside: Inside | None = None
        self._shared = False
        self._made = False

    @property
    def inside(self) -> Inside | None:
        """The programs of the pod's image."""
        return self._inside

    def prepare(self, on_output: OnOutput) -> Process:
        """Make the Job, and wait until its pod runs and has the workspace."""
        return Preparation(self._make, on_output).begin()

    def start(self, command: Command, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        process = PodProcess(self._pod, next(self._numbers), command, on_output)
        process.begin()
        return process

    def send(self, path: Path) -> None:
        """Make what the engine has put at `path` the pod's as well."""
        if not self._shared:
            files.send(self._pod, path.parent, (path,))

    def fetch(self, path: Path) -> None:
        """Make what a command has put at `path` the engine's as well."""
        if not self._shared:
            files.fetch(self._pod, path)

    def close(self) -> None:
        """Delete the Job, and wait until its pod is gone."""
        if not self._made:
            return
        try:
            self._pod.delete()
        except ReconcilerError as error:
            _log.error("%s", error)
        else:
            self._made = False

    # ------------------------------------------------------------ inside

    def _make(self, on_output: OnOutput, stop: threading.Event) -> None:
        workspace = self._needs.surroundings.workspace
        try:
            selector(self._needs.deployment_id)
            self._shared = bool(mounts_of(self._needs, self._settings)[workspace])
        except ValueError as error:
            raise PlaceError(str(error)) from error
        if self._shared:
            for path in self._needs.surroundings.writable:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._made = True
        try:
            self._pod.make(self._settings)
            limit_s = self._settings.start_limit.total_seconds()
            self._pod.wait(limit_s, on_output, stop)
            self._inside = self._look_inside(stop)
        except PlaceError:
            raise
        except ReconcilerError as error:
            raise PlaceError(str(error)) from error
        if not self._shared:
            files.send(self._pod, workspace, tuple(sorted(workspace.iterdir())))

    def _look_inside(self, stop: threading.Event) -> Inside:
        image = self._needs.image.reference or self._settings.image
        _, output, _ = self._pod.run(agent.PROBE, limit_s=PROBE_LIMIT_S, stop=stop)
        said: dict[str, str] = {}
        missing = []
        for line in output.decode(errors="replace").splitlines():
            word, _, value = line.partition(" ")
            if word == "missing":
                missing.append(value)
            else:
                said.setdefault(word, value)  # of the shells the best comes first
        if missing:
            raise PlaceError(
                f"the image {image} lacks what the kubernetes runner needs: {', '.join(missing)}"
            )
        if not said.get("pulumi") or not said.get("version"):
            raise PlaceError(
                f"the image {image} has no pulumi on its PATH: use one that has it, such as "
                f"{KubernetesSettings().image}"
            )
        return Inside(
            pulumi=said["pulumi"],
            version=said["version"],
            shell=said.get("shell", "/bin/sh"),
            path=said.get("path", ""),
            described=f"of the image {image}, in a pod",
        )


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a token's end is told by the world's clock
