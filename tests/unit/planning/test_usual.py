"""How long a run usually takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.types import Operation
from reconciler.model import RunEnd
from reconciler.planning.usual import so_far, usual, usual_of
from tests.factories import NOW, ended, status

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("minutes", "expected"), [([], None), ([5], 5), ([9, 1, 5], 5), ([4, 2], 2), ([0, 0], None)]
)
def test_the_middle_one_is_usual(minutes: list[int], expected: int | None) -> None:
    """One that took very long, or was over at once, changes nothing."""
    found = usual(MINUTE * each for each in minutes)
    assert found == (None if expected is None else MINUTE * expected)


def test_only_what_went_well_of_the_same_kind_counts() -> None:
    """A failed update, and a preview, say nothing of how long an update takes."""
    good = ended(version=3, started=NOW - 5 * MINUTE)
    bad = ended(RunEnd.FAILED, version=4, started=NOW - MINUTE)
    look = ended(version=5, started=NOW - 2 * MINUTE, operation=Operation.PREVIEW)
    assert usual_of(status(last=good, latest=bad), Operation.UPDATE) == 5 * MINUTE
    assert usual_of(status(last=good, latest=look), Operation.PREVIEW) == 2 * MINUTE
    assert usual_of(status(last=good, latest=look), Operation.REFRESH) is None
    assert usual_of(status(), Operation.UPDATE) is None


def test_it_is_told_in_words() -> None:
    """For how long it has run, and what is usual where that is known."""
    elapsed = timedelta(seconds=50)
    assert so_far(elapsed, None) == "for 50 seconds"
    assert so_far(elapsed, 5 * MINUTE) == "for 50 seconds, usually 5 minutes"
