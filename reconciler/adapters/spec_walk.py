"""What lies in a directory of specs, without reading it: names, and what `stat` says of each.

It is done every minute over up to 100,000 files, so it costs little more than `stat` itself.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reconciler.mistakes import Mistake
from reconciler.model import Problem

__all__ = [
    "DEFAULTS_NAME",
    "ENDINGS",
    "MAX_FILES",
    "NO_STAMP",
    "Walk",
    "check_name",
    "look_at",
    "name_of",
    "stamp_of",
    "walk",
]

# Ten times the largest number of stacks that is known of; more would be somebody else's tree.
MAX_FILES: Final = 100_000
# Room for `.status.json` and a name of a temporary file within what file systems allow.
MAX_NAME: Final = 200
# Deeper ones are made to be endless.
MAX_LEVELS: Final = 40

DEFAULTS_NAME: Final = "_defaults"
# The stamp of a file of which nothing is known.
NO_STAMP: Final = 0
# Later than any file is written.
_NEVER: Final = 1 << 64

ENDINGS: Final = (".yaml", ".yml")
_NAME_PART: Final = re.compile(r"\w[\w.-]*\Z")
_IGNORED_START: Final = (".", "#")
_IGNORED_END: Final = ("~", ".swp", ".swx", ".tmp", ".status.json")
# vim asks the file system whether it can write here by making a file of this name.
_EDITORS_PROBE: Final = "4913"


@dataclass(slots=True)
class Walk:
    """What lies in a directory.

    `files` is the path of each spec below it → its stamp: a hash of its times in nanoseconds,
    its size and its inode, another one for each change. `defaults` is the same of the
    `_defaults.yaml` files. `young` is when those files were last written that were written after
    a given time, in nanoseconds. Where `complete` is False something could not be looked at.
    """

    files: dict[str, int] = field(default_factory=dict)
    defaults: dict[str, int] = field(default_factory=dict)
    young: dict[str, int] = field(default_factory=dict, compare=False)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


def walk(directory: Path, young_ns: int = _NEVER) -> Walk:
    """Look at a directory and all below it; links to directories are not followed.

    What was written after `young_ns` (nanoseconds since 1970) is told as young.
    """
    found = Walk()
    folders = [""]
    while folders:
        relative = folders.pop()
        try:
            deeper = _look_at(directory, relative, found, young_ns)
        except OSError as error:
            message = f"cannot be read: {error.strerror}; a directory of specs belongs here"
            found.problems.append(_unreadable(directory / relative, message))
            found.complete = False
            continue
        folders += sorted(deeper, reverse=True)
        if len(found.files) > MAX_FILES:
            message = f"holds more than {MAX_FILES:,} specs; the rest is not read"
            found.problems.append(_unreadable(directory, message))
            found.files = {name: found.files[name] for name in sorted(found.files)[:MAX_FILES]}
            found.complete = False
            break
    return found


def _look_at(directory: Path, relative: str, found: Walk, young_ns: int) -> list[str]:
    """Look at one folder; return the folders in it."""
    prefix = f"{relative}/" if relative else ""
    deeper: list[str] = []
    files = found.files
    with os.scandir(directory / relative) as entries:
        for entry in entries:
            name = entry.name
            if not name.endswith(ENDINGS) or not entry.is_file(follow_symlinks=False):
                if not _ignored(name):
                    seen = _look_closer(directory, prefix + name, entry, found, deeper)
                    if seen is not None and seen.st_mtime_ns > young_ns:
                        found.young[prefix + name] = seen.st_mtime_ns
                continue
            if name.startswith(_IGNORED_START):
                continue
            seen = entry.stat(follow_symlinks=False)
            stamp = stamp_of(seen)
            if seen.st_mtime_ns > young_ns:
                found.young[prefix + name] = seen.st_mtime_ns
            if name.startswith(DEFAULTS_NAME) and name_of(name) == DEFAULTS_NAME:
                found.defaults[prefix + name] = stamp
            else:
                files[prefix + name] = stamp
    return deeper


def _look_closer(
    directory: Path, relative: str, entry: os.DirEntry[str], found: Walk, deeper: list[str]
) -> os.stat_result | None:
    """Look at what is no plain file of a spec's name: a folder, a link, something else.

    Returns what was found of a spec's file.
    """
    if entry.is_dir(follow_symlinks=False):
        if relative.count("/") < MAX_LEVELS:
            deeper.append(relative)
            return None
        message = f"is more than {MAX_LEVELS} levels down, and not read"
        found.problems.append(_unreadable(directory / relative, message))
        found.complete = False
        return None
    if not entry.name.endswith(ENDINGS) and not entry.is_symlink():
        return None
    try:
        seen = entry.stat(follow_symlinks=True)
    except OSError:  # a link to nothing, or gone since
        seen = None
    if seen is not None and stat.S_ISDIR(seen.st_mode):
        message = "is a link to a directory, which is not followed; use the directory itself"
        found.problems.append(_unreadable(directory / relative, message))
    elif entry.name.endswith(ENDINGS):
        stamp = NO_STAMP
        if seen is not None:
            stamp = stamp_of(seen)
        kind = found.defaults if name_of(entry.name) == DEFAULTS_NAME else found.files
        kind[relative] = stamp
        return seen
    return None


def _unreadable(path: Path, message: str) -> Problem:
    return Problem(path=path, message=message, kind=Mistake.UNREADABLE)


def look_at(directory: Path, relative: str) -> tuple[int, int] | None:
    """Return one file's stamp and when it was last written, in nanoseconds.

    The stamp is NO_STAMP of what is passed over.
    None where it is not for one look to tell: it is gone, a link, a folder, or defaults.
    """
    *folders, name = relative.split("/")
    if any(_ignored(folder) for folder in folders) or _ignored(name):
        return NO_STAMP, 0
    if not name.endswith(ENDINGS):
        return NO_STAMP, 0
    if len(folders) > MAX_LEVELS or name_of(name) == DEFAULTS_NAME:
        return None
    try:
        seen = os.lstat(f"{directory}/{relative}")
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return stamp_of(seen), seen.st_mtime_ns


def stamp_of(seen: os.stat_result) -> int:
    """Return the stamp of a file: another number for each change."""
    return hash((seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino))


def _ignored(name: str) -> bool:
    return name.startswith(_IGNORED_START) or name.endswith(_IGNORED_END) or name == _EDITORS_PROBE


def name_of(relative: str) -> str:
    """Return a file's name without its ending: the name of the spec in it."""
    return relative.rsplit(".", 1)[0]


def check_name(name: str) -> str:
    """Return what is wrong with a spec's name and what would be right, or an empty text."""
    if len(os.fsencode(name)) > MAX_NAME:
        return f"has a name of more than {MAX_NAME} bytes; shorten it"
    if not all(_NAME_PART.match(part) for part in name.split("/")):
        return (
            "cannot be the name of a spec; rename it to letters, digits, '_', '.' and '-', "
            "beginning with a letter or digit"
        )
    return ""
