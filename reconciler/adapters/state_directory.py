"""The state directory: what must outlive a checkout, and who works on a directory of specs.

owner           who reconciles: an id made once
hash-key        what secrets are hashed with, so that a change is seen and a value is not
directories/<hash of a directory's real path>/
    statuses/   the copies of its status files
    requests/   what people asked for by hand
    instance.json  who reconciles it now
    lock        held by that one, beside the lock on the directory itself
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import string
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from reconciler.clock import Clock
from reconciler.errors import (
    AnotherInstanceError,
    NotDurableError,
    StateElsewhereError,
    UsageError,
)
from reconciler.files import locked, make_folder, open_lock, read_regular, write_durably
from reconciler.jsonform import time_text

__all__ = ["DirectoryState", "InstanceLock", "StateDirectory", "locate"]

# 36^12 possible ids: two owners that share a stack do not meet by chance.
_OWNER_LENGTH: Final = 12
_OWNER_LETTERS: Final = string.ascii_lowercase + string.digits
# As long as SHA-256's digest: more adds nothing to an HMAC, less takes away.
_KEY_BYTES: Final = 32
# What a person may put there in place of the one that is made, at the least.
_SHORTEST_TOKEN: Final = 20
# Who looks whether somebody reconciles holds the lock for a moment, and who starts has not written
# down yet who it is: what cannot be told is asked this often, this far apart.
_TRIES: Final = 10
_BETWEEN: Final = timedelta(milliseconds=50)
# What is read here is at most a few hundred bytes.
_MAX_BYTES: Final = 64 << 10


def locate(data: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where the state directory is: `--data`, $STATE_DIRECTORY, or the user's own.

    Raises UsageError where none of them says.
    """
    if data is not None:
        return data.absolute()
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd may name several
    if given:
        return Path(given).absolute()
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):  # the XDG specification has relative ones ignored
        return Path(base) / "reconciler"
    home = environ.get("HOME", "")
    if home:
        return Path(home).absolute() / ".local" / "state" / "reconciler"
    raise UsageError("there is no HOME to keep state in; give --data DIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryState:
    """What belongs to one directory of specs: its folder, and those for what is kept in it."""

    directory: Path
    folder: Path

    @property
    def statuses(self) -> Path:
        """The copies of its status files."""
        return self.folder / "statuses"

    def reconciled_by(self) -> str:
        """Return who works on the directory now, and keeps what it knows here; else empty."""
        record = self.folder / "instance.json"
        try:
            os.kill(int(json.loads(read_regular(record, _MAX_BYTES))["pid"]), 0)
        except PermissionError:
            pass  # it is another user's
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return ""
        return _who(record)

    def kept_elsewhere(self) -> str:
        """Say that who works on the directory keeps its state at another place; else empty.

        What it knows cannot be told from here, and what is asked for here it never sees.
        """
        try:
            opened = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "" if self.reconciled_by() else f"{self.directory} {_elsewhere(opened)}"
        except OSError:
            return ""
        finally:
            os.close(opened)
        return ""

    @property
    def requests(self) -> Path:
        """What people asked for by hand."""
        return self.folder / "requests"


class StateDirectory:
    """One state directory; it is made, mode 0700, when something is first kept in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def owner(self) -> str:
        """Return who reconciles, made once: 12 lower-case letters and digits.

        Raises NotDurableError where it cannot be made, UsageError where it is no owner's id.
        """
        made = "".join(secrets.choice(_OWNER_LETTERS) for _ in range(_OWNER_LENGTH))
        owner = self._once("owner", made.encode()).decode("ascii", "replace").strip()
        if not owner.isascii() or not owner.isalnum():
            raise UsageError(f"{self.root / 'owner'} holds no owner's id: letters and digits")
        return owner

    def owner_of(self, directory: Path) -> str:
        """Return who reconciles a directory of specs: the owner and the directory's id.

        Two directories are two owners: what one runs in its name the other would take for its own.
        Raises as `owner` does.
        """
        return f"{self.owner()}{self.of_directory(directory).folder.name}"

    def hash_key(self) -> bytes:
        """Return the key that secrets are hashed with, made once: 32 bytes, mode 0600.

        Raises NotDurableError where it cannot be made, UsageError where it is of another size.
        """
        key = self._once("hash-key", secrets.token_bytes(_KEY_BYTES))
        if len(key) != _KEY_BYTES:
            raise UsageError(f"{self.root / 'hash-key'} does not hold {_KEY_BYTES} bytes")
        return key

    def token_path(self, name: str) -> Path:
        """Return the file of a token that people present to a page of ours."""
        return self.root / f"{name}.token"

    def token(self, name: str) -> str:
        """Return that token, made once: 256 bits behind `rcc_`, in a file of mode 0600.

        Raises NotDurableError where it cannot be made, UsageError where it cannot be read, or is
        too short to be one.
        """
        made = f"rcc_{secrets.token_urlsafe(_KEY_BYTES)}"
        path = self.token_path(name)
        found = self._once(path.name, made.encode()).decode("ascii", "replace").strip()
        if len(found) < _SHORTEST_TOKEN:
            raise UsageError(f"{path} holds no token; remove it, and a new one is made")
        return found

    def of_directory(self, directory: Path) -> DirectoryState:
        """Return what belongs to a directory of specs, however its path is written."""
        real = os.path.realpath(directory)
        name = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
        return DirectoryState(directory=directory, folder=self.root / "directories" / name)

    def lock(self, directory: Path, clock: Clock) -> InstanceLock:
        """Become the one who reconciles a directory, until `InstanceLock.release`.

        Raises AnotherInstanceError that names the one who does (StateElsewhereError where its state
        is not here), UsageError where the directory cannot be opened or root would work on what
        another user keeps, NotDurableError where the state directory cannot be written.
        """
        return InstanceLock(self.of_directory(directory), clock)

    def _once(self, name: str, made: bytes) -> bytes:
        """Return what is kept under a name; `made` where that is nothing yet."""
        path = self.root / name
        if not path.exists():
            make_folder(self.root, as_above=True)
            with locked(self.root):  # two commands may start at once
                if not path.exists():
                    write_durably(path, made, as_above=True)
        try:
            return read_regular(path, _MAX_BYTES)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error


class InstanceLock:
    """Two locks: on the directory of specs itself, and on a file in its folder of the state.

    The first one keeps away who keeps its state elsewhere. The second one keeps away who comes to
    another directory in the first one's place: a clone made again, while its process goes on by
    path. The system frees both when the process ends, however it ends.
    """

    def __init__(self, state: DirectoryState, clock: Clock) -> None:
        self._record = state.folder / "instance.json"
        self._clock = clock
        self._held: list[int] = []
        try:
            self._take(state)
        except BaseException:
            self._let_go()
            raise

    def _take(self, state: DirectoryState) -> None:
        try:
            opened = os.open(state.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            message = f"{state.directory} cannot be opened: {error.strerror}"
            raise UsageError(f"{message}; give a directory of specs") from error
        self._lock(opened, state)
        make_folder(state.folder, as_above=True)
        file = state.folder / "lock"
        try:
            opened = open_lock(file)
        except OSError as error:
            raise NotDurableError(f"{file} cannot be opened: {error.strerror}") from error
        self._lock(opened, state)
        _refuse_root(state.folder)
        body = {
            "pid": os.getpid(),
            "started": time_text(self._clock.now()),
            "directory": os.path.realpath(state.directory),
        }
        content = json.dumps(body).encode("utf-8", "surrogateescape")
        write_durably(self._record, content, as_above=True)

    def _lock(self, opened: int, state: DirectoryState) -> None:
        self._held.append(opened)
        for tries_left in reversed(range(_TRIES)):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                who = state.reconciled_by()
                if who:
                    message = f"{state.directory} is already reconciled by {who}"
                    raise AnotherInstanceError(message) from error
                if not tries_left:
                    raise StateElsewhereError(f"{state.directory} {_elsewhere(opened)}") from error
                # Somebody starts, or has looked for a moment.
                self._clock.wait_until(self._clock.now() + _BETWEEN, threading.Event())
            else:
                return

    def release(self) -> None:
        """Let others in."""
        self._record.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _refuse_root(folder: Path) -> None:
    """Refuse to make files as root where another user's service could not open them later."""
    owner = folder.stat().st_uid
    if os.geteuid() or not owner:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise UsageError(
        f"{folder} belongs to the user {name}, and no process of theirs reconciles now; start it, "
        f"or run this as {name} instead of root (`runuser -u {name} -- reconciler …`)"
    )


def _who(record: Path) -> str:
    """Return who has written a record; empty where that cannot be read."""
    try:
        body = json.loads(read_regular(record, _MAX_BYTES))
        return f"process {int(body['pid'])}, since {body['started']!s:.19}Z"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _elsewhere(opened: int) -> str:
    """Say who holds the lock of an open file, and that its state is elsewhere."""
    about, pid = os.fstat(opened), ""
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    with contextlib.suppress(OSError), Path("/proc/locks").open() as locks:
        held = (line.split() for line in locks)
        pid = next((words[4] for words in held if words[1] == "FLOCK" and words[5] == place), "")
    return (
        f"is reconciled by {f'process {pid}' if pid else 'a process'} that keeps its state at "
        "another place: give the --data that it has"
    )
