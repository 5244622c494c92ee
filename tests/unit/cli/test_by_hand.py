"""What people ask for by hand, over real files: what is refused, recorded and left to a daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.adapters.holds import HoldsFiles
from reconciler.adapters.requests_by_hand import HandRequests
from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.statusfile import StatusFiles
from reconciler.api.types import Operation
from reconciler.cli import parser
from reconciler.clock import SystemClock
from reconciler.jsonform import to_text
from reconciler.model import (
    Approval,
    ForeignRun,
    HandRequest,
    Hold,
    OnDelete,
    Passage,
    Reason,
    ReasonCode,
    Removal,
    RequestKind,
    Run,
    State,
    Status,
)
from reconciler.planning.admission import Mass
from reconciler.planning.gates import approval_key
from tests.factories import COMMIT, DIGEST, attempt, cause, ended, run, spec

SPEC = (
    "stack: acme/{name}/dev\n"
    "sourceContext: {{git: {{repoUrl: https://x.example/i.git, branch: main}}}}\n"
)


class Desk:
    """A directory of specs, and what is remembered of them."""

    def __init__(self, root: Path) -> None:
        self.specs = root / "specs"
        self.specs.mkdir()
        self.root = StateDirectory(root / "state")
        self.state = self.root.of_directory(self.specs)
        self.holds = HoldsFiles(self.state.folder)
        self.requests = HandRequests(self.state.requests)
        self.statuses = StatusFiles(self.specs, None, self.state.statuses)

    def spec(self, name: str, more: str = "") -> None:
        (self.specs / f"{name}.yaml").write_text(SPEC.format(name=name) + more)

    def remember(self, name: str, code: ReasonCode, state: State, **changes: object) -> Status:
        reason = Reason(code, f"it is {code}")
        status = Status(name=name, stack=f"acme/{name}/dev", state=state, reason=reason)
        return self.statuses.write(replace(status, **changes))  # type: ignore[arg-type]

    def arguments(self, *words: str) -> list[str]:
        return [*words, "--directory", str(self.specs), "--data", str(self.root.root)]

    def asked(self) -> tuple[HandRequest, ...]:
        return self.requests.all()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="ada", uid=uid))
    monkeypatch.setenv("RECONCILER_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "x")
    return Desk(tmp_path)


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(desk: Desk, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command where nobody reconciles; what it said on both channels."""

    def run_it(*words: str) -> tuple[int, str]:
        code = parser.run(desk.arguments(*words))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run_it


@pytest.fixture
def beside(desk: Desk, call: Call) -> Call:
    """Run a command while somebody else reconciles."""

    def run_it(*words: str) -> tuple[int, str]:
        with desk.root.lock(desk.specs, SystemClock()):
            return call(*words)

    return run_it


# ---------------------------------------------------------------- suspend, resume


def test_a_hold_that_cannot_be_looked_at_holds_everything(tmp_path: Path) -> None:
    """Where it cannot be told what is held, nothing starts, and it is said why."""
    (tmp_path / "state").touch()
    holds = HoldsFiles(tmp_path / "state").read()
    assert holds.everything is not None
    assert "holds.json cannot be looked at: Not a directory" in holds.everything.by


def test_a_spec_is_suspended_and_resumed(desk: Desk, call: Call) -> None:
    """A hold says who and when; it ends once, and both commands say so when there is nothing."""
    desk.spec("web")
    code, said = call("suspend", "web")
    assert code == 0
    assert "suspended: nothing of web is started" in said
    hold = desk.holds.read().of("web")
    assert hold is not None
    assert (hold.by, hold.everything) == ("ada", False)
    assert SystemClock().now() - hold.at < timedelta(minutes=1)
    assert "ada has suspended web already" in call("suspend", "web")[1]
    assert desk.holds.read().of("web") == hold
    assert call("resume", "web") == (0, "web goes on\n")
    assert desk.holds.read().of("web") is None
    assert call("resume", "web") == (0, "web was not suspended\n")


def test_a_suspension_by_the_file_is_told_apart(desk: Desk, call: Call) -> None:
    """What the file says only an edit of it ends."""
    desk.spec("web", "reconcile: {suspend: true}\n")
    assert "its file says so too: reconcile.suspend in" in call("suspend", "web")[1]
    code, said = call("resume", "web")
    assert code == 1
    assert f"set reconcile.suspend to false in {desk.specs / 'web.yaml'}" in said


