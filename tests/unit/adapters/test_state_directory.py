from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.adapters.state_directory import StateDirectory, locate
from reconciler.clock import SystemClock
from reconciler.errors import AnotherInstanceError, StateElsewhereError, UsageError

CLOCK = SystemClock()
HOLDER = """
import sys
from pathlib import Path
from reconciler.adapters.state_directory import StateDirectory
from reconciler.clock import SystemClock
with StateDirectory(Path(sys.argv[1])).lock(Path(sys.argv[2]), SystemClock()):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("data", "environ", "expected"),
    [
        (Path("/d"), {"STATE_DIRECTORY": "/s"}, "/d"),
        (None, {"STATE_DIRECTORY": "/s:/t", "HOME": "/h"}, "/s"),
        (None, {"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/reconciler"),
        (None, {"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/reconciler"),
        (None, {"HOME": "/h"}, "/h/.local/state/reconciler"),
    ],
)
def test_where_it_is(data: Path | None, environ: dict[str, str], expected: str) -> None:
    """The option comes first, then systemd's directory, then the user's own."""
    assert locate(data, environ) == Path(expected)


def test_nowhere() -> None:
    """Without a home a directory has to be given."""
    with pytest.raises(UsageError, match="give --data DIR"):
        locate(None, {})


def test_owner_and_key_are_made_once(tmp_path: Path) -> None:
    """Owner and hash key stay the same from one process to the next, and private."""
    root = tmp_path / "state"
    first, second = StateDirectory(root), StateDirectory(root)
    assert re.fullmatch(r"[a-z0-9]{12}", first.owner())
    assert first.owner() == second.owner()
    assert len(first.hash_key()) == 32
    assert first.hash_key() == second.hash_key()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in ("owner", "hash-key")} == {0o600}


def test_two_directories_are_two_owners(tmp_path: Path) -> None:
    """However its path is written, a directory is one owner; another one of that state is not."""
    state = StateDirectory(tmp_path / "state")
    specs, link = tmp_path / "specs", tmp_path / "link"
    specs.mkdir()
    link.symlink_to(specs)
    owner = state.owner_of(specs)
    assert re.fullmatch(r"[a-z0-9]{28}", owner)
    assert (
        owner == state.owner_of(link) == f"{state.owner()}{state.of_directory(specs).folder.name}"
    )
    assert state.owner_of(tmp_path) != owner


def test_many_at_once_agree(tmp_path: Path) -> None:
    """Whoever starts at the same time gets the same owner and key."""
    with ThreadPoolExecutor(16) as pool:
        made = [
            pool.submit(
                lambda: (StateDirectory(tmp_path).owner(), StateDirectory(tmp_path).hash_key())
            )
            for _ in range(64)
        ]
    assert len({each.result() for each in made}) == 1


@pytest.mark.parametrize(("name", "content"), [("owner", "a b"), ("hash-key", "short")])
def test_damaged_ones_are_refused(name: str, content: str, tmp_path: Path) -> None:
    """A damaged owner or key is never replaced silently: every stack would seem another's."""
    (tmp_path / name).write_text(content)
    state = StateDirectory(tmp_path)
    with pytest.raises(UsageError, match=name):
        state.owner() if name == "owner" else state.hash_key()


def test_a_planted_link_is_no_owner(tmp_path: Path) -> None:
    """A link in the state directory is not followed."""
    (tmp_path / "name").write_text("somebodyelse")
    (tmp_path / "owner").symlink_to("name")
    with pytest.raises(UsageError, match="owner cannot be read: is a link"):
        StateDirectory(tmp_path).owner()


