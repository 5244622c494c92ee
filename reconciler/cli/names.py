"""The name that a command is given: whose it is, also where its file is broken or gone."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.adapters.spec_walk import check_name
from reconciler.cli import wiring
from reconciler.cli.spelling import nearest, spellings
from reconciler.errors import UsageError
from reconciler.model import Hold, Spec, Status

__all__ = ["Named", "known", "one_or_all", "refuse_suspended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What is known of a name: its spec where the file is valid, and what is remembered.

    `problem` says what is wrong with the file; with neither, the file is gone.
    """

    name: str
    status: Status
    spec: Spec | None = None
    problem: str = ""

    @property
    def gone(self) -> bool:
        """Whether the file is gone and something of it is remembered."""
        return self.spec is None and not self.problem


def known(text: str, where: wiring.Place, *, broken: bool = False) -> Named:
    """Return what is known of a name; UsageError with the nearest one where nothing is.

    The path of a spec's file is its name, too. A name whose file is wrong is an error, but where
    `broken` allows it.
    """
    catalog = where.specs.scan()
    specs = {spec.name: spec for spec in catalog.specs}
    remembered = where.statuses.names()
    for name in spellings(text, where.directory):
        if name in specs:
            return Named(name=name, spec=specs[name], status=where.statuses.read(name))
        if name in catalog.broken:
            problem = str(catalog.broken[name].problem)
            if not broken:
                raise UsageError(f"{name} is invalid: {problem}")
            return Named(name=name, problem=problem, status=where.statuses.read(name))
        if name in remembered and not check_name(name):
            status = where.statuses.read(name)
            if status.stack:
                return Named(name=name, status=status)
    hint = nearest(text, [*specs, *catalog.broken, *remembered])
    raise UsageError(f"there is no spec {text!r} in {where.directory}{hint}")


def one_or_all(name: str, *, everything: bool) -> str:
    """Return the name that was given, empty for --all; UsageError where it is not one of them."""
    if everything and name:
        raise UsageError(f"give either {name} or --all")
    if not everything and not name:
        raise UsageError("give the NAME of a spec, or --all")
    return name


def refuse_suspended(found: Named, hold: Hold | None) -> None:
    """Refuse what would never start, as a person or the file has suspended the name."""
    name = found.name
    if hold is not None:
        what, go_on = ("all specs are", "--all") if hold.everything else (f"{name} is", name)
        raise UsageError(f"{what} suspended by {hold.by}; first `reconciler resume {go_on}`")
    if found.spec is not None and found.spec.suspended:
        raise UsageError(f"{name} is suspended (reconcile.suspend in {found.spec.path})")
