"""What the files that count are at a commit, so that a new commit elsewhere is no change.

The repository's commit and directories are fetched, of the files only their names and hashes
where the server can do that. What is compared is the state at two commits, not the way from one
to the other: a squash, a revert or a forced push is judged by what it comes to.

    FOLDER/NAME        a bare repository, one for each URL and credential together
    FOLDER/NAME.lock   held by who uses it; `plan` may run beside the daemon
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reconciler.adapters.git_process import (
    Bounds,
    Git,
    GitFailedError,
    Repository,
    is_theirs,
)
from reconciler.files import locked, make_folder
from reconciler.git.paths import PathRules
from reconciler.git.urls import credentials, plain

__all__ = ["GitChanges"]

# The directories of a hundred thousand files take some MiB; a server that sends the files too
# (it knows no filter) takes the rest.
LARGEST_BYTES: Final = 512 << 20
# All copies together; the longest unused goes first.
LARGEST_SUM_BYTES: Final = 4 << 30
# Each fetch adds a pack, and git looks into all of them.
MOST_PACKS: Final = 50
FETCH: Final = Bounds(timeout_s=300.0, file_bytes=LARGEST_BYTES)
# A line for each file: some hundred thousand.
LIST: Final = Bounds(timeout_s=60.0, output_bytes=64 << 20)

_FETCH: Final = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--prune")
_SHALLOW: Final = ("--depth=1", "--filter=blob:none")
# A server of files alone can give no part of a history.
_WHOLE_ONLY: Final = "dumb http transport"
_TOO_LARGE: Final = "it is larger than"
# What is not there must not be fetched by the way.
_NO_FETCH: Final = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}


class GitChanges:
    """Says what the files that some patterns match are at a commit.

    `key` gives what makes the names of the copies, so that none tells of a credential.
    """

    def __init__(self, git: Git, folder: Path, key: Callable[[], bytes]) -> None:
        self._git = git
        self._folder = folder
        self._key = key

    def of(
        self, repository: Repository, ref: str, commit: str, paths: tuple[str, ...]
    ) -> tuple[str, str]:
        """Return the commit, and a text that is another where such a file is another.

        The commit is a newer one where `ref` has moved on. Raises GitFailedError.
        """
        make_folder(self._folder)
        name = self._name(repository)
        asked = f"refs/asked/{hashlib.sha256(ref.encode()).hexdigest()}"
        with locked(self._folder / f"{name}.lock"):
            copy = self._folder / name
            if self._commit(copy, asked) != commit:
                self._fetch(repository, copy, f"+{ref}:{asked}")
                commit = self._commit(copy, asked)
            listed = self._git.local(
                ("ls-tree", "-r", "-z", "--full-tree", commit), copy, LIST, _NO_FETCH
            )
        self._evict(name)
        return commit, _fingerprint(listed, paths)

    def _fetch(self, repository: Repository, copy: Path, refspec: str) -> None:
        if _worn(copy):
            shutil.rmtree(copy, ignore_errors=True)
        known = copy.exists()
        try:
            self._fetch_into(repository, copy, refspec)
        except GitFailedError as error:
            if _TOO_LARGE in str(error):
                shutil.rmtree(copy, ignore_errors=True)
            if not known or is_theirs(error):
                raise
            shutil.rmtree(copy, ignore_errors=True)  # our copy is of no use
            self._fetch_into(repository, copy, refspec)

    def _fetch_into(self, repository: Repository, copy: Path, refspec: str) -> None:
        if not copy.exists():
            make_folder(copy)
            self._git.local(("init", "--quiet", "--bare", "--template=", "--", str(copy)), copy)
        try:
            self._git.ask(repository, (*_FETCH, *_SHALLOW), (refspec,), FETCH, copy)
        except GitFailedError as error:
            if _WHOLE_ONLY not in str(error):
                raise
            self._git.ask(repository, _FETCH, (refspec,), FETCH, copy)

    def _commit(self, copy: Path, asked: str) -> str:
        """Return the commit that was fetched last; empty where there is none."""
        if not (copy / "HEAD").exists():
            return ""
        arguments = ("rev-parse", "--quiet", "--verify", f"{asked}^{{commit}}")
        try:
            return self._git.local(arguments, copy, LIST, _NO_FETCH).decode().strip()
        except GitFailedError:
            return ""

    def _name(self, repository: Repository) -> str:
        auth = repository.auth
        parts = [repository.url, *credentials(auth, "")]
        if auth is not None and auth.ssh is not None:
            parts += [plain(auth.ssh.private_key), plain(auth.ssh.password or "")]
        text = "\0".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()[:40]

    def _evict(self, used: str) -> None:
        """Remove the longest unused copies where all together are too large."""
        with contextlib.suppress(OSError):
            os.utime(self._folder / f"{used}.lock")
        found: list[tuple[float, str, int]] = []
        for lock in self._folder.glob("*.lock"):
            copy = lock.with_suffix("")
            with contextlib.suppress(OSError):
                found.append((lock.stat().st_mtime, copy.name, _size(copy)))
        total = sum(size for _, _, size in found)
        for _, name, size in sorted(found):
            if total <= LARGEST_SUM_BYTES or name == used:
                return
            with locked(self._folder / f"{name}.lock"):
                shutil.rmtree(self._folder / name, ignore_errors=True)
            total -= size


def _fingerprint(listed: bytes, paths: tuple[str, ...]) -> str:
    """Return the hash of what a list of files says of those that are meant."""
    rules = PathRules(paths)
    found = hashlib.sha256()
    for entry in filter(None, listed.split(b"\0")):
        path = entry.partition(b"\t")[2].decode("utf-8", "surrogateescape")
        if rules.match(path):
            found.update(entry + b"\0")
    return found.hexdigest()


def _worn(copy: Path) -> bool:
    """Whether a new copy costs less than this one."""
    packs = list((copy / "objects/pack").glob("*.pack"))
    return len(packs) > MOST_PACKS or _size(copy) > LARGEST_BYTES


def _size(copy: Path) -> int:
    """Return the bytes of a copy; nearly all of them are in its packs."""
    total = 0
    with contextlib.suppress(OSError):
        for file in (copy / "objects/pack").iterdir():
            with contextlib.suppress(OSError):
                total += file.stat().st_size
    return total
