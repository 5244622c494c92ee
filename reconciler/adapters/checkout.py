"""The directory of specs as a branch of a repository, pulled into the state directory.

    HOME/git               a bare copy of the branch, from the commit on that was first fetched
    HOME/worktrees/COMMIT  the specs of a commit, whole or not there
    HOME/current           a link to the one in force; changed by a rename, between two scans
    HOME/directory.json    the commit in force, and what keeps a newer one from it

A commit is put in force when it can be read as well as the one before: where a spec that was good
is broken, or the directory is gone, the one before stays, as it does while the server is away.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from reconciler.adapters.git_process import (
    Bounds,
    Git,
    GitFailedError,
    Repository,
    is_theirs,
)
from reconciler.clock import Clock
from reconciler.errors import NotDurableError, ReconcilerError
from reconciler.files import make_folder, read_regular, write_durably
from reconciler.git.urls import OwnRepository, identity
from reconciler.jsonform import time_text
from reconciler.model import Catalog

__all__ = ["Checkout", "Origin", "Refused", "load", "state_body", "status_line"]

_log = logging.getLogger(__name__)

FETCH: Final = Bounds(timeout_s=300.0, file_bytes=2 << 30)
LOCAL: Final = Bounds(timeout_s=300.0, output_bytes=64 << 20)
# What specs may be: more of them are not read anyway.
MOST_FILES: Final = 200_000
LARGEST_FILES_BYTES: Final = 256 << 20
# Each fetch adds a pack; then they are made one.
MOST_PACKS: Final = 50
# How many names are remembered that a commit has taken away.
MOST_REMOVED: Final = 10_000
FIRST_BACKOFF: Final = timedelta(minutes=1)
LONGEST_BACKOFF: Final = timedelta(minutes=16)
MAX_MESSAGE: Final = 500
MAX_STATE_BYTES: Final = 8 << 20

_FETCH: Final = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
_HEAD: Final = "refs/asked/head"
_IN_FORCE: Final = "refs/reconciler/in-force"
_ENDINGS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is followed; `repository` gives it with its credential, read anew each time.

    `path` is the directory of specs in it, empty for its root.
    """

    url: str
    branch: str
    path: str
    repository: Callable[[], Repository]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What keeps a commit from being in force, and since when; `commit` empty: the server."""

    commit: str = ""
    since: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is in `directory.json`.

    `removed` are names that a commit has taken away: the last commit in force that had them,
    and whether the one in force now descends from it.
    """

    url: str = ""
    branch: str = ""
    path: str = ""
    commit: str = ""
    since: str = ""
    refused: Refused | None = None
    unreachable: Refused | None = None
    removed: dict[str, tuple[str, bool]] = field(default_factory=dict)


class _RefusedError(Exception):
    """A commit that is not put in force; the message says why."""


