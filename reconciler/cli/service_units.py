"""Reads systemd's unit files and control groups, as far as `doctor` has to understand them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["leaves_processes", "service_of", "starts_embedded_engine", "with_embedded_engine"]

# Where people and packages put units; the first that has a name wins.
FOLDERS: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
)
USER_FOLDERS: Final = ("~/.config/systemd/user", "/etc/systemd/user")

# A unit file is a kilobyte.
MOST_BYTES: Final = 64 * 1024

_STARTS: Final = re.compile(r"^ExecStart=.*\breconciler(?:\.pyz)?\s+run\b(.*)$", re.MULTILINE)
_KILL_MODE: Final = re.compile(r"^KillMode=(\w+)\s*$", re.MULTILINE)


def service_of(groups: str) -> str:
    """Return the service that a process is in, from its /proc/PID/cgroup; empty where in none.

    A user's own manager is no service that ends before that user does.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "name=systemd"}:
            continue
        found = [part for part in path.split("/") if part.endswith(".service")]
        if found and not found[-1].startswith("user@"):
            return found[-1]
    return ""


def starts_embedded_engine(unit: str) -> bool:
    """Whether a unit file starts a reconciler that names no API, and is killed as one."""
    text = unit.replace("\\\n", " ")
    mode = _KILL_MODE.findall(text)
    if mode and mode[-1] in {"process", "none"}:
        return False
    names_api = "RECONCILER_API_URL" in text or "EnvironmentFile=" in text
    return any("--api-url" not in rest for rest in _STARTS.findall(text)) and not names_api


def leaves_processes(service: str) -> bool:
    """Whether systemd leaves the other processes of a service alone when that stops."""
    for folder in _folders():
        text = _text(folder / service)
        if text:
            mode = _KILL_MODE.findall(text)
            return bool(mode) and mode[-1] in {"process", "none"}
    return False


def with_embedded_engine() -> Iterator[tuple[str, Path]]:
    """Yield the services whose files start a reconciler with an embedded engine."""
    seen = set()
    for folder in _folders():
        with suppress(OSError):
            for path in sorted(folder.glob("*.service")):
                if path.name not in seen:
                    seen.add(path.name)
                    if starts_embedded_engine(_text(path)):
                        yield path.name, path


def _folders() -> list[Path]:
    return [Path(os.path.expanduser(name)) for name in (*FOLDERS, *USER_FOLDERS)]  # noqa: PTH111 - without a HOME it stays


def _text(path: Path) -> str:
    """Return a unit file with its drop-ins; empty where it cannot be read."""
    texts = []
    for each in (path, *sorted(path.with_name(f"{path.name}.d").glob("*.conf"))):
        with suppress(OSError), each.open("rb") as file:
            texts.append(file.read(MOST_BYTES).decode(errors="replace"))
    return "\n".join(texts)
