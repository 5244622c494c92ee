"""What to say of the API that was asked: whether it answers, the token, and the clocks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from reconciler.checkup.facts import Clocks, Contact
from reconciler.checkup.findings import Finding, Level
from reconciler.checkup.judging import span

__all__ = ["ROLES_THAT_DEPLOY", "contact"]

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TOO_MANY: Final = 429

ROLES_THAT_DEPLOY: Final = frozenset({"deploy", "admin"})

# A Date header has whole seconds, and an answer is on its way for a while.
EXACT_S: Final = 5.0
# Clouds refuse what was signed further off; slots that many minutes off are no longer those that
# were meant.
TOLERABLE_S: Final = 300.0
# An answer that took longer tells nothing about the time it was made at.
SLOW_S: Final = 10.0

_MAKE_ONE: Final = (
    "make one: `reconciler engine token create --organization ORG --role deploy` on the engine's "
    "host, or in the console of Pulumi Cloud"
)


def contact(fact: Contact, organizations: frozenset[str]) -> Iterable[Finding]:
    """Judge what came of the call; `organizations` are those that the specs name."""
    yield _api(fact)
    yield from _token(fact, organizations)
    yield _clock(fact)


def _api(fact: Contact) -> Finding:
    if fact.embedded and not fact.running:
        return _of("api", Level.OK, "no API is named: `run` starts an engine of its own")
    name = "the embedded engine" if fact.embedded else fact.url
    if fact.refused_url:
        text, _, fix = fact.refused_url.partition("; ")
        return _of("api", Level.PROBLEM, text, fix or "give another `--api-url`")
    if fact.no_token:
        return _of("api", Level.SKIPPED, f"{name} was not asked: there is no token to ask with")
    if fact.lost:
        return _of("api", Level.PROBLEM, fact.lost, _way_out(fact))
    if fact.status == NOT_FOUND:
        text = f"{name} answers, and is no API of Pulumi's: {fact.words}"
        return _of("api", Level.PROBLEM, text, "give the API's own address by `--api-url`")
    if fact.status == TOO_MANY:
        text = f"{name} answers, and wants to be left alone for a while: {fact.words}"
        return _of("api", Level.WARNING, text, "look again in some minutes")
    return _of("api", Level.OK, f"{name} answers")


def _way_out(fact: Contact) -> str:
    if fact.embedded:
        return "look into engine.log in the engine's directory"
    if "certificate" in fact.lost.lower():
        return (
            "have the certificate signed by an authority that this machine knows, or name a file "
            "of authorities in REQUESTS_CA_BUNDLE"
        )
    return "see that it runs, and that this machine reaches it (address, firewall, proxy)"


def _token(fact: Contact, organizations: frozenset[str]) -> Iterable[Finding]:
    if fact.no_token:
        yield _of("token", Level.PROBLEM, fact.no_token, _MAKE_ONE)
    elif fact.refused_url or fact.lost or fact.status in {NOT_FOUND, TOO_MANY}:
        yield _of("token", Level.SKIPPED, "not looked at: the API did not answer")
    elif fact.embedded:
        yield _of("token", Level.OK, "the embedded engine makes its own")
    elif fact.status == UNAUTHORIZED:
        text = f"{fact.url} does not know the token: it is wrong, has expired or was revoked"
        yield _of("token", Level.PROBLEM, text, _MAKE_ONE)
    elif fact.status == FORBIDDEN:
        text = f"the token may not even ask whose it is: {fact.words}"
        yield _of("token", Level.WARNING, text, "see that it may start deployments")
    elif fact.status:
        text = f"{fact.url} answered {fact.status}: {fact.words}"
        yield _of("token", Level.UNKNOWN, text, "look again, or ask whoever runs the API")
    else:
        yield from _good_token(fact, organizations)


def _good_token(fact: Contact, organizations: frozenset[str]) -> Iterable[Finding]:
    of = ", ".join(sorted(fact.organizations)) or "no organization"
    whose = f"{fact.user}'s, for {of}" + (f", role {fact.role}" if fact.role else "")
    unseen = sorted(organizations - fact.organizations)
    if fact.role and fact.role not in ROLES_THAT_DEPLOY:
        text = f"{whose}: it may look and start nothing"
        yield _of("token", Level.PROBLEM, text, _MAKE_ONE)
    if unseen:
        text = f"{whose}: it does not see {', '.join(unseen[:5])}, which specs name"
        yield _of("token", Level.PROBLEM, text, "give a token of that organization")
    elif not fact.role or fact.role in ROLES_THAT_DEPLOY:
        more = " (deploy would do)" if fact.role == "admin" else ""
        yield _of("token", Level.OK, whose + more)


def _clock(fact: Contact) -> Finding:
    if fact.embedded:
        return _of("clock", Level.SKIPPED, "the engine has this machine's own clock")
    clocks = fact.clocks
    if clocks is None or clocks.took_s > SLOW_S:
        return _of("clock", Level.SKIPPED, "not looked at: the API did not tell its time in time")
    ahead_s = _ahead_s(clocks)
    if abs(ahead_s) <= EXACT_S:
        return _of("clock", Level.OK, "as the API's, to some seconds")
    where = "ahead of" if ahead_s > 0 else "behind"
    text = f"this machine's clock is {span(timedelta(seconds=ahead_s))} {where} the API's"
    fix = "set it, and keep it so: `timedatectl set-ntp true`"
    if abs(ahead_s) <= TOLERABLE_S:
        return _of("clock", Level.WARNING, f"{text}: schedules are that far off", fix)
    text += ": schedules are that far off, and clouds refuse what is signed"
    return _of("clock", Level.PROBLEM, text, fix)


def _ahead_s(clocks: Clocks) -> float:
    """Return how far ours is ahead, at the most favourable moment that the answer allows."""
    ahead_s = (clocks.ours - clocks.theirs).total_seconds()
    # The answer was made somewhere between our asking and its coming.
    return ahead_s - min(max(ahead_s, 0.0), clocks.took_s)


def _of(check: str, level: Level, message: str, fix: str = "") -> Finding:
    return Finding(check=check, level=level, message=message, fix=fix)
