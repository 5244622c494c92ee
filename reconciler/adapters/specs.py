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
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from reconciler.adapters import yaml_reader
from reconciler.adapters.spec_ahead import parse_ahead, worthwhile
from reconciler.adapters.spec_defaults import NO_DEFAULTS, Defaults, DefaultsReader, problem_of
from reconciler.adapters.spec_file import (
    Source,
    problem_at,
    sorted_problems,
    spec_from_tree,
    stack_of,
)
from reconciler.adapters.spec_layers import Layer, Origins, lay_over
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
    walk,
)
from reconciler.adapters.yaml_faults import YamlFault
from reconciler.adapters.yaml_plain import Plain, read_plain
from reconciler.api.types import StackRef
from reconciler.files import read_below_real
from reconciler.mistakes import Mistake
from reconciler.model import Broken, Catalog, Problem, SecretReference, Spec

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
    """What was read of a file, and from what: the same while stamp and defaults are."""

    stamp: int
    defaults: Defaults
    spec: Spec | None
    problems: tuple[Problem, ...] = ()
    stack: StackRef | None = None


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
    """Reads a directory again and again."""

    def __init__(self, directory: Path, rules: Rules) -> None:
        self.directory = directory
        self.rules = rules
        # Mostly the same few references, in many files.
        self._allows = lru_cache(maxsize=4096)(rules.allows)
        self._walk = Walk()
        self._catalog = Catalog()
        self._known: dict[str, _Read] = {}
        self._behind = False  # whether the catalog lacks what single looks have found
        self._defaults = DefaultsReader(directory)
        self._root = os.path.realpath(directory)

    def scan(self) -> Catalog:
        """Read what is new or has changed, and return all there is."""
        found = walk(self.directory)
        same = found == self._walk and self._known.keys() == found.files.keys()
        if same and not self._behind:
            return self._catalog
        if not same:
            self._update(found, found.files)
        self._walk = found
        self._behind = False
        self._catalog = self._all(found)
        return self._catalog

    def look(self, paths: Iterable[str]) -> tuple[Spec, ...] | None:
        """Read a few files (paths below the directory) that are said to have changed.

        Returns those specs that are new or other now; None where only a scan can tell what has
        become of the directory. It costs what these files cost, however many there are.
        """
        fresh: list[Spec] = []
        for relative in paths:
            stamp = look_at(self.directory, relative)
            if stamp is None:
                return None
            before = self._known.get(relative)
            if stamp == NO_STAMP or (before is not None and before.stamp == stamp):
                continue
            defaults = self._defaults.of(relative.rpartition("/")[0])
            read = self.read(relative, stamp, defaults)
            if read.spec is None or not self._is_the_only(relative):
                return None
            self._known[relative] = read
            self._walk.files[relative] = stamp
            self._behind = True
            fresh.append(read.spec)
        return tuple(fresh)

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
        self._defaults.start(found.defaults)
        known: dict[str, _Read] = {}
        fresh: list[tuple[str, Defaults]] = []
        for relative, stamp in stamps.items():
            before = self._known.get(relative)
            defaults = self._defaults.of(relative.rpartition("/")[0])
            if before is None or before.stamp != stamp or before.defaults is not defaults:
                fresh.append((relative, defaults))
            else:
                known[relative] = before
        known.update(self._read_all(fresh, stamps))
        self._known = known

    def _read_all(
        self, fresh: list[tuple[str, Defaults]], stamps: Mapping[str, int]
    ) -> Iterator[tuple[str, _Read]]:
        """Read files that are new or have changed; of very many, another process parses some."""
        with contextlib.ExitStack() as stack:
            plains: Iterator[Plain | None] = iter(())
            if worthwhile(len(fresh)):
                ahead = parse_ahead(self._root, [relative for relative, _ in fresh], MAX_BYTES)
                plains = stack.enter_context(contextlib.closing(ahead))
                stack.enter_context(_collecting_later())
            for relative, defaults in fresh:
                plain = next(plains, None)
                read = None
                if plain is not None:
                    read = self._made(relative, stamps[relative], defaults, plain)
                yield relative, read or self.read(relative, stamps[relative], defaults)

    def _made(self, relative: str, stamp: int, defaults: Defaults, plain: Plain) -> _Read | None:
        """Make a spec of what was parsed; None where there is something to be told of it."""
        if defaults.problems or is_sealed(plain.tree) or check_name(name_of(relative)):
            return None
        tree = plain.tree
        if defaults.tree and isinstance(tree, dict):
            tree = lay_over(defaults.tree, tree, SPEC.shape)
        path = self.directory / relative
        source = Source(name_of(relative), path, plain.places, NOTHING_SEALED)
        spec = spec_from_tree(source, tree, self._allows)
        return _Read(stamp, defaults, spec, (), spec.stack) if isinstance(spec, Spec) else None

    def inherited(self, relative: str) -> Defaults:
        """Return what one file inherits, where no scan has been made."""
        self._defaults.start(walk(self.directory).defaults)
        return self._defaults.of(relative.rpartition("/")[0])

    def read(self, relative: str, stamp: int, defaults: Defaults = NO_DEFAULTS) -> _Read:
        """Read one file, whatever it is."""
        path = self.directory / relative
        content = self._content(relative)
        if isinstance(content, Problem):
            return _Read(stamp, defaults, None, (content,))
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
            return _Read(stamp, defaults, spec, (), spec.stack)
        origins = self._origins(path, content, defaults)
        problems = sorted_problems(problem_at(origins, fault) for fault in spec)
        return _Read(stamp, defaults, None, problems, stack_of(tree))

    def explain(self, relative: str, defaults: Defaults) -> Explained | tuple[Problem, ...]:
        """Say what a file says with its defaults, and where each part comes from."""
        content = self._content(relative)
        if isinstance(content, Problem):
            return (content,)
        document = yaml_reader.read(content, SPEC.shape, _BELONGS)
        if isinstance(document, YamlFault):
            return (problem_of(self.directory / relative, document),)
        tree = document.tree if isinstance(document.tree, dict) else {}
        if is_sealed(tree):
            tree = {key: value for key, value in tree.items() if key != "sops"}
        layer = Layer(self.directory / relative, document, tree)
        whole = lay_over(defaults.tree, tree, SPEC.shape)
        return Explained(whole, Origins((*defaults.layers, layer), SPEC.shape))

    def _content(self, relative: str) -> bytes | Problem:
        path = self.directory / relative
        wrong = check_name(name_of(relative))
        if wrong:
            return Problem(path=path, message=wrong, kind=Mistake.WRONG_NAME)
        try:
            # Not the path's own text, which it would keep for as long as it lives.
            return read_below_real(f"{self.directory}/{relative}", self._root, MAX_BYTES)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            return Problem(path=path, message=message, kind=Mistake.UNREADABLE)

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
                broken.setdefault(name, Broken(problem=mine[0], stack=read.stack))
            else:
                specs[name] = read.spec
        return Catalog(
            specs=tuple(specs[name] for name in sorted(specs)),
            problems=tuple(problems),
            broken=MappingProxyType(broken),
            complete=found.complete,
        )


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
