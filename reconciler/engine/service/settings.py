"""The settings of stacks, as callers set and see them, and creates inherit them.

They are encrypted where they are kept. What is shown of a secret is its ciphertext, which can
be given back in its place: only for the same stack, and only to this engine.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from reconciler.api.create_body import request_from_json, wire_secret
from reconciler.api.dialects import Dialect
from reconciler.api.types import MARKER_PREFIX, StackRef
from reconciler.api.wire import Fault, Pointer
from reconciler.engine import settings, validation
from reconciler.engine.secrets_box import KeyFileError
from reconciler.engine.service.errors import AnswerError, may_deploy, may_see, refused
from reconciler.engine.store import StoredSettings
from reconciler.engine.tokens import Caller
from reconciler.engine.tools import Tools
from reconciler.engine.validation import Policy, Refusal

__all__ = ["Settings", "ShownSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSettings:
    """Settings as they may be shown: each secret is `{"ciphertext": …}`."""

    version: int
    body: Mapping[str, object]


class Settings:
    """The settings of those stacks that a caller sees."""

    def __init__(self, tools: Tools, policy: Policy) -> None:
        self._tools = tools
        self._policy = policy

    def get(self, caller: Caller, stack: StackRef) -> ShownSettings:
        """Return a stack's settings; 404 where it has none."""
        may_see(caller, stack.organization)
        stored = self._tools.store.settings.get(stack)
        if stored is None:
            raise AnswerError(404, f"stack {stack} has no deployment settings")
        return self._shown(stack, stored)

    def replace(self, caller: Caller, stack: StackRef, body: object) -> ShownSettings:
        """Set a stack's settings; 400 for what no create could be made with."""
        return self._change(caller, stack, lambda _: body)

    def patch(self, caller: Caller, stack: StackRef, patch: object) -> ShownSettings:
        """Change a stack's settings by a JSON merge patch, of none where there are none."""
        if not isinstance(patch, dict):
            raise AnswerError(400, "a JSON object belongs here")
        # Opened before it is merged: a new secret does not mix with the parts of an old one.
        opened = self.opened(stack, patch)
        return self._change(caller, stack, lambda old: settings.merge_patch(old, opened))

    def delete(self, caller: Caller, stack: StackRef) -> bool:
        """Forget a stack's settings; False where it had none."""
        may_deploy(caller, stack.organization)
        if self._tools.store.stacks.get(stack) is None:
            raise AnswerError(404, f"stack {stack} not found")
        return self._tools.store.settings.delete(stack)

    def encrypt(self, caller: Caller, stack: StackRef, value: object) -> str:
        """Return the ciphertext that a stack's settings and creates take for a secret."""
        may_deploy(caller, stack.organization)
        given = settings.in_one_form(value)
        secret = wire_secret(given.get("secret") if isinstance(given, dict) else given, ())
        if isinstance(secret, Fault) or not secret.value:
            raise AnswerError(400, 'secret: is required: {"secret": "the value"}')
        return self._seal_value(stack, secret.value)

    def inherited(self, caller: Caller, stack: StackRef, asked: object) -> object:
        """Return the body of a create with the stack's settings under it, if it wants them."""
        may_deploy(caller, stack.organization)
        return self.under(stack, self.opened(stack, asked))

    # ------------------------------------------------------------ for the other use cases

    def has(self, stack: StackRef) -> bool:
        """Whether a stack has settings."""
        return self._tools.store.settings.get(stack) is not None

    def under(self, stack: StackRef, opened: object) -> object:
        """Return an opened body of a create with the stack's settings under it, if it wants."""
        if not isinstance(opened, dict) or opened.get("inheritSettings") is False:
            return opened
        stored = self._tools.store.settings.get(stack)
        return opened if stored is None else settings.inherit(self._unseal(stack, stored), opened)

    def opened(self, stack: StackRef, body: object) -> object:
        """Return a body in one spelling, each secret in one form, opened where it is sealed.

        So a patch with a secret replaces the old one whole. 400 for a ciphertext of others.
        """
        faults: list[Fault] = []

        def opened(value: object, at: Pointer) -> object:
            given = settings.in_one_form(value)
            if not isinstance(given, dict) or "ciphertext" not in given:
                return given
            secret = self._open_value(stack, given["ciphertext"])
            if secret is None:
                wrong = "is none of this stack's; give {secret: …}, or what /encrypt answers"
                faults.append(Fault((*at, "ciphertext"), wrong))
            return {"secret": secret}

        result = settings.change_secrets(settings.in_one_spelling(body), opened)
        if faults:
            raise refused(faults)
        return result

    def hidden(self, stack: StackRef, opened: object) -> object:
        """Return an opened body as it may be shown: each secret is `{"ciphertext": …}`."""

        def hide(value: object, _: Pointer) -> object:
            secret = value.get("secret") if isinstance(value, dict) else None
            return {"ciphertext": self._seal_value(stack, secret)} if secret is not None else value

        return settings.change_secrets(opened, hide)

    # ------------------------------------------------------------ inside

    def _change(
        self, caller: Caller, stack: StackRef, make: Callable[[dict[str, object]], object]
    ) -> ShownSettings:
        may_deploy(caller, stack.organization)

        def sealed(old: StoredSettings | None) -> bytes:
            body = self._checked(stack, make({} if old is None else self._unseal(stack, old)))
            return self._tools.box.encrypt(json.dumps(body).encode(), _context(stack))

        self._tools.store.stacks.make(stack)
        return self._shown(stack, self._tools.store.settings.change(stack, sealed))

    def _checked(self, stack: StackRef, body: object) -> dict[str, object]:
        """Return settings in the form they are kept in; 400 for what no create can use."""
        opened = self.opened(stack, body)
        if not isinstance(opened, dict):
            raise AnswerError(400, "a JSON object belongs here")
        request = request_from_json(settings.as_create(opened), wire_secret, Dialect.TODAY)
        if isinstance(request, tuple):
            raise refused(request)
        accepted = validation.check(request, self._policy)
        if isinstance(accepted, Refusal):
            raise AnswerError(400, accepted.message)
        if accepted.marker:
            at = f"operationContext.environmentVariables.{accepted.marker}"
            raise AnswerError(400, f"{at}: {MARKER_PREFIX}… names one deployment, not all")
        return settings.from_request(accepted.request)

    def _shown(self, stack: StackRef, stored: StoredSettings) -> ShownSettings:
        body = self.hidden(stack, self._unseal(stack, stored))
        return ShownSettings(version=stored.version, body=cast("Mapping[str, object]", body))

    def _unseal(self, stack: StackRef, stored: StoredSettings) -> dict[str, object]:
        body: dict[str, object] = json.loads(
            self._tools.box.decrypt(stored.sealed, _context(stack))
        )
        return body

    def _seal_value(self, stack: StackRef, value: str) -> str:
        sealed = self._tools.box.encrypt(value.encode(), _value_context(stack))
        return base64.b64encode(sealed).decode()

    def _open_value(self, stack: StackRef, ciphertext: object) -> str | None:
        if not isinstance(ciphertext, str):
            return None
        try:
            sealed = base64.b64decode(ciphertext, validate=True)
            return self._tools.box.decrypt(sealed, _value_context(stack)).decode()
        except (binascii.Error, ValueError, KeyFileError):
            return None


def _context(stack: StackRef) -> str:
    return f"settings/{stack}"


def _value_context(stack: StackRef) -> str:
    return f"setting/{stack}"
