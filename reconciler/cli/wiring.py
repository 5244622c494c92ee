"""Puts the parts together as the options say; the only place that knows them all."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import log_output
from reconciler.adapters.checkout import Checkout, status_line
from reconciler.adapters.credentials import SecretReader, SecretRules
from reconciler.adapters.holds import HoldsFiles
from reconciler.adapters.host_config import HostConfig
from reconciler.adapters.outbox import Outbox
from reconciler.adapters.requests_by_hand import HandRequests
from reconciler.adapters.spec_quiet import Quiet
from reconciler.adapters.specs import SpecReader, scan
from reconciler.adapters.state_directory import DirectoryState, StateDirectory, locate
from reconciler.adapters.statusfile import StatusFiles
from reconciler.api.dialects import Dialect
from reconciler.api.types import Secret
from reconciler.breaker import Breaker
from reconciler.cli import checkouts, git_options, host, last_look, news_links, runner_options
from reconciler.cli.embedded import EmbeddedEngine, EngineOptions
from reconciler.cli.looking import HoldsLookedAt, RequestsLookedAt
from reconciler.clock import Clock, SystemClock
from reconciler.daemon import Daemon, Parts
from reconciler.errors import StateElsewhereError, UsageError
from reconciler.executor import Executor, Tools
from reconciler.files import make_folder
from reconciler.metrics import OFF, Meter
from reconciler.model import Catalog, Reason, Spec, State, Status
from reconciler.observer import Observer
from reconciler.planning.admission import Limits
from reconciler.pool import Pool
from reconciler.ports import ApiSource, HoldsBook, Requests, Statuses
from reconciler.resolver import Resolver
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["Place", "api_source", "build", "place", "say_nothing"]

# Against our own engine a create that is sent again is answered with the first one's id, so
# this long is only a courtesy; elsewhere an answer may still be on its way for longer.
SETTLE_EMBEDDED = timedelta(seconds=2)
SETTLE_REMOTE = timedelta(seconds=30)

# 1,000 changes at once are two reads and a create each: at 50 ms a call they leave within seconds.
# Each thread waits, for the API or for the disk, none computes.
API_THREADS = 48

Say = Callable[[str, State, Reason], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are: the specs, the state directory, and what belongs to these specs.

    `home` is the directory that one reconciler works on at a time: the specs' own, or with
    `--repo` that of their `checkout`.
    """

    directory: Path
    config: HostConfig
    home: Path
    checkout: Checkout | None
    root: StateDirectory
    state: DirectoryState
    rules: SecretRules
    statuses: StatusFiles
    requests: HandRequests
    holds: HoldsFiles
    specs: SpecReader
    repositories: git_options.Repositories
    clock: Clock
    meter: Meter
    tracer: Tracer
    outbox: Callable[[], Outbox]


class Foreseen:
    """Specs as they are read, of which the resolver hears at once.

    So all repositories are asked side by side, before the first spec of the pass is planned.
    """

    def __init__(
        self,
        specs: SpecReader,
        resolver: Resolver,
        checkout: Checkout | None,
        looks: Callable[[], None],
    ) -> None:
        self._specs = specs
        self._looks = looks
        self._expected: Catalog | None = None
        self._resolver = resolver
        self._checkout = checkout

    def scan(self) -> Catalog:
        """Return what the directory holds now; a new commit comes in force between two scans."""
        if self._checkout is not None and self._checkout.apply():
            log_output.say(status_line(self._checkout.state))
        catalog = self._specs.scan()
        if catalog is not self._expected:
            self._resolver.expect(catalog.specs)
            self._expected = catalog
        self._looks()
        return catalog

    def look(self, paths: Iterable[str]) -> tuple[Spec, ...] | None:
        """Return the specs of a few changed files; None where only a scan can tell."""
        specs = self._specs.look(paths) if self._checkout is None else None
        if specs:
            self._resolver.expect_more(specs)
        return specs

    @property
    def writing(self) -> Mapping[str, datetime]:
        """Return the files that may not be whole yet; those of a commit are."""
        return self._specs.writing

    def removed_by_commit(self, name: str) -> bool:
        """Whether a commit removed the file; without `--repo` none can."""
        return self._checkout is not None and self._checkout.removed_by_commit(name)


