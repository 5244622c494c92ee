"""Puts an engine together, serves it, and ends it in order.

Start: the lock, the database, the socket; then what a lost engine left is settled; only then
are deployments dispatched and calls answered. End: nothing new starts, what runs is ended,
then the socket closes.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.clock import SystemClock
from reconciler.engine import embedded, recovery
from reconciler.engine.config import EngineConfig, Layout
from reconciler.engine.http.app import Pages, build_app, no_pages
from reconciler.engine.logs import FileLogs, LogStore, SharedLogs
from reconciler.engine.measuring import readings, told
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.oidc.obtain import Obtainer
from reconciler.engine.queue import Queue
from reconciler.engine.retention import sweeping
from reconciler.engine.runners.choose import choose
from reconciler.engine.scheduler import scheduling
from reconciler.engine.sealing import box_of, key_file
from reconciler.engine.service import Service
from reconciler.engine.serving import answering, listen, url_of
from reconciler.engine.store import Signal, Store, Topic
from reconciler.engine.tokens import Tokens
from reconciler.engine.tools import Tools
from reconciler.engine.worker import Part
from reconciler.errors import AnotherInstanceError, ReconcilerError, UsageError
from reconciler.log_output import say, tell_problem
from reconciler.metrics import of_engine
from reconciler.metrics.metered import metered
from reconciler.pulumi_cli import PulumiCli, find
from reconciler.sdnotify import ServiceManager
from reconciler.traces.traced import traced

__all__ = ["Engine", "running", "serve", "work", "working"]

_log = logging.getLogger(__name__)

EXIT_OTHER_INSTANCE = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answers at `url`; `alive` asks within how many seconds it takes a turn."""

    url: str
    queue: Queue
    tokens: Tokens
    layout: Layout
    alive: Callable[[float], bool]


def serve(config: EngineConfig, pages: Pages = no_pages) -> int:
    """Run an engine until a signal, or until an embedded one is not needed; the exit code.

    Prints `listening on URL` when it answers. 75: another engine uses the data directory.
    """

    def run(stop: threading.Event, manager: ServiceManager) -> None:
        with running(config, pages) as engine:
            say(f"listening on {engine.url}", url=engine.url)
            manager.ready()
            manager.status(f"listening on {engine.url}")
            if config.embedded:
                embedded.wait(engine.layout, engine.queue.busy, config.idle_exit, stop)
            else:
                _tell_alive(manager, engine.alive, stop)

    return _until_signal(run)


def work(config: EngineConfig) -> int:
    """Run a worker of a shared database until a signal; the exit code.

    Prints `working for URL` when it takes part, or will as soon as the database lets it.
    """

    def run(stop: threading.Event, manager: ServiceManager) -> None:
        with working(config):
            say(f"working for {config.database}")
            manager.ready()
            manager.status(f"working for {config.database}")
            # A database that is away holds up its threads, and a new start would not help: what
            # must not hang, its guard watches over.
            _tell_alive(manager, lambda _: True, stop)

    return _until_signal(run)


def _tell_alive(
    manager: ServiceManager, alive: Callable[[float], bool], stop: threading.Event
) -> None:
    """Tell systemd that we are alive as long as that is so, until `stop`."""
    while not stop.wait(manager.beat_s or None):
        if alive(manager.beat_s):
            manager.alive()
        else:
            _log.error("a part of the engine has not taken a turn for %.0f s", manager.beat_s)


def _until_signal(run: Callable[[threading.Event, ServiceManager], None]) -> int:
    os.umask(0o077)
    stop = threading.Event()
    manager = ServiceManager.of(os.environ)

    def end(*_: object) -> None:
        manager.stopping()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        run(stop, manager)
    except AnotherInstanceError as error:
        tell_problem(str(error))
        return EXIT_OTHER_INSTANCE
    except ReconcilerError as error:
        tell_problem(str(error))
        return 2 if isinstance(error, UsageError) else 1
    return 0


