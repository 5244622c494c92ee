"""What a person asks for by hand: `reconciler trigger` and `cancel`, and what others share.

The request is a file in the state directory. Where a reconciler runs, it takes it up, and
`--wait` follows what it does; where none runs, the command does it, for the names it is about,
until they are settled.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import closing

from reconciler.api.types import Operation
from reconciler.cli import names, notifying, table, wiring
from reconciler.cli.following import follow
from reconciler.cli.look import look
from reconciler.cli.person import who
from reconciler.cli.rows import Rows
from reconciler.cli.saying import say
from reconciler.clock import SystemClock
from reconciler.errors import AnotherInstanceError, StateElsewhereError, UsageError
from reconciler.model import HandRequest, Hold, OnDelete, RequestKind, RunEnd, Status
from reconciler.planning.remembered import spec_of

__all__ = ["carry_out", "refuse_trigger", "request", "run", "run_of", "show"]


def run(options: argparse.Namespace) -> int:
    """Ask, and carry it out where nobody else does; 0 where it is Ready in the end."""
    where = wiring.place(options)
    found = names.known(options.name, where)
    kind = RequestKind(options.kind)
    operation = Operation(options.operation) if options.operation else None
    if kind is RequestKind.TRIGGER:
        refuse_trigger(found, where.holds.read().of(found.name), operation)
    elif found.status.run is None and found.status.intent is None:
        state = f"; it is {found.status.state}" if found.status.reason is not None else ""
        raise UsageError(
            f"nothing of {found.name} is running{state}: `reconciler why {found.name}`"
        )
    binds = run_of(found.status) if kind is RequestKind.CANCEL else ""
    asked = request(kind, found.name, operation=operation, binds=binds)
    settled = carry_out(options, where, [found.name], lambda: where.requests.put(asked))
    if settled is None:
        return 0
    well = show(where, [found.name])
    if kind is RequestKind.CANCEL:
        return 0 if settled else 1
    latest = where.statuses.read(found.name).latest
    if latest is None or latest.cause.request_id != asked.id:
        return 1
    if latest.end is not RunEnd.SUCCEEDED:
        print(f"{latest.operation} ended: {latest.message}")
        return 1
    return 0 if settled and well else 1


def request(
    kind: RequestKind,
    name: str,
    *,
    operation: Operation | None = None,
    binds: str = "",
    by: str = "",
) -> HandRequest:
    """Return a request made now, by whoever runs this command where nobody else is named."""
    now = SystemClock().now()
    return HandRequest(
        id=f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}",
        kind=kind,
        name=name,
        by=by or who(),
        at=now,
        operation=operation,
        binds=binds,
    )


def run_of(status: Status) -> str:
    """Return what a cancel is for: the run that is seen now, or what has had no answer yet."""
    if status.run is not None:
        return status.run.id or status.run.run_id
    return status.intent.run_id if status.intent is not None else ""


def carry_out(
    options: argparse.Namespace,
    where: wiring.Place,
    about: Iterable[str],
    ask: Callable[[], None],
) -> bool | None:
    """Ask who reconciles, and return None; where nobody does, do it here.

    Then, and with `--wait`, it is returned whether the names it is about have settled within
    `--timeout`.
    """
    about, clock = frozenset(about), SystemClock()
    try:
        lock = where.root.lock(where.home, clock)
    except StateElsewhereError:
        raise
    except AnotherInstanceError as error:
        ask()
        print(f"asked for; {error}, which takes it up", flush=True)
        if not options.wait:
            return None
        requests = where.requests
        return follow(
            Rows(where),
            about,
            lambda: any(request.name in about for request in requests.all()),
            clock,
            options.timeout,
        )
    with (
        lock,
        closing(where.repositories),
        wiring.api_source(options, where.root) as api,
        notifying.sending(where, drain=True),
    ):
        ask()
        daemon = wiring.build(options, where, api, say, look_only=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stop())
        return daemon.run_once(options.timeout, about)


def show(where: wiring.Place, about: Iterable[str]) -> bool:
    """Print how names stand; whether all of them are Ready or Suspended, or forgotten."""
    found = Rows(where).of(about)
    if found:
        print(table.as_text(found, look(sys.stdout, os.environ)))
    return all(row.settled_well for row in found)


def refuse_trigger(found: names.Named, hold: Hold | None, operation: Operation | None) -> None:
    """Refuse a run that would never start, and say what is in its way."""
    name = found.name
    names.refuse_suspended(found, hold)
    if not found.gone:
        return
    if spec_of(found.status).on_delete is OnDelete.KEEP:
        raise UsageError(f"the file of {name} is gone, and its stack is kept as it is")
    if operation not in {None, Operation.DESTROY}:
        raise UsageError(f"the file of {name} is gone: nothing but a destroy can be run")