class ReadOnly:
    """Status files that are read and never written: for looking only."""

    def __init__(self, statuses: StatusFiles) -> None:
        self._statuses = statuses

    def names(self) -> tuple[str, ...]:
        """Return the names that anything is remembered of."""
        return self._statuses.names()

    def read(self, name: str) -> Status:
        """Return what is remembered."""
        return self._statuses.read(name)

    def keeps(self, name: str) -> bool:
        """Nothing is to be written again."""
        del name
        return True

    def write(self, status: Status) -> Status:
        """Write nothing."""
        return status

    def forget(self, name: str) -> None:
        """Forget nothing."""


def say_nothing(name: str, state: State, reason: Reason) -> None:
    """Tell nobody."""
    del name, state, reason


def place(options: argparse.Namespace, meter: Meter = OFF, tracer: Tracer = NO_TRACES) -> Place:
    """Find out where things are; UsageError where the directory is none."""
    root = StateDirectory(locate(options.data, os.environ))
    config = host.config(options)
    rules = host.rules(options, config)
    repositories = git_options.repositories(options, root, config.poll_interval, meter)
    directory: Path = options.directory
    home, status_dir = directory, options.status_dir
    checkout = None
    if options.repo:
        checkout = checkouts.checkout(
            options, root, repositories.git, lambda folder: scan(folder, rules)
        )
        directory, home = checkout.folder, checkout.home
        make_folder(home)
        fetched = checkout.restore()
        if not fetched and not getattr(options, "pulls", False):
            raise UsageError(f"{options.repo} has not been fetched yet; `run --repo` does that")
        status_dir = status_dir or root.of_directory(home).folder / "status"
    elif not directory.is_dir():
        raise UsageError(f"{directory} is no directory; give the one that holds the specs")
    state, clock = root.of_directory(home), SystemClock()
    if not getattr(options, "pulls", False):
        _tell_elsewhere(options, root, state)
    return Place(
        config=config,
        directory=directory,
        home=home,
        checkout=checkout,
        root=root,
        state=state,
        rules=rules,
        statuses=StatusFiles(directory, status_dir, state.statuses),
        requests=HandRequests(state.requests),
        holds=HoldsFiles(state.folder),
        specs=SpecReader(directory, rules, _quiet(options, directory)),
        repositories=repositories,
        clock=clock,
        meter=meter,
        tracer=tracer,
        outbox=cache(lambda: Outbox(state.folder / "outbox", clock)),
    )


def _tell_elsewhere(
    options: argparse.Namespace, root: StateDirectory, state: DirectoryState
) -> None:
    """Say that who reconciles keeps its state elsewhere; what is asked for by hand is refused."""
    told = state.kept_elsewhere()
    if told and getattr(options, "asks", False):
        raise StateElsewhereError(told)
    if told:
        sys.stderr.write(f"{told}; what is told here is only what {root.root} knows\n")


def _quiet(options: argparse.Namespace, directory: Path) -> Quiet | None:
    """Tell apart what is whole where a daemon acts on files that people write."""
    if options.repo or not getattr(options, "pulls", False):
        return None
    return Quiet(directory, SystemClock().now)


@contextmanager
def api_source(
    options: argparse.Namespace,
    root: StateDirectory,
    *,
    look_only: bool = False,
    meter: Meter = OFF,
    tracer: Tracer = NO_TRACES,
) -> Iterator[ApiSource]:
    """Give the API to use: the one that is named, or the embedded engine."""
    url = _api_url(options)
    if url:
        client = _remote(options, url)
        client.meter, client.tracer = meter, tracer
        yield lambda: client
        return
    if options.token_file is not None:
        raise UsageError("--token-file is for a remote API; name it by --api-url")
    if "PULUMI_ACCESS_TOKEN" in os.environ:
        sys.stderr.write(
            "PULUMI_ACCESS_TOKEN is set, but no API is named (--api-url or "
            "RECONCILER_API_URL): the embedded engine is used\n"
        )
    engine = EmbeddedEngine(
        root.root / "engine",
        EngineOptions(
            cancel_grace_s=int(options.cancel_grace.total_seconds()),
            runner=(
                *runner_options.arguments(options),
                *git_options.engine_arguments(options, root),
            ),
            allow_write=tuple(str(p.absolute()) for p in options.allow_write),
            # What is ours is not for the programs that are deployed.
            hide=tuple(str(p.absolute()) for p in (root.root, *options.secrets_dir, *options.hide)),
        ),
        SystemClock(),
        os.environ,
    )
    engine.looking_only = look_only
    engine.meter, engine.tracer = meter, tracer
    try:
        yield engine.api
    finally:
        engine.close()


