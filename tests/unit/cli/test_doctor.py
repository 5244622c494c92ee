"""`doctor` as people call it: real directories, a real engine, real sockets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reconciler.checkup import Finding, Level
from reconciler.cli.doctor import Check, carry_out
from reconciler.errors import UsageError
from tests.engine.served import command, served

pytestmark = pytest.mark.real

CANARY = "rct_canary-0f0b3c"
SPEC = (
    "stack: acme/web/dev\nsourceContext: {git: {repoUrl: https://x.example/i.git, branch: main}}\n"
)


class Desk:
    """A directory with specs and state, and the command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = root / "specs"
        self.specs.mkdir()
        (self.specs / "web.yaml").write_text(SPEC)

    def doctor(
        self, *more: str, code: int = 0, environment: Mapping[str, str] | None = None
    ) -> dict[str, list[dict[str, str]]]:
        """Run it, and return check -> what it found."""
        done = self.run("-o", "json", *more, environment=environment)
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(done.stdout):
            found.setdefault(finding["check"], []).append(finding)
        return found

    def run(
        self, *more: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        ways = ["doctor", str(self.specs), "--data", str(self.root / "state")]
        kept = {k: os.environ[k] for k in ("PATH", "HOME", "XDG_CACHE_HOME") if k in os.environ}
        return subprocess.run(
            # A loaded machine may be slow, and the limit is not what these tests are about.
            [sys.executable, "-m", "reconciler", *ways, "--timeout", "60s", *more],
            env={**kept, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@contextmanager
def pretending(status: int, body: str, ahead_s: float = 0.0) -> Iterator[str]:
    """Serve an API that answers so, with a clock of its own; ECHO is what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = self.headers.get("Authorization", "")
            content = body.replace("ECHO", said).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + ahead_s, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sound_machine(desk: Desk) -> None:
    """Where all is well every check says so, and the exit code is 0."""
    found = desk.doctor()
    names = {
        *("pulumi", "runner", "limits", "git", "specs", "state", "keys", "disk"),
        *("watching", "api", "token", "clock", "service"),
    }
    assert set(found) == names
    levels = {finding["level"] for findings in found.values() for finding in findings}
    assert levels <= {"ok", "skipped", "warning"}
    assert found["specs"][0]["message"] == f"1 valid spec in {desk.specs}"
    assert not (desk.root / "state").exists(), "looking changes nothing"


def test_what_people_read(desk: Desk) -> None:
    """Each finding is a line, with the next step below it, and the last line counts."""
    (desk.specs / "bad.yaml").write_text("stack: nonsense\n")
    done = desk.run()
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("problem  specs"))
    assert "bad.yaml" in lines[at]
    assert f"→ see all of them: `reconciler validate {desk.specs}`" in lines[at + 1]
    assert lines[-1].startswith("1 problem")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_open_doors_are_found(desk: Desk) -> None:
    """State, keys and token files that others can read are named with the command that mends it."""
    state = desk.root / "state"
    (state / "engine").mkdir(parents=True)
    state.chmod(0o755)
    (state / "engine").chmod(0o700)
    for name in ("hash-key", "engine/engine.key"):
        (state / name).write_bytes(b"k" * 32)
        (state / name).chmod(0o644)
    token = desk.root / "token"
    token.write_text(CANARY)
    token.chmod(0o640)
    config = desk.root / "config.yaml"
    config.write_text("limits: {}\n")
    config.chmod(0o666)
    found = desk.doctor("--token-file", str(token), "--config", str(config), code=1)
    assert [f["fix"] for f in found["state"] if f["level"] == "problem"] == [f"`chmod go= {state}`"]
    fixes = [f["fix"] for f in found["keys"] if f["level"] == "problem"]
    assert fixes == [
        f"`chmod go= {state}/hash-key`",
        f"`chmod go= {state}/engine/engine.key`",
        f"`chmod go= {token}`",
        f"`chmod go-w {config}`",
    ]
    assert "written by others" in found["specs"][0]["message"]


def test_a_real_engine_and_its_tokens(desk: Desk) -> None:
    """With a served engine, the role, the organization and the loss of a token are told."""
    data = desk.root / "engine"
    with served(data) as engine:
        for role, organization, level in (
            ("deploy", "acme", "ok"),
            ("admin", "acme", "ok"),
            ("read", "acme", "problem"),
            ("deploy", "other", "problem"),
        ):
            arguments = ("--organization", organization, "--role", role, "--user", "ann")
            token = desk.root / f"{role}-{organization}"
            token.write_text(command("token", "create", *arguments, data=data))
            token.chmod(0o600)
            found = desk.doctor(
                *("--api-url", engine.url, "--engine-data", str(data)),
                *("--token-file", str(token)),
                code=0 if level == "ok" else 1,
            )
            assert [f["level"] for f in found["token"]] == [level], found["token"]
            assert f"role {role}" in found["token"][0]["message"]
            assert found["api"][0] == {
                "check": "api",
                "level": "ok",
                "message": f"{engine.url} answers",
                "fix": "",
            }
            assert found["clock"][0]["level"] == "ok"
        unknown = desk.doctor(
            *("--api-url", engine.url),
            code=1,
            environment={"PULUMI_ACCESS_TOKEN": CANARY},
        )
        assert "does not know the token" in unknown["token"][0]["message"]


def test_a_clock_that_is_off(desk: Desk) -> None:
    """The API's Date tells how far the clocks are apart."""
    user = '{"githubLogin": "ann", "organizations": [{"githubLogin": "acme"}]}'
    environment = {"PULUMI_ACCESS_TOKEN": CANARY}
    with pretending(200, user, ahead_s=3600.0) as url:
        found = desk.doctor("--api-url", url, code=1, environment=environment)
    assert found["clock"][0]["level"] == "problem"
    assert "60 min behind the API's" in found["clock"][0]["message"]
    assert found["token"][0]["message"] == "ann's, for acme"


@pytest.mark.parametrize("status", [200, 401, 403, 404, 418, 429, 500])
def test_no_secret_is_shown(desk: Desk, status: int) -> None:
    """A server that sends the token back, in whatever answer, has it masked."""
    echo = '{"githubLogin": "ECHO", "message": "ECHO", "organizations": [{"githubLogin": "ECHO"}]}'
    with pretending(status, echo) as url:
        environment = {"PULUMI_ACCESS_TOKEN": CANARY, "RECONCILER_API_URL": url}
        done = desk.run("-o", "text" if status % 2 else "json", environment=environment)
    assert CANARY not in done.stdout + done.stderr
    assert "[secret]" in done.stdout or status == 401


BAD_URLS = [
    (f"http://ann:{CANARY}@api.example.com", "holds credentials"),
    ("http://api.example.com", "not sent over plain http to api.example.com"),
    ("ftp://api.example.com", "is no URL of an API"),
]


@pytest.mark.parametrize(("url", "message"), BAD_URLS)
def test_an_address_that_is_not_used(desk: Desk, url: str, message: str) -> None:
    """Plain http, and an address that holds a password, are refused before anything is sent."""
    done = desk.run("--api-url", url, environment={"PULUMI_ACCESS_TOKEN": CANARY})
    assert done.returncode == 1
    assert message in done.stdout
    assert CANARY not in done.stdout + done.stderr


def test_what_is_not_here_is_not_looked_at(desk: Desk) -> None:
    """Where the API is on another machine, this one needs no Pulumi and no sandbox."""
    found = desk.doctor("--api-url", "https://127.0.0.1.invalid", code=1)
    skipped = {name for name, (first, *_) in found.items() if first["level"] == "skipped"}
    assert {"pulumi", "runner", "limits", "api", "clock"} <= skipped
    assert "no token is given" in found["token"][0]["message"]


def test_an_api_that_is_not_there(desk: Desk) -> None:
    """A closed port, and a server that hangs up, are told as what they are."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = desk.doctor("--api-url", url, code=1, environment={"PULUMI_ACCESS_TOKEN": CANARY})
    assert found["api"][0]["message"].startswith(f"{url} did not answer")
    assert found["token"][0]["level"] == "skipped"


def test_programs_that_are_missing(desk: Desk) -> None:
    """Without git and Pulumi, each is named with how to get it."""
    nothing = desk.root / "bin"
    nothing.mkdir()
    environment = {"PATH": str(nothing), "XDG_CACHE_HOME": str(nothing)}
    found = desk.doctor(code=1, environment=environment)
    assert "no usable Pulumi" in found["pulumi"][0]["message"]
    assert "make setup" in found["pulumi"][0]["fix"]
    assert "apt-get install git" in found["git"][0]["fix"]
    assert found["runner"][0]["level"] == "warning"


def test_a_check_that_hangs_holds_up_nobody() -> None:
    """What does not answer in time is unknown, under each of its names; the others are told."""
    never = threading.Event()

    def hang() -> list[Finding]:
        never.wait()
        return []

    def broken() -> list[Finding]:
        raise ValueError(CANARY)

    def refused() -> list[Finding]:
        raise UsageError("give another one")

    fine = Finding(check="fine", level=Level.OK, message="it is")
    checks = [
        Check(names=("slow", "slower"), look=hang),
        Check(names=("fine",), look=lambda: [fine]),
        Check(names=("broken",), look=broken),
        Check(names=("refused",), look=refused),
        Check(names=("empty",), look=list),
    ]
    begun = time.monotonic()
    found = carry_out(checks, 2.0)
    assert time.monotonic() - begun < 30
    never.set()
    assert [(f.check, str(f.level)) for f in found] == [
        ("slow", "unknown"),
        ("slower", "unknown"),
        ("fine", "ok"),
        ("broken", "unknown"),
        ("refused", "problem"),
    ]
    assert CANARY not in "".join(f.message for f in found)
