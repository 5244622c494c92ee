"""The places other than a directory that Pulumi keeps state in: buckets and PostgreSQL. Pure.

Only Pulumi itself looks into them. Each organization has a part of its own: a prefix of the
bucket, a table of the database.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from reconciler.errors import UsageError

__all__ = [
    "PASSWORD_VARIABLE",
    "SCHEMES",
    "RemoteBackend",
    "already_there",
    "locked_since",
    "parse",
]

SCHEMES = ("s3", "azblob", "gs", "postgres")

# Where the password of a PostgreSQL backend comes from: arguments can be seen by everybody.
PASSWORD_VARIABLE = "RECONCILER_BACKEND_PASSWORD"  # noqa: S105 - the variable's name

# What Pulumi reads for each kind of bucket; those that are secret by themselves are masked.
_AZURE = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN")
_GOOGLE = ("GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN")
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_NO_SECRETS = frozenset({"AZURE_STORAGE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"})

# With a profile the backend's credentials do not meet those that the program has in AWS_….
PROFILE = "reconciler-backend"

_TABLE = "pulumi_state"
# PostgreSQL cuts names at 63 bytes, and Pulumi appends 15 for an index.
_LONGEST_PART = 32

_LOCKED = re.compile(r"the stack is currently locked by \d+ lock")
_LOCK_TIME = re.compile(r": created by .* \(pid \d+\) at (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBackend:
    """One organization's place of state. `url` holds no secret.

    Pulumi's own commands see `variables`, over the deployment's, and `defaults`, below them; no
    other command does. `credentials` is the content of a file of AWS's, or empty.
    """

    url: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    defaults: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def parse(url: str, organization: str, environment: Mapping[str, str]) -> RemoteBackend:
    """Return an organization's part of the place that `url` names; UsageError says what is wrong.

    `environment` is the engine's own: what opens the place is looked up there.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        password = parts.password
    except ValueError:
        raise UsageError(f"--backend: {_shown(url)} is no URL") from None
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment:
        raise UsageError(
            f"--backend: {_shown(url)} is none of file:///DIR, s3://BUCKET, azblob://CONTAINER, "
            "gs://BUCKET and postgres://USER@HOST/DATABASE"
        )
    if password is not None or any("password" in name.lower() for name, _ in query):
        raise UsageError(
            f"--backend: holds a password, which everybody on this host could see; give it in "
            f"{PASSWORD_VARIABLE}"
        )
    if parts.scheme == "postgres":
        return _postgres(parts, dict(query), organization, environment)
    path = f"{parts.path.rstrip('/')}/{quote(organization)}"
    given = {name: environment[name] for name in _AZURE + _GOOGLE if environment.get(name)}
    if parts.scheme == "s3":
        return _s3(parts._replace(path=path), dict(query), environment)
    names = _AZURE if parts.scheme == "azblob" else _GOOGLE
    defaults = {name: value for name, value in given.items() if name in names}
    return RemoteBackend(
        url=urlunsplit(parts._replace(path=path)),
        defaults=defaults,
        secrets=tuple(v for name, v in defaults.items() if name not in _NO_SECRETS),
    )


def already_there(output: str) -> bool:
    """Whether `pulumi stack init` says that the stack is there already."""
    return "already exists" in output and _LOCKED.search(output) is None


def locked_since(output: str, moment: datetime) -> bool:
    """Whether Pulumi says that there are locks, and all of them were made at `moment` or later.

    Pulumi tells whole seconds.
    """
    if _LOCKED.search(output) is None:
        return False
    made = [datetime.fromisoformat(text) for text in _LOCK_TIME.findall(output)]
    return bool(made) and min(made) >= moment - timedelta(seconds=1)


def _s3(parts: SplitResult, query: dict[str, str], environment: Mapping[str, str]) -> RemoteBackend:
    keys = {name: environment[name] for name in _AWS if environment.get(name)}
    if "region" not in query and environment.get("AWS_REGION"):
        query["region"] = environment["AWS_REGION"]
    content = ""
    # Without keys Pulumi finds those of the machine's own role.
    if keys and "profile" not in query:
        query["profile"] = PROFILE
        lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
        content = "\n".join([f"[{PROFILE}]", *lines, ""])
    url = urlunsplit(parts._replace(query=urlencode(query)))
    return RemoteBackend(url=url, credentials=content, secrets=tuple(keys.values()))


def _postgres(
    parts: SplitResult, query: dict[str, str], organization: str, environment: Mapping[str, str]
) -> RemoteBackend:
    query["table"] = f"{query.get('table', _TABLE)}_{_identifier(organization)}"
    url = urlunsplit(parts._replace(query=urlencode(query)))
    password = environment.get(PASSWORD_VARIABLE, "") or environment.get("PGPASSWORD", "")
    return RemoteBackend(
        url=url,
        variables={"PGPASSWORD": password} if password else {},
        secrets=(password, quote(password, safe="")) if password else (),
    )


def _identifier(organization: str) -> str:
    """Return a part of a table's name that no other organization has."""
    plain = "".join(c if re.match("[a-z0-9]", c) else f"_{ord(c):02x}" for c in organization)
    if len(plain) <= _LONGEST_PART:
        return plain
    return hashlib.sha256(organization.encode()).hexdigest()[:_LONGEST_PART]


def _shown(url: str) -> str:
    """Return a URL as it may be shown: without what could be a password."""
    return repr(re.sub(r"://[^/@]*@", "://…@", unquote(url))[:200])
