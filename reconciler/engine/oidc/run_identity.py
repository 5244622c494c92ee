"""The identity of one deployment while it runs: its token, and what clouds gave for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from reconciler.api.oidc import Oidc
from reconciler.engine.oidc import published
from reconciler.engine.oidc.claims import Deployed
from reconciler.engine.oidc.obtain import Asked, CredentialsError, Obtainer
from reconciler.engine.oidc.published import TOKEN_FILE, TOKEN_VARIABLE, Published
from reconciler.files import write_durably

__all__ = ["RunIdentity"]


class RunIdentity:
    """What the programs of a deployment are given, in `given`; its files are in `directory`.

    `obtainer` is None where the engine is no issuer: then there is nothing.
    """

    def __init__(self, obtainer: Obtainer | None, about: Deployed, directory: Path) -> None:
        self._obtainer = obtainer
        self._about = about
        self._directory = directory
        self.given = Published()

    def begin(self, oidc: Oidc) -> Published:
        """Sign the token; return what is new."""
        if self._obtainer is None:
            return Published()
        token = self._obtainer.token(oidc, self._about)
        variables, files = {TOKEN_VARIABLE: token}, {TOKEN_FILE: token}
        return self._add(Published(variables=variables, files=files, secrets=(token,)))

    def obtain(
        self, oidc: Oidc, region: str, stopping: threading.Event, note: Callable[[str], None]
    ) -> Published:
        """Exchange the token for credentials; return what is new. CredentialsError."""
        if self._obtainer is None:
            # It was one when the deployment was asked for.
            message = "this engine issues no tokens any more: start it with --public-url"
            raise CredentialsError(message)
        asked = Asked(
            oidc=oidc,
            deployed=self._about,
            region=region,
            token=self.given.variables[TOKEN_VARIABLE],
            token_file=self._directory / TOKEN_FILE,
        )
        return self._add(self._obtainer.obtain(asked, stopping, note))

    def _add(self, new: Published) -> Published:
        for name, content in new.files.items():
            write_durably(self._directory / name, content.encode())
        self.given = published.merged(self.given, new)
        return new
