"""Leaves an API alone that is down or refuses us, and asks again with one call at a time.

Three things can shut: the whole API (no answer, 5xx, 429, or a token it does not know), one
organization, one stack (403, 404). What is shut answers at once that nothing is known; after a
while one call is let through as a probe, and what it finds counts for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from reconciler.api.types import StackRef
from reconciler.clock import Clock
from reconciler.errors import ApiError, EngineUnavailableError, LostError, RefusedError
from reconciler.metrics import OFF, Meter, Reading, of_loop
from reconciler.model import Reason, ReasonCode, Unknown
from reconciler.patience import CLOCK_TOLERANCE, LONGEST_RETRY_AFTER, PROBE_AFTER
from reconciler.ports import ApiSource

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["Breaker", "NotKnownError"]

R = TypeVar("R")

# While the API is down it is asked again after 1, 2, 4 … seconds.
BACKOFF_SHORTEST = timedelta(seconds=1)
BACKOFF_LONGEST = timedelta(seconds=30)

UNAUTHORIZED = 401
TOO_MANY = 429
ACCESS_REFUSED = frozenset({403, 404})

# What a person does next where the API is not there, and where it does not take the token.
_LOOK = "`reconciler doctor`, with the same options, looks further"
_GIVEN = "it is in $PULUMI_ACCESS_TOKEN or --token-file; `reconciler doctor` says what is wrong"

# What is shut: the API (""), an organization ("acme"), or a stack ("acme/web/dev").
_API = ""
_KINDS = ("api", "organization", "stack")


class NotKnownError(Exception):
    """What was asked is not known now; `unknown` says why, and when it may be."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.reason.message)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class _Shut:
    unknown: Unknown
    backoff: timedelta


class Breaker:
    """Asks one API. May be used by several threads."""

    def __init__(self, api: ApiSource, clock: Clock, meter: Meter = OFF) -> None:
        self._api = api
        self._clock = clock
        self._meter = meter
        self._shut: dict[str, _Shut] = {}
        self._lock = Lock()

    def ask(self, about: StackRef | str, question: Callable[[ApiClient], R]) -> R:
        """Ask about a stack or an organization; NotKnownError where there is no answer."""
        scopes = _scopes(about)
        self._let_through(scopes)
        try:
            answer = question(self._api())
        except (ApiError, EngineUnavailableError) as error:
            raise NotKnownError(self._failed(scopes, error)) from error
        self._worked(scopes)
        return answer

    def send(self, about: StackRef, call: Callable[[ApiClient], R]) -> R:
        """Call what changes something. NotKnownError: it was not sent.

        Raises what the call raises, which says whether it may have had an effect.
        """
        scopes = _scopes(about)
        self._let_through(scopes)
        try:
            answer = call(self._api())
        except (LostError, EngineUnavailableError) as error:
            self._failed(scopes, error)
            raise
        except RefusedError as error:
            if error.status in {UNAUTHORIZED, TOO_MANY} | ACCESS_REFUSED:
                self._failed(scopes, error)
            raise
        self._worked(scopes)
        return answer

    def readings(self) -> Iterable[Reading]:
        """Tell what is shut, for a scrape."""
        with self._lock:
            shut = [_kind(scope) for scope in self._shut]
        return tuple(Reading(of_loop.API_SHUT, shut.count(kind), (kind,)) for kind in _KINDS)

    def _let_through(self, scopes: tuple[str, ...]) -> None:
        now = self._clock.now()
        with self._lock:
            for scope in scopes:
                shut = self._shut.get(scope)
                if shut is None:
                    continue
                wait = shut.unknown.again_at - now
                # More than was begun with: the clock was set back, so it is asked again.
                if timedelta(0) < wait <= shut.backoff + CLOCK_TOLERANCE:
                    raise NotKnownError(shut.unknown)
                # This call is the probe; until it is back, others wait as before.
                again = Unknown(shut.unknown.reason, now + shut.backoff)
                self._shut[scope] = _Shut(again, shut.backoff)

    def _worked(self, scopes: tuple[str, ...]) -> None:
        if self._shut:
            with self._lock:
                for scope in scopes:
                    self._shut.pop(scope, None)

    def _failed(self, scopes: tuple[str, ...], error: Exception) -> Unknown:
        now = self._clock.now()
        scope, reason, wait = self._judge(scopes, error)
        self._meter.count(of_loop.API_FAILURES, _kind(scope))
        unknown = Unknown(reason, now + wait)
        with self._lock:
            self._shut[scope] = _Shut(unknown, wait)
            for healthy in scopes:
                # An answer about one stack, whatever it says, is an answer of the API's.
                if len(healthy) < len(scope):
                    self._shut.pop(healthy, None)
        return unknown

    def _judge(self, scopes: tuple[str, ...], error: Exception) -> tuple[str, Reason, timedelta]:
        """Say what is shut by an error, why, and for how long."""
        if isinstance(error, RefusedError) and error.status == UNAUTHORIZED:
            reason = Reason(ReasonCode.ACCESS_DENIED, f"the API answered {error}; {_GIVEN}")
            return _API, reason, PROBE_AFTER
        if isinstance(error, RefusedError) and error.status in ACCESS_REFUSED:
            reason = Reason(ReasonCode.ACCESS_DENIED, f"the API answered {error}")
            return scopes[-1], reason, PROBE_AFTER
        before = self._shut.get(_API)
        wait = min(before.backoff * 2, BACKOFF_LONGEST) if before else BACKOFF_SHORTEST
        if isinstance(error, LostError | RefusedError) and error.retry_after_s is not None:
            wait = max(wait, min(timedelta(seconds=error.retry_after_s), LONGEST_RETRY_AFTER))
        scope = _API
        if isinstance(error, RefusedError) and error.status != TOO_MANY:
            scope = scopes[-1]  # it answers, and cannot answer this
        told = f"{error}; {_LOOK}" if isinstance(error, LostError) else str(error)
        return scope, Reason(ReasonCode.API_UNAVAILABLE, told), wait


def _kind(scope: str) -> str:
    return "stack" if "/" in scope else "organization" if scope else "api"


def _scopes(about: StackRef | str) -> tuple[str, ...]:
    """Return what a call is about, the widest first."""
    if isinstance(about, StackRef):
        return _API, about.organization, str(about)
    return _API, about
