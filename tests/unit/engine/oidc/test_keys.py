from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.oidc.keys import (
    LONGEST_LIFETIME,
    PUBLISHED_AHEAD,
    KeyRing,
    SigningKey,
    published,
    rotated,
    signing,
    withdrawn,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def key(name: str, signs_from: datetime) -> SigningKey:
    return SigningKey(
        id=name, private="private-canary", modulus="n", exponent="e", signs_from=signs_from
    )


FIRST = KeyRing(keys=(key("a", NOW),))


def names(keys: tuple[SigningKey, ...]) -> list[str]:
    return [k.id for k in keys]


def test_a_new_key_is_shown_before_it_signs() -> None:
    """The old key signs until those who have fetched the keys have seen the new one."""
    ring = rotated(FIRST, key("b", NOW + PUBLISHED_AHEAD), NOW)
    assert names(published(ring, NOW)) == ["a", "b"]
    before, after = signing(ring, NOW), signing(ring, NOW + PUBLISHED_AHEAD)
    assert before is not None
    assert before.id == "a"
    assert after is not None
    assert after.id == "b"


def test_an_old_key_is_shown_until_its_tokens_have_expired() -> None:
    """A key is shown for as long as the longest token that it may have signed."""
    ring = rotated(FIRST, key("b", NOW), NOW)
    assert names(published(ring, NOW + LONGEST_LIFETIME)) == ["a", "b"]
    later = NOW + LONGEST_LIFETIME + PUBLISHED_AHEAD
    assert names(published(ring, later)) == ["b"]
    assert names(rotated(ring, key("c", later), later).keys) == ["b", "c"]


def test_a_withdrawn_key_is_not_there_any_more() -> None:
    """What is withdrawn is neither shown nor used."""
    ring = withdrawn(rotated(FIRST, key("b", NOW), NOW), "b")
    assert names(published(ring, NOW)) == ["a"]
    assert signing(withdrawn(ring, "a"), NOW) is None
    assert published(KeyRing(), NOW) == ()


def test_a_clock_that_is_behind_signs_all_the_same() -> None:
    """A host whose clock is behind that of the one that made the first key uses that key."""
    assert signing(FIRST, NOW - timedelta(seconds=2)) == FIRST.keys[0]


def test_a_private_key_is_never_shown_by_accident() -> None:
    """The text of a ring does not hold a private key."""
    assert "canary" not in repr(FIRST)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.integers(0, 200))
def test_whatever_signs_is_shown_until_its_tokens_end(waits: list[int], at: int) -> None:
    """Whenever keys are changed: a token is checked by a key that is shown, at all of its life."""
    ring, now = FIRST, NOW
    signed: list[tuple[datetime, SigningKey]] = [(now, FIRST.keys[0])]
    for number, hours in enumerate(waits):
        now += timedelta(hours=hours)
        ring = rotated(ring, key(f"k{number}", now + PUBLISHED_AHEAD), now)
        using = signing(ring, now)
        assert using is not None
        assert using in published(ring, now)
        signed.append((now, using))
    later = now + timedelta(minutes=at)
    for when, used in signed:
        if later <= when + LONGEST_LIFETIME:
            assert used in published(ring, later)
