"""What should be true now: a spec, and what had to be looked up for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from reconciler.model.reasons import Reason
from reconciler.model.spec import Spec

__all__ = ["Desired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A spec and what had to be looked up for it.

    `fields` is the canonical form of the request: field → text, secrets as keyed hashes.
    `digest` is its hash. `commit` is what the source points to now; `source` is what of it
    counts as a change (the commit itself, or with `sourcePaths` a hash of what they match).
    Where one of them could not be had, `blocked` says why, and nothing new may be started.
    `source_again_at` is when the source is to be looked at again; None: it cannot move.
    """

    spec: Spec
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    digest: str = ""
    commit: str = ""
    source: str = ""
    blocked: Reason | None = None
    source_again_at: datetime | None = None

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name
