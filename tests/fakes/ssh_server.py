"""A real sshd on loopback, for tests: with a host key and accepted keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SshServer", "make_key", "serve_ssh"]

LIMIT_S = 60.0

CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/accepted
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
X11Forwarding no
"""


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519", form: str = "") -> Path:
    """Make a key pair; `form` is PEM or PKCS8, else OpenSSH's own."""
    path.unlink(missing_ok=True)
    more = ["-m", form] if form else []
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path), *more],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


@dataclass(frozen=True, kw_only=True)
class SshServer:
    """A server at `port`; whoever has a key in `accepted` is let in as `user`."""

    folder: Path
    port: int
    user: str

    def accept(self, key: Path) -> None:
        """Let the owner of a key in."""
        with (self.folder / "accepted").open("a") as file:
            file.write(key.with_name(f"{key.name}.pub").read_text())

    def known(self) -> str:
        """Return the line of a known_hosts file for it."""
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def url(self, path: Path) -> str:
        """Return the URL of a repository there."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"


@contextmanager
def serve_ssh(folder: Path) -> Iterator[SshServer]:
    """Run a server, with a new host key, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "host_key")
    (folder / "accepted").touch()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself up
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "configuration").write_text(CONFIGURATION.format(port=port, folder=folder))
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "sshd"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "configuration")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(port, process, folder / "log")
        yield SshServer(folder=folder, port=port, user=getpass.getuser())
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + LIMIT_S
    pause = threading.Event()
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        pause.wait(0.02)
