"""What `why` says, situation by situation: explanations.txt is what a person would read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.api.types import JobStatus, Operation
from reconciler.cli.why import as_json, as_text
from reconciler.model import (
    Approval,
    CancelRecord,
    CauseKind,
    Desired,
    Drift,
    ForeignRun,
    History,
    Hold,
    MissedRuns,
    Observed,
    OnDelete,
    Reason,
    ReasonCode,
    Removal,
    Retry,
    Run,
    RunEnd,
    Schedule,
    ScheduleStatus,
    Spec,
    State,
    Status,
    Upstream,
    Window,
)
from reconciler.planning import planner, remembered, removal, transitions
from reconciler.planning.explain import Case, Explanation, Neighbour, explain
from tests import factories
from tests.factories import (
    COMMIT,
    DIGEST,
    NIGHTLY,
    NOW,
    attempt,
    cause,
    deployment,
    desired,
    intent,
    observed,
    run,
    spec,
    status,
    trigger,
)

GOLDEN = Path(__file__).with_name("explanations.txt")
WHO = "process 7, since 2026-03-01T08:00:00Z"
AGO = timedelta(minutes=20)
OFFICE = Window(days=frozenset(range(5)), start=8 * 60, end=11 * 60, time_zone="Europe/Berlin")
LOG = (
    "Updating (acme/web/dev)\n",
    "error: no room left on this device\n",
    "error: update failed\n",
)


def ended(end: RunEnd = RunEnd.SUCCEEDED, **changes: object) -> Run:
    """Return a run that ended twenty minutes ago, after 90 seconds."""
    at = {
        "submitted": NOW - AGO - timedelta(seconds=95),
        "started": NOW - AGO - timedelta(seconds=90),
    }
    return replace(factories.ended(end, **{**at, **changes}), finished=NOW - AGO)


def settled(**changes: object) -> Status:
    """Return a status after one such run of what is wanted."""
    return factories.settled(**{"last": ended(), **changes})


def stood(of: Status, wanted: Desired, seen: Observed | None = None) -> Status:
    """Return a status as a pass twenty minutes ago has left it."""
    look = seen or observed(of)
    plan = planner.plan(wanted, replace(look, status=of), NOW - AGO)
    return transitions.verdict(of, plan, NOW - AGO)


def case(
    of: Status, wanted: Spec | Desired | None = None, *, stands: bool = False, **more: object
) -> Case:
    """Return a case as the command makes it: with a plan of this moment."""
    want = wanted if isinstance(wanted, Desired) else desired(wanted or spec())
    given = {k: more.pop(k) for k in tuple(more) if k in Observed.__dataclass_fields__}
    seen = observed(of, **given)
    fresh = of.attempt is None and of.intent is None
    if of.reason is not None or (fresh and not stands):
        known = of
    else:
        # An edit was made since; all else was so twenty minutes ago too.
        known = stood(of, replace(want, digest=DIGEST, fields=desired().fields), seen)
    plan = planner.plan(want, replace(seen, status=known), NOW)
    base = Case(
        status=known,
        now=NOW,
        spec=want.spec,
        plan=plan,
        hold=seen.hold,
        windows=seen.windows,
        reconciler=WHO,
    )
    named = {"neighbours": "upstream"}
    return replace(base, **{named.get(k, k): v for k, v in more.items()})  # type: ignore[arg-type]


def failed(**changes: object) -> Status:
    last = ended(
        RunEnd.FAILED,
        version=2,
        step="Pulumi operation",
        log=LOG,
    )
    last = replace(
        last, message="step 'Pulumi operation' failed: error: no room left on this device"
    )
    base = settled(last=last, latest=last, last_version=2, failures=1)
    return replace(base, **changes)  # type: ignore[arg-type]


def removed(of: Status, **changes: object) -> Case:
    known = replace(of, **changes)  # type: ignore[arg-type]
    wanted = desired(remembered.spec_of(known))
    plan = removal.plan_removal(wanted, observed(known), NOW, "")
    return Case(status=known, now=NOW, plan=plan, reconciler=WHO)


def situations() -> Iterator[tuple[str, Case]]:
    """Yield a title and a case for each situation that people ask about."""
    yield "never looked at", case(status(reason=None, stack=""), reconciler="")
    yield "up to date", case(settled(latest=ended()))
    yield (
        "up to date, with schedules and an end",
        case(
            replace(
                settled(latest=ended(), first_applied=NOW - timedelta(days=1)),
                schedules=(
                    ScheduleStatus(
                        name="nightly",
                        definition=NIGHTLY.definition,
                        last=NOW - timedelta(hours=9),
                        outcome="succeeded",
                        version=1,
                    ),
                ),
            ),
            spec(
                schedules=(
                    NIGHTLY,
                    Schedule(name="once", at=NOW - timedelta(days=3), operation=Operation.UPDATE),
                ),
                destroy_after=timedelta(days=3),
                windows=(OFFICE,),
            ),
        ),
    )
    edited = desired(digest="e" * 64, fields={**attempt().fields, "a": "1"})
    yield "edited, and nobody runs", case(settled(latest=ended()), edited, reconciler="")
    yield (
        "edited, outside its windows",
        case(settled(latest=ended()), replace(edited, spec=spec(windows=(OFFICE,)))),
    )
    yield (
        "runs",
        case(
            settled(
                run=run(version=2, submitted=NOW - AGO, started=NOW - AGO, seen_running=NOW - AGO)
            ),
            seen=deployment(JobStatus.RUNNING, version=2),
        ),
    )
    yield (
        "is being cancelled",
        case(
            settled(
                run=run(version=2, submitted=NOW - AGO, started=NOW - AGO, seen_running=NOW - AGO),
                canceling=CancelRecord(by="ada", at=NOW - timedelta(seconds=5)),
            ),
            seen=deployment(JobStatus.RUNNING, version=2),
        ),
    )
    sent = status(intent=intent(at=NOW - timedelta(seconds=9)))
    yield "a create without an answer", case(sent, settles_in=timedelta(seconds=21))
    yield "failed, tried again", case(failed(next_attempt=NOW + timedelta(seconds=25)))
    gave_up = Reason(ReasonCode.RETRIES_EXHAUSTED, "gave up after 3 tries: no room left")
    yield "gave up", case(failed(failures=3, stalled=gave_up))
    cut = Reason(ReasonCode.INTERRUPTED, "update (version 2) was cut off while Pulumi ran")
    yield "cut off", case(failed(stalled=cut))
    locked = replace(failed(failures=0, next_attempt=NOW + timedelta(minutes=4)))
    assert locked.last is not None
    told = replace(
        locked.last, end=RunEnd.LOCKED, log=(), message="the stack is locked by bea@host"
    )
    yield "locked", case(replace(locked, last=told, latest=told))
    yield (
        "waits for a dependency",
        case(
            status(reason=None),
            stands=True,
            wanted=spec(depends_on=("network", "dns")),
            upstream=(
                Upstream("network", State.STALLED),
                Upstream("dns", State.UNKNOWN, missing=True),
            ),
            neighbours=(
                Neighbour(name="network", state=State.STALLED, message="version 4 was canceled"),
                Neighbour(name="dns", missing=True),
            ),
        ),
    )
    asked = Approval(
        digest=DIGEST,
        source=COMMIT,
        operation=Operation.UPDATE,
        version=1,
        asked=NOW - AGO,
        summary="2 to create",
    )
    preview = ended(cause=cause(CauseKind.APPROVAL), operation=Operation.PREVIEW)
    yield (
        "waits for approval",
        case(
            settled(last=preview, latest=preview, approval=asked),
            spec(needs_approval=True),
        ),
    )
    yield "suspended by hand", case(settled(), hold=Hold(by="ada", at=NOW - AGO))
    yield (
        "suspended by its file and by all",
        case(
            settled(),
            spec(suspended=True, schedules=(NIGHTLY,)),
            hold=Hold(by="ada", at=NOW - AGO, everything=True),
        ),
    )
    yield (
        "a broken file",
        Case(
            status=settled(latest=ended()),
            now=NOW,
            problem="specs/web.yaml:3:1: /stack: 'a/b' is not organization/project/stack",
            reconciler=WHO,
        ),
    )
    readable = NOW + timedelta(seconds=4)
    yield "a file that changed just now", case(settled(latest=ended()), readable=readable)
    yield "nobody remembers", case(status(reason=None), stands=True, history=History(latest=4))
    theirs = ForeignRun(version=5, by="bea", operation=Operation.UPDATE)
    yield "changed by others", case(settled(latest=ended(), foreign=theirs, last_version=5))
    owned = replace(theirs, owner="ci")
    yield "another owner", case(settled(latest=ended(), foreign=owned, last_version=5))
    drift = Drift(version=3, found=NOW - AGO, summary="1 to change")
    yield "drifted", case(settled(latest=ended(), drift=drift))
    mass = Reason(ReasonCode.MASS_CHANGE, "9 of 20 specs have changed at once (a, b): held")
    held = replace(stood(settled(), desired()), state=State.WAITING, reason=mass)
    yield "a mass change", case(held, edited, masses={"0123abcd": 9})
    yield (
        "no secret",
        case(
            settled(),
            desired(blocked=Reason(ReasonCode.SECRET_UNAVAILABLE, "fromEnv X is not set")),
        ),
    )
    yield (
        "the API cannot be asked",
        case(settled(latest=ended()), plan=None, unplanned="no token for https://api.example.com"),
    )
    yield (
        "a slot that was missed",
        case(
            replace(
                settled(latest=ended()),
                schedules=(
                    ScheduleStatus(
                        name="nightly",
                        definition=NIGHTLY.definition,
                        last=NOW - timedelta(hours=10),
                    ),
                ),
            ),
            spec(schedules=(NIGHTLY,), missed_runs=MissedRuns.SKIP),
        ),
    )
    yield "triggered just now", case(settled(latest=ended()), requests=(trigger(),))
    gone = transitions.verdict(
        settled(latest=ended(), removal=Removal(since=NOW - timedelta(minutes=4))),
        removal.plan_removal(
            desired(spec()),
            observed(settled(removal=Removal(since=NOW - timedelta(minutes=4)))),
            NOW - timedelta(minutes=3),
            "",
        ),
        NOW - timedelta(minutes=3),
    )
    yield "the file is gone, unseen", removed(stood(settled(latest=ended()), desired()))
    yield "the file is gone", removed(gone)
    good = remembered.text_of(spec(on_delete=OnDelete.DESTROY, retry=Retry(limit=0)))
    begun = Removal(since=NOW - AGO, begun=NOW - timedelta(minutes=9))
    yield (
        "the file is gone, the stack goes",
        removed(gone, last_good_spec=good, removal=begun, applied=1),
    )


FOUND = dict(situations())


def test_each_situation_reads_as_it_should() -> None:
    """All explanations, word for word: what stands there is what a person is told."""
    texts = [f"=== {title}\n{as_text(explain(each))}\n" for title, each in FOUND.items()]
    assert "\n".join(texts) == GOLDEN.read_text()


@pytest.mark.parametrize("title", FOUND)
def test_json_says_the_same(title: str) -> None:
    """Every sentence of the text is in the JSON, and the object has all its keys."""
    answer = explain(FOUND[title])
    body = json.loads(as_json(answer))
    assert list(body) == [
        *("name", "stack", "state", "reason", "message", "since", "reconciledBy", "notPlanned"),
        *("now", "changes", "lastDone", "log", "next", "commands"),
    ]
    text = as_text(answer)
    for sentence in [body["message"], *body["now"], *body["lastDone"], *body["next"]]:
        assert sentence in text
    for command in body["commands"]:
        assert command["command"] in text


def test_commands_are_real_ones() -> None:
    """What is advised can be typed: each command of ours is one, with its options."""
    from reconciler.cli import parser  # noqa: PLC0415 - the whole command line

    build = parser.build()
    advised = {a.command for each in FOUND.values() for a in explain(each).advice}
    assert len(advised) > 12
    for command in advised:
        if command.startswith("reconciler "):
            build.parse_args(command.split()[1:])


def test_what_comes_from_others_cannot_command_a_terminal() -> None:
    """A log, a message or a name with control characters is shown without them."""
    bad = "\x1b[2Jgone\x07"
    last = ended(RunEnd.FAILED, version=2, log=(bad,))
    known = failed(last=last, latest=replace(last, message=bad), name="we\x1bb")
    text = as_text(explain(case(known, reconciler=bad)))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text) is None


def test_only_the_end_of_a_log_is_shown() -> None:
    """Ten lines say enough; the whole log is a command."""
    long = tuple(f"line {n}\n" for n in range(50))
    last = ended(RunEnd.FAILED, log=long)
    answer: Explanation = explain(case(failed(last=last, latest=last)))
    assert answer.log == tuple(f"line {n}" for n in range(40, 50))
