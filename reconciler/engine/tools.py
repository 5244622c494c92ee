"""What the parts of one engine share, made once when it starts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.api.create_body import request_from_json, request_to_json, wire_secret
from reconciler.api.dialects import Dialect
from reconciler.api.types import DeploymentRequest, Secret, StackRef
from reconciler.clock import Clock
from reconciler.engine.backend import Backend
from reconciler.engine.config import EngineConfig, Layout
from reconciler.engine.logs import LogStore
from reconciler.engine.oidc.obtain import Obtainer
from reconciler.engine.remote_backend import RemoteBackend, parse
from reconciler.engine.runners.choose import Runners
from reconciler.engine.secrets_box import KeyFileError, SecretBox
from reconciler.engine.store import Store
from reconciler.engine.validation import Reserved
from reconciler.git.urls import over_ssh
from reconciler.metrics import OFF, Meter
from reconciler.pulumi_cli import PulumiCli
from reconciler.traces import OFF as NO_TRACES
from reconciler.traces import Tracer

__all__ = ["Tools"]

# As strong as the key that the state's secrets are encrypted with.
PASSPHRASE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The engine's parts and surroundings.

    `environment` is the engine's own; `shell` the path of bash, or of sh where there is none;
    `python_directory` the directory of the engine's Python; `base_url` where it answers.
    `oidc` gets credentials from clouds, where the engine is an issuer that they can know.
    `find_pulumi` returns the pulumi to use, or what to do where there is none.
    """

    config: EngineConfig
    layout: Layout
    store: Store
    logs: LogStore
    box: SecretBox
    clock: Clock
    runners: Runners
    environment: Mapping[str, str] = field(repr=False)
    shell: str
    python_directory: str
    base_url: str
    find_pulumi: Callable[[], PulumiCli | str]
    oidc: Obtainer | None = None
    meter: Meter = OFF
    tracer: Tracer = NO_TRACES

    def backend(self, stack: StackRef) -> Backend | RemoteBackend:
        """Return where the stack's state is kept; UsageError where the setting is wrong."""
        url, organization = self.config.backend, stack.organization
        if not url:
            return Backend(self.layout.backend(organization))
        if url.startswith("file://"):
            return Backend(Path(url.removeprefix("file://")) / organization)
        return parse(url, organization, self.environment)

    def reserved(self, stack: StackRef, deployment_id: str, version: int) -> Reserved:
        """Return what the engine's own variables say about a deployment."""
        return Reserved(
            id=deployment_id,
            version=version,
            build_url=f"{self.base_url}/{stack}/deployments/{version}",
            backend_url=self.backend(stack).url,
        )

    def passphrase(self, stack: StackRef) -> str:
        """Return the passphrase of a stack's state, made at its first use."""
        name = f"passphrase/{stack}"
        # Stacks of the first release were made with one of their organization.
        shared = f"passphrase/{stack.organization}"
        facts = self.store.facts
        if facts.get(name) is None and facts.get(shared) is not None and self._is_made(stack):
            name = shared

        def make() -> bytes:
            return self.box.encrypt(secrets.token_urlsafe(PASSPHRASE_BYTES).encode(), name)

        sealed = self.store.facts.get(name) or self.store.facts.get_or_make(name, make)
        return self.box.decrypt(sealed, name).decode()

    def _is_made(self, stack: StackRef) -> bool:
        known = self.store.stacks.get(stack)
        if known is not None and known.initialized:
            return True
        backend = self.backend(stack)
        # The first release had directories only.
        return isinstance(backend, Backend) and backend.has(stack)

    def seal(self, request: DeploymentRequest[Secret], deployment_id: str) -> bytes:
        """Encrypt a request for its place in the database."""
        text = json.dumps(request_to_json(request, Dialect.TODAY))
        return self.box.encrypt(text.encode(), f"request/{deployment_id}")

    def request(self, deployment_id: str) -> DeploymentRequest[Secret]:
        """Return a deployment's request, as it is run; KeyFileError where it cannot be read."""
        sealed = self.store.deployments.request(deployment_id)
        body = json.loads(self.box.decrypt(sealed, f"request/{deployment_id}"))
        request = request_from_json(body, wire_secret, Dialect.TODAY)
        if isinstance(request, tuple):
            raise KeyFileError(f"the stored request of {deployment_id} cannot be read")
        return replace(request, source=over_ssh(request.source))
