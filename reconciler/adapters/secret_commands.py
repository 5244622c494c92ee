"""Secrets that a program tells: a command of the host's, and sops for encrypted specs.

A program gets no more of the daemon's environment than it needs, and what it says goes into no
message but its first words on standard error, in which a program may say what went wrong.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final

from reconciler.adapters.bounded_process import Bounds, Ended, run_bounded
from reconciler.clock import Clock

__all__ = ["CommandFailedError", "SopsFiles", "run_command"]

# A vault over a slow line answers in a few; one that hangs must not hold a pass.
BOUNDS: Final = Bounds(30, 64 << 10)
# A decrypted spec is no larger than the spec.
SOPS_BOUNDS: Final = Bounds(30, 2 << 20)
# Enough for "permission denied", and for no key or certificate.
MAX_WORDS: Final = 100
# How many files' values are kept, and for how long: until all secrets of one are looked up.
MAX_FILES_KEPT: Final = 100
KEPT_FOR: Final = timedelta(minutes=1)

# What a program needs to find itself, its files and the network.
_KEPT: Final = frozenset({
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy",
    "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy", "CREDENTIALS_DIRECTORY",
})  # fmt: skip
# How the keys are found that sops decrypts with.
_KEPT_OF_SOPS: Final = ("SOPS_", "AWS_", "AZURE_", "GOOGLE_", "VAULT_", "GNUPGHOME")


class CommandFailedError(Exception):
    """Why a program told no secret: the end of a sentence that begins with the reference."""


def run_command(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return what a command prints on standard output; CommandFailedError where it fails."""
    kept = {name: text for name, text in environ.items() if name in _KEPT}
    return _output("its command", argv, kept, BOUNDS, b"")


def _output(
    who: str, argv: Sequence[str], environment: Mapping[str, str], bounds: Bounds, content: bytes
) -> str:
    try:
        ended = run_bounded(argv, environment, bounds, content)
    except OSError as error:
        raise CommandFailedError(
            f"is not known: {who} cannot be started: {error.strerror}"
        ) from error
    if ended.too_late:
        raise CommandFailedError(f"is not known: {who} did not end within {bounds.timeout_s:g} s")
    if ended.too_long:
        raise CommandFailedError(
            f"is not known: {who} prints more than {bounds.output_bytes} bytes"
        )
    if ended.code != 0:
        raise CommandFailedError(f"is not known: {who} {_how(ended)}")
    try:
        return ended.output.decode()
    except UnicodeDecodeError:  # not chained: it would hold the value
        raise CommandFailedError("is not UTF-8 text") from None


def _how(ended: Ended) -> str:
    code = f"was killed by signal {-ended.code}" if ended.code < 0 else f"ended with {ended.code}"
    text = ended.errors[: MAX_WORDS * 4].decode("utf-8", "replace")
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not words:
        return code
    return f"{code}: {words[:MAX_WORDS]}{'…' if len(words) > MAX_WORDS else ''}"


@dataclass(slots=True)
class _File:
    """What sops made of one file, and when."""

    lock: Lock = field(default_factory=Lock)
    tree: Any = None
    at: datetime | None = None


class SopsFiles:
    """Decrypts spec files by `sops`, each once for all of its secrets.

    A reference's name is the place in the file, a line end, and the encrypted file itself, so
    that a removed spec can still be destroyed.
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._lock = Lock()
        self._files: dict[bytes, _File] = {}

    def value(self, name: str) -> str:
        """Return one value; CommandFailedError where sops refuses the file."""
        pointer, _, content = name.partition("\n")
        tree = self._tree(content.encode())
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            tree = tree.get(key) if isinstance(tree, dict) else None
        if not isinstance(tree, str):
            raise CommandFailedError("is no text in the decrypted file; quote it there")
        return tree

    def forget(self) -> None:
        """Drop what has been decrypted for longer than `KEPT_FOR`."""
        now = self._clock.now()
        with self._lock:
            self._files = {
                key: file
                for key, file in self._files.items()
                if file.at is not None and timedelta(0) <= now - file.at < KEPT_FOR
            }

    def _tree(self, content: bytes) -> Any:
        key = hashlib.sha256(content).digest()
        with self._lock:
            file = self._files.get(key) or _File()
            self._files[key] = file
            while len(self._files) > MAX_FILES_KEPT:
                self._files.pop(next(iter(self._files)))
        with file.lock:
            now = self._clock.now()
            if file.at is None or not timedelta(0) <= now - file.at < KEPT_FOR:
                file.at = None
                file.tree = self._decrypt(content)
                file.at = now
            return file.tree

    def _decrypt(self, content: bytes) -> Any:
        program = shutil.which("sops", path=self._environ.get("PATH", ""))
        if program is None:
            raise CommandFailedError("is not known: there is no sops on the reconciler's PATH")
        kept = {
            name: text
            for name, text in self._environ.items()
            if name in _KEPT or name.startswith(_KEPT_OF_SOPS)
        }
        argv = [program, "decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin"]
        return json.loads(_output("sops", argv, kept, SOPS_BOUNDS, content))
