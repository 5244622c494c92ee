"""`reconciler schedule`: what will run when, for people, programs and calendars; asks nobody."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from reconciler.cli import schedule_ics, schedule_table, schedule_trial, wiring
from reconciler.cli.look import look
from reconciler.clock import SystemClock
from reconciler.errors import UsageError
from reconciler.jsonform import time_text
from reconciler.model import Spec, Status
from reconciler.planning.agenda import Agenda, Entry, Subject, agenda

__all__ = ["as_json", "run"]

# Slots of longer spans say nothing that people plan by, and the calendar has an end.
LONGEST = timedelta(days=3660)
YEARS = range(1971, 9000)

USUAL_SPAN = timedelta(days=7)
USUAL_LIMIT = 200
USUAL_TRIAL = 10


def run(options: argparse.Namespace) -> int:
    """Print what will run in the given time; 0 also where there is nothing."""
    now = SystemClock().now().replace(microsecond=0)
    begin: datetime = options.begin or now
    if options.span is not None and options.span > LONGEST:
        raise UsageError(f"--for is at most {LONGEST.days}d")
    if begin.year not in YEARS:
        raise UsageError(f"--from is of the years {YEARS.start} to {YEARS.stop - 1}")
    if options.cron is not None:
        return _try(options, begin, now)
    if options.time_zone is not None:
        raise UsageError("--time-zone goes with --cron: a schedule in a file has its own")
    where = wiring.place(options)
    catalog = where.specs.scan()
    subjects = [_subject(where, spec) for spec in catalog.specs]
    host = where.config.limits.windows
    end = begin + (options.span or USUAL_SPAN)
    found = agenda(subjects, host, (begin, end), options.limit or USUAL_LIMIT)
    match options.output:
        case "json":
            print(as_json(found))
        case "ics":
            sys.stdout.write(schedule_ics.as_ics(found))
        case _:
            print(schedule_table.as_text(found, look(sys.stdout, os.environ)))
    if catalog.broken:
        count = len(catalog.broken)
        files = f"{count} files are no valid specs" if count > 1 else "1 file is no valid spec"
        print(f"{files}, so nothing of it is here; `reconciler validate`", file=sys.stderr)
    return 0


def _try(options: argparse.Namespace, begin: datetime, now: datetime) -> int:
    """Print when an expression is due that is in no file yet."""
    trial = schedule_trial.Trial(cron=options.cron, time_zone=options.time_zone or "UTC")
    found = schedule_trial.due(trial, begin, options.span, options.limit or USUAL_TRIAL)
    match options.output:
        case "json":
            print(schedule_trial.as_json(trial, found))
        case "ics":
            raise UsageError("-o ics is for schedules that are in files; leave out --cron")
        case _:
            print(schedule_trial.as_text(trial, found, now, look(sys.stdout, os.environ)))
    return 0


def _subject(where: wiring.Place, spec: Spec) -> Subject:
    status = where.statuses.read(spec.name)
    if status.stack != str(spec.stack):  # what is remembered is of the stack before
        status = Status(name=spec.name)
    return Subject(spec=spec, status=status, held=where.holds.read().of(spec.name) is not None)


def as_json(found: Agenda) -> str:
    """Return one object: the span, what runs in it, and how much was left out."""
    body = {
        "from": time_text(found.begin),
        "until": time_text(found.end),
        "runs": [_object(entry) for entry in found.entries],
        "leftOut": found.left_out,
        "leftOutIsExact": found.counted,
    }
    return json.dumps(body, indent=2, ensure_ascii=False)


def _object(entry: Entry) -> dict[str, object]:
    starts = entry.starts
    return {
        "name": entry.name,
        "stack": entry.stack,
        "schedule": entry.schedule or None,
        "operation": str(entry.operation),
        "due": time_text(entry.due),
        "dueThere": _there(entry.due, entry),
        "timeZone": entry.time_zone,
        "skippedTime": entry.skipped_time,
        "fate": str(entry.fate),
        "starts": time_text(starts) if starts else None,
        "startsThere": _there(starts, entry) if starts else None,
    }


def _there(moment: datetime, entry: Entry) -> str:
    return moment.astimezone(ZoneInfo(entry.time_zone)).isoformat()
