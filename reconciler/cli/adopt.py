"""`reconciler adopt`: a person says that a stack is ours, as it is.

That ends what nobody but a person can end: a history that nobody remembers or that was lost,
another owner's marker, and what others have deployed. Nothing is run; what changes from then
on is deployed.
"""

from __future__ import annotations

import argparse
import sys

from reconciler.cli import names, wiring
from reconciler.cli.by_hand import carry_out, request, show
from reconciler.errors import UsageError
from reconciler.model import OnDelete, ReasonCode, RequestKind, State, Status
from reconciler.planning.holds import kept_by_another
from reconciler.planning.remembered import spec_of

__all__ = ["adoptable", "run"]

# A conflict is one of these only where another owner is in it: of two specs one has to go.
_ADOPTED = frozenset(
    {ReasonCode.HISTORY_UNKNOWN, ReasonCode.HISTORY_LOST, ReasonCode.FOREIGN_CHANGE}
)


def run(options: argparse.Namespace) -> int:
    """Take one stack over, or all that wait for it; 0 where all are Ready in the end."""
    name = names.one_or_all(options.name, everything=options.everything)
    where = wiring.place(options)
    if name:
        found = names.known(name, where)
        _refuse_pointless(found, where)
        chosen = [found.name]
    else:
        waiting = _waiting(where)
        if not waiting:
            print("no stack waits to be adopted")
            return 0
        for status in waiting:
            reason = status.reason.message if status.reason is not None else ""
            print(f"{status.name} ({status.stack}): {reason}")
        if not _agreed(len(waiting), yes=options.yes):
            print("nothing was done")
            return 1
        chosen = [status.name for status in waiting]
    asked = [request(RequestKind.ADOPT, each) for each in chosen]

    def ask() -> None:
        for each in asked:
            where.requests.put(each)

    settled = carry_out(options, where, chosen, ask)
    return 0 if settled is None or (show(where, chosen) and settled) else 1


def _waiting(where: wiring.Place) -> list[Status]:
    holds = where.holds.read()
    specs = (s for s in where.specs.scan().specs if not s.suspended and holds.of(s.name) is None)
    return [status for s in specs if adoptable(status := where.statuses.read(s.name))]


def adoptable(status: Status) -> bool:
    """Whether a stack waits for a person to say that it is ours."""
    if status.reason is None:
        return False
    if status.reason.code is ReasonCode.CONFLICT:
        return kept_by_another(status) is not None
    return status.reason.code in _ADOPTED


def _refuse_pointless(found: names.Named, where: wiring.Place) -> None:
    status, name = found.status, found.name
    if found.gone:
        raise UsageError(_removed(status))
    names.refuse_suspended(found, where.holds.read().of(name))
    if status.state is State.READY:
        raise UsageError(f"{name} is Ready: there is nothing to take over")
    code = status.reason.code if status.reason is not None else None
    if code is ReasonCode.CONFLICT and kept_by_another(status) is None:
        assert status.reason is not None  # noqa: S101 - its code was read
        raise UsageError(f"{name} cannot be adopted: {status.reason.message}")


def _removed(status: Status) -> str:
    """Say why a removed spec is not adopted, and what can be done about its stack."""
    name = status.name
    if spec_of(status).on_delete is OnDelete.KEEP:
        return (
            f"the file of {name} is gone, and its stack is kept as it is: there is nothing to "
            "take over; bring the file back to go on with it"
        )
    return (
        f"the file of {name} is gone, and its stack is to be destroyed (reconcile.onDelete: "
        f"destroy): to keep it, first `reconciler suspend {name}`, then bring the file back; "
        f"`reconciler why {name}` says how it stands"
    )


def _agreed(count: int, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("give --yes to take all of these over as they are")
    what = f"these {count} stacks over as they are" if count > 1 else "this stack over as it is"
    print(f"Take {what}? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
