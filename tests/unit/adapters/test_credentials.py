from __future__ import annotations

import hashlib
import hmac
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters import secret_commands
from reconciler.adapters.bounded_process import Bounds
from reconciler.adapters.credentials import SecretReader, SecretRules
from reconciler.errors import SecretUnavailableError
from reconciler.model import OnRotate, SecretReference
from tests.fakes.world import SimClock

CANARY = "hunter2-canary"
ENVIRON = {"RECONCILER_SECRET_DB": CANARY, "RECONCILER_SECRET_EMPTY": "", "HOME": CANARY}


def env(name: str) -> SecretReference:
    return SecretReference("fromEnv", name)


def file(name: str) -> SecretReference:
    return SecretReference("fromFile", name)


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    (made / "db").write_text(CANARY + "\n")
    return made


@pytest.fixture
def reader(folder: Path, clock: SimClock) -> SecretReader:
    return SecretReader(SecretRules(secrets_dir=(folder,)), ENVIRON, clock)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (env("RECONCILER_SECRET_DB"), ""),
        (env("RECONCILER_SECRET_"), "only variables whose names begin RECONCILER_SECRET_"),
        (env("HOME"), "only variables whose names begin RECONCILER_SECRET_"),
        (env("reconciler_secret_db"), "only variables"),
        (env("RECONCILER_SECRET_A=B"), "is no variable's name"),
        (file("db"), ""),
        (file("team/db"), ""),
        (file("/run/secrets/db"), ""),
        (file("/one/db"), ""),
        (file("/two/db"), ""),
        (file("/etc/shadow"), "only files below /one or /two or /run/secrets"),
        (file("../etc/shadow"), "only files below"),
        (file("/one/../etc/shadow"), "only files below"),
        (file("a/../db"), "only files below"),
        (file("/oneself/db"), "only files below"),
        (file("."), "only files below"),
        (file("a\0b"), "NUL"),
        (SecretReference("fromCredential", "db-password"), ""),
        (SecretReference("fromCredential", "../db"), "is no credential's name"),
        (SecretReference("fromCredential", ".."), "is no credential's name"),
        (SecretReference("fromCommand", "id"), "is no command of this host; its config (--config)"),
        (SecretReference("fromHat", "id"), "is no kind of reference"),
    ],
)
def test_what_may_be_read(reference: SecretReference, expected: str) -> None:
    """Only variables with the prefix and files below the host's folders may be read."""
    rules = SecretRules(secrets_dir=(Path("/one"), Path("/two")))
    said = rules.allows(reference)
    assert said == "" if not expected else expected in said


def test_without_a_folder_of_its_own() -> None:
    """A relative path is below /run/secrets where the host names no other folder."""
    assert SecretRules().path("db") == Path("/run/secrets/db")
    assert SecretRules().allows(file("db")) == ""


@pytest.mark.parametrize("name", ["fromEnv", "fromFile"])
def test_a_secret_is_read(name: str, reader: SecretReader) -> None:
    """A secret is its value without the newline at its end, and shows itself to nobody."""
    reference = env("RECONCILER_SECRET_DB") if name == "fromEnv" else file("db")
    secret = reader.read(reference)
    assert secret.value == CANARY
    assert CANARY not in f"{secret} {secret!r} {reader!r}"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            env("RECONCILER_SECRET_NONE"),
            "RECONCILER_SECRET_NONE is not in the daemon's environment",
        ),
        (env("RECONCILER_SECRET_EMPTY"), "RECONCILER_SECRET_EMPTY is empty"),
        (env("HOME"), "fromEnv HOME may not be read"),
        (file("none"), "fromFile none cannot be read: No such file or directory"),
        (file("empty"), "fromFile empty is empty"),
        (file("large"), "cannot be read: is larger than 65536 bytes"),
        (file("binary"), "fromFile binary is not UTF-8 text"),
        (file("nul"), "holds a NUL character"),
        (file("fifo"), "is no regular file"),
        (file("folder"), "is no regular file"),
        (file("out"), "leads out of"),
    ],
)
def test_what_cannot_be_read(
    reference: SecretReference, expected: str, folder: Path, reader: SecretReader
) -> None:
    """A refusal names the reference and the reason, and no value anywhere in its chain."""
    (folder / "empty").write_text("\n")
    (folder / "large").write_text(CANARY * 10_000)
    (folder / "binary").write_bytes(CANARY.encode() + b"\xff")
    (folder / "nul").write_text(CANARY + "\0")
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    outside = folder.parent / "outside"
    outside.write_text(CANARY)
    (folder / "out").symlink_to(outside)
    with pytest.raises(SecretUnavailableError) as caught:
        reader.read(reference)
    assert expected in str(caught.value)
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_credential_of_systemd(folder: Path, clock: SimClock) -> None:
    """A credential is read from where systemd says; without systemd the message says so."""
    reference = SecretReference("fromCredential", "db")
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert SecretReader(SecretRules(), environ, clock).read(reference).value == CANARY
    with pytest.raises(SecretUnavailableError, match="systemd has given this process no cred"):
        SecretReader(SecretRules(), {}, clock).read(reference)


