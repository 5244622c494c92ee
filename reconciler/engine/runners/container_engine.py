"""podman or docker, whichever is there: found, called, and given credentials without showing them.

Their command lines are alike in what is used here. Nothing of a deployment but names goes into
an argument: credentials are in a 0600 file that is removed, variables go by standard input.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess  # noqa: TID251 - a runner starts programs
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reconciler.engine import images
from reconciler.engine.runners.base import Image, PlaceError

__all__ = ["LABEL", "LONGEST_ERROR", "Answer", "CalledOffError", "ContainerEngine", "find_engine"]

# By it the containers of a lost engine's deployments are found; its value is the deployment's id.
LABEL = "reconciler.deployment"

# What any call but getting an image takes at most: a tenth of a second, on an idle machine.
CALL_LIMIT_S = 120.0

# How often to look whether a call is still wanted.
LOOK_AGAIN_S = 0.1

# How much of an error is passed on: the first lines say it.
LONGEST_ERROR = 2000

# What a call may answer: an image tells of itself in some kilobytes. Of what is run in an image
# that somebody else has made, the output may never end.
LARGEST_ANSWER_BYTES = 4 * 1024 * 1024

READ_BYTES = 65536

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class CalledOffError(PlaceError):
    """Somebody asked to stop."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended."""

    code: int
    output: str
    error: str

    @property
    def reason(self) -> str:
        """What it says went wrong, cut to what a log takes."""
        text = _CONTROL.sub(" ", self.error.strip() or self.output.strip())
        return text[-LONGEST_ERROR:] or f"it ended with exit code {self.code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEngine:
    """One of the two: `name` is `podman` or `docker`, `program` its path."""

    name: str
    program: str

    @property
    def is_docker(self) -> bool:
        """Whether a daemon makes the containers, as its own user."""
        return self.name == "docker"

    def call(
        self,
        arguments: Sequence[str],
        stop: threading.Event | None = None,
        limit_s: float = CALL_LIMIT_S,
    ) -> Answer:
        """Run it and return how it ended.

        PlaceError at the limits of time and output, or where it is not there; CalledOffError
        when `stop` is set meanwhile.
        """
        try:
            running = subprocess.Popen(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise PlaceError(f"{self.name} cannot be started: {error.strerror}") from None
        end = time.monotonic() + limit_s
        output, errors = _Kept(running.stdout), _Kept(running.stderr)
        while not (output.ended(LOOK_AGAIN_S) and errors.ended(LOOK_AGAIN_S) and _over(running)):
            asked, reason = stop is not None and stop.is_set(), ""
            if output.too_much or errors.too_much:
                reason = f"answers more than {LARGEST_ANSWER_BYTES} bytes"
            elif time.monotonic() >= end:
                reason = f"did not end within {limit_s:.0f} s"
            if asked or reason:
                running.kill()
                running.wait()
                if asked:
                    raise CalledOffError("it was asked to stop")
                raise PlaceError(f"{self.name} {arguments[0]} {reason}")
        return Answer(running.returncode, output.text, errors.text)

    def pull(self, image: Image, folder: Path, stop: threading.Event, limit_s: float) -> None:
        """Get an image by its full name; PlaceError says why it cannot be had.

        `folder` is the engine's own: the credentials are in it for as long as this takes.
        """
        name = image.reference
        with _credentials(self, image, folder) as options:
            before, after = (options, []) if self.is_docker else ([], options)
            if not self.is_docker and images.is_loopback(name):
                after.append("--tls-verify=false")
            answer = self.call([*before, "pull", "--quiet", *after, name], stop, limit_s)
        if answer.code:
            raise PlaceError(f"the image {name} cannot be had: {answer.reason}")

    def remove(self, containers: Sequence[str]) -> Answer:
        """End containers at once and remove them."""
        at_once = [] if self.is_docker else ["-t", "0"]
        return self.call(["rm", "-f", *at_once, *containers])

    def of_deployment(self, deployment_id: str) -> list[str]:
        """Return the ids of a deployment's containers."""
        label = f"label={LABEL}={deployment_id}"
        answer = self.call(["ps", "-a", "-q", "--no-trunc", "--filter", label])
        if answer.code:
            raise PlaceError(f"{self.name} does not tell its containers: {answer.reason}")
        return answer.output.split()


class _Kept:
    """Reads a stream to its end, in a thread of its own, and keeps as much as there may be."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._bytes = bytearray()
        self.too_much = False
        self._thread = threading.Thread(target=self._read, name="container-answer", daemon=True)
        self._thread.start()

    def ended(self, limit_s: float) -> bool:
        """Wait for the end, at most so long; whether it is there."""
        self._thread.join(limit_s)
        return not (self._thread.is_alive() or self.too_much)

    @property
    def text(self) -> str:
        """What was read."""
        return self._bytes.decode(errors="replace")

    def _read(self) -> None:
        if self._stream is None:
            return
        with self._stream as stream:
            while chunk := os.read(stream.fileno(), READ_BYTES):
                if len(self._bytes) + len(chunk) > LARGEST_ANSWER_BYTES:
                    self.too_much = True
                    return
                self._bytes += chunk


def _over(running: subprocess.Popen[bytes]) -> bool:
    try:
        running.wait(LOOK_AGAIN_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def find_engine() -> ContainerEngine | str:
    """Return podman or docker, the first that works here, or why there is none."""
    reasons = []
    for name in ("podman", "docker"):
        program = shutil.which(name)
        if program is None:
            reasons.append(f"{name} is not installed")
            continue
        engine = ContainerEngine(name=name, program=program)
        try:
            # Of docker, this asks the daemon.
            answer = engine.call(["ps", "-q"], limit_s=30.0)
        except PlaceError as error:
            reasons.append(str(error))
            continue
        if answer.code == 0:
            return engine
        reasons.append(f"{name} does not work: {answer.reason}")
    return "; ".join(reasons)


@contextmanager
def _credentials(engine: ContainerEngine, image: Image, folder: Path) -> Iterator[list[str]]:
    """Give the options by which a pull finds the credentials; without any, it finds none.

    Those of the engine's own user are never used: they are not the caller's.
    """
    place = folder / "credentials"
    place.mkdir(mode=0o700)
    try:
        auths: dict[str, object] = {}
        if image.user_name or image.password:
            pair = f"{image.user_name}:{image.password}".encode()
            registry = images.registry(image.reference)
            if engine.is_docker and registry == "docker.io":
                registry = "https://index.docker.io/v1/"  # docker's own name of it
            auths[registry] = {"auth": base64.b64encode(pair).decode()}
        file = place / "config.json"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as written:
            json.dump({"auths": auths}, written)
        yield ["--config", str(place)] if engine.is_docker else ["--authfile", str(file)]
    finally:
        shutil.rmtree(place)
