"""One spec that is being made of something else, and all that is to be said about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler.adapters.spec_secrets import looks_secret
from reconciler.api.types import MARKER_PREFIX, RESERVED_VARIABLES
from reconciler.api.wire import Pointer

__all__ = [
    "SHELL_CLOSE",
    "SHELL_OPEN",
    "Draft",
    "Imported",
    "Need",
    "RefusalError",
    "Refused",
    "Remark",
    "Skipped",
]

# What the daemon may read of its environment begins so.
_PREFIX: Final = "RECONCILER_SECRET_"
# As long as the name of a variable may be, less room for a number.
_LONGEST_VARIABLE: Final = 240
_NO_VARIABLE: Final = re.compile(r"[^A-Z0-9]+")
# Around the name of a variable that a shell would have put its value for: of no alphabet.
SHELL_OPEN: Final = "\ue000"
SHELL_CLOSE: Final = "\ue001"
_PLACEHOLDER: Final = re.compile(
    rf"(?:\$[A-Za-z_]\w*|\$\{{[A-Za-z_]\w*\}}|{SHELL_OPEN}[A-Za-z_]\w*{SHELL_CLOSE})\Z"
)

# The order in which a person would write them.
_ORDER: Final = (
    *("stack", "sourceContext", "executorContext", "operationContext", "inheritSettings"),
    *("schedules", "reconcile"),
)
_VARIABLES: Final[Pointer] = ("operationContext", "environmentVariables")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A variable to set before the spec can run: its name, what uses it, where its value was.

    `shared`: the origin says all; elsewhere the same variable with this origin is the same.
    """

    variable: str
    used_by: str
    origin: str
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is to be said about one field of the input; `lost`: it is not carried over."""

    pointer: Pointer
    message: str
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A spec that is ready to be checked. `hidden` are values that must not show anywhere."""

    name: str
    stack: str
    tree: Mapping[str, Any]
    comments: Mapping[Pointer, str]
    needs: tuple[Need, ...]
    remarks: tuple[Remark, ...]
    hidden: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing can be made of it, and why."""

    pointer: Pointer
    message: str
    hidden: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """It is none of what is imported; `lost`: it says something that then is missing."""

    pointer: Pointer
    message: str
    lost: bool = False
    hidden: frozenset[str] = field(default=frozenset(), repr=False)


class RefusalError(Exception):
    """Ends a conversion; becomes a `Refused`."""

    def __init__(self, pointer: Pointer, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.message = message


class Draft:
    """Collects a spec's tree, its comments, the secrets it needs, and remarks."""

    def __init__(self, name: str, stack: str) -> None:
        self.name = name
        self.stack = stack
        self.tree: dict[Any, Any] = {"stack": stack}
        self.comments: dict[Pointer, str] = {}
        self.needs: dict[str, Need] = {}
        self.remarks: list[Remark] = []
        self.hidden: set[str] = set()

    def put(self, at: Pointer, value: object) -> None:
        """Set one place of the spec."""
        node: dict[str | int, Any] = self.tree
        for part in at[:-1]:
            node = node.setdefault(part, {})
        node[at[-1]] = value

    def switch(self, at: Pointer) -> None:
        """Set one place of the spec to true."""
        self.put(at, value=True)

    def get(self, at: Pointer) -> object:
        """Return what stands at a place of the spec; None where nothing does."""
        node: object = self.tree
        for part in at:
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def lose(self, pointer: Pointer, message: str) -> None:
        """Say that a field of the input is not carried over, and why."""
        self.remarks.append(Remark(pointer=pointer, message=message, lost=True))

    def note(self, pointer: Pointer, message: str) -> None:
        """Say something about a field of the input that is carried over."""
        self.remarks.append(Remark(pointer=pointer, message=message, lost=False))

    def comment(self, at: Pointer, text: str) -> None:
        """Say something in the spec itself, above a place."""
        before = self.comments.get(at)
        self.comments[at] = f"{before}\n{text}" if before else text

    def hide(self, value: object) -> None:
        """Remember every text of a value as a secret, whatever its form."""
        match value:
            case str():
                # What a shell would look up is a variable's name, and no secret.
                if SHELL_OPEN not in value and not _PLACEHOLDER.match(value.strip()):
                    self.hidden.add(value.strip())
            case dict():
                for key, below in value.items():
                    if key not in {"secret", "ciphertext", "value", "isSecret", "plaintext"}:
                        self.hide(key)
                    self.hide(below)
            case list():
                for below in value:
                    self.hide(below)
            case int() | float() if not isinstance(value, bool):
                self.hidden.add(str(value))
        self.hidden.discard("")

    def secret(self, at: Pointer, hint: str, value: object) -> None:
        """Put a reference in place of a value that was written down, and hide the value."""
        self.hide(value)
        origin = "was written in what was imported"
        if isinstance(value, dict) and "ciphertext" in value:
            origin = "was encrypted by another service, which alone can read it"
        self.refer(at, self._free_variable(f"{self.name}_{hint}"), origin)

    def share(self, at: Pointer, text: str, origin: str) -> None:
        """Put a reference to what other specs may use too: a variable named after a text."""
        same = (n.variable for n in self.needs.values() if n.shared and n.origin == origin)
        # Two names may come to the same letters.
        variable = next(same, "") or self._free_variable(text)
        self.refer(at, variable, origin)
        self.needs[variable] = replace(self.needs[variable], shared=True)

    def refer(self, at: Pointer, variable: str, origin: str) -> None:
        """Put a reference to a variable; one variable may be used at several places."""
        self.put(at, {"secret": {"fromEnv": variable}})
        known = self.needs.get(variable)
        place = ".".join(map(str, at))
        used_by = f"{known.used_by}, {place}" if known else place
        self.needs[variable] = Need(variable=variable, used_by=used_by, origin=origin)
        self.comment(at, f"Set {variable} for the reconciler.")
        self.comment(at, f"Its value {origin}.")

    @staticmethod
    def variable(text: str) -> str:
        """Return the name of a variable the daemon may read, made of any text."""
        words = _NO_VARIABLE.sub("_", text.upper()).strip("_")
        return _PREFIX + (words[: _LONGEST_VARIABLE - len(_PREFIX)] or "VALUE")

    def _free_variable(self, text: str) -> str:
        name = self.variable(text)
        number = 2
        free = name
        while free in self.needs:
            free, number = f"{name}_{number}", number + 1
        return free

    def environment(self, name: str, value: str, pointer: Pointer) -> None:
        """Put a plain variable; what looks like a secret becomes a reference."""
        at = (*_VARIABLES, name)
        if self.reserved(name, pointer):
            return
        if _PLACEHOLDER.match(value.strip()):
            shown = value.strip().strip("${}" + SHELL_OPEN + SHELL_CLOSE)
            origin = f"would have been put here by a shell, from its variable {shown}"
            self.refer(at, self._free_variable(f"{self.name}_{name}"), origin)
            self.comment(at, "If it is no secret, write it here instead.")
        elif looks_secret(name, value) and value:
            self.secret(at, name, value)
            self.comment(at, "It looks like a secret; if it is none, write it here instead, and")
            self.comment(at, f"its name below notSecret: [{name}].")
        elif SHELL_OPEN in value:
            self.lose(pointer, f"a shell would have put a value here; set {name} in the spec")
        else:
            self.put(at, value)

    def secret_environment(self, name: str, value: object, pointer: Pointer) -> None:
        """Put a reference to a secret variable."""
        if self.reserved(name, pointer):
            self.hide(value)
        else:
            self.secret((*_VARIABLES, name), name, value)

    def reserved(self, name: str, pointer: Pointer) -> bool:
        """Whether a variable is not a spec's to set; says so."""
        if name == "PULUMI_ACCESS_TOKEN":
            message = "is the reconciler's own to know: PULUMI_ACCESS_TOKEN or --token-file"
            self.note(pointer, message)
        elif name == "PULUMI_BACKEND_URL":
            self.lose(pointer, "is the engine's to say: engine serve --backend URL")
        elif name in RESERVED_VARIABLES:
            self.lose(pointer, "is set by the engine itself")
        elif name.startswith(MARKER_PREFIX):
            self.lose(pointer, "is the reconciler's own name")
        else:
            return False
        return True

    def result(self) -> Imported:
        """Return what was made."""
        return Imported(
            name=self.name,
            stack=self.stack,
            tree={key: self.tree[key] for key in _ORDER if key in self.tree},
            comments=self.comments,
            needs=tuple(self.needs[name] for name in sorted(self.needs)),
            remarks=tuple(self.remarks),
            hidden=frozenset(self.hidden),
        )
