"""Very many changes at once, and directories that are replaced: all of it is seen, once.

`BURST_FILES` is how many files there are in the largest burst.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.bench.settled import SPEC, processor_s, said, wait_for
from tests.bursts.scene import CANARY, Scene, commit, scene
from tests.bursts.test_half_written import SlowWriter

pytestmark = pytest.mark.real

FILES = int(os.environ.get("BURST_FILES", "500"))
CHANGES = 20
# The longest that a lost event may cost, in processor time: how long it takes is the machine's. And
# what a file may cost that is read anew, on one that is busy.
RESCAN_S = 30.0
READ_ANEW_S = 0.002
LONG_AGO_S = 3600.0
MOST_NOISE = 100_000


def most_queued() -> int:
    """Return how many events the system keeps for one who does not take them."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def noise(folder: Path, events: int) -> None:
    """Make so many events, or the most there is time for: a rename makes two."""
    names = [folder / ".noise", folder / ".more-noise"]
    names[0].touch()
    for _ in range(min(events, MOST_NOISE) // 2):
        names[0].rename(names[1])
        names.reverse()


def stack_of(target: str) -> str:
    """Return the stack that a create's target names."""
    return "/".join(target.strip("/").split("/")[2:5])


def wait_for_all(it: Scene, stacks: dict[str, Path], before: int = 0) -> None:
    """Wait until each stack was sent what its file says, as one more than before."""
    for stack, path in stacks.items():
        wait_for(lambda of=stack: len(it.sent(of)) > before, 120)  # type: ignore[misc]
        assert it.sent(stack)[before:] == [it.wanted(path)]


def new_spec(path: Path, stack: str, at: str) -> None:
    """Write a spec of a stack that is new, as it was written long ago."""
    path.write_text(SPEC.format(number=0, commit=at).replace("acme/web/prod-0", stack))
    written = time.time() - LONG_AGO_S
    os.utime(path, (written, written))


def test_a_burst_that_is_more_than_the_queue_holds(tmp_path: Path) -> None:
    """Events are lost, and no change is: those touched run nothing, those changed once.

    A file that somebody is writing in the midst of it is left alone.
    """
    with scene(tmp_path, FILES) as it:
        process = it.start()
        it.loaded()
        changed = range(FILES - CHANGES, FILES)
        slow, slow_stack = it.place.spec(1), it.stack(1)
        process.send_signal(signal.SIGSTOP)
        with SlowWriter(slow, slow_stack) as writer:
            pieces = iter(writer)
            next(pieces)
            for number in range(2, FILES):
                path = it.place.spec(number)
                path.write_bytes(path.read_bytes())
            noise(it.place.specs, most_queued() - FILES)
            for number in changed:
                path = it.place.spec(number)
                if number % 2:
                    it.place.write(number, commit())
                else:
                    path.write_text(path.read_text().replace("a" * 40, commit()))
            started, spent = time.monotonic_ns(), processor_s(process.pid)
            process.send_signal(signal.SIGCONT)
            it.rescan()
            next(pieces)
            wait_for_all(it, {it.stack(n): it.place.spec(n) for n in changed})
            spent = processor_s(process.pid) - spent
            stacks = {it.stack(n) for n in changed}
            sent = [at for at, target in it.api.creates() if stack_of(target) in stacks]
            took = (max(sent) - started) / 1e9
            it.rescan()
            for _ in pieces:
                pass
            assert it.sent(slow_stack) == []
        wait_for_all(it, {slow_stack: slow})
        created = it.api.created()
        others = created.keys() - {it.stack(n) for n in (CANARY, 1, *changed)}
        lost = b"queue overflowed" in said(it.place).read_bytes()
        told = f"{FILES:,} files touched, events lost: {lost}; {CHANGES} changes in {took:.1f} s"
        told += f", {spent:.1f} s of a core"
        print(told)  # noqa: T201 - the figures of the long run
        assert not others
        assert lost or most_queued() > MOST_NOISE
        assert spent < RESCAN_S + FILES * READ_ANEW_S


def test_a_root_that_is_removed_and_comes_again(tmp_path: Path) -> None:
    """Nothing is taken for removed; what is other in the new one runs, and it is watched again."""
    with scene(tmp_path, 30) as it:
        it.start()
        it.loaded()
        fresh = tmp_path / "fresh"
        shutil.copytree(it.place.specs, fresh)
        for status in fresh.rglob("*.status.json"):
            status.unlink()
        for number in (3, 7):
            path = fresh / it.place.spec(number).relative_to(it.place.specs)
            path.write_text(path.read_text().replace("a" * 40, commit()))
        while it.place.specs.exists():  # a status may be written behind what removes them
            shutil.rmtree(it.place.specs, ignore_errors=True)
        wait_for(lambda: b"Waiting" in said(it.place).read_bytes())
        fresh.rename(it.place.specs)
        wait_for_all(it, {it.stack(n): it.place.spec(n) for n in (3, 7)})
        it.rescan()
        assert it.api.created().keys() == {it.stack(n) for n in (CANARY, 3, 7)}
        found = {p.name: json.loads(p.read_bytes()) for p in it.place.specs.rglob("*.status.json")}
        assert all("removal" not in one for one in found.values())


def test_a_directory_that_is_moved_in(tmp_path: Path) -> None:
    """The specs in it are new, and run once; moved elsewhere within, they run no more."""
    with scene(tmp_path, 4) as it:
        it.start()
        it.loaded()
        outside = tmp_path / "outside"
        (outside / "deep").mkdir(parents=True)
        for number in range(3):
            new_spec(outside / "deep" / f"s{number}.yaml", f"acme/web/new-{number}", commit())
        outside.rename(it.place.specs / "inside")
        inside = it.place.specs / "inside" / "deep"
        stacks = {f"acme/web/new-{n}": inside / f"s{n}.yaml" for n in range(3)}
        wait_for_all(it, stacks)
        (it.place.specs / "inside").rename(it.place.specs / "there")
        it.rescan()
        new_spec(tmp_path / "changed.yaml", "acme/web/new-1", commit())
        moved = it.place.specs / "there" / "deep" / "s1.yaml"
        (tmp_path / "changed.yaml").rename(moved)
        wait_for_all(it, {"acme/web/new-1": moved}, before=1)
        assert [len(it.sent(stack)) for stack in stacks] == [1, 2, 1]


def test_a_mounted_config_map(tmp_path: Path) -> None:
    """All files change at once by one link that is renamed; those that are other run."""
    with scene(tmp_path, 4) as it:
        mounted = it.place.specs / "mounted"
        commits = [commit() for _ in range(3)]
        write_version(mounted, 1, commits)
        it.start()
        stacks = {f"acme/web/new-{n}": mounted / f"s{n}.yaml" for n in range(3)}
        wait_for_all(it, stacks)
        commits[0], commits[2] = commit(), commit()
        write_version(mounted, 2, commits)
        wait_for_all(it, {s: p for s, p in stacks.items() if s != "acme/web/new-1"}, before=1)
        assert [len(it.sent(stack)) for stack in stacks] == [2, 1, 2]


def write_version(mounted: Path, version: int, commits: list[str]) -> None:
    """Put a version of the files in place as a kubelet does: a folder, and a link to it."""
    folder = mounted / f"..{version}"
    folder.mkdir(parents=True)
    for number, at in enumerate(commits):
        new_spec(folder / f"s{number}.yaml", f"acme/web/new-{number}", at)
    (mounted / "..data_tmp").symlink_to(folder.name)
    (mounted / "..data_tmp").rename(mounted / "..data")
    for number in range(len(commits)):
        link = mounted / f"s{number}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/s{number}.yaml")
    for old in mounted.glob("..[0-9]*"):
        if old != folder:
            shutil.rmtree(old)
