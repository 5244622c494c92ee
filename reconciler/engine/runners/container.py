"""Runs a deployment's commands in a container of its own, made from an image by podman or docker.

The container lives from the first step to the last, so what a command installs is there for the
next one. It sees nothing of the host but the workspace and what is asked for. Its first process
waits for a pipe whose other end is the engine's: when the engine is gone, so is the container.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine import images
from reconciler.engine.config import Containers
from reconciler.engine.runners.base import (
    Command,
    Image,
    Inside,
    Needs,
    OnOutput,
    Place,
    PlaceError,
    Process,
)
from reconciler.engine.runners.container_engine import LABEL, ContainerEngine
from reconciler.engine.runners.container_process import ContainerProcess
from reconciler.engine.runners.container_script import FIRST_PROCESS, check
from reconciler.engine.runners.container_ways import Way, Ways
from reconciler.engine.runners.disk import Watched
from reconciler.engine.runners.preparing import Preparation
from reconciler.errors import ReconcilerError

__all__ = ["ContainerRunner"]

_log = logging.getLogger(__name__)

# Where a container finds the pipe that it lives by.
_ALIVE = "/run/reconciler.alive"

# Enough to unpack archives, change owners and end processes as root does; nothing that reaches
# the host or its network.
_KEEPS = "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,SETGID,SETUID"

# What an image must have, besides a shell.
_MUST_HAVE = ("cat", "curl", "pulumi")

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Takes a line for the deployment's log.
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What an image says of itself."""

    digest: str
    path: str
    environment: dict[str, str] = field(default_factory=dict)


class ContainerRunner:
    """Gives each deployment a container."""

    def __init__(self, engine: ContainerEngine, settings: Containers) -> None:
        self.name = "container"
        self.engine = engine
        self.settings = settings
        self.ways = Ways()

    def open(self, needs: Needs) -> Place:
        """Return a place; the default image is meant where none was asked."""
        name = images.full_name(needs.image.reference or self.settings.default_image)
        image = Image(
            reference=name, user_name=needs.image.user_name, password=needs.image.password
        )
        return ContainerPlace(self, needs, image)

    def end_strays(self, deployment_id: str) -> int:
        """Remove the containers that a lost engine has left of a deployment; return how many."""
        try:
            left = self.engine.of_deployment(deployment_id)
            answer = self.engine.remove(left) if left else None
        except PlaceError as error:
            raise ReconcilerError(str(error)) from error
        if answer is not None and answer.code:
            raise ReconcilerError(f"containers of {deployment_id} do not go: {answer.reason}")
        return len(left)


