"""The certificate that an engine shows, read again when its file has changed."""

from __future__ import annotations

import logging
import ssl
import stat
from pathlib import Path

from reconciler.engine.config import TlsFiles
from reconciler.errors import UsageError

__all__ = ["Certificate"]

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key, as their files are now; used by one thread."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; UsageError where they are no certificate and its key."""
        self._files = files
        try:
            self._seen = self._look()
            self._current = self._read()
        except (OSError, ssl.SSLError) as error:
            message = f"{files.certificate} and {files.key} are no certificate and key: {error}"
            raise UsageError(message) from error
        if files.key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise UsageError(f"{files.key} can be read by everybody; `chmod 640` it")

    def context(self) -> ssl.SSLContext:
        """Return what a server needs; each new connection is shown the newest certificate."""
        context = self._read()
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        try:
            found = self._look()
            if found != self._seen:
                # Whatever comes of it, this state of the files is not tried again.
                self._seen = found
                self._current = self._read()
                _log.info("%s is read again", self._files.certificate)
        except (OSError, ssl.SSLError) as error:
            _log.warning("%s: %s; the one before it is shown", self._files.certificate, error)
        connection.context = self._current

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        found = (path.stat() for path in (self._files.certificate, self._files.key))
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(_text(self._files.certificate), _text(self._files.key), _refuse)
        return context


def _text(path: Path) -> str:
    return str(path)


def _refuse() -> str:
    # Without this OpenSSL asks on the terminal.
    raise OSError("the key is encrypted with a passphrase; give one that is not")
