"""Files that are written slowly, in place: nothing of them is acted on before they are whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from reconciler.planning.quiet import CLOSED_QUIET_S
from tests.bench.settled import SPEC, wait_for
from tests.bursts.scene import Scene, commit, scene

pytestmark = pytest.mark.real

LIMIT_S = 60.0


def pieces(stack: str) -> list[str]:
    """Return a changed spec in pieces: the first is a whole one, each further makes it another."""
    text = SPEC.format(number=0, commit=commit()).replace("acme/web/prod-0", stack)
    head, _, _ = text.partition("operationContext:")
    return [
        head,
        "operationContext:\n  operation: update\n  environmentVariables:\n    REPLICAS: 5\n",
        "    AWS_REGION: eu-central-1\n",
        "    SHARDS: 9\n",
        "  options: {skipInstallDependencies: true}\n",
        "labels: {team: api}\n",
    ]


class SlowWriter:
    """Writes a file in place and closes it at the end; never rests, whoever else is slow.

    One that is `closing` opens it for each piece. `longest` is how long it has rested after all.
    """

    def __init__(self, path: Path, stack: str, *, closing: bool = False) -> None:
        self.longest = 0.0
        self._pieces = pieces(stack)
        self._closing = closing
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._path = path
        self._file = path.open("w")
        self._thread = threading.Thread(target=self._type)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._file.close()

    def _type(self) -> None:
        while not self._ended.wait(0.1):
            self._write("# …\n")

    def _write(self, text: str) -> None:
        with self._writing:
            self._file.write(text)
            self._file.flush()
            if self._closing:
                self._file.close()
                self._file = self._path.open("a")
            now = time.monotonic()
            self.longest, self._last = max(self.longest, now - self._last), now

    def __iter__(self) -> Iterator[None]:
        for piece in self._pieces:
            self._write(piece)
            yield


def test_an_editor_that_writes_slowly(tmp_path: Path) -> None:
    """Scans in the midst of it see half of an old spec and of a new one; a new daemon does too.

    Each is deployed once, as it is in the end; what is renamed into place meanwhile is not held up.
    """
    with scene(tmp_path, 4) as it:
        it.start()
        it.loaded()
        old_stack, new_stack = it.stack(1), "acme/web/new-1"
        old_path, new_path = it.place.spec(1), it.place.specs / "team-0" / "new.yaml"
        with SlowWriter(old_path, old_stack) as old, SlowWriter(new_path, new_stack) as new:
            for step, _ in enumerate(zip(old, new, strict=True)):
                it.rescan()
                if step == 3:
                    it.restart()
            assert (it.sent(old_stack), it.sent(new_stack)) == ([], [])
        closed(it, {old_stack: old_path, new_stack: new_path})


def closed(it: Scene, paths: dict[str, Path]) -> None:
    """Wait until what these files say was sent; nothing else has been."""
    for stack, path in paths.items():
        wait_for(lambda of=stack: bool(it.sent(of)), LIMIT_S)  # type: ignore[misc]
        assert it.sent(stack) == [it.wanted(path)]


def test_a_script_that_appends(tmp_path: Path) -> None:
    """A file that is closed after each piece is acted on when no further piece follows."""
    with scene(tmp_path, 4) as it:
        it.start()
        it.loaded()
        path = it.place.spec(2)
        with SlowWriter(path, it.stack(2), closing=True) as writer:
            for _ in writer:
                it.rescan()
            early = it.sent(it.stack(2))
        if writer.longest < CLOSED_QUIET_S / 2:  # else the machine was too busy to tell
            assert early == []
            closed(it, {it.stack(2): path})
