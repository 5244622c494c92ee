"""Where the program is: a git source's parts → `sourceContext.git` of a spec. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from reconciler.api.wire import Pointer
from reconciler.importing.draft import Draft, RefusalError

__all__ = ["Source", "put_paths", "put_source", "repository_url", "without_user"]

_GIT: Final[Pointer] = ("sourceContext", "git")
_HTTP: Final = ("http://", "https://")
_USER: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/@]*)@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A git source as it was found; `at` is where, `names` are the keys it had there."""

    at: Pointer
    url: str
    branch: str = ""
    commit: str = ""
    tag: str = ""
    folder: str = ""


def put_source(draft: Draft, source: Source) -> None:
    """Put a source, or refuse: a spec without one says nothing."""
    if not source.url:
        raise RefusalError(source.at, "names no git repository, which a spec needs: its program")
    url, user, password = without_user(source.url)
    address, _, query = url.partition("?")
    if query and url.startswith(_HTTP):
        url = address
        draft.hide([query, *(part.partition("=")[2] for part in query.split("&"))])
        draft.lose((*source.at, "repoUrl"), "what follows a '?' may be a token; give it as gitAuth")
    draft.put((*_GIT, "repoUrl"), url)
    revisions = {"commit": source.commit, "branch": source.branch, "tag": source.tag}
    given = {key: text for key, text in revisions.items() if text}
    if not given:
        raise RefusalError(source.at, "names no branch, commit or tag; a spec follows one of them")
    kept, *others = given
    draft.put((*_GIT, kept), given[kept])
    for key in others:
        draft.lose((*source.at, key), f"a spec has one of them, and here the {kept} is kept")
    folder = source.folder.strip("/")
    if folder not in {"", "."}:
        draft.put((*_GIT, "repoDir"), folder)
    if url.startswith(_HTTP):
        _put_user(draft, user, password)
    elif password:
        draft.hide(password)
        draft.lose((*source.at, "repoUrl"), "a password is of no use over ssh; give a key")


def without_user(url: str) -> tuple[str, str, str]:
    """Return a URL without its user and password, and these two.

    `ssh://git@host` keeps its user: there it is no secret.
    """
    match = _USER.match(url)
    if match is None or (match[1].lower() not in {"http://", "https://"} and ":" not in match[2]):
        return url, "", ""
    user, _, password = match[2].partition(":")
    keep = "" if match[1].lower() in {"http://", "https://"} else f"{user}@"
    return match[1] + keep + url[match.end() :], unquote(user), unquote(password)


def _put_user(draft: Draft, user: str, password: str) -> None:
    at = (*_GIT, "gitAuth")
    if password:
        draft.secret((*at, "basicAuth", "userName"), "GIT_USER_NAME", user)
        draft.secret((*at, "basicAuth", "password"), "GIT_PASSWORD", password)
    elif user:
        draft.secret((*at, "accessToken"), "GIT_ACCESS_TOKEN", user)


def put_paths(draft: Draft, paths: list[str], at: Pointer) -> None:
    """Put which paths count as a change; a spec has no way to leave some out again."""
    for index, path in enumerate(paths):
        if path.startswith("!"):
            message = "a path cannot be left out again; name the others in sourcePaths"
            draft.lose((*at, index), message)
    kept = [path for path in paths if not path.startswith("!")]
    if kept:
        draft.put(("reconcile", "sourcePaths"), kept)


def repository_url(provider: str, repository: str) -> str:
    """Return the URL of a repository that an integration calls `owner/name`; empty: unknown."""
    hosts = {"": "github.com", "github": "github.com", "gitlab": "gitlab.com"}
    host = hosts.get(provider.lower())
    if "://" in repository:
        parts = urlsplit(repository)
        return repository if parts.scheme in {"http", "https"} else ""
    return f"https://{host}/{repository}.git" if host and repository else ""
