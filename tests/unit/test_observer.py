from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from reconciler.api.client import ApiClient, StepLogPage
from reconciler.api.dialects import Dialect
from reconciler.api.types import (
    Created,
    DeploymentRequest,
    EnvironmentVariable,
    GitSource,
    JobStatus,
    LogLine,
    Secret,
    StackRef,
)
from reconciler.breaker import Breaker
from reconciler.errors import (
    EngineUnavailableError,
    LostError,
    ReconcilerError,
    RefusedError,
)
from reconciler.model import History, Observed, ReasonCode, Status, Unknown
from reconciler.observer import NEWS_PAGE, Known, News, Observer
from tests.factories import NOW, deployment, intent, run, settled, spec, status
from tests.fakes.deployments_api import TOKEN, Fault, Outcome
from tests.fakes.world import World

WEB = spec()
MARKER = "RECONCILER_RUN_me_{}_dddddddd"


@dataclass
class Seat:
    """An observer of the API in memory, which counts the calls."""

    dialect: Dialect = Dialect.TODAY
    calls: Counter[str] = field(default_factory=Counter)
    fault: Fault = Fault.NONE

    def __post_init__(self) -> None:
        self.world = World(specs={})
        self.api = self.world.api
        self.api.faults = self._count
        self.client = ApiClient(
            "http://localhost", lambda: Secret(TOKEN), self.dialect, self.world.session
        )
        self.observer = self.of(lambda: self.client)

    def of(self, source: Callable[[], ApiClient]) -> Observer:
        breaker = Breaker(source, self.world.clock)
        return Observer(breaker, self.world.clock, timedelta(seconds=30), "me")

    def _count(self, method: str, path: str) -> Fault:
        kind = "list" if path.endswith("/deployments") and method == "GET" else method
        self.calls["version" if "/version/" in path else kind] += 1
        return self.fault

    def create(self, marker: str = "", stack: StackRef = WEB.stack) -> Created:
        variables: tuple[EnvironmentVariable[Secret], ...] = ()
        if marker:
            variables = (EnvironmentVariable(name=MARKER.format(marker), value="1"),)
        request: DeploymentRequest[Secret] = DeploymentRequest(
            source=GitSource(repo_url="https://example.com/r.git", branch="main"),
            environment=variables,
        )
        created = self.client.create(stack, request)
        self.calls.clear()
        return created

    def later(self, **by: float) -> None:
        self.world.clock.time += timedelta(**by)

    def look(self, of: Status) -> Observed:
        return self.observer.look(WEB, Observed(status=of))


def unknown(observed: Observed) -> Unknown:
    assert isinstance(observed.seen, Unknown)
    return observed.seen


# ---------------------------------------------------------------- an unanswered create


def test_it_walks_the_versions_to_the_marker() -> None:
    """From the last known version on, one by one, past other people's; no list is believed."""
    seat = Seat()
    for marker in ("a", "", "other", "mine", "later"):
        seat.create(marker)
    seat.api.lag = timedelta(hours=1)
    found = seat.look(status(intent=intent(marker=MARKER.format("mine"), after_version=1)))
    assert not isinstance(found.seen, Unknown)
    assert found.seen is not None
    assert found.seen.version == 4
    assert seat.calls == {"version": 3}


def test_a_create_that_did_not_come_through() -> None:
    """Where no version has the marker, none is seen, and each has been looked at."""
    seat = Seat()
    seat.create("a")
    seat.create("b")
    found = seat.look(status(intent=intent(marker=MARKER.format("mine"), after_version=1)))
    assert found.seen is None
    assert seat.calls == {"version": 2}


