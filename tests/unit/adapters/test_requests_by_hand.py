from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
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


@pytest.mark.parametrize("request_id", ["", "../x", "a/b", "x" * 65, "a b"])
def test_an_id_is_no_path(request_id: str, tmp_path: Path) -> None:
    """An id cannot lead anywhere else."""
    with pytest.raises(ValueError, match="a request's id is"):
        HandRequests(tmp_path).remove(request_id)
