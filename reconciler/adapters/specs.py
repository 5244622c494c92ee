"""The directory of specs, read: what is valid, and every mistake with its place.

Nothing that lies in the directory can stop its neighbours: a bomb, a FIFO, a link that leads
out are each one problem of their own. Parsed files are kept by what `stat` says of them, so a
pass in which nothing changed costs little more than `stat`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from reconciler.adapters import yaml_reader
from reconciler.adapters.spec_file import spec_from_document, stack_of
from reconciler.adapters.spec_schema import spec_shape
from reconciler.adapters.yaml_faults import YamlFault, one_line
from reconciler.api.types import StackRef
from reconciler.files import read_below
from reconciler.model import Broken, Catalog, Problem, SecretReference, Spec
from reconciler.planning.graph import order

__all__ = ["Rules", "SpecReader", "check_together", "read_file", "scan"]

# Ten times the largest number of stacks that is known of; more would be somebody else's tree.
MAX_FILES: Final = 100_000
# 100 times the size of a large spec.
MAX_BYTES: Final = 1 << 20
# Room for `.status.json` and a name of a temporary file within what file systems allow.
MAX_NAME: Final = 200

_ENDINGS: Final = (".yaml", ".yml")
_NAME_PART: Final = re.compile(r"\w[\w.-]*\Z")
_STACK_LINE: Final = re.compile(rb"^stack:[ ]*[\"']?([\w./-]+)", re.MULTILINE)
# vim asks the file system whether it can write here by making a file of this name.
_EDITORS_PROBE: Final = "4913"


class Rules(Protocol):
    """Says which secrets may be read on this host."""

    def allows(self, reference: SecretReference) -> str:
        """Return why not and what would be right, or an empty text."""
        ...


# mtime and ctime in nanoseconds, size, inode.
_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: _Stamp
    spec: Spec | None
    problems: tuple[Problem, ...] = ()
    stack: StackRef | None = None


@dataclass(slots=True)
class _Walk:
    """What lies in the directory: (path relative to it, stamp) of each file, and problems."""

    files: list[tuple[str, _Stamp]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


def scan(directory: Path, rules: Rules) -> Catalog:
    """Read a directory once."""
    return SpecReader(directory, rules).scan()


def read_file(path: Path, directory: Path, rules: Rules) -> Spec | tuple[Problem, ...]:
    """Read one file of a directory; its problems where it has some."""
    read = SpecReader(directory, rules).read(str(path.relative_to(directory)), (0, 0, 0, 0))
    return read.spec or read.problems


class SpecReader:
    """Reads a directory again and again."""

    def __init__(self, directory: Path, rules: Rules) -> None:
        self.directory = directory
        self.rules = rules
        self._known: dict[str, _Read] = {}

    def scan(self) -> Catalog:
        """Read what is new or has changed, and return all there is."""
        walk = _walk(self.directory)
        known: dict[str, _Read] = {}
        for relative, stamp in walk.files:
            before = self._known.get(relative)
            fresh = before is None or before.stamp != stamp
            known[relative] = self.read(relative, stamp) if fresh or before is None else before
        self._known = known
        return self._catalog(walk)

    def read(self, relative: str, stamp: _Stamp) -> _Read:
        """Read one file, whatever it is."""
        path = self.directory / relative
        name = _name_of(relative)
        wrong = _check_name(name)
        if wrong:
            return _Read(stamp, None, (Problem(path=path, message=wrong),))
        try:
            content = read_below(path, self.directory, MAX_BYTES)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            return _Read(stamp, None, (Problem(path=path, message=message),))
        document = yaml_reader.read(content, spec_shape())
        if isinstance(document, YamlFault):
            return _Read(stamp, None, (_problem(path, document),), _stack_in(content))
        spec = spec_from_document(name, path, document, self.rules.allows)
        if isinstance(spec, Spec):
            return _Read(stamp, spec, (), spec.stack)
        return _Read(stamp, None, spec, stack_of(document.tree))

    def _catalog(self, walk: _Walk) -> Catalog:
        specs: dict[str, Spec] = {}
        broken: dict[str, Broken] = {}
        problems = list(walk.problems)
        defaults = [relative for relative in self._known if _is_defaults(relative)]
        for relative, read in self._known.items():
            name = _name_of(relative)
            mine = _defaults_problem(self.directory, relative, defaults) or read.problems
            if _is_defaults(relative):
                problems += mine
                continue
            if name in specs or name in broken:
                other = specs[name].path if name in specs else broken[name].problem.path
                message = f"has the same name as {other}; rename one of them"
                mine = (Problem(path=self.directory / relative, message=message),)
                specs.pop(name, None)
            if mine or read.spec is None:
                # A file below a _defaults.yaml is held by a problem that is reported once.
                problems += [p for p in mine if p.path == self.directory / relative]
                broken.setdefault(name, Broken(problem=mine[0], stack=read.stack))
            else:
                specs[name] = read.spec
        return Catalog(
            specs=tuple(specs[name] for name in sorted(specs)),
            problems=tuple(problems),
            broken=MappingProxyType(broken),
            complete=walk.complete,
        )


def _walk(directory: Path) -> _Walk:
    walk = _Walk()
    folders = [""]
    while folders:
        relative = folders.pop()
        try:
            with os.scandir(directory / relative) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            message = f"cannot be read: {error.strerror}; a directory of specs belongs here"
            walk.problems.append(Problem(path=directory / relative, message=message))
            walk.complete = False
            continue
        below = [entry for entry in entries if not _ignored(entry.name)]
        prefix = f"{relative}/" if relative else ""
        deeper = [
            prefix + entry.name
            for entry in below
            if _look_at(directory, prefix + entry.name, entry, walk)
        ]
        folders += reversed(deeper)
        if len(walk.files) > MAX_FILES:
            message = f"holds more than {MAX_FILES:,} specs; the rest is not read"
            walk.problems.append(Problem(path=directory, message=message))
            del walk.files[MAX_FILES:]
            walk.complete = False
            break
    walk.files.sort()
    return walk


def _look_at(directory: Path, relative: str, entry: os.DirEntry[str], walk: _Walk) -> bool:
    """Keep a file or a problem; True where it is a directory to go into."""
    if entry.is_dir(follow_symlinks=False):
        return True
    if not entry.name.endswith(_ENDINGS) and not entry.is_symlink():
        return False
    try:
        seen = entry.stat(follow_symlinks=True)
    except OSError:  # a link to nothing, or gone since
        seen = None
    if seen is not None and stat.S_ISDIR(seen.st_mode):
        message = "is a link to a directory, which is not followed; use the directory itself"
        walk.problems.append(Problem(path=directory / relative, message=message))
    elif entry.name.endswith(_ENDINGS):
        stamp = (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino) if seen else None
        walk.files.append((relative, stamp or (0, 0, 0, 0)))
    return False


def _ignored(name: str) -> bool:
    return (
        name.startswith((".", "#"))
        or name.endswith(("~", ".swp", ".swx", ".tmp", ".status.json"))
        or name == _EDITORS_PROBE
    )


def _name_of(relative: str) -> str:
    return relative.rsplit(".", 1)[0]


def _check_name(name: str) -> str:
    if len(os.fsencode(name)) > MAX_NAME:
        return f"has a name of more than {MAX_NAME} bytes; shorten it"
    if not all(_NAME_PART.match(part) for part in name.split("/")):
        return (
            "cannot be the name of a spec; rename it to letters, digits, '_', '.' and '-', "
            "beginning with a letter or digit"
        )
    return ""


def _is_defaults(relative: str) -> bool:
    return _name_of(relative).rpartition("/")[2] == "_defaults"


def _defaults_problem(directory: Path, relative: str, defaults: list[str]) -> tuple[Problem, ...]:
    """Return the problem of a `_defaults.yaml` that this file is, or is below of.

    What it says would be missing in a spec below it, so that spec must not run without.
    """
    for each in defaults:
        folder = each.rpartition("/")[0]
        if not folder or relative.startswith(folder + "/"):
            message = "not yet: defaults of a directory; write them into each spec below it"
            return (Problem(path=directory / each, message=message),)
    return ()


def _problem(path: Path, fault: YamlFault) -> Problem:
    return Problem(
        path=path,
        line=fault.line,
        column=fault.column,
        pointer=one_line(fault.pointer),
        message=one_line(fault.message),
    )


def _stack_in(content: bytes) -> StackRef | None:
    match = _STACK_LINE.search(content)
    return stack_of({"stack": match[1].decode("ascii", "replace")}) if match else None


def check_together(specs: tuple[Spec, ...]) -> tuple[Problem, ...]:
    """Return what is wrong between specs: one stack twice, a dependency missing, a cycle."""
    by_name = {spec.name: spec for spec in specs}
    return (
        *_shared_stacks(specs),
        *(problem for spec in specs for problem in _missing(spec, by_name)),
        *_cycles(by_name),
    )


def _shared_stacks(specs: tuple[Spec, ...]) -> Iterator[Problem]:
    owners: dict[StackRef, list[Spec]] = {}
    for spec in specs:
        owners.setdefault(spec.stack, []).append(spec)
    for sharing in owners.values():
        for spec in sharing if len(sharing) > 1 else ():
            others = ", ".join(str(other.path) for other in sharing if other is not spec)
            message = f"{spec.stack} also belongs to {others}; a stack belongs to one spec"
            yield spec.problem("/stack", message)


def _missing(spec: Spec, by_name: Mapping[str, Spec]) -> Iterator[Problem]:
    for index, name in enumerate(spec.depends_on):
        if name not in by_name:
            near = get_close_matches(name, by_name, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            pointer = f"/reconcile/dependsOn/{index}"
            yield spec.problem(pointer, one_line(f"there is no spec named '{name}'{hint}"))


def _cycles(by_name: Mapping[str, Spec]) -> Iterator[Problem]:
    cycles = order({name: spec.depends_on for name, spec in by_name.items()}).cycles
    for name, path in cycles.items():
        message = f"depends on itself: {' → '.join(path)}; take one of them out"
        yield by_name[name].problem("/reconcile/dependsOn", message)
