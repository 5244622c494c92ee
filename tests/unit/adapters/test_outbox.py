"""The outbox: what is put in is told once, whatever happens to the process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters import outbox as module
from reconciler.adapters.outbox import DONE_KEPT, Entry, Outbox
from reconciler.clock import SystemClock
from reconciler.errors import NotDurableError
from tests.fakes.news import NOW, make_news
from tests.fakes.world import SimClock


@pytest.fixture
def clock() -> SimClock:
    return SimClock(time=NOW)


def test_what_is_put_in_is_there_for_the_next_process(tmp_path: Path, clock: SimClock) -> None:
    """A new process finds what waits, the oldest first, and to whom it goes."""
    box = Outbox(tmp_path, clock)
    second, first = make_news(2, at=NOW + timedelta(seconds=5)), make_news(1)
    assert box.put(second, ("ops", "web"))
    assert box.put(first, ("ops",))
    found = Outbox(tmp_path, clock).pending()
    assert found == (
        Entry(news=first, targets=("ops",)),
        Entry(news=second, targets=("ops", "web")),
    )
    assert Outbox(tmp_path, clock).pending("web") == found[1:]
    path = next((tmp_path / "pending").iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_same_is_not_taken_twice(tmp_path: Path, clock: SimClock) -> None:
    """Not while it waits, not after it was sent, and not by the next process either."""
    box = Outbox(tmp_path, clock)
    assert box.put(make_news(), ("ops",))
    assert not box.put(make_news(message="other words"), ("ops",))
    box.settle(make_news().id, "ops")
    assert box.pending() == ()
    assert not box.put(make_news(), ("ops",))
    again = Outbox(tmp_path, clock)
    assert again.pending() == ()
    assert not again.put(make_news(), ("ops",))


def test_each_target_is_settled_for_itself(tmp_path: Path, clock: SimClock) -> None:
    """What one target was told still goes to the other, also in the next process."""
    box = Outbox(tmp_path, clock)
    box.put(make_news(), ("ops", "web"))
    box.settle(make_news().id, "ops")
    assert [e.targets for e in Outbox(tmp_path, clock).pending()] == [("web",)]
    box.settle(make_news().id, "unknown")
    box.settle("no such id", "web")
    assert [e.targets for e in box.pending()] == [("web",)]


def test_there_is_an_end_to_what_waits(
    tmp_path: Path, clock: SimClock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """More than the most is told in the log, and costs nothing else."""
    monkeypatch.setattr(module, "MOST_PENDING", 2)
    box = Outbox(tmp_path, clock)
    assert [box.put(make_news(n), ("ops",)) for n in range(4)] == [True, True, False, False]
    assert "2 news wait to be sent, and more are not kept" in caplog.text
    assert caplog.text.count("not told: team/web: failed") == 2
    box.settle(make_news(0).id, "ops")
    assert box.put(make_news(3), ("ops",))


def test_what_was_sent_is_forgotten_after_a_week(tmp_path: Path, clock: SimClock) -> None:
    """Old ids go, in a process that goes on and at a start; young ones stay."""
    box = Outbox(tmp_path, clock)
    for number in (1, 2):
        box.put(make_news(number), ("ops",))
        box.settle(make_news(number).id, "ops")
        clock.time += DONE_KEPT - timedelta(hours=2)
    assert len(list((tmp_path / "done").iterdir())) == 2
    clock.time += timedelta(hours=1)
    box.put(make_news(3), ("ops",))
    kept = {path.stem for path in (tmp_path / "done").iterdir()}
    assert kept == {make_news(2).id}


def test_no_more_of_the_sent_are_kept_than_the_most(
    tmp_path: Path, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first."""
    monkeypatch.setattr(module, "MOST_DONE", 2)
    box = Outbox(tmp_path, clock)
    for number in range(4):
        box.put(make_news(number), ("ops",))
        box.settle(make_news(number).id, "ops")
        clock.time += timedelta(minutes=1)
    Outbox(tmp_path, clock)
    kept = {path.stem for path in (tmp_path / "done").iterdir()}
    assert kept == {make_news(2).id, make_news(3).id}


def test_what_cannot_be_kept_is_not_taken(tmp_path: Path, clock: SimClock) -> None:
    """Where the disk does not take it, the caller hears of it, and may come again."""
    box = Outbox(tmp_path, clock)
    folder = tmp_path / "pending"
    folder.rename(tmp_path / "away")
    with pytest.raises(NotDurableError):
        box.put(make_news(), ("ops",))
    (tmp_path / "away").rename(folder)
    assert box.put(make_news(), ("ops",))
    folder.rename(tmp_path / "away")
    with pytest.raises(NotDurableError):
        box.settle(make_news().id, "ops")
    (tmp_path / "away").rename(folder)
    assert len(box.pending()) == 1


def test_broken_files_hold_up_nothing(
    tmp_path: Path, clock: SimClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a write goes, and what cannot be read is told and left for a person."""
    Outbox(tmp_path, clock).put(make_news(), ("ops",))
    (tmp_path / "pending/.x.tmp").write_text("half")
    (tmp_path / "pending/bad.json").write_text("{")
    assert len(Outbox(tmp_path, clock).pending()) == 1
    assert not (tmp_path / "pending/.x.tmp").exists()
    assert "bad.json cannot be read, and is not sent" in caplog.text


def test_targets_that_are_gone_are_dropped(tmp_path: Path, clock: SimClock) -> None:
    """A target that the config does not name any more keeps nothing waiting."""
    box = Outbox(tmp_path, clock)
    box.put(make_news(1), ("old",))
    box.put(make_news(2), ("old", "ops"))
    box.keep_only(["ops"])
    assert [(e.news.id, e.targets) for e in box.pending()] == [(make_news(2).id, ("ops",))]


def test_an_entry_holds_no_more_than_was_told(tmp_path: Path, clock: SimClock) -> None:
    """The file is the news as JSON, in camelCase."""
    Outbox(tmp_path, clock).put(make_news(), ("ops",))
    body = json.loads(next((tmp_path / "pending").iterdir()).read_bytes())
    assert body["targets"] == ["ops"]
    assert body["news"]["message"] == make_news().message


def test_killed_between_any_two_calls_of_the_disk(tmp_path: Path) -> None:
    """Killed at any write of putting in and settling, the next process has it once or not at all.

    Not at all only where `put` had not returned; and never again after it was settled.
    """
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from reconciler.adapters.outbox import Outbox\n"
        "from reconciler.clock import SystemClock\n"
        "from tests.fakes.news import make_news\n"
        "left = int(sys.argv[2])\n"
        "real = os.fsync\n"
        "def fsync(descriptor):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left == 0: os.kill(os.getpid(), 9)\n"
        "    real(descriptor)\n"
        "os.fsync = fsync\n"
        "box = Outbox(Path(sys.argv[1]), SystemClock())\n"
        "print('made', flush=True)\n"
        "box.put(make_news(), ('ops',)); print('put', flush=True)\n"
        "box.settle(make_news().id, 'ops'); print('settled', flush=True)\n"
    )
    ends = set()
    for number in range(1, 12):
        folder = tmp_path / str(number)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(number)],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout.split()
        box = Outbox(folder, SystemClock())
        waits, taken = len(box.pending()), box.put(make_news(), ("ops",))
        if "settled" in said:
            assert (waits, taken) == (0, False)
        elif "put" in said:
            assert not taken
        else:
            assert waits + taken == 1
        ends.add((said[-1] if said else "", waits, taken))
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    assert len(ends) >= 3
