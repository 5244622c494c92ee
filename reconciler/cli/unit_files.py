"""What systemd's unit files say, for what was asked: texts out of the shipped ones. Pure but that.

A line that begins with `system: ` or `user: ` is for one of the two kinds of managers alone, and
`@NAME@` is a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import reconciler
from reconciler.errors import UsageError

__all__ = ["ENGINE", "RECONCILER", "USERS", "Wanted", "unit", "users"]

ENGINE: Final = "reconciler-engine.service"
RECONCILER: Final = "reconciler.service"
USERS: Final = "reconciler.conf"

# Below these, ProtectHome=yes shows nothing.
_HOMES: Final = ("/home/", "/root/", "/run/user/")

# What needs no quoting on a line that systemd splits into words.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@+,=\[\]-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the units are to start, and for which manager: the system's, or a user's (`user`)."""

    program: str
    specs: str
    token: str
    api_url: str
    listen: str = "127.0.0.1:8080"
    user: bool = False


def unit(name: str, wanted: Wanted) -> str:
    """Return a unit's text; UsageError where a value cannot stand in one."""
    kind, other = ("user", "system") if wanted.user else ("system", "user")
    credential = "${CREDENTIALS_DIRECTORY}/api-token"
    seen = "read-only" if _in_a_home(wanted.program, wanted.specs) else "yes"
    values = {
        "PROGRAM": _word(wanted.program),
        "SPECS": _word(wanted.specs),
        # LoadCredential= takes the rest of its line as it is.
        "TOKEN": _text(wanted.token),
        "TOKEN_FILE": _word(wanted.token) if wanted.user else credential,
        "API_URL": _word(wanted.api_url),
        "LISTEN": _word(wanted.listen),
        "ENGINE": ENGINE,
        "HOME": seen,
        "TARGET": "default.target" if wanted.user else "multi-user.target",
    }
    lines = []
    for line in _shipped(name).splitlines():
        mark = "# " if line.startswith("# ") else ""
        rest = line.removeprefix(mark)
        if rest.startswith(f"{other}: "):
            continue
        text = mark + rest.removeprefix(f"{kind}: ")
        lines.append(re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], text))
    return "\n".join(lines) + "\n"


def users() -> str:
    """Return what `systemd-sysusers` makes the users of."""
    return _shipped(USERS)


def _shipped(name: str) -> str:
    return (files(reconciler) / "units" / name).read_text(encoding="utf-8")


def _in_a_home(*paths: str) -> bool:
    return any(path.startswith(_HOMES) for path in paths)


def _word(text: str) -> str:
    """Write a value so that systemd reads it as one word, whatever is in it."""
    escaped = _text(text).replace("$", "$$")
    if _PLAIN.fullmatch(escaped):
        return escaped
    quoted = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _text(text: str) -> str:
    """Write a value so that systemd reads it as it is where a line is not split into words."""
    if not text or not text.isprintable():
        raise UsageError(f"{text!r} cannot stand in a unit file; give a name without such letters")
    return text.replace("%", "%%")
