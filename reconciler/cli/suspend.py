"""`reconciler suspend` and `reconciler resume`: a person's hold, over what the specs say.

A hold is a file in the state directory. A running reconciler sees it within a second; where
none runs, the next one does. What runs already goes on to its end.
"""

from __future__ import annotations

import argparse

from reconciler.cli import names, wiring
from reconciler.cli.person import who
from reconciler.clock import SystemClock
from reconciler.model import Hold, Holds

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Hold a spec or all of them, or let them go on; 1 where something else still holds it."""
    where = wiring.place(options)
    name = names.one_or_all(options.name, everything=options.everything)
    found = names.known(name, where, broken=True) if name else None
    if options.suspends:
        return _suspend(where, found)
    return _resume(where, found)


def _suspend(where: wiring.Place, found: names.Named | None) -> int:
    name = found.name if found is not None else ""
    hold = Hold(by=who(), at=SystemClock().now())
    before = where.holds.read()
    already = before.everything if found is None else before.names.get(name)
    if already is not None:
        what = name or "all specs"
        print(f"{already.by} has suspended {what} already, on {already.at:%Y-%m-%d %H:%M} UTC")
        return 0
    where.holds.suspend(name, hold)
    go_on = name or "--all"
    print(
        f"suspended: nothing of {name or 'any spec'} is started; what runs goes on. "
        f"`reconciler resume {go_on}` ends it"
    )
    if found is not None and found.spec is not None and found.spec.suspended:
        print(f"its file says so too: reconcile.suspend in {found.spec.path}")
    return 0


def _resume(where: wiring.Place, found: names.Named | None) -> int:
    before = where.holds.read()
    name = found.name if found is not None else ""
    resumed = where.holds.resume(name)
    if found is None:
        return _resumed_all(where, before, resumed=resumed)
    if before.everything is not None:
        by, at = before.everything.by, before.everything.at
        print(
            f"{name} stays suspended: {by} has suspended all specs on {at:%Y-%m-%d %H:%M} UTC; "
            "`reconciler resume --all` ends that"
        )
        return 1
    if found.spec is not None and found.spec.suspended:
        print(
            f"{name} stays suspended by its file: set reconcile.suspend to false in "
            f"{found.spec.path}"
        )
        return 1
    print(f"{name} goes on" if resumed else f"{name} was not suspended")
    return 0


def _resumed_all(where: wiring.Place, before: Holds, *, resumed: bool) -> int:
    if resumed:
        by = before.everything.by if before.everything is not None else "somebody"
        print(f"what {by} suspended goes on")
    else:
        print("no hold is on all specs")
    if before.names:
        print(f"still suspended by name: {', '.join(sorted(before.names))}")
    by_file = [spec.name for spec in where.specs.scan().specs if spec.suspended]
    if by_file:
        print(f"still suspended by their files: {', '.join(by_file)}")
    return 0
