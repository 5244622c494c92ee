"""Bare copies of repositories, kept between deployments: fetched into, and copied from.

    root/key            makes the names, so that none tells of a credential
    root/NAME/use.lock  held shared by whoever uses the mirror, alone by whoever removes it
    root/NAME/fetch.lock  held by the one that fetches
    root/NAME/git-…     the mirror, or one that was or will be
    root/NAME/current   which of them is
    root/NAME/size      its bytes, at the end of the last fetch

A mirror belongs to one organization, URL and credential together: nobody reads what another's
credential has fetched. The locks hold between processes, and go with whoever dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.engine.sources.watch import measure
from reconciler.files import read_regular, write_durably

__all__ = ["Kept", "Mirror", "Mirrors", "note_size", "read_ref", "surplus"]

# One file a mirror and some directories: more of them are looked through slowly.
MOST_MIRRORS = 1000

# Each fetch adds a pack, and git looks for an object in all of them: then a new mirror, with
# what is needed now, costs less.
MOST_PACKS = 50

KEY_BYTES = 32
_TRASH = "trash-"
_GIT = "git-"
_LARGEST_REF_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A mirror on disk: its name, its bytes, and when it was last used (any rising number)."""

    name: str
    size: int
    used: int


def surplus(kept: Sequence[Kept], largest_bytes: int, most: int = MOST_MIRRORS) -> tuple[str, ...]:
    """Return which mirrors to remove, the longest unused first, so that the rest is in bounds."""
    size, number = sum(mirror.size for mirror in kept), len(kept)
    removed = []
    for mirror in sorted(kept, key=lambda mirror: mirror.used):
        if size <= largest_bytes and number <= most:
            break
        removed.append(mirror.name)
        size -= mirror.size
        number -= 1
    return tuple(removed)


class Mirrors:
    """All mirrors of one host's engine. Any thread and process may use them at once."""

    def __init__(self, root: Path, largest_bytes: int) -> None:
        self._root = root
        self._largest = largest_bytes

    def name(self, *owner: str) -> str:
        """Return the name of the mirror of an organization, URL and credential."""
        text = "\0".join(f"{len(part)}:{part}" for part in owner)
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()[:40]

    @contextmanager
    def using(self, name: str, pause: Callable[[], None]) -> Iterator[Mirror]:
        """Give a mirror, there or not, which nobody removes meanwhile.

        `pause` waits for a moment, and raises where the step is to end.
        """
        folder = self._root / name
        try:
            with _locked(folder / "use.lock", fcntl.LOCK_SH, pause):
                os.utime(folder / "use.lock")
                yield Mirror(folder, pause)
        finally:
            with contextlib.suppress(_BusyError):
                self._sweep(folder)

    def _sweep(self, folder: Path) -> None:
        """Remove the repositories that are no longer of use, where nobody copies from them."""
        now = _current(folder)
        old = [path for path in folder.glob(f"{_GIT}*") if path.name != now]
        if not old and (folder / now).exists():
            return
        with _locked(folder / "use.lock", fcntl.LOCK_EX, _give_up):
            now = _current(folder)
            if not (folder / now).exists():
                self._trash(folder)
            for path in folder.glob(f"{_GIT}*"):
                if path.name != now:
                    self._trash(path)

    def evict(self) -> None:
        """Remove what is too much, but what is in use, and what was being removed."""
        kept = []
        for folder in self._root.iterdir():
            if folder.name.startswith(_TRASH):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir():
                with contextlib.suppress(OSError, ValueError):
                    size = int((folder / "size").read_text())
                    used = (folder / "use.lock").stat().st_mtime_ns
                    kept.append(Kept(name=folder.name, size=size, used=used))
        for name in surplus(kept, self._largest):
            with contextlib.suppress(_BusyError):
                self._remove(self._root / name)

    def _remove(self, folder: Path) -> None:
        with _locked(folder / "use.lock", fcntl.LOCK_EX, _give_up):
            self._trash(folder)

    def _trash(self, path: Path) -> None:
        """Remove a directory: out of the way at once, then from the disk."""
        away = self._root / f"{_TRASH}{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(away)
            shutil.rmtree(away, ignore_errors=True)

    def _key(self) -> bytes:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._root / "key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            pass
        made = self._root / f"key.{secrets.token_hex(8)}"
        write_durably(made, secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(made, path)  # the first one counts
        made.unlink()
        return path.read_bytes()


class Mirror:
    """One mirror, in use."""

    def __init__(self, folder: Path, pause: Callable[[], None]) -> None:
        self._folder = folder
        self._pause = pause

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Be the only one that fetches, until the end of the block."""
        with _locked(self._folder / "fetch.lock", fcntl.LOCK_EX, self._pause):
            yield

    def current(self) -> Path | None:
        """Return the bare repository, freed of what a fetch that died has left; None: make one.

        None as well for one that is worn by many fetches. Only for who fetches.
        """
        git = self._folder / _current(self._folder)
        packs = git / "objects/pack"
        try:
            names = [path.name for path in packs.iterdir()]
        except OSError:
            return None
        for name in names:
            if name.startswith("tmp_"):
                (packs / name).unlink(missing_ok=True)
        for lock in (*git.glob("*.lock"), *git.glob("refs/asked/*.lock")):
            lock.unlink(missing_ok=True)
        return git if sum(name.endswith(".pack") for name in names) <= MOST_PACKS else None

    def begin_new(self) -> Path:
        """Make the directory for a new repository, and return it."""
        new = self._folder / f"{_GIT}{secrets.token_hex(8)}"
        new.mkdir(mode=0o700)
        return new

    def take(self, new: Path) -> None:
        """Have the new repository from now on; who copies from the one before goes on."""
        made = self._folder / "current.new"
        made.write_text(new.name)
        made.replace(self._folder / "current")


def note_size(git: Path, enough: int) -> None:
    """Remember how large a mirror is, for `evict`."""
    (git.parent / "size").write_text(str(measure(git, enough)))


def read_ref(git: Path, ref: str) -> str:
    """Return what a ref of a mirror points to; empty where it does not."""
    try:
        text = read_regular(git / ref, _LARGEST_REF_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) in {40, 64} and set(text) <= set("0123456789abcdef") else ""


def _current(folder: Path) -> str:
    """Return the name of the repository that counts; one that is not there where none does."""
    try:
        name = (folder / "current").read_text()
    except OSError:
        return "none"
    return name if name.startswith(_GIT) and "/" not in name else "none"


class _BusyError(Exception):
    """Somebody has the lock."""


def _give_up() -> None:
    raise _BusyError


@contextmanager
def _locked(path: Path, how: int, pause: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; while another has it, `pause` is called again and again."""
    while (descriptor := _lock(path, how)) is None:
        pause()
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, how: int) -> int | None:
    """Return a descriptor that holds the lock, or None where it cannot be had now."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # the directory was removed in between
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        # The one that is locked must be the one that others find there.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
