"""Bugs that are planted one at a time, to see that the tests find each: `make test-planted`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["BUGS", "Bug"]


@dataclass(frozen=True, slots=True)
class Bug:
    """What is wrong, and how it is made so: in a file, the text that is there once, and another.

    `tests` are those that have to find it, the quickest first: a bug that only the whole suite
    would find has no test of its own.
    """

    name: str
    file: str
    good: str
    bad: str
    tests: tuple[str, ...]


PLANNING: Final = "tests/unit/planning"
FILES: Final = "tests/unit/test_files.py"
STATUS_FILES: Final = "tests/unit/adapters/test_statusfile.py"
OBSERVER: Final = "tests/unit/test_observer.py"
DAEMON: Final = "tests/unit/test_daemon.py"
RUNS: Final = "tests/semantics/test_rows_runs.py"
DOUBLES: Final = "tests/semantics/test_rows_doubles.py"
STRAYS: Final = "tests/semantics/test_rows_strays.py"
FLEET: Final = "tests/semantics/test_rows_fleet.py"
GUARDS: Final = "tests/semantics/test_rows_guards.py"
QUIET: Final = "tests/unit/adapters/test_spec_quiet.py"
WATCHER: Final = "tests/unit/adapters/test_watcher.py"
SHORT: Final = "tests/simulation/test_short_histories.py"


BUGS = (
    Bug(
        "a status is renamed into place without being synced",
        "reconciler/files.py",
        "                os.fsync(file.fileno())\n            Path(temporary).replace(path)",
        "            Path(temporary).replace(path)",
        (FILES, STATUS_FILES),
    ),
    Bug(
        "the create is sent before the intent is written",
        "reconciler/executor.py",
        "        status = self._write(begun)\n        stack = desired.spec.stack",
        "        status = begun\n        stack = desired.spec.stack",
        (RUNS, SHORT),
    ),
    Bug(
        "a create without an answer is sent again at once",
        "reconciler/planning/underway.py",
        "    if at.observed.settles_in > timedelta(0):",
        "    if at.observed.settles_in < timedelta(0):",
        (PLANNING, RUNS),
    ),
    Bug(
        "the settle window is too short",
        "reconciler/observer.py",
        "        return max(self._settle - self._looking.lasts",
        "        return max(self._settle / 3 - self._looking.lasts",
        (OBSERVER, RUNS),
    ),
    Bug(
        "a clock that is set ends the settle window",
        "reconciler/clock.py",
        "        now = self._clock.running()",
        "        now = self._clock.now() - datetime(2026, 1, 1, tzinfo=UTC)",
        (OBSERVER, RUNS),
    ),
    Bug(
        "what is asked for again gets a new name",
        "reconciler/planning/transitions/creates.py",
        "        return replace(status, intent=replace(submit.again, at=now))",
        "        again = replace(submit.again, at=now, run_id=name.run_id)\n"
        "        marker = name.marker(again.attempt.digest)\n"
        "        return replace(status, intent=replace(again, marker=marker))",
        (PLANNING, RUNS),
    ),
    Bug(
        "a lost answer is taken for a refusal",
        "reconciler/executor.py",
        "            return self._write(transitions.lost(status, tools.clock.now()))",
        "            nothing = Abandon(note='')\n"
        "            return self._write(transitions.abandoned(status, nothing, tools.clock.now()))",
        (RUNS, SHORT),
    ),
    Bug(
        "the walk begins one version too late",
        "reconciler/observer.py",
        "    found = _after(api, stack, intent.after_version)\n",
        "    found = _after(api, stack, intent.after_version + 1)\n",
        (OBSERVER, RUNS),
    ),
    Bug(
        "a new schedule counts from before it was there",
        "reconciler/planning/transitions/events.py",
        "definition=schedule.definition, last=now)",
        "definition=schedule.definition, last=now - __import__('datetime').timedelta(days=1))",
        (PLANNING, FLEET),
    ),
    Bug(
        "a slot that was taken is not remembered",
        "reconciler/planning/transitions/creates.py",
        "        replace(s, last=max(s.last, slot), due=None) if s.name == cause.schedule else s\n",
        "        replace(s, due=None) if s.name == cause.schedule else s\n",
        (PLANNING, FLEET),
    ),
    Bug(
        "slots that are passed over are not recorded",
        "reconciler/planning/scheduled.py",
        "    if len(due) > 1:\n",
        "    if len(due) > 1_000_000:\n",
        (PLANNING, FLEET),
    ),
    Bug(
        "a run that is told of and not seen counts as ended",
        "reconciler/planning/underway.py",
        "    if left <= timedelta(0):\n        reason = Reason(ReasonCode.HISTORY_LOST",
        "    if left <= VISIBLE_WITHIN:\n        reason = Reason(ReasonCode.HISTORY_LOST",
        (PLANNING, RUNS),
    ),
    Bug(
        "a list that lags behind is believed",
        "reconciler/observer.py",
        "    newest = (*newest, *_after(api, stack, latest))\n",
        "    newest = tuple(newest)\n",
        (OBSERVER, RUNS),
    ),
    Bug(
        "a run that was cut off in the operation is tried again by itself",
        "reconciler/planning/transitions/runs.py",
        "        case RunEnd.INTERRUPTED:\n            return Reason(",
        "        case RunEnd.INTERRUPTED if not name:\n            return Reason(",
        (PLANNING, RUNS),
    ),
    Bug(
        "retries are counted with one too many",
        "reconciler/planning/transitions/runs.py",
        "    if failures > retry.limit:",
        "    if failures > retry.limit + 1:",
        (PLANNING, RUNS),
    ),
    Bug(
        "a removed file counts at once",
        "reconciler/planning/removal.py",
        "GONE_AFTER: Final = timedelta(minutes=10)",
        "GONE_AFTER: Final = timedelta(0)",
        (PLANNING, FLEET),
    ),
    Bug(
        "an unreadable directory counts as empty",
        "reconciler/rolls.py",
        "    if not catalog.complete:",
        "    if not catalog.complete and catalog.specs:",
        (DAEMON, FLEET),
    ),
    Bug(
        "the mass guard looks at percents alone the wrong way",
        "reconciler/planning/admission.py",
        "    return count > number and count * 100 > total * percent",
        "    return count > number and count * 100 > total * (percent + 100)",
        (PLANNING, FLEET),
    ),
    Bug(
        "a destroyed stack of another spec is not left alone",
        "reconciler/planning/removal.py",
        "    if claimed_by and observed",
        "    if claimed_by == '?' and observed",
        (PLANNING, FLEET),
    ),
    Bug(
        "the approval of a mass change lets stacks be removed",
        "reconciler/planning/admission.py",
        "    gone = {n: d for n, d in facts.missing.items() if (removal, n, d) not in let}",
        "    gone = {n: d for n, d in facts.missing.items() if (change, n, d) not in let}",
        (GUARDS,),
    ),
    Bug(
        "what a person let through may pass again",
        "reconciler/masses.py",
        "        over = {p for p in holds.approved if self._is_over(p)}\n        self._over",
        "        over = set[Passage]()\n        self._over",
        (GUARDS,),
    ),
    Bug(
        "what a person let through is never too old",
        "reconciler/masses.py",
        "if abs(now - p.at) < APPROVAL_LASTS}",
        "if now >= p.at}",
        (GUARDS,),
    ),
    Bug(
        "a stack that failed half-way counts as never made",
        "reconciler/planning/transitions/runs.py",
        "        status = replace(status, made=True)",
        "        status = replace(status, made=run.end is RunEnd.SUCCEEDED)",
        (GUARDS,),
    ),
    Bug(
        "a hold stays with a file's old name",
        "reconciler/rolls.py",
        "                each.move(old, new)",
        "                each.move(new, new)",
        (GUARDS,),
    ),
    Bug(
        "a cancel hits whatever runs",
        "reconciler/planning/underway.py",
        "    return not request.binds or request.binds in ids",
        "    return bool(ids)",
        (GUARDS,),
    ),
    Bug(
        "an adoption is for whatever is wanted by then",
        "reconciler/planning/holds.py",
        "    if request.binds == wanted:",
        "    if request.binds:",
        (GUARDS,),
    ),
    Bug(
        "a removed stack is destroyed by an edit that was never deployed",
        "reconciler/planning/transitions/events.py",
        "    if attempt is None or attempt.digest == digest:",
        "    if attempt is None or attempt.digest:",
        (GUARDS,),
    ),
    Bug(
        "an approval binds no preview",
        "reconciler/planning/gates.py",
        '    return f"{wanted}-{approval.operation}-{approval.version}"',
        '    return f"{approval.operation}"',
        (PLANNING, FLEET),
    ),
    Bug(
        "an approval never expires",
        "reconciler/planning/gates.py",
        "        if approval.granted is not None and at.now < ends:",
        "        if approval.granted is not None:",
        (PLANNING, FLEET),
    ),
    Bug(
        "a suspended spec carries out requests",
        "reconciler/planning/holds.py",
        "    if request.kind is RequestKind.TRIGGER and (at.spec.suspended or at.observed.hold):",
        "    if request.kind is RequestKind.TRIGGER and at.spec.suspended and at.observed.hold:",
        (PLANNING, FLEET),
    ),
    Bug(
        "others' deployments are taken for ours",
        "reconciler/observer.py",
        "        return marker.startswith(self._ours)",
        "        return bool(marker)",
        (OBSERVER, RUNS),
    ),
    Bug(
        "a request by hand is forgotten before it is carried out",
        "reconciler/planning/transitions/creates.py",
        "    if cause.request_id:\n        status = handled(status, cause.request_id)\n",
        "",
        (PLANNING, FLEET),
    ),
    Bug(
        "the clock of the API is believed for time limits",
        "reconciler/planning/transitions/runs.py",
        "        run = replace(run, seen_running=now)",
        "        run = replace(run, seen_running=run.started)",
        (PLANNING, RUNS),
    ),
    Bug(
        "a clock that is set ahead cancels what runs",
        "reconciler/planning/underway.py",
        "    if at.observed.running_for < at.spec.timeout:",
        "    if at.now - run.seen_running < at.spec.timeout:",
        (PLANNING, RUNS),
    ),
    Bug(
        "a preview passes for what is wanted",
        "reconciler/planning/holds.py",
        "    return good and ours.operation in wanted",
        "    return good",
        (RUNS,),
    ),
    Bug(
        "a clock that was ahead holds a create back for as long",
        "reconciler/planning/holds.py",
        "    if status.next_attempt - at.now > LONGEST_RETRY_AFTER + CLOCK_TOLERANCE:",
        "    if at.now > status.next_attempt:",
        (RUNS,),
    ),
    Bug(
        "what a dependency deploys on another stack starts nothing",
        "reconciler/planning/starts.py",
        "    if upstream.applied > known or upstream.stack != stack:",
        "    if upstream.applied > known:",
        ("tests/semantics/test_rows_anew.py",),
    ),
    Bug(
        "a file that is still open is read",
        "reconciler/planning/quiet.py",
        "    quiet_s = CLOSED_QUIET_S if change.word is Word.CLOSED else QUIET_S",
        "    quiet_s = CLOSED_QUIET_S",
        (QUIET, FLEET),
    ),
    Bug(
        "a file whose time of writing lies ahead is never read",
        "reconciler/planning/quiet.py",
        "    return min(change.written, change.first) + quiet_s",
        "    return change.written + quiet_s",
        (QUIET,),
    ),
    Bug(
        "what was told of a file outlives that file",
        "reconciler/adapters/spec_quiet.py",
        "        if told != stamp:\n            word = Word.NONE\n",
        "",
        (QUIET,),
    ),
    Bug(
        "defaults are taken while they are written",
        "reconciler/adapters/specs.py",
        "        if held:\n            self._unsettled",
        "        self._in_force = found.defaults\n        if held:\n            self._unsettled",
        (QUIET,),
    ),
    Bug(
        "what is written while it is read is taken",
        "reconciler/adapters/specs.py",
        "            if read.stamp == stamps[relative] or not self._waits(",
        "            if True or not self._waits(",
        (QUIET,),
    ),
    Bug(
        "a directory that was replaced is watched no more",
        "reconciler/adapters/watcher.py",
        "        if there == self._watched and not lost:",
        "        if there:",
        (WATCHER,),
    ),
    Bug(
        "no rescan after the queue of events overflowed",
        "reconciler/adapters/watcher.py",
        "                self._on_all()\n                return\n",
        "                return\n",
        (WATCHER,),
    ),
    Bug(
        "a file of the same content keeps defaults that have changed",
        "reconciler/adapters/specs.py",
        "before.digest if before is not None and before.defaults is defaults else",
        "before.digest if before is not None else",
        ("tests/unit/adapters/test_spec_ahead.py",),
    ),
    Bug(
        "what others have cancelled hides what they run",
        "reconciler/observer.py",
        "    if first and hides:\n",
        "    if hides:\n",
        (DOUBLES,),
    ),
    Bug(
        "a run of ours that no status tells of is passed over",
        "reconciler/planning/strays.py",
        "    if not _is_wanted(at, submit, stray):\n        return _wait_or_tell(at, stray)\n",
        "    if not _is_wanted(at, submit, stray):\n        return None\n",
        (STRAYS,),
    ),
    Bug(
        "a run of ours that is what is wanted is run again",
        "reconciler/planning/strays.py",
        "    if not _is_wanted(at, submit, stray):\n        return _wait",
        "    if at.status.last_version:\n        return _wait",
        (STRAYS,),
    ),
    Bug(
        "a double that ran is forgotten when its cancel is sent",
        "reconciler/planning/transitions/events.py",
        '    return noted(status, now, f"version {cancel.version}: {note}", cancel.version)\n',
        "    status = replace(status, last_version=cancel.version)\n"
        '    return noted(status, now, f"version {cancel.version}: {note}", cancel.version)\n',
        (DOUBLES,),
    ),
    Bug(
        "what had no answer is asked for again whatever holds by then",
        "reconciler/planning/planner.py",
        "    return underway.asked_again(first_answer(RULES, at), at, RULES)",
        "    return first_answer(RULES, at)",
        ("tests/semantics/test_rows_again.py",),
    ),
)
