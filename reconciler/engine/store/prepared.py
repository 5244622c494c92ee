"""Queries that are asked again and again: compiled once, and on SQLite asked without ceremony."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

__all__ = ["Prepared"]


class Prepared:
    """A select for one row, with named parameters.

    SQLite answers in microseconds what SQLAlchemy takes hundreds to ask. There a row has the
    values as they are kept: a boolean is 0 or 1.
    """

    def __init__(self, select: sa.Select[Any]) -> None:
        compiled = select.compile(dialect=sqlite.dialect())
        self.select = select
        self.text = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        # Its fields are the select's own, which no class could name beforehand.
        columns = [str(column.key) for column in select.selected_columns]
        self._row: Any = namedtuple("Row", columns)  # type: ignore[misc]  # noqa: PYI024

    def values(self, parameters: dict[str, object]) -> tuple[object, ...]:
        """Return the parameters in the order of their places in `text`."""
        return tuple(parameters[name] for name in self._names)

    def row(self, values: tuple[object, ...]) -> Any:
        """Return a row of SQLite's with its columns' names."""
        return self._row._make(values)
