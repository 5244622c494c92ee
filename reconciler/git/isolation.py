"""The variables that keep git to itself, and how the credentials reach it. Pure.

git runs without the host's configuration, hooks, prompts and helpers, and may use the one
protocol of the URL. Credentials are in the environment of the one command that needs them,
never in arguments or files, and git gives them to the host of the URL alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.api.types import GitAuth, Secret
from reconciler.git.known_hosts import name_of
from reconciler.git.urls import Location, credentials, plain

__all__ = ["ASKPASS", "KEYED", "Contact", "Scratch", "local", "remote"]

# A server that gives less than this for as long as that has hung; git would wait for ever.
SLOWEST_BYTES_PER_S = 1000
SLOWEST_FOR_S = 60

# A host that does not answer a connection within this is not there.
CONNECT_LIMIT_S = 30

# Given to git as a program, so constant; the values come from the environment.
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$RECONCILER_GIT_USER" "$RECONCILER_GIT_PASSWORD"; }; f'
)

# Asked for a key's passphrase by ssh-add; asked again (the first was wrong), it has no other.
ASKPASS = """\
#!/bin/sh
case $1 in Enter*) printf '%s\\n' "$RECONCILER_GIT_PASSPHRASE" ;; esac
"""

# The key is in the agent's memory alone, which ends with the command.
KEYED = """\
printf '%s\\n' "$RECONCILER_GIT_KEY" |
  SSH_ASKPASS="$HOME/askpass" SSH_ASKPASS_REQUIRE=force ssh-add -q - || {
    echo "gitAuth.sshAuth: the private key cannot be read, or its password does not open it" >&2
    exit 1
  }
unset RECONCILER_GIT_KEY RECONCILER_GIT_PASSPHRASE
"""

_SETTINGS = {
    "advice.detachedHead": "false",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    # Many small files would cost more than one pack, of which a checkout is made as well.
    "fetch.unpackLimit": "1",
    # git's own upkeep would go on in the background after the command has ended.
    "gc.auto": "0",
    "maintenance.auto": "false",
    # A redirect leads where nobody has looked whether that is allowed.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": str(SLOWEST_BYTES_PER_S),
    "http.lowSpeedTime": str(SLOWEST_FOR_S),
    "http.sslVerify": "true",
    "submodule.recurse": "false",
}


@dataclass(frozen=True, slots=True)
class Scratch:
    """A directory of the one fetch, gone after it; no secret is written there."""

    root: Path

    @property
    def known_hosts(self) -> Path:
        """The host keys that ssh may trust."""
        return self.root / "known_hosts"

    @property
    def certificates(self) -> Path:
        """The certificates that a server's may be signed by; absent: the host's own."""
        return self.root / "certificates.pem"

    @property
    def askpass(self) -> Path:
        """The program that tells ssh-add the passphrase."""
        return self.root / "askpass"

    @property
    def gitlinks(self) -> Path:
        """The submodules' paths and commits, as `git ls-files -z --stage` lists them."""
        return self.root / "gitlinks"

    @property
    def gitmodules(self) -> Path:
        """The settings of `.gitmodules`, as `git config -z --list` lists them."""
        return self.root / "gitmodules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How git reaches one repository.

    `addresses` are those that the host's name stands for, where that was judged: git then asks
    no one again. `certificates` says that the scratch directory has some.
    """

    url: str
    location: Location
    auth: GitAuth[Secret] | None = field(default=None, repr=False)
    addresses: tuple[str, ...] = ()
    certificates: bool = False


def local(base: Mapping[str, str], scratch: Scratch, ceiling: Path) -> dict[str, str]:
    """Return the environment of git where it copies from this machine's files alone.

    `ceiling` is a directory above which no repository is looked for.
    """
    # The owner of a local repository may be another user; the engine's host allowed it.
    settings = _SETTINGS | {"safe.directory": "*"}
    return _whole(base, scratch, "file", settings) | {"GIT_CEILING_DIRECTORIES": str(ceiling)}


def remote(base: Mapping[str, str], scratch: Scratch, contact: Contact) -> dict[str, str]:
    """Return the environment of git where it asks a server, the credentials included."""
    location = contact.location
    settings = dict(_SETTINGS)
    extra: dict[str, str] = {}
    if location.scheme == "ssh":
        extra = _ssh(contact, scratch)
    elif location.scheme == "file":
        settings["safe.directory"] = "*"
    else:
        if contact.addresses:
            pinned = ",".join(f"[{a}]" if ":" in a else a for a in contact.addresses)
            settings["http.curloptResolve"] = f"{location.host}:{location.actual_port}:{pinned}"
        if contact.certificates:
            settings["http.sslCAInfo"] = str(scratch.certificates)
        user, password = credentials(contact.auth, location.host)
        if contact.auth is not None:
            extra = {"RECONCILER_GIT_USER": user, "RECONCILER_GIT_PASSWORD": password}
            settings[f"credential.{location.scheme}://{location.authority}.helper"] = _HELPER
    return _whole(base, scratch, location.scheme, settings) | extra


def _whole(
    base: Mapping[str, str], scratch: Scratch, protocol: str, settings: Mapping[str, str]
) -> dict[str, str]:
    kept = {n: v for n, v in base.items() if not n.startswith(("GIT_", "SSH_", "LC_", "LANG"))}
    variables = kept | {
        "GIT_ALLOW_PROTOCOL": protocol,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": str(scratch.root),
        "TMPDIR": str(scratch.root),
        # What git says is looked through for reasons, which are English.
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    if "SSL_CERT_FILE" in base:
        variables["SSL_CERT_FILE"] = base["SSL_CERT_FILE"]
    for index, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{index}"] = key
        variables[f"GIT_CONFIG_VALUE_{index}"] = value
    return variables


def _ssh(contact: Contact, scratch: Scratch) -> dict[str, str]:
    """Return what ssh is told, and the key with its passphrase for the agent."""
    known_hosts = str(scratch.known_hosts).replace("%", "%%")
    options = {
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(CONNECT_LIMIT_S),
        "ControlPath": "none",
        "ForwardAgent": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": name_of(contact.location),
        "IdentityFile": "none",
        "PermitLocalCommand": "no",
        "PreferredAuthentications": "publickey",
        "ServerAliveCountMax": "4",
        "ServerAliveInterval": str(SLOWEST_FOR_S // 4),
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": f'"{known_hosts}"',
    }
    if contact.addresses:
        options["HostName"] = contact.addresses[0]
    argv = ["ssh", "-F", "/dev/null"]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    auth = contact.auth.ssh if contact.auth is not None else None
    key = "" if auth is None else plain(auth.private_key).replace("\r\n", "\n").strip()
    return {
        "GIT_SSH_COMMAND": shlex.join(argv),
        "GIT_SSH_VARIANT": "ssh",
        "RECONCILER_GIT_KEY": key,
        "RECONCILER_GIT_PASSPHRASE": plain((auth and auth.password) or ""),
        # The agent's socket is below it, and the path of a socket has 107 characters at most.
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own; the agent makes a directory of its own
    }
