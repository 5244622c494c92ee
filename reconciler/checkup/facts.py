"""What was found on a machine: values alone. Who finds them is `cli.doctor_host` and beside it.

No fact holds a secret: of a token there is whose it is, and of a key its file's mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = [
    "Clocks",
    "Contact",
    "Disk",
    "Enclosed",
    "Git",
    "Kept",
    "Pulumi",
    "Sandbox",
    "Specs",
    "Watching",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulumi:
    """The Pulumi command line; `trouble` in place of the others where there is none.

    `tested` is the version that this project's own tests run.
    """

    tested: str
    version: str = ""
    directory: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """What `git --version` says; `trouble` in its place where it says nothing."""

    said: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """How deployments would run: `asked` is `--runner`, empty where none is named.

    `works` is whether bubblewrap does, `containers` which of podman and docker is there, and
    `containers_trouble` why an asked one does not do. `groups` is the version of control groups
    that this process can bound deployments by, 0 for none.
    """

    asked: str = ""
    works: bool = False
    containers: str = ""
    containers_trouble: str = ""
    groups: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The API's time and ours when its answer came, and how long that took, in seconds."""

    theirs: datetime
    ours: datetime
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file or directory that must be kept, and by whom.

    `what` names it for people. `mode` are its permission bits, `owner` and `user` the ids of its
    owner and of who looks. `secret`: others may not even read it. `usable`: who looks can use it
    (write a directory, read a file). A missing one has `exists` False, and `usable` says whether
    it could be made. `needed`: it has to be there.
    """

    what: str
    path: str
    exists: bool
    mode: int = 0
    owner: int = 0
    user: int = 0
    owner_name: str = ""
    folder: bool = True
    secret: bool = True
    usable: bool = True
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The room where a path is: bytes, files (inodes; 0 of 0 where they are not counted)."""

    what: str
    path: str
    kind: str
    free_bytes: int
    free_files: int
    all_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What watching the specs needs of inotify, and what there is of it.

    `folders` is how many directories there are to watch; `instances` how many watchers this user
    has already, -1 where that cannot be seen.
    """

    folders: int
    most_watches: int
    instances: int
    most_instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Specs:
    """What the directory of specs holds: `trouble` where it cannot be used at all."""

    directory: str
    specs: int = 0
    mistakes: int = 0
    first_mistake: str = ""
    organizations: frozenset[str] = frozenset()
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What came of asking the API whose the token is.

    `refused_url` and `no_token` say why it was not asked; `lost` why there was no answer;
    `status` and `words` are a refusal's. `embedded`: it is the one of the state directory, and
    `running` whether that runs. `role` is empty where the API does not tell.
    """

    url: str
    embedded: bool = False
    running: bool = True
    refused_url: str = ""
    no_token: str = ""
    lost: str = ""
    status: int = 0
    words: str = ""
    user: str = ""
    organizations: frozenset[str] = frozenset()
    role: str = ""
    clocks: Clocks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosed:
    """A systemd service that an embedded engine is in, or would be in.

    `process` is the engine's id, 0 where the service's own file says it would start one.
    """

    service: str
    process: int = 0
    file: str = ""