class ContainerPlace:
    """One container."""

    def __init__(self, runner: ContainerRunner, needs: Needs, image: Image) -> None:
        self._runner = runner
        self._engine = runner.engine
        self._needs = needs
        self._image = image
        workspace = needs.surroundings.workspace
        self._folder = workspace.with_name(f".{workspace.name}.place")
        self._container = ""
        self._pipe = -1
        self._layers: tuple[Path, ...] = ()
        self._made = _Made(digest="", path=_DEFAULT_PATH)
        self._inside: Inside | None = None

    @property
    def inside(self) -> Inside | None:
        """The image's programs."""
        return self._inside

    def prepare(self, on_output: OnOutput) -> Process:
        """Get the image, start the container and see that it has what is needed."""
        return Preparation(self._prepare, on_output).begin()

    def start(self, command: Command, on_output: OnOutput) -> Process:
        """Start the command; OSError where it cannot be started."""
        if not self._container:
            # The one before was ended with all that was in it; the workspace is still there.
            try:
                self._launch(threading.Event())
            except PlaceError as error:
                raise OSError(0, str(error)) from None
        process = ContainerProcess(self._engine, self._container, self._end_all, on_output)
        process.begin(command, tuple(self._made.environment))
        most = self._needs.limits.disk_bytes
        if not most:
            return process
        paths = (self._needs.surroundings.workspace, *self._layers)
        return Watched(process, paths, most, on_output)

    def send(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def fetch(self, path: Path) -> None:
        """Do nothing: the files are the same."""

    def close(self) -> None:
        """Remove the container, however far it has come."""
        try:
            left = [self._container] if self._container else []
            left = left or self._engine.of_deployment(self._needs.deployment_id)
            answer = self._engine.remove(left) if left else None
            if answer is not None and answer.code:
                _log.error("container %s stays: %s", left, answer.reason)
        except PlaceError as error:
            _log.error("a container of %s may stay: %s", self._needs.deployment_id, error)
        self._container = ""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------ making it

    def _prepare(self, on_output: OnOutput, stop: threading.Event) -> None:
        def note(text: str) -> None:
            on_output(f"{text}\n".encode())

        self._folder.mkdir(mode=0o700, exist_ok=True)
        alive = self._folder / "alive"
        if not alive.exists():
            os.mkfifo(alive, 0o600)
        if self._pipe < 0:
            # Both ends are held, so that opening waits for nobody.
            self._pipe = os.open(alive, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._get_image(note, stop)
        self._made = self._inspect(stop)
        note(f"Limits: {self._launch(stop)}")
        self._inside = self._look_inside(stop)

    def _get_image(self, note: Note, stop: threading.Event) -> None:
        settings, name = self._runner.settings, self._image.reference
        there = self._engine.call(["image", "inspect", name], stop).code == 0
        # An image that is here was got by somebody's credentials; whether these are good as
        # well, only the registry knows.
        if images.is_local(name) or settings.pull == "never":
            if not there:
                raise PlaceError(f"there is no image {name} on this host, and none is fetched")
        elif settings.pull == "always" or not there or self._image.password:
            note(f"Pulling image {name}")
            limit_s = settings.pull_limit.total_seconds()
            self._engine.pull(self._image, self._folder, stop, limit_s)

    def _inspect(self, stop: threading.Event) -> _Made:
        name = self._image.reference
        answer = self._engine.call(["image", "inspect", name], stop)
        if answer.code:
            raise PlaceError(f"the image {name} cannot be looked at: {answer.reason}")
        found = json.loads(answer.output)[0]
        system = found.get("Os") or "linux"
        if system == "windows":
            raise PlaceError(f"the image {name} is for {system}: a unix image is needed")
        variables = dict(
            text.partition("=")[::2] for text in (found.get("Config") or {}).get("Env") or []
        )
        path = variables.pop("PATH", "") or _DEFAULT_PATH
        digest = str(found.get("Id", "")).removeprefix("sha256:")[:12]
        return _Made(digest=digest, path=path, environment=variables)

    def _launch(self, stop: threading.Event) -> str:
        """Start the container, and return what bounds it, in words."""
        while True:
            way = self._runner.ways.current
            answer = self._engine.call(self._run_arguments(way), stop)
            if answer.code == 0:
                self._container = answer.output.split()[-1]
                self._layers = self._find_layers()
                return way.described(self._needs.limits, answer.error)
            self._engine.remove(self._engine.of_deployment(self._needs.deployment_id))
            if not self._runner.ways.next(way, answer.reason):
                raise PlaceError(self._explain(answer.reason))

    def _find_layers(self) -> tuple[Path, ...]:
        """Return where on the host is what the container writes outside of its mounts."""
        form = "{{.GraphDriver.Data.UpperDir}}"
        answer = self._engine.call(["inspect", "--format", form, self._container])
        path = Path(answer.output.strip())
        # A daemon's own files are not for its users to see: then only the workspace counts.
        return (path,) if answer.code == 0 and path.is_absolute() and path.is_dir() else ()

    def _explain(self, reason: str) -> str:
        name = self._image.reference
        if "/bin/sh" in reason and ("no such file" in reason or "not found" in reason):
            return f"the image {name} has no shell (/bin/sh): an image for deployments needs one"
        if "exec format error" in reason.lower():
            return f"the image {name} is for another kind of processor"
        return f"no container can be made of the image {name}: {reason}"

    def _run_arguments(self, way: Way) -> list[str]:
        settings, around = self._runner.settings, self._needs.surroundings
        found = ["run", "-d", "--rm", "--pull", "never", "--log-driver", "none"]
        found += ["--label", f"{LABEL}={self._needs.deployment_id}"]
        found += ["--user", self._user(), "--entrypoint", "/bin/sh"]
        found += ["--cap-drop", "ALL", "--cap-add", _KEEPS]
        found += ["--security-opt", "no-new-privileges"]
        found += way.arguments(self._needs.limits)
        if self._needs.limits.disk_bytes:
            most = self._needs.limits.disk_bytes
            found += ["--ulimit", f"fsize={most}:{most}", "--ulimit", "core=0:0"]
        if settings.network:
            found += ["--network", settings.network]
        found += ["--mount", _mount(self._folder / "alive", Path(_ALIVE))]
        for path in dict.fromkeys((around.workspace, *around.writable)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found += ["--mount", _mount(path.resolve(), path)]
        for path in around.readable:
            if path.exists():
                found += ["--mount", _mount(path.resolve(), path) + ",readonly"]
        return [*found, self._image.reference, "-c", FIRST_PROCESS, _ALIVE]

    def _user(self) -> str:
        """Return who the programs run as: whoever can use the engine's files, and no more.

        Root in podman's container is the engine's own user, unless that is root. Docker's
        daemon is root whoever asks.
        """
        if self._engine.is_docker and os.geteuid() != 0:
            return f"{os.geteuid()}:{os.getegid()}"
        return "0:0"

    def _look_inside(self, stop: threading.Event) -> Inside:
        name = self._image.reference
        answer = self._engine.call(
            [
                *("exec", "--workdir", str(self._needs.surroundings.workspace)),
                *(self._container, "/bin/sh", "-c", check(_MUST_HAVE)),
            ],
            stop,
        )
        found: dict[str, str] = {}
        missing = []
        for line in answer.output.splitlines():
            what, _, value = line.partition(" ")
            if what == "missing":
                missing.append(value)
            else:
                found[what] = value.strip()
        if missing:
            raise PlaceError(
                f"the image {name} has no {' and no '.join(missing)}: an image for deployments "
                "is a unix one that has a shell, curl, and pulumi on its PATH"
            )
        if not found.get("version"):
            raise PlaceError(f"the pulumi of the image {name} does not tell its version")
        return Inside(
            pulumi=found["pulumi"],
            version=found["version"],
            shell=found["shell"],
            path=self._made.path,
            environment=self._made.environment,
            described=(
                f"of the image {name} ({self._made.digest}), with the container runner "
                f"({self._engine.name})"
            ),
        )

    def _end_all(self, container: str) -> None:
        """End a container with all that is in it; the next command gets a new one."""
        try:
            answer = self._engine.remove([container])
            if answer.code:
                _log.error("container %s may stay: %s", container, answer.reason)
        except PlaceError as error:
            _log.error("container %s may stay: %s", container, error)
        if self._container == container:
            self._container = ""


def _mount(source: Path, target: Path) -> str:
    """Return a mount, its parts quoted as they are in CSV."""
    parts = ("type=bind", f"source={source}", f"target={target}")
    return ",".join(
        '"' + part.replace('"', '""') + '"' if set(part) & set(',"') else part for part in parts
    )
