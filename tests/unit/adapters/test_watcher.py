from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import inotify_simple
import pytest

from reconciler.adapters.watcher import Watcher
from reconciler.planning.quiet import Word

# An event takes a millisecond; a machine that is busy gets this much.
SOON_S = 10
# The most that a test makes.
MOST_EVENTS = 100_000
OWN_FILES = 2_000


@pytest.fixture
def dirty() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watcher(tmp_path: Path, dirty: threading.Event) -> Iterator[Watcher]:
    made = Watcher(tmp_path, lambda _, __: dirty.set(), dirty.set)
    assert made.start()
    yield made
    made.stop()


@pytest.mark.usefixtures("watcher")
def test_changes_are_told(tmp_path: Path, dirty: threading.Event) -> None:
    """Writing, renaming and deleting a spec, and a new directory, each mark the whole dirty."""
    path = tmp_path / "web.yaml"
    for change in (
        lambda: path.write_text("x"),
        lambda: path.rename(tmp_path / "api.yaml"),
        (tmp_path / "api.yaml").unlink,
        (tmp_path / "team").mkdir,
    ):
        dirty.clear()
        change()
        assert dirty.wait(SOON_S)


@pytest.mark.usefixtures("watcher")
def test_our_own_files_are_not_told(tmp_path: Path, dirty: threading.Event) -> None:
    """Status files, hidden files and reading wake nobody: only what follows them does."""
    told: set[str] = set()
    second = Watcher(tmp_path, lambda paths, _: told.update(paths), lambda: told.add("all"))
    (tmp_path / "web.yaml").write_text("x")
    assert dirty.wait(SOON_S)
    assert second.start()
    (tmp_path / ".web.status.json.x.tmp").write_text("x")
    (tmp_path / ".web.status.json.x.tmp").rename(tmp_path / "web.status.json")
    (tmp_path / "web.yaml").read_text()
    dirty.clear()
    (tmp_path / "api.yaml").write_text("x")
    assert dirty.wait(SOON_S)
    second.stop()
    assert told <= {"api.yaml"}


def test_which_files_have_changed(tmp_path: Path) -> None:
    """Files are told by their paths, also those moved in; a folder and a swap concern them all."""
    files: dict[str, Word] = {}
    heard, everything = threading.Event(), threading.Event()

    def on_files(paths: Iterable[str], word: Word) -> None:
        files.update(dict.fromkeys(paths, word))
        heard.set()

    outside, specs = tmp_path / "outside", tmp_path / "specs"
    (outside / "team").mkdir(parents=True)
    specs.mkdir()
    (outside / "web.yaml").write_text("x")
    (outside / "team" / "api.yaml").write_text("x")
    watcher = Watcher(specs, on_files, everything.set)
    assert watcher.start()
    try:
        (outside / "web.yaml").rename(specs / "web.yaml")
        assert heard.wait(SOON_S)
        assert (files, everything.is_set()) == ({"web.yaml": Word.RENAMED}, False)
        heard.clear()
        with (specs / "web.yaml").open("a") as file:
            file.write("y")
        assert heard.wait(SOON_S)
        assert (files, everything.is_set()) == ({"web.yaml": Word.CLOSED}, False)
        heard.clear()
        (specs / "linked.yaml").hardlink_to(specs / "web.yaml")
        assert heard.wait(SOON_S)
        assert (files["linked.yaml"], everything.is_set()) == (Word.NONE, False)
        (outside / "team").rename(specs / "team")
        assert everything.wait(SOON_S)
        everything.clear()
        (specs / "..data.new").symlink_to("..1")
        (specs / "..data.new").rename(specs / "..data")
        assert everything.wait(SOON_S)
    finally:
        watcher.stop()


def test_a_limit_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system allows no more watches it is logged once, and nothing else happens."""

    def refuse(*_: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", refuse)
    watcher = Watcher(tmp_path, lambda _, __: None, lambda: None)
    with caplog.at_level(logging.WARNING):
        assert not watcher.start()
    watcher.stop()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} is not watched, only scanned: inotify watch limit reached"
    ]


def test_a_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is not watched; the scan will tell."""
    watcher = Watcher(tmp_path / "missing", lambda _, __: None, lambda: None)
    assert not watcher.start()
    watcher.stop()
    watcher.stop()


@pytest.mark.parametrize("how", ["removed", "moved away", "by a link"])
def test_a_directory_that_is_replaced_is_watched_anew(tmp_path: Path, how: str) -> None:
    """Another directory of its name is told as a whole, and what changes in it then by its name."""
    files: set[str] = set()
    heard, everything = threading.Event(), threading.Event()

    def on_files(paths: Iterable[str], _: Word) -> None:
        files.update(paths)
        heard.set()

    specs, link = tmp_path / "specs", tmp_path / "link"
    specs.mkdir()
    link.symlink_to(specs)
    watched = link if how == "by a link" else specs
    watcher = Watcher(watched, on_files, everything.set)
    assert watcher.start()
    try:
        if how == "removed":
            specs.rmdir()
            assert everything.wait(SOON_S)
        elif how == "moved away":
            specs.rename(tmp_path / "away")
        else:
            (tmp_path / "another").mkdir()
            (tmp_path / "new").symlink_to(tmp_path / "another")
            (tmp_path / "new").rename(link)
        everything.clear()
        specs.mkdir(exist_ok=True)
        deadline = time.monotonic() + SOON_S
        while not heard.is_set() and time.monotonic() < deadline:
            (watched / "web.yaml").write_text("x")
            heard.wait(0.05)
        assert files == {"web.yaml"}
        assert everything.is_set()
    finally:
        watcher.stop()


