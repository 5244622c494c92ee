"""Single values by name: what an engine made once and must find again."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA
from reconciler.engine.store.database import Database

__all__ = ["Facts"]

_facts = sa.Table(
    "facts",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


class Facts:
    """Values by their names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> bytes | None:
        """Return a value by its name."""
        with self._database.read() as connection:
            return _fact(connection, name)

    def get_or_make(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return a value by its name; where there is none, the one that `make` makes, kept."""
        with self._database.write() as connection:
            known = _fact(connection, name)
            if known is not None:
                return known
            value = make()
            connection.execute(sa.insert(_facts).values(name=name, value=value))
            return value

    def replace(self, name: str, old: bytes, new: bytes) -> bool:
        """Put `new` in the place of `old`; False where something else is there by now."""
        with self._database.write() as connection:
            if _fact(connection, name) != old:
                return False
            connection.execute(sa.update(_facts).where(_facts.c.name == name).values(value=new))
            return True


def _fact(connection: sa.Connection, name: str) -> bytes | None:
    value = connection.execute(
        sa.select(_facts.c.value).where(_facts.c.name == name)
    ).scalar_one_or_none()
    return None if value is None else bytes(value)