def test_a_rotation_that_is_ignored(folder: Path, reader: SecretReader, clock: SimClock) -> None:
    """With `onRotate: ignore` the hash is that of the reference: only another one changes it."""
    ignoring = SecretReference("fromFile", "db", OnRotate.IGNORE)
    before = reader.keyed_hash(ignoring, b"key")
    (folder / "db").write_text("rotated")
    clock.time += timedelta(minutes=10)
    assert reader.keyed_hash(ignoring, b"key") == before
    assert reader.read(ignoring).value == "rotated"
    assert reader.keyed_hash(file("db"), b"key") != before
    other = SecretReference("fromFile", "db2", OnRotate.IGNORE)
    assert reader.keyed_hash(other, b"key") != before


def test_links_below_the_folder_are_followed(folder: Path, reader: SecretReader) -> None:
    """Kubernetes' secret volumes are links into a hidden folder."""
    (folder / "..data").mkdir()
    (folder / "..data" / "key").write_text("value")
    (folder / "key").symlink_to("..data/key")
    assert reader.read(file("key")).value == "value"


def test_only_one_newline_is_dropped(folder: Path, reader: SecretReader) -> None:
    """A key's own blank lines stay; what an editor added at the end goes."""
    (folder / "unix").write_bytes(b" a \n\n")
    (folder / "windows").write_bytes(b"a\r\n")
    assert reader.read(file("unix")).value == " a \n"
    assert reader.read(file("windows")).value == "a"


def test_a_value_is_kept_for_five_minutes(
    folder: Path, reader: SecretReader, clock: SimClock
) -> None:
    """A rotated secret is seen within five minutes; a clock set back does not keep it for ever."""
    assert reader.read(file("db")).value == CANARY
    (folder / "db").write_text("rotated")
    clock.time += timedelta(minutes=4, seconds=59)
    assert reader.read(file("db")).value == CANARY
    clock.time += timedelta(seconds=1)
    assert reader.read(file("db")).value == "rotated"
    (folder / "db").write_text("again")
    clock.time -= timedelta(hours=1)
    assert reader.read(file("db")).value == "again"
    (folder / "db").unlink()
    clock.time += timedelta(minutes=5)
    with pytest.raises(SecretUnavailableError):
        reader.read(file("db"))
    assert reader.again_at() == clock.time + timedelta(minutes=1)


def test_what_nobody_asks_for_is_dropped(reader: SecretReader, clock: SimClock) -> None:
    """A value is not kept in memory for longer than it may be used."""
    reader.read(file("db"))
    assert CANARY in str(
        [looked.secret and looked.secret.value for looked in reader._known.values()]
    )
    clock.time += timedelta(minutes=5)
    reader.read(env("RECONCILER_SECRET_DB"))
    assert list(reader._known) == [("fromEnv", "RECONCILER_SECRET_DB")]


def test_the_hash_is_keyed(reader: SecretReader) -> None:
    """The hash is HMAC-SHA256 of the value, whatever the place it comes from."""
    expected = hmac.new(b"key", CANARY.encode(), hashlib.sha256).hexdigest()
    assert reader.keyed_hash(file("db"), b"key") == expected
    assert reader.keyed_hash(env("RECONCILER_SECRET_DB"), b"key") == expected
    assert reader.keyed_hash(file("db"), b"other") != expected


def by_command(clock: SimClock, **programs: tuple[str, ...]) -> SecretReader:
    environ = {"PATH": os.environ["PATH"], "HOME": "/root", "RECONCILER_SECRET_DB": CANARY}
    return SecretReader(SecretRules(commands=programs), environ, clock)


