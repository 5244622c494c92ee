from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.api.types import LogLine, StepStatus
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.logs import (
    BadTokenError,
    FileLogs,
    LogStore,
    SharedLogs,
    StepState,
    parse_token,
    tokens_after,
)
from reconciler.engine.logs import lines as log_lines
from reconciler.engine.logs import pages as log_pages
from reconciler.engine.store import Claim
from reconciler.engine.store.claims import take_claim
from reconciler.engine.store.database import Database
from reconciler.engine.store.log_parts import LogPart, LogParts
from reconciler.errors import NotDurableError
from tests.postgres_server import PostgresServer
from tests.waiting import eventually

DONE, RUNNING, WAITING = StepStatus.SUCCEEDED, StepStatus.RUNNING, StepStatus.NOT_STARTED


# A part is written when it has 64 KiB: no larger than that and its last line.
SMALL_PART_BYTES = 66 * 1024

CLAIM = Claim(deployment_id="d1", worker=1, fence=1)


def files(directory: Path) -> FileLogs:
    ticks = count(1_000)
    return FileLogs(directory, lambda: next(ticks), lambda _: None)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    """A shared database in which `CLAIM` is the newest."""
    opened = Database(DatabaseUrl.parse(postgres.make_database(), may_hold_password=True))
    with opened.write() as connection:
        assert take_claim(connection, "d1", 1) == CLAIM
    yield opened
    opened.close()


@pytest.fixture(params=["files", "shared"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LogStore:
    """The logs of an engine that is alone, and those of one that shares its database."""
    if request.param == "files":
        return files(tmp_path)
    ticks = count(1_000)
    return SharedLogs(LogParts(request.getfixturevalue("database")), lambda: next(ticks))


def states(*statuses: StepStatus) -> list[StepState]:
    return [StepState(header=f"Step {n}", status=s) for n, s in enumerate(statuses)]


def write(store: LogStore, step: int, *chunks: bytes) -> None:
    log = store.open(CLAIM, step)
    for chunk in chunks:
        log.write(chunk)
    log.close()


def texts(lines: tuple[LogLine, ...]) -> list[str]:
    return [line.header or line.line for line in lines]


def follow(store: LogStore, steps: list[StepState]) -> Iterator[list[str]]:
    token: str | None = ""
    while token is not None:
        page = store.follow("d1", steps, token, ended=True)
        yield texts(page.lines)
        token = page.next_token


def test_lines_keep_their_endings(store: LogStore) -> None:
    """A line is as the program wrote it, carriage returns and the last open one included."""
    write(store, 0, b"a\n\nb\rc\r\n", b"op", b"en")
    lines = store.page("d1", 0, 0, 10)[0]
    assert texts(lines) == ["a\n", "\n", "b\rc\r\n", "open"]
    assert [line.timestamp_ns for line in lines] == [1000, 1001, 1002, 1003]


def test_bytes_that_are_no_text_are_shown_as_such(store: LogStore) -> None:
    """Output that is not UTF-8 does not break the log."""
    write(store, 0, b"\xff\xfe\n", "ä€".encode() + b"\n")
    assert texts(store.page("d1", 0, 0, 10)[0]) == ["\ufffd\ufffd\n", "ä€\n"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\n", b"a", b'"\\', b"\xc3", b"\xa4", b"\xe2\x82", b"\0\r\x85", b"\xf0"])
    ),
    st.integers(1, 7),
)
def test_lines_do_not_touch_each_other(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], width: int
) -> None:
    """However output is cut, each line is decoded by itself, broken characters included."""
    store, output = files(tmp_path_factory.mktemp("logs")), b"".join(pieces)
    write(store, 0, *[output[at : at + width] for at in range(0, len(output), width)])
    *whole, last = output.split(b"\n")
    expected = [line + b"\n" for line in whole] + ([last] if last else [])
    shown = texts(store.page("d1", 0, 0, 1000)[0])
    assert shown == [line.decode("utf-8", "replace") for line in expected]


def test_following_gives_every_step_with_its_header(store: LogStore) -> None:
    """A log from the beginning: a header, then its lines, step by step; then no token."""
    write(store, 0, b"a\n")
    write(store, 1)
    write(store, 2, b"b\n", b"c\n")
    page = store.follow("d1", states(DONE, DONE, DONE), "", ended=True)
    assert texts(page.lines) == ["Step 0", "a\n", "Step 1", "Step 2", "b\n", "c\n"]
    assert page.lines[0].timestamp_ns is None
    assert page.next_token is None


