"""Encrypts what the engine keeps of secrets: AES-GCM, with a key from a file of its own.

The key is made once. Whoever has the database and not the key file has no secrets; whoever
loses the key file has lost them too, and `open_box` says so rather than making a new one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from reconciler.errors import ReconcilerError

__all__ = ["KeyFileError", "SecretBox", "open_box"]

_KEY_BYTES = 32  # AES-256
_NONCE_BYTES = 12  # what AES-GCM is defined for
# Says how a text was encrypted, so that another way can come later beside this one.
_FORM = b"\x01"


class KeyFileError(ReconcilerError):
    """The key file is missing, damaged, of another database, or readable by others."""


class SecretBox:
    """Encrypts and decrypts with one key. `context` binds a text to where it is kept."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, plaintext: bytes, context: str) -> bytes:
        """Return the encrypted text; only the same context decrypts it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    def decrypt(self, sealed: bytes, context: str) -> bytes:
        """Return the plaintext; KeyFileError where this key or context did not encrypt it."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _FORM:
            raise KeyFileError("a stored secret has an unknown form; is this a newer database?")
        try:
            return self._cipher.decrypt(nonce, body, context.encode())
        except InvalidTag:
            message = "a stored secret does not open with this key file; is it another engine's?"
            raise KeyFileError(message) from None


def open_box(path: Path, *, create: bool) -> SecretBox:
    """Read the key file; where there is none and `create` says so, make it, durably.

    KeyFileError says what is wrong with it and what to do.
    """
    if create and not path.exists():
        _make(path)
    try:
        mode = path.stat().st_mode
        key = path.read_bytes()
    except FileNotFoundError:
        message = f"{path} is gone: restore it from a backup, the stored secrets need it"
        raise KeyFileError(message) from None
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others; `chmod 600` it")
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f"{path} is no key: it has {len(key)} bytes, not {_KEY_BYTES}")
    return SecretBox(key)


def _make(path: Path) -> None:
    """Write a new key beside its place, make it durable, then link it there: all or nothing."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
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
