"""How a call of the cluster's API can fail."""

from __future__ import annotations

import contextlib
import json

from reconciler.errors import ReconcilerError

__all__ = ["ApiError", "UnreachableError", "refusal"]

# Of a message so much is for a log; admission webhooks have been seen to say more.
LONGEST_MESSAGE = 2000


class UnreachableError(ReconcilerError):
    """The API did not answer, or a connection to it was lost: what was asked may have happened."""


class ApiError(ReconcilerError):
    """The API refused; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status and what the server says."""
        super().__init__(message)
        self.status = status


def refusal(status: int, content: bytes) -> str:
    """Return what the API says, which is a `Status` object as a rule."""
    with contextlib.suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict) and found.get("message"):
            return str(found["message"])[:LONGEST_MESSAGE]
    return f"HTTP {status}: {content[:500].decode(errors='replace')}".strip()
