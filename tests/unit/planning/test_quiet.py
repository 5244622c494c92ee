"""When a changed file may be read: a table, and what a wrong clock may not do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.quiet import (
    CLOSED_QUIET_S,
    QUIET_S,
    Change,
    Word,
    being_written,
    readable_at,
)

SEEN = 1_000_000.0

# what has been told | written, relative to when it was seen as it stands | readable, likewise
CASES = [
    (Word.RENAMED, 0.0, 0.0),
    (Word.RENAMED, -3600.0, 0.0),
    (Word.RENAMED, 3600.0, 0.0),
    (Word.CLOSED, 0.0, CLOSED_QUIET_S),
    (Word.CLOSED, -0.25, CLOSED_QUIET_S - 0.25),
    (Word.CLOSED, -3600.0, CLOSED_QUIET_S - 3600.0),
    (Word.CLOSED, 3600.0, CLOSED_QUIET_S),
    (Word.NONE, 0.0, QUIET_S),
    (Word.NONE, -QUIET_S, 0.0),
    (Word.NONE, -3600.0, QUIET_S - 3600.0),
    (Word.NONE, 3600.0, QUIET_S),
]


@pytest.mark.parametrize(("word", "written", "readable"), CASES)
def test_when_a_changed_file_is_read(word: Word, written: float, readable: float) -> None:
    """Renamed: at once; closed: soon; else when it was left alone; a time ahead counts from now."""
    change = Change(written=SEEN + written, first=SEEN, word=word)
    assert readable_at(change) == SEEN + readable


@given(st.floats(-1e12, 1e12), st.sampled_from(Word))
def test_no_time_of_writing_keeps_a_file_for_long(written: float, word: Word) -> None:
    """Whatever its file system says, a file that stays as it is is read within the quiet time."""
    assert readable_at(Change(written=written, first=SEEN, word=word)) <= SEEN + QUIET_S


@given(st.floats(-1e6, 1e6), st.sampled_from(Word))
def test_more_word_is_no_longer_wait(written: float, word: Word) -> None:
    """Who knows more of a file waits no longer for it."""
    change = Change(written=SEEN + written, first=SEEN, word=word)
    less = Change(written=SEEN + written, first=SEEN, word=Word(max(word - 1, 0)))
    assert max(readable_at(change), SEEN) <= max(readable_at(less), SEEN)


def test_it_is_said_until_when() -> None:
    """A person reads when it was last written, and when it is looked at again."""
    at = datetime(2026, 11, 24, 12, 0, 7, tzinfo=UTC)
    assert being_written(at, at.replace(second=12)) == (
        "the file was still being written at 12:00:07 UTC; it is read once it has been "
        "left alone for 5 seconds, at 12:00:12 at the earliest"
    )
