"""Which sources may be fetched, by their URL, revision, credentials and addresses. Pure.

Whatever names the repository was written by someone else, and git takes many texts for options,
programs and transports. So what may be is listed here, not what may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path

from reconciler.api.types import GitAuth, GitSource, Secret

__all__ = [
    "Location",
    "OwnRepository",
    "Reach",
    "against_addresses",
    "against_auth",
    "credentials",
    "identity",
    "over_ssh",
    "parse",
    "plain",
    "refuse",
]

# Longer ones exist in no real setup; browsers and servers stop at about as much.
LONGEST_URL = 2048
LONGEST_REF = 250

# The user name beside an access token: GitHub asks for this one, GitLab and Gitea take any.
TOKEN_USER = "x-access-token"  # noqa: S105 - a user name
TOKEN_USERS = {"bitbucket.org": "x-token-auth"}

# git's own names are lower case; it would look for a program `git-remote-HTTPS`.
_URL = re.compile(r"(https?|file|ssh)://(.*)", re.DOTALL)
# `git@host:path`: a path that begins with a dash or colon is for nobody's good.
_SCP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9.-]+):([^:-].*)", re.DOTALL)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_AUTHORITY = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?"
)
_LARGEST_PORT = 65535
# What a resolver reads as a number is compared as one, and there is no honest use for `0x7f.1`.
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\Z")
_COMMIT = re.compile(r"[0-9A-Fa-f]{7,64}")
_ESCAPED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
# `git help check-ref-format`, and no leading dash.
_BAD_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|(?:^|/)\.|\.lock(?:/|$)|^@$"
)
# A gateway takes these for the IPv4 address in their last 32 bits (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")

_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A repository's URL, taken apart.

    `scheme` is https, http, ssh or file. `host` is in lower case, an IPv6 address without its
    brackets; `port` 0 is the scheme's own. `path` is as it was written, with its first slash
    where the URL has one; `user` is ssh's. A file's has no host.
    """

    scheme: str
    user: str = ""
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def authority(self) -> str:
        """Return host and port as a URL has them; the port only where it was given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def actual_port(self) -> int:
        """Return the port, the scheme's own where none was given; 0 for a file."""
        return self.port or {"https": 443, "http": 80, "ssh": 22}.get(self.scheme, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRepository:
    """The repository that specs themselves come from; `root` is where its root is checked out."""

    root: Path
    url: str
    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far an engine goes for a source.

    With `local` it serves its own machine: `file://` and every address are allowed. Otherwise
    only public addresses are, and the `hosts` that are named here: `git.example.com`,
    `*.example.com` (all names below it), an address, or a network such as `10.2.0.0/16`.
    """

    local: bool = False
    hosts: tuple[str, ...] = ()

    def names(self, host: str) -> bool:
        """Whether the host, a name or address in lower case, is allowed by being named."""
        address = _address(host)
        if address is not None:
            return any(_contains(entry, address) for entry in self.hosts)
        return any(
            host == entry.lower() or (entry[:2] == "*." and host.endswith(entry[1:].lower()))
            for entry in self.hosts
        )

    def looks_up(self, location: Location) -> bool:
        """Whether the host's addresses are to be looked up and judged before it is asked."""
        return not (self.local or location.scheme == "file" or self.names(location.host))


def parse(url: str) -> Location | str:
    """Take a URL apart, or return a reason against it; only its shape is judged.

    The reason never repeats the URL, which may hold a secret.
    """
    if len(url) > LONGEST_URL:
        return f"the URL has more than {LONGEST_URL} characters"
    if not url.isprintable() or " " in url or "\\" in url or _ESCAPED_CONTROL.search(url):
        return "the URL has control characters, spaces or backslashes"
    short = _SCP.fullmatch(url)
    if short is not None and "://" not in url:
        return _located("ssh", f"{short[1]}@{short[2]}", short[3])
    match = _URL.fullmatch(url)
    if match is None:
        return "the URL does not begin with https://, http://, ssh://, git@host: or file://"
    scheme, rest = match.groups()
    if "?" in rest or "#" in rest:
        return "the URL has a query or a fragment"
    authority, slash, path = rest.partition("/")
    if scheme == "file":
        if authority or not path:
            return "a file:// URL is file:///an/absolute/path"
        return Location(scheme="file", path=slash + path)
    return _located(scheme, authority, slash + path)


def refuse(source: GitSource[Secret], reach: Reach) -> str:
    """Return why this source may not be fetched, or an empty text where it may.

    Nothing is looked up: the addresses of a name are for `against_addresses`, when it is used.
    """
    location = parse(source.repo_url)
    if isinstance(location, str):
        return location
    return (
        _against_place(location, reach)
        or _against_revision(source)
        or against_auth(source.auth, location)
    )


def over_ssh(source: GitSource[Secret]) -> GitSource[Secret]:
    """Return the source with an ssh URL in place of an https one that an SSH key comes with.

    The API's own example gives a key with an https URL: hosts of git serve both, to the user
    `git`. A port is the web server's, so a URL with one stays, and is refused.
    """
    location = parse(source.repo_url)
    if isinstance(location, str) or source.auth is None or source.auth.ssh is None:
        return source
    if location.scheme != "https" or location.port:
        return source
    return replace(source, repo_url=f"ssh://git@{location.authority}{location.path}")


def against_addresses(location: Location, addresses: Iterable[str], reach: Reach) -> str:
    """Return a reason against going to the addresses that a host's name stands for now."""
    for text in addresses:
        address = _address(text)
        if address is None or not (_is_public(address) or reach.names(text)):
            return (
                f"{location.host} stands for {text}, which is no public address; "
                "--allow-repository-host lets this engine go there"
            )
    return ""


def against_auth(auth: GitAuth[Secret] | None, location: Location) -> str:
    """Return a reason against the credentials: of the wrong kind, or not safe on the way."""
    if location.scheme == "ssh":
        if auth is None or auth.ssh is None:
            return "an ssh URL needs gitAuth.sshAuth; accessToken and basicAuth go with https"
        if "\0" in plain(auth.ssh.private_key) + plain(auth.ssh.password or ""):
            return "the private key or its password holds a NUL character"
        return ""
    if auth is None:
        return ""
    if auth.ssh is not None:
        return "sshAuth goes with an ssh URL: use accessToken or basicAuth here"
    if any(c in text for text in credentials(auth, location.host) for c in "\r\n\0"):
        return "the credentials hold a line break"
    if location.scheme == "http" and not _is_loopback(location.host):
        return "credentials are not sent over plain http, but to loopback: use https"
    return ""


def credentials(auth: GitAuth[Secret] | None, host: str) -> tuple[str, str]:
    """Return user name and password for https or http; both empty where there are none."""
    if auth is None or auth.ssh is not None:
        return "", ""
    if auth.basic is not None:
        return plain(auth.basic.user_name), plain(auth.basic.password)
    return TOKEN_USERS.get(host, TOKEN_USER), plain(auth.access_token or "")


def identity(url: str) -> str:
    """Return host and path, in lower case: the same for all URLs that one repository has.

    A forge has https and ssh ones, with and without `.git`. Empty where it is no URL.
    """
    location = parse(url)
    if isinstance(location, str):
        return ""
    return f"{location.host}/{location.path.strip('/').removesuffix('.git')}".lower()


def plain(value: Secret | str) -> str:
    """Return a value; a line end behind it came with the file that it was in."""
    text = value if isinstance(value, str) else value.value
    return text.rstrip("\r\n")


# ---------------------------------------------------------------- inside


def _located(scheme: str, authority: str, path: str) -> Location | str:
    user, at, rest = authority.rpartition("@")
    if at and scheme != "ssh":
        return "the URL holds a user name or password; credentials belong in gitAuth"
    if at and not _USER.fullmatch(user):
        return "the URL's user is not a plain name; a password belongs in gitAuth"
    if not path.strip("/"):
        return "the URL names no repository"
    match = _AUTHORITY.fullmatch(rest)
    if match is None or int(match[2] or 0) > _LARGEST_PORT:
        return "the URL's host is not a host name or address"
    host = match[1].lower()
    if _address(host) is None and (
        host.startswith("[") or _NUMBER.match(host.rpartition(".")[2]) is not None
    ):
        return "the URL's host is an address in a form that is not allowed"
    return Location(
        scheme=scheme, user=user, host=host.strip("[]"), port=int(match[2] or 0), path=path
    )


def _against_place(location: Location, reach: Reach) -> str:
    if reach.local:
        return ""
    if location.scheme == "file":
        return "file:// is allowed only where the engine serves its own machine"
    if reach.names(location.host):
        return ""
    address = _address(location.host)
    own = _is_localhost(location.host) if address is None else not _is_public(address)
    if own:
        return (
            "the URL's host is no public address; this engine goes there only with "
            "--allow-repository-host"
        )
    return ""


def _against_revision(source: GitSource[Secret]) -> str:
    """Return a reason against the branch, commit or tag."""
    if sum(map(bool, (source.branch, source.commit, source.tag))) != 1:
        return "give exactly one of branch, commit and tag"
    if source.commit and not _COMMIT.fullmatch(source.commit):
        return "the commit is not a hash of 7 to 64 hexadecimal digits"
    names = (("branch", source.branch_name), ("tag", source.tag.removeprefix("refs/tags/")))
    for what, name in names:
        if len(name) > LONGEST_REF or _BAD_REF.search(name) or not name.isprintable():
            return f"the {what} is not a name that git allows"
    return ""


def _address(host: str) -> _Address | None:
    """Return the address that the host is; an IPv4 one within an IPv6 one as itself."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: _Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _contains(entry: str, address: _Address) -> bool:
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return _is_localhost(host) if address is None else address.is_loopback
