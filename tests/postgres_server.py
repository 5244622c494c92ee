"""A PostgreSQL server of the tests' own: real, on a free port, gone when the tests are.

PostgreSQL refuses to be run by root; then it runs as its own user, or as nobody.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

__all__ = ["PostgresServer", "postgres_server"]

# Starting takes a second; the limit is for a machine under load.
LIMIT_S = 60.0

USER = "engine"

# Losing the machine is not what these tests are about: writes need not reach the disk. Many
# connections, since several engines with a pool each share one server.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
}


class PostgresServer:
    """One running server. `url` and `make_database` say where; `stop` and `start` may be used."""

    def __init__(self, directory: Path) -> None:
        """Make the database's files in `directory`, and start it."""
        self.directory = directory
        self.password = secrets.token_hex(12)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._initialize()
        self.start()

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        """Return a database's URL, password included."""
        return f"{scheme}://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def make_database(self, scheme: str = "postgresql") -> str:
        """Make an empty database for one test, and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name, scheme)

    def start(self) -> None:
        """Start it, where it does not run, on the port that it had before if it can."""
        end = time.monotonic() + LIMIT_S
        while not self._try_to_start(end):
            assert time.monotonic() < end, self._log()
            self.port = 0

    def stop(self) -> None:
        """End it as an administrator would: open connections are closed."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGQUIT)

    # ------------------------------------------------------------ inside

    def _initialize(self) -> None:
        words = self.directory / "password"
        words.write_text(self.password)
        words.chmod(0o600)
        _give(words)
        arguments = ("--no-sync", "--username", USER, "--auth", "scram-sha-256", "--encoding")
        subprocess.run(
            [
                *_as_somebody(),
                _program("initdb"),
                *arguments,
                "UTF8",
                "--locale=C",
                "--no-instructions",
                f"--pwfile={words}",
                f"--pgdata={self.directory / 'data'}",
            ],
            check=True,
            capture_output=True,
            timeout=LIMIT_S,
            cwd=self.directory,
        )
        words.unlink()

    def _try_to_start(self, end: float) -> bool:
        """Start the server and wait until it answers; False where its port was taken."""
        self.port = self.port or _free_port()
        settings = SETTINGS | {"unix_socket_directories": str(self.directory)}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # It ends with this process, however that ends.
                    *_as_somebody("--pdeathsig", "QUIT"),
                    _program("postgres"),
                    "-D",
                    str(self.directory / "data"),
                    "-p",
                    str(self.port),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        pause = threading.Event()
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=5).close()
                return True
            assert time.monotonic() < end, self._log()
            pause.wait(0.05)
        return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _log(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")[-2000:]


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Give a running server, and take it and its files away afterwards."""
    # Not below pytest's own directories, which only their owner may enter.
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        _give(directory)
        server = PostgresServer(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _somebody() -> pwd.struct_passwd | None:
    """Return whose process it is to be, where it cannot be ours."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _as_somebody(*options: str) -> list[str]:
    who = _somebody()
    as_whom = [f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"] if who else []
    return ["setpriv", *as_whom, *options, "--"]


def _give(path: Path) -> None:
    who = _somebody()
    if who is not None:
        os.chown(path, who.pw_uid, who.pw_gid)


def _program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, which PATH may lack."""
    found = shutil.which(name)
    if found:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert installed, f"{name} is not installed: `make system` installs PostgreSQL"
    return str(installed[-1])


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
