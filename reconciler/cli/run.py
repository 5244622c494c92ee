"""`reconciler run`: the daemon; with --once, passes until nothing is left to do."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext

from reconciler import log_output
from reconciler.adapters.checkout import Checkout, status_line
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.watcher import Watcher
from reconciler.cli import console_options, notifying, table, webhook_options, wiring
from reconciler.cli.live import LiveTable
from reconciler.cli.look import look
from reconciler.cli.rows import Row, Rows
from reconciler.cli.saying import say
from reconciler.cli.service import Service
from reconciler.clock import SystemClock
from reconciler.daemon import Daemon
from reconciler.errors import ReconcilerError
from reconciler.metrics import of_loop
from reconciler.metrics.metered import metered
from reconciler.model import State
from reconciler.planning.gates import NAMES_SHOWN
from reconciler.planning.quiet import Word
from reconciler.planning.telling import few
from reconciler.sdnotify import ServiceManager
from reconciler.traces.traced import traced

__all__ = ["run", "stopped"]


def run(options: argparse.Namespace) -> int:
    """Reconcile; 0 where all are Ready or Suspended in the end, else 1."""
    console_options.check(options)
    service = Service(ServiceManager.of(os.environ))
    signal.signal(signal.SIGINT, lambda *_: service.interrupt())
    with (
        metered(options.metrics, of_loop.MEASURES, log_output.say) as meter,
        traced(options.traces, "reconciler") as tracer,
    ):
        return _run(options, wiring.place(options, meter, tracer), service)


def _run(options: argparse.Namespace, where: wiring.Place, service: Service) -> int:
    with (
        where.root.lock(where.home, SystemClock()),
        closing(where.repositories),
        wiring.api_source(options, where.root, meter=where.meter, tracer=where.tracer) as api,
        notifying.sending(where, drain=options.once),
    ):
        _fetch(where)
        plain = options.log_format == "people"
        live = _live(where) if options.once and plain and sys.stdout.isatty() else None
        told = live.say if live else service.saying(say)
        daemon = wiring.build(options, where, api, told, look_only=False)
        service.follow(daemon)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.begin()
        catalog = where.specs.scan()
        for problem in catalog.problems + check_together(catalog.specs):
            place = {"file": str(problem.path), "line": str(problem.line)}
            log_output.tell_problem(str(problem), **place)
        if options.once:
            return _once(options, where, daemon, live)
        shown = console_options.Shown(where=where, daemon=daemon, api=api)
        with console_options.serving(options, shown), _watching(options, where, daemon):
            service.manager.ready()
            daemon.run()
    return 0


def stopped(found: Sequence[Row]) -> str:
    """Say that somebody has stopped it, and what goes on by itself."""
    running = [row.name for row in found if row.state is State.PROGRESSING and row.seen.run]
    if not running:
        return "stopped; nothing that was started runs"
    goes_on = "goes" if len(running) == 1 else "go"
    return (
        f"stopped; what has begun of {few(running, NAMES_SHOWN)} {goes_on} on by itself: "
        "the next `reconciler run` takes it up where it is then"
    )


def _fetch(where: wiring.Place) -> None:
    """Have the newest specs of `--repo`, or else those of before; an error where there are none."""
    if where.checkout is None:
        return
    where.checkout.pull()
    where.checkout.apply()
    line = status_line(where.checkout.state)
    if not where.checkout.state.commit:
        raise ReconcilerError(line)
    log_output.say(line)


def _hindrances(checkout: Checkout | None) -> object:
    """Return what keeps a newer commit from being in force, to see when that changes."""
    return checkout and (checkout.state.refused, checkout.state.unreachable)


@contextmanager
def _watching(options: argparse.Namespace, where: wiring.Place, daemon: Daemon) -> Iterator[None]:
    """Tell the daemon of changed files, moved branches and pushes, until the end of the block."""
    checkout, refs = where.checkout, where.repositories.refs

    def heard(repositories: frozenset[str]) -> None:
        refs.refresh(repositories)
        if checkout is not None and checkout.identity in repositories:
            checkout.hint()

    said = [_hindrances(checkout)]

    def pulled() -> None:
        now = _hindrances(checkout)
        if checkout is not None and now != said[0]:
            said[0] = now
            log_output.say(status_line(checkout.state))
        daemon.wake()

    watcher = None if checkout else _watcher(where, daemon)
    with webhook_options.listening(options, heard):
        if watcher is not None:
            watcher.start()
        if checkout is not None:
            checkout.watch(where.repositories.poll_interval, pulled)
        where.repositories.watch(daemon.mark)
        try:
            yield
        finally:
            where.repositories.close()
            if checkout is not None:
                checkout.close()
            if watcher is not None:
                watcher.stop()


def _watcher(where: wiring.Place, daemon: Daemon) -> Watcher:
    """Return what tells of changed files: first how, for who reads them, and then that."""

    def touched(paths: Iterable[str], word: Word) -> None:
        if where.specs.quiet is not None:
            where.specs.quiet.heard(paths, word)
        daemon.touched(paths)

    return Watcher(where.directory, touched, daemon.wake)


def _live(where: wiring.Place) -> LiveTable:
    return LiveTable(Rows(where).read(), sys.stdout, where.clock)


def _once(
    options: argparse.Namespace, where: wiring.Place, daemon: Daemon, live: LiveTable | None
) -> int:
    writing = where.specs.writing
    if writing:
        until = max(writing.values())
        told = f"{len(writing)} files" if len(writing) > 1 else next(iter(writing))
        log_output.say(
            f"waits until {until:%H:%M:%S}Z: {told} changed just now and may not be whole yet"
        )
    with live or nullcontext():
        settled = daemon.run_once(options.timeout)
    found = Rows(where).read()
    if options.log_format == "people":
        print(table.as_text(found, look(sys.stdout, os.environ)), flush=True)
    if daemon.stopped:
        log_output.say(stopped(found))
    elif not settled:
        log_output.say(f"gave up waiting after {options.timeout} (--timeout); what runs goes on")
    elif not daemon.started:
        ready = sum(1 for row in found if row.settled_well)
        what = "nothing to do" if ready == len(found) else "nothing was started"
        rest = sum(1 for row in found if row.state is State.SUSPENDED)
        told = f", {rest} of them suspended" if rest else ""
        log_output.say(f"{what}: {ready} of {len(found)} are as they should be{told}")
    return 0 if settled and all(row.settled_well for row in found) else 1