def test_how_long_a_create_may_still_come_through() -> None:
    """From the first look on, by time that nobody sets; anew for another create, or process."""
    seat = Seat()
    known = status(intent=intent(marker=MARKER.format("mine")))
    settle = timedelta(seconds=30)
    assert seat.look(known).settles_in == settle
    seat.later(seconds=10)
    seat.world.clock.set_ahead(timedelta(hours=2))
    assert seat.look(known).settles_in == timedelta(seconds=20)
    seat.later(seconds=60)
    assert seat.look(known).settles_in == timedelta(0)
    again = status(intent=intent(marker=MARKER.format("mine"), at=NOW + timedelta(minutes=1)))
    assert seat.look(again).settles_in == settle
    seat.later(seconds=60)
    seat.observer = seat.of(lambda: seat.client)
    assert seat.look(again).settles_in == settle


# ---------------------------------------------------------------- runs in flight


def test_how_long_a_run_is_nowhere() -> None:
    """From the first look that does not see it on, anew once it was seen; whatever is set."""
    seat = Seat()
    created = seat.create("mine")
    known = status(run=run(id=created.id))
    shown = seat.api.refuses

    def look(*, hidden: bool = True) -> timedelta:
        seat.later(minutes=4)
        seat.world.clock.set_ahead(timedelta(hours=2))
        seat.api.refuses = (lambda _, __: 404) if hidden else shown
        return seat.look(known).missing_for

    minute = timedelta(minutes=1)
    assert [look(), look()] == [0 * minute, 4 * minute]
    assert look(hidden=False) == 0 * minute
    assert [look(), look(), look()] == [0 * minute, 4 * minute, 8 * minute]
    seat.observer = seat.of(lambda: seat.client)
    assert [look(), look()] == [7 * minute, 11 * minute], "another process has looked before"
    assert look(hidden=False) == 0 * minute
    assert look() == 0 * minute, "this one has seen it"


def test_how_long_a_run_runs() -> None:
    """From when it was first seen to run, by time that nobody sets; before, by the clock."""
    seat = Seat()
    seat.api.duration = timedelta(hours=5)
    created = seat.create("mine")
    known = status(run=run(id=created.id, seen_running=None, started=None))
    minute = timedelta(minutes=1)
    assert seat.look(known).running_for == 0 * minute
    seat.later(minutes=3)
    seat.world.clock.set_ahead(timedelta(hours=1))
    assert seat.look(status(run=run(id=created.id))).running_for == 3 * minute
    seat.observer = seat.of(lambda: seat.client)
    assert seat.look(status(run=run(id=created.id))).running_for == 63 * minute


@pytest.mark.parametrize("stacks", [2, 50])
def test_one_list_however_many_stacks(stacks: int) -> None:
    """In today's dialect a pass asks once per organization, and the next pass again."""
    seat = Seat()
    specs = [spec(f"s{i}") for i in range(stacks)]
    made = [seat.create(f"m{i}", s.stack) for i, s in enumerate(specs)]
    for _ in range(2):
        seat.calls.clear()
        seat.observer.start_pass((s.stack, m.id) for s, m in zip(specs, made, strict=True))
        for one, created in zip(specs, made, strict=True):
            found = seat.observer.look(
                one, Observed(status=status(run=run(id=created.id, version=1)))
            )
            assert not isinstance(found.seen, Unknown)
            assert found.seen is not None
            assert found.seen.id == created.id
        assert seat.calls == {"list": 1}


def test_each_organization_has_its_own_list() -> None:
    """Two organizations are two lists, and neither sees the other's."""
    seat = Seat()
    names = ("a", "a2"), ("b", "b2")
    specs = [
        spec(name, stack=StackRef(organization, name, "dev"))
        for organization, pair in zip(("acme", "other"), names, strict=True)
        for name in pair
    ]
    made = [seat.create("", s.stack) for s in specs]
    seat.observer.start_pass((s.stack, m.id) for s, m in zip(specs, made, strict=True))
    for one, created in zip(specs, made, strict=True):
        assert seat.observer.look(one, Observed(status=status(run=run(id=created.id)))).seen
    assert seat.calls == {"list": 2}


