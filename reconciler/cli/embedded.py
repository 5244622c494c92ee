"""Starts or finds the embedded engine of a state directory, and stays one of its users.

It is a process of its own session: it outlives whoever started it, finishes what runs, and
ends by itself when nobody holds a lock on `users.lock` any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess  # noqa: TID251 - the start of the embedded engine
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.api.types import Secret
from reconciler.clock import Clock
from reconciler.errors import EngineUnavailableError
from reconciler.files import write_durably
from reconciler.metrics import OFF, Meter
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["Address", "EmbeddedEngine", "EngineOptions", "running_in"]

# An engine answers within a second; on a loaded machine Python alone may take several.
START_LIMIT = timedelta(seconds=30)
# An idle engine with other options ends within two seconds; then ours is started.
OTHER_OPTIONS_LIMIT = timedelta(seconds=15)
LOOK_EVERY = timedelta(milliseconds=20)
# What is shown of the engine's own log where it does not start.
LOG_TAIL_BYTES = 2000

# What the engine is given of our environment. Secrets for specs stay here.
PASSED_ON = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    | {"GIT_SSL_CAINFO", "PYTHONPATH", "VIRTUAL_ENV"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options that the embedded engine is started with; `runner`: as arguments already."""

    cancel_grace_s: int
    runner: tuple[str, ...]
    allow_write: tuple[str, ...]
    hide: tuple[str, ...]

    def arguments(self) -> list[str]:
        """Return them as arguments of `engine serve`."""
        found = ["--cancel-grace", f"{self.cancel_grace_s}s", *self.runner]
        for path in self.allow_write:
            found += ["--allow-write", path]
        for path in self.hide:
            found += ["--hide", path]
        return found


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine answers, and its process's id."""

    url: str
    pid: int


def running_in(folder: Path) -> Address | None:
    """Return where the engine of a directory answers, if the process that says so is alive."""
    try:
        body = json.loads((folder / "address.json").read_bytes())
        address = Address(str(body["url"]), int(body["pid"]))
        arguments = Path(f"/proc/{address.pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if os.fsencode(folder) in arguments else None


class EmbeddedEngine:
    """One engine in `folder`; `api` gives a client of it, starting it where it does not run.

    With `looking_only` an engine that runs is taken as it is, whatever it was started with.
    """

    def __init__(
        self, folder: Path, options: EngineOptions, clock: Clock, environ: Mapping[str, str]
    ) -> None:
        self.looking_only = False
        self.meter: Meter = OFF
        self.tracer: Tracer = NO_TRACES
        self._folder = folder
        self._options = options
        self._clock = clock
        self._environ = {k: v for k, v in environ.items() if k in PASSED_ON or k.startswith("LC_")}
        self._user: int | None = None
        self._client: tuple[Address, ApiClient] | None = None
        self._never = threading.Event()
        self._starting = threading.Lock()

    def api(self) -> ApiClient:
        """Return a client of the running engine; EngineUnavailableError where none starts.

        Several threads may ask at once; one of them starts it.
        """
        with self._starting:
            return self._api()

    def _api(self) -> ApiClient:
        address = self._running()
        if address is None or self._user is None:
            address = self._join()
        if self._client is None or self._client[0] != address:
            from reconciler.api.client import ApiClient  # noqa: PLC0415 - costs 100 ms, and is seldom needed

            client = ApiClient(address.url, self._token)
            client.meter, client.tracer = self.meter, self.tracer
            self._client = (address, client)
        return self._client[1]

    def close(self) -> None:
        """Stop being a user; the engine finishes what it has and ends."""
        if self._user is not None:
            os.close(self._user)
            self._user = None

    def _token(self) -> Secret:
        try:
            return Secret((self._folder / "embedded.token").read_text().strip())
        except OSError as error:
            message = f"the embedded engine's token cannot be read: {error}"
            raise EngineUnavailableError(message) from None

    def _join(self) -> Address:
        """Become a user of an engine with our options, and start it where it does not run."""
        address = self._running()
        other = address is not None and self._started_with() != self._options
        if address is not None and other and self._user is None and not self.looking_only:
            with self._holding("successor.lock"):  # so that it ends as soon as it has no work
                self._wait(lambda: self._running() is None, OTHER_OPTIONS_LIMIT)
            if self._running() is not None:
                sys.stderr.write(
                    f"the embedded engine (process {address.pid}) is busy and was started with "
                    "other options; those given now apply when it is started again\n"
                )
        if self._user is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._user = self._hold("users.lock")
        # It may have been about to end when it was found: then it is gone now, or soon.
        return self._running() or self._start()

    def _hold(self, name: str) -> int:
        """Hold one of the engine's locks with others, until what is returned is closed."""
        lock = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    @contextlib.contextmanager
    def _holding(self, name: str) -> Iterator[None]:
        lock = self._hold(name)
        try:
            yield
        finally:
            os.close(lock)

    def _start(self) -> Address:
        # What an engine that was killed left behind must not be taken for the new one's.
        (self._folder / "address.json").unlink(missing_ok=True)
        options = json.dumps(asdict(self._options)).encode()
        write_durably(self._folder / "options.json", options)
        command = [sys.executable, "-P", "-m", "reconciler", "engine", "serve", "--embedded"]
        command += ["--listen", "127.0.0.1:0", "--data", str(self._folder)]
        log = self._folder / "engine.log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            process = subprocess.Popen(
                [*command, *self._options.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=self._environ,
                cwd="/",
            )
        self._wait(lambda: self._running() is not None or process.poll() is not None, START_LIMIT)
        address = self._running()
        if address is None:
            tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
            last = tail.splitlines()[-1] if tail else "it said nothing"
            raise EngineUnavailableError(f"the embedded engine did not start: {last} (see {log})")
        # It outlives us on purpose; that it still runs when we end is no leak.
        process.returncode = 0
        return address

    def _wait(self, condition: Callable[[], bool], limit: timedelta) -> None:
        deadline = self._clock.now() + limit
        while not condition() and self._clock.now() < deadline:
            self._clock.wait_until(self._clock.now() + LOOK_EVERY, self._never)

    def _running(self) -> Address | None:
        return running_in(self._folder)

    def _started_with(self) -> EngineOptions | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            body = json.loads((self._folder / "options.json").read_bytes())
            return EngineOptions(
                cancel_grace_s=body["cancel_grace_s"],
                runner=tuple(body["runner"]),
                allow_write=tuple(body["allow_write"]),
                hide=tuple(body["hide"]),
            )
        return None
