"""The names of container images: what may be one, and where it comes from. Pure.

A name was written by someone else and becomes an argument of podman or docker, which take other
texts for options and for ways to read the host's files (`dir:/etc`). So what may be is listed
here, by the grammar of the OCI's references, not what may not.
"""

from __future__ import annotations

import re

from reconciler import addresses

__all__ = ["DEFAULT_IMAGE", "full_name", "is_local", "is_loopback", "refuse", "registry"]

# What a deployment that asks for none runs in, where the container runner is the usual one.
DEFAULT_IMAGE = "pulumi/pulumi"

# The registry that a name without one means, as docker has taught everybody.
_DEFAULT_REGISTRY = "docker.io"
_OFFICIAL = "library"

# Docker's own limit.
LONGEST_NAME = 255

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)


def refuse(name: str) -> str:
    """Return why this cannot be an image's name, or an empty text where it can."""
    path = name.partition("@")[0]
    if len(path) > LONGEST_NAME + 129 or not _REFERENCE.match(name):
        return "is not an image's name, such as pulumi/pulumi-nodejs:latest"
    return ""


def full_name(name: str) -> str:
    """Return the name with its registry and tag: podman and docker then mean the same one."""
    match = _REFERENCE.match(name)
    if match is None:
        raise ValueError("not an image's name")
    host, path = _split(match)
    if host == _DEFAULT_REGISTRY and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    tag, digest = match["tag"], match["digest"]
    # A digest says it all; podman takes no tag beside it.
    end = f"@{digest}" if digest else f":{tag or 'latest'}"
    return f"{host}/{path}{end}"


def registry(name: str) -> str:
    """Return the registry of a full name."""
    return name.partition("/")[0]


def is_local(name: str) -> bool:
    """Whether a full name is of an image built on this host, which no registry has."""
    return registry(name) == "localhost"


def is_loopback(name: str) -> bool:
    """Whether the registry of a full name is on this host, where plain http does no harm."""
    host = registry(name).rpartition(":")[0] or registry(name)
    return addresses.is_loopback(host.strip("[]"))


def _split(match: re.Match[str]) -> tuple[str, str]:
    """Return registry and path. A first part without dot, colon or `localhost` is no registry."""
    host, path = match["host"], match["path"]
    if host is None:
        return _DEFAULT_REGISTRY, path
    if "." in host or ":" in host or host == "localhost":
        return host, path
    return _DEFAULT_REGISTRY, f"{host}/{path}"