def test_all_are_suspended_and_resumed(desk: Desk, call: Call) -> None:
    """A hold on all holds also whom it does not name; those held by name stay so."""
    desk.spec("web")
    desk.spec("net")
    call("suspend", "net")
    assert call("suspend", "--all")[0] == 0
    assert desk.holds.read().of("web") is not None
    code, said = call("resume", "web")
    assert code == 1
    assert "ada has suspended all specs on" in said
    assert "`reconciler resume --all` ends that" in said
    code, said = call("resume", "--all")
    assert (code, said) == (0, "what ada suspended goes on\nstill suspended by name: net\n")
    assert desk.holds.read().of("web") is None
    assert desk.holds.read().of("net") is not None


def test_only_what_is_known_is_suspended(desk: Desk, call: Call) -> None:
    """A name that nobody knows is an error with the nearest one; a broken or gone one is not."""
    desk.spec("web", "sourceContex: {}\n")
    desk.remember("old", ReasonCode.REMOVED, State.WAITING)
    assert call("suspend", "wep") == (
        2,
        f"reconciler: there is no spec 'wep' in {desk.specs}; did you mean web?\n",
    )
    assert call("suspend", "../web")[0] == 2
    assert call("suspend")[0] == 2
    assert call("suspend", "web", "--all")[0] == 2
    assert call("suspend", "web")[0] == 0
    assert call("suspend", "old")[0] == 0


# ---------------------------------------------------------------- approve


