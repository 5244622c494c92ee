"""What people hold and let through: locks that hang, files that grow, disks that fail."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters import holds as module
from reconciler.adapters.holds import HoldsFiles, MassApproval
from reconciler.errors import NotDurableError
from reconciler.files import locked
from reconciler.model import Hold, ReasonCode
from reconciler.planning.admission import Mass
from tests.factories import NOW

# What the loop asks for.
ACTS: list[Callable[[HoldsFiles], None]] = [
    lambda book: book.use_up(book.read().approved),
    lambda book: book.move("web", "site"),
    lambda book: book.moved("web"),
]


def approval(names: int, number: int = 0, used: int = 0) -> MassApproval:
    found = {f"team/spec-{number}-{n:06d}": "d" * 64 for n in range(names)}
    at = NOW + timedelta(minutes=number)
    id_ = f"{number:012d}"
    return MassApproval(
        id=id_, by="ada", at=at, names=found, code="MassChange", used=tuple(found)[:used]
    )


@pytest.fixture
def book(tmp_path: Path) -> HoldsFiles:
    """Return holds of which one is of `web`, and an approval."""
    found = HoldsFiles(tmp_path / "s")
    found.suspend("web", Hold(by="ada", at=NOW))
    found.approve(approval(3))
    return found


@pytest.mark.parametrize("act", ACTS)
def test_the_loop_waits_for_no_lock_that_is_not_let_go(
    book: HoldsFiles, tmp_path: Path, act: Callable[[HoldsFiles], None]
) -> None:
    """A command that hangs keeps the loop for a moment, and no word of a person is lost."""
    before = (tmp_path / "s" / "holds.json").read_bytes()
    began = time.monotonic()
    with (
        locked(tmp_path / "s"),
        pytest.raises(NotDurableError, match="which may hang, has it locked"),
    ):
        act(book)
    assert time.monotonic() - began < 20
    assert (tmp_path / "s" / "holds.json").read_bytes() == before
    act(book)
    assert (tmp_path / "s" / "holds.json").read_bytes() != before


@pytest.mark.parametrize("act", ACTS)
def test_too_many_open_files_are_told_as_not_durable(
    book: HoldsFiles, act: Callable[[HoldsFiles], None]
) -> None:
    """What the system refuses is an error that the loop knows."""
    book.read()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(NotDurableError, match=os.strerror(errno.EMFILE)):
            act(book)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_hold_is_under_both_names_until_a_rename_is_done(book: HoldsFiles) -> None:
    """A rename copies a hold, and leaves the one that the new name has itself."""
    book.move("web", "site")
    book.move("web", "site")
    assert sorted(book.read().names) == ["site", "web"]
    book.suspend("mine", Hold(by="bob", at=NOW))
    book.move("web", "mine")
    assert book.read().names["mine"].by == "bob"
    book.moved("web")
    assert sorted(book.read().names) == ["mine", "site"]


def test_a_hold_that_cannot_be_read_is_not_taken_for_none(book: HoldsFiles, tmp_path: Path) -> None:
    """Where the file is torn, a rename is told so."""
    (tmp_path / "s" / "holds.json").write_bytes(b"{torn")
    for act in ACTS[1:]:
        with pytest.raises(NotDurableError, match=r"holds\.json cannot be read"):
            act(book)


def test_very_many_names_are_read_in_time(tmp_path: Path) -> None:
    """What an approval has let through is found by its name, and not by a search for each."""
    book = HoldsFiles(tmp_path / "s")
    book.approve(approval(30_000, used=15_000))
    began = time.process_time()
    found = book.read()
    assert time.process_time() - began < 1.5
    assert (len(found.approved), len(found.used)) == (15_000, 15_000)


def test_no_more_is_written_than_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An approval without room is refused; what is over makes room for one, and holds go on."""
    monkeypatch.setattr(module, "MAX_BYTES", 110_000)
    book = HoldsFiles(tmp_path / "s")
    book.suspend("web", Hold(by="ada", at=NOW))
    for number in range(4):
        book.approve(approval(200, number))
    with pytest.raises(NotDurableError, match="let fewer specs change at once"):
        book.approve(approval(200, 4))
    assert len(book.read().approved) == 800
    book.use_up(book.read().approved)
    assert len(book.read().used) == 800
    book.approve(approval(200, 5))
    assert (len(book.read().approved), len(book.read().used)) == (200, 0)
    assert book.resume("web")
    assert book.read().everything is None


def test_masses_that_cannot_be_written_are_told_to_be_so(tmp_path: Path) -> None:
    """Who tells of masses learns whether that is on the disk."""
    mass = Mass(code=ReasonCode.MASS_CHANGE, id="0" * 12, names={"web": "d"}, message="very many")
    (tmp_path / "s").write_text("no folder")
    assert HoldsFiles(tmp_path / "s").tell([mass]) is False
    (tmp_path / "s").unlink()
    book = HoldsFiles(tmp_path / "s")
    assert (book.tell([mass]), list(book.waiting())) == (True, ["0" * 12])
    assert (book.tell([]), dict(book.waiting())) == (True, {})
