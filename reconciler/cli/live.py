"""A table that follows a pass: how each spec stands, in place on a terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, Self, TextIO

from reconciler.adapters.status_glance import Glimpse
from reconciler.cli import table
from reconciler.cli.look import look
from reconciler.cli.rows import Row
from reconciler.cli.screen import Screen
from reconciler.clock import Clock
from reconciler.model import Reason, ReasonCode, State

__all__ = ["LiveTable"]

# What changes more often is not read.
DRAW_EVERY_S: Final = 0.1
SECOND_S: Final = 1.0


class LiveTable:
    """Is told how specs stand and shows it, until the end of its `with` block.

    It is drawn beside the pass, so that thousands of changes cost no more than a few.
    """

    def __init__(self, found: Iterable[Row], output: TextIO, clock: Clock) -> None:
        self._rows = {row.name: row for row in found}
        self._output = output
        self._screen = Screen(output)
        self._clock = clock
        self._began: dict[str, datetime] = {}
        self._telling = threading.Lock()
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._drawing = threading.Thread(target=self._draw_on, name="live table", daemon=True)

    def say(self, name: str, state: State, reason: Reason) -> None:
        """Take down how a spec stands now."""
        with self._telling:
            row = self._rows.get(name) or Row(
                name=name, state=state, code="", message="", seen=Glimpse(name=name)
            )
            code, message = str(reason.code), reason.message
            self._rows[name] = replace(row, state=state, code=code, message=message, elapsed=None)
            if state is State.PROGRESSING and reason.code is ReasonCode.RUNNING:
                self._began.setdefault(name, self._clock.now())
            else:
                self._began.pop(name, None)
        self._changed.set()

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the table away; what is printed next stands in its place."""
        self._ended.set()
        self._changed.set()
        self._drawing.join()
        self._screen.clear()

    def _timed(self) -> list[Row]:
        """Return the rows, those that run with how long they have."""
        now = self._clock.now()
        with self._telling:
            rows = dict(self._rows)
            for name, began in self._began.items():
                rows[name] = replace(rows[name], elapsed=now - began)
        return list(rows.values())

    def _draw_on(self) -> None:
        while not self._ended.is_set():
            # The time of what runs goes on while nothing changes.
            self._changed.wait(SECOND_S if self._began else None)
            self._changed.clear()
            if self._ended.is_set():
                return
            rows = self._timed()
            how = look(self._output, os.environ, narrowest=1)
            lines = table.as_brief_lines(table.in_order(rows), how, self._screen.height)
            self._screen.draw(lines)
            self._ended.wait(DRAW_EVERY_S)
