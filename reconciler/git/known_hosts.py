"""The host keys that an engine knows from the start, and what to say where one is not known. Pure.

The keys are those that the forges publish; each has one line here, and its fingerprint is
compared by a test with the published one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from reconciler.git.urls import Location

__all__ = ["SHIPPED", "advice", "name_of"]

SHIPPED = """\
github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf
bitbucket.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO
"""

_SSH_PORT = 22


def name_of(location: Location) -> str:
    """Return what a line of a known_hosts file calls the host: `host` or `[host]:port`."""
    if location.actual_port == _SSH_PORT:
        return location.host
    return f"[{location.host}]:{location.port}"


def advice(output: str, location: Location, file: Path) -> str:
    """Return what to do after ssh has refused the host's key; empty where it has not.

    `output` is what ssh and git said.
    """
    scan = f"ssh-keyscan -p {location.actual_port} {location.host}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in output:
        return (
            f"the host key of {name_of(location)} is another than the known one: somebody may "
            f"be in between. Ask whoever runs the host whether the key was changed; if so, remove "
            f"the old line from {file} and add the new one ({scan})"
        )
    if "host key is known for" in output or "Host key verification failed" in output:
        return (
            f"the host key of {name_of(location)} is not known here: get it with "
            f"`{scan}`, compare it with the fingerprint that the host publishes, and add its "
            f"line to {shlex.quote(str(file))}"
        )
    return ""
