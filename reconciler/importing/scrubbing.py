"""Makes sure that a value of a secret stands nowhere else in a spec. Pure.

The same password may stand in a secret variable and, once more, in a command.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft, RefusalError
from reconciler.masking import Redactor

__all__ = ["SHORTEST_KEPT_OUT", "leaks", "redactor", "scrub"]

# A shorter value, such as "admin" or "prod", stands in names by chance. Commands and variables
# are nevertheless looked through for it.
SHORTEST_KEPT_OUT: Final = 8

_CONTEXT: Final[Pointer] = ("operationContext",)


def redactor(hidden: frozenset[str] | set[str]) -> Redactor:
    """Return what masks the values that are long enough to be told from other words."""
    return Redactor(value for value in hidden if len(value) >= SHORTEST_KEPT_OUT)


def leaks(text: str, masks: Redactor) -> bool:
    """Whether a text holds a secret."""
    return masks.mask_text(text) != text


def scrub(draft: Draft) -> None:
    """Turn variables that hold a secret into references, and take out commands that do.

    RefusalError where a secret stands in anything that a spec cannot do without.
    """
    every = Redactor(draft.hidden)
    context: Any = draft.get(_CONTEXT) or {}
    for name, value in list(context.get("environmentVariables", {}).items()):
        if isinstance(value, str) and leaks(value, every):
            at = (*_CONTEXT, "environmentVariables", name)
            draft.secret(at, name, value)
            draft.comment(at, "It held the value of another secret.")
    commands = context.get("preRunCommands", [])
    for index, command in reversed(list(enumerate(commands))):
        if leaks(command, every):
            message = "holds the value of a secret; use its variable instead"
            draft.lose((*_CONTEXT, "preRunCommands", index), message)
            del commands[index]
    if not commands:
        context.pop("preRunCommands", None)
    masks = redactor(draft.hidden)
    for at, text in _texts(draft.tree, ()):
        if leaks(text, masks):
            raise RefusalError(at, "the value of a secret stands here too; take it out first")


def _texts(value: object, at: Pointer) -> Iterator[tuple[Pointer, str]]:
    match value:
        case str():
            yield at, value
        case dict():
            for key, below in value.items():
                yield at, key
                yield from _texts(below, (*at, key))
        case list():
            for index, below in enumerate(value):
                yield from _texts(below, (*at, index))
