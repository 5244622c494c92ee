"""The key file of a database: which one it is, opened for it, and changed for another.

A change may be broken off anywhere and begun again: from before the first value is rewritten
until after the last, the file holds both keys, and every value opens with one of them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.engine.secrets_box import (
    CREDENTIAL,
    KeyFileError,
    SecretBox,
    new_key,
    open_box,
    read_keys,
    write_keys,
)
from reconciler.engine.store import Store

__all__ = ["KEY_CHECK", "Changed", "box_of", "change_key", "key_file"]

# The name of the fact that tells a database's key from another's.
KEY_CHECK = "key check"


def key_file(given: Path | None, usual: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file to use: the one that was given, systemd's credential, or the usual one."""
    if given is not None:
        return given
    directory = environment.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(directory, CREDENTIAL)
    return credential if directory and credential.exists() else usual


def box_of(store: Store, path: Path) -> SecretBox:
    """Open the key file; it may be made only for a database that holds no secrets yet.

    KeyFileError where it is missing, damaged, readable by others, or another database's.
    """
    check = store.facts.get(KEY_CHECK)
    box = open_box(path, create=check is None)
    sealed = store.facts.get_or_make(
        KEY_CHECK, lambda: box.encrypt(secrets.token_bytes(16), KEY_CHECK)
    )
    box.decrypt(sealed, KEY_CHECK)
    return box


@dataclass(frozen=True, slots=True)
class Changed:
    """How many values were encrypted anew, and how many open with neither key."""

    renewed: int
    damaged: int


def change_key(store: Store, path: Path) -> Changed:
    """Make a new key and encrypt everything with it; no engine may run meanwhile.

    KeyFileError, NotDurableError. A value that does not open with the key is left as it is.
    """
    box_of(store, path)
    keys = read_keys(path)
    if len(keys) == 1:
        keys = (new_key(), *keys)
        write_keys(path, *keys)
    box, damaged = SecretBox(*keys), 0

    def renew(sealed: bytes, context: str) -> bytes | None:
        nonlocal damaged
        try:
            return box.renewed(sealed, context)
        except KeyFileError:
            damaged += 1
            return None

    renewed = store.sealed.rewrite(renew)
    write_keys(path, keys[0])
    return Changed(renewed, damaged)
