"""What must hold of every history, whatever went wrong in it: each a function with a sentence."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from reconciler.adapters.status_form import render
from reconciler.api.types import MARKER_PREFIX, JobStatus
from reconciler.model import Cause, CauseKind, Intent, State
from reconciler.planning import slots
from reconciler.planning.situation import expiry
from tests.factories import NOW
from tests.fakes.deployments_api import Outcome, Record
from tests.simulation.simulation import Simulation

__all__ = ["CHECKS", "SAFE", "check"]

# What a run is for where something is not as it was.
_CHANGES = frozenset({CauseKind.CHANGE, CauseKind.SOURCE, CauseKind.EXPIRY})

_RANGE = re.compile(
    r"schedule (\S+) due (\d{4}-\d\d-\d\d \d\d:\d\d)(?: to (\d{4}-\d\d-\d\d \d\d:\d\d))? UTC"
)


def check(of: Simulation) -> None:
    """Hold a history that has come to rest against all checks that can be made of it.

    Where memories were lost, what was run or passed over by them is not known any more.
    """
    for one in CHECKS if not of.done["lost"] else SAFE:
        one(of)


def _run_id(record: Record) -> str:
    return record.shown.marker.removeprefix(MARKER_PREFIX).split("_")[1]


def _ours(of: Simulation) -> list[Record]:
    found = [r for records in of.world.api.records.values() for r in records]
    return sorted((r for r in found if r.shown.id not in of.foreign), key=lambda r: r.number)


@cache
def _schema() -> Any:
    import jsonschema_rs  # noqa: PLC0415 - only here

    text = Path("schemas/status.schema.json").read_text()
    return jsonschema_rs.Draft202012Validator(json.loads(text))


def intents(of: Simulation) -> dict[str, tuple[str, Intent]]:
    """Return every intent that was ever written, by its run id, with its spec's name."""
    return {s.intent.run_id: (s.name, s.intent) for s in of.world.journal if s.intent is not None}


def every_create_has_an_intent(of: Simulation) -> None:
    """No deployment of ours is there that was not written down before."""
    known = intents(of)
    unknown = [r.shown.id for r in _ours(of) if _run_id(r) not in known]
    assert not unknown, f"unmatched creates: {unknown}"


def no_request_makes_two(of: Simulation) -> None:
    """One run id has one deployment, but for what the wire itself has doubled."""
    counts = Counter(r.shown.marker for r in _ours(of))
    more = {m: n for m, n in counts.items() if n > 1 + of.world.api.doubled[m]}
    assert not more, f"sent more than once: {more}"


def no_cause_has_two_runs(of: Simulation) -> None:
    """A slot, or a request by hand, starts one run and no second one."""
    known = intents(of)
    causes: dict[tuple[str, object], set[str]] = defaultdict(set)
    for record in _ours(of):
        name, intent = known[_run_id(record)]
        for key in _keys(intent.cause):
            causes[name, key].add(intent.run_id)
    if of.jumps:  # a clock that was believed again counts its slots anew
        causes = {k: v for k, v in causes.items() if not isinstance(k[1], tuple)}
    twice = {k: v for k, v in causes.items() if len(v) > 1}
    assert not twice, f"ran twice: {twice}"


def _keys(cause: Cause) -> list[object]:
    found: list[object] = []
    if cause.slot is not None:
        found.append((cause.schedule, cause.slot))
    if cause.request_id:
        found.append(cause.request_id)
    return found


def nothing_runs_again_by_itself(of: Simulation) -> None:
    """What is at what is wanted is not run again for a change that there was not."""
    known, called_off = intents(of), _called_off(of)
    order = {run_id: n for n, run_id in enumerate(known)}
    last: dict[str, tuple[Record, Intent]] = {}
    seen: set[str] = set()
    for record in _ours(of):
        name, intent = known[_run_id(record)]
        if not intent.cause.desired or intent.run_id in seen:
            continue
        seen.add(intent.run_id)
        before = last.get(name)
        last[name] = (record, intent)
        if before is None or intent.cause.kind not in _CHANGES:
            continue
        old_record, old = before
        same = (old.attempt.digest, old.attempt.commit, old.operation) == (
            intent.attempt.digest,
            intent.attempt.commit,
            intent.operation,
        )
        good = old_record.outcome is Outcome.SUCCEED and not old_record.canceled
        # What was called off between them may have come through after all, so it counts as asked.
        between = any(
            known[run_id][0] == name and order[old.run_id] < order[run_id] < order[intent.run_id]
            for run_id in called_off
        )
        told = f"{name}: version {record.shown.version} ran what was there"
        assert between or not (same and good), told