def command(name: str) -> SecretReference:
    return SecretReference("fromCommand", name)


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def test_a_command_tells_a_secret(clock: SimClock) -> None:
    """Its standard output is the value; no shell reads its arguments."""
    reader = by_command(clock, db=("/bin/echo", CANARY), plain=("/bin/echo", "$(id); *"))
    assert reader.read(command("db")).value == CANARY
    assert reader.read(command("plain")).value == "$(id); *"


def test_a_command_sees_no_secret_of_others(clock: SimClock) -> None:
    """Its environment is what it needs to run, its folder the root, its input empty."""
    reader = by_command(clock, all=shell("env; pwd; cat"))
    told = reader.read(command("all")).value
    assert "HOME=/root" in told
    assert CANARY not in told
    assert told.splitlines()[-1] == "/"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (("/nonexistent/vault",), "its command cannot be started: No such file"),
        (shell(f"echo {CANARY}; exit 3"), "its command ended with 3"),
        (shell("echo no such key >&2; exit 1"), "its command ended with 1: no such key"),
        (shell("kill -9 $$"), "its command was killed by signal 9"),
        (shell("head -c 100000 /dev/zero"), "its command prints more than 65536 bytes"),
        (shell("printf '\\377'"), "is not UTF-8 text"),
        (shell("true"), "is empty"),
    ],
)
def test_a_command_that_fails(program: tuple[str, ...], expected: str, clock: SimClock) -> None:
    """What went wrong is told, and nothing that it printed as a secret."""
    with pytest.raises(SecretUnavailableError) as caught:
        by_command(clock, db=program).read(command("db"))
    assert expected in str(caught.value)
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_only_its_first_words_are_told(clock: SimClock) -> None:
    """What a command says on standard error is cut: it could print what it was to keep."""
    reader = by_command(clock, db=shell(f"printf '%0300d' 0 >&2; echo {CANARY} >&2; exit 1"))
    with pytest.raises(SecretUnavailableError) as caught:
        reader.read(command("db"))
    assert str(caught.value).endswith("0…")
    assert len(str(caught.value)) < 200
    assert CANARY not in str(caught.value)


def test_a_command_that_hangs_is_ended(
    clock: SimClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended with all that it started, and holds nobody up for longer than its limit."""
    monkeypatch.setattr(secret_commands, "BOUNDS", Bounds(0.3, 1000))
    mark = tmp_path / "pid"
    reader = by_command(clock, db=shell(f"sleep 600 & echo $! > {mark}; wait"))
    with pytest.raises(SecretUnavailableError, match=r"did not end within 0\.3 s"):
        reader.read(command("db"))
    child = int(mark.read_text())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "Z" not in _state(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_command_runs_once_in_five_minutes(clock: SimClock, tmp_path: Path) -> None:
    """A value is kept, and so is a failure, for a minute: no pass asks again and again."""
    count = tmp_path / "count"
    reader = by_command(
        clock, good=shell(f"echo x >> {count}; echo v"), bad=shell(f"echo x >> {count}; exit 1")
    )
    for _ in range(3):
        reader.read(command("good"))
    ignoring = SecretReference("fromCommand", "good", OnRotate.IGNORE)
    assert reader.read(ignoring).value == "v"
    assert count.read_text() == "x\n"
    for _ in range(3):
        with pytest.raises(SecretUnavailableError):
            reader.read(command("bad"))
    assert count.read_text() == "x\n" * 2
    clock.time += timedelta(minutes=1)
    with pytest.raises(SecretUnavailableError):
        reader.read(command("bad"))
    assert count.read_text() == "x\n" * 3
    clock.time += timedelta(minutes=4)
    reader.read(command("good"))
    assert count.read_text() == "x\n" * 4


def test_slow_ones_are_asked_at_the_same_time(clock: SimClock, tmp_path: Path) -> None:
    """Two commands that wait for one another both end: neither waits for the other's turn."""
    meet = "touch {0}/{1}; while [ ! -e {0}/{2} ]; do sleep 0.01; done; echo {1}"
    reader = by_command(
        clock, a=shell(meet.format(tmp_path, "a", "b")), b=shell(meet.format(tmp_path, "b", "a"))
    )
    reader.warm([command("a"), command("b"), env("RECONCILER_SECRET_DB")])
    assert reader.read(command("a")).value == "a"
    assert reader.read(command("b")).value == "b"
