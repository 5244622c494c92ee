"""Which submodules a commit has, and where each comes from. Pure.

git's own `submodule update` is not used: here each submodule is a source like any other, under
the same rules, and its URL is the only thing that is believed of `.gitmodules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.git.urls import Location, parse

__all__ = ["Submodule", "read", "same_host", "url_of"]

# A repository with more of them is a catalogue, and none that a program needs at once.
MOST_SUBMODULES = 200

_ENTRY = re.compile(r"160000 ([0-9a-f]{40}|[0-9a-f]{64}) 0\t(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodule:
    """One submodule: its path in the clone, its commit, and the URL as `.gitmodules` has it."""

    path: str
    commit: str
    url: str


def read(gitlinks: str, gitmodules: str) -> tuple[Submodule, ...] | str:
    """Return the submodules, or a reason against them.

    `gitlinks` is what `git ls-files -z --stage` lists of them, `gitmodules` what
    `git config -z --list` says of the file.
    """
    sections: dict[str, dict[str, str]] = {}
    for entry in filter(None, gitmodules.split("\0")):
        key, _, value = entry.partition("\n")
        section, _, name = key.rpartition(".")
        # The first counts, so that a second one cannot take its place.
        sections.setdefault(section, {}).setdefault(name, value)
    urls = {s["path"].rstrip("/"): s.get("url", "") for s in sections.values() if "path" in s}
    found = []
    for entry in filter(None, gitlinks.split("\0")):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            return "the list of submodules cannot be read"
        commit, path = match.groups()
        if not _stays_inside(path):
            return "a submodule's path leads out of the repository"
        url = urls.get(path, "")
        if not url:
            return f"submodule {path[:200]!r} has no URL in .gitmodules"
        found.append(Submodule(path=path, commit=commit, url=url))
    if len(found) > MOST_SUBMODULES:
        return f"the repository has {len(found)} submodules; at most {MOST_SUBMODULES} are fetched"
    return tuple(found)


def url_of(submodule: Submodule, parent: str) -> str:
    """Return the submodule's whole URL: a relative one begins at its parent's, as in git."""
    url = submodule.url
    if not url.startswith(("./", "../")):
        return url
    location = parse(parent)
    if isinstance(location, str):
        return url
    head = parent.removesuffix(location.path)
    path = location.path.rstrip("/")
    while url.startswith(("./", "../")):
        word, _, url = url.partition("/")
        if word == "..":
            path = path.rpartition("/")[0]
    return f"{head}{path}/{url}" if path or head.endswith("/") or "://" in head else f"{head}{url}"


def same_host(one: Location, other: Location) -> bool:
    """Whether credentials for the one are for the other too."""
    return (one.scheme, one.host, one.actual_port) == (other.scheme, other.host, other.actual_port)


def _stays_inside(path: str) -> bool:
    parts = path.split("/")
    return all(part not in {"", ".", ".."} and part.lower() != ".git" for part in parts)
