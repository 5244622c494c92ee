"""Secrets, looked up by reference: which may be, and what they are.

The host says what may be read, not the repository: a spec could otherwise send any variable
or file of the daemon's to a program of its own. A value lives in a `Secret` and is shown by
no message; whoever needs to compare two has their keyed hashes. Safe to use from several threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Final

from reconciler.adapters.secret_commands import CommandFailedError, SopsFiles, run_command
from reconciler.api.types import Secret
from reconciler.clock import Clock
from reconciler.errors import SecretUnavailableError
from reconciler.files import read_below
from reconciler.model import OnRotate, SecretReference

__all__ = ["SecretReader", "SecretRules"]

# What only the daemon's own host can have meant for specs.
ENVIRONMENT_PREFIX: Final = "RECONCILER_SECRET_"
# Where container engines and systemd's units put secrets.
DEFAULT_FOLDER: Final = Path("/run/secrets")
# A private key is 4 KiB; a kubeconfig with certificates stays below this too.
MAX_BYTES: Final = 64 << 10
# How old a value may be that is sent or compared. A rotation is seen within this time.
MAX_AGE: Final = timedelta(minutes=5)
# A secret that is not there yet is on its way, mostly: look again sooner.
RETRY_AFTER: Final = timedelta(minutes=1)

# A host's specs name a few commands each; more at once would hold up what runs here.
MAX_AT_ONCE: Final = 8
# What starts a program to be looked up.
_SLOW: Final = frozenset({"fromCommand", "sops"})
# More known names than these in a message help nobody.
_SHOWN: Final = 12
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,255}\Z")
# Stands before a reference that is hashed in place of a value; no value holds a NUL.
_REFERENCE: Final = "reference\0"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """What may be read on this host: variables by their prefix, files below `folders`.

    `secrets_dir` are the folders of `--secrets-dir`; a relative path is below the first. What
    the host's config adds: `environment` (names, or their beginnings with a `*` behind),
    `more_folders`, and `commands` (name → the program's path and its arguments).
    """

    secrets_dir: tuple[Path, ...] = ()
    prefix: str = ENVIRONMENT_PREFIX
    environment: tuple[str, ...] = ()
    more_folders: tuple[Path, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders below which a file may be read."""
        return (*self.secrets_dir, DEFAULT_FOLDER, *self.more_folders)

    def allows(self, reference: SecretReference) -> str:
        """Return why a reference may not be read and what would be right, or an empty text."""
        match reference.kind:
            case "fromEnv":
                return self._allows_variable(reference.name)
            case "fromFile":
                return self._allows_file(reference.name)
            case "fromCredential":
                return _allows_credential(reference.name)
            case "fromCommand":
                return self._allows_command(reference.name)
            case "sops":  # it is in the spec itself
                return ""
        return "is no kind of reference; fromEnv, fromFile, fromCredential or fromCommand is one"

    def path(self, name: str) -> Path:
        """Return where a file is that a reference names."""
        return self.folders[0] / name

    def folder(self, name: str) -> Path | None:
        """Return the folder that allows a file to be read; None where there is none."""
        path = os.path.normpath(self.path(name))
        return next(
            (f for f in self.folders if path.startswith(os.path.normpath(f).rstrip("/") + "/")),
            None,
        )

    def _allows_variable(self, name: str) -> str:
        if not _VARIABLE.match(name):
            return "is no variable's name: letters, digits and '_', no digit first"
        patterns = (f"{self.prefix}*", *self.environment)
        if any(_fits(name, pattern) for pattern in patterns):
            return ""
        more = f", and {', '.join(self.environment)}" if self.environment else ""
        return f"may not be read: only variables whose names begin {self.prefix} may{more}"

    def _allows_command(self, name: str) -> str:
        if name in self.commands:
            return ""
        known = ", ".join(sorted(self.commands)[:_SHOWN]) or "none"
        return f"is no command of this host; its config (--config) names {known}"

    def _allows_file(self, name: str) -> str:
        if "\0" in name:
            return "holds a NUL character, which no path can"
        if self.folder(name) is None or ".." in Path(name).parts:
            folders = " or ".join(str(folder) for folder in self.folders)
            return f"may not be read: only files below {folders} may (--secrets-dir adds one)"
        return ""


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is the one of a pattern, or begins as it says and goes on."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1]) and len(name) >= len(pattern)
    return name == pattern


def _allows_credential(name: str) -> str:
    if not _CREDENTIAL.match(name) or name in {".", ".."}:
        return "is no credential's name: letters, digits, '_', '.', ':', '@' and '-'"
    return ""


@dataclass(slots=True)
class _Looked:
    """What came of looking a reference up: a value, or why there is none, and when."""

    lock: Lock = field(default_factory=Lock)
    secret: Secret | None = None
    failure: str = ""
    at: datetime | None = None


class SecretReader:
    """Looks secrets up, at most once in `MAX_AGE` each."""

    def __init__(self, rules: SecretRules, environ: Mapping[str, str], clock: Clock) -> None:
        self._rules = rules
        self._environ = environ
        self._clock = clock
        self._known: dict[tuple[str, str], _Looked] = {}
        self._lock = Lock()
        self._forgotten = clock.now()
        self._sops = SopsFiles(environ, clock)

    def read(self, reference: SecretReference) -> Secret:
        """Return a secret's value; SecretUnavailableError names the reference and says why not."""
        key = (reference.kind, reference.name)
        self._forget()
        with self._lock:
            looked = self._known.setdefault(key, _Looked())
        with looked.lock:
            if not self._is_fresh(looked):
                self._look(reference, looked)
            if looked.secret is None:
                raise SecretUnavailableError(f"the secret {reference} {looked.failure}")
            return looked.secret

    def values(self) -> tuple[str, ...]:
        """Return the values that are known at this moment, to mask them."""
        with self._lock:
            known = tuple(self._known.values())
        return tuple(looked.secret.value for looked in known if looked.secret is not None)

    def _forget(self) -> None:
        """Drop, now and then, values that nobody has asked for in `MAX_AGE`."""
        now = self._clock.now()
        with self._lock:
            if timedelta(0) <= now - self._forgotten < MAX_AGE:
                return
            self._forgotten = now
            self._known = {
                key: looked
                for key, looked in self._known.items()
                if looked.lock.locked() or (looked.at and timedelta(0) <= now - looked.at < MAX_AGE)
            }
        self._sops.forget()

    def warm(self, references: Iterable[SecretReference]) -> None:
        """Look up beforehand what takes long, at the same time; a failure is told by `read`.

        What is known and not too old is not looked up again.
        """
        slow = {each for each in references if each.kind in _SLOW}
        slow -= {each for each in slow if self._is_known(each)}
        if len(slow) > 1:
            with ThreadPoolExecutor(max_workers=MAX_AT_ONCE) as pool:
                for _ in pool.map(self._try, slow):
                    pass

    def _is_known(self, reference: SecretReference) -> bool:
        with self._lock:
            looked = self._known.get((reference.kind, reference.name))
        return looked is not None and self._is_fresh(looked)

    def _is_fresh(self, looked: _Looked) -> bool:
        """Whether what was looked up, or that there was nothing, still counts."""
        if looked.at is None:
            return False
        longest = MAX_AGE if looked.secret is not None else RETRY_AFTER
        return timedelta(0) <= self._clock.now() - looked.at < longest

    def _try(self, reference: SecretReference) -> None:
        with contextlib.suppress(SecretUnavailableError):
            self.read(reference)

    def _look(self, reference: SecretReference, looked: _Looked) -> None:
        looked.secret, looked.failure = None, self._rules.allows(reference)
        # What is cheap to ask is asked again each time; a command that fails is left alone a while.
        looked.at = self._clock.now() if reference.kind in _SLOW else None
        if looked.failure:
            return
        try:
            value = self._look_up(reference)
        except _MissingError as error:
            looked.failure = str(error)
            return
        looked.secret, looked.at = Secret(value), self._clock.now()

    def keyed_hash(self, reference: SecretReference, key: bytes) -> str:
        """Return the HMAC-SHA256 of a value, 64 hexadecimal digits; raises as `read` does.

        The reference itself is not in it: the same value from another place is no change. With
        `onRotate: ignore` it is the hash of the reference instead, and no value is looked up.
        """
        if reference.on_rotate is OnRotate.IGNORE:
            return hmac.new(key, _bytes(f"{_REFERENCE}{reference}"), hashlib.sha256).hexdigest()
        return hmac.new(key, _bytes(self.read(reference).value), hashlib.sha256).hexdigest()

    def again_at(self) -> datetime:
        """Return when a secret that could not be looked up is worth another look."""
        return self._clock.now() + RETRY_AFTER

    def _look_up(self, reference: SecretReference) -> str:
        name = reference.name
        match reference.kind:
            case "fromEnv":
                value = self._environ.get(name)
                if value is None:
                    raise _MissingError("is not in the daemon's environment")
            case "fromCredential":
                value = self._read_credential(name)
            case "fromCommand":
                value = _told(lambda: run_command(self._rules.commands[name], self._environ))
            case "sops":
                value = _told(lambda: self._sops.value(name))
            case _:
                folder = self._rules.folder(name)
                assert folder is not None  # noqa: S101 - the rules allow it
                value = _read(self._rules.path(name), folder)
        if reference.kind != "sops":  # what is encrypted is the text, to its last letter
            value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise _MissingError("is empty")
        if "\0" in value:
            raise _MissingError("holds a NUL character, which no program can be given")
        return value

    def _read_credential(self, name: str) -> str:
        folder = self._environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise _MissingError(
                "is not there: systemd has given this process no credentials "
                "($CREDENTIALS_DIRECTORY)"
            )
        return _read(Path(folder) / name, Path(folder))


class _MissingError(Exception):
    """Why there is no value: the end of a sentence that begins with the reference."""


def _told(look: Callable[[], str]) -> str:
    try:
        return look()
    except CommandFailedError as error:
        raise _MissingError(str(error)) from None  # not chained: it would hold the value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _read(path: Path, folder: Path) -> str:
    try:
        content = read_below(path, folder, MAX_BYTES)
    except OSError as error:
        raise _MissingError(f"cannot be read: {error.strerror or 'no such file'}") from None
    try:
        return content.decode()
    except UnicodeDecodeError:  # not chained: it would hold the value
        raise _MissingError("is not UTF-8 text") from None
