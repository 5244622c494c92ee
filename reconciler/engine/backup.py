"""Writes an engine's data into one file, and makes a data directory of such a file.

The engine may go on meanwhile. First Pulumi's state is copied, file by file, each of which
Pulumi replaces whole; then the database, as it is at one moment: so the database knows of
every stack, and of every passphrase, that the state needs. What only runs is left out: the
workspaces, the caches, the locks.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from reconciler import __version__
from reconciler.engine.backend import Backend
from reconciler.engine.config import Layout
from reconciler.engine.sealing import box_of
from reconciler.engine.store import Store
from reconciler.errors import NotDurableError, ReconcilerError, UsageError

__all__ = ["BackedUp", "BackupError", "Contents", "Restored", "back_up", "restore"]

FORM = 1

_MANIFEST = "manifest.json"
_DATABASE = "engine.db"
_KEY = "engine.key"
_FOLDERS = ("backends", "logs")

# Whoever held them is another process, and on another machine perhaps.
_LOCKS = "locks"

# A manifest names each file once; ours have some hundred bytes a file.
LARGEST_MANIFEST_BYTES = 256 * 1024 * 1024

_PIECE = 1 << 20


class BackupError(ReconcilerError):
    """A backup cannot be made or read; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds besides the database and Pulumi's state."""

    key: bool = False
    logs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """A backup that was made. `stateless` are stacks whose state is elsewhere, and not in it."""

    size_bytes: int
    stateless: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a data directory that was made of a backup holds.

    `stateless` are the stacks whose state was kept in the directory and is not in the backup.
    """

    contents: Contents
    stacks: int
    stateless: tuple[str, ...]
    faults: tuple[str, ...]


# ---------------------------------------------------------------- making one


def back_up(layout: Layout, target: Path, key: Path, contents: Contents) -> BackedUp:
    """Write a backup; nothing is left of one that fails.

    `key` is the key file. BackupError, UsageError for a target that is there, NotDurableError.
    """
    if not layout.database.exists():
        raise BackupError(
            f"{layout.data} holds no engine.db: give --data DIR. What is in PostgreSQL "
            "(--database) is backed up with its own tools, such as pg_dump; keep engine.key, too"
        )
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{target} cannot be made: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
                stateless = _write(_Writer(archive), layout, key, contents)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        # A link is made only where nothing is: an older backup is not replaced.
        os.link(beside, target)
        _sync(target.parent)
    except FileExistsError as error:
        raise UsageError(f"{target} is there already; name a file that is not") from error
    except OSError as error:
        raise NotDurableError(f"{target} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return BackedUp(size_bytes=size, stateless=stateless)


class _Writer:
    """Puts files into an archive, and remembers what they were."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._files: dict[str, dict[str, object]] = {}

    def add(self, name: str, path: Path) -> None:
        """Add a file as it is now; one that has just gone is none."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            info = tarfile.TarInfo(name)
            # A log may grow meanwhile: what is there now is what is kept.
            info.size = os.fstat(file.fileno()).st_size
            info.mode = 0o600
            reader = _Hashing(file, info.size)
            self._archive.addfile(info, reader)
        self._files[name] = {"size": info.size, "sha256": reader.digest()}

    def finish(self, contents: Contents) -> None:
        """Add the manifest."""
        manifest = {
            "form": FORM,
            "version": __version__,
            "key": contents.key,
            "logs": contents.logs,
            "files": self._files,
        }
        content = json.dumps(manifest).encode()
        info = tarfile.TarInfo(_MANIFEST)
        info.size, info.mode = len(content), 0o600
        self._archive.addfile(info, io.BytesIO(content))


class _Hashing(io.RawIOBase):
    """Reads the first `size` bytes of a file, and hashes them on the way."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._file.read(wanted)
        self._left -= len(piece)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Return the hash of what was read."""
        return self._hash.hexdigest()


def _write(writer: _Writer, layout: Layout, key: Path, contents: Contents) -> tuple[str, ...]:
    """Write everything, and return the stacks whose state is not in it."""
    for name, path in _files_below(layout.backends, "backends"):
        writer.add(name, path)
    with _copied(layout) as (store, database):
        writer.add(_DATABASE, database)
        stateless = _stateless(store, layout)
    if contents.logs:
        for name, path in _files_below(layout.logs, "logs"):
            writer.add(name, path)
    if contents.key:
        if not key.exists():
            raise BackupError(f"{key} is not there, so that the key cannot be in the backup")
        writer.add(_KEY, key)
    writer.finish(contents)
    return stateless


def _stateless(store: Store, layout: Layout) -> tuple[str, ...]:
    """Return the stacks that have a state, and not in the directory."""
    return tuple(
        str(stack)
        for stack, info in store.stacks.all()
        if info.initialized and not Backend(layout.backend(stack.organization)).has(stack)
    )


def _files_below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not (f == _LOCKS and root.endswith(".pulumi")))
        for file in sorted(files):
            path = Path(root, file)
            if path.is_file() and not path.is_symlink():
                yield f"{name}/{path.relative_to(folder)}", path


@contextmanager
def _copied(layout: Layout) -> Iterator[tuple[Store, Path]]:
    """Give the database, and a copy of it in the data directory, as it is at one moment."""
    copy = layout.data / f"backup-{secrets.token_hex(8)}.db"
    store = Store(layout.database)
    try:
        store.copy_to(copy)
        yield store, copy
    finally:
        store.close()
        for path in (copy, *(copy.with_name(copy.name + end) for end in ("-wal", "-shm"))):
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------- reading one


def restore(source: Path, layout: Layout) -> Restored:
    """Make a data directory of a backup, checked, all or nothing.

    UsageError for a directory that holds something; BackupError for a file that is no backup.
    """
    data = layout.data
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise UsageError(f"{data} holds something already; restore into an empty directory")
    beside = data.with_name(f".{data.name}.{secrets.token_hex(8)}")
    try:
        beside.mkdir(mode=0o700, parents=True)
        try:
            contents = _unpack(source, beside)
            restored = _check(Layout(beside), contents)
            if data.exists():
                data.rmdir()
            beside.rename(data)
            _sync(data.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except (tarfile.TarError, EOFError, json.JSONDecodeError) as error:
        raise BackupError(f"{source} is no whole backup: {error}") from error
    except OSError as error:
        raise BackupError(f"{source} cannot be restored to {data}: {error}") from error
    return restored


def _unpack(source: Path, target: Path) -> Contents:
    """Write the archive's files, and check each by what the manifest says of it."""
    found: dict[str, dict[str, object]] = {}
    manifest: dict[str, object] = {}
    with tarfile.open(source, mode="r:gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not _is_expected(member.name):
                raise BackupError(f"{source} holds {member.name[:100]!r}, which no backup does")
            if member.name == _MANIFEST:
                manifest = json.loads(file.read(LARGEST_MANIFEST_BYTES))
                continue
            path = target / member.name
            # `parents=True` would make those between with what the umask lets others do.
            for folder in reversed(path.relative_to(target).parents):
                (target / folder).mkdir(mode=0o700, exist_ok=True)
            found[member.name] = _write_file(path, file)
    if manifest.get("form") != FORM:
        raise BackupError(f"{source} is no whole backup, or one of a newer version")
    if manifest.get("files") != found:
        raise BackupError(f"{source} is damaged: what it holds is not what its list says")
    return Contents(key=manifest.get("key") is True, logs=manifest.get("logs") is True)


def _is_expected(name: str) -> bool:
    if name in {_MANIFEST, _DATABASE, _KEY}:
        return True
    path = PurePosixPath(name)
    return path.parts[:1] in {(folder,) for folder in _FOLDERS} and ".." not in path.parts


def _write_file(path: Path, file: IO[bytes]) -> dict[str, object]:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        while piece := file.read(_PIECE):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
        target.flush()
        os.fsync(target.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _check(layout: Layout, contents: Contents) -> Restored:
    """Open what was unpacked as an engine would; BackupError where it could not."""
    store = Store(layout.database)
    try:
        damage = store.damage()
        if damage:
            raise BackupError(f"the database in the backup is damaged: {damage}")
        if contents.key:
            box_of(store, layout.key)
        return Restored(
            contents=contents,
            stacks=len(store.stacks.all()),
            stateless=_stateless(store, layout),
            faults=store.audit.verify()[1],
        )
    finally:
        store.close()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
