"""What is told of: over the real loop in a world of its own, and over crashes at every write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.host_news import Target
from reconciler.adapters.outbox import Outbox
from reconciler.api.types import Operation
from reconciler.model import (
    Approval,
    Broken,
    Catalog,
    Hold,
    Holds,
    News,
    NewsKind,
    Problem,
    Reason,
    ReasonCode,
    Retry,
    SecretReference,
    Spec,
    State,
    Status,
)
from reconciler.planning.admission import Mass
from reconciler.planning.news import news, news_of_masses
from reconciler.told import Teller, ToldHolds, ToldStatuses
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Outcome
from tests.fakes.world import Crash, HoldsInMemory, World


def target(**more: object) -> Target:
    usual: dict[str, object] = {
        "name": "all",
        "service": "webhook",
        "secret": SecretReference("fromEnv", "RECONCILER_SECRET_X"),
        "on": frozenset(NewsKind),
    }
    return Target(**(usual | more))  # type: ignore[arg-type]


class Told:
    """A world of which is told, and what was."""

    def __init__(self, folder: Path, *specs: Spec) -> None:
        self.world = World(specs={s.name: s for s in specs})
        self.folder = folder
        self.world.tell = lambda world: ToldStatuses(
            world, Teller((target(),), self.outbox(), world.clock), world.specs.get
        )

    def outbox(self) -> Outbox:
        return Outbox(self.folder, self.world.clock)

    def pending(self) -> list[News]:
        return [e.news for e in self.outbox().pending()]

    def kinds(self) -> list[tuple[str, str]]:
        return [(n.name, str(n.kind)) for n in self.pending()]


def fails(*outcomes: Outcome) -> Callable[[object], Outcome]:
    left = list(outcomes)
    return lambda _: left.pop(0) if left else Outcome.SUCCEED


def test_a_first_success_is_told_as_such(tmp_path: Path) -> None:
    """A run that brings a stack where its spec wants it is one `succeeded`, with its commit."""
    it = Told(tmp_path, spec("web"))
    it.world.run_once()
    (told,) = it.pending()
    assert told.kind is NewsKind.SUCCEEDED
    assert (told.name, told.version, told.operation) == ("web", 1, "update")
    assert told.commit == "a" * 40
    assert told.stack == str(spec("web").stack)


def test_a_failure_is_told_once_and_its_end(tmp_path: Path) -> None:
    """Of three failed tries the first is told; the success after them is a recovery."""
    it = Told(tmp_path, spec("web"))
    it.world.api.outcome = fails(Outcome.FAIL, Outcome.FAIL)
    it.world.run_once(timedelta(days=1))
    assert it.kinds() == [("web", "failed"), ("web", "recovered")]


def test_giving_up_is_told(tmp_path: Path) -> None:
    """After the last try a person is needed; and a change that succeeds is a recovery."""
    it = Told(tmp_path, replace(spec("web"), retry=Retry(limit=1)))
    it.world.api.outcome = fails(Outcome.FAIL, Outcome.FAIL)
    it.world.run_once(timedelta(days=1))
    assert it.kinds() == [("web", "failed"), ("web", "stalled")]
    assert "gave up after 2 tries" in it.pending()[-1].message
    it.world.heads["web"] = "b" * 40
    it.world.run_once()
    assert it.kinds()[2:] == [("web", "recovered")]


def test_a_file_that_is_wrong_and_right_again(tmp_path: Path) -> None:
    """An invalid spec needs a person; when it is valid again, that is told too."""
    it = Told(tmp_path, spec("web"))
    it.world.run_once()
    problem = Problem(path=Path("web.yaml"), line=3, message="is no stack")
    it.world.catalog = Catalog(broken={"web": Broken(problem, None)})
    it.world.run_once()
    it.world.catalog = None
    it.world.run_once()
    told = {str(n.kind): n.message for n in it.pending()}
    assert sorted(told) == ["recovered", "stalled", "succeeded"]
    assert "is no stack" in told["stalled"]


def test_every_crash_tells_the_same(tmp_path: Path) -> None:
    """Whichever write a crash comes before or after: the same is told, each thing once."""

    def story(folder: Path, crash: int) -> tuple[list[tuple[str, str]], int]:
        it = Told(folder, replace(spec("web"), retry=Retry(limit=0)))
        count = 0

        def crash_at(where: str) -> bool:
            nonlocal count
            count += "write" in where
            return count == crash and "write" in where

        it.world.crash_at = crash_at
        it.world.api.outcome = lambda record: (
            Outcome.FAIL if record.request.source.commit == "a" * 40 else Outcome.SUCCEED
        )
        it.world.run_once(timedelta(days=1))
        it.world.heads["web"] = "b" * 40
        it.world.run_once(timedelta(days=1))
        return sorted(it.kinds()), count

    expected, crashes = story(tmp_path / "none", 0)
    assert expected == [("web", "failed"), ("web", "recovered"), ("web", "stalled")]
    assert crashes >= 20
    for number in range(1, crashes + 1):
        assert story(tmp_path / str(number), number)[0] == expected, number


def test_what_is_told_is_not_told_again_after_it_was_sent(tmp_path: Path) -> None:
    """Sent before the crash that makes the step again: the outbox takes it no second time."""
    it = Told(tmp_path, spec("web"))
    it.world.api.outcome = fails(Outcome.FAIL)
    seen: list[str] = []

    def crash_at(where: str) -> bool:
        found = it.pending()
        if where == "before a write" and found and not seen:
            seen.append(found[0].id)
            it.outbox().settle(found[0].id, "all")  # it was sent at once
            return True
        return False

    it.world.crash_at = crash_at
    it.world.run_once(timedelta(days=1))
    assert len(seen) == 1
    assert it.kinds() == [("web", "recovered")]


def in_flight(it: Told) -> bool:
    return it.world.disk["web"].run is not None


def test_a_full_disk_holds_the_step_and_loses_no_news(tmp_path: Path) -> None:
    """Where the outbox cannot be written, the status is not either; both come later."""
    it = Told(tmp_path, spec("web"))
    daemon = it.world.daemon()
    daemon.tick()
    (tmp_path / "pending").rename(tmp_path / "away")
    it.world.clock.time += timedelta(minutes=5)
    daemon.tick()
    assert in_flight(it), "its end is not taken down"
    (tmp_path / "away").rename(tmp_path / "pending")
    it.world.clock.time += timedelta(minutes=5)
    daemon.tick()
    assert not in_flight(it)
    assert it.kinds() == [("web", "succeeded")]


# ---------------------------------------------------------------- steps by themselves


def known(**more: object) -> Status:
    usual: dict[str, object] = {
        "name": "web",
        "stack": "acme/web/dev",
        "generation": 3,
        "state": State.READY,
        "reason": Reason(ReasonCode.UP_TO_DATE, "as wanted"),
    }
    return Status(**(usual | more))  # type: ignore[arg-type]


def test_who_is_asked_hears_of_it_once() -> None:
    """An approval that is wanted is told; that it was granted, or still waits, is not."""
    asked = Approval(
        digest="d", source="s", operation=Operation.UPDATE, version=4, asked=NOW, summary="1 to add"
    )
    (told,) = news(known(), known(approval=asked), NOW)
    assert told.kind is NewsKind.APPROVAL
    assert "`reconciler approve web`: 1 to add" in told.message
    assert news(known(approval=asked), known(approval=asked, generation=4), NOW) == ()
    granted = replace(asked, granted=NOW, by="ada")
    assert news(known(approval=asked), known(approval=granted), NOW) == ()
    other = replace(asked, asked=NOW + timedelta(hours=1))
    (again,) = news(known(approval=asked), known(approval=other), NOW)
    assert again.id != told.id


@pytest.mark.parametrize("state", [State.STALLED, State.CONFLICT, State.INVALID])
def test_the_same_need_is_told_once(state: State) -> None:
    """Other words for the same reason are no news; another reason is."""
    conflict = Reason(ReasonCode.CONFLICT, "claimed twice")
    (told,) = news(known(), known(state=state, reason=conflict), NOW)
    assert (told.kind, told.reason) == (NewsKind.STALLED, "Conflict")
    stalled = known(state=state, reason=conflict, generation=4)
    other_words = known(state=state, reason=Reason(ReasonCode.CONFLICT, "still claimed"))
    assert news(stalled, other_words, NOW) == ()
    other_reason = known(state=state, reason=Reason(ReasonCode.CANCELED, "by ada"))
    assert len(news(stalled, other_reason, NOW)) == 1


@pytest.mark.parametrize("state", [State.SUSPENDED, State.UNKNOWN, State.WAITING])
def test_what_is_stalled_is_not_told_again_after_something_else(state: State) -> None:
    """A suspension that ends, or an API that is back, is no news; a need that came meanwhile is."""
    gave_up = Reason(ReasonCode.RETRIES_EXHAUSTED, "gave up after 2 tries")
    stalled = known(state=State.STALLED, reason=gave_up, stalled=gave_up)
    meanwhile = known(state=state, reason=Reason(ReasonCode.SUSPENDED, "by ada"), stalled=gave_up)
    assert news(stalled, replace(meanwhile, generation=4), NOW) == ()
    assert news(meanwhile, replace(stalled, generation=5), NOW) == ()
    (told,) = news(replace(meanwhile, stalled=None), meanwhile, NOW)
    assert (told.kind, told.reason, told.message) == (
        NewsKind.STALLED,
        "RetriesExhausted",
        "gave up after 2 tries",
    )


def test_all_that_was_stalled_before_a_suspension_is_told_once(tmp_path: Path) -> None:
    """Over the real loop: a person suspends and resumes, and nobody is called a second time."""
    it = Told(tmp_path, replace(spec("web"), retry=Retry(limit=1)))
    it.world.api.outcome = fails(Outcome.FAIL, Outcome.FAIL)
    it.world.run_once(timedelta(days=1))
    told = it.kinds()
    assert told[-1] == ("web", "stalled")
    it.world.holds = Holds(everything=Hold(by="ada", at=NOW, everything=True))
    it.world.run_once()
    held = it.world.disk["web"]
    assert held.state is State.SUSPENDED
    assert held.reason is not None
    assert "`reconciler resume --all` goes on; beneath that it is Stalled: gave up after 2" in (
        held.reason.message
    )
    it.world.holds = Holds()
    it.world.run_once()
    assert it.world.disk["web"].state is State.STALLED
    assert it.kinds() == told


def test_a_message_is_cut() -> None:
    """However long a reason is, what is told has an end."""
    long = Reason(ReasonCode.CONFLICT, "x" * 100_000)
    (told,) = news(known(), known(state=State.CONFLICT, reason=long), NOW)
    assert len(told.message) == 1000


def test_mass_changes_are_told_while_none_of_their_kind_waits() -> None:
    """A change of very many that grows while files come is told once."""
    first = Mass(code=ReasonCode.MASS_CHANGE, id="one", names={"a": "1"}, message="26 of 100")
    grown = Mass(code=ReasonCode.MASS_CHANGE, id="two", names={"b": "1"}, message="27 of 100")
    (told,) = news_of_masses((), (first,), NOW)
    assert (told.kind, told.reason, told.name) == (NewsKind.APPROVAL, "MassChange", "")
    assert news_of_masses((first,), (grown,), NOW) == ()
    assert news_of_masses((), (first,), NOW + timedelta(days=1))[0].id == told.id


def test_a_mass_change_on_a_full_disk_is_told_later(tmp_path: Path) -> None:
    """The loop goes on, and its next look tells it, once."""
    world = World(specs={})
    outbox = Outbox(tmp_path, world.clock)
    holds = ToldHolds(HoldsInMemory(world), Teller((target(),), outbox, world.clock))
    mass = Mass(code=ReasonCode.MASS_REMOVAL, id="one", names={"a": "1"}, message="3 of 4")
    (tmp_path / "pending").rename(tmp_path / "away")
    holds.tell([mass])
    holds.read()
    (tmp_path / "away").rename(tmp_path / "pending")
    assert outbox.pending() == ()
    holds.read()
    holds.read()
    (entry,) = outbox.pending()
    assert (entry.news.reason, entry.news.message) == ("MassRemoval", "3 of 4")
    assert world.masses == (mass,)


def test_targets_hear_what_they_asked_for(tmp_path: Path) -> None:
    """By kind and by the spec's name; what is about many specs goes to all."""
    world = World(specs={})
    outbox = Outbox(tmp_path, world.clock)
    targets = (
        target(name="web", specs=("team-web/*",)),
        target(name="drift", on=frozenset({NewsKind.DRIFT})),
    )
    teller = Teller(targets, outbox, world.clock)
    reason = Reason(ReasonCode.CONFLICT, "twice")
    wrong = known(name="team-web/a", state=State.CONFLICT, reason=reason)
    teller.tell(news(known(name="team-web/a"), wrong, NOW))
    teller.tell(news(known(name="b"), replace(wrong, name="b", stack="x/y/z"), NOW))
    assert [(e.news.name, e.targets) for e in outbox.pending()] == [("team-web/a", ("web",))]


def test_a_crash_is_a_crash() -> None:
    """What the world throws is no error of ours, which a loop might swallow."""
    assert not issubclass(Crash, Exception)
