"""Stacks are deleted a few at a time, and what is created meanwhile is of a new one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from reconciler.api.types import StackRef
from reconciler.engine import removal
from reconciler.engine.removal import Removal
from reconciler.engine.service import AnswerError
from reconciler.engine.service.stacks import MOST_REMOVALS
from reconciler.engine.store import StackInfo, Store
from tests.engine.harness import LIMIT_S
from tests.unit.engine.service.test_schedules import ANN, make_engine
from tests.unit.engine.store.test_store import make_record


def test_many_removals_leave_threads_to_other_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a few wait for a slow backend, one more is told to come again, and all are done."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> Removal:
        begun.release()
        assert go_on.wait(LIMIT_S)
        return Removal.GONE

    monkeypatch.setattr(removal, "remove", slow)
    store = Store(tmp_path / "engine.db")
    try:
        stacks = make_engine(tmp_path, store).service.stacks
        names = [StackRef("acme", "web", f"s{n}") for n in range(MOST_REMOVALS + 1)]
        for name in names:
            stacks.make(ANN, name)
        threads = [
            threading.Thread(target=stacks.delete, args=(ANN, name), kwargs={"force": False})
            for name in names[:-1]
        ]
        for thread in threads:
            thread.start()
            assert begun.acquire(timeout=LIMIT_S)
        with pytest.raises(AnswerError) as refused:
            stacks.delete(ANN, names[-1], force=False)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        go_on.set()
        for thread in threads:
            thread.join(LIMIT_S)
        stacks.delete(ANN, names[-1], force=False)
        assert [store.stacks.get(name) for name in names] == [None] * len(names)
    finally:
        go_on.set()
        store.close()


def test_a_create_during_a_removal_keeps_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever creates a deployment while the stack's state goes finds it listed afterwards."""
    store = Store(tmp_path / "engine.db")
    stack = StackRef("acme", "web", "prod")

    def created(*_: object, **__: object) -> Removal:
        store.deployments.create(
            stack, "", lambda version: (make_record("d1", stack, version), b"r")
        )
        return Removal.GONE

    monkeypatch.setattr(removal, "remove", created)
    try:
        stacks = make_engine(tmp_path, store).service.stacks
        stacks.make(ANN, stack)
        stacks.delete(ANN, stack, force=False)
        assert store.stacks.get(stack) == StackInfo(latest_version=1, initialized=False)
        assert [listed.stack for listed in stacks.page(ANN, "acme", "", "")[0]] == [stack]
    finally:
        store.close()
