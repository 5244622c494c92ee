from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from reconciler.api.types import Operation, StackRef
from reconciler.engine.oidc.claims import Deployed
from reconciler.engine.oidc.issuer import RING, Issuer
from reconciler.engine.oidc.keys import LONGEST_LIFETIME, PUBLISHED_AHEAD
from reconciler.engine.secrets_box import SecretBox
from reconciler.engine.store import Store

ABOUT = Deployed(
    stack=StackRef("acme", "web", "dev"), operation=Operation.UPDATE, version=1, id="d1"
)
HOUR = timedelta(hours=1)


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 27, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def running(self) -> timedelta:
        raise AssertionError("an issuer has nothing to wait for")

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        raise AssertionError(f"an issuer waits for nothing: {moment}, {wake}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new database."""
    store = Store(tmp_path / "engine.db")
    yield store
    store.close()


@pytest.fixture
def clock() -> Hands:
    """A clock that is set by hand."""
    return Hands()


@pytest.fixture
def issuer(store: Store, clock: Hands) -> Issuer:
    """An issuer that has no key yet."""
    return Issuer(store.facts, SecretBox(b"k" * 32), clock, "https://engine.example.com")


def accepts(issuer: Issuer, token: str) -> bool:
    keys = KeySet.import_key_set(issuer.key_set())  # type: ignore[arg-type]
    try:
        jwt.decode(token, keys, algorithms=["RS256"])
    except (JoseError, ValueError):
        return False
    return True


def test_the_documents_are_below_the_public_url(issuer: Issuer) -> None:
    """Issuer and key set are where Pulumi Cloud has them, below the engine's own address."""
    document = issuer.configuration()
    assert document["issuer"] == "https://engine.example.com/oidc"
    assert document["jwks_uri"] == "https://engine.example.com/oidc/.well-known/jwks"


def test_every_process_has_the_same_key(store: Store, issuer: Issuer, clock: Hands) -> None:
    """The key that one process has made, another signs with."""
    other = Issuer(store.facts, SecretBox(b"k" * 32), clock, "https://engine.example.com")
    assert accepts(other, issuer.token(ABOUT, HOUR))
    assert other.key_set() == issuer.key_set()


def test_a_private_key_is_never_in_the_clear(store: Store, issuer: Issuer) -> None:
    """At rest the keys are sealed; what is shown holds the public part only."""
    issuer.token(ABOUT, HOUR)
    sealed = store.facts.get(RING)
    assert sealed is not None
    assert b"PRIVATE" not in sealed
    shown = str(issuer.key_set())
    assert "'d'" not in shown
    assert "PRIVATE" not in shown


def test_a_rotation_refuses_nothing_that_is_valid(issuer: Issuer, clock: Hands) -> None:
    """Tokens of the old key are accepted until they have expired, then the key is gone."""
    old = issuer.token(ABOUT, HOUR)
    new = issuer.rotate()
    assert {key["kid"] for key in issuer.key_set()["keys"]} > {new.id}  # type: ignore[attr-defined]
    still_old = issuer.token(ABOUT, HOUR)
    clock.time += PUBLISHED_AHEAD
    with_new = issuer.token(ABOUT, HOUR)
    assert with_new.split(".")[0] != old.split(".")[0] == still_old.split(".")[0]
    assert all(accepts(issuer, token) for token in (old, still_old, with_new))
    clock.time += LONGEST_LIFETIME + PUBLISHED_AHEAD
    assert not accepts(issuer, old)
    assert accepts(issuer, with_new)


def test_a_withdrawn_key_is_refused_at_once(issuer: Issuer) -> None:
    """What a withdrawn key has signed is refused, and a new key signs at once."""
    old = issuer.token(ABOUT, HOUR)
    key = issuer.states()[0][0]
    assert issuer.withdraw(key.id)
    assert not accepts(issuer, old)
    assert accepts(issuer, issuer.token(ABOUT, HOUR))
    assert not issuer.withdraw(key.id)


def test_withdrawing_another_key_changes_nothing_else(issuer: Issuer, clock: Hands) -> None:
    """The signing key stays when one before or after it is withdrawn."""
    issuer.token(ABOUT, HOUR)
    first = issuer.states()[0][0]
    second = issuer.rotate()
    clock.time += PUBLISHED_AHEAD
    third = issuer.rotate()
    assert [state for _, state in issuer.states()] == ["next", "signs", "before"]
    token = issuer.token(ABOUT, HOUR)
    assert issuer.withdraw(third.id)
    assert issuer.withdraw(first.id)
    assert accepts(issuer, token)
    assert [key.id for key, _ in issuer.states()] == [second.id]


def test_a_key_s_id_can_be_given_to_a_command(issuer: Issuer) -> None:
    """An id is hexadecimal: no dash begins it, which would make it an option."""
    assert re.fullmatch("[0-9a-f]{32}", issuer.rotate().id)


def test_two_changes_at_once_both_count(issuer: Issuer) -> None:
    """Rotations from several threads are all there afterwards."""
    issuer.token(ABOUT, HOUR)
    threads = [threading.Thread(target=issuer.rotate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(issuer.states()) == 4
