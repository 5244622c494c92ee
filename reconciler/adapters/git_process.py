"""Calls of git: bounded in time and output, with nothing of this host but its proxy.

What git is told, and how a credential reaches it, `reconciler.git` says; the engine's clones are
told the same. Nothing of a credential is in an argument or on a disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess  # noqa: TID251 - this is where git is started
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from reconciler.adapters.bounded_process import end_session, exchange
from reconciler.api.types import GitAuth, GitSource, Secret
from reconciler.files import read_regular
from reconciler.git import isolation, known_hosts
from reconciler.git.isolation import Contact, Scratch
from reconciler.git.urls import against_auth, credentials, over_ssh, parse, plain
from reconciler.masking import Redactor

__all__ = ["Bounds", "Git", "GitFailedError", "Repository", "is_theirs"]

# A repository that is asked over a slow line answers in a few; one that hangs holds a thread.
TIMEOUT_S: Final = 30.0
# Ten thousand refs, of which we ask for a few.
MAX_OUTPUT_BYTES: Final = 1 << 20
# What a process may take to go by itself, with its agent, before it is ended.
GRACE_S: Final = 1.0
# What of git's own words a person needs.
MAX_MESSAGE: Final = 300
MAX_CERTIFICATES_BYTES: Final = 16 << 20
MAX_KNOWN_HOSTS_BYTES: Final = 1 << 20
# What of the daemon's environment reaches git: how to find it, and how to reach the network.
_KEPT: Final = (
    "PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY",
    "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH",
)  # fmt: skip
_REF_LINE: Final = re.compile(r"([0-9a-f]{40,64})\t(\S+)\Z")
_NOISE: Final = re.compile(r"^(?:fatal|error|remote|warning): ", re.MULTILINE)
# The owner of a local repository may be another user; whoever names it means it.
_UPLOAD_PACK: Final = "--upload-pack=git -c 'safe.directory=*' upload-pack"
# The agent is in a session of its own; it is not to outlive the call by the seconds it takes to see
# that it is alone.
_END_AGENT: Final = """\
trap 'kill "$SSH_AGENT_PID" 2>/dev/null' EXIT
trap 'exit 1' TERM
"""
# In blocks of 512 bytes: a file that would be larger ends the writer.
_LIMITED: Final = """\
ulimit -f "$1" || exit
shift
git "$@"
"""
_BLOCK_BYTES: Final = 512
# The last is what is said of a helper that was ended so.
_TOO_LARGE: Final = (
    f"signal {int(signal.SIGXFSZ)}", "File too large", "invalid index-pack output",
)  # fmt: skip
# git's words, and ours, where the other side and not a copy of ours is why a fetch failed.
_THEIRS: Final = (
    "unable to access", "Could not read from remote", "couldn't find remote ref", "no answer",
    "Authentication failed", "could not read Username", "remote error", "host key", "Permission",
    "it is larger than", "is ending", "sends git on", "private key",
)  # fmt: skip
_REDIRECTED: Final = "returned error: 30"


class GitFailedError(Exception):
    """git did not do it; the message is its own last words, on one line, without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository, seen with one credential. `url` is absolute."""

    url: str
    auth: GitAuth[Secret] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one call may take: seconds, bytes of output, and bytes of each file (0: any)."""

    timeout_s: float = TIMEOUT_S
    output_bytes: int = MAX_OUTPUT_BYTES
    file_bytes: int = 0


