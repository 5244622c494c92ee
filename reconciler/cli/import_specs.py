"""`reconciler import`: turn what was written for other tools into specs.

Nothing is run, nothing is overwritten, and no value of a secret reaches a file or the terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_defaults import NO_DEFAULTS, Defaults
from reconciler.adapters.specs import SpecReader, scan
from reconciler.cli.import_checking import check, write_out
from reconciler.cli.import_reading import STANDARD_INPUT, Found, Trouble, read_input
from reconciler.errors import ReconcilerError, UsageError
from reconciler.files import write_new
from reconciler.importing.batch import join_schedules, settle
from reconciler.importing.documents import Result, cluster_of, convert
from reconciler.importing.draft import Imported, Refused, Skipped
from reconciler.importing.scrubbing import redactor
from reconciler.masking import Redactor

__all__ = ["run", "schema_beside"]

# Where `init` puts a schema, and where a repository may hold one for all its specs.
_SCHEMA: Final = ".deployment.schema.json"
_SHARED: Final = "../schemas/"


def schema_beside(directory: Path, name: str = _SCHEMA) -> str:
    """Return the path of a schema from a directory of specs, or an empty text."""
    paths = (name, f"{_SHARED}{name.removeprefix('.')}")
    return next((path for path in paths if (directory / path).is_file()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of one document."""

    found: Found
    result: Result


class _Report:
    """Prints, with every secret masked, and counts."""

    def __init__(self, masks: Redactor) -> None:
        self.masks = masks
        self.lost = 0
        self.refused = 0
        self.specs = 0

    def say(self, text: str, *, error: bool = False) -> None:
        print(self.masks.mask_text(text), file=sys.stderr if error else sys.stdout)

    def refuse(self, where: str, message: str) -> None:
        self.refused += 1
        self.say(f"{where}: not imported: {message}", error=True)


def run(options: argparse.Namespace) -> int:
    """Write a spec for each thing found; 1 where something was refused, or lost with --strict."""
    if options.files.count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read once; name it once")
    inputs = [item for name in options.files for item in read_input(name)]
    found = [item for item in inputs if isinstance(item, Found)]
    outcomes = _convert(found, options.stack)
    hidden = {text for o in outcomes for text in _hidden(o)}
    report = _Report(redactor(hidden))
    for trouble in inputs:
        if isinstance(trouble, Trouble):
            if trouble.skipped:
                report.say(f"{trouble.where}: passed over: {trouble.message}")
            else:
                report.refuse(trouble.where, trouble.message)
    directory: Path = options.directory
    _report(outcomes, directory, report, dry_run=options.dry_run)
    if not report.specs and not report.refused:
        report.say("nothing to import was found", error=True)
        return 1
    return 1 if report.refused or (options.strict and report.lost) else 0


def _hidden(outcome: _Outcome) -> frozenset[str]:
    return outcome.result.hidden | outcome.found.hidden


def _convert(found: Sequence[Found], stack: str) -> list[_Outcome]:
    given = [replace(f.document, stack=stack or f.document.stack) for f in found]
    cluster = cluster_of(tuple(given))
    results = [convert(document, cluster) for document in given]
    specs = [r for r in results if isinstance(r, Imported) and "sourceContext" in r.tree]
    if stack and len(specs) > 1:
        message = f"--stack names one stack, and {len(specs)} were found; import them one by one"
        raise UsageError(message)
    joined = join_schedules(results)
    return [_Outcome(found=f, result=r) for f, r in zip(found, joined, strict=True)]


def _report(
    outcomes: Sequence[_Outcome], directory: Path, report: _Report, *, dry_run: bool
) -> None:
    """Check, settle, write and tell of everything, in the order of the input."""
    defaults = _defaults(directory)
    checked = [_checked(outcome, directory, defaults) for outcome in outcomes]
    specs = [o.result for o in checked if isinstance(o.result, Imported) and o.result.tree]
    names, stacks = _there(directory)
    settled = iter(settle(specs, names, stacks))
    needed: dict[str, str] = {}
    for outcome in checked:
        found, result = outcome.found, outcome.result
        if isinstance(result, Imported) and result.tree:
            result = next(settled)
        if isinstance(result, Imported):
            if result.tree:
                _write(replace(outcome, result=result), directory, report, dry_run=dry_run)
                needed |= {n.variable: f"{n.used_by}: {n.origin}" for n in result.needs}
        elif isinstance(result, Skipped):
            report.lost += result.lost
            report.say(f"{found.where(result.pointer)}: passed over: {result.message}")
        else:
            report.refuse(found.where(result.pointer), result.message)
    if needed:
        report.say("\nset these for the reconciler, before its next pass:")
        for variable, text in sorted(needed.items()):
            report.say(f"  {variable}\n      {text}")
    if report.specs:
        verb = "would be written" if dry_run else "written"
        specs_word = "spec" if report.specs == 1 else "specs"
        fields = "field" if report.lost == 1 else "fields"
        report.say(f"\n{report.specs} {specs_word} {verb}, {report.lost} {fields} not carried over")
        if not dry_run:
            report.say(f"next: reconciler plan {directory}")


def _defaults(directory: Path) -> Defaults:
    if not directory.is_dir():
        return NO_DEFAULTS
    defaults = SpecReader(directory, SecretRules()).inherited("x.yaml")
    if defaults.problems:
        raise UsageError(
            f"{defaults.problems[0]}\n(mend that first: it holds for what is imported)"
        )
    return defaults


def _checked(outcome: _Outcome, directory: Path, defaults: Defaults) -> _Outcome:
    result = outcome.result
    if isinstance(result, Imported) and result.tree:
        result = check(result, directory / f"{result.name}.yaml", defaults)
    return replace(outcome, result=result)


def _there(directory: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names of a directory's specs, and which of them each stack belongs to."""
    if not directory.is_dir():
        return set(), {}
    catalog = scan(directory, SecretRules())
    stacks = {str(spec.stack): spec.name for spec in catalog.specs}
    stacks |= {str(each.stack): name for name, each in catalog.broken.items() if each.stack}
    return {*(spec.name for spec in catalog.specs), *catalog.broken}, stacks


def _write(outcome: _Outcome, directory: Path, report: _Report, *, dry_run: bool) -> None:
    found, result = outcome.found, outcome.result
    assert isinstance(result, Imported)  # noqa: S101 - whoever calls has looked
    path = directory / f"{result.name}.yaml"
    source = Path(found.label).name
    text = write_out(result, source, schema_beside(directory))
    if isinstance(text, Refused):
        report.refuse(found.where(text.pointer), text.message)
        return
    if not dry_run:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_new(path, text.encode())
        except FileExistsError:
            report.refuse(found.where(()), f"{path} is there already, and stays as it is")
            return
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}"
            raise ReconcilerError(message) from error
    report.specs += 1
    report.say(f"{path}: {result.stack}, from {found.where(())}")
    if found.note:
        report.say(f"  note: {found.note}")
    for remark in result.remarks:
        report.lost += remark.lost
        word = "not carried over" if remark.lost else "note"
        report.say(f"  {word}: {found.where(remark.pointer)}: {remark.message}")
    if dry_run:
        report.say("".join(f"  | {line}\n" for line in text.splitlines()).rstrip("\n"))
