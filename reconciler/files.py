"""Reading and writing files that other people's hands may have touched.

A read takes regular files only and never follows a link out of the folder it was told; a
write is whole or not there, also after a power cut. Whoever reads a spec, a secret or a
status, or writes a status, does it through here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.errors import NotDurableError

__all__ = [
    "locked",
    "make_folder",
    "move_durably",
    "must_stay_below",
    "open_lock",
    "read_below",
    "read_below_real",
    "read_below_seen",
    "read_regular",
    "read_trusted",
    "remove_durably",
    "write_durably",
    "write_new",
]

# O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_LOCK_EVERY_S = 0.05


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; a link is refused, not followed.

    Raises OSError, its `strerror` a sentence's end for a person ("is a link", …).
    """
    with _opened(path) as descriptor:
        return _read(descriptor, str(path), limit)


def read_below(path: Path, folder: Path, limit: int) -> bytes:
    """Read a regular file below `folder`; links are followed as long as they stay below it.

    Raises OSError as `read_regular` does. What was opened is checked again, so a link that
    is swapped between the look and the opening leads nowhere either.
    """
    return read_below_real(str(path), os.path.realpath(folder), limit)


def read_below_real(path: str, root: str, limit: int) -> bytes:
    """Read as `read_below` does, where `root` is a real path already."""
    return read_below_seen(path, root, limit)[0]


def read_below_seen(path: str, root: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Read as `read_below_real` does, and return what `stat` says of the file afterwards.

    Where that is what it said before, nobody has written to the file meanwhile.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        real = os.path.realpath(path)  # a link: it may lead to somewhere else below the root
        _must_be_below(real, root, path)
        descriptor = os.open(real, _READ_FLAGS)
    try:
        _must_be_below(_opened_path(descriptor, path), root, path)
        return _read(descriptor, path, limit), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def read_trusted(path: Path, limit: int) -> bytes:
    """Read a regular file that only root or this process's own user can have written.

    Raises OSError as `read_regular` does; a link is followed, and what it leads to is asked.
    """
    descriptor = os.open(path, _READ_FLAGS & ~os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in {0, os.geteuid()}:
            raise OSError(0, "belongs to another user than root and the one that runs this")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OSError(0, "can be written by others; take that away: chmod go-w")
        return _read(descriptor, str(path), limit)
    finally:
        os.close(descriptor)


def _opened_path(descriptor: int, path: str) -> str:
    """Return where an open file really lies, whatever became of the links on the way."""
    try:
        opened = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a third of the time
        return opened.removesuffix(" (deleted)")
    except FileNotFoundError:  # no /proc here: the path has to do
        return os.path.realpath(path)


def must_stay_below(folder: Path, root: Path) -> None:
    """Refuse a folder that is not `root`, nor below it, once links are followed.

    Raises NotDurableError; neither is there without being made first.
    """
    try:
        real, real_root = _real_folder(folder), _real_folder(root)
    except OSError as error:
        raise NotDurableError(f"{folder} cannot be used: {error.strerror or error}") from error
    if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
        raise NotDurableError(f"{folder} leads out of {root}; remove the link")


def _real_folder(folder: Path) -> str:
    """Return where a folder really lies; a quarter of the time that `realpath` takes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _opened_path(descriptor, str(folder))
    finally:
        os.close(descriptor)


def _must_be_below(real: str, root: str, path: str) -> None:
    if not real.startswith(root.rstrip("/") + "/"):
        raise OSError(0, f"leads out of {root}", path)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError as error:
        if path.is_symlink():
            raise OSError(0, "is a link, which is not followed", str(path)) from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: str, limit: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "is no regular file", path)
    if status.st_size > limit:
        raise OSError(0, f"is larger than {limit} bytes", path)
    chunks: list[bytes] = []
    size = 0
    while chunk := os.read(descriptor, min(limit + 1, 1 << 20)):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise OSError(0, f"is larger than {limit} bytes", path)
    return b"".join(chunks)


def make_folder(folder: Path, below: Path | None = None, *, as_above: bool = False) -> None:
    """Make a folder and those above it, each mode 0700, so that they outlive a power cut.

    Those from `below` on upwards are not made; `as_above` is as for `write_durably`. Raises
    NotDurableError with the path and the reason.
    """
    try:
        _make_folder(folder, below, as_above=as_above)
    except OSError as error:
        raise NotDurableError(f"{folder} cannot be made: {error.strerror}") from error


def _make_folder(folder: Path, below: Path | None, *, as_above: bool) -> None:
    if folder.is_dir():
        return
    if folder == below:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    _make_folder(folder.parent, below, as_above=as_above)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        if as_above and os.geteuid() == 0:
            made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _give(made, folder.parent)
            finally:
                os.close(made)
    _sync_folder(folder.parent)


def _give(made: int, folder: Path) -> None:
    """Give what root has just made to whom the folder belongs, who could not read it else."""
    if os.geteuid() != 0:
        return
    above = folder.stat()
    if above.st_uid != 0:
        with suppress(OSError):  # a file system that knows no owners
            os.fchown(made, above.st_uid, above.st_gid)


def write_durably(path: Path, content: bytes, mode: int = 0o600, *, as_above: bool = False) -> None:
    """Put `content` at `path`, all or nothing; a link there is replaced.

    With `as_above` it belongs to whom the folder belongs, also where root writes it.
    Raises NotDurableError with the path and the reason; what was there before then stays,
    or the new content stands there without a promise that it outlives a power cut.
    """
    # A name that nobody can foresee; what lies there all the same is not written into.
    temporary = f"{path.parent}/.{path.name[:100]}.{os.urandom(8).hex()}.tmp"
    try:
        descriptor = os.open(temporary, _WRITE_FLAGS, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                if as_above:
                    _give(file.fileno(), path.parent)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise NotDurableError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def locked(path: Path, tries: int = 0) -> Iterator[None]:
    """Hold a lock on a folder, or on a file (made where it is not there), as long as it takes.

    It is waited for, without end or with so many `tries`, a twentieth of a second apart. The
    system frees it when the process ends, however it ends. Raises OSError; BlockingIOError where
    another has it after the last try.
    """
    descriptor = open_lock(path)
    try:
        _lock(descriptor, tries)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, tries: int) -> None:
    for _ in range(tries - 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_EVERY_S)  # noqa: TID251 - the system tells nobody of a lock
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if tries else 0))


def open_lock(path: Path) -> int:
    """Open a folder, or a file that is made where it is not there, to lock it; OSError.

    A file that is made belongs to whom its folder belongs.
    """
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made = os.open(path, _WRITE_FLAGS, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _give(made, path.parent)
    return made


def remove_durably(path: Path) -> None:
    """Remove a file so that it stays away after a power cut; one that is gone is no error.

    Raises NotDurableError with the path and the reason.
    """
    try:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise NotDurableError(f"{path} cannot be removed: {error.strerror or error}") from error


def move_durably(path: Path, folder: Path) -> None:
    """Move a file into another folder under its name, so that a power cut does not undo it.

    Raises NotDurableError.
    """
    try:
        path.replace(folder / path.name)
        for changed in (folder, path.parent):
            _sync_folder(changed)
    except OSError as error:
        raise NotDurableError(f"{path} cannot be moved: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes) -> None:
    """Put `content` at `path`, mode 0644, where nothing is yet: a file for people to edit.

    Raises FileExistsError where something is, and OSError where it cannot be written; then
    nothing is there.
    """
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".tmp"
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this replaces nothing
    finally:
        Path(temporary).unlink(missing_ok=True)
    _sync_folder(path.parent)
