"""Gets a deployment's source into its workspace, with its submodules and large files.

A local repository is copied from directly. Any other is first fetched into a mirror, which
alone sees the network and the credentials; the workspace is then made from the mirror without
either, and shares nothing with it that a program could change.
"""

from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reconciler.api.types import GitSource, Secret
from reconciler.engine.config import SourceSettings
from reconciler.engine.runners.base import Command, OnOutput, Process
from reconciler.engine.sources import commands, lookup, submodules
from reconciler.engine.sources.commands import Revision, Target
from reconciler.engine.sources.mirrors import Mirror, Mirrors, note_size, read_ref
from reconciler.engine.sources.watch import Watch, too_large
from reconciler.errors import ReconcilerError
from reconciler.files import read_regular
from reconciler.git import isolation, known_hosts
from reconciler.git.isolation import Contact, Scratch
from reconciler.git.urls import (
    Location,
    Reach,
    against_addresses,
    credentials,
    parse,
    plain,
    refuse,
)

__all__ = ["Fetching", "Hands", "Order", "SourceError", "StoppedError"]

# How far submodules may have submodules.
DEEPEST = 5

# Of git's output so much is looked through for reasons.
TAIL_BYTES = 16 * 1024

LARGEST_LIST_BYTES = 4 * 1024 * 1024
LARGEST_CERTIFICATES_BYTES = 16 * 1024 * 1024

PAUSE_S = 0.05

# git's words where the other side, and not the mirror, is why a fetch failed.
_THEIRS = (
    "unable to access",
    "Could not read from remote repository",
    "couldn't find remote ref",
    "Authentication failed",
    "could not read Username",
    "remote error",
    "sshAuth",
    "has no commit",
    "more than one commit",
)

_ANEW = "the engine's own copy of the repository is of no use: making it anew"

_REDIRECTED = "returned error: 30"


class SourceError(ReconcilerError):
    """The source cannot be had; the message is for the deployment's log."""


class TooLargeError(SourceError):
    """The source is larger than it may be."""


class StoppedError(ReconcilerError):
    """The deployment is to end."""


