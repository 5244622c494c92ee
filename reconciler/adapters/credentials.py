"""Secrets, looked up by reference: which may be, and what they are.

The host says what may be read, not the repository: a spec could otherwise send any variable
or file of the daemon's to a program of its own. A value lives in a `Secret` and is shown by
no message; whoever needs to compare two has their keyed hashes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

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

# Where systemd says that a unit's credentials are.
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,255}\Z")
# Stands before a reference that is hashed in place of a value; no value holds a NUL.
_REFERENCE: Final = "reference\0"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRules:
    """What may be read on this host: variables by their prefix, files below `folders`.

    `secrets_dir` are the folders of `--secrets-dir`; a relative path is below the first.
    """

    secrets_dir: tuple[Path, ...] = ()
    prefix: str = ENVIRONMENT_PREFIX

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders below which a file may be read."""
        return (*self.secrets_dir, DEFAULT_FOLDER)

    def allows(self, reference: SecretReference) -> str:
        """Return why a reference may not be read and what would be right, or an empty text."""
        if reference.kind == "fromEnv":
            return self._allows_variable(reference.name)
        if reference.kind == "fromFile":
            return self._allows_file(reference.name)
        if reference.kind == "fromCredential":
            return _allows_credential(reference.name)
        if reference.kind == "fromCommand":
            return "is no command of this host"
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
        if not name.startswith(self.prefix) or name == self.prefix:
            return f"may not be read: only variables whose names begin {self.prefix} may"
        return ""

    def _allows_file(self, name: str) -> str:
        if "\0" in name:
            return "holds a NUL character, which no path can"
        if self.folder(name) is None or ".." in Path(name).parts:
            folders = " or ".join(str(folder) for folder in self.folders)
            return f"may not be read: only files below {folders} may (--secrets-dir adds one)"
        return ""


def _allows_credential(name: str) -> str:
    if not _CREDENTIAL.match(name) or name in {".", ".."}:
        return "is no credential's name: letters, digits, '_', '.', ':', '@' and '-'"
    return ""


class SecretReader:
    """Looks secrets up, at most once in `MAX_AGE` each."""

    def __init__(self, rules: SecretRules, environ: Mapping[str, str], clock: Clock) -> None:
        self._rules = rules
        self._environ = environ
        self._clock = clock
        self._known: dict[SecretReference, tuple[Secret, datetime]] = {}

    def read(self, reference: SecretReference) -> Secret:
        """Return a secret's value; SecretUnavailableError names the reference and says why not."""
        now = self._clock.now()
        known = self._known.get(reference)
        if known is not None and timedelta(0) <= now - known[1] < MAX_AGE:
            return known[0]
        self._known.pop(reference, None)
        refused = self._rules.allows(reference)
        if refused:
            raise SecretUnavailableError(f"the secret {reference} {refused}")
        secret = Secret(self._look_up(reference))
        self._known[reference] = (secret, now)
        return secret

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
        if reference.kind == "fromEnv":
            value = self._environ.get(reference.name)
            if value is None:
                where = "is not in the daemon's environment"
                raise SecretUnavailableError(f"the secret {reference} {where}")
        elif reference.kind == "fromCredential":
            value = self._read_credential(reference)
        else:
            value = self._read_file(reference)
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise SecretUnavailableError(f"the secret {reference} is empty")
        if "\0" in value:
            message = "holds a NUL character, which no program can be given"
            raise SecretUnavailableError(f"the secret {reference} {message}")
        return value

    def _read_credential(self, reference: SecretReference) -> str:
        folder = self._environ.get(_CREDENTIALS, "")
        if not folder:
            where = f"is not there: systemd has given this process no credentials (${_CREDENTIALS})"
            raise SecretUnavailableError(f"the secret {reference} {where}")
        return _read(reference, Path(folder) / reference.name, Path(folder))

    def _read_file(self, reference: SecretReference) -> str:
        folder = self._rules.folder(reference.name)
        assert folder is not None  # noqa: S101 - the rules allow it
        return _read(reference, self._rules.path(reference.name), folder)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _read(reference: SecretReference, path: Path, folder: Path) -> str:
    try:
        content = read_below(path, folder, MAX_BYTES)
    except OSError as error:
        message = f"the secret {reference} cannot be read: {error.strerror or 'no such file'}"
        raise SecretUnavailableError(message) from None
    try:
        return content.decode()
    except UnicodeDecodeError:  # not chained: it would hold the value
        raise SecretUnavailableError(f"the secret {reference} is not UTF-8 text") from None
