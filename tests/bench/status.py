"""What `status` costs over many specs: the whole command, over reading their files at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.status_form import render
from reconciler.model import HistoryEntry, Reason, ReasonCode, State
from tests.bench.figures import Figure, command, in_turn
from tests.factories import NOW, ended, settled

__all__ = ["MEASURES"]

COUNT = 10_000
A_FOLDER = 200
SPEC = (
    "stack: acme/web/s{number}\n"
    "sourceContext: {{git: {{repoUrl: https://example.com/acme/infra.git, branch: main}}}}\n"
)


def make(root: Path) -> tuple[Path, Path]:
    """Write specs, and statuses as they are after some runs; return the two folders."""
    specs, data = root / "specs", root / "state"
    names = [f"team-{number // A_FOLDER}/s{number}" for number in range(COUNT)]
    for number, name in enumerate(names):
        path = specs / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SPEC.format(number=number))
    copies = StateDirectory(data).of_directory(specs).statuses
    history = tuple(HistoryEntry(at=NOW, text="update: succeeded", version=n) for n in range(10))
    base = settled(
        latest=ended(),
        history=history,
        generation=9,
        written=NOW,
        state=State.READY,
        reason=Reason(ReasonCode.UP_TO_DATE, "version 1 is at aaaaaaaaaaaa, as wanted"),
    )
    for number, name in enumerate(names):
        content = render(replace(base, name=name, stack=f"acme/web/s{number}"))
        for folder in (copies, specs):
            path = folder / f"{name}.status.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return specs, data


def table(root: Path) -> Figure:
    specs, data = make(root)

    def read() -> None:
        for path in specs.rglob("*.status.json"):
            json.loads(path.read_bytes())

    whole = ("-m", "reconciler", "status", specs, "--data", data)
    measured, baseline = in_turn(lambda: command(sys.executable, *whole, cwd=root), read, 3)
    what = f"status of {COUNT:,} specs, over reading their status files"
    return Figure(what, measured, baseline, "<= 1000 ms")


MEASURES: tuple[Callable[[Path], Figure], ...] = (table,)
