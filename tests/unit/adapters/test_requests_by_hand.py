from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from reconciler.adapters.requests_by_hand import HandRequests
from reconciler.api.types import Operation
from reconciler.model import HandRequest, RequestKind

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def asked(number: int, operation: Operation | None = None) -> HandRequest:
    return HandRequest(
        id=f"r{number}",
        kind=RequestKind.TRIGGER,
        name="team/web",
        by="ada",
        at=NOW + timedelta(seconds=number),
        operation=operation,
    )


def test_requests_come_oldest_first(tmp_path: Path) -> None:
    """What was put comes back whole, oldest first, until it is removed."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12346)
    requests = HandRequests(tmp_path / "requests")
    assert requests.all() == ()
    for number in (3, 1, 2):
        requests.put(asked(number, Operation.REFRESH if number == 1 else None))
    assert requests.all() == (asked(1, Operation.REFRESH), asked(2), asked(3))
    requests.remove("r2")
    requests.remove("r2")
    assert [request.id for request in requests.all()] == ["r1", "r3"]
    mode = (tmp_path / "requests" / "r1.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {tmp_path.stat().st_uid}


def test_torn_requests_are_passed_over(tmp_path: Path) -> None:
    """Files that are torn, foreign, renamed or links are no requests."""
    requests = HandRequests(tmp_path)
    requests.put(asked(1))
    good = tmp_path / "r1.json"
    (tmp_path / "torn.json").write_bytes(good.read_bytes()[:20])
    (tmp_path / "bomb.json").write_text("[" * 50_000)
    (tmp_path / "renamed.json").write_bytes(good.read_bytes())
    (tmp_path / "large.json").write_bytes(good.read_bytes() + b" " * 100_000)
    (tmp_path / "link.json").symlink_to(good)
    (tmp_path / ".r9.json.x.tmp").write_bytes(good.read_bytes())
    assert requests.all() == (asked(1),)


@pytest.mark.parametrize("what", ["the folder", "a request"])
def test_what_cannot_be_read_waits_and_is_told_once(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user's folder or file stops nobody: it is told, with what to do, and waits."""
    requests = HandRequests(tmp_path / "requests")
    requests.put(asked(1))
    requests.put(asked(2))
    path = tmp_path / "requests" / ("" if what == "the folder" else "r1.json")

    def fail(does: Callable[..., object], opened: object, *rest: object) -> object:
        if str(opened) == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return does(opened, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", partial(fail, os.open))
        patched.setattr(os, "listdir", partial(fail, os.listdir))
        for _ in range(3):
            assert requests.all() == (() if what == "the folder" else (asked(2),))
    (told,) = (record.getMessage() for record in caplog.records)
    assert f"{path} cannot be read: Permission denied" in told
    assert "chown" in told
    assert requests.all() == (asked(1), asked(2))


def test_what_cannot_be_removed_is_not_dealt_with_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that stays where it is, is none any more, and that is told."""
    requests = HandRequests(tmp_path)
    requests.put(asked(1))
    requests.put(asked(2))

    def fail(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fail)
        requests.remove("r1")
    for _ in range(3):
        assert requests.all() == (asked(2),)
    (told,) = (record.getMessage() for record in caplog.records)
    assert f"{tmp_path}/r1.json cannot be removed: Permission denied" in told
    requests.remove("r1")
    assert [path.name for path in tmp_path.iterdir()] == ["r2.json"]


@pytest.mark.parametrize("request_id", ["", "../x", "a/b", "x" * 65, "a b"])
def test_an_id_is_no_path(request_id: str, tmp_path: Path) -> None:
    """An id cannot lead anywhere else."""
    with pytest.raises(ValueError, match="a request's id is"):
        HandRequests(tmp_path).remove(request_id)
