"""Where branches and tags point to now, asked from git itself, beside the loop.

One `git ls-remote` for a repository answers for all specs that use it, whatever they follow.
A few threads ask; a pass takes what is known, and is told by `changed` when that is another.
What cannot be known is `Unavailable` and since when, never "as before" and never "nothing".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from reconciler.adapters.git_pool import Pool
from reconciler.adapters.git_process import Git, GitFailedError, Repository
from reconciler.api.create_body import is_relative_url
from reconciler.api.types import GitSource, Secret
from reconciler.clock import Clock
from reconciler.git.urls import identity, parse
from reconciler.metrics import OFF, Meter, Reading, of_loop

__all__ = [
    "Fingerprints",
    "GitRefs",
    "Helpers",
    "Pace",
    "Revision",
    "Unavailable",
    "Wanted",
    "resolve_url",
]

# The first wait after a failure; it doubles.
FIRST_BACKOFF: Final = timedelta(minutes=1)
# The longest: by then a person has mended it, and asking costs little.
LONGEST_BACKOFF: Final = timedelta(minutes=16)
# By so much at most a wait is stretched, or an interval shortened, so that those that began
# together do not stay together.
SPREAD: Final = 0.2
# A webhook can be sent, or sent again, as often as one likes; git is not asked as often.
HINTS_APART: Final = timedelta(seconds=5)
# So long a pass waits for a repository, or a branch, that came later: most answer within it.
NEW_WAIT_S: Final = 1.0
# And not again for so long, however many there are: a token that is changed makes all of them new.
WAITS_APART_S: Final = 10.0
# A pass that was told "not yet" looks again after this long, should nobody tell it.
LOOK_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a repository is asked, and how long a pass waits for answers.

    `first_wait_s` is for all first answers together after `watch`; `alone_wait_s` for each
    answer before it.
    """

    poll_interval: timedelta = timedelta(seconds=60)
    first_wait_s: float = 10.0
    alone_wait_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The commit that a source points to; `source` is what of it counts as a change.

    `again_at` is when to look again; None: it cannot move, or one is told.
    """

    commit: str
    source: str
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Why and since when it is not known where a source points to, and when to look again."""

    message: str
    since: datetime
    again_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a spec follows: `base` is what a relative URL starts from, empty `paths`: all of it."""

    source: GitSource[Secret]
    base: Path
    paths: tuple[str, ...] = ()


class Fingerprints(Protocol):
    """Says what the files that some patterns match are at a commit."""

    def of(
        self, repository: Repository, ref: str, commit: str, paths: tuple[str, ...]
    ) -> tuple[str, str]:
        """Return the commit, and a text that is another where such a file is; GitFailedError.

        `ref` is what the repository calls the commit, or the tag that it is under; where it has
        moved on, the commit is the newer one.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Question:
    """The refs that answer, the best first, and the paths that count."""

    refs: tuple[str, ...]
    paths: tuple[str, ...]
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What is known: a commit, or why not; `since` when."""

    commit: str = ""
    source: str = ""
    failure: str = ""
    since: datetime


@dataclass(slots=True)
class _Remote:
    """What is known of one repository, seen with one credential."""

    repository: Repository
    shown: str  # its URL, where that may be shown
    host: str
    identity: str
    patient_until: float = 0.0  # of the monotonic clock: so long a pass waits for it
    names: dict[str, _Question] = field(default_factory=dict)
    answers: dict[_Question, _Answer] = field(default_factory=dict)
    open: set[_Question] = field(default_factory=set)  # what nobody has asked yet
    unanswered: set[str] = field(default_factory=set)  # who was told "not yet"
    put_off: dict[_Question, tuple[int, datetime]] = field(default_factory=dict)
    failures: int = 0
    asking: bool = False
    once_more: bool = False
    asked_at: datetime | None = None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Helpers:
    """What it is done with; `jitter` gives numbers from 0 up to 1."""

    git: Git
    fingerprints: Fingerprints
    clock: Clock
    jitter: Callable[[], float]
    meter: Meter = OFF


def resolve_url(url: str, base: Path) -> str:
    """Return the URL itself, or for a relative one the `file://` URL of what it means at `base`."""
    if not is_relative_url(url):
        return url
    return "file://" + quote(os.path.realpath(base / url))


class GitRefs:
    """Knows where sources point to. Safe to use from several threads.

    Until `watch` it asks when it is asked, and waits for the answer. From then on it asks by
    itself, answers at once, and tells the names for which the answer is another.
    """

    def __init__(self, helpers: Helpers, pace: Pace = Pace(), pool: Pool | None = None) -> None:
        self._git = helpers.git
        self._fingerprints = helpers.fingerprints
        self._clock = helpers.clock
        self._jitter = helpers.jitter
        self._meter = helpers.meter
        self._pace = pace
        self._pool = pool or Pool()
        # Nothing is put off for longer; where it seems to be, the clock was set back.
        self._longest = max(pace.poll_interval, LONGEST_BACKOFF) * (1 + SPREAD)
        self._remotes: dict[Repository, _Remote] = {}
        self._remote_of: dict[str, _Remote] = {}
        self._lock = threading.Condition()
        self._changed: Callable[[frozenset[str]], None] | None = None
        self._wake = threading.Event()
        self._patient_until = -WAITS_APART_S
        self._closed = False

    # ------------------------------------------------------------ asked by the loop

    def expect(self, wanted: Mapping[str, Wanted], gone: Iterable[str] = ()) -> None:
        """Begin to ask for what these names follow, all at once; forget those that are gone."""
        with self._lock:
            for name in gone:
                self._leave(name)
            followed = {
                id(remote): remote
                for name, each in wanted.items()
                if not each.source.commit
                for remote in [self._follow(name, each)]
            }
            for remote in followed.values():
                self._begin(remote)

    def head(self, name: str, wanted: Wanted) -> Revision | Unavailable:
        """Return the commit that a spec's source points to."""
        commit = wanted.source.commit
        if commit:
            return Revision(commit=commit, source=commit)
        with self._lock:
            remote = self._follow(name, wanted)
            self._begin(remote)
            self._wait(remote, remote.names[name])
            return self._tell(remote, name)

    def refresh(self, repositories: Iterable[str] | None = None) -> None:
        """Ask again for everything, or where a repository's `identity` is among these."""
        chosen = None if repositories is None else frozenset(repositories)
        now = self._clock.now()
        with self._lock:
            for remote in self._remotes.values():
                if chosen is not None and remote.identity not in chosen:
                    continue
                if chosen is None or remote.asked_at is None:
                    remote.again_at = now
                else:
                    remote.again_at = max(now, remote.asked_at + HINTS_APART)
                remote.once_more = remote.asking
        self._wake.set()

    def readings(self) -> Iterable[Reading]:
        """Tell of the repositories, for a scrape."""
        with self._lock:
            remotes = tuple(self._remotes.values())
        failed = sum(1 for r in remotes if r.failures)
        answered = sum(1 for r in remotes if r.answers and not r.failures)
        counts = {"answered": answered, "failed": failed}
        counts["asking"] = len(remotes) - answered - failed
        return tuple(Reading(of_loop.GIT_REPOSITORIES, n, (kind,)) for kind, n in counts.items())

    # ------------------------------------------------------------ asking by itself

    def watch(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Ask by itself from now on; `changed` is called, from other threads, with names."""
        self._changed = changed
        self._patient_until = time.monotonic() + self._pace.first_wait_s
        threading.Thread(target=self._poll, name="git-poll", daemon=True).start()

    def close(self) -> None:
        """Ask nothing more."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._pool.close()
        self._wake.set()

    def _poll(self) -> None:
        while not self._closed:
            self._wake.clear()
            with self._lock:
                now = self._clock.now()
                for remote in list(self._remotes.values()):
                    self._begin(remote)
                waiting = [r.again_at - now for r in self._remotes.values() if r.again_at]
            # Counted from here: a clock that is set back must not make it wait for hours.
            rest = min((r for r in waiting if r > timedelta(0)), default=LOOK_AGAIN)
            self._wake.wait(min(rest, LOOK_AGAIN).total_seconds())

    # ------------------------------------------------------------ who follows what

    def _follow(self, name: str, wanted: Wanted) -> _Remote:
        url = resolve_url(wanted.source.repo_url, wanted.base)
        repository = Repository(url=url, auth=wanted.source.auth)
        remote = self._remotes.get(repository)
        if remote is None:
            location = parse(url)
            readable = not isinstance(location, str)
            remote = _Remote(
                repository=repository,
                shown=url if readable else "the repository",
                host=location.host if not isinstance(location, str) else "",
                identity=identity(url),
            )
            self._remotes[repository] = remote
        if self._remote_of.get(name) is not remote:
            self._leave(name)
            self._remote_of[name] = remote
        question = _question(wanted, remote.shown)
        if question not in remote.answers and remote.names.get(name) != question:
            remote.open.add(question)
            remote.patient_until = self._patience()
        remote.names[name] = question
        return remote

    def _patience(self) -> float:
        """Return until when a pass waits for a newcomer: once for all that come together."""
        now = time.monotonic()
        if now >= self._patient_until + WAITS_APART_S:
            self._patient_until = now + NEW_WAIT_S
        return self._patient_until

    def _leave(self, name: str) -> None:
        remote = self._remote_of.pop(name, None)
        if remote is None:
            return
        remote.names.pop(name, None)
        remote.unanswered.discard(name)
        if not remote.names:
            self._remotes.pop(remote.repository, None)

    # ------------------------------------------------------------ asking

    def _due(self, remote: _Remote) -> bool:
        now = self._clock.now()
        if remote.again_at is None or not now < remote.again_at <= now + self._longest:
            return True
        return not remote.failures and bool(remote.open)

    def _begin(self, remote: _Remote) -> None:
        if remote.asking or self._closed or not self._due(remote):
            return
        remote.asking = True
        remote.once_more = False
        self._pool.submit(remote.host, lambda: self._ask(remote))

    def _wait(self, remote: _Remote, question: _Question) -> None:
        """Wait for an answer in question, and before `watch` for a fresh one, within bounds."""
        end = remote.patient_until
        if self._changed is None:
            end = time.monotonic() + self._pace.alone_wait_s
        while remote.asking and not self._closed:
            if self._changed is not None and question in remote.answers:
                return
            left = end - time.monotonic()
            if left <= 0:
                return
            self._lock.wait(left)

    def _ask(self, remote: _Remote) -> None:
        with self._lock:
            remote.asked_at = self._clock.now()
            questions = frozenset(remote.names.values())
        failed = True
        try:
            failed = self._answer(remote, questions)
        finally:
            self._end(remote, questions, failed=failed)

    def _answer(self, remote: _Remote, questions: frozenset[_Question]) -> bool:
        """Find the answers; True where the repository could not be asked."""
        refs = sorted({ref for question in questions for ref in question.refs})
        begun = time.monotonic()
        try:
            listed = self._git.list_refs(remote.repository, refs)
        except GitFailedError as error:
            self._meter.observe(of_loop.GIT_ASK, time.monotonic() - begun, "failed")
            words = f"{remote.shown} cannot be asked: {error}"
            self._publish(remote, dict.fromkeys(questions, words))
            return True
        self._meter.observe(of_loop.GIT_ASK, time.monotonic() - begun, "answered")
        found = {q: self._found(remote, q, listed) for q in questions}
        later = {q: a for q, a in found.items() if q.paths and not a.failure and not a.source}
        self._publish(remote, {q: a for q, a in found.items() if q not in later})
        for question, answer in later.items():
            self._look_closer(remote, question, answer, listed)
        return False

    def _found(self, remote: _Remote, question: _Question, refs: Mapping[str, str]) -> _Answer:
        """Return the commit; `source` is empty where it has to be looked at first."""
        now = self._clock.now()
        commit = next((refs[ref] for ref in question.refs if ref in refs), "")
        if not commit:
            return _Answer(failure=question.missing, since=now)
        if not question.paths:
            return _Answer(commit=commit, source=commit, since=now)
        known = remote.answers.get(question)
        source = known.source if known is not None and known.commit == commit else ""
        return _Answer(commit=commit, source=source, since=now)

    def _look_closer(
        self, remote: _Remote, question: _Question, answer: _Answer, refs: Mapping[str, str]
    ) -> None:
        """Find what the paths of interest are at a new commit."""
        failures, again_at = remote.put_off.get(question, (0, answer.since))
        if answer.since < again_at <= answer.since + self._longest:
            return
        ref = next(ref for ref in question.refs if ref in refs).removesuffix("^{}")
        found: _Answer | str
        try:
            commit, source = self._fingerprints.of(
                remote.repository, ref, answer.commit, question.paths
            )
            found = _Answer(commit=commit, source=source, since=answer.since)
            remote.put_off.pop(question, None)
        except GitFailedError as error:
            found = f"{remote.shown} cannot be looked at for reconcile.sourcePaths: {error}"
            remote.put_off[question] = (failures + 1, answer.since + self._rest(failures + 1))
        self._publish(remote, {question: found})

    def _publish(self, remote: _Remote, found: Mapping[_Question, _Answer | str]) -> None:
        """Take answers, or words of failure, and tell those for whom something is another."""
        with self._lock:
            changed = set()
            for question, new in found.items():
                old = remote.answers.get(question)
                answer = self._failed(old, new) if isinstance(new, str) else new
                if old is not None and _same(old, answer):
                    continue
                remote.answers[question] = answer
                for name, asks in remote.names.items():
                    if asks == question and (old is not None or name in remote.unanswered):
                        changed.add(name)
                        remote.unanswered.discard(name)
            self._lock.notify_all()
        if changed and self._changed is not None:
            self._changed(frozenset(changed))

    def _failed(self, old: _Answer | None, words: str) -> _Answer:
        if old is None:
            return _Answer(failure=words, since=self._clock.now())
        since = old.since if old.failure else self._clock.now()
        return _Answer(commit=old.commit, source="", failure=words, since=since)

    def _end(self, remote: _Remote, asked: frozenset[_Question], *, failed: bool) -> None:
        with self._lock:
            now = self._clock.now()
            remote.failures = remote.failures + 1 if failed else 0
            again_at = now + self._rest(remote.failures)
            if remote.once_more:  # a hint came while it was being asked
                again_at = now + HINTS_APART
            remote.again_at = again_at
            remote.asking = False
            now_wanted = frozenset(remote.names.values())
            remote.open = set(now_wanted - asked)
            for question in remote.answers.keys() - (asked | now_wanted):
                del remote.answers[question]
                remote.put_off.pop(question, None)
            if remote.names:
                self._begin(remote)  # who came in between has no answer yet
            self._lock.notify_all()
        self._wake.set()

    def _rest(self, failures: int) -> timedelta:
        if not failures:
            return self._pace.poll_interval * (1 - SPREAD * self._jitter())
        wait: timedelta = min(FIRST_BACKOFF * 2 ** min(failures - 1, 16), LONGEST_BACKOFF)
        return wait * (1 + SPREAD * self._jitter())

    # ------------------------------------------------------------ telling

    def _tell(self, remote: _Remote, name: str) -> Revision | Unavailable:
        now = self._clock.now()
        answer = remote.answers.get(remote.names[name])
        if answer is None and remote.failures:
            # A name that came while the repository fails shares the failure of the others.
            answer = next((a for a in remote.answers.values() if a.failure), None)
        if answer is None:
            remote.unanswered.add(name)
            message = f"{remote.shown} is being asked where it stands"
            return Unavailable(message=message, since=now, again_at=now + LOOK_AGAIN)
        again_at = max(remote.again_at or now, now) if not remote.asking else now + LOOK_AGAIN
        if answer.failure:
            since = f"since {answer.since:%Y-%m-%d %H:%M}Z"
            before = f"; it was at {answer.commit[:12]}" if answer.commit else ""
            message = f"{answer.failure} ({since}{before})"
            return Unavailable(message=message, since=answer.since, again_at=again_at)
        watched = self._changed is not None
        return Revision(
            commit=answer.commit, source=answer.source, again_at=None if watched else again_at
        )


def _same(one: _Answer, other: _Answer) -> bool:
    """Whether two answers say the same, whenever."""
    return (one.commit, one.source, one.failure) == (other.commit, other.source, other.failure)


def _question(wanted: Wanted, shown: str) -> _Question:
    """Return what to ask: an annotated tag's commit rather than the tag."""
    source = wanted.source
    if source.branch:
        refs: tuple[str, ...] = (f"refs/heads/{source.branch_name}",)
        missing = f"{shown} has no branch '{source.branch_name}'"
    elif source.tag:
        name = f"refs/tags/{source.tag.removeprefix('refs/tags/')}"
        refs, missing = (f"{name}^{{}}", name), f"{shown} has no tag '{source.tag}'"
    else:
        refs, missing = ("HEAD",), f"{shown} has no commit yet"
    return _Question(refs, wanted.paths, missing)
