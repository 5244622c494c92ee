"""The directory of specs, read: what is valid, and every mistake with its place.

Nothing that lies in the directory can stop its neighbours: a bomb, a FIFO, a link that leads
out are each one problem of their own. Parsed files are kept by what `stat` says of them, so a
pass in which nothing changed costs little more than `stat`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from reconciler.adapters import yaml_reader
from reconciler.adapters.spec_ahead import Ahead, content_digest, parse_ahead, worthwhile
from reconciler.adapters.spec_defaults import NO_DEFAULTS, Defaults, DefaultsReader, problem_of
from reconciler.adapters.spec_file import (
    Source,
    most_helpful,
    problem_at,
    sorted_problems,
    spec_from_tree,
    stack_of,
)
from reconciler.adapters.spec_layers import Layer, Origins, lay_over
from reconciler.adapters.spec_quiet import Quiet
from reconciler.adapters.spec_schema import SPEC
from reconciler.adapters.spec_sops import NOTHING_SEALED, is_sealed, take_sealed
from reconciler.adapters.spec_walk import (
    ENDINGS,
    MAX_FILES,
    NO_STAMP,
    Walk,
    check_name,
    look_at,
    name_of,
    stamp_of,
    walk,
)
from reconciler.adapters.yaml_faults import YamlFault
from reconciler.adapters.yaml_plain import Plain, read_plain
from reconciler.api.types import StackRef
from reconciler.files import read_below_seen
from reconciler.mistakes import Mistake
from reconciler.model import Broken, Catalog, Problem, SecretReference, Spec, Writing
from reconciler.values import replace

__all__ = ["Explained", "Rules", "SpecReader", "explain", "read_file", "scan"]

# 100 times the size of a large spec.
MAX_BYTES: Final = 1 << 20

_BELONGS: Final = "a spec belongs here: stack, sourceContext, …"
_STACK_LINE: Final = re.compile(rb"^stack:[ ]*[\"']?([\w./-]+)", re.MULTILINE)


class Rules(Protocol):
    """Says which secrets may be read on this host."""

    def allows(self, reference: SecretReference) -> str:
        """Return why not and what would be right, or an empty text."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a file, and from what: the same while stamp and defaults are.

    `digest` is that of its content, of a valid one: a file that was only touched says the same.
    """

    stamp: int
    defaults: Defaults
    spec: Spec | None
    problems: tuple[Problem, ...] = ()
    stack: StackRef | None = None
    digest: bytes = b""


class Explained(NamedTuple):
    """A spec with its defaults in it: the whole tree, and where each part of it stands."""

    tree: Mapping[str, Any]
    origins: Origins


def scan(directory: Path, rules: Rules) -> Catalog:
    """Read a directory once."""
    return SpecReader(directory, rules).scan()


def read_file(path: Path, directory: Path, rules: Rules) -> Spec | tuple[Problem, ...]:
    """Read one file of a directory, with its defaults; its problems where it has some."""
    reader = SpecReader(directory, rules)
    relative = str(path.relative_to(directory))
    read = reader.read(relative, NO_STAMP, reader.inherited(relative))
    return read.spec or read.problems


def explain(path: Path, directory: Path) -> Explained | tuple[Problem, ...]:
    """Say what a file says with its defaults, valid or not, and where each part comes from."""
    reader = SpecReader(directory, _Anything())
    relative = str(path.relative_to(directory))
    return reader.explain(relative, reader.inherited(relative))


class _Anything:
    """Allows every secret: for looking only."""

    def allows(self, reference: SecretReference) -> str:
        del reference
        return ""


class SpecReader:
    """Reads a directory again and again.

    With `quiet` what may not be whole yet is left alone: what was read before stays in force.
    """

    def __init__(self, directory: Path, rules: Rules, quiet: Quiet | None = None) -> None:
        self.directory = directory
        self.rules = rules
        self.quiet = quiet
        # Mostly the same few references, in many files.
        self._allows = lru_cache(maxsize=4096)(rules.allows)
        self._walk = Walk()
        self._catalog = Catalog()
        self._known: dict[str, _Read] = {}
        self._behind = False  # whether the catalog lacks what single looks have found
        self._defaults = DefaultsReader(directory)
        self._in_force: Mapping[str, int] = {}  # the defaults that were read, with their stamps
        self._unsettled: frozenset[str] = frozenset()  # folders whose defaults are being written
        self._root = os.path.realpath(directory)

    def scan(self) -> Catalog:
        """Read what is new or has changed, and return all there is."""
        quiet = self.quiet
        found = walk(self.directory, quiet.begin()) if quiet is not None else walk(self.directory)
        waits = quiet is not None and bool(quiet.waiting)
        same = found == self._walk and self._known.keys() == found.files.keys()
        if not same or waits:
            self._update(found, found.files)
        elif quiet is not None:
            quiet.end(())
        if same and not waits and not self._behind:
            return self._catalog
        self._walk = found
        self._behind = False
        self._catalog = self._all(found)
        return self._catalog

    def look(self, paths: Iterable[str]) -> tuple[Spec, ...] | None:
        """Read a few files (paths below the directory) that are said to have changed.

        Returns those specs that are new or other now; None where only a scan can tell what has
        become of the directory. It costs what these files cost, however many there are.
        """
        if self.quiet is not None:
            self.quiet.begin()
        if self._unsettled:
            return None
        fresh: list[Spec] = []
        for relative in paths:
            seen = look_at(self.directory, relative)
            if seen is None:
                return None
            stamp, written_ns = seen
            before = self._known.get(relative)
            if stamp == NO_STAMP or (before is not None and before.stamp == stamp):
                self._settled(relative)
                continue
            if self._waits(relative, stamp, written_ns):
                if self._lasts_untold(relative):
                    return None
                continue
            defaults = self._defaults.of(relative.rpartition("/")[0])
            read = self.read(relative, stamp, defaults)
            if read.stamp != stamp and self._waits(relative, read.stamp, None):
                continue
            if read.spec is None or not self._is_the_only(relative):
                return None
            self._settled(relative)
            self._known[relative] = read
            self._walk.files[relative] = read.stamp
            self._behind = True
            fresh.append(read.spec)
        return tuple(fresh)

    @property
    def writing(self) -> Mapping[str, datetime]:
        """Return which files (paths below the directory) are left alone, until when at least."""
        return self.quiet.waiting if self.quiet is not None else {}

    def _waits(self, relative: str, stamp: int, written_ns: int | None) -> bool:
        return self.quiet is not None and self.quiet.waits(relative, stamp, written_ns)

    def _settled(self, relative: str) -> None:
        if self.quiet is not None:
            self.quiet.settled(relative)

    def _lasts_untold(self, relative: str) -> bool:
        """Whether a file is written for long by now, and the catalog does not tell so."""
        if self.quiet is None or self.quiet.lasting(relative) is None:
            return False
        told = self._catalog.writing.get(name_of(relative))
        return told is None or told.since is None

    def _is_the_only(self, relative: str) -> bool:
        """Whether no other file has this one's name, but for the ending, and there is room."""
        name = name_of(relative)
        others = {f"{name}{ending}" for ending in ENDINGS} - {relative}
        return not others & self._known.keys() and len(self._known) < MAX_FILES

    def some(self, found: Walk, wanted: Iterable[str]) -> Catalog:
        """Read some of the files that were found, by their paths: for looking only."""
        self._update(found, {relative: found.files[relative] for relative in wanted})
        return self._all(found)

    def _update(self, found: Walk, stamps: Mapping[str, int]) -> None:
        """Know of each of these files (path → stamp) what it says now, and of no other."""
        self._root = os.path.realpath(self.directory)
        defaults_held = self._take_defaults(found)
        held = set(defaults_held)
        self._defaults.start(self._in_force)
        known: dict[str, _Read] = {}
        fresh: list[tuple[str, Defaults]] = []
        for relative, stamp in stamps.items():
            before = self._known.get(relative)
            defaults = self._defaults.of(relative.rpartition("/")[0])
            other = before is None or before.stamp != stamp
            if not other and before is not None and before.defaults is defaults:
                known[relative] = before
            elif other and self._held(relative, stamp, found.young, defaults_held):
                held.add(relative)
                if before is not None:
                    known[relative] = before
            else:
                fresh.append((relative, defaults))
        for relative, read in self._read_all(fresh, stamps):
            before = self._known.get(relative)
            if read.stamp == stamps[relative] or not self._waits(relative, read.stamp, None):
                known[relative] = read
            else:  # written to while it was read
                held.add(relative)
                if before is not None:
                    known[relative] = before
        self._known = known
        if self.quiet is not None:
            self.quiet.end(held)

    def _take_defaults(self, found: Walk) -> frozenset[str]:
        """Take the defaults as they are now, or none of them while one is being written.

        Returns those that are left alone. One that is gone may be about to come again.
        """
        before, self._unsettled = self._in_force, frozenset()
        changed = {
            relative: found.defaults.get(relative, NO_STAMP)
            for relative in {*before, *found.defaults}
            if before.get(relative) != found.defaults.get(relative)
        }
        held = frozenset(
            relative
            for relative, stamp in changed.items()
            if (relative in found.young or relative not in found.defaults)
            and self._waits(relative, stamp, found.young.get(relative))
        )
        if held:
            self._unsettled = frozenset(relative.rpartition("/")[0] for relative in changed)
        else:
            self._in_force = found.defaults
        return held

    def _held(
        self, relative: str, stamp: int, young: Mapping[str, int], defaults: frozenset[str]
    ) -> bool:
        """Whether a changed file may not be whole, or the defaults it is read with may not."""
        if relative in young and self._waits(relative, stamp, young[relative]):
            return True
        if self.quiet is None or self._unsettled.isdisjoint(_folders_of(relative)):
            return False
        self.quiet.follows(relative, stamp, defaults)
        return True

    def _read_all(
        self, fresh: list[tuple[str, Defaults]], stamps: Mapping[str, int]
    ) -> Iterator[tuple[str, _Read]]:
        """Read files that are new or have changed; of very many, another process parses some."""
        with contextlib.ExitStack() as stack:
            found: Iterator[Ahead | None] = iter(())
            if worthwhile(len(fresh)):
                files = [(each, self._digest_of(each, defaults)) for each, defaults in fresh]
                ahead = parse_ahead(self._root, files, MAX_BYTES)
                found = stack.enter_context(contextlib.closing(ahead))
                stack.enter_context(_collecting_later())
            for relative, defaults in fresh:
                one = next(found, None)
                read = self._made(relative, one, defaults) if one is not None else None
                yield relative, read or self.read(relative, stamps[relative], defaults)

    def _digest_of(self, relative: str, defaults: Defaults) -> bytes:
        """Return the digest of what is known of a file with these defaults; empty: nothing is."""
        before = self._known.get(relative)
        return before.digest if before is not None and before.defaults is defaults else b""

    def _made(self, relative: str, ahead: Ahead, defaults: Defaults) -> _Read | None:
        """Make a spec of what was parsed; None where there is something to be told of it."""
        plain = ahead.plain
        if plain is None:
            return replace(self._known[relative], stamp=ahead.stamp)
        if defaults.problems or is_sealed(plain.tree) or check_name(name_of(relative)):
            return None
        tree = plain.tree
        if defaults.tree and isinstance(tree, dict):
            tree = lay_over(defaults.tree, tree, SPEC.shape)
        path = self.directory / relative
        source = Source(name_of(relative), path, plain.places, NOTHING_SEALED)
        spec = spec_from_tree(source, tree, self._allows)
        if not isinstance(spec, Spec):
            return None
        return _Read(ahead.stamp, defaults, spec, (), spec.stack, ahead.digest)

    def inherited(self, relative: str) -> Defaults:
        """Return what one file inherits, where no scan has been made."""
        self._defaults.start(walk(self.directory).defaults)
        return self._defaults.of(relative.rpartition("/")[0])

    def read(self, relative: str, stamp: int, defaults: Defaults = NO_DEFAULTS) -> _Read:
        """Read one file, whatever it is; the result has the stamp of what was read."""
        path = self.directory / relative
        found = self._content(relative)
        if isinstance(found, Problem):
            return _Read(stamp, defaults, None, (found,))
        content, stamp = found
        digest = content_digest(content)
        if digest == self._digest_of(relative, defaults):
            return replace(self._known[relative], stamp=stamp)
        if defaults.problems:
            return _Read(stamp, defaults, None, defaults.problems, _stack_in(content))
        document: Plain | yaml_reader.Document | YamlFault | None
        document = read_plain(content, SPEC.shape)
        if document is None:
            document = yaml_reader.read(content, SPEC.shape, _BELONGS)
            if isinstance(document, YamlFault):
                problem = problem_of(path, document)
                return _Read(stamp, defaults, None, (problem,), _stack_in(content))
        tree, sealed = document.tree, NOTHING_SEALED
        if isinstance(tree, dict) and is_sealed(tree):
            tree, sealed = take_sealed(tree, content, SPEC.shape)
        if defaults.tree and isinstance(tree, dict):
            tree = lay_over(defaults.tree, tree, SPEC.shape)
        places = document.places if isinstance(document, Plain) else ()
        source = Source(name_of(relative), path, places, sealed)
        spec = spec_from_tree(source, tree, self._allows)
        if isinstance(spec, Spec):
            return _Read(stamp, defaults, spec, (), spec.stack, digest)
        origins = self._origins(path, content, defaults)
        problems = sorted_problems(problem_at(origins, fault) for fault in spec)
        return _Read(stamp, defaults, None, problems, stack_of(tree))

    def explain(self, relative: str, defaults: Defaults) -> Explained | tuple[Problem, ...]:
        """Say what a file says with its defaults, and where each part comes from."""
        found = self._content(relative)
        if isinstance(found, Problem):
            return (found,)
        content, _ = found
        document = yaml_reader.read(content, SPEC.shape, _BELONGS)
        if isinstance(document, YamlFault):
            return (problem_of(self.directory / relative, document),)
        tree = document.tree if isinstance(document.tree, dict) else {}
        if is_sealed(tree):
            tree = {key: value for key, value in tree.items() if key != "sops"}
        layer = Layer(self.directory / relative, document, tree)
        whole = lay_over(defaults.tree, tree, SPEC.shape)
        return Explained(whole, Origins((*defaults.layers, layer), SPEC.shape))

    def _content(self, relative: str) -> tuple[bytes, int] | Problem:
        """Return what is in a file, and its stamp after it was read."""
        path = self.directory / relative
        wrong = check_name(name_of(relative))
        if wrong:
            return Problem(path=path, message=wrong, kind=Mistake.WRONG_NAME)
        try:
            # Not the path's own text, which it would keep for as long as it lives.
            content, seen = read_below_seen(f"{self.directory}/{relative}", self._root, MAX_BYTES)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            return Problem(path=path, message=message, kind=Mistake.UNREADABLE)
        return content, stamp_of(seen)

    def _origins(self, path: Path, content: bytes, defaults: Defaults) -> Origins:
        document = yaml_reader.read(content, SPEC.shape, _BELONGS)
        assert isinstance(document, yaml_reader.Document)  # noqa: S101 - it was read before
        tree = document.tree if isinstance(document.tree, dict) else {}
        return Origins((*defaults.layers, Layer(path, document, tree)), SPEC.shape)

    def _all(self, found: Walk) -> Catalog:
        specs: dict[str, Spec] = {}
        broken: dict[str, Broken] = {}
        problems = dict.fromkeys((*found.problems, *self._defaults.problems()))
        for relative, read in sorted(self._known.items()):
            name, mine = name_of(relative), read.problems
            if name in specs or name in broken:
                other = specs[name].path if name in specs else broken[name].problem.path
                message = f"has the same name as {other}; rename one of them"
                path = self.directory / relative
                mine = (Problem(path=path, message=message, kind=Mistake.WRONG_NAME),)
                specs.pop(name, None)
            # What a _defaults.yaml has wrong is told once, however many specs it holds.
            problems.update(dict.fromkeys(mine))
            if mine or read.spec is None:
                broken.setdefault(name, Broken(problem=most_helpful(mine), stack=read.stack))
            else:
                specs[name] = read.spec
        return Catalog(
            specs=tuple(specs[name] for name in sorted(specs)),
            problems=tuple(problems),
            broken=MappingProxyType(broken),
            writing=MappingProxyType(self._all_writing()),
            complete=found.complete,
        )

    def _all_writing(self) -> dict[str, Writing]:
        quiet = self.quiet
        if quiet is None:
            return {}
        return {
            name_of(relative): Writing(
                path=self.directory / relative, until=until, since=quiet.lasting(relative)
            )
            for relative, until in quiet.waiting.items()
            if relative in self._walk.files
        }


def _folders_of(relative: str) -> Iterator[str]:
    """Yield the folder of a file and those above it."""
    folder = relative.rpartition("/")[0]
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


@contextlib.contextmanager
def _collecting_later() -> Iterator[None]:
    """Look for no garbage meanwhile: what is made now is kept, and none of it is a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _stack_in(content: bytes) -> StackRef | None:
    match = _STACK_LINE.search(content)
    return stack_of({"stack": match[1].decode("ascii", "replace")}) if match else None
