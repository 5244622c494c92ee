"""What an operation's end means for its deployment, its drift and its stack."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.api.types import GitSource, Operation, Options, StackRef, Step
from reconciler.engine.model import Record
from reconciler.engine.outcome import Hands, operate
from reconciler.engine.store import Phase, Store
from reconciler.engine.tools import Tools
from reconciler.errors import NotDurableError
from tests.fakes.world import SimClock

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WEB = StackRef("acme", "web", "prod")
DRIFTED = "Resources:\n    - 1 to delete\n    1 change. 2 unchanged\n"


@dataclass
class Scene:
    """A deployment whose operations end as a test says; `ran` is what was done, in order."""

    store: Store
    codes: dict[Operation, int | None]
    removed: bool = True
    ran: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: int = 0

    def operate(self, operation: Operation, options: Options | None = None) -> bool:
        record = Record(
            id="d1",
            stack=WEB,
            version=1,
            operation=operation,
            created=NOW,
            modified=NOW,
            source=GitSource(repo_url="https://example.com/r.git"),
            steps=(Step(name="Pulumi operation"),),
        )
        self.store.deployments.create(WEB, "", lambda _: (record, b"r"))
        self.store.stacks.mark_initialized(WEB)
        tools = SimpleNamespace(store=self.store, clock=SimClock(time=NOW))
        hands = Hands(
            run=self.run,
            tail=lambda: DRIFTED,
            remove=self.remove,
            note=self.notes.append,
            keep=self.keep,
        )
        return operate(cast("Tools", tools), record, options or Options(), hands)

    def keep(self, write: Callable[[], None]) -> None:
        """Write until that is on the disk."""
        while True:
            with contextlib.suppress(NotDurableError):
                write()
                return
            self.refused += 1

    def run(self, operation: Operation) -> int | None:
        self.ran.append(str(operation))
        return self.codes[operation]

    def remove(self) -> bool:
        self.ran.append("rm")
        info = self.store.stacks.get(WEB)
        assert info is not None
        assert not info.initialized
        return self.removed


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A deployment of which everything succeeds, and that finds no drift."""
    store = Store(tmp_path / "engine.db")
    yield Scene(store, dict.fromkeys(Operation, 0))
    store.close()


@pytest.mark.parametrize("operation", ["update", "preview", "refresh", "destroy"])
@pytest.mark.parametrize("code", [0, 1, None])
def test_most_operations_succeed_by_their_exit(
    scene: Scene, operation: str, code: int | None
) -> None:
    """Exit code 0 is success, and nothing else is; nothing follows from it."""
    scene.codes[Operation(operation)] = code
    assert scene.operate(Operation(operation)) is (code == 0)
    assert scene.ran == [operation]
    assert scene.store.stacks.get(WEB) is not None


@pytest.mark.parametrize(
    ("code", "remediates", "fixed", "succeeds", "detected", "stands"),
    [
        (0, True, 0, True, False, False),
        (7, False, 0, True, True, True),
        (7, True, 0, True, True, False),
        (7, True, 1, False, True, True),
        (1, True, 0, False, False, False),
        (None, True, 0, False, False, False),
    ],
)
def test_drift_is_kept_and_remediated_where_that_is_asked(
    scene: Scene,
    code: int | None,
    fixed: int,
    *,
    remediates: bool,
    succeeds: bool,
    detected: bool,
    stands: bool,
) -> None:
    """A look succeeds whatever it finds; drift that is found stands until it is undone."""
    scene.codes |= {Operation.DETECT_DRIFT: code, Operation.REMEDIATE_DRIFT: fixed}
    options = Options(remediate_drift=remediates)
    assert scene.operate(Operation.DETECT_DRIFT, options) is succeeds
    goes_on = detected and remediates
    assert scene.ran == ["detect-drift", *(["remediate-drift"] if goes_on else [])]
    run = scene.store.drift.get(WEB, "d1")
    assert run is not None
    assert (run.detected, run.stands) == (detected, stands)
    assert (run.remediation is not None) is goes_on
    assert run.detection is not None
    assert run.detection.changes == {"delete": 1, "same": 2}
    assert ("Drift: 1 to delete" in scene.notes) is detected


def test_a_disk_that_is_full_for_a_while_loses_no_drift(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an operation has found is written as soon as it can be, and the deployment succeeds."""
    record, full = scene.store.drift.record, iter((True, True, False, True, False))

    def on_a_full_disk(deployment: str, phase: Phase, *, remediates: bool) -> None:
        if next(full):
            raise NotDurableError("the disk is full")
        record(deployment, phase, remediates=remediates)

    monkeypatch.setattr(scene.store.drift, "record", on_a_full_disk)
    scene.codes[Operation.DETECT_DRIFT] = 7
    assert scene.operate(Operation.DETECT_DRIFT, Options(remediate_drift=True))
    run = scene.store.drift.get(WEB, "d1")
    assert run is not None
    assert (run.detected, run.stands, scene.refused) == (True, False, 3)


def test_a_stack_is_deleted_only_after_its_destroy(scene: Scene) -> None:
    """Where the destroy fails, the stack and its state stay."""
    scene.codes[Operation.DESTROY] = 1
    assert not scene.operate(Operation.DESTROY, Options(delete_after_destroy=True))
    assert scene.ran == ["destroy"]
    info = scene.store.stacks.get(WEB)
    assert info is not None
    assert info.initialized


def test_a_destroyed_stack_is_forgotten(scene: Scene) -> None:
    """After the destroy the state is deleted and the stack is gone, but for its versions."""
    assert scene.operate(Operation.DESTROY, Options(delete_after_destroy=True))
    assert scene.ran == ["destroy", "rm"]
    assert scene.store.stacks.get(WEB) is None
    assert scene.notes == ["the stack was deleted"]
    assert scene.store.stacks.make(WEB)
    info = scene.store.stacks.get(WEB)
    assert info is not None
    assert (info.latest_version, info.initialized) == (1, False)


def test_a_state_that_stays_fails_the_deployment(scene: Scene) -> None:
    """Where the state cannot be deleted, the deployment says so and the stack is there still."""
    scene.removed = False
    assert not scene.operate(Operation.DESTROY, Options(delete_after_destroy=True))
    assert scene.store.stacks.get(WEB) is not None
    assert "could not be deleted" in scene.notes[0]


def test_an_option_of_another_operation_does_nothing(scene: Scene) -> None:
    """An update does not delete its stack, whatever its options say."""
    options = Options(delete_after_destroy=True, remediate_drift=True)
    assert scene.operate(Operation.UPDATE, options)
    assert scene.ran == ["update"]
