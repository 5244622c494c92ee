"""The errors this package raises.

    ReconcilerError
    ├── UsageError            a command was called in a way that cannot work (exit 2)
    ├── AnotherInstanceError  someone else reconciles this directory (exit 75)
    │   └── StateElsewhereError  and never sees what is asked for here
    ├── NewerReleaseError     a newer release has written the state, and it is left as it is
    ├── NotDurableError       a state could not be written to disk: nothing may be started
    │   └── UnreadableError   a state is there and cannot be read now: nor may anything then
    ├── SecretUnavailableError  a secret reference could not be looked up
    ├── EngineUnavailableError  the embedded engine does not start or answer
    └── ApiError              the Deployments API did not do what was asked
        ├── RefusedError      it answered that it will not (4xx): the request has had no effect
        └── LostError         no usable answer: whether it took effect is unknown

A user's mistake in a file is no exception: it is a `Problem`, a value with a place
(`reconciler.model`). An error's text never holds a secret's value.
"""

from __future__ import annotations

__all__ = [
    "AnotherInstanceError",
    "ApiError",
    "EngineUnavailableError",
    "LostError",
    "NewerReleaseError",
    "NotDurableError",
    "ReconcilerError",
    "RefusedError",
    "SecretUnavailableError",
    "StateElsewhereError",
    "UnreadableError",
    "UsageError",
]


class ReconcilerError(Exception):
    """The root of the tree."""


class UsageError(ReconcilerError):
    """A command was called in a way that cannot work; the message says what would."""


class AnotherInstanceError(ReconcilerError):
    """Another process reconciles the same directory; the message names it."""


class StateElsewhereError(AnotherInstanceError):
    """That process keeps its state at another place, so it never sees what is asked for here."""


class NewerReleaseError(ReconcilerError):
    """A file of the state is a newer release's; nothing is started, and nothing written to it.

    `path` is the file, `told` what in it is not known here.
    """

    def __init__(self, path: str, told: str) -> None:
        super().__init__(
            f"{path} was written by a newer release of reconciler ({told}) and is left as it is; "
            "install that release again, or bring back the state directory and the status files "
            "as they were before it"
        )


class NotDurableError(ReconcilerError):
    """A file could not be made durable; whatever depended on it must not happen."""


class UnreadableError(NotDurableError):
    """A file of the state is there and cannot be read now: what it says is not "nothing"."""


class SecretUnavailableError(ReconcilerError):
    """A secret reference could not be looked up; names the reference, never a value."""


class EngineUnavailableError(ReconcilerError):
    """The embedded engine could not be started or found; names its log."""


class ApiError(ReconcilerError):
    """The API did not do what was asked."""


class RefusedError(ApiError):
    """The API answered with a 4xx status: the request has had no effect.

    `status` is the HTTP status, `message` the server's own words (masked, at most
    500 characters), `retry_after_s` the seconds it asked to wait, or None.
    """

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


class LostError(ApiError):
    """No answer, a broken one, or a 5xx: whether the request took effect is unknown.

    `retry_after_s` is the seconds the server asked to wait, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
