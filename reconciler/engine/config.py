"""What an engine is started with, and where in its data directory everything lies."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.images import DEFAULT_IMAGE
from reconciler.engine.kubernetes_settings import KubernetesSettings

__all__ = [
    "Containers",
    "EngineConfig",
    "HttpLimits",
    "KeepLogs",
    "Layout",
    "Limits",
    "SourceSettings",
    "TlsFiles",
]

# One deployment takes most of a processor while its program starts, and waits for a cloud
# the rest of the time; two at once also keep one slow stack from stopping all others.
FEWEST_WORKERS = 2

# As long as the longest single resource that people wait for by hand.
CANCEL_GRACE = timedelta(minutes=10)

# Long enough for one reconciler to end and the next to start.
IDLE_EXIT = timedelta(seconds=10)


# A program of pulumi's takes about 20 processes and 250 MB, one that builds things several
# times that. The limits are for what has gone wild, and one deployment must not take a host.
MOST_PROCESSES = 1024
MOST_MEMORY_BYTES = 4 * 1024**3
MOST_DISK_BYTES = 10 * 1024**3

# A person who mistypes a token, and a client that has not heard of a new one, stay below it.
FAILED_LOGINS = 60

# A year, and the month in which somebody looks at it.
KEEP_AUDIT = timedelta(days=400)

# Longer than anybody asks what went wrong, and as much as a small disk has to spare.
KEEP_LOGS = timedelta(days=90)
MOST_LOGS_BYTES = 10 * 1024**3


# A large image over a slow line; a registry that hangs must not hold a worker for ever.
PULL_LIMIT = timedelta(minutes=15)


def _workers() -> int:
    return max(FEWEST_WORKERS, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all programs of one deployment may use together; 0 is no limit.

    `disk_bytes` counts the workspace. How strictly each is kept is the runner's to say.
    """

    processes: int = MOST_PROCESSES
    memory_bytes: int = MOST_MEMORY_BYTES
    disk_bytes: int = MOST_DISK_BYTES


