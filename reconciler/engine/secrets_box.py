"""Encrypts what the engine keeps of secrets: AES-GCM, with a key from a file of its own.

The key is made once. Whoever has the database and not the key file has no secrets; whoever
loses the key file has lost them too, and `open_box` says so rather than making a new one.
While the key is being changed the file holds two: the new one, then the one before it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reconciler.errors import ReconcilerError
from reconciler.files import write_durably

__all__ = [
    "CREDENTIAL",
    "KeyFileError",
    "SecretBox",
    "new_key",
    "open_box",
    "read_keys",
    "write_keys",
]

_KEY_BYTES = 32  # AES-256
_NONCE_BYTES = 12  # what AES-GCM is defined for
# Says how a text was encrypted, so that another way can come later beside this one.
_FORM = b"\x01"

# The name of a systemd credential that holds the key: `LoadCredential=engine.key:/a/path`.
CREDENTIAL = "engine.key"


class KeyFileError(ReconcilerError):
    """The key file is missing, damaged, of another database, or readable by others."""


class SecretBox:
    """Encrypts with the first of its keys, decrypts with any.

    `context` binds a text to where it is kept.
    """

    __slots__ = ("_ciphers",)

    def __init__(self, *keys: bytes) -> None:
        self._ciphers = tuple(map(AESGCM, keys))

    def encrypt(self, plaintext: bytes, context: str) -> bytes:
        """Return the encrypted text; only the same context decrypts it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + self._ciphers[0].encrypt(nonce, plaintext, context.encode())

    def decrypt(self, sealed: bytes, context: str) -> bytes:
        """Return the plaintext; KeyFileError where no key, or another context, encrypted it."""
        if sealed[:1] != _FORM:
            raise KeyFileError("a stored secret has an unknown form; is this a newer database?")
        for cipher in self._ciphers:
            opened = _open(cipher, sealed, context)
            if opened is not None:
                return opened
        raise KeyFileError(
            "a stored secret does not open with this key file; is it another engine's?"
        )

    def renewed(self, sealed: bytes, context: str) -> bytes | None:
        """Return the text encrypted with the first key; None where it is already.

        KeyFileError as `decrypt`.
        """
        if sealed[:1] == _FORM and _open(self._ciphers[0], sealed, context) is not None:
            return None
        return self.encrypt(self.decrypt(sealed, context), context)


def _open(cipher: AESGCM, sealed: bytes, context: str) -> bytes | None:
    nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        return cipher.decrypt(nonce, body, context.encode())
    except (InvalidTag, ValueError):
        return None


def open_box(path: Path, *, create: bool) -> SecretBox:
    """Read the key file; where there is none and `create` says so, make it, durably.

    KeyFileError says what is wrong with it and what to do.
    """
    if create and not path.exists():
        _make(path)
    return SecretBox(*read_keys(path))


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Return the keys of a file: one, or two while it is being changed; KeyFileError."""
    try:
        found = path.stat()
        content = path.read_bytes()
    except FileNotFoundError:
        message = f"{path} is gone: restore it from a backup, the stored secrets need it"
        raise KeyFileError(message) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if found.st_mode & (_OF_OTHERS if _is_credential(path) else _NOT_OF_OWNER):
        raise KeyFileError(f"{path} can be read by others; `chmod 600` it")
    if found.st_uid not in {os.geteuid(), 0}:
        raise KeyFileError(f"{path} is another user's, who could change it; `chown` it")
    if not content or len(content) % _KEY_BYTES or len(content) > 2 * _KEY_BYTES:
        raise KeyFileError(f"{path} is no key: it has {len(content)} bytes, not {_KEY_BYTES}")
    return tuple(content[at : at + _KEY_BYTES] for at in range(0, len(content), _KEY_BYTES))


# systemd gives a service its credentials by an access list, which reads as the group's bits.
_OF_OTHERS = stat.S_IRWXO
_NOT_OF_OWNER = stat.S_IRWXG | stat.S_IRWXO


def _is_credential(path: Path) -> bool:
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(directory) and path.parent == Path(directory)


def new_key() -> bytes:
    """Return a new key."""
    return secrets.token_bytes(_KEY_BYTES)


def write_keys(path: Path, *keys: bytes) -> None:
    """Put keys into a file, the newest first: all or nothing, durably; NotDurableError."""
    write_durably(path, b"".join(keys))


def _make(path: Path) -> None:
    """Write a new key beside its place, make it durable, then link it there: all or nothing."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    write_durably(beside, new_key())
    try:
        # Another process may have made it in between; then that one counts.
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
