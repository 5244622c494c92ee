"""Where a branch or tag points to now, asked from git itself.

One `git ls-remote` for a repository answers for all specs that use it. Nothing of a spec can
become an option or another program: arguments are a list, `--` stands before data, schemes are
allow-listed, and no configuration but ours is read. Credentials travel in the environment.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final
from urllib.parse import quote, urlsplit

from reconciler.adapters.git_process import GitFailedError, list_refs
from reconciler.api.create_body import is_relative_url
from reconciler.api.types import BasicAuth, GitAuth, GitSource, Secret
from reconciler.clock import Clock

__all__ = ["GitRefs", "Revision", "Unavailable", "resolve_url"]

# The longest wait after failures: by then a person has mended it, and asking costs little.
MAX_BACKOFF: Final = timedelta(minutes=15)
# The first wait after a failure; it doubles.
FIRST_BACKOFF: Final = timedelta(seconds=15)

# What of git's own words a person needs.
MAX_MESSAGE: Final = 300

# With the slashes: git takes `http::ext::x` for another transport.
_ALLOWED: Final = ("https://", "http://", "file://")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# What GitHub calls the user of a token; GitLab, Gitea and others take any name.
_USER_OF_A_TOKEN: Final = "x-access-token"  # noqa: S105 - a user's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The commit that a source points to; `again_at` None: it cannot move."""

    commit: str
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Why it is not known where a source points to (secrets masked), and when to ask again."""

    message: str
    again_at: datetime


@dataclass(slots=True)
class _Remote:
    """What is known of one repository, seen with one credential."""

    wanted: set[str] = field(default_factory=set)
    refs: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    failure: str = ""
    failures: int = 0
    again_at: datetime | None = None
    lock: Lock = field(default_factory=Lock)


_Key = tuple[str, GitAuth[Secret] | None]


def resolve_url(url: str, base: Path) -> str:
    """Return the URL itself, or for a relative one the `file://` URL of what it means at `base`."""
    if not is_relative_url(url):
        return url
    return "file://" + quote(os.path.realpath(base / url))


class GitRefs:
    """Asks each repository at most once in `poll_interval`. Safe to use from several threads."""

    def __init__(self, clock: Clock, poll_interval: timedelta = timedelta(seconds=60)) -> None:
        self._clock = clock
        self._poll_interval = poll_interval
        self._remotes: dict[_Key, _Remote] = {}
        self._lock = Lock()

    def forget(self) -> None:
        """Ask again for everything the next time, whatever is known."""
        with self._lock:
            remotes = list(self._remotes.values())
        for remote in remotes:
            with remote.lock:
                remote.again_at = None
                remote.asked = frozenset()

    def head(self, source: GitSource[Secret], base: Path) -> Revision | Unavailable:
        """Return the commit that a source points to; `base` is what a relative URL starts from."""
        if source.commit:
            return Revision(commit=source.commit)
        url = resolve_url(source.repo_url, base)
        with self._lock:
            remote = self._remotes.setdefault((url, source.auth), _Remote())
        names = _ref_names(source)
        with remote.lock:
            self._ask(remote, url, source.auth, names)
            again_at = remote.again_at or self._clock.now()
            if remote.failure:
                return Unavailable(message=remote.failure, again_at=again_at)
            commit = next((remote.refs[name] for name in names if name in remote.refs), "")
        if commit:
            return Revision(commit=commit, again_at=again_at)
        return Unavailable(message=_missing(source, url), again_at=again_at)

    def _ask(
        self, remote: _Remote, url: str, auth: GitAuth[Secret] | None, names: tuple[str, ...]
    ) -> None:
        now = self._clock.now()
        remote.wanted.update(names)
        due = remote.again_at is None or now >= remote.again_at
        if not due and (remote.failure or remote.asked.issuperset(names)):
            return
        asked = frozenset(remote.wanted)
        failure = _refuse(url, auth)
        if not failure:
            try:
                remote.refs = list_refs(url, sorted(asked), _configuration(url, auth))
            except GitFailedError as error:
                # Masked before it is cut, so that no part of a secret is left.
                failure = f"{url} cannot be asked: {_masked(str(error), auth)[:MAX_MESSAGE]}"
        remote.failure = failure
        remote.asked = asked
        if failure:
            wait = min(FIRST_BACKOFF * 2 ** min(remote.failures, 16), MAX_BACKOFF)
            remote.failures += 1
            remote.again_at = now + wait
            return
        remote.failures = 0
        remote.again_at = now + self._poll_interval


def _ref_names(source: GitSource[Secret]) -> tuple[str, ...]:
    """Return the refs that answer, the best first: an annotated tag's commit, not the tag."""
    if source.branch:
        return (f"refs/heads/{source.branch_name}",)
    if source.tag:
        name = f"refs/tags/{source.tag.removeprefix('refs/tags/')}"
        return (f"{name}^{{}}", name)
    return ("HEAD",)


def _missing(source: GitSource[Secret], url: str) -> str:
    if source.branch:
        return f"{url} has no branch '{source.branch_name}'"
    if source.tag:
        return f"{url} has no tag '{source.tag}'"
    return f"{url} has no commit yet"


def _refuse(url: str, auth: GitAuth[Secret] | None) -> str:
    """Return why a URL is not asked at all, or an empty text."""
    if not url.startswith(_ALLOWED):
        return "not yet: branches and tags are followed over https, http and file:// only"
    if auth is None:
        return ""
    if auth.ssh is not None:
        return (
            "not yet: sshAuth; branches and tags are followed over https with a token or password"
        )
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return f"{url} is plain http, over which no credential is sent; use https"
    return ""


def _configuration(url: str, auth: GitAuth[Secret] | None) -> list[tuple[str, str]]:
    """Return git's settings for one call; the header goes to this host only."""
    settings = [("credential.helper", ""), ("core.askPass", ""), ("protocol.version", "2")]
    pair = _user_and_password(auth)
    if pair is None:
        return settings
    header = b64encode(":".join(pair).encode()).decode()
    parts = urlsplit(url)
    scope = f"{parts.scheme}://{parts.netloc}/"
    return [
        *settings,
        (f"http.{scope}.extraHeader", f"Authorization: Basic {header}"),
        # A redirect could lead to another host, and git would take the header along.
        ("http.followRedirects", "false"),
    ]


def _user_and_password(auth: GitAuth[Secret] | None) -> tuple[str, str] | None:
    match auth:
        case GitAuth(basic=BasicAuth(user_name=user, password=password)):
            return _text(user), _text(password)
        case GitAuth(access_token=token) if token is not None:
            return _USER_OF_A_TOKEN, _text(token)
        case _:
            return None


def _text(value: Secret | str) -> str:
    return value.value if isinstance(value, Secret) else value


def _masked(message: str, auth: GitAuth[Secret] | None) -> str:
    """Take out what a credential holds, in case the other side repeats it."""
    pair = _user_and_password(auth)
    if pair is None:
        return message
    for secret in (b64encode(":".join(pair).encode()).decode(), quote(pair[1], safe=""), pair[1]):
        message = message.replace(secret, "[secret]") if secret else message
    return message
