"""What a person can do about a spec now, each with its command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.model import Reason, ReasonCode, State, Status
from reconciler.values import replace

__all__ = ["Advice", "advise"]


@dataclass(frozen=True, slots=True)
class Advice:
    """A command, and what it does."""

    command: str
    does: str


_LOGS: Final = Advice("reconciler logs {name}", "shows the whole log")
_RUN: Final = Advice("reconciler trigger {name}", "runs it now")
_MEND: Final = Advice("reconciler trigger {name}", "brings it back to what the spec says")
_KEEP: Final = Advice("reconciler adopt {name}", "takes the stack as it is, and runs nothing")
_REFRESH: Final = Advice(
    "reconciler trigger {name} --operation refresh", "brings the state up to date first"
)
_SHOW: Final = Advice("reconciler show {name}", "shows where its source and secrets come from")
_DOCTOR: Final = Advice("reconciler doctor", "looks at the API, the token and this machine")

# By why it stands as it does, the most fitting first.
_BY_REASON: Final[Mapping[ReasonCode, tuple[Advice, ...]]] = {
    ReasonCode.APPROVAL: (Advice("reconciler approve {name}", "approves what was shown"),),
    ReasonCode.FAILED: (_LOGS, _RUN),
    ReasonCode.RETRYING: (_LOGS,),
    ReasonCode.RETRIES_EXHAUSTED: (_LOGS, _RUN),
    ReasonCode.INTERRUPTED: (_LOGS, _REFRESH, _RUN),
    ReasonCode.CANCELED: (_LOGS, _RUN),
    ReasonCode.TIMED_OUT: (_LOGS, _RUN),
    ReasonCode.REFUSED: (_SHOW, _RUN),
    ReasonCode.LOCKED: (Advice("pulumi cancel", "frees the stack, where nobody works on it"), _RUN),
    ReasonCode.WINDOW: (Advice("reconciler trigger {name}", "runs it outside its windows"),),
    ReasonCode.HISTORY_UNKNOWN: (_KEEP, _MEND),
    ReasonCode.HISTORY_LOST: (_KEEP, _MEND),
    ReasonCode.FOREIGN_CHANGE: (_MEND, _KEEP),
    ReasonCode.DRIFTED: (_MEND,),
    ReasonCode.SECRET_UNAVAILABLE: (_SHOW,),
    ReasonCode.SOURCE_UNAVAILABLE: (_SHOW,),
    ReasonCode.API_UNAVAILABLE: (_DOCTOR,),
    ReasonCode.ACCESS_DENIED: (_DOCTOR,),
    ReasonCode.INVALID: (Advice("reconciler validate", "shows every mistake, with its line"),),
}


def advise(
    status: Status, state: State, reason: Reason, facts: Mapping[str, str]
) -> tuple[Advice, ...]:
    """Return what a person can do, the most fitting first.

    `facts` are: `path` of the file, `held` by a hold on all, `suspended` by the file, the ID of
    a `mass` change, a `dependency` that is waited for, whether one is `missing`, and whether
    `nobody` reconciles.
    """
    found = [*_mass(facts), *_BY_REASON.get(reason.code, ())]
    if "missing" in facts and "path" in facts:
        found.append(Advice("$EDITOR {path}", "to take out of dependsOn what is not there"))
    if "dependency" in facts and reason.code is ReasonCode.DEPENDENCY:
        found.append(Advice("reconciler why {dependency}", "says why that one is not Ready"))
    if reason.code is ReasonCode.CONFLICT and status.foreign is not None and status.foreign.owner:
        found.append(replace(_KEEP, does="takes it from the other owner; end that one first"))
    found += _by_state(status, state, facts)
    if "nobody" in facts:
        found.append(Advice("reconciler run", "reconciles this directory; --once: one time"))
    words = {"name": status.name, **facts}
    # The first to name a command says what it does.
    named: dict[str, Advice] = {}
    for advice in found:
        command = advice.command.format_map(words)
        named.setdefault(command, replace(advice, command=command))
    return tuple(named.values())


def _mass(facts: Mapping[str, str]) -> Iterator[Advice]:
    if "mass" in facts:
        yield Advice("reconciler plan", "shows what would be done")
        yield Advice("reconciler approve --mass {mass}", "lets all that are held with it through")


def _by_state(status: Status, state: State, facts: Mapping[str, str]) -> Iterator[Advice]:
    if status.run is not None:
        yield Advice("reconciler logs {name} -f", "follows the log")
        yield Advice("reconciler cancel {name}", "cancels it")
    if state is State.READY:
        yield Advice("reconciler trigger {name}", "runs it again now")
    if state is not State.SUSPENDED:
        return
    if "suspended" in facts:
        yield Advice("$EDITOR {path}", "to set reconcile.suspend to false")
    if "held" in facts:
        yield Advice("reconciler resume --all", "ends the suspension of all specs")
    elif "suspended" not in facts:
        yield Advice("reconciler resume {name}", "ends the suspension")
