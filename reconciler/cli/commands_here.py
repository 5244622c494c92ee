"""Commands that are told to people, as they work from here: with the directory they are about."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from typing import Final

from reconciler.adapters.state_directory import locate
from reconciler.cli.options import DIRECTORY
from reconciler.cli.wiring import Place
from reconciler.errors import UsageError
from reconciler.planning.advice import Advice
from reconciler.planning.explain import Explanation
from reconciler.values import replace

__all__ = ["completed", "in_place", "in_sentence"]

# Commands that take the directory in its place, and those that take it by `--directory`.
_PLACED: Final = frozenset({"run", "plan", "status", "schedule", "validate"})
_NAMED: Final = frozenset(
    {"why", "logs", "trigger", "cancel", "approve", "adopt", "suspend", "resume", "show"}
)
_COMMAND: Final = re.compile(r"`(reconciler [^`]+)`")


def completed(where: Place) -> Callable[[str], str]:
    """Return what completes a command: `reconciler why web` with what it needs to work here."""
    if where.checkout is not None:
        return lambda command: command
    directory = "" if where.directory == DIRECTORY else shlex.quote(str(where.directory))
    data = "" if _is_usual(where) else f" --data {shlex.quote(str(where.root.root))}"

    def complete(command: str) -> str:
        words = command.split(" ")
        verb = words[1] if len(words) > 1 and words[0] == "reconciler" else ""
        if verb not in _PLACED | _NAMED:
            return command
        if directory and verb in _PLACED:
            command = " ".join([*words[:2], directory, *words[2:]])
        elif directory:
            command += f" --directory {directory}"
        return command if verb == "validate" else command + data

    return complete


def _is_usual(where: Place) -> bool:
    """Whether the state is where commands look for it by themselves."""
    try:
        return where.root.root == locate(None, os.environ)
    except UsageError:
        return False


def in_sentence(text: str, where: Place) -> str:
    """Return a sentence in which the commands between backticks work from here."""
    complete = completed(where)
    return _COMMAND.sub(lambda found: f"`{complete(found[1])}`", text)


def in_place(told: Explanation, where: Place) -> Explanation:
    """Return an explanation whose commands work from here, those within sentences, too."""
    complete, sentence = completed(where), partial(in_sentence, where=where)
    return replace(
        told,
        reason=replace(told.reason, message=sentence(told.reason.message)),
        following=tuple(map(sentence, told.following)),
        advice=tuple(Advice(complete(each.command), each.does) for each in told.advice),
    )