def test_a_directory_has_one_folder(tmp_path: Path) -> None:
    """However a directory is written, its folder is the same; another one has another."""
    specs = tmp_path / "specs"
    specs.mkdir()
    (tmp_path / "link").symlink_to(specs)
    state = StateDirectory(tmp_path / "state")
    folder = state.of_directory(specs).folder
    assert folder == state.of_directory(tmp_path / "link").folder
    assert folder == state.of_directory(specs / ".." / "specs").folder
    assert folder != state.of_directory(tmp_path).folder
    assert re.fullmatch(r"[0-9a-f]{16}", folder.name)
    assert state.of_directory(specs).statuses == folder / "statuses"
    assert state.of_directory(specs).requests == folder / "requests"


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second one is told who the first is; when that one ends, it may."""
    specs = tmp_path / "specs"
    specs.mkdir()
    state = StateDirectory(tmp_path / "state")
    with state.lock(specs, CLOCK) as held:
        record = json.loads((state.of_directory(specs).folder / "instance.json").read_text())
        assert record["pid"] == os.getpid()
        assert record["directory"] == os.path.realpath(specs)
        with pytest.raises(AnotherInstanceError) as caught:
            state.lock(specs, CLOCK)
        assert f"{specs} is already reconciled by process {os.getpid()}, since 2" in str(
            caught.value
        )
        other = StateDirectory(tmp_path / "other")
        told = f"{specs} is reconciled by process {os.getpid()} that keeps its state at another"
        with pytest.raises(StateElsewhereError, match=re.escape(told)):
            other.lock(specs, CLOCK)
        assert other.of_directory(specs).kept_elsewhere().startswith(told)
        assert state.of_directory(specs).kept_elsewhere() == ""
        assert held is not None
    assert other.of_directory(specs).kept_elsewhere() == ""
    state.lock(specs, CLOCK).release()
    assert list(specs.iterdir()) == []


def test_who_starts_while_somebody_looks_is_let_in(tmp_path: Path) -> None:
    """A look holds the lock for a moment: that is no other instance."""
    specs = tmp_path / "specs"
    specs.mkdir()
    state = StateDirectory(tmp_path / "state")
    looking = os.open(specs, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [looking]).start()
    state.lock(specs, CLOCK).release()


def test_a_directory_that_takes_its_place_is_the_same_one(tmp_path: Path) -> None:
    """Who goes on by path keeps it, also where the directory is removed and cloned again."""
    specs = tmp_path / "specs"
    specs.mkdir()
    state = StateDirectory(tmp_path / "state")
    with state.lock(specs, CLOCK):
        specs.rename(tmp_path / "before")
        specs.mkdir()
        for _ in range(2):
            with pytest.raises(AnotherInstanceError, match=f"by process {os.getpid()}, since 2"):
                state.lock(specs, CLOCK)
        assert state.of_directory(specs).reconciled_by()
    state.lock(specs, CLOCK).release()


@pytest.mark.real
def test_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """The lock of a process that is killed is free at once."""
    specs = tmp_path / "specs"
    specs.mkdir()
    state = StateDirectory(tmp_path / "state")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "state"), str(specs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(AnotherInstanceError, match=f"process {other.pid}, since"):
            state.lock(specs, CLOCK)
        other.kill()
        other.wait()
    state.lock(specs, CLOCK).release()


def test_root_does_not_work_on_what_another_user_keeps(tmp_path: Path) -> None:
    """Its files would be in the way of that user's service; beside the service root may ask."""
    root = StateDirectory(tmp_path / "state")
    with root.lock(tmp_path, CLOCK):
        if os.geteuid():
            return  # nobody else is refused
        for path in (root.root, *root.root.rglob("*")):
            os.chown(path, 12345, 12345)
        with pytest.raises(AnotherInstanceError, match=f"by process {os.getpid()}"):
            root.lock(tmp_path, CLOCK)
    for _ in range(2):  # a refusal leaves no lock
        with pytest.raises(UsageError, match=r"belongs to the user #12345, .* start it, or run"):
            root.lock(tmp_path, CLOCK)


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there cannot be reconciled."""
    with pytest.raises(UsageError, match="give a directory of specs"):
        StateDirectory(tmp_path / "state").lock(tmp_path / "missing", CLOCK)