class Heard:
    """What a watcher tells, for a test to wait for."""

    def __init__(self) -> None:
        self.files: dict[str, Word] = {}
        self.everything = threading.Event()

    def take(self, paths: Iterable[str], word: Word) -> None:
        self.files.update(dict.fromkeys(paths, word))

    def wait(self, path: str, change: Callable[[], object]) -> None:
        """Change something until a path is told, or it takes too long."""
        deadline = time.monotonic() + SOON_S
        while path not in self.files and time.monotonic() < deadline:
            change()
            self.everything.wait(0.02)
        assert path in self.files


def exchange(one: Path, two: Path) -> None:
    """Have two files change places at once, as renameat2(2) does."""
    here, at_once = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    call = ctypes.CDLL(None, use_errno=True).renameat2
    assert call(here, os.fsencode(one), here, os.fsencode(two), at_once) == 0, ctypes.get_errno()


def test_folders_that_come_and_go(tmp_path: Path) -> None:
    """What is in a new one is told, in a moved one by its new path, and outside not at all."""
    specs, heard = tmp_path / "specs", Heard()
    specs.mkdir()
    watcher = Watcher(specs, heard.take, heard.everything.set)
    assert watcher.start()
    try:
        deep = specs / "team" / "deep"
        deep.mkdir(parents=True)
        assert heard.everything.wait(SOON_S)
        heard.wait("team/deep/web.yaml", lambda: (deep / "web.yaml").write_text("x"))
        heard.everything.clear()
        (specs / "team").rename(specs / "crew")
        assert heard.everything.wait(SOON_S)
        moved = specs / "crew" / "deep" / "web.yaml"
        heard.wait("crew/deep/web.yaml", lambda: moved.write_text("y"))
        heard.everything.clear()
        (specs / "crew").rename(tmp_path / "away")
        assert heard.everything.wait(SOON_S)
        heard.files.clear()
        (tmp_path / "away" / "deep" / "web.yaml").write_text("z")
        heard.wait("last.yaml", lambda: (specs / "last.yaml").write_text("x"))
        assert set(heard.files) == {"last.yaml"}
    finally:
        watcher.stop()


def test_folders_that_are_exchanged(tmp_path: Path) -> None:
    """Two folders that change places in one step are both watched as what they are called now."""
    specs, heard = tmp_path / "specs", Heard()
    for name in ("one", "two"):
        (specs / name).mkdir(parents=True)
    watcher = Watcher(specs, heard.take, heard.everything.set)
    assert watcher.start()
    try:
        exchange(specs / "one", specs / "two")
        assert heard.everything.wait(SOON_S)
        for name in ("one", "two"):
            file = specs / name / "web.yaml"
            heard.wait(f"{name}/web.yaml", partial(file.write_text, "x"))
    finally:
        watcher.stop()


def test_more_events_than_the_system_keeps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That some are lost is told as a change of everything, and it is watched on."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > MOST_EVENTS:
        return  # a machine where none are lost
    heard, free = Heard(), threading.Event()

    def take(paths: Iterable[str], word: Word) -> None:
        heard.take(paths, word)
        assert free.wait(SOON_S)

    watcher = Watcher(tmp_path, take, heard.everything.set)
    assert watcher.start()
    try:
        with caplog.at_level(logging.WARNING):
            heard.wait("web.yaml", lambda: (tmp_path / "web.yaml").write_text("x"))
            names = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
            names[0].touch()
            for _ in range(most // 2 + 1):
                names[0].rename(names[1])
                names.reverse()
            free.set()
            assert heard.everything.wait(SOON_S)
        assert "overflowed" in caplog.text
        (tmp_path / "team").mkdir()
        heard.wait("team/api.yaml", lambda: (tmp_path / "team" / "api.yaml").write_text("x"))
    finally:
        free.set()
        watcher.stop()


def test_our_own_files_are_read_past(tmp_path: Path) -> None:
    """Thousands of statuses that are renamed into place tell nothing, and hold up nobody."""
    heard = Heard()
    watcher = Watcher(tmp_path, heard.take, heard.everything.set)
    assert watcher.start()
    try:
        for number in range(OWN_FILES):
            temporary = tmp_path / f".web-{number}.status.json.tmp"
            temporary.touch()
            temporary.rename(tmp_path / f"web-{number}.status.json")
        heard.wait("web.yaml", lambda: (tmp_path / "web.yaml").write_text("x"))
        assert set(heard.files) == {"web.yaml"}
        assert not heard.everything.is_set()
    finally:
        watcher.stop()
