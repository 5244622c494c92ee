"""What to say of each fact: whether it is right, and if not, what to do. Pure, a table's worth.

Every judgement that is not "ok" names the next step. Numbers that people could argue with are
constants with their reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from reconciler.checkup.facts import (
    Disk,
    Enclosed,
    Git,
    Kept,
    Pulumi,
    Sandbox,
    Specs,
    Watching,
)
from reconciler.checkup.findings import Finding, Level

__all__ = ["disk", "enclosed", "git", "kept", "not_here", "pulumi", "sandbox", "specs", "watching"]

# git reads settings from its environment (GIT_CONFIG_COUNT) since this version; without that,
# it would use the host's own settings, hooks and helpers.
OLDEST_GIT: Final = (2, 31)

# A deployment's plugins alone are hundreds of megabytes; below the lower bound not even a
# status file is safe.
LITTLE_ROOM: Final = 1024**3
NO_ROOM: Final = 100 * 1024**2
LITTLE_FILES_PERCENT: Final = 5

# What these hold is gone after a restart.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
# Locks and durable writes of these are not what a disk's are.
_OVER_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})

# A watcher is one instance, and other programs of the user have theirs.
FEW_INSTANCES: Final = 2

_MIB: Final = 1024**2
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def not_here(check: str, host: str) -> Finding:
    """Say that a check is of no use: what it asks about, another machine does."""
    return _finding(check, Level.SKIPPED, f"not needed here: deployments run at {host}")


def pulumi(fact: Pulumi) -> Finding:
    """Whether there is a Pulumi, and one that is not older than what is tested."""
    check = "pulumi"
    if fact.trouble:
        text, _, fix = fact.trouble.partition(". ")
        return _finding(check, Level.PROBLEM, text, fix or "install Pulumi so that it is on PATH")
    where = f"{fact.version}, in {fact.directory}"
    found, tested = _version(fact.version), _version(fact.tested)
    if found < tested:
        text = f"{where}: older than {fact.tested}, which the tests run"
        return _finding(check, Level.WARNING, text, "use that version, or a newer one")
    if found[0] > tested[0]:
        text = f"{where}: nobody has tried a version {found[0]} yet (tested: {fact.tested})"
        return _finding(check, Level.WARNING, text, f"use a version {tested[0]}")
    return _finding(check, Level.OK, where)


def git(fact: Git) -> Finding:
    """Whether there is a git that keeps to the settings it is given."""
    fix = f"install git {_dotted(OLDEST_GIT)} or newer (`apt-get install git`)"
    if fact.trouble:
        return _finding("git", Level.PROBLEM, f"git cannot be used: {fact.trouble}", fix)
    found = _version(fact.said)
    if found[:2] < OLDEST_GIT:
        text = f"{fact.said} is too old: it cannot be kept from the host's own settings"
        return _finding("git", Level.PROBLEM, text, fix)
    return _finding("git", Level.OK, fact.said.removeprefix("git version "))


def sandbox(fact: Sandbox) -> Iterable[Finding]:
    """How deployments would run, and what bounds them."""
    yield _runner(fact)
    if fact.asked == "kubernetes":
        return
    if fact.groups or fact.asked == "container":
        how = f"a control group, version {fact.groups}" if fact.groups else "the container"
        yield _finding("limits", Level.OK, f"processes and memory of a deployment: by {how}")
        return
    yield _finding(
        "limits",
        Level.WARNING,
        "processes and memory of a deployment are bounded for each process alone, which is weak: "
        "no control group can be made as this user",
        "run the engine as its systemd unit, which has `Delegate=yes` (`reconciler "
        "install-systemd`)",
    )


def _runner(fact: Sandbox) -> Finding:
    check = "runner"
    install = (
        "install bubblewrap (`apt-get install bubblewrap`) and allow user namespaces "
        "(`sysctl kernel.unprivileged_userns_clone=1`; in a container also seccomp and AppArmor)"
    )
    if fact.asked == "kubernetes":
        return _finding(check, Level.OK, "pods of Kubernetes, which are not looked at here")
    if fact.asked == "container":
        if not fact.containers_trouble:
            return _finding(check, Level.OK, f"containers, by {fact.containers}")
        fix = "install podman (`apt-get install podman`) or docker, and let this user use it"
        return _finding(check, Level.PROBLEM, f"no containers: {fact.containers_trouble}", fix)
    if fact.asked != "process" and fact.works:
        images = "" if fact.containers else "; no podman or docker for requests that name an image"
        return _finding(check, Level.OK, f"a sandbox, by bubblewrap{images}")
    if fact.asked == "bubblewrap":
        return _finding(check, Level.PROBLEM, "no sandbox can be made here", install)
    text = "deployed programs run as the engine's user and can read all that it can"
    if fact.asked == "process":
        fix = "run programs that you trust alone, or leave `--runner process` out"
        return _finding(check, Level.WARNING, text, fix)
    return _finding(check, Level.WARNING, f"no sandbox can be made here: {text}", install)


def kept(facts: Iterable[Kept], check: str) -> Iterable[Finding]:
    """Whether files and directories are there, and are for those alone whom they are for."""
    fine, looked = [], False
    for fact in facts:
        found, looked = _kept(fact, check), True
        if found.level is Level.OK:
            fine.append(found.message)
        else:
            yield found
    if fine or not looked:
        yield _finding(check, Level.OK, "; ".join(fine) or "none is there yet")


def _kept(fact: Kept, check: str) -> Finding:
    where = f"{fact.what}, {fact.path}"
    if not fact.exists:
        if fact.needed:
            return _finding(check, Level.PROBLEM, f"{where}, is not there", f"make {fact.path}")
        if not fact.usable:
            fix = f"make it for this user: `install -d -m 0700 -o USER {fact.path}`"
            return _finding(check, Level.PROBLEM, f"{where}, cannot be made by this user", fix)
        return _finding(check, Level.OK, f"{where}, is made when it is needed")
    if not fact.usable and fact.owner == fact.user:
        text = f"{where}, cannot be {'written to' if fact.folder else 'read'}"
        mode = "rwx" if fact.folder else "r"
        return _finding(check, Level.PROBLEM, text, f"`chmod u+{mode} {fact.path}`, or remount it")
    if not fact.usable:
        owner = fact.owner_name or str(fact.owner)
        text = f"{where}, is {owner}'s and not for this user"
        return _finding(check, Level.PROBLEM, text, f"look again as {owner}, or give another one")
    others = fact.mode & (0o077 if fact.secret else 0o022)
    if others:
        text = f"{where}, can be {'read' if fact.secret else 'written'} by others ({fact.mode:04o})"
        change = "go=" if fact.secret else "go-w"
        return _finding(check, Level.PROBLEM, text, f"`chmod {change} {fact.path}`")
    if fact.user == 0 and fact.owner != 0 and fact.secret:
        owner = fact.owner_name or str(fact.owner)
        text = f"{where}, is {owner}'s, and you are root: what root makes there, {owner} cannot use"
        fix = f"look as the one that runs it: `runuser -u {owner} -- reconciler doctor …`"
        return _finding(check, Level.WARNING, text, fix)
    return _finding(check, Level.OK, where)


def disk(facts: Iterable[Disk]) -> Iterable[Finding]:
    """Whether there is room, on something that lasts."""
    for fact in facts:
        yield from _disk(fact)


def _disk(fact: Disk) -> Iterable[Finding]:
    where = f"{fact.what}, {fact.path}"
    free = f"{fact.free_bytes // _MIB:,} MiB free"
    few_files = fact.all_files and fact.free_files * 100 < fact.all_files * LITTLE_FILES_PERCENT
    level, text = Level.OK, f"{where}: {free}"
    if fact.free_bytes < NO_ROOM or (fact.all_files and not fact.free_files):
        level, text = Level.PROBLEM, f"{text}, {fact.free_files:,} files free: nothing can be kept"
    elif few_files:
        level, text = Level.WARNING, f"{where}: room for only {fact.free_files:,} more files"
    elif fact.free_bytes < LITTLE_ROOM:
        level, text = Level.WARNING, f"{text}, which one deployment's plugins may fill"
    yield _finding("disk", level, text, "" if level is Level.OK else "make room, or move it")
    if fact.kind in _IN_MEMORY:
        text = f"{where}, is in memory ({fact.kind}) and gone after a restart"
        yield _finding("disk", Level.WARNING, text, "give a `--data` on a disk")
    elif fact.kind in _OVER_NETWORK:
        text = f"{where}, is on {fact.kind}, where locks and durable writes are not certain"
        yield _finding("disk", Level.WARNING, text, "give a `--data` on a disk of this machine")


def watching(fact: Watching) -> Finding:
    """Whether changes of the specs can be seen at once; without, a scan finds them."""
    late = "changes are then found by the scan, up to 30 s later"
    if fact.folders > fact.most_watches:
        text = (
            f"{fact.folders:,} directories to watch, and inotify allows {fact.most_watches:,} "
            f"of them: {late}"
        )
        wanted = 2 * fact.folders
        fix = f"`sysctl fs.inotify.max_user_watches={wanted}`, and the same in /etc/sysctl.d"
        return _finding("watching", Level.WARNING, text, fix)
    if fact.instances >= 0 and fact.instances + FEW_INSTANCES > fact.most_instances:
        text = (
            f"this user has {fact.instances} of {fact.most_instances} inotify instances already: "
            f"{late}"
        )
        fix = "`sysctl fs.inotify.max_user_instances=512`, and the same in /etc/sysctl.d"
        return _finding("watching", Level.WARNING, text, fix)
    few = f"{fact.folders:,} director{'y' if fact.folders == 1 else 'ies'} to watch"
    return _finding("watching", Level.OK, f"{few}, of {fact.most_watches:,} that inotify allows")


def specs(fact: Specs) -> Finding:
    """Whether the directory of specs can be read, and what it holds is valid."""
    if fact.trouble:
        fix = "give the directory that holds the specs, or make one: `reconciler init`"
        return _finding("specs", Level.PROBLEM, f"{fact.directory}: {fact.trouble}", fix)
    total = f"{fact.specs:,} valid spec{'' if fact.specs == 1 else 's'} in {fact.directory}"
    if fact.mistakes:
        many = f"{fact.mistakes:,} mistake{'' if fact.mistakes == 1 else 's'}"
        text = f"{total}, and {many}, the first: {fact.first_mistake}"
        fix = f"see all of them: `reconciler validate {fact.directory}`"
        return _finding("specs", Level.PROBLEM, text, fix)
    return _finding("specs", Level.OK, total)


def enclosed(facts: Iterable[Enclosed]) -> Iterable[Finding]:
    """Whether an embedded engine would be killed together with a service."""
    found = list(facts)
    fix = (
        "make the engine a unit of its own, and name it by `--api-url`: `reconciler "
        "install-systemd` has both units"
    )
    for fact in found:
        if fact.process:
            text = (
                f"the embedded engine (process {fact.process}) is in {fact.service}: systemd kills "
                "it, and what it deploys, whenever that stops or restarts"
            )
        else:
            text = (
                f"{fact.service} ({fact.file}) names no API, so an embedded engine runs in it: "
                "systemd kills it, and what it deploys, whenever that stops or restarts"
            )
        yield _finding("service", Level.PROBLEM, text, fix)
    if not found:
        yield _finding("service", Level.OK, "no embedded engine is in a systemd service")


def span(time: timedelta) -> str:
    """Say how long, in a person's words."""
    seconds = abs(time.total_seconds())
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"  # noqa: PLR2004


def _finding(check: str, level: Level, message: str, fix: str = "") -> Finding:
    return Finding(check=check, level=level, message=message, fix=fix)


def _version(text: str) -> tuple[int, int, int]:
    """Return the first version number of a text; zeros where there is none."""
    match = _NUMBERS.search(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
