"""Moments in words, on pages and on the terminal."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.planning.moments import relative, span
from tests.factories import NOW


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (172_799, "47 hours"),
        (172_800, "2 days"),
        (-5, "0 seconds"),
    ],
)
def test_a_unit_is_used_from_two_of_it_on(seconds: int, text: str) -> None:
    """So of two moments the older one never has the smaller look of one beside many."""
    assert span(timedelta(seconds=seconds)) == text


def test_a_moment_is_told_from_now() -> None:
    """What is to come is ahead, what was is behind."""
    minute = timedelta(minutes=1)
    assert relative(NOW - minute, NOW) == "60 seconds ago"
    assert relative(NOW + 3 * minute, NOW) == "in 3 minutes"
