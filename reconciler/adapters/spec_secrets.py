"""Finds secrets that are written in the clear, and variables that are not a spec's to set.

A message names the variable and never the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from reconciler.api.types import MARKER_PREFIX, RESERVED_VARIABLES
from reconciler.api.wire import Fault, Pointer
from reconciler.masking import TOKENS
from reconciler.mistakes import Mistake

__all__ = ["find_secrets", "looks_secret"]

# Parts of a variable's name, between its `_`; two words stand for parts that follow each other.
_KEY_TERMS: Final = tuple(
    f"_{term}_"
    for term in [
        "PASSWORD",
        "PASSWD",
        "PWD",
        "PASSPHRASE",
        "PASSCODE",
        "SECRET",
        "SECRETS",
        "TOKEN",
        "TOKENS",
        "APIKEY",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "SECRET_KEY",
        "SIGNING_KEY",
        "ENCRYPTION_KEY",
        "AUTH_KEY",
        "CREDENTIAL",
        "CREDENTIALS",
        "CONNECTION_STRING",
        "DSN",
        "BEARER",
    ]
)
# A name that ends so says where a secret is, or which one, and is none itself.
_NO_SECRET_ENDINGS: Final = ("_FILE", "_PATH", "_DIR", "_ID", "_NAME", "_ARN", "_URL", "_TTL")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_AT: Final[Pointer] = ("operationContext", "environmentVariables")


@lru_cache(maxsize=4096)
def looks_secret(name: str, value: str) -> bool:
    """Whether a plain variable looks like a secret, by its name or by its value's form."""
    if TOKENS.search(value):
        return True
    words = "_" + _CAMEL.sub("_", name).upper() + "_"
    return any(term in words for term in _KEY_TERMS) and not words.rstrip("_").endswith(
        _NO_SECRET_ENDINGS
    )


def find_secrets(tree: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of a spec's environment variables and commands."""
    context = tree.get("operationContext")
    if not isinstance(context, dict):
        return []
    variables, commands = context.get("environmentVariables"), context.get("preRunCommands")
    listed = tree.get("notSecret")
    not_secret = set(map(str, listed)) if isinstance(listed, list) else set()
    found: list[Fault] = []
    for name, value in (variables if isinstance(variables, dict) else {}).items():
        fault = _check_variable(str(name), value, not_secret)
        if fault:
            found.append(fault)
    for index, command in enumerate(commands if isinstance(commands, list) else ()):
        if isinstance(command, str) and TOKENS.search(command):
            message = "looks like it holds a secret; put it into a variable and use that"
            at: Pointer = ("operationContext", "preRunCommands", index)
            found.append(Fault(at, message, Mistake.SECRET_IN_THE_CLEAR))
    return found


def _check_variable(name: str, value: object, not_secret: set[str]) -> Fault | None:
    at = (*_AT, name)
    if name in RESERVED_VARIABLES:
        return Fault(at, "is set by the engine itself; leave it out")
    if name.startswith(MARKER_PREFIX):
        return Fault(at, f"names that begin {MARKER_PREFIX} are the reconciler's own; rename it")
    if isinstance(value, str) and value and name not in not_secret and looks_secret(name, value):
        return Fault(
            at,
            "looks like a secret in the clear; name where it comes from instead: "
            "{secret: {fromEnv: RECONCILER_SECRET_…}}, or list it in notSecret if it is none",
            Mistake.SECRET_IN_THE_CLEAR,
        )
    return None
