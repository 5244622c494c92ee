from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.engine.throttle import ALL_OVER_ONE, MOST_ADDRESSES, Throttle, neighbourhood

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ZERO = timedelta()


def test_so_many_may_fail_at_once_and_then_one_by_one() -> None:
    """The failures of a minute may come at once; then one is free when its share is over."""
    throttle = Throttle(60)
    for _ in range(60):
        assert throttle.wait("a", NOW) <= ZERO
        throttle.failed("a", NOW)
    assert throttle.wait("a", NOW) == timedelta(seconds=1)
    assert throttle.wait("a", NOW + timedelta(seconds=1)) <= ZERO
    throttle.failed("a", NOW + timedelta(seconds=1))
    assert throttle.wait("a", NOW + timedelta(seconds=1)) == timedelta(seconds=1)
    assert throttle.wait("a", NOW + timedelta(minutes=2)) <= ZERO


def test_others_may_still_fail() -> None:
    """What one address has done holds nobody else, until all have done too much."""
    throttle = Throttle(2)
    for number in range(ALL_OVER_ONE * 2):
        assert throttle.wait("new", NOW) <= ZERO
        throttle.failed(f"a{number // 2}", NOW)
    assert throttle.wait("a0", NOW) > ZERO
    assert throttle.wait("new", NOW) > ZERO


def test_no_number_of_addresses_fills_the_memory() -> None:
    """Of many addresses the latest are remembered."""
    throttle = Throttle(1)
    for number in range(MOST_ADDRESSES + 100):
        throttle.failed(f"a{number}", NOW)
    assert len(throttle._paid_at) <= MOST_ADDRESSES
    assert throttle.wait("new", NOW) > ZERO


def test_a_clock_that_was_set_back_locks_nobody_out_for_long() -> None:
    """After a jump back of a day nobody waits until the clock is where it was."""
    throttle = Throttle(60)
    throttle.failed("a", NOW)
    for address in ("a", "b"):
        assert throttle.wait(address, NOW - timedelta(days=1)) <= ZERO


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_address(address: str, expected: str) -> None:
    """An IPv4 address by itself, an IPv6 one with its network."""
    assert neighbourhood(address) == expected
