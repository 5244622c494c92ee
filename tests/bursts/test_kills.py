"""A daemon that is killed again and again during a burst of changes: nothing twice, nothing lost.

`KILL_SPECS`, `KILL_CHANGES` and `KILLS` are how many of each, `KILL_SETTLE` is the daemon's
`--settle`, and `KILL_SEED` chooses which change and when it is killed.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.settled import wait_for
from tests.bursts.scene import Scene, commit, scene

pytestmark = pytest.mark.real

SPECS = int(os.environ.get("KILL_SPECS", "300"))
CHANGES = int(os.environ.get("KILL_CHANGES", "60"))
KILLS = int(os.environ.get("KILLS", "3"))
SETTLE = os.environ.get("KILL_SETTLE", "2s")
SEED = int(os.environ.get("KILL_SEED", "20261128"))
ANSWER_AFTER_S = 0.05
LIMIT_S = 600.0


def status(it: Scene, number: int) -> dict[str, Any]:
    path = it.place.spec(number)
    found: dict[str, Any] = json.loads(path.with_name(f"{path.stem}.status.json").read_bytes())
    return found


def created(it: Scene) -> int:
    return sum(map(len, it.api.created().values()))


def at_rest(it: Scene, number: int, at: str) -> bool:
    """Whether a stack is Ready at a commit, and nothing of it is on its way."""
    found = status(it, number)
    busy = {"run", "intent"} & found.keys()
    return found["state"] == "Ready" and found["observedCommit"] == at and not busy


def test_a_daemon_that_is_killed_in_a_burst(tmp_path: Path) -> None:
    """Killed while the creates of a burst are on their way: in the end each was made once."""
    dice = random.Random(SEED)
    options = ("--max-concurrent", "1000", "--settle", SETTLE)
    with scene(tmp_path, SPECS, *options, answer_after_s=ANSWER_AFTER_S) as it:
        changed = {number: commit() for number in dice.sample(range(SPECS), CHANGES)}
        left = list(changed)
        it.start()
        it.loaded()
        began = time.monotonic()
        for kill in range(KILLS):
            size = len(left) // (KILLS - kill)
            burst, left = left[:size], left[size:]
            before = created(it)
            for number in burst:
                it.place.write(number, changed[number])
            enough = before + dice.randint(0, size)
            wait_for(lambda least=enough: created(it) >= least, LIMIT_S, 0.01)  # type: ignore[misc]
            it.kill()
            it.start()
        left = list(changed)

        def all_at_rest() -> bool:
            left[:] = [number for number in left if not at_rest(it, number, changed[number])]
            return not left

        wait_for(all_at_rest, LIMIT_S, 0.2)
        took = time.monotonic() - began
        sent = {number: it.sent(it.stack(number)) for number in changed}
        times = Counter(map(len, sent.values()))
        told = f"{SPECS:,} specs, {CHANGES:,} changes, {KILLS} kills: {created(it):,} creates"
        print(f"{told}, so often per stack: {dict(times)}; {took:.1f} s")  # noqa: T201 - figures
        assert times == {1: CHANGES}
        assert it.api.created().keys() == {it.stack(number) for number in changed}
        assert all(found == [it.wanted(it.place.spec(n))] for n, found in sent.items())
        states = Counter(status(it, number)["state"] for number in range(SPECS))
        assert states == {"Ready": SPECS}
