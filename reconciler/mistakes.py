"""The kinds of mistakes that people make in specs, and what mends each.

A problem says what is wrong at one place; its kind is what programs count, filter and look up.
The names are stable: they stand in other people's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["HELP", "Help", "Mistake"]


class Mistake(StrEnum):
    """What kind of mistake it is."""

    WRONG_YAML = "WrongYaml"
    UNREADABLE = "Unreadable"
    WRONG_NAME = "WrongName"
    UNKNOWN_KEY = "UnknownKey"
    MISSING_KEY = "MissingKey"
    WRONG_VALUE = "WrongValue"
    SECRET_IN_THE_CLEAR = "SecretInTheClear"  # noqa: S105 - the name of a mistake
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105 - the same
    UNCONFIRMED_DESTROY = "UnconfirmedDestroy"
    SHARED_STACK = "SharedStack"
    MISSING_DEPENDENCY = "MissingDependency"
    DEPENDENCY_CYCLE = "DependencyCycle"


@dataclass(frozen=True, slots=True)
class Help:
    """What is wrong, in a sentence, and what mends it."""

    wrong: str
    mend: str


HELP: Final[Mapping[Mistake, Help]] = {
    Mistake.WRONG_YAML: Help(
        "The file is no YAML of one document that a spec can be read from.",
        "Mend the line that is named; quote a text that YAML would read otherwise.",
    ),
    Mistake.UNREADABLE: Help(
        "Something in the directory cannot be read, or is not followed.",
        "Put the file itself there, readable for whoever runs the reconciler.",
    ),
    Mistake.WRONG_NAME: Help(
        "A file's name cannot be, or already is, the name of a spec.",
        "Rename the file: letters, digits, '_', '.' and '-', each name once.",
    ),
    Mistake.UNKNOWN_KEY: Help(
        "A key is none that a spec has.",
        "Take the key that the message proposes, or remove it; docs/specs.md lists all.",
    ),
    Mistake.MISSING_KEY: Help(
        "A key that is required is not there.",
        "Add it to the file, or to a _defaults.yaml above it.",
    ),
    Mistake.WRONG_VALUE: Help(
        "A value does not fit its key.",
        "Write it as the message says; docs/specs.md says what each key takes.",
    ),
    Mistake.SECRET_IN_THE_CLEAR: Help(
        "A secret, or what looks like one, stands in the file in the clear.",
        "Name where it comes from: {secret: {fromEnv: …}}, fromFile, fromCredential or "
        "fromCommand. A secret that was committed is known: replace it. What is no secret is "
        "listed in notSecret.",
    ),
    Mistake.SECRET_NOT_ALLOWED: Help(
        "A secret is to be read from where this host does not allow it.",
        "Name a place that the host allows, or allow it in the host's config (--config).",
    ),
    Mistake.UNCONFIRMED_DESTROY: Help(
        "The spec asks for its stack to be destroyed, and does not confirm it.",
        "Add reconcile: {confirm: destroy} where that is what is wanted.",
    ),
    Mistake.SHARED_STACK: Help(
        "Two specs name the same stack.",
        "Keep the stack in one of them.",
    ),
    Mistake.MISSING_DEPENDENCY: Help(
        "A spec depends on one that is not there.",
        "Name a spec of this directory, by its path without .yaml, or take it out of dependsOn.",
    ),
    Mistake.DEPENDENCY_CYCLE: Help(
        "Specs depend on one another in a circle.",
        "Take one of the dependencies out.",
    ),
}
