"""Time and size are bounded: what passes a limit fails by name, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.engine.config import SourceSettings
from reconciler.engine.sources.commands import SMALLEST_ENTRY_BYTES
from reconciler.engine.sources.watch import measure
from tests.fakes.fetching import Fetcher, source_of
from tests.fakes.git_server import GitServer, git, make_repository, serve

pytestmark = pytest.mark.real

MIB = 1024 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repository `r`."""
    make_repository(tmp_path / "served" / "r")
    with serve(tmp_path / "served") as served:
        try:
            yield served
        finally:
            if served.gate is not None:
                served.gate.set()


def grow(server: GitServer, size: int) -> None:
    (server.root / "r" / "big").write_bytes(os.urandom(size))
    git(server.root / "r", "add", "--all")
    git(server.root / "r", "commit", "--quiet", "--message", "big")


def test_a_server_that_stalls_is_left(tmp_path: Path, server: GitServer) -> None:
    """The time limit ends the fetch, and the reason names the option."""
    server.gate = threading.Event()
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(limit=timedelta(seconds=1)))
    got = fetcher.get(source_of(f"{server.url}/r"))
    assert "took longer than 1 s" in got.reason
    assert "--source-timeout" in got.reason
    assert fetcher.kept() == []


def test_the_time_limit_holds_for_waiting_too(tmp_path: Path, server: GitServer) -> None:
    """Whoever waits for another's fetch of the same repository waits no longer than that."""
    server.gate = threading.Event()
    patient = Fetcher(tmp_path / "engine", SourceSettings())
    begun = threading.Event()
    patient.during = lambda *_: begun.set()
    results = []
    source = source_of(f"{server.url}/r")
    thread = threading.Thread(target=lambda: results.append(patient.get(source)))
    thread.start()
    assert begun.wait(60)
    other = Fetcher(tmp_path / "engine", SourceSettings(limit=timedelta(seconds=1)))
    assert "took longer" in other.get(source).reason
    server.gate.set()
    thread.join()
    assert results[0].reason == ""


def test_a_host_without_awk_is_told_so(tmp_path: Path, server: GitServer) -> None:
    """What measures the files is missing: that is said, and not that they are too large."""
    some = tmp_path / "some"
    some.mkdir()
    for name in ("sh", "git", "env", "grep", "cat"):
        (some / name).symlink_to(shutil.which(name) or name)
    fetcher = Fetcher(tmp_path / "engine", SourceSettings())
    fetcher.environment["PATH"] = str(some)
    got = fetcher.get(source_of(f"file://{server.root}/r"))
    assert got.reason == "the repository could not be checked out"
    assert "awk: not found" in got.log


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_large_repository_is_refused(tmp_path: Path, server: GitServer, scheme: str) -> None:
    """More than the limit ends the step by name; nothing of it stays in a mirror."""
    grow(server, 12 * MIB)
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(largest_bytes=5 * MIB))
    url = f"{server.url}/r" if scheme == "http" else f"file://{server.root}/r"
    got = fetcher.get(source_of(url))
    assert "larger than 5 MiB" in got.reason
    assert "--source-size" in got.reason
    assert fetcher.kept() == []


def test_a_mirror_that_has_grown_too_large_is_made_anew(tmp_path: Path, server: GitServer) -> None:
    """A limit counts what is needed now, not what earlier fetches have gathered."""
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(largest_bytes=8 * MIB))
    anew = 0
    for _ in range(4):
        grow(server, 3 * MIB)
        got = fetcher.get(source_of(f"{server.url}/r"))
        assert got.reason == "", got.log
        anew += "making it anew" in got.log
    assert anew == 1
    assert measure(fetcher.mirrors, 100 * MIB) <= 8 * MIB


def test_a_bomb_of_trees_does_not_fill_the_disk(tmp_path: Path, server: GitServer) -> None:
    """A pack of some kilobytes that would be 10^10 files is stopped on its way."""
    repository = server.root / "r"
    blob = git(repository, "hash-object", "-w", "file")
    entries = "\n".join(f"100644 blob {blob}\tf{n}" for n in range(10))
    (tmp_path / "tree").write_text(f"{entries}\n")
    tree = make_tree(repository, tmp_path / "tree")
    for _ in range(9):
        entries = "\n".join(f"040000 tree {tree}\td{n}" for n in range(10))
        (tmp_path / "tree").write_text(f"{entries}\n")
        tree = make_tree(repository, tmp_path / "tree")
    bomb = git(repository, "commit-tree", tree, "-m", "x")
    git(repository, "update-ref", "refs/heads/bomb", bomb)
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(largest_bytes=20 * MIB))
    for url in (f"{server.url}/r", f"file://{repository}"):
        got = fetcher.get(source_of(url, branch="bomb"))
        assert "--source-size" in got.reason
        assert {path.name for path in got.work.iterdir()} <= {".git"}


def make_tree(repository: Path, entries: Path) -> str:
    import subprocess  # noqa: PLC0415 - the one place that needs standard input

    with entries.open("rb") as text:
        made = subprocess.run(
            ["git", "mktree"], cwd=repository, stdin=text, capture_output=True, check=True
        )
    return made.stdout.decode().strip()


def test_every_entry_counts(tmp_path: Path) -> None:
    """Empty files are not free, links are not followed, and counting stops when it is enough."""
    (tmp_path / "a").mkdir()
    for number in range(10):
        (tmp_path / "a" / str(number)).touch()
    (tmp_path / "link").symlink_to("/usr")
    assert measure(tmp_path, 1 << 40) == 12 * SMALLEST_ENTRY_BYTES
    assert measure(tmp_path, 5000) < 12 * SMALLEST_ENTRY_BYTES
    assert measure(tmp_path / "absent", 1) == 0