class Checkout:
    """One directory of specs that is a branch. `apply` belongs to the thread that reads specs.

    `judge` reads a directory as the loop would.
    """

    def __init__(
        self, origin: Origin, home: Path, git: Git, clock: Clock, judge: Callable[[Path], Catalog]
    ) -> None:
        self._origin = origin
        self._git = git
        self._clock = clock
        self._judge = judge
        self.home = home
        self._copy = home / "git"
        self._state = load(home)
        self._good: frozenset[str] | None = None
        self._ready: tuple[str, frozenset[str]] | None = None
        self._judged = ""
        self._failures = 0
        self._lock = threading.Lock()
        self._pulling = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()

    # ------------------------------------------------------------ what is in force

    @property
    def root(self) -> Path:
        """The root of the repository, as far as it is checked out."""
        return self.home / "current"

    @property
    def folder(self) -> Path:
        """The directory of specs; the same path whatever commit is in force."""
        return self.root / self._origin.path

    @property
    def own(self) -> OwnRepository:
        """What a relative URL of a spec means here."""
        return OwnRepository(root=self.root, url=self._origin.url, branch=self._origin.branch)

    @property
    def identity(self) -> str:
        """What a webhook calls it."""
        return identity(self._origin.url)

    @property
    def state(self) -> State:
        """What is in force, and what keeps a newer commit from it."""
        return self._state

    def removed_by_commit(self, name: str) -> bool:
        """Whether a spec's file was removed by a commit that descends from the last one with it."""
        return self._state.removed.get(name, ("", False))[1]

    def apply(self) -> bool:
        """Put the newest commit in force that is ready; True where that is another now."""
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is None:
            return False
        commit, good = ready
        try:
            self._keep(replace(self._after(commit), refused=None))
            self._switch()
        except (NotDurableError, OSError) as error:
            _log.warning("%s stays as it is for now: %s", self.home, error)
            self._put_off(*ready)
            return False
        with contextlib.suppress(GitFailedError):  # then it is in the way of no repack either
            self._git.local(("update-ref", _IN_FORCE, commit), self._copy, LOCAL)
        self._good = good
        return True

    def _put_off(self, commit: str, good: frozenset[str]) -> None:
        """Have it ready again, where nothing newer is."""
        with self._lock:
            if self._ready is None:
                self._ready = (commit, good)

    def restore(self) -> bool:
        """Make what is on disk as `directory.json` says; False where nothing is in force."""
        commit = self._state.commit
        if not commit:
            return False
        if not (self.home / "worktrees" / commit).is_dir():
            try:
                self._check_out(commit)
            except (GitFailedError, _RefusedError, OSError):
                return False
        self._switch()
        return True

    # ------------------------------------------------------------ pulling

    def pull(self) -> bool:
        """Fetch the branch, and make a new commit ready; True where there is something to do.

        What keeps it from that is in `state`.
        """
        with self._pulling:
            self._tidy()
            before = self._state
            try:
                commit = self._fetch()
            except GitFailedError as error:
                self._failures += 1
                self._unreachable(str(error))
                return self._state != before
            self._failures = 0
            if before.unreachable is not None:
                self._keep(replace(self._state, unreachable=None))
            if commit == self._judged:
                return self._state != before
            self._consider(commit)
            self._judged = commit
            return self._ready is not None or self._state != before

    def watch(self, every: timedelta, changed: Callable[[], None]) -> None:
        """Pull by itself from now on; `changed` is called from another thread."""

        def go_on() -> None:
            while not self._closed.is_set():
                # Not until a time of the clock, which may be set back meanwhile.
                self._wake.wait(self._rest(every).total_seconds())
                self._wake.clear()
                try:
                    if not self._closed.is_set() and self.pull():
                        changed()
                except (ReconcilerError, OSError) as error:
                    self._failures += 1
                    _log.warning("%s cannot be pulled into: %s", self.home, error)

        threading.Thread(target=go_on, name="checkout", daemon=True).start()

    def hint(self) -> None:
        """Something may have been pushed: look now."""
        self._wake.set()

    def close(self) -> None:
        """Pull no more."""
        self._closed.set()
        self._wake.set()

    def _rest(self, every: timedelta) -> timedelta:
        if not self._failures:
            return every
        wait: timedelta = min(FIRST_BACKOFF * 2 ** min(self._failures - 1, 16), LONGEST_BACKOFF)
        return wait

    def _fetch(self) -> str:
        known = self._copy.exists()
        try:
            return self._fetch_into()
        except GitFailedError as error:
            if not known or is_theirs(error):
                raise
            # Our copy is of no use, after a crash perhaps. What it knew of the past goes with it:
            # what a commit has removed is then only missing.
            shutil.rmtree(self._copy, ignore_errors=True)
            return self._fetch_into()

    def _fetch_into(self) -> str:
        repository = self._origin.repository()
        refspec = f"+refs/heads/{self._origin.branch}:{_HEAD}"
        if not (self._copy / "objects").is_dir():
            make_folder(self._copy)
            init = ("init", "--quiet", "--bare", "--template=", "--", str(self._copy))
            self._git.local(init, self._copy, LOCAL)
        shallow = ("--depth=1",) if not self._commit(_HEAD) else ()
        try:
            self._git.ask(repository, (*_FETCH, *shallow), (refspec,), FETCH, self._copy)
        except GitFailedError as error:
            if not shallow or "dumb http transport" not in str(error):
                raise
            self._git.ask(repository, _FETCH, (refspec,), FETCH, self._copy)
        if len(list((self._copy / "objects/pack").glob("*.pack"))) > MOST_PACKS:
            self._git.local(("repack", "-a", "-d", "--quiet"), self._copy, LOCAL)
        return self._commit(_HEAD)

    def _consider(self, commit: str) -> None:
        """Make a commit ready, or say why not."""
        if commit == self._state.commit:
            if self._state.refused is not None:
                self._keep(replace(self._state, refused=None))
            return
        try:
            tree = self._check_out(commit)
            catalog = self._judge(tree / self._origin.path)
            self._compare(catalog, tree)
        except (_RefusedError, GitFailedError, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._refuse(commit, words)
            return
        good = frozenset(spec.name for spec in catalog.specs)
        with self._lock:
            self._ready = (commit, good)

    def _compare(self, catalog: Catalog, tree: Path) -> None:
        """Refuse a commit in which a spec is broken that is good in the one in force."""
        if not catalog.complete:
            raise _RefusedError("a part of the directory cannot be read")
        if self._good is None:
            in_force = self._judge(self.folder) if self._state.commit else Catalog()
            self._good = frozenset(spec.name for spec in in_force.specs)
        broken = sorted(self._good & catalog.broken.keys())
        if broken:
            problem = str(catalog.broken[broken[0]].problem).replace(f"{tree}/", "")
            more = f", and {len(broken) - 1} more that were good" if broken[1:] else ""
            raise _RefusedError(f"{problem}{more}")

    # ------------------------------------------------------------ worktrees

    def _check_out(self, commit: str) -> Path:
        """Make the worktree of a commit, whole or not at all."""
        target = self.home / "worktrees" / commit
        if target.is_dir():
            return target
        tree = f"{commit}:{self._origin.path}"
        self._measure(tree)
        made = self.home / "worktrees" / f".{secrets.token_hex(8)}"
        folder = made / self._origin.path
        make_folder(folder)
        index = {"GIT_INDEX_FILE": str(made / ".index"), "GIT_WORK_TREE": str(folder)}
        try:
            self._git.local(("read-tree", tree), self._copy, LOCAL, index)
            self._git.local(("checkout-index", "--all", "--quiet"), self._copy, LOCAL, index)
            (made / ".index").unlink()
            os.sync()  # what is in force is to be whole after a power cut, too
            made.rename(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return target

    def _measure(self, tree: str) -> None:
        shown = self._origin.path or "its root"
        try:
            listed = self._git.local(("ls-tree", "-r", "-z", "-l", tree), self._copy, LOCAL)
        except GitFailedError as error:
            if "Not a valid object name" in str(error) or "not a tree" in str(error):
                raise _RefusedError(f"there is no directory {shown} in it") from None
            raise
        entries = [entry for entry in listed.split(b"\0") if entry]
        sizes = [int(e.split()[3]) for e in entries if e.split()[3].isdigit()]
        if len(entries) > MOST_FILES or sum(sizes) > LARGEST_FILES_BYTES:
            raise _RefusedError(
                f"{shown} holds {len(entries)} files of {sum(sizes) >> 20} MiB; "
                f"{MOST_FILES} of {LARGEST_FILES_BYTES >> 20} MiB are the most"
            )

    def _switch(self) -> None:
        """Have `current` lead to the commit in force."""
        commit = self._state.commit
        target = Path("worktrees") / commit
        if not self.root.is_symlink() or self.root.readlink() != target:
            link = self.home / f".current.{secrets.token_hex(8)}"
            link.symlink_to(target)
            link.replace(self.root)

    def _tidy(self) -> None:
        """Remove the worktrees that nobody reads."""
        with self._lock:
            needed = {self._state.commit, self._ready[0] if self._ready else ""}
        for other in (self.home / "worktrees").glob("*"):
            if other.name not in needed:
                shutil.rmtree(other, ignore_errors=True)

    # ------------------------------------------------------------ what is remembered

    def _after(self, commit: str) -> State:
        """Return the state with another commit in force: which names it has taken away."""
        before = self._state
        now = self._names(commit)
        removed = {n: last for n, (last, _) in before.removed.items() if n not in now}
        if before.commit:
            removed |= dict.fromkeys(self._names(before.commit) - now, before.commit)
        kept = dict(list(removed.items())[-MOST_REMOVED:])
        descends = {last: self._descends(commit, last) for last in set(kept.values())}
        return replace(
            before,
            url=self._origin.url,
            branch=self._origin.branch,
            path=self._origin.path,
            commit=commit,
            since=time_text(self._clock.now()),
            removed={name: (last, descends[last]) for name, last in kept.items()},
        )

    def _names(self, commit: str) -> set[str]:
        arguments = ("ls-tree", "-r", "-z", "--name-only", f"{commit}:{self._origin.path}")
        try:
            listed = self._git.local(arguments, self._copy, LOCAL)
        except GitFailedError:
            return set()
        paths = (path.decode("utf-8", "surrogateescape") for path in listed.split(b"\0"))
        return {path.rpartition(".")[0] for path in paths if path.endswith(_ENDINGS)}

    def _descends(self, commit: str, from_commit: str) -> bool:
        arguments = ("merge-base", "--is-ancestor", from_commit, commit)
        try:
            self._git.local(arguments, self._copy, LOCAL)
        except GitFailedError:
            return False
        return True

    def _commit(self, ref: str) -> str:
        arguments = ("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}")
        try:
            return self._git.local(arguments, self._copy, LOCAL).decode().strip()
        except GitFailedError:
            return ""

    def _refuse(self, commit: str, words: str) -> None:
        known = self._state.refused
        since = known.since if known and known.commit == commit else time_text(self._clock.now())
        refused = Refused(commit=commit, since=since, message=words[:MAX_MESSAGE])
        self._keep(replace(self._state, refused=refused))

    def _unreachable(self, words: str) -> None:
        known = self._state.unreachable
        since = known.since if known else time_text(self._clock.now())
        self._keep(
            replace(self._state, unreachable=Refused(since=since, message=words[:MAX_MESSAGE]))
        )

    def _keep(self, state: State) -> None:
        if state == self._state:
            return
        named = replace(
            state, url=self._origin.url, branch=self._origin.branch, path=self._origin.path
        )
        make_folder(self.home)
        body = {
            "repo": named.url,
            "branch": named.branch,
            "path": named.path,
            "commit": named.commit,
            "since": named.since,
            "refused": _as_json(named.refused),
            "unreachable": _as_json(named.unreachable),
            "removed": {n: list(value) for n, value in named.removed.items()},
        }
        content = json.dumps(body, indent=2).encode("utf-8", "surrogateescape")
        write_durably(self.home / "directory.json", content)
        self._state = named


def load(home: Path) -> State:
    """Return what is remembered of a checkout; nothing where that cannot be read."""
    try:
        body: Any = json.loads(read_regular(home / "directory.json", MAX_STATE_BYTES))
        return State(
            url=str(body["repo"]),
            branch=str(body["branch"]),
            path=str(body["path"]),
            commit=_hash(body["commit"]),
            since=str(body["since"]),
            refused=_from_json(body["refused"]),
            unreachable=_from_json(body["unreachable"]),
            removed={str(n): (_hash(v[0]), v[1] is True) for n, v in body["removed"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return State()


def status_line(state: State) -> str:
    """Return how a checkout stands, in a line for people."""
    where = f"{state.url}, branch {state.branch}, {state.path or 'its root'}"
    at = (
        f"at {state.commit[:12]} since {_short(state.since)}"
        if state.commit
        else "nothing is in force"
    )
    parts = [f"{where}: {at}"]
    if state.refused is not None:
        refused = state.refused
        parts.append(
            f"{refused.commit[:12]} is not taken since {_short(refused.since)}: {refused.message}"
        )
    if state.unreachable is not None:
        away = state.unreachable
        parts.append(f"cannot be fetched since {_short(away.since)}: {away.message}")
    return "; ".join(parts)


def state_body(state: State) -> dict[str, object]:
    """Return how a checkout stands, for programs: what is in force, and what keeps others out."""
    away = state.unreachable
    return {
        "url": state.url,
        "branch": state.branch,
        "path": state.path,
        "commit": state.commit or None,
        "since": state.since or None,
        "refused": _as_json(state.refused),
        "unreachable": {"since": away.since, "message": away.message} if away else None,
    }


def _short(time: str) -> str:
    """Return a time to the minute, as people read it."""
    return f"{time[:16].replace('T', ' ')}Z"


def _as_json(refused: Refused | None) -> dict[str, str] | None:
    if refused is None:
        return None
    return {"commit": refused.commit, "since": refused.since, "message": refused.message}


def _from_json(body: Any) -> Refused | None:
    if body is None:
        return None
    return Refused(
        commit=str(body["commit"]), since=str(body["since"]), message=str(body["message"])
    )


def _hash(value: object) -> str:
    """Return a commit's hash; ValueError for what could lead elsewhere as a path."""
    text = str(value)
    if text and not (text.isascii() and text.isalnum()):
        raise ValueError("is no commit")
    return text
