"""What is held because it is very much at once, and what a person lets through of that.

A person's word lets each name pass once, as it was shown, within a day. That it has passed is seen
in what is remembered of the name and then taken down, so that a crash in between loses neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from reconciler.errors import NotDurableError
from reconciler.fleet import Fleet
from reconciler.model import Holds, Passage, ReasonCode
from reconciler.planning import admission
from reconciler.planning.admission import Limits
from reconciler.planning.gates import APPROVAL_LASTS
from reconciler.ports import HoldsBook
from reconciler.rolls import Rolls

__all__ = ["Masses"]


class Masses:
    """Says what counts against the mass guards. `held` is what they hold, as it was last told."""

    def __init__(self, fleet: Fleet, rolls: Rolls, book: HoldsBook, limits: Limits) -> None:
        self._fleet = fleet
        self._rolls = rolls
        self._book = book
        self._limits = limits
        self._over: frozenset[Passage] = frozenset()
        self._told = False
        self.held: tuple[admission.Mass, ...] = ()

    def names(self) -> set[str]:
        """Return the names that are held."""
        return {name for mass in self.held for name in mass.names}

    def facts(self, now: datetime, names: Iterable[str], holds: Holds) -> admission.Facts:
        """Return what is known across all stacks when these names are planned."""
        fleet = self._fleet
        places = {n: fleet.place(n) for n in {*fleet.in_flight, *names}}
        # Of a clock that was set back, what was said ahead of it is no longer known to be recent.
        said = {p for p in holds.approved if abs(now - p.at) < APPROVAL_LASTS}
        over = {p for p in said if p in self._over or self._is_over(p)}
        missing = self._rolls.missing(now)
        passed = {(p.code, p.name, p.digest) for p in over | holds.used if not _is_removal(p)}
        # Of what has passed and is forgotten, its destroy may be what is known last. What is gone
        # again after it came back is another removal.
        forgotten = {p.name for p in over | holds.used if _is_removal(p)} - fleet.gone.keys()
        removal = ReasonCode.MASS_REMOVAL
        passed |= {(removal, n, digest) for n, digest in missing.items() if n in forgotten}
        return admission.Facts(
            places=places,
            in_flight=frozenset(fleet.in_flight),
            total=len(fleet.specs),
            changed=fleet.changed,
            recent=fleet.changed_recently(now, admission.MASS_CHANGE_WITHIN),
            missing=missing,
            unusable=self._rolls.unusable,
            approved=frozenset((p.code, p.name, p.digest) for p in said - over),
            passed=frozenset(passed),
        )

    def tell(self, facts: admission.Facts) -> set[str]:
        """Say what is held because it is very much; return whom that holds no longer."""
        before, masses = self.names(), admission.masses(facts, self._limits)
        if masses != self.held or not self._told:  # a process before may have told of others
            self.held = masses
            self._told = self._book.tell(masses)
        return before - self.names()

    def use_up(self, holds: Holds) -> None:
        """Take down what has passed. To be called before anything is planned in a pass."""
        if not holds.approved:
            return
        over = {p for p in holds.approved if self._is_over(p)}
        self._over = (self._over & holds.approved) | over
        if self._over:
            with suppress(NotDurableError):  # it is known here; the next pass tries again
                self._book.use_up(self._over)

    def _is_over(self, passage: Passage) -> bool:
        """Whether what a person let through was asked for; of a removal also, whether it is back.

        Until a create has its answer it is not: it may have to be sent once more.
        """
        name, status = passage.name, self._fleet.statuses.get(passage.name)
        if name in self._fleet.unread:
            return False
        if _is_removal(passage):
            removal = status.removal if status is not None else None
            begun = removal is not None and removal.begun is not None
            return begun or name not in self._fleet.gone
        attempt = status.attempt if status is not None else None
        return attempt is not None and attempt.digest == passage.digest


def _is_removal(passage: Passage) -> bool:
    return passage.code == ReasonCode.MASS_REMOVAL