def approval(**changes: object) -> Approval:
    base = Approval(
        digest=DIGEST,
        source=COMMIT,
        operation=Operation.UPDATE,
        version=7,
        asked=SystemClock().now(),
        summary="1 to create",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def preview() -> Run:
    return ended(version=7, operation=Operation.PREVIEW)


def test_an_approval_binds_what_was_shown(desk: Desk, beside: Call) -> None:
    """It is left to the reconciler that runs, with the key of what was shown; that is printed."""
    desk.spec("web")
    asked = approval()
    desk.remember("web", ReasonCode.APPROVAL, State.WAITING, approval=asked, last=preview())
    code, said = beside("approve", "web")
    assert code == 0
    shown, left = said.splitlines()
    assert shown == (
        "approved: update of acme/web/dev at aaaaaaaaaaaa, as version 7 has shown it: 1 to create"
    )
    assert left.startswith("asked for; ")
    assert left.endswith("which takes it up")
    (found,) = desk.asked()
    assert (found.kind, found.name, found.by) == (RequestKind.APPROVE, "web", "ada")
    assert found.binds == approval_key(asked)


@pytest.mark.parametrize(
    ("waits", "why"),
    [
        (None, "nothing of web waits for approval (Waiting: it is Approval)"),
        (
            approval(by="bea", granted=SystemClock().now()),
            "nothing of web waits for approval: bea approved update on ",
        ),
        (
            approval(asked=SystemClock().now() - timedelta(hours=25)),
            "what web waited for could be approved until ",
        ),
    ],
    ids=["nothing", "approved", "expired"],
)
def test_what_does_not_wait_is_not_approved(
    desk: Desk, beside: Call, waits: Approval | None, why: str
) -> None:
    """Where nothing waits, or did for too long, it says why and asks for nothing."""
    desk.spec("web")
    desk.remember("web", ReasonCode.APPROVAL, State.WAITING, approval=waits)
    code, said = beside("approve", "web")
    assert code == 2
    assert why in said
    assert desk.asked() == ()
    assert beside("approve")[0] == 2
    assert beside("approve", "web", "--mass", "x")[0] == 2


def test_a_destroy_of_a_removed_spec_is_approved(desk: Desk, beside: Call) -> None:
    """A name whose file is gone can wait for approval too; no preview shows a destroy."""
    asked = approval(operation=Operation.DESTROY, version=0, summary="")
    desk.remember("old", ReasonCode.APPROVAL, State.WAITING, approval=asked)
    code, said = beside("approve", "old")
    assert code == 0
    assert said.splitlines()[0] == "approved: destroy of acme/old/dev"
    assert [r.name for r in desk.asked()] == ["old"]


def test_a_mass_change_is_approved_by_its_id(desk: Desk, beside: Call) -> None:
    """Exactly those names and digests are let through; an unknown ID tells which wait."""
    desk.spec("web")
    assert desk.holds.read().approved == frozenset()
    mass = Mass(
        code=ReasonCode.MASS_CHANGE, id="0123abcd", names={"a": "d1", "b": "d2"}, message="held"
    )
    desk.holds.tell([mass])
    code, said = beside("approve", "--mass", "nonsense")
    assert code == 2
    assert "with the ID nonsense waits for approval; these do: 0123abcd (2 of them: a, b)" in said
    code, said = beside("approve", "--mass", "0123abcd")
    assert code == 0
    assert said.startswith("approved: 2 of them: a, b\nasked for; ")
    (at,) = {passage.at for passage in desk.holds.read().approved}
    found = {Passage("MassChange", "a", "d1", at), Passage("MassChange", "b", "d2", at)}
    assert HoldsFiles(desk.state.folder).read().approved == found
    desk.holds.use_up([Passage("MassChange", "a", "d1", at), Passage("MassRemoval", "b", "d2", at)])
    left = HoldsFiles(desk.state.folder).read()
    assert ({p.name for p in left.approved}, {p.name for p in left.used}) == ({"b"}, {"a"})


# ---------------------------------------------------------------- adopt


def test_one_stack_is_adopted(desk: Desk, beside: Call) -> None:
    """The request is for that name; what is Ready, gone or another spec's is refused."""
    desk.spec("web")
    desk.spec("ready")
    desk.spec("twin")
    desk.remember("web", ReasonCode.HISTORY_UNKNOWN, State.STALLED)
    desk.remember("ready", ReasonCode.UP_TO_DATE, State.READY)
    desk.remember("twin", ReasonCode.CONFLICT, State.CONFLICT)
    desk.remember(
        "old", ReasonCode.REMOVED, State.WAITING, removal=Removal(since=ended().submitted)
    )
    good = to_text(spec("going", on_delete=OnDelete.DESTROY))
    desk.remember("going", ReasonCode.REMOVED, State.WAITING, last_good_spec=good)
    desk.holds.suspend("old", Hold(by="bea", at=SystemClock().now()))
    assert beside("adopt", "web")[0] == 0
    assert [(r.kind, r.name) for r in desk.asked()] == [(RequestKind.ADOPT, "web")]
    for name, why in {
        "ready": "ready is Ready: there is nothing to take over",
        "twin": "twin cannot be adopted: it is Conflict",
        "old": "the file of old is gone, and its stack is kept as it is: there is nothing to take "
        "over; bring the file back to go on with it",
        "going": "the file of going is gone, and its stack is to be destroyed (reconcile.onDelete: "
        "destroy): to keep it, first `reconciler suspend going`, then bring the file back; "
        "`reconciler why going` says how it stands",
    }.items():
        code, said = beside("adopt", name)
        assert (code, why in said) == (2, True), said
    assert len(desk.asked()) == 1


def test_all_that_wait_are_listed_and_adopted(desk: Desk, beside: Call) -> None:
    """Those that wait for it, and no others; without a terminal only with --yes."""
    assert beside("adopt", "--all") == (0, "no stack waits to be adopted\n")
    theirs = ForeignRun(version=3, by="bea", operation=Operation.UPDATE, owner="other")
    for name, why, state, changes in (
        ("unknown", ReasonCode.HISTORY_UNKNOWN, State.STALLED, {}),
        ("lost", ReasonCode.HISTORY_LOST, State.STALLED, {}),
        ("changed", ReasonCode.FOREIGN_CHANGE, State.STALLED, {}),
        ("owned", ReasonCode.CONFLICT, State.CONFLICT, {"foreign": theirs}),
        ("twin", ReasonCode.CONFLICT, State.CONFLICT, {}),
        ("failed", ReasonCode.RETRIES_EXHAUSTED, State.STALLED, {}),
        ("ready", ReasonCode.UP_TO_DATE, State.READY, {}),
    ):
        desk.spec(name)
        desk.remember(name, why, state, **changes)
    code, said = beside("adopt", "--all")
    assert code == 2
    assert "give --yes to take all of these over" in said
    assert "lost (acme/lost/dev): it is HistoryLost" in said
    assert desk.asked() == ()
    assert beside("adopt", "--all", "--yes")[0] == 0
    assert {r.name for r in desk.asked()} == {"unknown", "lost", "changed", "owned"}


class Person(StringIO):
    """Somebody at a terminal, with an answer."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_asked(
    desk: Desk, beside: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a yes takes stacks over."""
    desk.spec("web")
    desk.remember("web", ReasonCode.HISTORY_LOST, State.STALLED)
    for answer, count in (("", 0), ("n\n", 0), ("Y\n", 1)):
        monkeypatch.setattr("sys.stdin", Person(answer))
        code, said = beside("adopt", "--all")
        assert code == 1 - count
        assert "Take this stack over as they are? [y/N]" not in said
        assert "Take this stack over as it is? [y/N]" in said
        assert len(desk.asked()) == count


def test_a_suspended_one_is_not_adopted(desk: Desk, beside: Call) -> None:
    """It would be taken over only when it is resumed, and nobody would know."""
    for name, more in (("held", ""), ("filed", "reconcile: {suspend: true}\n")):
        desk.spec(name, more)
        desk.remember(name, ReasonCode.HISTORY_LOST, State.STALLED)
    desk.holds.suspend("held", Hold(by="bea", at=SystemClock().now()))
    assert "held is suspended by bea; first `reconciler resume held`" in beside("adopt", "held")[1]
    assert "filed is suspended (reconcile.suspend in" in beside("adopt", "filed")[1]
    assert beside("adopt", "--all", "--yes") == (0, "no stack waits to be adopted\n")
    assert desk.asked() == ()


# ---------------------------------------------------------------- trigger, cancel


def test_a_suspended_one_is_not_triggered(desk: Desk, beside: Call) -> None:
    """The refusal says who holds it, and what ends that."""
    desk.spec("web")
    desk.holds.suspend("web", Hold(by="bea", at=SystemClock().now()))
    code, said = beside("trigger", "web")
    assert code == 2
    assert "web is suspended by bea; first `reconciler resume web`" in said
    desk.holds.suspend("", Hold(by="eve", at=SystemClock().now()))
    assert (
        "all specs are suspended by eve; first `reconciler resume --all`"
        in beside("trigger", "web")[1]
    )


def test_a_removed_one_is_cancelled_and_its_destroy_triggered(desk: Desk, beside: Call) -> None:
    """What is kept cannot be run, what is destroyed can be; what runs can be cancelled."""
    desk.remember("kept", ReasonCode.REMOVED, State.WAITING, run=run(cause=cause()))
    good = to_text(spec("going", on_delete=OnDelete.DESTROY))
    desk.remember(
        "going", ReasonCode.REMOVED, State.STALLED, last_good_spec=good, attempt=attempt()
    )
    assert "its stack is kept as it is" in beside("trigger", "kept")[1]
    assert beside("trigger", "going", "--operation", "refresh")[0] == 2
    assert beside("trigger", "going")[0] == 0
    assert beside("cancel", "going")[0] == 2
    assert beside("cancel", "kept")[0] == 0
    assert desk.asked()[-1].binds == run().id
    assert [(r.kind, r.name) for r in desk.asked()] == [
        (RequestKind.TRIGGER, "going"),
        (RequestKind.CANCEL, "kept"),
    ]


# ---------------------------------------------------------------- why


def test_why_answers_without_an_api(desk: Desk, call: Call, beside: Call) -> None:
    """It says what is remembered, who reconciles, and that the API does not answer."""
    desk.spec("web", "reconcile: {dependsOn: [net]}\n")
    desk.spec("net", "reconcile: {suspend: true}\n")
    desk.remember("net", ReasonCode.SUSPENDED, State.SUSPENDED)
    desk.remember("web", ReasonCode.DEPENDENCY, State.WAITING)
    code, said = call("why", "net")
    assert code == 0
    assert said.startswith("net (acme/net/dev): Suspended\n  reconcile.suspend is true; ")
    assert "reconciler run " in said
    code, said = beside("why", "web")
    assert code == 0
    assert "depends on net, which is Suspended: it is Suspended" in said
    assert "reconciler run " not in said
    code, said = beside("why", "web", "-o", "json")
    assert json.loads(said)["reconciledBy"].startswith(f"process {os.getpid()}, since ")
    (desk.specs / "web.yaml").write_text("stack: x\n")
    assert "web (acme/web/dev): Invalid" in call("why", "web")[1]
    assert call("why", "wep")[0] == 2