# A clone of a large repository's newest commit takes minutes over a slow line; and what is
# larger than this is no program. All mirrors together: about as much as the plugins take.
SOURCE_LIMIT = timedelta(minutes=15)
LARGEST_SOURCE_BYTES = 4 * 1024**3
MIRRORS_BYTES = 20 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """How sources are got.

    `hosts` are those that may be asked though their addresses are not public (see
    `sources.urls.Reach`). `known_hosts` and `certificates` are files: the host keys to trust
    (None: the one in the data directory), and more certificates for https. `limit` and
    `largest_bytes` hold for one source, `mirrors_bytes` for all mirrors together.
    """

    hosts: tuple[str, ...] = ()
    known_hosts: Path | None = None
    certificates: Path | None = None
    lfs: bool = False
    submodules: bool = False
    limit: timedelta = SOURCE_LIMIT
    largest_bytes: int = LARGEST_SOURCE_BYTES
    mirrors_bytes: int = MIRRORS_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What clients may take: connections at once, and seconds for a request's head and body.

    `streams` are the answers that go on, in all and of one token; each may hold a page of a log,
    some megabytes.

    A connection costs a few kilobytes; a body of the largest size over a slow line takes half
    a minute.
    """

    connections: int = 1000
    head_s: float = 10.0
    body_s: float = 60.0
    streams: int = 64
    streams_per_token: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """A certificate with its chain, and its key, as PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """How containers are made.

    `images` says what becomes of an image that a request asks for: `use` it (a request is
    refused where nothing can), `ignore` it or `refuse` it. `default_image` is for requests
    without one where the container runner is the usual one. `pull` is `always`, `missing` or
    `never`; `network` is podman's or docker's own name of one, empty for their default.
    """

    images: str = "use"
    default_image: str = DEFAULT_IMAGE
    pull: str = "always"
    pull_limit: timedelta = PULL_LIMIT
    network: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLogs:
    """For how long logs are kept, and how large all may be together; 0 is no limit."""

    age: timedelta = KEEP_LOGS
    size_bytes: int = MOST_LOGS_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The settings of one engine.

    `port` 0 takes a free one. `runner` names one, or None for the best that works here.
    `workers` is how many deployments it runs at once, and 0 none: others do; of one organization
    no more than `most_per_organization` run everywhere, 0 being no limit. `database` is shared
    with other processes; without it the engine is alone, with a file of its own.
    `cancel_grace` is how long an interrupted operation may take to end by itself.
    `backend` is the URL of the place that Pulumi's state is kept in, empty for the data
    directory; each organization has a part of its own there. `key_file` holds the key that
    secrets are encrypted with, in place of the usual one.
    `public_url` is the address that others know the engine by, as `https://engine.example.com`;
    with one, it is an issuer of identity tokens. `aws_sts_url` is asked for AWS's credentials,
    in place of AWS's own. `local_repositories` allows `file://` sources. `allow_write` are
    directories, besides its own, that deployments may change; `hide` are paths they are not to
    see, where the runner can hide them. `sources` says how programs are got. `limits` hold for
    each deployment. `failed_logins` is how many invalid tokens one address may present in a
    minute; `trusted_proxies` are believed when they say whose calls they pass on; entries of
    the audit log are kept for `keep_audit`. `metrics` is the address to serve metrics at, and
    `traces` the URL to send traces to; empty for none. Without `tls` it listens on loopback, unless
    `insecure_listen` says otherwise; `http` bounds what clients take. An `embedded` engine ends
    when it has had no user and no work for `idle_exit`.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    runner: str | None = None
    workers: int = field(default_factory=_workers)
    most_per_organization: int = 0
    cancel_grace: timedelta = CANCEL_GRACE
    backend: str = ""
    key_file: Path | None = None
    public_url: str = ""
    aws_sts_url: str = ""
    local_repositories: bool = False
    allow_write: tuple[Path, ...] = ()
    hide: tuple[Path, ...] = ()
    limits: Limits = Limits()
    kubernetes: KubernetesSettings = KubernetesSettings()  # noqa: RUF009 - a frozen value
    sources: SourceSettings = SourceSettings()
    failed_logins: int = FAILED_LOGINS
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    keep_audit: timedelta = KEEP_AUDIT
    keep_logs: KeepLogs = KeepLogs()
    metrics: str = ""
    traces: str = ""
    tls: TlsFiles | None = None
    insecure_listen: bool = False
    http: HttpLimits = HttpLimits()
    containers: Containers = Containers()
    database: DatabaseUrl | None = None
    embedded: bool = False
    idle_exit: timedelta = IDLE_EXIT


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is below one data directory, which is an absolute path."""

    data: Path

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.data / "engine.db"

    @property
    def key(self) -> Path:
        """The key that the secrets in the database are encrypted with."""
        return self.data / "engine.key"

    @property
    def lock(self) -> Path:
        """Held by the engine that uses this directory; holds its process id."""
        return self.data / "engine.lock"

    @property
    def users_lock(self) -> Path:
        """Held shared by every process that uses an embedded engine."""
        return self.data / "users.lock"

    @property
    def successor_lock(self) -> Path:
        """Held shared by who waits for an embedded engine to end, to start one in its place."""
        return self.data / "successor.lock"

    @property
    def address(self) -> Path:
        """Where an embedded engine answers: `{"url": …, "pid": …}`."""
        return self.data / "address.json"

    @property
    def embedded_token(self) -> Path:
        """The token that an embedded engine's users present."""
        return self.data / "embedded.token"

    @property
    def work(self) -> Path:
        """The workspaces of running deployments."""
        return self.data / "work"

    @property
    def repositories(self) -> Path:
        """The mirrors of repositories."""
        return self.data / "repositories"

    @property
    def known_hosts(self) -> Path:
        """The host keys that ssh may trust, where no other file is named."""
        return self.data / "known_hosts"

    @property
    def logs(self) -> Path:
        """The logs of all deployments."""
        return self.data / "logs"

    @property
    def backends(self) -> Path:
        """The Pulumi state of all organizations."""
        return self.data / "backends"

    @property
    def all_plugins(self) -> Path:
        """The Pulumi plugins of all organizations."""
        return self.data / "plugins"

    def backend(self, organization: str) -> Path:
        """Return the directory of an organization's Pulumi state."""
        return self.backends / organization

    def plugins(self, organization: str) -> Path:
        """Return the directory of the Pulumi plugins an organization has downloaded."""
        return self.all_plugins / organization