class Hands(Protocol):
    """What a deployment lends to those who get its source."""

    def run(self, command: Command, paths: tuple[Path, ...], seen: Seen) -> int | None:
        """Run a command into the log; it may write below `paths`, of which the first is its own.

        None where it was not started, as a stop was asked.
        """
        ...

    def note(self, text: str) -> None:
        """Write a line of the engine's own to the log."""
        ...

    def stopped(self) -> bool:
        """Whether the deployment is to end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What else is to happen with a command: it may read `readable`, and is told of."""

    begun: Callable[[Process], None]
    on_output: OnOutput
    readable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be got, for whom, and where to.

    `into` is the clone, in the directory `workspace`; `scratch` is a directory of the fetch's
    own, which is not there yet. `environment` is the base one of a deployment on this host.
    """

    source: GitSource[Secret]
    organization: str
    workspace: Path
    into: Path
    scratch: Path
    environment: Mapping[str, str] = field(repr=False)


class Fetching:
    """Gets the source of one deployment, once."""

    def __init__(
        self, settings: SourceSettings, reach: Reach, mirrors: Mirrors, known_hosts_file: Path
    ) -> None:
        self._settings = settings
        self._reach = reach
        self._mirrors = mirrors
        self._known_hosts = known_hosts_file

    def get(self, order: Order, hands: Hands) -> None:
        """Get it; SourceError says why not, StoppedError that the deployment is to end."""
        watch = Watch(self._settings.limit.total_seconds(), self._settings.largest_bytes)
        run = _Run(self._settings, order, hands, watch)
        try:
            self._prepare(Scratch(order.scratch))
            self._get(run, order.source, order.into, depth=0)
        finally:
            shutil.rmtree(order.scratch, ignore_errors=True)

    def _prepare(self, scratch: Scratch) -> None:
        """Make the directory that git has as its HOME."""
        scratch.root.mkdir(mode=0o700, parents=True)
        own = self._known_hosts
        keys = own.read_text() if own.exists() else ""
        scratch.known_hosts.write_text(f"{keys}\n{known_hosts.SHIPPED}")
        scratch.askpass.write_text(isolation.ASKPASS)
        scratch.askpass.chmod(0o700)
        if self._settings.certificates is not None:
            usual = ssl.get_default_verify_paths().cafile
            files = [Path(usual)] if usual and Path(usual).exists() else []
            try:
                found = [
                    read_regular(path.resolve(), LARGEST_CERTIFICATES_BYTES)
                    for path in (*files, self._settings.certificates)
                ]
            except OSError as error:
                name = self._settings.certificates
                raise SourceError(f"--repository-ca {name} cannot be read: {error}") from None
            scratch.certificates.write_bytes(b"\n".join(found))

    def _get(self, run: _Run, source: GitSource[Secret], into: Path, depth: int) -> None:
        """Get one repository, and then its large files and submodules."""
        reason = refuse(source, self._reach)
        location = parse(source.repo_url)
        if reason or isinstance(location, str):
            raise SourceError(reason)
        contact = self._contact(run, source, location)
        revision = Revision.of(source)
        if location.scheme == "file":
            origin = commands.local_path(location)
            if not run.check_out(revision, self._target(into, origin, source.repo_url)):
                raise SourceError("the repository could not be checked out")
        else:
            self._through_mirror(run, contact, revision, into)
        if self._settings.lfs:
            self._pull_lfs(run, contact, into)
        if self._settings.submodules:
            self._get_submodules(run, source, into, depth)

    def _contact(self, run: _Run, source: GitSource[Secret], location: Location) -> Contact:
        """Look the host up, where it is not allowed by its name, and judge its addresses."""
        found: tuple[str, ...] = ()
        if self._reach.looks_up(location):
            found = lookup.addresses(location.host, location.actual_port, run.pause)
            reason = against_addresses(location, found, self._reach)
            if reason:
                raise SourceError(f"sourceContext.git.repoURL: {reason}")
            if not found and not (run.proxied and location.scheme != "ssh"):
                raise SourceError(f"the host {location.host} has no address")
        return Contact(
            url=source.repo_url,
            location=location,
            auth=source.auth,
            addresses=found,
            certificates=self._settings.certificates is not None,
        )

    # ------------------------------------------------------------ mirrors

    def _through_mirror(self, run: _Run, contact: Contact, revision: Revision, into: Path) -> None:
        auth = contact.auth
        owner = [run.order.organization, contact.url, *credentials(auth, "")]
        if auth is not None and auth.ssh is not None:
            owner += [plain(auth.ssh.private_key), plain(auth.ssh.password or "")]
        name = self._mirrors.name(*owner)
        with self._mirrors.using(name, run.pause) as mirror:
            if not self._copy(run, mirror, (contact, revision, into), anew=False):
                run.hands.note(_ANEW)
                shutil.rmtree(into, ignore_errors=True)
                if not self._copy(run, mirror, (contact, revision, into), anew=True):
                    raise SourceError("the repository could not be checked out")
        self._mirrors.evict()

    def _copy(
        self, run: _Run, mirror: Mirror, what: tuple[Contact, Revision, Path], *, anew: bool
    ) -> bool:
        """Bring the mirror up to date and copy from it; False where it cannot be copied from."""
        contact, revision, into = what
        with mirror.fetching():
            git = self._refresh(run, mirror, (contact, revision), anew=anew)
            note_size(git, self._settings.mirrors_bytes)
            object_id = read_ref(git, revision.asked)
        if not object_id:
            return False
        return run.check_out(revision, self._target(into, git, contact.url, object_id))

    def _target(self, into: Path, origin: Path, url: str, object_id: str = "") -> Target:
        return Target(
            into=into,
            origin=origin,
            url=url,
            object_id=object_id,
            largest_bytes=self._settings.largest_bytes,
            submodules=self._settings.submodules,
        )

    def _refresh(
        self, run: _Run, mirror: Mirror, what: tuple[Contact, Revision], *, anew: bool
    ) -> Path:
        """Fetch what was asked for into the mirror, and return its repository.

        A new one takes the old one's place only when it is whole.
        """
        contact, revision = what
        git = None if anew else mirror.current()
        if git is not None:
            try:
                failure = run.fetch(contact, revision, git)
            except TooLargeError:
                failure = "it has become too large"
            if not failure:
                return git
            if any(words in failure for words in _THEIRS):
                raise SourceError(self._advice(failure, contact.location))
            run.hands.note(_ANEW)
        new = mirror.begin_new()
        failure = run.fetch(contact, revision, new)
        if failure:
            raise SourceError(self._advice(failure, contact.location))
        mirror.take(new)
        return new

    def _advice(self, output: str, location: Location) -> str:
        """Return what to do about a failed fetch, as far as its output tells."""
        if _REDIRECTED in output:
            return (
                "the server sends git on to another address, and that is not followed: give the "
                "address that it has moved to as repoUrl (some servers want it to end in .git)"
            )
        if location.scheme == "ssh":
            advice = known_hosts.advice(output, location, self._known_hosts)
            if advice:
                return advice
        return "the repository could not be fetched"

    # ------------------------------------------------------------ what else belongs to it

    def _pull_lfs(self, run: _Run, contact: Contact, into: Path) -> None:
        location = contact.location
        if self._reach.looks_up(location):
            raise SourceError(
                "files of Git LFS come from wherever the server says, so this engine gets them "
                f"only from a host that --allow-repository-host names: {location.host}"
            )
        environment = run.remote_environment(contact)
        command = commands.pull_lfs(contact, into, environment)
        readable: tuple[Path, ...] = ()
        if location.scheme == "file":
            readable = (commands.local_path(location),)
        paths = (run.order.scratch, run.order.workspace)
        code, output = run.run(command, paths, readable=readable)
        if code:
            advice = self._advice(output, location)
            raise SourceError(advice.replace("repository", "repository's Git LFS files", 1))

    def _get_submodules(self, run: _Run, source: GitSource[Secret], into: Path, depth: int) -> None:
        found = run.submodules()
        if isinstance(found, str):
            raise SourceError(found)
        if found and depth >= DEEPEST:
            raise SourceError(f"submodules have submodules more than {DEEPEST} levels deep")
        own = parse(source.repo_url)
        for submodule in found:
            url = submodules.url_of(submodule, source.repo_url)
            location = parse(url)
            shown = f"submodule {submodule.path[:200]!r}"
            if isinstance(location, str) or isinstance(own, str):
                raise SourceError(f"{shown}: {location}")
            # Credentials are for the host that they were given for.
            auth = source.auth if submodules.same_host(own, location) else None
            inner: GitSource[Secret] = GitSource(repo_url=url, commit=submodule.commit, auth=auth)
            reason = refuse(inner, self._reach)
            if reason:
                raise SourceError(f"{shown}: {reason}")
            run.hands.note(f"Submodule {submodule.path[:200]}: {submodule.commit}")
            self._get(run, inner, into / submodule.path, depth + 1)


class _Run:
    """The commands of one fetch, under its limits."""

    def __init__(self, settings: SourceSettings, order: Order, hands: Hands, watch: Watch) -> None:
        self.order = order
        self.hands = hands
        self._settings = settings
        self._scratch = Scratch(order.scratch)
        self._watch = watch
        self._never = threading.Event()

    @property
    def proxied(self) -> bool:
        """Whether the engine reaches the network through a proxy."""
        return any(n.lower() in {"https_proxy", "all_proxy"} for n in self.order.environment)

    def pause(self) -> None:
        """Wait for a moment; StoppedError or SourceError where there is no time left."""
        self._never.wait(PAUSE_S)
        if self.hands.stopped():
            raise StoppedError("the deployment is to end")
        reason = self._watch.reason()
        if reason:
            raise SourceError(reason)

    def remote_environment(self, contact: Contact) -> dict[str, str]:
        """Return git's environment for a server."""
        base = dict(self.order.environment)
        if self.proxied and not contact.addresses:
            # Whoever is asked past the proxy would be looked up anew.
            base = {n: v for n, v in base.items() if n.lower() != "no_proxy"}
        return isolation.remote(base, self._scratch, contact)

    def fetch(self, contact: Contact, revision: Revision, mirror: Path) -> str:
        """Fetch into a mirror; return the end of the output where that failed."""
        command = commands.fetch(contact, revision, mirror, self.remote_environment(contact))
        code, output = self.run(command, (self._scratch.root, mirror))
        return (output or "failed") if code else ""

    def check_out(self, revision: Revision, target: Target) -> bool:
        """Make a clone, and return whether that worked."""
        for file in (self._scratch.gitlinks, self._scratch.gitmodules):
            file.unlink(missing_ok=True)
        environment = isolation.local(self.order.environment, self._scratch, target.into.parent)
        command = commands.check_out(revision, target, self._scratch.root, environment)
        paths = (self._scratch.root, self.order.workspace)
        code, _ = self.run(command, paths, readable=(target.origin,))
        if code == commands.TOO_LARGE:
            raise TooLargeError(too_large(self._settings.largest_bytes))
        return code == 0

    def submodules(self) -> tuple[submodules.Submodule, ...] | str:
        """Return which submodules the last checkout has."""
        texts = []
        for file in (self._scratch.gitlinks, self._scratch.gitmodules):
            try:
                content = read_regular(file, LARGEST_LIST_BYTES) if file.exists() else b""
            except OSError:
                return "the list of submodules cannot be read"
            texts.append(content.decode(errors="surrogateescape"))
        return submodules.read(*texts)

    def run(
        self, command: Command, paths: tuple[Path, ...], readable: tuple[Path, ...] = ()
    ) -> tuple[int, str]:
        """Run a command; return its code and the end of its output."""
        tail = bytearray()

        def on_output(output: bytes) -> None:
            tail.extend(output)
            del tail[:-TAIL_BYTES]

        with self._watch.over(paths) as watched:
            seen = Seen(begun=watched.begun, on_output=on_output, readable=readable)
            code = self.hands.run(command, paths, seen)
        if code is None or self.hands.stopped():
            raise StoppedError("the deployment is to end")
        reason = watched.check()
        if reason:
            raise TooLargeError(reason) if watched.too_large else SourceError(reason)
        return code, tail.decode(errors="replace")
