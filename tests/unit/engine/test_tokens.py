from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.engine import tokens
from reconciler.engine.config import Layout
from reconciler.engine.store import Store
from reconciler.engine.tokens import Caller, Role, Tokens
from reconciler.errors import UsageError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ANN = Caller(organization="acme", user="ann", email="ann@example.com", role=Role.DEPLOY)


class StoppedClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def running(self) -> timedelta:
        raise AssertionError("nobody waits here")

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        raise AssertionError(f"nobody waits here: {moment} {wake}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "engine.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def test_a_token_is_recognised(store: Store, clock: StoppedClock) -> None:
    """A token tells whose it is; another text tells nothing."""
    made = Tokens(store, clock)
    token = made.create(ANN, None)
    assert made.verify(token) == ANN
    for wrong in ("", token[:-1], token + "x", token.upper(), "\ud800"):
        assert made.verify(wrong) is None


def test_a_token_expires(store: Store, clock: StoppedClock) -> None:
    """A token with an end is good until then and not at that moment."""
    made = Tokens(store, clock)
    token = made.create(ANN, timedelta(days=90))
    clock.moment = NOW + timedelta(days=90, seconds=-1)
    assert made.verify(token) == ANN
    clock.moment = NOW + timedelta(days=90)
    assert made.verify(token) is None


def test_the_last_use_is_kept_to_the_minute(store: Store, clock: StoppedClock) -> None:
    """When a token was last used is known, without a write at every use."""
    made = Tokens(store, clock)
    token = made.create(ANN, None)
    key = tokens._hash(token)
    for seconds, expected in ((0, 0), (59, 0), (60, 60)):
        clock.moment = NOW + timedelta(seconds=seconds)
        made.verify(token)
        found = store.tokens.get(key)
        assert found is not None
        assert found.last_used == NOW + timedelta(seconds=expected)


def test_tokens_are_kept_as_hashes(store: Store, clock: StoppedClock, tmp_path: Path) -> None:
    """Whoever reads the database does not learn a token."""
    token = Tokens(store, clock).create(ANN, None)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in content
    assert tokens._hash(token).encode() in content


@pytest.mark.parametrize(
    ("organization", "sees"),
    [("acme", {"acme"}), ("*", {"acme", "other"}), ("acm", set())],
)
def test_a_token_is_of_one_organization(organization: str, sees: set[str]) -> None:
    """A caller sees their own organization; the embedded engine's token sees all."""
    caller = Caller(organization=organization, user="x", email="", role=Role.READ)
    assert {name for name in ("acme", "other") if caller.sees(name)} == sees


def make(data: Path, organization: str = "acme", role: str = "deploy") -> str:
    return tokens.create(
        data, organization=organization, user="ann", email="", role=role, expires=None
    )


def test_tokens_can_be_made_before_the_engine_runs(tmp_path: Path) -> None:
    """The first token makes the data directory and the database, for their owner only."""
    data = tmp_path / "new" / "data"
    token = make(data)
    assert data.stat().st_mode & 0o077 == 0
    store = Store(Layout(data).database)
    assert store.tokens.get(tokens._hash(token)) is not None
    store.close()


@pytest.mark.parametrize(
    ("organization", "role"), [("a/b", "deploy"), ("acme", "root"), ("", "read")]
)
def test_impossible_tokens_are_refused(tmp_path: Path, organization: str, role: str) -> None:
    """A wrong role or organization is the caller's mistake, and makes nothing."""
    with pytest.raises(UsageError):
        make(tmp_path / "data", organization, role)
    assert not (tmp_path / "data").exists()
