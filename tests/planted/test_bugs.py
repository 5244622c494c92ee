"""The planted bugs have their places still."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted.bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_bug_can_be_planted(bug: Bug) -> None:
    """What a bug changes stands in its file, once, and the tests that are to find it are there.

    `make test-planted` says which are found.
    """
    assert (ROOT / bug.file).read_text().count(bug.good) == 1
    assert bug.tests
    assert all((ROOT / test).exists() for test in bug.tests)


def test_there_are_twenty() -> None:
    """Fewer would leave kinds of mistakes out."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
