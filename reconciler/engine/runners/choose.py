"""Chooses the runners: bubblewrap where it works, and never quietly something weaker."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from reconciler.engine.config import Containers
from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import Image, Runner
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.container import ContainerRunner
from reconciler.engine.runners.container_engine import find_engine
from reconciler.engine.runners.process import ProcessRunner
from reconciler.errors import ReconcilerError, UsageError

__all__ = ["RUNNERS", "Runners", "choose"]

RUNNERS = ("bubblewrap", "process", "container", "kubernetes")

_log = logging.getLogger(__name__)


class Runners:
    """The runners of one engine.

    `usual` is for deployments, `host` for what the engine itself has to run among the host's
    own files, such as git. An image that a request asks for is honoured by `usual` where that
    makes places from images, else by podman or docker, which are looked for when one is asked.
    """

    def __init__(self, *, usual: Runner, host: Runner, containers: Containers) -> None:
        self.usual = usual
        self.host = host
        self._settings = containers
        self._looking = threading.Lock()
        self._found: ContainerRunner | None = None

    def meant(self, image: Image) -> Image:
        """Return the image that counts, of what a request asks for."""
        return Image() if self.ignores_images else image

    def of(self, image: Image) -> Runner:
        """Return the runner for a deployment in this image; an empty one: it asks for none."""
        if not image.reference or self.usual.name in _WITH_IMAGES:
            return self.usual
        found = self._containers()
        return self.usual if isinstance(found, str) else found

    def refuse_image(self) -> str:
        """Return why a request that asks for an image is refused; empty where it is not."""
        if self._settings.images == "refuse":
            return "this engine runs no images: leave it out"
        if self.ignores_images or self.usual.name in _WITH_IMAGES:
            return ""
        found = self._containers()
        if not isinstance(found, str):
            return ""
        return (
            f"nothing here can run an image ({found}): install podman or docker and let the "
            "engine's user use it, or start the engine with `engine serve --images ignore`, "
            "which uses the host's own pulumi"
        )

    @property
    def ignores_images(self) -> bool:
        """Whether an image that a request asks for is passed over."""
        return self._settings.images == "ignore"

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, whichever runner it had."""
        every = {runner.name: runner for runner in (self.usual, self.host)}
        if not self.ignores_images and "container" not in every:
            found = self._containers()
            if not isinstance(found, str):
                every[found.name] = found
        return sum(runner.end_strays(deployment_id) for runner in every.values())

    def _containers(self) -> ContainerRunner | str:
        """Return the container runner, or why there is none; it may be installed meanwhile."""
        with self._looking:
            if self._found is None:
                engine = find_engine()
                if isinstance(engine, str):
                    return engine
                self._found = ContainerRunner(engine, self._settings)
            return self._found


# The runners that make places from images.
_WITH_IMAGES = frozenset({"container", "kubernetes"})


def choose(
    name: str | None,
    containers: Containers | None = None,
    kubernetes: KubernetesSettings | None = None,
) -> Runners:
    """Return the runners by the usual one's name; None: bubblewrap where it works, else process.

    UsageError for an unknown name, ReconcilerError where the named one does not work here.
    """
    if name is not None and name not in RUNNERS:
        raise UsageError(f"there is no runner {name!r}: choose one of {', '.join(RUNNERS)}")
    containers = containers or Containers()
    if name == "container":
        return Runners(usual=_container(containers), host=_own(), containers=containers)
    if name == "kubernetes":
        pods = replace(
            kubernetes or KubernetesSettings(),
            image=containers.default_image,
            pull=containers.pull,
        )
        return Runners(usual=_kubernetes(pods), host=_own(), containers=containers)
    usual = _host(name)
    # Programs may be trusted, and what a repository holds need not be: git has its sandbox.
    host = _own() if name == "process" else usual
    return Runners(usual=usual, host=host, containers=containers)


def _container(settings: Containers) -> Runner:
    engine = find_engine()
    if isinstance(engine, str):
        raise ReconcilerError(
            f"the container runner does not work here ({engine}): install podman "
            "(`apt-get install podman`) or docker and let the engine's user use it, or choose "
            "another runner"
        )
    return ContainerRunner(engine, settings)


def _own() -> Runner:
    """Return what runs the engine's own commands, where deployed programs run elsewhere.

    They are no deployed program, so that the weaker runner will do.
    """
    sandbox = BubblewrapRunner()
    return sandbox if sandbox.works() else ProcessRunner()


def _kubernetes(settings: KubernetesSettings) -> Runner:
    # Its libraries cost 200 ms, and few engines need them.
    from reconciler.engine.runners.kubernetes.runner import KubernetesRunner  # noqa: PLC0415

    return KubernetesRunner(settings)


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