def test_one_run_alone_is_asked_for_by_its_id() -> None:
    """A page of a list costs both sides more than one deployment."""
    seat = Seat()
    made = seat.create()
    seat.observer.start_pass([(WEB.stack, made.id)])
    assert seat.look(status(run=run(id=made.id))).seen is not None
    assert seat.calls == {"GET": 1}


def test_no_more_pages_than_those_in_flight_need() -> None:
    """It reads as far back as the oldest run in flight, and what is on no page by its id."""
    seat = Seat()
    made = [seat.create(f"m{i}") for i in range(250)]
    for position, pages in ((248, 1), (235, 2), (0, 20)):
        seat.calls.clear()
        seat.observer.start_pass([(WEB.stack, made[position].id), (WEB.stack, made[249].id)])
        found = seat.look(status(run=run(id=made[position].id, version=position + 1)))
        assert found.seen is not None
        assert seat.calls["list"] == pages, position


def test_what_the_list_does_not_show_yet_is_asked_for_by_its_id() -> None:
    """A list that lags hides nothing that has been acknowledged."""
    seat = Seat()
    seat.api.lag = timedelta(minutes=5)
    made, other = seat.create(), seat.create()
    seat.observer.start_pass([(WEB.stack, made.id), (WEB.stack, other.id)])
    assert seat.look(status(run=run(id=made.id))).seen is not None
    assert seat.calls == {"list": 1, "GET": 1}


def test_the_preview_dialect_asks_for_the_version() -> None:
    """It has no list of an organization."""
    seat = Seat(Dialect.PREVIEW)
    made = seat.create()
    seat.observer.start_pass([(WEB.stack, made.id)])
    assert seat.look(status(run=run(id=made.id, version=1))).seen is not None
    assert seat.calls == {"version": 1}
    assert seat.look(status(run=run(id=made.id, version=0))).seen is not None
    assert seat.calls == {"version": 1, "GET": 1}


@pytest.mark.parametrize(
    ("outcome", "log"),
    [(Outcome.SUCCEED, ()), (Outcome.FAIL, ("Pulumi operation",))],
)
def test_an_ended_run_is_told_whole(outcome: Outcome, log: tuple[str, ...]) -> None:
    """Its steps and ending come with it, and of a failed one the end of the step's log."""
    seat = Seat()
    seat.api.outcome = lambda _: outcome
    made = seat.create()
    seat.later(minutes=5)
    seat.observer.start_pass([(WEB.stack, made.id)])
    found = seat.look(status(run=run(id=made.id)))
    assert not isinstance(found.seen, Unknown)
    assert found.seen is not None
    assert found.seen.status.ended
    assert found.log == log


# ---------------------------------------------------------------- at rest


def test_what_is_at_rest_asks_nothing() -> None:
    """A stack that has been deployed and has nothing in flight makes no call."""
    seat = Seat()
    assert seat.look(settled()).seen is None
    assert seat.calls == {}


def past(seat: Seat, of: Status) -> History:
    found = seat.observer.history(WEB, Observed(status=of)).history
    assert isinstance(found, History)
    return found


@pytest.mark.parametrize("dialect", Dialect)
def test_the_history_tells_whose_deployments_there_are(dialect: Dialect) -> None:
    """By their markers: our own of a lost status, another owner's, and those that have none."""
    seat = Seat(dialect)
    assert past(seat, status()) == History()
    seat.create("mine")
    assert past(seat, status()).latest == 1
    ours = past(seat, status()).ours
    assert ours is not None
    assert ours.marker == MARKER.format("mine")
    assert past(seat, status()).foreign is None
    seat.later(minutes=1)
    seat.create()
    foreign = past(seat, settled()).foreign
    assert foreign is not None
    assert (foreign.version, foreign.by, foreign.owner) == (2, "me", "")
    other: EnvironmentVariable[Secret] = EnvironmentVariable(
        name="RECONCILER_RUN_them_r9_dddddddd", value="1"
    )
    source: GitSource[Secret] = GitSource(repo_url="https://example.com/r.git", branch="main")
    seat.client.create(WEB.stack, DeploymentRequest(source=source, environment=(other,)))
    found = past(seat, settled())
    assert found.foreign is not None
    assert found.foreign == found.running
    assert (found.foreign.version, found.told_to, found.latest) == (2, 2, 3), "in their order"
    for _ in range(3):
        seat.later(minutes=1)
        past(seat, settled())
    found = past(seat, settled())
    assert found.foreign is not None
    assert (found.foreign.version, found.foreign.owner, found.foreign.ended) == (3, "them", True)
    assert (found.told_to, found.running) == (3, None)
    assert past(seat, settled(last_version=3)) == History(latest=3)


