"""Finds the facts that `doctor` tells of, on this machine: thin, each by itself, none judged."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import stat
import subprocess  # noqa: TID251 - asking git for its version
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from reconciler.adapters.host_config import DEFAULT_PATH
from reconciler.adapters.spec_file import most_helpful
from reconciler.adapters.specs import scan
from reconciler.adapters.state_directory import locate
from reconciler.checkup import Disk, Enclosed, Git, Kept, Pulumi, Sandbox, Specs, Watching
from reconciler.cli import host, service_units
from reconciler.cli.embedded import running_in
from reconciler.errors import ReconcilerError, UsageError
from reconciler.pulumi_cli import VERSION, PulumiCli, find

__all__ = [
    "Places",
    "disks",
    "enclosed",
    "git",
    "kept",
    "keys",
    "places",
    "pulumi",
    "sandbox",
    "specs",
    "watching",
]

INOTIFY: Final = Path("/proc/sys/fs/inotify")

# Directories of specs are dozens; who has more than this has given the wrong one.
MOST_FOLDERS: Final = 1_000_000

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the options name. `api_url` is empty for the embedded engine.

    `engine` is the data directory of an engine on this machine: the embedded one's, or the one
    that `--engine-data` names.
    """

    options: argparse.Namespace
    directory: Path
    state: Path
    engine: Path
    served: bool
    api_url: str
    token_file: Path | None

    @property
    def api_host(self) -> str:
        """The host of the API's URL, without what else may be in it."""
        try:
            return urlsplit(self.api_url).hostname or "the API"
        except ValueError:
            return "the API"

    @property
    def deploys_here(self) -> bool:
        """Whether deployments run on this machine."""
        return not self.api_url or self.served or self.api_host in _LOOPBACK


def places(options: argparse.Namespace) -> Places:
    """Find out what is meant; UsageError where there is no place for state."""
    state = locate(options.data, os.environ)
    return Places(
        options=options,
        directory=options.directory,
        state=state,
        engine=options.engine_data.absolute() if options.engine_data else state / "engine",
        served=options.engine_data is not None,
        api_url=options.api_url or os.environ.get("RECONCILER_API_URL", ""),
        token_file=options.token_file,
    )


# ---------------------------------------------------------------- programs


def pulumi(limit_s: float) -> Pulumi:
    """Find Pulumi as a deployment would."""
    found = find(limit_s=limit_s)
    if not isinstance(found, PulumiCli):
        return Pulumi(tested=VERSION, trouble=found)
    return Pulumi(tested=VERSION, version=found.version, directory=str(found.directory))


