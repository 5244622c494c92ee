from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.status_form import render
from reconciler.adapters.status_glance import Glance, Shown
from reconciler.adapters.statusfile import StatusFiles
from reconciler.api.types import JobStatus
from reconciler.model import Reason, ReasonCode, Removal, ScheduleStatus, State, Status
from tests.factories import COMMIT, NOW, ended, run, status


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "specs", tmp_path / "copies"
    for folder in found:
        (folder / "team").mkdir(parents=True)
    return found


def rest(**changes: object) -> Status:
    base = status(
        name="team/web",
        generation=4,
        state=State.FAILED,
        reason=Reason(ReasonCode.FAILED, "no room left"),
        latest=ended(version=3),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def write(folder: Path, of: Status, at: float = 1_000.0) -> Path:
    path = folder / f"{of.name}.status.json"
    path.write_bytes(render(of))
    os.utime(path, (at, at))
    return path


def test_a_glimpse_says_what_a_table_shows(folders: tuple[Path, Path]) -> None:
    """State, reason, run and next slot are those of the file that the loop has written."""
    StatusFiles(folders[0], None, folders[1]).write(
        rest(
            schedules=(
                ScheduleStatus(name="b", definition="", last=NOW, next=NOW.replace(day=9)),
                ScheduleStatus(name="a", definition="", last=NOW, next=NOW.replace(day=8)),
                ScheduleStatus(name="c", definition="", last=NOW),
            ),
            removal=Removal(since=NOW),
        )
    )
    (found,) = Glance(*folders).look().values()
    assert (found.name, found.state, found.code) == ("team/web", "Failed", "Failed")
    assert (found.stack, found.message) == ("acme/web/dev", "no room left")
    assert found.run == Shown(
        id="id-1", version=3, operation="update", status="succeeded", commit=COMMIT
    )
    assert found.next_run == NOW.replace(day=8)
    assert found.removal


def test_what_runs_comes_before_what_ran(folders: tuple[Path, Path]) -> None:
    """The run in flight is shown, with how it stands; a fresh one has not started."""
    flight = run(version=4, status=JobStatus.NOT_STARTED)
    write(folders[0], rest(run=flight))
    (found,) = Glance(*folders).look().values()
    assert found.run is not None
    assert (found.run.version, found.run.status) == (4, "not-started")


def test_of_two_copies_the_newer_one_is_shown(folders: tuple[Path, Path]) -> None:
    """Whichever copy was brought back: the generation says which one is newer."""
    old, new = rest(generation=2), rest(generation=3, state=State.READY)
    for one, other in ((old, new), (new, old)):
        write(folders[0], one, at=9_000.0)
        write(folders[1], other)
        (found,) = Glance(*folders).look().values()
        assert found.state == "Ready"


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"name": 3}', b"\xff\xfe", b"null"])
def test_a_torn_file_is_passed_over_and_stays(folders: tuple[Path, Path], torn: bytes) -> None:
    """The other copy is shown; without one there is none. Nothing is renamed by looking."""
    path = write(folders[0], rest())
    path.write_bytes(torn)
    os.utime(path, (1_000.0, 1_000.0))
    assert Glance(*folders).look() == {}
    write(folders[1], rest())
    assert Glance(*folders).look()["team/web"].code == "Failed"
    assert path.read_bytes() == torn


def test_links_and_pipes_are_not_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Nothing that lies in the directory can hold up a look at it, or lead it elsewhere."""
    elsewhere = write(tmp_path, rest(name="web"))
    (folders[0] / "web.status.json").symlink_to(elsewhere)
    os.mkfifo(folders[0] / "pipe.status.json")
    (folders[0] / "loop").symlink_to(folders[0])
    write(folders[0], rest(name="team/other")).rename(folders[0] / "team/web.status.json")
    assert Glance(*folders).look() == {}
    assert Glance(tmp_path / "nowhere", tmp_path / "nowhere").look() == {}


def test_only_what_has_changed_is_read_again(folders: tuple[Path, Path]) -> None:
    """The same object comes back until its file is another; what is deleted is gone."""
    path = write(folders[0], rest())
    glance = Glance(*folders)
    first = glance.look()["team/web"]
    assert glance.look()["team/web"] is first
    write(folders[0], rest(state=State.READY), at=2_000.0)
    assert glance.look()["team/web"].state == "Ready"
    path.unlink()
    assert glance.look() == {}
