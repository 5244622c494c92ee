"""How an engine is reached: over TLS or on loopback, and by clients of every speed."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.engine import server
from reconciler.engine.config import EngineConfig, HttpLimits, TlsFiles
from reconciler.engine.server import Engine
from reconciler.engine.service.access import client_address, shown
from reconciler.engine.tokens import Caller, Role
from reconciler.errors import UsageError
from tests.engine.harness import LIMIT_S
from tests.waiting import eventually

pytestmark = pytest.mark.real


def write_certificate(folder: Path, name: str) -> TlsFiles:
    """Write a certificate for 127.0.0.1, whose common name says which it is."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(certificate=folder / "tls.pem", key=folder / "tls.key")
    files.key.touch(mode=0o600)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return files


def shown_certificate(url: str) -> str:
    """Return the common name of the certificate that an engine shows."""
    port = int(url.rpartition(":")[2])
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=LIMIT_S)
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def config(tmp_path: Path, **more: object) -> EngineConfig:
    return EngineConfig(data=tmp_path / "data", port=0, workers=0, **more)  # type: ignore[arg-type]


# A connection that is cut while the engine ends is closed by nobody but the process's end.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_an_engine_speaks_tls_and_reads_its_certificate_again(tmp_path: Path) -> None:
    """The certificate is checked by clients; a renewed one is shown, a broken one is not."""
    files = write_certificate(tmp_path, "first")
    with server.running(config(tmp_path, tls=files)) as engine:
        assert engine.url.startswith("https://127.0.0.1:")
        answer = requests.get(
            f"{engine.url}/healthz", verify=str(files.certificate), timeout=LIMIT_S
        )
        assert answer.status_code == 200
        assert "max-age=" in answer.headers["Strict-Transport-Security"]
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{engine.url}/healthz", timeout=LIMIT_S)
        assert shown_certificate(engine.url) == "first"
        files.certificate.write_text("half of it")
        assert shown_certificate(engine.url) == "first"
        write_certificate(tmp_path, "second")
        assert shown_certificate(engine.url) == "second"
    gc.collect()


@pytest.mark.parametrize("broken", ["certificate", "key", "missing", "readable"])
def test_a_certificate_that_is_none_is_told(tmp_path: Path, broken: str) -> None:
    """A file that is no certificate or key, or a key for everybody's eyes, is told by its path."""
    files = write_certificate(tmp_path, "x")
    match broken:
        case "certificate":
            files.certificate.write_text("nonsense")
        case "key":
            files.key.write_text("nonsense")
        case "missing":
            files.key.unlink()
        case _:
            files.key.chmod(0o644)
    with pytest.raises(UsageError, match=r"tls\.key"), server.running(config(tmp_path, tls=files)):
        pass


def test_nobody_listens_for_others_without_tls(tmp_path: Path) -> None:
    """An address that others can reach takes a certificate, or a word that it is meant so."""
    command = [sys.executable, "-m", "reconciler", "engine", "serve", "--data", str(tmp_path)]
    done = subprocess.run(
        [*command, "--listen", "0.0.0.0:0"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2
    for way in ("--tls-certificate", "127.0.0.1", "--insecure-listen"):
        assert way in done.stderr
    meant = config(tmp_path, host="0.0.0.0", insecure_listen=True)  # noqa: S104 - the same
    with server.running(meant) as engine:
        port = engine.url.rpartition(":")[2]
        answer = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=LIMIT_S)
        assert answer.status_code == 200


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that waits for nobody for long."""
    limits = HttpLimits(connections=250, head_s=2.0, body_s=2.0)
    data = tmp_path_factory.mktemp("hurried")
    with server.running(EngineConfig(data=data, port=0, workers=0, http=limits)) as engine:
        yield engine


@contextlib.contextmanager
def connections(engine: Engine, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        port = int(engine.url.rpartition(":")[2])
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), LIMIT_S))
            for _ in range(count)
        ]


def closed(connection: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_slow_clients_hold_up_nobody(hurried: Engine) -> None:
    """With 200 half-sent requests open health is answered within a second; then they are cut."""
    with connections(hurried, 200) as slow:
        for connection in slow:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        begin = time.monotonic()
        assert requests.get(f"{hurried.url}/healthz", timeout=LIMIT_S).status_code == 200
        assert time.monotonic() - begin < 1
        # One byte now and then does not buy more time.
        with contextlib.suppress(OSError):
            slow[0].sendall(b"X")
        assert all(closed(connection) for connection in slow)


def test_a_body_has_to_come_in_time(hurried: Engine) -> None:
    """A body that does not come is waited for no longer than its limit; the next is served."""
    token = hurried.tokens.create(
        Caller(organization="acme", user="ann", email="", role=Role.ADMIN), None
    )
    head = (
        "POST /api/stacks/acme/web HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: token {token}\r\nContent-Length: 1000\r\n\r\n{{"
    )
    with connections(hurried, 1) as (connection,):
        begin = time.monotonic()
        connection.sendall(head.encode())
        assert closed(connection)
        assert time.monotonic() - begin < LIMIT_S / 2
    assert requests.get(f"{hurried.url}/healthz", timeout=LIMIT_S).status_code == 200


def test_a_second_request_is_not_endless_either(hurried: Engine) -> None:
    """A connection that was good once is cut, too, when its next request does not come whole."""
    with connections(hurried, 1) as (connection,):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert closed(connection)


def test_there_are_only_so_many_connections(hurried: Engine) -> None:
    """Beyond the limit a connection is dropped at once; when others end there is room again."""
    with connections(hurried, 300) as many:
        for connection in many:
            connection.settimeout(0.01)
        eventually(lambda: sum(closed(c) for c in many[200:]) >= 40, "the rest is dropped")

    def answers() -> bool:
        try:
            return requests.get(f"{hurried.url}/healthz", timeout=LIMIT_S).ok
        except requests.ConnectionError:
            return False

    eventually(answers, "there is room again")


def test_answers_are_safe_to_show(hurried: Engine) -> None:
    """Every answer tells a browser to run nothing, keep nothing and guess nothing."""
    for path in ("/healthz", "/api/user", "/nothing"):
        headers = requests.get(hurried.url + path, timeout=LIMIT_S).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert "Strict-Transport-Security" not in headers
        assert "Server" not in headers


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9,10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("", "203.0.113.9", ""),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, expected: str) -> None:
    """The address is the last that no trusted proxy has; what clients write is not believed."""
    assert client_address(peer, forwarded, (ip_network("10.0.0.0/8"),)) == expected


def test_a_path_is_kept_without_what_it_should_not_hold() -> None:
    """No token, no control character and no endless text gets from a path into the audit log."""
    assert shown("/api/user/tokens/rct_abc-DEF_123") == "/api/user/tokens/rct_…"
    assert "\x1b" not in shown("/a\x1b[31m\r\n\u202e")
    assert len(shown("/a" * 5000)) == 300
