"""The key file of a database: opened for it, and only for it."""

from __future__ import annotations

import secrets
from pathlib import Path

from reconciler.engine.secrets_box import SecretBox, open_box
from reconciler.engine.store import Store

__all__ = ["KEY_CHECK", "box_of"]

# The name of the fact that tells a database's key from another's.
KEY_CHECK = "key check"


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
