from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from reconciler.errors import NotDurableError
from reconciler.files import (
    make_folder,
    open_lock,
    read_below,
    read_regular,
    remove_durably,
    write_durably,
    write_new,
)
from tests.fakes.losing_disk import LosingDisk


def test_a_file_is_read(tmp_path: Path) -> None:
    """A regular file of up to the limit is read whole."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    assert read_regular(path, 10) == b"x" * 10
    assert read_below(path, tmp_path, 10) == b"x" * 10


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    """A file over the limit is refused without being read whole."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="is larger than 10 bytes"):
        read_regular(path, 10)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "nothing"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    """A FIFO does not block, and neither it nor a device or folder is read."""
    path = Path("/dev/zero") if kind == "device" else tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    with pytest.raises(OSError, match=r"is no regular file|No such file"):
        read_regular(path, 10)
    with pytest.raises(OSError, match=r"is no regular file|No such file"):
        read_below(path, path.parent, 10)


def test_links(tmp_path: Path) -> None:
    """A link is never followed by the one, and within the folder only by the other."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text("precious")
    (inside / "file").write_text("mine")
    (inside / "good").symlink_to("file")
    (inside / "bad").symlink_to(outside)
    with pytest.raises(OSError, match="is a link, which is not followed"):
        read_regular(inside / "good", 10)
    assert read_below(inside / "good", inside, 10) == b"mine"
    for path in (inside / "bad", inside / ".." / "outside", outside):
        with pytest.raises(OSError, match="leads out of"):
            read_below(path, inside, 10)


def test_a_swapped_link_leads_nowhere(tmp_path: Path) -> None:
    """A link that is swapped while it is read, a thousand times, never shows what is outside."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder, text in ((inside, "mine"), (outside, "precious")):
        folder.mkdir()
        (folder / "file").write_text(text)
    (inside / "real").mkdir()
    (inside / "real" / "file").write_text("mine")
    stop = threading.Event()

    def swap() -> None:
        targets = [inside / "real", outside]
        while not stop.is_set():
            targets.reverse()
            (inside / "new").symlink_to(targets[0])
            (inside / "new").replace(inside / "folder")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(1000):
            try:
                seen.add(read_below(inside / "folder" / "file", inside, 100))
            except OSError:
                seen.add(b"refused")
    finally:
        stop.set()
        thread.join()
    assert seen <= {b"mine", b"refused"}


def test_a_write_is_whole_and_private(tmp_path: Path) -> None:
    """A write replaces what was there, a link too, mode 0600 and without leftovers."""
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert victim.read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"victim", "file"}


def test_a_write_that_fails_says_why(tmp_path: Path) -> None:
    """Where nothing can be written the path and the reason are named."""
    with pytest.raises(NotDurableError, match=r"missing/file cannot be written: No such file"):
        write_durably(tmp_path / "missing" / "file", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotDurableError, match=r"folder cannot be written: Is a directory"):
        write_durably(tmp_path / "folder", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_folders_are_private(tmp_path: Path) -> None:
    """Every folder that is made is mode 0700; one that is there stays as it is."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(NotDurableError, match="cannot be made"):
        make_folder(tmp_path / "file" / "below")


def test_a_new_file_is_written_where_nothing_is(tmp_path: Path) -> None:
    """A file for people is whole and readable; what is there, a link too, is not replaced."""
    path = tmp_path / "web.yaml"
    write_new(path, b"one")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"one", 0o644)
    (tmp_path / "dead").symlink_to(tmp_path / "nothing")
    for there in (path, tmp_path / "dead"):
        with pytest.raises(FileExistsError):
            write_new(there, b"two")
    with pytest.raises(FileNotFoundError):
        write_new(tmp_path / "absent/web.yaml", b"one")
    assert path.read_bytes() == b"one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dead", "web.yaml"]


def test_what_root_makes_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """Beside another user's process root leaves nothing that this user could not read."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12346)
    owner = (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    make_folder(tmp_path / "a" / "b", as_above=True)
    write_durably(tmp_path / "a" / "b" / "file", b"x", as_above=True)
    os.close(open_lock(tmp_path / "a" / "lock"))
    found = [path.stat() for path in tmp_path.rglob("*")]
    assert [(each.st_uid, each.st_gid) for each in found] == [owner] * 4
    kept = tmp_path / "lock"
    kept.touch()
    os.close(open_lock(kept))
    write_durably(tmp_path / "secret", b"x")
    make_folder(tmp_path / "c")
    for path in (kept, tmp_path / "secret", tmp_path / "c"):
        assert path.stat().st_uid == os.geteuid(), "only what is handed over is"


def test_a_write_outlives_a_power_cut(tmp_path: Path) -> None:
    """Whenever the power goes, the old or the new is there whole; once written, the new one."""
    path = tmp_path / "web.status.json"
    write_durably(path, b"old")
    with LosingDisk(tmp_path) as disk:
        moments = disk.watch(path)
        write_durably(path, b"new")
        assert set().union(*moments) == {b"old", b"new"}
        assert disk.may_hold(path) == {b"new"}


def test_a_new_file_and_its_folders_outlive_a_power_cut(tmp_path: Path) -> None:
    """Of a file that is new, in folders that are new, never a part is there, and then all."""
    one, other = tmp_path / "a" / "b" / "one", tmp_path / "a" / "b" / "other"
    with LosingDisk(tmp_path) as disk:
        moments = [disk.watch(one), disk.watch(other)]
        make_folder(one.parent)
        write_durably(one, b"one")
        write_new(other, b"other")
        assert [set().union(*each) for each in moments] == [{None, b"one"}, {None, b"other"}]
        assert (disk.may_hold(one), disk.may_hold(other)) == ({b"one"}, {b"other"})


def test_what_is_removed_stays_away_after_a_power_cut(tmp_path: Path) -> None:
    """Whenever the power goes the file is there whole or not at all; once removed, not at all."""
    path = tmp_path / "web.status.json"
    write_durably(path, b"old")
    with LosingDisk(tmp_path) as disk:
        moments = disk.watch(path)
        remove_durably(path)
        assert set().union(*moments) == {b"old", None}
        assert disk.may_hold(path) == {None}


def test_what_nobody_synced_is_lost(tmp_path: Path) -> None:
    """The disk of these tests does lose things: a plain write and rename outlive nothing."""
    path = tmp_path / "file"
    with LosingDisk(tmp_path) as disk:
        (tmp_path / "new").write_bytes(b"new")
        (tmp_path / "new").replace(path)
        assert path.read_bytes() == b"new"
        assert disk.may_hold(path) == {None, b""}
