"""From what a file says to what should be true now: commit, secrets, digest.

Secrets are looked up here, hashed for the digest, and again when a request is sent; they
are kept nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from reconciler.adapters.credentials import SecretReader
from reconciler.adapters.gitrefs import GitRefs, Revision, Wanted, resolve_url
from reconciler.api.create_body import is_relative_url
from reconciler.api.types import (
    DeploymentRequest,
    EnvironmentVariable,
    GitSource,
    Operation,
    Secret,
    map_secrets,
)
from reconciler.errors import SecretUnavailableError
from reconciler.git.urls import OwnRepository
from reconciler.model import (
    ANY_PATH,
    Attempt,
    Desired,
    Reason,
    ReasonCode,
    SecretReference,
    Spec,
)
from reconciler.planning.digest import digest, fields, with_operation
from reconciler.values import replace

__all__ = ["Resolver"]


class Resolver:
    """Looks up what a spec leaves open."""

    def __init__(
        self,
        git: GitRefs,
        secrets: SecretReader,
        hash_key: bytes,
        own: OwnRepository | None = None,
    ) -> None:
        self._git = git
        self._own = own
        self._secrets = secrets
        self._hash_key = hash_key
        self._expected: dict[str, Spec] = {}

    def expect(self, specs: Iterable[Spec]) -> None:
        """Begin to look up where the sources of these specs point to; others are forgotten.

        What takes long of new specs' secrets is looked up at the same time.
        """
        fresh = {spec.name: spec for spec in specs}
        self._begin(fresh.values(), self._expected.keys() - fresh.keys())
        self._expected = fresh

    def expect_more(self, specs: Iterable[Spec]) -> None:
        """Begin to look up the sources of these specs too, which are new or other than before."""
        found = tuple(specs)
        self._begin(found, ())
        self._expected.update({spec.name: spec for spec in found})

    def _begin(self, specs: Iterable[Spec], gone: Iterable[str]) -> None:
        new = [spec for spec in specs if self._expected.get(spec.name) is not spec]
        self.prepare(new)
        wanted: dict[str, Wanted] = {}
        for spec in new:
            if spec.request.source.commit:
                continue
            try:  # what lets us in is enough here
                access = replace(spec.request, environment=(), image_credentials=None)
                request = map_secrets(access, self._secrets.read)
            except SecretUnavailableError:
                continue  # `desired` says so
            wanted[spec.name] = self._wanted(spec, request)
        self._git.expect(wanted, gone)

    def prepare(self, specs: Iterable[Spec]) -> None:
        """Look up at the same time those secrets of specs that take long and are not known."""
        self._secrets.warm(reference for spec in specs for reference in _references(spec))

    def desired(self, spec: Spec) -> Desired:
        """Return what the spec wants now; `blocked` says what could not be looked up."""
        try:
            request = map_secrets(spec.request, self._secrets.read)
            canonical = fields(_looked_at(spec), self._hash)
        except SecretUnavailableError as error:
            again_at = self._secrets.again_at()
            reason = Reason(ReasonCode.SECRET_UNAVAILABLE, str(error))
            return Desired(spec=spec, blocked=reason, source_again_at=again_at)
        desired = Desired(spec=spec, fields=canonical, digest=digest(canonical))
        head = self._git.head(spec.name, self._wanted(spec, request))
        if isinstance(head, Revision):
            return replace(
                desired, commit=head.commit, source=head.source, source_again_at=head.again_at
            )
        reason = Reason(ReasonCode.SOURCE_UNAVAILABLE, head.message)
        return replace(desired, blocked=reason, source_again_at=head.again_at)

    def removed(self, spec: Spec, attempt: Attempt | None) -> Desired:
        """Return what destroys a removed spec's stack: what was last asked for, but a destroy.

        Its commit is the one that was deployed: nothing that moved since is run.
        """
        known = attempt or Attempt(digest="", commit="")
        canonical = with_operation(known.fields, Operation.DESTROY)
        desired = Desired(
            spec=spec,
            fields=canonical,
            digest=digest(canonical),
            commit=known.commit,
            source=known.source,
        )
        try:
            map_secrets(spec.request, self._secrets.read)
        except SecretUnavailableError as error:
            reason = Reason(ReasonCode.SECRET_UNAVAILABLE, str(error))
            return replace(desired, blocked=reason, source_again_at=self._secrets.again_at())
        return desired

    def request(
        self, spec: Spec, operation: Operation, commit: str, marker: str
    ) -> DeploymentRequest[Secret]:
        """Return what to send: the resolved commit, the marker, and the secrets' values.

        Not pinned, the branch or tag is sent as the spec names it, and whoever runs it looks.
        Raises SecretUnavailableError.
        """
        request = map_secrets(spec.request, self._secrets.read)
        source = self._located(spec, request)
        source = replace(source, repo_url=resolve_url(source.repo_url, spec.base))
        if spec.pinned or not (source.branch or source.tag):
            source = replace(source, branch="", tag="", commit=commit)
        mark: EnvironmentVariable[Secret] = EnvironmentVariable(name=marker, value="1")
        environment = (*request.environment, mark)
        return replace(request, operation=operation, source=source, environment=environment)

    def _hash(self, reference: SecretReference) -> str:
        return self._secrets.keyed_hash(reference, self._hash_key)

    def _wanted(self, spec: Spec, request: DeploymentRequest[Secret]) -> Wanted:
        paths = () if spec.source_paths == ANY_PATH else spec.source_paths
        return Wanted(source=self._located(spec, request), base=spec.base, paths=paths)

    def _located(self, spec: Spec, request: DeploymentRequest[Secret]) -> GitSource[Secret]:
        """Return the source; a path to the root of the specs' own repository is that one's URL."""
        source, own = request.source, self._own
        if own is None or not is_relative_url(source.repo_url):
            return source
        if os.path.realpath(spec.base / source.repo_url) != os.path.realpath(own.root):
            return source
        named = source.branch or source.tag or source.commit
        return replace(source, repo_url=own.url, branch=source.branch if named else own.branch)


def _looked_at(spec: Spec) -> DeploymentRequest[SecretReference]:
    """Return what is asked for: with `dryRun` no more than a look."""
    operation = spec.run_for(spec.request.operation)
    if operation is spec.request.operation:
        return spec.request
    return replace(spec.request, operation=operation)


def _references(spec: Spec) -> list[SecretReference]:
    found: list[SecretReference] = []
    map_secrets(spec.request, found.append)
    return found
