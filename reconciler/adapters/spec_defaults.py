"""The `_defaults.yaml` of directories: read once each, and laid over those above them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler.adapters import yaml_reader
from reconciler.adapters.spec_checks import check_source
from reconciler.adapters.spec_file import problem_at, sorted_problems, without_followers
from reconciler.adapters.spec_layers import Layer, Origins, lay_over, one_level_down
from reconciler.adapters.spec_schema import DEFAULTS, SPEC
from reconciler.adapters.spec_secrets import find_secrets
from reconciler.adapters.spec_sections import Sections
from reconciler.adapters.spec_walk import NO_STAMP, stamp_of
from reconciler.adapters.yaml_faults import YamlFault, one_line
from reconciler.files import read_below_seen
from reconciler.mistakes import Mistake
from reconciler.model import Problem

__all__ = ["NO_DEFAULTS", "Defaults", "DefaultsReader", "problem_of"]

# As much as a spec.
MAX_BYTES: Final = 1 << 20
_BELONGS: Final = "what all specs of this directory say belongs here: sourceContext, labels, …"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What specs in one folder say unless they say otherwise.

    `layers` are the files that say it, the one of the topmost folder first. With `problems` in
    one of them no spec below may run, since what it says would be missing.
    """

    tree: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    problems: tuple[Problem, ...] = ()


NO_DEFAULTS: Final = Defaults()


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of one folder, and what it was read from: the same while these are."""

    above: Defaults
    own: tuple[tuple[str, int], ...]
    defaults: Defaults


class DefaultsReader:
    """Reads the defaults of a directory again and again; only what has changed is read anew."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before: dict[str, _Known] = {}
        self._known: dict[str, _Known] = {}
        self._own: dict[str, tuple[tuple[str, int], ...]] = {}

    def start(self, files: Mapping[str, int]) -> None:
        """Begin a pass in which these files (path → stamp) are there."""
        self._own = {}
        for item in sorted(files.items()):
            folder = item[0].rpartition("/")[0]
            self._own[folder] = (*self._own.get(folder, ()), item)
        self._before = self._known
        self._known = {}

    def of(self, folder: str) -> Defaults:
        """Return what specs in a folder (a path below the directory, "" for itself) inherit.

        It is the same object as long as nothing that it is made of has changed.
        """
        if not self._own:
            return NO_DEFAULTS
        known = self._known.get(folder)
        if known is None:
            above = self.of(folder.rpartition("/")[0]) if folder else NO_DEFAULTS
            own = self._own.get(folder, ())
            known = self._before.get(folder)
            if known is None or known.above is not above or known.own != own:
                known = _Known(above, own, self._read(folder, above, own))
            self._known[folder] = known
        return known.defaults

    def problems(self) -> Iterable[Problem]:
        """Return what is wrong in all of them, each once."""
        for folder in sorted(self._own):
            yield from self.of(folder).problems

    def _read(self, folder: str, above: Defaults, own: tuple[tuple[str, int], ...]) -> Defaults:
        inherited = above
        if folder and above.tree:
            tree = one_level_down(above.tree)
            if tree is not above.tree:
                layers = tuple(
                    layer._replace(tree=one_level_down(layer.tree)) for layer in above.layers
                )
                inherited = Defaults(tree, layers, above.problems)
        if above.problems or not own:
            return inherited
        if len(own) > 1:
            names = " and ".join(relative.rpartition("/")[2] for relative, _ in own)
            message = f"{names} are both here; keep one of them"
            path = self._directory / own[0][0]
            return Defaults(
                problems=(Problem(path=path, message=message, kind=Mistake.WRONG_NAME),)
            )
        layer = self._layer(*own[0])
        if not isinstance(layer, Layer):
            return Defaults(problems=layer)
        tree = lay_over(inherited.tree, layer.tree, SPEC.shape, drop_nulls=True)
        return Defaults(tree, (*inherited.layers, layer))

    def _layer(self, relative: str, stamp: int) -> Layer | tuple[Problem, ...]:
        path = self._directory / relative
        try:
            content, seen = read_below_seen(str(path), os.path.realpath(self._directory), MAX_BYTES)
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            return (Problem(path=path, message=message, kind=Mistake.UNREADABLE),)
        if stamp not in {NO_STAMP, stamp_of(seen)}:
            message = "was written to while it was read; it is read again at the next look"
            return (Problem(path=path, message=message, kind=Mistake.UNREADABLE),)
        document = yaml_reader.read(content, SPEC.shape, _BELONGS)
        if isinstance(document, YamlFault):
            return (problem_of(path, document),)
        found = [] if DEFAULTS.fits(document.tree) else list(DEFAULTS.faults(document.tree))
        raw = document.tree if isinstance(document.tree, dict) else {}
        tree = lay_over({}, raw, SPEC.shape, drop_nulls=True)
        sections = Sections(tree)
        sections.fields()
        found = without_followers(
            found, [*check_source(tree), *find_secrets(tree), *sections.faults]
        )
        if found:
            origins = Origins([Layer(path, document, raw)], SPEC.shape)
            return sorted_problems(problem_at(origins, fault) for fault in found)
        return Layer(path, document, raw)


def problem_of(path: Path, fault: YamlFault) -> Problem:
    """Return what YAML itself finds wrong with a file."""
    return Problem(
        path=path,
        line=fault.line,
        column=fault.column,
        pointer=one_line(fault.pointer),
        message=one_line(fault.message),
        kind=Mistake.WRONG_YAML,
    )
