"""Takes over a stack that lives elsewhere, and hands one out again, by Pulumi's own commands.

What a stack's state holds of secrets is encrypted with its passphrase, as is the configuration
in its repository. So a stack keeps the passphrase that it had, unless a new one is asked for:
then Pulumi decrypts and encrypts, and what is plain between goes through memory alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess  # noqa: TID251 - Pulumi is asked here beside an engine, which has the runners
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.engine import remote_backend
from reconciler.engine.backend import Backend
from reconciler.engine.config import Layout
from reconciler.engine.secrets_box import SecretBox
from reconciler.engine.state import StackState
from reconciler.engine.store import Store
from reconciler.errors import ReconcilerError, UsageError
from reconciler.pulumi_cli import PulumiCli, find

__all__ = ["Adopted", "AdoptionError", "Place", "Source", "adopt", "hand_out"]

# Reading and writing a state takes a second; a bucket far away some more.
LIMIT_S = 300.0

# As strong as the key that it is encrypted with.
PASSPHRASE_BYTES = 32

# The last of what Pulumi says is why it failed.
TOLD_CHARACTERS = 500


class AdoptionError(ReconcilerError):
    """A stack cannot be taken over or handed out; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The engine that a stack comes to or goes from; `backend` is its setting, or empty."""

    layout: Layout
    store: Store
    box: SecretBox
    backend: str
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a stack comes from: an export, or else a backend and the stack's name there.

    `passphrase` is None where it has none, as one whose secrets the export shows.
    """

    export: bytes = field(default=b"", repr=False)
    backend: str = ""
    stack: str = ""
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was taken over. `kept`: its passphrase is the one it had."""

    resources: int
    kept: bool


def adopt(place: Place, stack: StackRef, source: Source, *, renew: bool) -> Adopted:
    """Take a stack over, with a new passphrase if `renew`; AdoptionError, UsageError.

    A stack that the engine has is never replaced.
    """
    _must_be_new(place, stack)
    with _workspace(place, stack) as work:
        export = source.export or work.fetch(source)
        deployment = _deployment(export)
        kind = _secrets_kind(deployment)
        if kind == "passphrase" and source.passphrase is None:
            raise UsageError("the stack has secrets: give its passphrase, --passphrase-file FILE")
        if kind == "passphrase" and renew:
            deployment = _deployment(work.decrypt(export, source.passphrase or ""))
            kind = "plain"
        kept = source.passphrase is not None and not renew
        made = secrets.token_urlsafe(PASSPHRASE_BYTES)
        passphrase = (source.passphrase or "") if kept else made
        if kind != "passphrase":
            # Whatever encrypted it elsewhere, here it is the passphrase.
            deployment.pop("secrets_providers", None)
        # Known before it is there: no state is ever without its passphrase.
        _keep(place, f"passphrase/{stack}", passphrase)
        place.store.stacks.make(stack)
        count = work.put(deployment, passphrase)
        place.store.stacks.mark_initialized(stack)
    expected = len(_resources(deployment))
    if count != expected:
        raise AdoptionError(f"{stack} has {count} resources now, and {expected} where it came from")
    return Adopted(resources=count, kept=kept)


def hand_out(place: Place, stack: StackRef, *, show_secrets: bool) -> tuple[bytes, str]:
    """Return a stack's export and its passphrase; AdoptionError where the engine has no such."""
    info = place.store.stacks.get(stack)
    if info is None or not info.initialized:
        raise AdoptionError(f"the engine has no state of {stack}")
    names = (f"passphrase/{stack}", f"passphrase/{stack.organization}")
    found = next(((n, v) for n in names if (v := place.store.facts.get(n)) is not None), None)
    passphrase = "" if found is None else place.box.decrypt(found[1], found[0]).decode()
    with _workspace(place, stack) as work:
        flags = ("--show-secrets",) if show_secrets else ()
        environment = work.target(passphrase)
        return work.pulumi(("stack", "export", *flags, *work.selected), environment), passphrase