def git(limit_s: float) -> Git:
    """Ask git for its version."""
    try:
        done = subprocess.run(
            ["git", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Git(trouble="it does not answer")
    except OSError as error:
        return Git(trouble=f"git: {error.strerror}")
    if done.returncode != 0:
        return Git(trouble=f"`git --version` ends with exit code {done.returncode}")
    return Git(said=done.stdout.decode(errors="replace").strip()[:100])


def sandbox(asked: str) -> Sandbox:
    """Try what deployments would run in."""
    from reconciler.engine.runners.bubblewrap import BubblewrapRunner  # noqa: PLC0415 - costs 100 ms
    from reconciler.engine.runners.cgroups import within_reach  # noqa: PLC0415 - the same
    from reconciler.engine.runners.container_engine import find_engine  # noqa: PLC0415 - the same

    trouble = ""
    containers = next((name for name in ("podman", "docker") if shutil.which(name)), "")
    if asked == "container":
        engine = find_engine()
        trouble = engine if isinstance(engine, str) else ""
        containers = containers if isinstance(engine, str) else engine.name
    return Sandbox(
        asked=asked,
        works=asked not in {"process", "container", "kubernetes"} and BubblewrapRunner().works(),
        containers=containers,
        containers_trouble=trouble,
        groups=within_reach(),
    )


# ---------------------------------------------------------------- specs and state


def specs(where: Places) -> Specs:
    """Read the specs, as the reconciler would."""
    name = str(where.directory)
    if not where.directory.is_dir():
        return Specs(directory=name, trouble="is no directory")
    try:
        rules = host.rules(where.options, host.config(where.options))
    except ReconcilerError as error:
        return Specs(directory=name, trouble=str(error).splitlines()[0])
    catalog = scan(where.directory, rules)
    first = str(most_helpful(catalog.problems)) if catalog.problems else ""
    return Specs(
        directory=name,
        specs=len(catalog.specs),
        mistakes=len(catalog.problems),
        first_mistake=first,
        organizations=frozenset(spec.stack.organization for spec in catalog.specs),
    )


def kept(where: Places) -> Iterator[Kept]:
    """Look at the directories that hold what must not be forgotten."""
    yield _kept("state directory", where.state)
    if where.served or where.engine.exists():
        yield _kept("engine's data", where.engine, needed=where.served)
        yield from _those_there("engine's data", where.engine, ("logs", "work", "backends"))


def keys(where: Places) -> Iterator[Kept]:
    """Look at the files that are secrets, or say which secrets may be read."""
    yield from _those_there("key of hashes", where.state, ("hash-key",))
    yield from _those_there("engine's", where.engine, ("engine.key", "embedded.token", "engine.db"))
    if where.token_file is not None:
        yield _kept("token", where.token_file, needed=True, folder=False)
    if where.options.key_file is not None:
        yield _kept("key of stored secrets", where.options.key_file, needed=True, folder=False)
    for folder in where.options.secrets_dir:
        yield _kept("secrets", folder, needed=True)
    config = where.options.config or DEFAULT_PATH
    if where.options.config is not None or config.exists():
        yield _kept("host's config", config, needed=True, folder=False, secret=False)


def _those_there(what: str, folder: Path, names: Iterable[str]) -> Iterator[Kept]:
    for name in names:
        path = folder / name
        if path.exists():
            yield _kept(f"{what} {name}" if path.is_dir() else what, path, folder=path.is_dir())


def _kept(
    what: str, path: Path, *, needed: bool = False, folder: bool = True, secret: bool = True
) -> Kept:
    """Look at a path; a directory has to be written to, a file to be read."""
    try:
        found = path.stat()
    except PermissionError:
        return Kept(what=what, path=str(path), exists=True, usable=False, user=os.geteuid())
    except OSError:
        above = next((p for p in path.absolute().parents if p.exists()), Path("/"))
        usable = os.access(above, os.W_OK | os.X_OK)
        return Kept(what=what, path=str(path), exists=False, needed=needed, usable=usable)
    if folder != stat.S_ISDIR(found.st_mode):
        wanted = "a directory" if folder else "a file"
        raise UsageError(f"{what}, {path}, is not {wanted}")
    owner = str(found.st_uid)
    with suppress(KeyError):
        owner = pwd.getpwuid(found.st_uid).pw_name
    return Kept(
        what=what,
        path=str(path),
        exists=True,
        mode=stat.S_IMODE(found.st_mode),
        owner=found.st_uid,
        user=os.geteuid(),
        owner_name=owner,
        folder=folder,
        secret=secret,
        usable=os.access(path, os.W_OK | os.X_OK if folder else os.R_OK),
        needed=needed,
    )


def disks(where: Places) -> Iterator[Disk]:
    """Look at the file systems of what is kept, each once."""
    mounts = _mounts()
    seen = set()
    named = (("state directory", where.state), ("engine's data", where.engine))
    for what, path in named:
        above = next(p for p in (path, *path.parents) if p.exists())
        number = above.stat().st_dev
        if number in seen:
            continue
        seen.add(number)
        room = os.statvfs(above)
        yield Disk(
            what=what,
            path=str(path),
            kind=mounts.get(f"{os.major(number)}:{os.minor(number)}", ""),
            free_bytes=room.f_bavail * room.f_frsize,
            free_files=room.f_favail,
            all_files=room.f_files,
        )


def _mounts() -> dict[str, str]:
    """Return device -> kind of file system."""
    found = {}
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            left, _, right = line.partition(" - ")
            found[left.split()[2]] = right.split()[0]
    return found


# ---------------------------------------------------------------- the kernel and systemd


def watching(where: Places) -> Watching:
    """Count what there is to watch, and what inotify gives."""
    folders = 1
    for _, names, _ in os.walk(where.directory):
        folders += len(names)
        if folders > MOST_FOLDERS:
            break
    return Watching(
        folders=folders,
        most_watches=_number(INOTIFY / "max_user_watches"),
        instances=_instances(),
        most_instances=_number(INOTIFY / "max_user_instances"),
    )


def _number(path: Path) -> int:
    return int(path.read_text())


def _instances() -> int:
    """Count this user's inotify instances; -1 where that is not to be seen."""
    user, found = os.geteuid(), 0
    try:
        processes = [e for e in os.scandir("/proc") if e.name.isdigit()]
    except OSError:
        return -1
    for process in processes:
        with suppress(OSError):
            if process.stat().st_uid == user:
                for entry in os.scandir(f"/proc/{process.name}/fd"):
                    with suppress(OSError):
                        found += Path(entry.path).readlink().name == "anon_inode:inotify"
    return found


def enclosed(where: Places) -> Iterator[Enclosed]:
    """Find services that an embedded engine is in, or would be in."""
    engine = None if where.api_url or where.served else running_in(where.engine)
    if engine is not None:
        with suppress(OSError):
            service = service_units.service_of(Path(f"/proc/{engine.pid}/cgroup").read_text())
            if service and not service_units.leaves_processes(service):
                yield Enclosed(service=service, process=engine.pid)
    for unit, file in service_units.with_embedded_engine():
        yield Enclosed(service=unit, file=str(file))
