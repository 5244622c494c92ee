"""Intervals as cron expressions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from reconciler import cron
from reconciler.importing.schedules import every


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, ("* * * * *", 60)),
        (60, ("* * * * *", 60)),
        (300, ("H/5 * * * *", 300)),
        (420, ("H/6 * * * *", 360)),
        (3600, ("H * * * *", 3600)),
        (7200, ("H H/2 * * *", 7200)),
        (18_000, ("H H/4 * * *", 14_400)),
        (864_000, ("H H * * *", 86_400)),
    ],
)
def test_an_interval_is_the_next_shorter_one_that_cron_has(
    seconds: int, expected: tuple[str, int]
) -> None:
    """What divides an hour or a day is kept; anything else runs a little more often."""
    assert every(seconds) == expected


@pytest.mark.parametrize("seconds", [300, 420, 1800, 3599, 3600, 7200, 18_000, 86_400, 10**7])
def test_the_expression_has_the_interval_it_says(seconds: int) -> None:
    """A schedule fires with the interval that is told, and no less often than was asked."""
    text, real = every(seconds)
    assert cron.check(text) == ""
    assert real <= max(seconds, 60)
    after = datetime(2026, 3, 2, tzinfo=UTC)
    slots = cron.due_slots(_Each(text), after, after + timedelta(days=2), "acme/web/prod resync")
    gaps = {int((b - a).total_seconds()) for a, b in pairwise(slots)}
    assert gaps == {real}


@dataclass(frozen=True)
class _Each:
    cron: str
    time_zone: str = "UTC"
