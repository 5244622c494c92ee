"""Gets sources as an engine does, into directories of a test, and keeps what git said."""

from __future__ import annotations

import itertools
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from reconciler.api.types import GitSource, Secret
from reconciler.engine.config import SourceSettings
from reconciler.engine.runners.base import Command, Needs, Process, Runner, Surroundings
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.sources.fetching import Fetching, Order, Seen, SourceError, StoppedError
from reconciler.engine.sources.mirrors import Mirrors
from reconciler.git.urls import Reach

__all__ = ["Fetcher", "Got", "source_of"]

_numbers = itertools.count(1)


@cache
def best_runner() -> Runner:
    """Return the runner that an engine would choose here."""
    sandbox = BubblewrapRunner()
    return sandbox if sandbox.works() else ProcessRunner()


def source_of(url: str, **asked: str) -> GitSource[Secret]:
    return GitSource(repo_url=url, **(asked or {"branch": "main"}))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Got:
    """What came of it: `reason` is empty where it went well; `work` is the clone."""

    reason: str
    log: str
    work: Path


class Fetcher:
    """An engine's part that gets sources, with a data directory of its own."""

    def __init__(
        self,
        root: Path,
        settings: SourceSettings | None = None,
        reach: Reach | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.root = root
        self.settings = settings or SourceSettings()
        self.reach = reach or Reach(local=True)
        self.runner = runner or best_runner()
        self.known_hosts = root / "known_hosts"
        self.mirrors = root / "repositories"
        self.environment = {"PATH": os.environ["PATH"], "PULUMI_CI_BUILD_ID": str(uuid.uuid4())}
        self.stop = threading.Event()
        self.during: Callable[[Process, Command], None] = lambda *_: None
        root.mkdir(parents=True, exist_ok=True)

    def get(self, source: GitSource[Secret], organization: str = "acme") -> Got:
        """Get a source into a workspace of its own."""
        workspace = self.root / "work" / f"w{next(_numbers)}"
        workspace.mkdir(parents=True)
        (workspace / "tmp").mkdir()
        order = Order(
            source=source,
            organization=organization,
            workspace=workspace,
            into=workspace / "source",
            scratch=workspace.with_name(workspace.name + ".source"),
            environment=self.environment,
        )
        settings = self.settings
        mirrors = Mirrors(self.mirrors, settings.mirrors_bytes)
        fetching = Fetching(settings, self.reach, mirrors, settings.known_hosts or self.known_hosts)
        hands = _Hands(self)
        reason = ""
        try:
            fetching.get(order, hands)
        except SourceError as error:
            reason = str(error)
        except StoppedError:
            reason = "stopped"
        assert not order.scratch.exists()
        return Got(reason=reason, log=hands.log.decode(errors="replace"), work=order.into)

    def start(self, command: Command, paths: tuple[Path, ...]) -> tuple[int | None, str]:
        """Run one command as a fetch would; return its code and output."""
        hands = _Hands(self)
        seen = Seen(begun=lambda _: None, on_output=lambda _: None)
        code = hands.run(command, paths, seen)
        return code, hands.log.decode(errors="replace")

    def kept(self) -> list[Path]:
        """Return the repositories of all mirrors."""
        return sorted(self.mirrors.glob("*/git-*"))


class _Hands:
    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.log = b""

    def run(self, command: Command, paths: tuple[Path, ...], seen: Seen) -> int | None:
        fetcher = self._fetcher
        if self.stopped():
            return None
        surroundings = Surroundings(
            workspace=paths[0],
            writable=paths[1:],
            readable=seen.readable,
            hidden=(fetcher.root,),
        )
        needs = Needs(
            deployment_id=fetcher.environment["PULUMI_CI_BUILD_ID"], surroundings=surroundings
        )
        place = fetcher.runner.open(needs)

        def on_output(output: bytes) -> None:
            self.log += output
            seen.on_output(output)

        try:
            process = place.start(command, on_output)
        except OSError as error:
            raise SourceError(f"cannot be started: {error}") from error
        seen.begun(process)
        fetcher.during(process, command)
        return process.wait()

    def note(self, text: str) -> None:
        self.log += f"[{text}]\n".encode()

    def stopped(self) -> bool:
        return self._fetcher.stop.is_set()


def with_settings(fetcher: Fetcher, **changes: object) -> Fetcher:
    """Return the same engine with other settings."""
    other = Fetcher(fetcher.root, runner=fetcher.runner, reach=fetcher.reach)
    other.settings = replace(fetcher.settings, **changes)  # type: ignore[arg-type]
    return other