def test_a_request_that_arrived_twice_is_no_one_elses() -> None:
    """A second deployment with the marker of the run in flight is told apart while it waits."""
    seat = Seat()
    seat.api.knows_markers = False
    seat.create("mine")
    seat.create("mine")
    of = status(run=run(marker=MARKER.format("mine")), last_version=1)
    found = past(seat, of)
    assert (found.foreign, found.ours) == (None, None)
    assert found.double is not None
    assert found.double.version == 2


def test_a_list_that_shows_nothing_is_not_walked_from_its_beginning() -> None:
    """Where a list is far behind, what comes after the version that is known is asked for."""
    seat = Seat()
    seat.api.lag = timedelta(hours=1)
    for _ in range(60):
        seat.create()
    seat.calls.clear()
    assert past(seat, settled(last_version=58)).latest == 60
    assert (seat.calls["list"], seat.calls["version"] < 10) == (1, True)


def test_news_are_of_stacks_that_have_newer_versions() -> None:
    """One list tells of all stacks of an organization; unknown stacks are nobody's business."""
    seat = Seat()
    one, two, alien = spec("one"), spec("two"), spec("alien")
    for of in (one, two, two, alien):
        seat.create("", of.stack)
    known = {str(one.stack): Known(1), str(two.stack): Known(1)}
    assert seat.observer.news("acme", known) == News(newer=frozenset({str(two.stack)}))
    assert seat.calls == {"list": 1}


def test_what_a_list_lacks_is_told_where_it_should_be_there() -> None:
    """Of a whole list each is expected; of a part, those it shows, and those that began since."""
    seat = Seat()
    names = ["gone", *(f"s{i:02}" for i in range(NEWS_PAGE - 1))]
    stacks = {name: str(spec(name).stack) for name in names}
    for name in names[1:]:
        seat.create("", spec(name).stack)
    early, late = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    for began, more in ((None, 0), (early, 0), (early, 1), (late, 1)):
        if more:
            seat.create("", spec("alien").stack)
        known = {stacks[name]: Known(1) for name in names} | {stacks["gone"]: Known(1, began)}
        lacking = {stacks["gone"]} if not more or began is late else set()
        assert seat.observer.news("acme", known) == News(lacking=frozenset(lacking))
    seat.create("", spec("alien").stack)
    shorter = {stacks[name]: Known(2) for name in names[-3:]}
    assert seat.observer.news("acme", shorter) == News(lacking=frozenset(shorter))


@pytest.mark.parametrize("dialect", Dialect)
def test_what_is_not_over_is_told_of_whatever_version_is_known(dialect: Dialect) -> None:
    """A run of ours, or of others, that a status counts as past is waited for while it runs."""
    seat = Seat(dialect)
    seat.create("mine")
    stray = past(seat, settled()).stray
    assert stray is not None
    assert stray.marker == MARKER.format("mine")
    assert past(seat, status(run=run(id=stray.id), last_version=1)) == History(latest=1)
    seat.later(minutes=1)
    assert past(seat, settled()) == History(latest=1)
    seat.create()
    found = past(seat, settled(last_version=2)).running
    assert found is not None
    assert (found.version, found.by) == (2, "me")


