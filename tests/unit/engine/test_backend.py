from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.api.types import StackRef
from reconciler.engine.backend import Backend

STACK = StackRef("acme", "web", "prod")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    made = Backend(tmp_path / "backends" / "acme")
    made.make()
    made.make()
    return made


def lock(backend: Backend, name: str, at: float) -> None:
    directory = backend.directory / ".pulumi" / "locks" / "organization" / "web" / "prod"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").touch()
    os.utime(directory / f"{name}.json", (at, at))


def test_it_is_a_file_backend(backend: Backend) -> None:
    """The URL names the directory, which only its owner may enter."""
    assert backend.url == f"file://{backend.directory}"
    assert backend.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["prod.json", "prod.json.gz"])
def test_a_stack_s_state_is_seen(backend: Backend, name: str) -> None:
    """A stack is there when its file is, packed or not; a backup is not the state."""
    directory = backend.directory / ".pulumi" / "stacks" / "web"
    directory.mkdir(parents=True)
    (directory / "prod.json.bak").touch()
    assert not backend.has(STACK)
    (directory / name).touch()
    assert backend.has(STACK)


def test_locks_are_seen_with_their_time(backend: Backend) -> None:
    """A lock counts as made since a moment only where every lock of the stack was."""
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    assert backend.locks(STACK) == frozenset()
    assert not backend.locked_since(STACK, moment)
    lock(backend, "a", moment.timestamp() + 1)
    assert backend.locks(STACK) == {"a.json"}
    assert backend.locked_since(STACK, moment)
    lock(backend, "b", moment.timestamp() - 1)
    assert not backend.locked_since(STACK, moment)


def test_attributes_that_were_not_written_are_removed(tmp_path: Path) -> None:
    """An empty file of attributes keeps Pulumi from the state beside it; any other one stays."""
    folder = tmp_path / ".pulumi" / "stacks" / "web"
    folder.mkdir(parents=True)
    torn, whole = folder / "prod.json.attrs", folder / "test.json.attrs"
    torn.touch()
    whole.write_text("{}")
    for stack in ("prod", "test", "none"):
        Backend(tmp_path).mend(StackRef("acme", "web", stack))
    assert not torn.exists()
    assert whole.read_text() == "{}"
