"""The host's own configuration: what specs may read here, how much may happen, who is told.

It belongs to the host and not to the repository, so it is believed only where nobody but root
and the daemon's own user can write it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from reconciler.adapters import yaml_reader
from reconciler.adapters.host_news import Target, check_targets, read_targets
from reconciler.adapters.spec_checks import section
from reconciler.adapters.spec_defaults import problem_of
from reconciler.adapters.spec_file import problem_at, sorted_problems, without_followers
from reconciler.adapters.spec_layers import Layer, Origins
from reconciler.adapters.spec_schema import Form
from reconciler.adapters.spec_times import parse_duration, read_windows
from reconciler.adapters.yaml_faults import YamlFault
from reconciler.api.types import StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.errors import UsageError
from reconciler.files import read_trusted
from reconciler.model import Problem
from reconciler.planning.admission import Limits

__all__ = ["DEFAULT_PATH", "HostConfig", "load", "parse"]

# Where it is looked for when no option names another place.
DEFAULT_PATH: Final = Path("/etc/reconciler/config.yaml")
# Hundreds of commands take a tenth of it.
MAX_BYTES: Final = 1 << 20

# More often would be a load on whoever serves the repositories.
SHORTEST_POLL: Final = timedelta(seconds=5)

_CONFIG: Final = Form("config.schema.json", "the host's config")
_BELONGS: Final = "secrets, limits, console and notifications belong here"
_LIMITS: Final[Pointer] = ("limits",)
_COMMANDS: Final[Pointer] = ("secrets", "commands")
_LONGEST_NAME: Final = 64
# Without a user, a query or a part of the page: a link is made of it.
_CONSOLE_URL: Final = re.compile(r"https?://[^/?#@\s]+(?:/[^?#\s]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """What a host says; without a file, what is allowed everywhere.

    `environment` are variables' names, or their beginnings with a `*` behind. `commands` is
    name → the program's path and its arguments. `poll_interval` is for each repository.
    `targets` are told of what happens. `console_url` is where people reach the console, without a
    slash at its end; empty where nobody says.
    """

    environment: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    poll_interval: timedelta = timedelta(seconds=60)
    targets: tuple[Target, ...] = ()
    console_url: str = ""


def load(path: Path | None) -> HostConfig:
    """Read the file that an option names, or the usual one where it is there.

    UsageError names every mistake with its line, or why the file is not believed.
    """
    if path is None:
        if not os.path.lexists(DEFAULT_PATH):
            return HostConfig()
        path = DEFAULT_PATH
    try:
        content = read_trusted(path, MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error.strerror or error}") from None
    found = parse(path, content)
    if not isinstance(found, HostConfig):
        raise UsageError("the host's config has mistakes:\n" + "\n".join(map(str, found)))
    return found


def parse(path: Path, content: bytes) -> HostConfig | tuple[Problem, ...]:
    """Read the content of a file; all its problems where it has some."""
    document = yaml_reader.read(content, _CONFIG.shape, _BELONGS)
    if isinstance(document, YamlFault):
        return (problem_of(path, document),)
    tree: Mapping[str, Any] = document.tree if isinstance(document.tree, dict) else {}
    found = [] if _CONFIG.fits(document.tree) else list(_CONFIG.faults(document.tree))
    faults: list[Fault] = []
    config = _config(tree, faults)
    faults += [*_check_commands(tree), *_check_names(tree), *check_targets(tree)]
    faults += _check_console(tree)
    found = without_followers(found, faults)
    if found:
        origins = Origins([Layer(path, document, tree)], _CONFIG.shape)
        return sorted_problems(problem_at(origins, fault) for fault in found)
    return config


def _config(tree: Mapping[str, Any], faults: list[Fault]) -> HostConfig:
    """Read what fits; of no use where there are faults."""
    secrets, given = section(tree, "secrets"), section(tree, "limits")
    commands = section(secrets, "commands")
    return HostConfig(
        environment=_texts(secrets.get("environment")),
        folders=tuple(map(Path, _texts(secrets.get("folders")))),
        commands=MappingProxyType({name: _texts(argv) for name, argv in commands.items()}),
        limits=_limits(given, faults),
        poll_interval=_poll_interval(given, faults),
        targets=read_targets(tree),
        console_url=str(section(tree, "console").get("url", "")).rstrip("/"),
    )


def _limits(given: Mapping[str, Any], faults: list[Fault]) -> Limits:
    usual = Limits()
    concurrent = given.get("maxConcurrent")
    more = concurrent if isinstance(concurrent, dict) else {"total": concurrent}
    change, removal = section(given, "massChange"), section(given, "massRemoval")
    return Limits(
        max_concurrent=_number(more.get("total"), usual.max_concurrent),
        per_organization=_numbers(more.get("perOrganization")),
        per_label=_numbers(more.get("perLabel")),
        mass_change_percent=_number(change.get("percent"), usual.mass_change_percent),
        mass_change_count=_number(change.get("count"), usual.mass_change_count),
        mass_removal_percent=_number(removal.get("percent"), usual.mass_removal_percent),
        mass_removal_count=_number(removal.get("count"), usual.mass_removal_count),
        windows=read_windows(given.get("windows"), (*_LIMITS, "windows"), faults),
    )


def _poll_interval(given: Mapping[str, Any], faults: list[Fault]) -> timedelta:
    text = given.get("pollInterval")
    usual = HostConfig().poll_interval
    if not isinstance(text, str):
        return usual
    try:
        interval = parse_duration(text)
    except ValueError as error:
        faults.append(Fault((*_LIMITS, "pollInterval"), str(error)))
        return usual
    if interval < SHORTEST_POLL:
        faults.append(Fault((*_LIMITS, "pollInterval"), "is too often; give 5s or more"))
    return interval


def _check_commands(tree: Mapping[str, Any]) -> Iterable[Fault]:
    for name, argv in section(tree, *map(str, _COMMANDS)).items():
        if not StackRef.is_name(name) or len(name) > _LONGEST_NAME:
            right = "is no name of a command: up to 64 letters, digits, '_', '.' and '-'"
            yield Fault((*_COMMANDS, name), right)
        if isinstance(argv, list) and argv and not str(argv[0]).startswith("/"):
            right = "is no absolute path; name the program by one, such as /usr/bin/vault"
            yield Fault((*_COMMANDS, name, 0), right)


def _check_console(tree: Mapping[str, Any]) -> Iterable[Fault]:
    url = section(tree, "console").get("url")
    if isinstance(url, str) and not _CONSOLE_URL.fullmatch(url):
        right = "is no address of a page: https://HOST, with a port or a path behind if need be"
        yield Fault(("console", "url"), right)


def _check_names(tree: Mapping[str, Any]) -> Iterable[Fault]:
    given = section(tree, "limits").get("maxConcurrent")
    at: Pointer = (*_LIMITS, "maxConcurrent")
    concurrent = given if isinstance(given, dict) else {}
    for name in section(concurrent, "perOrganization"):
        if name != "*" and not StackRef.is_name(name):
            yield Fault((*at, "perOrganization", name), 'is no organization; or "*" for all others')
    for name in section(concurrent, "perLabel"):
        key, _, text = name.partition("=")
        if not key or not text:
            yield Fault((*at, "perLabel", name), "is no label; write it as name=text, or name=*")


def _texts(given: object) -> tuple[str, ...]:
    return tuple(map(str, given)) if isinstance(given, list) else ()


def _number(given: object, usual: int) -> int:
    return given if isinstance(given, int) else usual


def _numbers(given: object) -> Mapping[str, int]:
    items = given.items() if isinstance(given, dict) else ()
    return MappingProxyType({name: n for name, n in items if isinstance(n, int)})