def _called_off(of: Simulation) -> set[str]:
    """Return the runs that a person cancelled before they had come through."""
    return {s.latest.run_id for s in of.world.journal if s.latest and not s.latest.version}


def never_two_at_once(of: Simulation) -> None:
    """Two deployments of ours are never alive on one stack."""
    assert not of.overlaps, of.overlaps[:3]


def none_is_destroyed_in_haste(of: Simulation) -> None:
    """Where a file was not missing for ten minutes, whatever the clock says, nothing goes."""
    assert not of.hasty, of.hasty[:3]


def every_slot_is_accounted_for(of: Simulation) -> None:
    """Each due slot has exactly one run, or one skip with a reason."""
    if of.jumps:
        return  # then there are slots that no clock has shown, or has shown twice
    known, begun = intents(of), {_run_id(record) for record in _ours(of)}
    # What was cancelled before it had come through has ended, and has no deployment.
    begun |= _called_off(of)
    notes = {(s.name, h.text) for s in of.world.journal for h in s.history}
    for name in ("db", "cache"):
        one = of.everything[name]
        # Schedules count from its first plan on; another one's status may keep it from that.
        began = next(s for s in of.world.journal if s.name == name and s.schedules)
        assert began.written is not None
        for schedule in one.schedules:
            start = next(s.last for s in began.schedules if s.name == schedule.name)
            key = slots.slot_key(one, schedule)
            due = set(slots.due(schedule, start, of.clock.time - timedelta(minutes=1), key))
            to_the_end = set(slots.due(schedule, start, of.clock.time, key))
            assert due
            ran = {
                intent.cause.slot
                for run_id, (who, intent) in known.items()
                if who == name
                and run_id in begun
                and intent.cause.schedule == schedule.name
                and intent.cause.slot is not None
            }
            skipped = _skipped(notes, name, schedule.name, due)
            # One that was sent, and never came through, is not one that ran.
            lost = due - ran - skipped
            assert not lost, f"{name}: lost slots of {schedule.name}: {sorted(lost)[:3]}"
            assert ran <= to_the_end, f"{name}: ran at no slot: {sorted(ran - to_the_end)[:3]}"


def _skipped(
    notes: set[tuple[str, str]], name: str, schedule: str, due: set[datetime]
) -> set[datetime]:
    found: set[datetime] = set()
    for who, text in notes:
        match = _RANGE.search(text)
        if who != name or match is None or match[1] != schedule:
            continue
        first = datetime.strptime(match[2], "%Y-%m-%d %H:%M").replace(tzinfo=NOW.tzinfo)
        last = match[3] and datetime.strptime(match[3], "%Y-%m-%d %H:%M").replace(tzinfo=NOW.tzinfo)
        found |= {s for s in due if first <= s <= (last or first)}
    return found


def every_status_is_valid(of: Simulation) -> None:
    """What is written fits the schema of status files."""
    sample = of.world.journal[:: max(1, len(of.world.journal) // 20)] + list(of.world.disk.values())
    for status in sample:
        _schema().validate(json.loads(render(status)))


def nothing_is_wedged(of: Simulation) -> None:
    """Once the faults stop, all come to rest, at what is wanted."""
    assert not of.world.requests, f"requests by hand are left: {list(of.world.requests)}"
    for name, one in of.world.specs.items():
        status = of.world.disk[name]
        told = f"{name}: {status.state}, {status.reason}"
        assert status.run is None, told
        assert status.intent is None, told
        assert status.state is State.READY, told
        wanted = (of.world.digests.get(name, "d" * 64), of.world.heads.get(name, "a" * 40))
        assert status.attempt is not None, told
        ends = expiry(one, status)
        if ends is not None and ends <= of.clock.time:
            assert status.destroyed, told
            continue
        assert (status.attempt.digest, status.attempt.commit) == wanted, told
        records = of.world.api.records[one.stack]
        assert all(r.shown.status.ended for r in records), told
        assert any(r.shown.status is JobStatus.SUCCEEDED for r in records), told


CHECKS = (
    every_create_has_an_intent,
    no_request_makes_two,
    no_cause_has_two_runs,
    nothing_runs_again_by_itself,
    never_two_at_once,
    none_is_destroyed_in_haste,
    every_slot_is_accounted_for,
    every_status_is_valid,
    nothing_is_wedged,
)

# What holds though statuses are lost, or are those of a backup.
SAFE = (
    every_create_has_an_intent,
    no_request_makes_two,
    never_two_at_once,
    every_status_is_valid,
    nothing_is_wedged,
)