def test_a_running_deployment_gives_a_token_that_counts_the_header(store: LogStore) -> None:
    """The token reads job.step.offset, with the step from 0 and the header counted."""
    write(store, 0, b"a\n")
    write(store, 1, b"b\n")
    steps = states(DONE, DONE, RUNNING, WAITING)
    page = store.follow("d1", steps, "", ended=False)
    assert texts(page.lines) == ["Step 0", "a\n", "Step 1", "b\n", "Step 2"]
    assert page.next_token == "0.2.1"


def test_the_token_stays_the_same_while_nothing_is_new(store: LogStore) -> None:
    """Asking again with nothing new gives no lines and the same token."""
    write(store, 0, b"a\n")
    steps = states(RUNNING, WAITING)
    page = store.follow("d1", steps, "0.0.2", ended=False)
    assert (page.lines, page.next_token) == ((), "0.0.2")
    write(store, 0, b"b\n")
    page = store.follow("d1", steps, "0.0.2", ended=False)
    assert (texts(page.lines), page.next_token) == (["b\n"], "0.0.3")


def test_a_queued_deployment_has_a_token_and_no_lines(store: LogStore) -> None:
    """Before anything has started there is nothing to show, but more will come."""
    page = store.follow("d1", states(WAITING, WAITING), "", ended=False)
    assert (page.lines, page.next_token) == ((), "0.0.0")


def test_a_withdrawn_deployment_has_no_log(store: LogStore) -> None:
    """One that was cancelled in the queue has no lines and no token."""
    page = store.follow("d1", states(WAITING, WAITING), "", ended=True)
    assert (page.lines, page.next_token) == ((), None)


def test_a_failed_deployment_s_log_ends_with_the_failed_step(store: LogStore) -> None:
    """Steps that never started have no header in the log."""
    write(store, 0, b"a\n")
    page = store.follow("d1", states(StepStatus.FAILED, WAITING), "", ended=True)
    assert (texts(page.lines), page.next_token) == (["Step 0", "a\n"], None)


@pytest.mark.parametrize(
    "token", ["x", "0.0", "1.0.0", "0.2.0", "0.-1.0", "0.0.0.1", "0.0.x", "\u0660.0.0"]
)
def test_a_token_that_was_never_given_is_refused(token: str) -> None:
    """Only tokens of this log are taken."""
    with pytest.raises(BadTokenError):
        parse_token(token, 2)


def test_step_pages_go_on_while_more_may_come(store: LogStore) -> None:
    """A step's page has a next offset unless the step has ended and all was given."""
    write(store, 0, b"a\nb\nc\n")
    page = store.step_page("d1", 0, (0, 2), ended=True)
    assert (texts(page.lines), page.next_offset) == (["a\n", "b\n"], 2)
    page = store.step_page("d1", 0, (2, 2), ended=True)
    assert (texts(page.lines), page.next_offset) == (["c\n"], None)
    page = store.step_page("d1", 0, (2, 2), ended=False)
    assert page.next_offset == 3
    page = store.step_page("d1", 0, (1, 2), ended=True)
    assert page.next_offset is None
    assert store.step_page("d1", 1, (0, 2), ended=False).next_offset == 0
    assert store.step_page("d1", 1, (0, 2), ended=True).next_offset is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=3), st.integers(1, 300))