def test_a_list_that_lags_behind_has_lost_nothing() -> None:
    """What the list does not show is asked for by its number before it counts as lost."""
    seat = Seat()
    seat.create("mine")
    seat.api.lag = timedelta(minutes=5)
    seat.create("mine2")
    assert past(seat, settled(last_version=2)).latest == 2
    assert past(seat, settled(last_version=3)).latest == 2


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("listed", [False, True])
def test_a_double_that_no_list_shows_is_found(dialect: Dialect, listed: bool) -> None:  # noqa: FBT001 - a table
    """What is after the newest that is listed is asked for by its number, however late it is."""
    seat = Seat(dialect)
    seat.api.knows_markers = False
    if not listed:
        seat.api.lag = timedelta(minutes=5)
    seat.create("mine")
    seat.api.lag = timedelta(minutes=5)
    seat.create("mine")
    ended = run(marker=MARKER.format("mine"), submitted=seat.world.clock.now())
    of = settled(last=ended, latest=ended, last_version=1)
    found = past(seat, of)
    assert found.double is not None
    assert (found.double.version, found.latest) == (2, 2)
    for _ in range(2):  # one after the other they end
        seat.later(minutes=6)
        seat.api.settle()
    seat.calls.clear()
    assert past(seat, settled(last_version=2)).latest == 2
    if dialect is Dialect.TODAY:
        assert seat.calls == {"list": 1, "version": 1}


# ---------------------------------------------------------------- an API that does not answer


def test_while_it_is_down_one_question_at_a_time_and_growing_pauses() -> None:
    """However many stacks want to know, the API is asked once after 1, 2, 4 … 30 seconds."""
    seat = Seat(fault=Fault.LOST_BEFORE)
    pauses = []
    for _ in range(7):
        seat.calls.clear()
        seat.observer.start_pass([])
        answers = {unknown(seat.look(status(run=run()))) for _ in range(20)}
        assert len(answers) == 1
        assert sum(seat.calls.values()) == 1
        (answer,) = answers
        assert answer.reason.code is ReasonCode.API_UNAVAILABLE
        assert "connection was reset" in answer.reason.message
        pauses.append((answer.again_at - seat.world.clock.now()).total_seconds())
        seat.world.clock.time = answer.again_at
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_once_it_answers_the_pauses_begin_anew() -> None:
    """What was down for long and is up again counts as up."""
    seat = Seat(fault=Fault.SERVER_ERROR)
    for _ in range(4):
        seat.world.clock.time = unknown(seat.look(status(run=run()))).again_at
    seat.fault = Fault.NONE
    assert seat.look(status(run=run())).seen is None
    seat.fault = Fault.LOST_AFTER
    seat.observer.start_pass([])
    again_at = unknown(seat.look(status(run=run()))).again_at
    assert again_at == seat.world.clock.now() + timedelta(seconds=1)


def failing(error: ReconcilerError) -> Callable[[], ApiClient]:
    def source() -> ApiClient:
        raise error

    return source


@pytest.mark.parametrize(
    ("error", "code", "pause_s"),
    [
        (LostError("gone", 7), ReasonCode.API_UNAVAILABLE, 7),
        (LostError("gone", 0.1), ReasonCode.API_UNAVAILABLE, 1),
        (LostError("gone", 1e9), ReasonCode.API_UNAVAILABLE, 3600),
        (RefusedError(429, "slow down", 5), ReasonCode.API_UNAVAILABLE, 5),
        (RefusedError(429, "slow down"), ReasonCode.API_UNAVAILABLE, 1),
        (RefusedError(401, "no"), ReasonCode.ACCESS_DENIED, 60),
        (RefusedError(403, "no"), ReasonCode.ACCESS_DENIED, 60),
        (RefusedError(404, "no"), ReasonCode.ACCESS_DENIED, 60),
        (EngineUnavailableError("its log"), ReasonCode.API_UNAVAILABLE, 1),
    ],
)
def test_each_failure_has_its_reason_and_pause(
    error: ReconcilerError, code: ReasonCode, pause_s: float
) -> None:
    """What the API asks to wait is waited, within an hour; a refused token waits for a person."""
    seat = Seat()
    seat.observer = seat.of(failing(error))
    found = seat.observer.history(WEB, Observed(status=status())).history
    assert isinstance(found, Unknown)
    assert found.reason.code is code
    assert (found.again_at - NOW).total_seconds() == pause_s


