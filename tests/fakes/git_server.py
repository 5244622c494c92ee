"""A real git server over http on loopback, for tests: git's own backend behind a Python server."""

import base64
import contextlib
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["GitServer", "git", "make_certificate", "make_repository", "serve"]

IDENTITY = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
}


def git(directory: Path, *arguments: str) -> str:
    """Run git for a test and return what it prints."""
    return subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **IDENTITY},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def make_repository(directory: Path, branches: tuple[str, ...] = ("main",)) -> list[str]:
    """Make a repository with three commits on each branch; return the commits, oldest first."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", f"--initial-branch={branches[0]}")
    commits = []
    for branch in branches:
        if branch != branches[0]:
            git(directory, "checkout", "--quiet", "-b", branch)
        for number in range(3):
            (directory / "file").write_text(f"{branch} {number}\n")
            git(directory, "add", "--all")
            git(directory, "commit", "--quiet", "--message", f"{branch} {number}")
            commits.append(git(directory, "rev-parse", "HEAD"))
    git(directory, "checkout", "--quiet", branches[0])
    return commits


@dataclass(kw_only=True)
class GitServer:
    """What the server does, and what it has been asked.

    `credentials` is `user:password` where it asks for some. `protocol` 0 is the old one, which
    gives no commit that no branch points to. A `dumb` one only has files. `redirect` is where
    every request is sent on to. A `status` other than 0 is what every request is answered with.
    `sent` counts the bytes of all answers; `gate`, where there is one, is waited for before each.
    `lfs_files` is where large files are said to lie, if not here.
    """

    root: Path
    url: str = ""
    credentials: str = ""
    protocol: int = 2
    dumb: bool = False
    redirect: str = ""
    status: int = 0
    sent: int = 0
    gate: threading.Event | None = None
    lfs_files: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)  # path, Authorization

    def answer(self, handler: "Handler") -> None:
        """Answer one request."""
        given = handler.headers.get("Authorization", "")
        self.seen.append((handler.path, given))
        wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
        if self.gate is not None:
            self.gate.wait()
        if self.status:
            handler.answer(self.status, {}, b"")
        elif self.redirect:
            handler.answer(301, {"Location": self.redirect + handler.path}, b"")
        elif self.credentials and given != wanted:
            handler.answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        elif "/info/lfs/" in handler.path or handler.path.startswith("/lfs-file/"):
            handler.answer(*self.answer_lfs(handler))
        elif self.dumb:
            path = self.root / handler.path.partition("?")[0].lstrip("/")
            content = path.read_bytes() if path.is_file() else None
            handler.answer(404 if content is None else 200, {}, content or b"")
        else:
            handler.answer(*self.run_backend(handler))

    def answer_lfs(self, handler: "Handler") -> tuple[int, dict[str, str], bytes]:
        """Answer as a server of Git LFS does; the files are those of the repository itself."""
        if handler.path.startswith("/lfs-file/"):
            files = list(self.root.rglob(f"lfs/objects/*/*/{handler.path.rpartition('/')[2]}"))
            return (200, {}, files[0].read_bytes()) if files else (404, {}, b"")
        length = int(handler.headers.get("Content-Length", "0"))
        asked = json.loads(handler.rfile.read(length) or b"{}")
        href = self.lfs_files or self.url
        objects = [
            {**one, "actions": {"download": {"href": f"{href}/lfs-file/{one['oid']}"}}}
            for one in asked.get("objects", [])
        ]
        answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
        return 200, {"Content-Type": "application/vnd.git-lfs+json"}, answer

    def run_backend(self, handler: "Handler") -> tuple[int, dict[str, str], bytes]:
        """Return git's own answer: status, headers, body."""
        path, _, query = handler.path.partition("?")
        length = handler.headers.get("Content-Length", "0")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": length,
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            **IDENTITY,
        }
        if self.protocol == 2:
            environment["GIT_PROTOCOL"] = handler.headers.get("Git-Protocol", "")
        answer = subprocess.run(
            ["git", "http-backend"],
            env=environment,
            input=handler.rfile.read(int(length)),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return int(headers.pop("Status", "200").split()[0]), headers, body


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the server's `GitServer`."""

    served: GitServer

    def do_GET(self) -> None:
        self.served.answer(self)

    def do_POST(self) -> None:
        self.served.answer(self)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.served.sent += len(body)
        with contextlib.suppress(ConnectionError):  # a client that was killed takes no answer
            self.write(status, headers, body)

    def write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Keep quiet."""


def make_certificate(folder: Path, address: str = "127.0.0.1") -> Path:
    """Make a certificate that nobody has signed, with its key in the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=test"),
            *("-addext", f"subjectAltName=IP:{address}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate


@contextmanager
def serve(root: Path, certificate: Path | None = None) -> Iterator[GitServer]:
    """Serve the repositories below `root` until the end of the block; with TLS by certificate."""
    served = GitServer(root=root)
    handler = type("Served", (Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    served.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