def test_pages_together_are_the_log(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], page_size: int
) -> None:
    """However a log is paged, by token or by offset, every line is given once, in order."""
    store = files(tmp_path_factory.mktemp("logs"))
    expected: list[str] = []
    for step, size in enumerate(sizes):
        lines = [f"{step}-{n}\n" for n in range(size)]
        write(store, step, "".join(lines).encode())
        expected += [f"Step {step}", *lines]
        offset: int | None = 0
        by_offset: list[str] = []
        while offset is not None:
            page = store.step_page("d1", step, (offset, page_size), ended=True)
            by_offset += texts(page.lines)
            offset = page.next_offset
        assert by_offset == lines
    followed = list(follow(store, states(*[DONE] * len(sizes))))
    assert [line for page_ in followed for line in page_] == expected
    assert max(map(len, followed)) <= log_pages.STREAM_LINES


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 25), st.integers(0, 25))
def test_a_log_goes_on_after_any_of_its_lines(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], first: int, second: int
) -> None:
    """The token after each line leads to the next one, also where it came after a token."""
    store, steps = files(tmp_path_factory.mktemp("logs")), states(*[DONE] * len(sizes))
    for step, size in enumerate(sizes):
        write(store, step, "".join(f"{step}-{n}\n" for n in range(size)).encode())
    token, left = "", store.follow("d1", steps, "", ended=True).lines
    for place in (first, second):
        tokens = list(tokens_after(token, left))
        assert len(tokens) == len(left)
        if place < len(left):
            token, left = tokens[place], left[place + 1 :]
            assert store.follow("d1", steps, token, ended=True).lines == left


def test_a_line_without_end_is_cut(store: LogStore) -> None:
    """A line longer than a person reads is cut with a note, and the next one is whole."""
    write(store, 0, *[b"x" * 50_000] * 5, b"\nnext\n")
    lines = texts(store.page("d1", 0, 0, 10)[0])
    assert len(lines) == 2
    assert lines[0].endswith("x [the rest of this line is not kept]\n")
    assert len(lines[0]) < log_lines.LONGEST_LINE_BYTES + 100
    assert lines[1] == "next\n"


def test_a_log_without_end_is_cut(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that prints for ever fills no disk; its last word still fits."""
    monkeypatch.setattr(log_lines, "LARGEST_STEP_BYTES", 1024 * 1024)
    log = store.open(CLAIM, 0)
    for _ in range(3000):
        log.write(b"y" * 999 + b"\n")
    log.note("the end")
    log.close()
    lines = texts(store.page("d1", 0, 0, 5000)[0])
    assert len(lines) < 1100
    assert lines[-2] == "[this step has written 1 MiB; what follows is not kept]\n"
    assert lines[-1] == "the end\n"


def test_a_full_log_stays_full(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the line that was too much, shorter ones are not kept either."""
    monkeypatch.setattr(log_lines, "LARGEST_STEP_BYTES", 1000)
    write(store, 0, b"a\n" + b"b" * 2000 + b"\nc\n", b"d\ne\n")
    lines = texts(store.page("d1", 0, 0, 10)[0])
    assert lines == ["a\n", "[this step has written 0 MiB; what follows is not kept]\n"]


def test_lines_written_together_stay_small_parts(database: Database) -> None:
    """Output that comes in one large piece is kept in parts that a page can take."""
    parts = LogParts(database)
    log = SharedLogs(parts, lambda: 1).open(CLAIM, 0)
    log.write(b"".join(b"%08d\n" % n for n in range(30_000)))
    log.close()
    kept = parts.read("d1", 0, 0)
    assert all(len(part.entries) < SMALL_PART_BYTES for part in kept)
    assert kept[1].first_line == kept[0].lines


def test_a_torn_log_is_taken_up(tmp_path: Path) -> None:
    """The log of an engine that was killed in mid-line is whole again with the next note."""
    store = files(tmp_path)
    write(store, 0, b"".join(b"%d\n" % n for n in range(200)))
    with (tmp_path / "d1" / "0.log").open("ab") as file:
        file.write(b'1000 "to')
    assert len(store.page("d1", 0, 0, 1000)[0]) == 200
    log = store.open(CLAIM, 0)
    log.note("the engine was lost")
    log.close()
    assert texts(store.page("d1", 0, 199, 10)[0]) == ["199\n", "the engine was lost\n"]


def test_a_long_line_of_pages_stays_small(store: LogStore) -> None:
    """An answer is bounded in bytes too; following goes on where it stopped."""
    write(store, 0, *[b"z" * 60_000 + b"\n"] * 100)
    pages = list(follow(store, states(DONE)))
    assert len(pages) > 1
    assert sum(map(len, pages)) == 101
    assert all(sum(map(len, page)) < 2 * log_pages.LARGEST_PAGE_BYTES for page in pages)


def test_logs_are_their_owner_s_alone(tmp_path: Path) -> None:
    """Nobody else can read a log."""
    store = files(tmp_path)
    write(store, 0, b"a\n")
    for path in (tmp_path / "d1").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_log_is_taken_up_where_it_ended(store: LogStore) -> None:
    """Who opens the log of a step again adds to it, and no line is given twice."""
    write(store, 0, b"a\nb\n")
    write(store, 0, b"c\n")
    assert texts(store.page("d1", 0, 0, 10)[0]) == ["a\n", "b\n", "c\n"]
    assert texts(store.page("d1", 0, 2, 10)[0]) == ["c\n"]


def test_lines_can_be_read_while_the_log_is_open(store: LogStore) -> None:
    """A follower sees a line soon after it was written, and not only when the step has ended."""
    log = store.open(CLAIM, 0)
    log.write(b"a\nb")
    eventually(lambda: texts(store.page("d1", 0, 0, 10)[0]) == ["a\n"], "a line is there")
    log.close()
    assert texts(store.page("d1", 0, 0, 10)[0]) == ["a\n", "b"]


def test_who_was_taken_over_writes_nothing_more(database: Database) -> None:
    """The log of a lost worker is closed: what it still has to say is not the deployment's."""
    store = SharedLogs(LogParts(database), lambda: 1)
    log = store.open(CLAIM, 0)
    log.note("before")
    eventually(lambda: store.page("d1", 0, 0, 10)[0], "the line is there")
    with database.write() as connection:
        newer = take_claim(connection, "d1", 2)
    log.note("after")
    log.close()
    other = store.open(newer, 0)
    other.note("from the other")
    other.close()
    assert texts(store.page("d1", 0, 0, 10)[0]) == ["before\n", "from the other\n"]


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [10_000, 9_999, 1])
def test_a_full_disk_costs_a_log_its_lines_and_nothing_else(tmp_path: Path, limit: int) -> None:
    """Who writes to a log that cannot be kept does not fail, and what comes later is whole."""
    store = files(tmp_path)
    log = store.open(CLAIM, 0)
    with full_disk(limit):
        for number in range(1000):
            log.write(b"%d of a line\n" % number)
        log.write(b"".join(b"%d of many\n" % number for number in range(5000)))
        log.note("a note")
        log.end_line()
    for number in range(300):
        log.write(b"%d after it\n" % number)
    log.close()
    shown = texts(store.page("d1", 0, 0, 10_000)[0])
    assert shown[-300:] == [f"{number} after it\n" for number in range(300)]
    assert shown[: len(shown) - 300] == [f"{n} of a line\n" for n in range(len(shown) - 300)]
    for offset in (0, len(shown) - 150, len(shown) - 1):
        assert texts(store.page("d1", 0, offset, 10_000)[0]) == shown[offset:]