# ---------------------------------------------------------------- Pulumi's commands


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A private directory to run Pulumi in, for one stack; `state` is the engine's own."""

    cli: PulumiCli
    root: Path
    stack: StackRef
    state: StackState
    url: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def selected(self) -> tuple[str, ...]:
        """What says which stack is meant, here."""
        name = f"organization/{self.stack.project}/{self.stack.stack}"
        return ("--stack", name, "--non-interactive")

    def fetch(self, source: Source) -> bytes:
        """Export the stack from another backend, as it is there."""
        # What opens that backend, this command's own environment holds.
        base = self.base(source.backend, source.passphrase or "")
        base = {key: value for key, value in base.items() if not key.endswith("HOME")}
        environment = {**self.environment, **base}
        name = source.stack or f"organization/{self.stack.project}/{self.stack.stack}"
        return self.pulumi(("stack", "export", "--stack", name, "--non-interactive"), environment)

    def decrypt(self, export: bytes, passphrase: str) -> bytes:
        """Return an export with its secrets in plain text, which is written to no file."""
        backend = self.root / "old"
        backend.mkdir(mode=0o700)
        environment = self.base(f"file://{backend}", passphrase)
        self._init(environment)
        self.pulumi(("stack", "import", *self.selected), environment, export)
        return self.pulumi(("stack", "export", "--show-secrets", *self.selected), environment)

    def put(self, deployment: Mapping[str, object], passphrase: str) -> int:
        """Make the stack in the engine's backend; return how many resources it has there."""
        self.state.prepare()
        environment = self.target(passphrase)
        self._init(environment)
        try:
            # What encrypts the new stack encrypts what comes in plain text, too.
            new = _deployment(self.pulumi(("stack", "export", *self.selected), environment))
            own = {"secrets_providers": new.get("secrets_providers")}
            content = {"version": 3, "deployment": {**own, **deployment}}
            self.pulumi(
                ("stack", "import", *self.selected), environment, json.dumps(content).encode()
            )
        except AdoptionError:
            # An empty stack would be taken for one without resources.
            self.pulumi(("stack", "rm", "--yes", "--force", *self.selected), environment)
            raise
        there = self.pulumi(("stack", "export", *self.selected), environment)
        return len(_resources(_deployment(there)))

    def target(self, passphrase: str) -> dict[str, str]:
        """Return the environment that opens the engine's backend."""
        return self.state.opened(self.base(self.url, passphrase))

    def base(self, backend: str, passphrase: str) -> dict[str, str]:
        """Return what every command needs."""
        home = str(self.root / "home")
        path = f"{self.cli.directory}{os.pathsep}{self.environment.get('PATH', os.defpath)}"
        return {
            "PATH": path,
            "HOME": home,
            "PULUMI_HOME": home,
            "PULUMI_BACKEND_URL": backend,
            "PULUMI_CONFIG_PASSPHRASE": passphrase,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def _init(self, environment: Mapping[str, str]) -> None:
        # Of a stack before, in another backend.
        (self.root / f"Pulumi.{self.stack.stack}.yaml").unlink(missing_ok=True)
        name = self.selected[1]
        self.pulumi(("stack", "init", name, "--non-interactive"), environment)

    def pulumi(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], given: bytes = b""
    ) -> bytes:
        """Run one command and return what it printed; AdoptionError with its own words."""
        verb = " ".join(arguments[:2])
        try:
            done = subprocess.run(
                [str(self.cli.program), *arguments, "--color", "never"],
                cwd=self.root,
                env=dict(environment),
                input=given,
                capture_output=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AdoptionError(f"pulumi {verb} took more than {LIMIT_S:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            passphrase = environment["PULUMI_CONFIG_PASSPHRASE"]
            said = said.replace(passphrase, "[secret]") if passphrase else said
            raise AdoptionError(f"pulumi {verb} failed: {said[-TOLD_CHARACTERS:]}")
        return done.stdout


@contextmanager
def _workspace(place: Place, stack: StackRef) -> Iterator[_Work]:
    cli = find(place.environment)
    if not isinstance(cli, PulumiCli):
        raise AdoptionError(cli)
    root = place.layout.work / f"adoption-{secrets.token_hex(8)}"
    root.mkdir(mode=0o700, parents=True)
    try:
        (root / "home").mkdir(mode=0o700)
        (root / "Pulumi.yaml").write_text(f"name: {stack.project}\nruntime: yaml\n")
        backend = _backend(place, stack.organization)
        yield _Work(
            cli=cli,
            root=root,
            stack=stack,
            state=StackState(backend, stack, root),
            url=backend.url,
            environment=place.environment,
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _backend(place: Place, organization: str) -> Backend | remote_backend.RemoteBackend:
    if not place.backend:
        return Backend(place.layout.backend(organization))
    if place.backend.startswith("file://"):
        return Backend(Path(place.backend.removeprefix("file://")) / organization)
    return remote_backend.parse(place.backend, organization, place.environment)


def _keep(place: Place, name: str, passphrase: str) -> None:
    """Keep a passphrase, also where an attempt before has left another."""
    sealed = place.box.encrypt(passphrase.encode(), name)
    known = place.store.facts.get_or_make(name, lambda: sealed)
    if known != sealed and not place.store.facts.replace(name, known, sealed):
        raise AdoptionError("another command takes this stack over just now")


def _must_be_new(place: Place, stack: StackRef) -> None:
    info = place.store.stacks.get(stack)
    backend = _backend(place, stack.organization)
    there = isinstance(backend, Backend) and backend.has(stack)
    if there or (info is not None and (info.initialized or info.latest_version)):
        raise UsageError(f"the engine has {stack} already; it is not replaced")


# ---------------------------------------------------------------- exports


def _deployment(export: bytes) -> dict[str, object]:
    """Return what an export holds; AdoptionError for what is none."""
    try:
        value = json.loads(export)
    except ValueError:
        value = None
    found = value.get("deployment") if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise AdoptionError("this is no export of a stack, as `pulumi stack export` writes it")
    return found


def _resources(deployment: Mapping[str, object]) -> list[object]:
    found = deployment.get("resources") or []
    return found if isinstance(found, list) else []


def _secrets_kind(deployment: Mapping[str, object]) -> str:
    """Return how the secrets of an export are kept: plain, or by a passphrase, or not at all."""
    text = json.dumps(deployment.get("resources"))
    if '"ciphertext"' not in text:
        return "plain" if '"plaintext"' in text else ""
    providers = deployment.get("secrets_providers")
    kind = str(providers.get("type")) if isinstance(providers, dict) else "unknown"
    if kind != "passphrase":
        raise AdoptionError(
            f"its secrets are encrypted by {kind[:40]!r}, which this engine cannot ask: "
            "export it with `pulumi stack export --show-secrets`"
        )
    return kind
