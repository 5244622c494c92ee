"""The file backend that an organization's Pulumi state is kept in, as far as the engine looks.

It looks whether a stack is there, whether someone holds its lock, and whether a kill has left
its attributes unwritten. Everything else is Pulumi's own business.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.api.types import StackRef

__all__ = ["Backend"]


@dataclass(frozen=True, slots=True)
class Backend:
    """One organization's backend directory."""

    directory: Path

    @property
    def url(self) -> str:
        """What PULUMI_BACKEND_URL says."""
        return f"file://{self.directory}"

    def make(self) -> None:
        """Make the directory, which Pulumi does not."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def mend(self, stack: StackRef) -> None:
        """Remove a stack's attributes where Pulumi was killed before it had written any.

        It writes them into a file of their own, in place, and reads no state beside an empty one;
        where there is none it goes on. Nobody may be running the stack.
        """
        folder = self.directory / ".pulumi" / "stacks" / stack.project
        for name in (f"{stack.stack}.json.attrs", f"{stack.stack}.json.gz.attrs"):
            path = folder / name
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size == 0:
                    path.unlink()

    def has(self, stack: StackRef) -> bool:
        """Whether the stack's state is there."""
        stem = self.directory / ".pulumi" / "stacks" / stack.project / f"{stack.stack}.json"
        return stem.exists() or stem.with_name(f"{stem.name}.gz").exists()

    def locks(self, stack: StackRef) -> frozenset[str]:
        """Return the names of the stack's locks: at most one, unless someone was killed."""
        return frozenset(path.name for path in self._lock_files(stack))

    def locked_since(self, stack: StackRef, moment: datetime) -> bool:
        """Whether there are locks, and all of them were made at `moment` or later."""
        try:
            made = [path.stat().st_mtime for path in self._lock_files(stack)]
        except FileNotFoundError:  # its owner has let go of it just now
            return False
        return bool(made) and min(made) >= moment.timestamp()

    def _lock_files(self, stack: StackRef) -> tuple[Path, ...]:
        parts = (".pulumi", "locks", "organization", stack.project, stack.stack)
        return tuple(self.directory.joinpath(*parts).glob("*.json"))
