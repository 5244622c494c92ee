"""A disk that loses what was not synced, under code that works on real files.

What a file holds outlives a power cut once the file was synced, and empty otherwise: the worst
of what file systems do. A folder's names may or may not outlive one, as they stood at any
moment since the folder was synced last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

__all__ = ["LosingDisk"]

# What changes a folder's names; each may be the last thing that happens.
CHANGES = ("link", "mkdir", "rename", "replace", "rmdir", "unlink")

Names = dict[str, int]


class LosingDisk:
    """Records below `root` what a power cut would leave; what is there already is durable."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._patch = pytest.MonkeyPatch()
        self._synced: dict[int, bytes] = {}
        self._kept: list[int] = []
        # How each folder may be found: as it was when it was synced, and at each moment since.
        self._names: dict[int, list[Names]] = {}
        self._watched: list[tuple[Path, list[set[bytes | None]]]] = []
        for folder, _, files in os.walk(root):
            self._names[Path(folder).stat().st_ino] = [_names(Path(folder))]
            for path in (Path(folder, file) for file in files):
                self._keep(os.open(path, os.O_RDONLY), path.read_bytes())

    def __enter__(self) -> Self:
        """From now on it is recorded."""
        self._patch.setattr(os, "fsync", self._sync(os.fsync))
        for name in CHANGES:
            self._patch.setattr(os, name, self._change(getattr(os, name)))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the real functions as they were."""
        self._patch.undo()
        for descriptor in self._kept:
            os.close(descriptor)

    def may_hold(self, path: Path) -> set[bytes | None]:
        """Return what may be at a path after a power cut now; None: nothing."""
        found: set[int | None] = {self._root.stat().st_ino}
        for part in path.relative_to(self._root).parts:
            found = {names.get(part) for inode in found for names in self._listings(inode)}
        return {None if inode is None else self._synced.get(inode, b"") for inode in found}

    def _listings(self, inode: int | None) -> list[Names]:
        return [{}] if inode is None else self._names.get(inode, [{}])

    def _keep(self, descriptor: int, content: bytes) -> None:
        """Know a file's content as synced; it stays open, so that no other gets its number."""
        self._kept.append(descriptor)
        self._synced[os.fstat(descriptor).st_ino] = content

    def watch(self, path: Path) -> list[set[bytes | None]]:
        """Return a list that gets what may be at a path, at each moment from now on."""
        moments = [self.may_hold(path)]
        self._watched.append((path, moments))
        return moments

    def _sync(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            self._look()
            fsync(descriptor)
            opened = Path(f"/proc/self/fd/{descriptor}").readlink()
            if opened.is_dir():
                self._names[os.fstat(descriptor).st_ino] = [_names(opened)]
            else:
                self._keep(os.dup(descriptor), opened.read_bytes())
            self._look()

        return synced

    def _change(self, change: Callable[..., None]) -> Callable[..., None]:
        def changed(*arguments: Any, **options: Any) -> None:
            self._look()
            change(*arguments, **options)
            self._look()

        return changed

    def _look(self) -> None:
        """Keep how the folders stand now; one that is new has no names that would stay."""
        for folder, _, _ in os.walk(self._root):
            known = self._names.setdefault(Path(folder).stat().st_ino, [{}])
            now = _names(Path(folder))
            if known[-1] != now:
                known.append(now)
        for path, moments in self._watched:
            moments.append(self.may_hold(path))


def _names(folder: Path) -> Names:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}