def test_a_refused_token_is_told_with_where_it_is_from() -> None:
    """The variable is named as it is, and who can look further."""
    seat = Seat()
    seat.observer = seat.of(failing(RefusedError(401, "no")))
    found = seat.observer.history(WEB, Observed(status=status())).history
    assert isinstance(found, Unknown)
    assert "it is in $PULUMI_ACCESS_TOKEN or --token-file" in found.reason.message
    assert "`reconciler doctor` says what is wrong" in found.reason.message


# ---------------------------------------------------------------- the log of a failure


class Logs:
    """An API whose failed step wrote these lines, in pages."""

    dialect = Dialect.PREVIEW

    def __init__(self, lines: list[str], page: int = 3) -> None:
        self.lines = lines
        self.page = page
        self.asked = 0
        self.failed = deployment(JobStatus.FAILED, failed_step="Pulumi operation")

    def by_version(self, *_: object) -> object:
        return self.failed

    def get(self, *_: object) -> object:
        return self.failed

    def step_logs(self, _stack: StackRef, _id: str, step: int, offset: int) -> StepLogPage:
        assert step == 1
        self.asked += 1
        found = self.lines[offset : offset + self.page]
        following = offset + len(found)
        return StepLogPage(
            tuple(LogLine(line=line, timestamp_ns=1) for line in found),
            following if following < len(self.lines) else None,
        )


def tail(logs: Logs) -> tuple[str, ...]:
    seat = Seat()
    seat.observer = seat.of(lambda: logs)  # type: ignore[arg-type, return-value]
    return seat.look(status(run=run())).log


def test_the_last_lines_over_all_pages() -> None:
    """Only the end of the log is kept, in its order."""
    logs = Logs([f"line {i}\n" for i in range(50)])
    assert tail(logs) == tuple(f"line {i}" for i in range(30, 50))
    assert logs.asked == 17


def test_a_log_without_end_is_not_read_for_ever() -> None:
    """What is read of a log is bounded."""
    logs = Logs(["x\n"] * 10_000, page=1)
    assert set(tail(logs)) == {"x"}
    assert logs.asked == 40


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain\n", "plain"),
        ("\x1b[38;5;1m\x1b[1merror:\x1b[0m no\r\n", "error: no"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\rdone\n", "done"),
        ("a\x00b\x07c\x7fd", "abcd"),
        ("\x1b[2J\x1b[Hx", "x"),
        ("\x9b31mred", "31mred"),
        ("half \ud800 of one", "half  of one"),
        ("a" * 400, "a" * 300),
    ],
)
def test_a_line_is_plain_text(line: str, shown: str) -> None:
    """Neither colours nor anything else that a terminal obeys gets into a status file."""
    assert tail(Logs([line])) == (shown,)


def test_empty_lines_are_left_out() -> None:
    """What is blank says nothing."""
    assert tail(Logs(["\n", "\x1b[0m\n", "one\n", "  \n"])) == ("one",)


def test_a_log_that_may_not_be_read_is_no_reason_to_lose_the_end() -> None:
    """That the run has failed is known, whatever becomes of its log."""

    class Forbidden(Logs):
        def step_logs(self, *_: object) -> StepLogPage:
            raise RefusedError(403, "not yours")

    (line,) = tail(Forbidden([]))
    assert "403: not yours" in line


def test_a_run_that_failed_before_any_step_has_no_log() -> None:
    """Without a failed step there is no log to show."""
    logs = Logs(["x"])
    logs.failed = replace(logs.failed, jobs=())
    assert tail(logs) == ()
