"""`reconciler trigger` and `reconciler cancel`: what a person asks for by hand.

The request is a file in the state directory. Where a reconciler runs, it takes it up; where
none runs, this command does, for this one spec, until it is settled.
"""

from __future__ import annotations

import argparse
import difflib
import getpass
import os
import secrets
import signal
from contextlib import closing

from reconciler.api.types import Operation
from reconciler.cli import table, wiring
from reconciler.cli.run import say
from reconciler.clock import SystemClock
from reconciler.errors import AnotherInstanceError, UsageError
from reconciler.model import HandRequest, RequestKind, RunEnd, Spec, Status

__all__ = ["known_name", "run"]


def run(options: argparse.Namespace) -> int:
    """Ask, and carry it out where nobody else does; 0 where it is Ready in the end."""
    where = wiring.place(options)
    spec = known_name(options.name, where)
    kind = RequestKind(options.kind)
    _refuse_pointless(kind, spec, where.statuses.read(spec.name))
    clock = SystemClock()
    request = HandRequest(
        id=f"{clock.now():%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}",
        kind=kind,
        name=spec.name,
        by=_who(),
        at=clock.now(),
        operation=Operation(options.operation) if options.operation else None,
    )
    try:
        lock = where.root.lock(where.home, clock)
    except AnotherInstanceError as error:
        where.requests.put(request)
        print(f"asked for; {error}, which takes it up")
        return 0
    with lock, closing(where.repositories), wiring.api_source(options, where.root) as api:
        where.requests.put(request)
        daemon = wiring.build(options, where, api, say, look_only=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        settled = daemon.run_once(options.timeout, frozenset({spec.name}))
    found = [r for r in table.rows(where.specs.scan(), where.statuses) if r.name == spec.name]
    print(table.as_text(found))
    if kind is RequestKind.CANCEL:
        return 0 if settled else 1
    latest = where.statuses.read(spec.name).latest
    if latest is None or latest.cause.request_id != request.id:
        return 1
    if latest.end is not RunEnd.SUCCEEDED:
        print(f"{latest.operation} ended: {latest.message}")
        return 1
    return 0 if settled and all(r.settled_well for r in found) else 1


def known_name(name: str, where: wiring.Place) -> Spec:
    """Return the spec of that name; UsageError with the nearest one where there is none."""
    catalog = where.specs.scan()
    for spec in catalog.specs:
        if spec.name == name:
            return spec
    if name in catalog.broken:
        raise UsageError(f"{name} is invalid: {catalog.broken[name].problem}")
    near = difflib.get_close_matches(name, [s.name for s in catalog.specs], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"there is no spec {name!r} in {where.directory}{hint}")


def _refuse_pointless(kind: RequestKind, spec: Spec, status: Status) -> None:
    if kind is RequestKind.TRIGGER and spec.suspended:
        raise UsageError(f"{spec.name} is suspended (reconcile.suspend in {spec.path})")
    if kind is RequestKind.CANCEL and status.run is None and status.intent is None:
        raise UsageError(f"nothing of {spec.name} is running")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return user
