"""`reconciler approve`: a person's word for what waits for it.

It binds what was shown: of one spec its preview, of a mass change the names and digests. What
has moved since needs a new one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime

from reconciler.adapters.holds import MassApproval
from reconciler.cli import names, wiring
from reconciler.cli.by_hand import carry_out, request, show
from reconciler.cli.person import who
from reconciler.clock import SystemClock
from reconciler.errors import UsageError
from reconciler.model import Approval, RequestKind
from reconciler.planning.admission import Mass
from reconciler.planning.gates import APPROVAL_LASTS, approval_key
from reconciler.planning.telling import few

__all__ = ["run"]

# More names than these of one mass change help nobody in a message.
NAMES_SHOWN = 10


def run(options: argparse.Namespace) -> int:
    """Approve, and carry it out where nobody else does; 0 where all is Ready in the end."""
    if bool(options.name) is bool(options.mass):
        raise UsageError("give the NAME of a spec that waits for approval, or --mass ID")
    where = wiring.place(options)
    if options.mass:
        with closing(where.repositories):
            return _approve_mass(options, where)
    found = names.known(options.name, where)
    approval = _waiting(found, SystemClock().now())
    print(_told(found, approval))
    asked = request(RequestKind.APPROVE, found.name, binds=approval_key(approval))
    settled = carry_out(options, where, [found.name], lambda: where.requests.put(asked))
    return 0 if settled is None or (show(where, [found.name]) and settled) else 1


def _waiting(found: names.Named, now: datetime) -> Approval:
    """Return what waits for approval; UsageError where nothing does."""
    approval, name = found.status.approval, found.name
    if approval is None:
        why = (
            f" ({found.status.state}: {found.status.reason.message})" if found.status.reason else ""
        )
        raise UsageError(f"nothing of {name} waits for approval{why}")
    if approval.granted is not None:
        raise UsageError(
            f"nothing of {name} waits for approval: {approval.by} approved {approval.operation} "
            f"on {approval.granted:%Y-%m-%d %H:%M} UTC"
        )
    ends = approval.asked + APPROVAL_LASTS
    if now >= ends:
        raise UsageError(
            f"what {name} waited for could be approved until {ends:%Y-%m-%d %H:%M} UTC; the next "
            "pass of `reconciler run` asks anew"
        )
    return approval


def _told(found: names.Named, approval: Approval) -> str:
    """Say what is approved, as it was shown."""
    last = found.status.last
    previewed = last if last is not None and last.version == approval.version else None
    commit = f" at {previewed.commit[:12]}" if previewed is not None and previewed.commit else ""
    text = f"approved: {approval.operation} of {found.status.stack}{commit}"
    if approval.version:
        text += f", as version {approval.version} has shown it"
        text += f": {approval.summary}" if approval.summary else ""
    return text


# ---------------------------------------------------------------- very many at once


def _approve_mass(options: argparse.Namespace, where: wiring.Place) -> int:
    waiting = dict(where.holds.waiting())
    if options.mass not in waiting:
        waiting |= _found_now(options, where)
    mass = waiting.get(options.mass)
    if mass is None:
        raise UsageError(_unknown(options.mass, waiting))
    chosen = mass.names
    approval = MassApproval.of(mass, who(), SystemClock().now())
    print(f"approved: {_listed(chosen)}")
    settled = carry_out(options, where, chosen, lambda: where.holds.approve(approval))
    return 0 if settled is None or (show(where, chosen) and settled) else 1


def _found_now(options: argparse.Namespace, where: wiring.Place) -> Mapping[str, Mass]:
    """Look for what would be held now: `reconciler plan` may have shown it before any run."""
    with wiring.api_source(options, where.root, look_only=True) as api:
        daemon = wiring.build(options, where, api, wiring.say_nothing, look_only=True)
        daemon.survey()
    return {mass.id: mass for mass in daemon.masses()}


def _unknown(mass: str, waiting: Mapping[str, Mass]) -> str:
    text = f"no mass change or removal with the ID {mass} waits for approval"
    if not waiting:
        return f"{text}, and no other does"
    others = "; ".join(
        f"{each} ({_listed(found.names)})" for each, found in sorted(waiting.items())
    )
    return f"{text}; these do: {others}"


def _listed(found: Mapping[str, str]) -> str:
    shown = few(found, NAMES_SHOWN)
    return f"{len(found)} of them: {shown}" if len(found) > 1 else shown