@contextmanager
def running(config: EngineConfig, pages: Pages = no_pages) -> Iterator[Engine]:
    """Give a running engine, and end it afterwards.

    AnotherInstanceError, UsageError, or another ReconcilerError where it cannot start.
    """
    layout = Layout(config.data.absolute())
    _make_directories(layout)
    shared = config.database is not None
    with (
        embedded.only_engine(layout, shared=shared),
        listen(config) as listener,
        metered(config.metrics, of_engine.MEASURES, say) as meter,
        traced(config.traces, "reconciler-engine") as tracer,
    ):
        store = Store(config.database or layout.database, config.keep_audit)
        try:
            url = url_of(config, listener)
            tools = replace(
                _tools(config, store, config.public_url or url), meter=meter, tracer=tracer
            )
            tools.backend(StackRef("check", "check", "check"))  # whether the setting can be
            if not shared:
                recovery.settle(tools)
            part = Part(tools)
            _measure(tools, part)
            tokens = Tokens(store, tools.clock)
            service = Service(tools, part.queue, tokens)
            app = build_app(service, config.http, meter, pages)
            # In this order an ending engine still tells how its deployments end.
            with (
                answering(app, listener, config, app.state.streams.close) as turns,
                part.taken(),
                sweeping(tools),
                scheduling(service, tools.clock),
            ):

                def alive(limit_s: float) -> bool:
                    # A shared database that is away would hold up the dispatcher.
                    return turns(limit_s) and (shared or part.queue.turns(limit_s))

                engine = Engine(
                    url=url, queue=part.queue, tokens=tokens, layout=layout, alive=alive
                )
                if config.embedded:
                    embedded.announce(layout, engine.url, tokens)
                yield engine
        finally:
            store.close()


@contextmanager
def working(config: EngineConfig) -> Iterator[Queue]:
    """Give the queue of a worker that answers no calls; the errors are those of `running`."""
    if config.database is None:
        raise UsageError("a worker needs the database that it shares: give --database URL")
    layout = Layout(config.data.absolute())
    _make_directories(layout)
    with (
        embedded.only_engine(layout, shared=True),
        metered(config.metrics, of_engine.MEASURES, say) as meter,
        traced(config.traces, "reconciler-engine") as tracer,
    ):
        store = Store(config.database)
        try:
            tools = replace(_tools(config, store, config.public_url), meter=meter, tracer=tracer)
            part = Part(tools)
            _measure(tools, part)
            with part.taken(), sweeping(tools):
                yield part.queue
        finally:
            store.close()


def _measure(tools: Tools, part: Part) -> None:
    """Have the meter hear of every change, and ask how full it is at each scrape."""
    meter, store, workers = tools.meter, tools.store, tools.config.workers
    store.deployments.told = partial(told, meter)
    meter.ask(lambda: readings(store, tools.clock, workers, lambda: len(part.queue.running())))


def _make_directories(layout: Layout) -> None:
    try:
        below = (layout.work, layout.logs, layout.backends, layout.all_plugins)
        for directory in (layout.data, *below):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{layout.data} cannot be used: {error.strerror}") from error


def _tools(config: EngineConfig, store: Store, base_url: str) -> Tools:
    layout = Layout(config.data.absolute())
    _tell_of_state(config)
    find_pulumi, clock = _FoundOnce(), SystemClock()
    cli = find_pulumi()
    if not isinstance(cli, PulumiCli):
        _log.warning("deployments will fail: %s", cli)
    box = box_of(store, key_file(config.key_file, layout.key))
    oidc = None
    if config.public_url:
        issuer = Issuer(store.facts, box, clock, config.public_url)
        oidc = Obtainer(issuer, clock, config.aws_sts_url)
    return Tools(
        config=config,
        layout=layout,
        store=store,
        logs=_logs(layout, store),
        box=box,
        clock=clock,
        runners=choose(config.runner, config.containers, config.kubernetes),
        environment=dict(os.environ),
        shell=shutil.which("bash") or shutil.which("sh") or "/bin/sh",
        python_directory=str(Path(sys.executable).parent),
        base_url=base_url,
        find_pulumi=find_pulumi,
        oidc=oidc,
    )


def _tell_of_state(config: EngineConfig) -> None:
    """Warn where workers of several hosts would each have a state of their own."""
    if config.database is not None and (not config.backend or config.backend.startswith("file:")):
        _log.warning(
            "Pulumi's state is in a directory: all workers of the database must share it. Give "
            "--backend URL (s3://, azblob://, gs:// or postgres://) where they are on several hosts"
        )


def _logs(layout: Layout, store: Store) -> LogStore:
    if store.shared:
        return SharedLogs(store.log_parts, time.time_ns)
    return FileLogs(
        layout.logs, time.time_ns, lambda about: store.signals.emit(Signal(Topic.LOG, about))
    )


class _FoundOnce:
    """Looks for pulumi until there is one; asking one for its version takes 0.2 s."""

    def __init__(self) -> None:
        self._found: PulumiCli | None = None

    def __call__(self) -> PulumiCli | str:
        if self._found is not None and self._found.program.exists():
            return self._found
        found = find()
        self._found = found if isinstance(found, PulumiCli) else None
        return found
