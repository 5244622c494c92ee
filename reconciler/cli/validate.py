"""`reconciler validate`: check spec files, and say what is wrong with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_together import check_together
from reconciler.adapters.specs import read_file, scan
from reconciler.cli import host, validate_forms
from reconciler.cli.spelling import ENDINGS, nearest
from reconciler.errors import UsageError
from reconciler.model import Problem, Spec

__all__ = ["run"]

_DEFAULTS = ("_defaults.yaml", "_defaults.yml")
# How far up from an absolute path is looked.
_LEVELS = 10
# Among so many files beside one that is not there a near name is looked for.
MOST_BESIDE = 1000


def run(options: argparse.Namespace) -> int:
    """Print each problem, on a line of its own or as programs want it; 1 where there is one."""
    rules = host.rules(options, host.config(options))
    problems: list[Problem] = []
    valid = 0
    for path in options.paths or [options.directory]:
        specs, wrong = _check(path, rules)
        problems += wrong
        valid += len(specs)
    for_programs = options.output in {"json", "sarif"}
    if problems or for_programs:
        print(_as(options.output, problems))
    if not problems and not for_programs:
        print(f"{valid} {'spec is' if valid == 1 else 'specs are'} valid")
    return 1 if problems else 0


def _as(form: str, problems: Sequence[Problem]) -> str:
    match form:
        case "json":
            return validate_forms.as_json(problems)
        case "github":
            return validate_forms.as_github(problems, validate_forms.root_of(Path.cwd()))
        case "sarif":
            from reconciler.cli.validate_sarif import as_sarif  # noqa: PLC0415 - for this form alone

            return as_sarif(problems, validate_forms.root_of(Path.cwd()))
        case _:
            return validate_forms.as_text(problems)


def _check(path: Path, rules: SecretRules) -> tuple[tuple[Spec, ...], tuple[Problem, ...]]:
    if path.is_dir():
        catalog = scan(path, rules)
        return catalog.specs, catalog.problems + check_together(catalog.specs)
    if not path.exists():
        raise UsageError(f"{path} does not exist{_meant(path)}")
    found = read_file(path, _directory_of(path), rules)
    return ((found,), ()) if isinstance(found, Spec) else ((), found)


def _meant(path: Path) -> str:
    """Say which file was probably meant, or what may be given."""
    for ending in ENDINGS:
        file = path.with_name(f"{path.name}{ending}") if path.name else path
        if file.is_file():
            return f"; did you mean {file}?"
    beside = sorted(path.parent.glob("*")) if path.parent.is_dir() else []
    near = nearest(str(path), map(str, beside[:MOST_BESIDE]))
    return near or "; give a spec file or a directory of them"


def _directory_of(path: Path) -> Path:
    """Return the directory whose defaults count for a file that is given by itself.

    That is the topmost one with a `_defaults.yaml`, below the working directory where the file is.
    """
    parents = list(path.parents) if path.is_relative_to(Path()) else list(path.parents)[:_LEVELS]
    with_defaults = [p for p in parents if any((p / name).is_file() for name in _DEFAULTS)]
    return with_defaults[-1] if with_defaults else path.parent
