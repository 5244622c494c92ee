"""Plays histories one after another, and counts: `python -m tests.simulation 0 100 7`.

The first seed, how many, and how many days each has. After each ten a line of JSON says what
there was so far; a history that does not hold is told of at once, and the rest goes on. The order
of a set is made the same in every process, so the same seed is the same history.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.checks import CHECKS
from tests.simulation.simulation import Simulation

EACH = 10


@dataclass
class Figures:
    """What there was in all histories so far."""

    seeds: int = 0
    days: float = 0
    creates: int = 0
    doubled_by_the_wire: int = 0
    intents: int = 0
    crashes: int = 0
    jumps: int = 0
    writes: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def add(self, history: Simulation) -> None:
        """Count what a history had."""
        world = history.world
        self.seeds += 1
        self.days += history.days
        self.creates += world.api.creates - len(history.foreign)
        self.doubled_by_the_wire += world.api.doubled.total()
        self.intents += len({s.intent.run_id for s in world.journal if s.intent is not None})
        self.crashes += history.crashes
        self.jumps += history.jumps
        self.writes += world.writes
        self.verdicts.update(str(reason.code) for _, _, reason in world.said)

    def line(self, begun: float) -> str:
        """Write them as a line of JSON."""
        told = vars(self) | {"verdicts": dict(self.verdicts.most_common())}
        return json.dumps(told | {"processor_s": round(time.process_time() - begun, 1)})


def play(seed: int, days: float, figures: Figures) -> None:
    """Play one history; what does not hold is told of and counted by the check's name."""
    history = Simulation(seed, days)
    try:
        history.run()
    except Exception as error:
        figures.failed["run"] += 1
        print(f"seed {seed}: {error!r}", flush=True)
        return
    for check in CHECKS:
        try:
            check(history)
        except Exception as error:
            figures.failed[check.__name__] += 1
            print(f"seed {seed}: {check.__name__}: {error}", flush=True)
    figures.add(history)


def main(first: int, count: int, days: float) -> int:
    """Play them; 1 where one did not hold."""
    figures, begun = Figures(), time.process_time()
    for n, seed in enumerate(range(first, first + count), 1):
        play(seed, days, figures)
        if n % EACH == 0 or n == count:
            print(figures.line(begun), flush=True)
    return 1 if figures.failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - itself
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