class Unanswered(LogParts):
    """Keeps parts; the answers to some are lost, as with a connection that is cut."""

    lost = 0

    def append(self, claim: Claim, step: int, part: LogPart) -> None:
        super().append(claim, step, part)
        if self.lost:
            self.lost -= 1
            raise NotDurableError("the answer was lost")


def test_a_log_that_is_closed_while_answers_are_lost_is_whole(database: Database) -> None:
    """Nobody comes after the end of a log to write what was not answered."""
    parts = Unanswered(database)
    store = SharedLogs(parts, lambda: 1)
    log = store.open(CLAIM, 0)
    parts.lost = 3
    log.write(b"one\n")
    log.close()
    assert texts(store.page("d1", 0, 0, 100)[0]) == ["one\n"]
    log = store.open(CLAIM, 0)
    log.note("again")
    log.close()
    assert texts(store.page("d1", 0, 0, 100)[0]) == ["one\n", "again\n"]


def test_a_part_whose_answer_was_lost_is_no_gap(database: Database) -> None:
    """What comes after a part that may be there is a part of its own, and every line is told."""
    parts = Unanswered(database)
    store = SharedLogs(parts, lambda: 1)
    log = store.open(CLAIM, 0)
    parts.lost = 2
    for number in range(6):
        log.write(b"%d\n" % number)
        eventually(lambda: store.page("d1", 0, 0, 1)[0], "a part is there")
    log.close()
    log = store.open(CLAIM, 0)
    log.note("again")
    log.close()
    shown = texts(store.page("d1", 0, 0, 100)[0])
    assert shown == [*(f"{number}\n" for number in range(6)), "again\n"]