class Git:
    """Runs git. Safe to use from several threads; after `close` every call fails at once.

    `known_hosts_file` holds the host keys that ssh trusts besides those that are shipped, and
    need not be there; `certificates` those that https trusts besides the host's.
    """

    def __init__(
        self,
        known_hosts_file: Path,
        certificates: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._known_hosts = known_hosts_file
        self._certificates = certificates
        self._environ = environ
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def list_refs(self, repository: Repository, names: Iterable[str]) -> Mapping[str, str]:
        """Return ref → commit for those of `names` that a repository has; GitFailedError."""
        wanted = set(names)
        patterns = sorted({name.removesuffix("^{}") for name in wanted})
        # `^{}` is listed with the tag that it peels only where the pattern is exact.
        peeled = sorted(name for name in wanted if name.endswith("^{}"))
        output = self.ask(repository, ("ls-remote", "--quiet"), (*patterns, *peeled))
        found: dict[str, str] = {}
        for line in output.decode("utf-8", "replace").splitlines():
            match = _REF_LINE.match(line)
            if match and match[2] in wanted:  # a pattern also matches refs that only end so
                found[match[2]] = match[1]
        return found

    def ask(
        self,
        repository: Repository,
        verb: tuple[str, ...],
        what: tuple[str, ...],
        bounds: Bounds = Bounds(),
        git_dir: Path | None = None,
    ) -> bytes:
        """Return what `git VERB -- URL WHAT…` prints; it may talk to that server alone.

        Raises GitFailedError.
        """
        contact = _contact(repository)
        if isinstance(contact, str):
            raise GitFailedError(contact)
        contact = replace(contact, certificates=self._certificates is not None)
        more = (_UPLOAD_PACK,) if contact.location.scheme == "file" else ()
        arguments = (*verb, *more, "--", contact.url, *what)
        with self._surroundings(contact) as scratch:
            base = {n: self._environ[n] for n in _KEPT if n in self._environ}
            environment = isolation.remote(base, scratch, contact)
            if "GIT_SSL_CAINFO" in self._environ and self._certificates is None:
                environment["GIT_SSL_CAINFO"] = self._environ["GIT_SSL_CAINFO"]
            if git_dir is not None:
                # What a copy leaves out is not fetched by the way, let alone by such a fetch again.
                environment |= {"GIT_DIR": str(git_dir), "GIT_NO_LAZY_FETCH": "1"}
            ssh = contact.location.scheme == "ssh"
            try:
                return self._run(_argv(arguments, bounds, ssh=ssh), environment, bounds)
            except GitFailedError as error:
                raise GitFailedError(self._explained(str(error), contact)) from None

    def local(
        self,
        arguments: tuple[str, ...],
        git_dir: Path,
        bounds: Bounds = Bounds(),
        more: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return what git prints about a repository of this machine; GitFailedError."""
        scratch = Scratch(Path("/nonexistent"))
        base = {n: self._environ[n] for n in _KEPT if n in self._environ}
        environment = isolation.local(base, scratch, git_dir) | {"GIT_DIR": str(git_dir)}
        environment |= {"TMPDIR": tempfile.gettempdir(), **(more or {})}
        return self._run(_argv(arguments, bounds, ssh=False), environment, bounds)

    def here(self, folder: Path, arguments: tuple[str, ...]) -> str:
        """Return what git says of the repository that holds a folder; GitFailedError."""
        base = {n: self._environ[n] for n in _KEPT if n in self._environ}
        scratch = Scratch(Path("/nonexistent"))
        environment = isolation.local(base, scratch, Path("/nonexistent"))
        argv = ("git", "-C", str(folder.absolute()), *arguments)
        return self._run(argv, environment, Bounds()).decode("utf-8", "replace")

    def close(self) -> None:
        """End what runs, and let nothing new begin."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            end_session(process, signal.SIGTERM)

    # ------------------------------------------------------------ inside

    @contextmanager
    def _surroundings(self, contact: Contact) -> Iterator[Scratch]:
        """Make what ssh, or a server's certificate, needs on a disk: no secret is among it."""
        ssh = contact.location.scheme == "ssh"
        if not ssh and self._certificates is None:
            yield Scratch(Path("/nonexistent"))
            return
        with tempfile.TemporaryDirectory(prefix="reconciler-git-") as folder:
            scratch = Scratch(Path(folder))
            try:
                if ssh:
                    scratch.known_hosts.write_bytes(self._known() + known_hosts.SHIPPED.encode())
                    scratch.askpass.write_text(isolation.ASKPASS)
                    scratch.askpass.chmod(0o700)
                if self._certificates is not None:
                    scratch.certificates.write_bytes(_certificates(self._certificates))
            except OSError as error:
                raise GitFailedError(f"{error.filename} cannot be read: {error.strerror}") from None
            yield scratch

    def _known(self) -> bytes:
        if not self._known_hosts.exists():
            return b""
        return read_regular(self._known_hosts.resolve(), MAX_KNOWN_HOSTS_BYTES) + b"\n"

    def _explained(self, words: str, contact: Contact) -> str:
        """Return git's words without what a credential holds, or what to do about them."""
        location, auth = contact.location, contact.auth
        if location.scheme == "ssh":
            advice = known_hosts.advice(words, location, self._known_hosts)
            if advice:
                return advice
        if _REDIRECTED in words:
            return (
                "the server sends git on to another address, and that is not followed: give the "
                "address that it has moved to (some servers want it to end in .git)"
            )
        secrets = {credentials(auth, location.host)[1]}
        if auth is not None and auth.ssh is not None:
            secrets |= {plain(auth.ssh.private_key), plain(auth.ssh.password or "")}
        # Masked before it is cut, so that no part of a secret is left.
        return Redactor(secrets - {""}).mask_text(words)[:MAX_MESSAGE]

    def _run(self, argv: tuple[str, ...], environment: Mapping[str, str], bounds: Bounds) -> bytes:
        with self._started(argv, environment) as process:
            too_late = threading.Event()

            def stop() -> None:
                too_late.set()
                end_session(process, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
                end_session(process)

            timer = threading.Timer(bounds.timeout_s, stop)
            timer.daemon = True
            timer.start()
            try:
                output, errors, whole = exchange(process, b"", bounds.output_bytes)
                if not whole:
                    end_session(process)
                process.wait()
            finally:
                timer.cancel()
        if too_late.is_set():
            raise GitFailedError(f"no answer within {bounds.timeout_s:g} s")
        if not whole:
            raise GitFailedError(f"it lists more than {bounds.output_bytes} bytes")
        if process.returncode == 0:
            return output
        words = _last_words(errors)
        if bounds.file_bytes and any(sign in words for sign in _TOO_LARGE):
            raise GitFailedError(f"it is larger than {bounds.file_bytes >> 20} MiB")
        raise GitFailedError(words)

    @contextmanager
    def _started(
        self, argv: tuple[str, ...], environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._closed:
                raise GitFailedError("the reconciler is ending")
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env=dict(environment),
                    start_new_session=True,
                )
            except OSError as error:
                raise GitFailedError(f"git cannot be started: {error.strerror}") from error
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)


def is_theirs(error: GitFailedError) -> bool:
    """Whether a copy of ours is not to blame, and so not to be made anew."""
    return any(words in str(error) for words in _THEIRS)


def _contact(repository: Repository) -> Contact | str:
    """Return how a repository is reached, or why it is not."""
    source = over_ssh(GitSource(repo_url=repository.url, auth=repository.auth))
    location = parse(source.repo_url)
    if isinstance(location, str):
        return location
    reason = against_auth(source.auth, location)
    return reason or Contact(url=source.repo_url, location=location, auth=source.auth)


def _argv(arguments: tuple[str, ...], bounds: Bounds, *, ssh: bool) -> tuple[str, ...]:
    if not ssh and not bounds.file_bytes:
        return ("git", *arguments)
    blocks = str(bounds.file_bytes // _BLOCK_BYTES) if bounds.file_bytes else "unlimited"
    script = _END_AGENT + isolation.KEYED + _LIMITED if ssh else _LIMITED
    argv = ("sh", "-c", script, "git", blocks, *arguments)
    return ("ssh-agent", *argv) if ssh else argv


def _certificates(more: Path) -> bytes:
    import ssl  # noqa: PLC0415 - only where there are certificates of its own

    usual = ssl.get_default_verify_paths().cafile
    files = [Path(usual)] if usual and Path(usual).exists() else []
    return b"\n".join(read_regular(f.resolve(), MAX_CERTIFICATES_BYTES) for f in (*files, more))


def _last_words(errors: bytes) -> str:
    text = _NOISE.sub("", errors.decode("utf-8", "replace")).strip()
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words or "git failed without a word"
