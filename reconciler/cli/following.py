"""Follows how specs stand: a line for each that changes, and to the end of what was asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from reconciler.cli import table
from reconciler.cli.look import printable
from reconciler.cli.rows import Row, Rows
from reconciler.clock import Clock
from reconciler.model import ReasonCode, State

__all__ = ["follow", "tell"]

LOOK_EVERY: Final = timedelta(milliseconds=500)
# Who stands so goes on as soon as the reconciler has seen what was asked for.
_GOES_ON: Final = frozenset({ReasonCode.MASS_CHANGE, ReasonCode.MASS_REMOVAL})


def tell(
    found: Sequence[Row],
    before: Mapping[str, Row],
    now: datetime,
    *,
    json_lines: bool = False,
    reconciler: str = "",
) -> None:
    """Print a line for each row that is new or stands otherwise; JSON says who reconciles, too."""
    there = {row.name for row in found}
    for row in table.in_order(found):
        old = before.get(row.name)
        if old is not None and table.object_of(old) == table.object_of(row):
            continue
        if json_lines:
            print(json.dumps(table.object_of(row, reconciler), ensure_ascii=False), flush=True)
        elif old is None or (old.state, old.message) != (row.state, row.message):
            text = printable(f"{row.name}  {row.state}: {row.message}")
            print(f"{now:%H:%M:%S}Z  {text}", flush=True)
    for name in before.keys() - there if not json_lines else ():
        print(f"{now:%H:%M:%S}Z  {printable(name)}  forgotten", flush=True)


def follow(
    rows: Rows,
    about: Collection[str],
    asked: Callable[[], bool],
    clock: Clock,
    limit: timedelta,
) -> bool:
    """Tell how names stand until the one who reconciles has done what it was asked for.

    `asked` says whether a request still lies there. False: not within `limit`, which is told.
    """
    never, until = threading.Event(), clock.running() + limit
    before: dict[str, Row] = {}
    while True:
        lies_there = asked()  # looked at first: it goes when the status has been written
        found = rows.of(about)
        tell(found, before, clock.now())
        before = {row.name: row for row in found}
        if not lies_there and not any(_goes_on(row) for row in found):
            return True
        if clock.running() >= until:
            print(f"gave up waiting after {limit} (--timeout); what was asked for stands")
            return False
        clock.wait_until(clock.now() + LOOK_EVERY, never)


def _goes_on(row: Row) -> bool:
    return row.state is State.PROGRESSING or row.code in _GOES_ON
