"""A real daemon over real files, against the model of the API: what was sent for which file."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import read_file
from reconciler.model import Spec
from reconciler.planning.digest import digest, fields
from tests.bench.settled import Api, Place, daemon, loaded, model_api, settle, wait_for

__all__ = ["CANARY", "Scene", "scene"]

# A spec that a test changes by a rename, to see that the daemon has come round again.
CANARY = 0

# Commits of changes: `a` is what all specs are at in the beginning.
_COMMITS = (f"{number:040x}" for number in itertools.count(0xC0FFEE))


def commit() -> str:
    """Return a commit that no spec has yet."""
    return next(_COMMITS)


@dataclass
class Scene:
    """A place in which all has been deployed, and a daemon that has looked at it all."""

    place: Place
    api: Api
    count: int
    options: tuple[str, ...] = ()
    known: dict[str, int] = field(default_factory=dict)
    _running: ExitStack = field(default_factory=ExitStack)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        return self._running.enter_context(daemon(self.place, self.api, *self.options))

    def loaded(self) -> None:
        """Wait until the daemon has told of every spec."""
        wait_for(loaded(self.place, self.count))

    def kill(self) -> None:
        """Kill the daemon, as kill -9 does."""
        self._running.close()

    def stack(self, number: int) -> str:
        return f"acme/web/prod-{number}"

    def sent(self, stack: str) -> list[str]:
        """Return the digests, 8 digits of each, that were asked for of a stack."""
        markers = self.api.created().get(stack, [])
        return [marker.rpartition("_")[2] for marker in markers]

    def wanted(self, path: Path) -> str:
        """Return the first 8 digits of what a file asks for."""
        spec = read_file(path, self.place.specs, SecretRules())
        assert isinstance(spec, Spec), spec
        return digest(fields(spec.request, lambda _: ""))[:8]

    def restart(self) -> None:
        """Kill the daemon, start another one, and wait until it has looked at all files."""
        self.kill()
        before = len(self.sent(self.stack(CANARY)))
        self.place.write(CANARY, commit(), ago_s=3600)
        self.start()
        wait_for(lambda: len(self.sent(self.stack(CANARY))) > before, every_s=0.02)

    def rescan(self) -> None:
        """Have all files looked at: a new folder does that, and a rename behind it proves it."""
        folder = self.place.specs / f"nothing-{next(_NUMBERS)}"
        folder.mkdir()
        before = len(self.sent(self.stack(CANARY)))
        self.place.write(CANARY, commit())
        wait_for(lambda: len(self.sent(self.stack(CANARY))) > before, every_s=0.02)
        folder.rmdir()


_NUMBERS = itertools.count()


@contextmanager
def scene(root: Path, count: int, *options: str, answer_after_s: float = 0.0) -> Iterator[Scene]:
    """Give a place with so many specs that have been deployed, and the API."""
    place = Place.make(root)
    settle(place, count)
    with model_api(count, answer_after_s=answer_after_s, duration_s=0.05) as api:
        it = Scene(place, api, count, options)
        try:
            yield it
        finally:
            it.kill()