def _api_url(options: argparse.Namespace) -> str:
    """Return the API's address; empty for the embedded engine."""
    return options.api_url or os.environ.get("RECONCILER_API_URL", "")


def _remote(options: argparse.Namespace, url: str) -> ApiClient:
    from reconciler.api.client import ApiClient, check_url  # noqa: PLC0415 - costs 100 ms

    check_url(url)
    file: Path | None = options.token_file

    seen: list[str] = []
    log_output.hide(lambda: seen)

    def token() -> Secret:
        if file is not None:
            try:
                seen[:] = [file.read_text().strip()]
                return Secret(seen[0])
            except OSError as error:
                raise UsageError(f"the token cannot be read: {file}: {error.strerror}") from None
        value = os.environ.get("PULUMI_ACCESS_TOKEN", "")
        if not value:
            raise UsageError(f"no token for {url}: set PULUMI_ACCESS_TOKEN, or give --token-file")
        return Secret(value)

    token()  # what is missing is better said now than by a refused call
    return ApiClient(url, token, Dialect(options.dialect), connections=API_THREADS)


def _told(
    options: argparse.Namespace, where: Place, spec: Callable[[str], Spec | None]
) -> tuple[Statuses, HoldsBook]:
    """Return the statuses and holds of a place, whose news go into its outbox."""
    from reconciler.told import Teller, ToldHolds, ToldStatuses  # noqa: PLC0415 - seldom needed

    link = news_links.links(options, where.config.console_url, remote=bool(_api_url(options)))
    teller = Teller(where.config.targets, where.outbox(), SystemClock(), link)
    return ToldStatuses(where.statuses, teller, spec), ToldHolds(where.holds, teller)


def build(
    options: argparse.Namespace, where: Place, api: ApiSource, say: Say, *, look_only: bool
) -> Daemon:
    """Return the loop, put together; with `look_only` it can plan and writes nothing."""
    clock = where.clock
    statuses: Statuses = ReadOnly(where.statuses) if look_only else where.statuses
    holds: HoldsBook = HoldsLookedAt(where.holds) if look_only else where.holds
    requests: Requests = RequestsLookedAt(where.requests) if look_only else where.requests
    if where.config.targets and not look_only:
        statuses, holds = _told(options, where, lambda name: daemon.spec(name))  # noqa: PLW0108 - made below
    breaker = Breaker(api, clock, where.meter)
    secret_reader = SecretReader(where.rules, os.environ, clock)
    log_output.hide(secret_reader.values)
    resolver = Resolver(
        where.repositories.refs,
        secret_reader,
        where.root.hash_key(),
        where.checkout.own if where.checkout else None,
    )
    settle = options.settle or (SETTLE_REMOTE if _api_url(options) else SETTLE_EMBEDDED)
    owner = getattr(options, "owner", None) or where.root.owner_of(where.home)
    if not (owner.isascii() and owner.isalnum()):
        raise UsageError(f"--owner {owner!r} holds more than letters and digits")
    tools = Tools(
        breaker=breaker,
        statuses=statuses,
        requests=requests,
        resolver=resolver,
        clock=clock,
        owner=owner,
        new_run_id=lambda: secrets.token_hex(8),
        meter=where.meter,
    )
    daemon = Daemon(
        Parts(
            specs=Foreseen(where.specs, resolver, where.checkout, _looks(options, where)),
            statuses=statuses,
            requests=requests,
            holds=holds,
            resolver=resolver,
            observer=Observer(breaker, clock, settle, owner),
            executor=Executor(tools),
            clock=clock,
            limits=_limits(options, where.config),
            pool=Pool(API_THREADS),
            say=say,
            meter=where.meter,
            tracer=where.tracer,
        )
    )
    for look in (daemon.readings, breaker.readings, where.repositories.refs.readings):
        where.meter.ask(look)
    return daemon


def _looks(options: argparse.Namespace, where: Place) -> Callable[[], None]:
    """Return what notes a look at all specs: of a run alone, not of what is about one of them."""
    if not getattr(options, "pulls", False):
        return lambda: None
    return lambda: last_look.note(where.state, where.clock.now())


def _limits(options: argparse.Namespace, config: HostConfig) -> Limits:
    """Return the host's limits; an option says otherwise for this process."""
    if options.max_concurrent is None:
        return config.limits
    return replace(config.limits, max_concurrent=options.max_concurrent)
