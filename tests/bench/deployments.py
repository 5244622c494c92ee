"""Deployments through an engine, over the same by hand: clone, install, select, up."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from reconciler.api.types import StackRef
from reconciler.planning.underway import POLL_SHORTEST
from tests.bench.engines import (
    Served,
    make_repository,
    pulumi,
    request_for,
    serving,
    spent_s,
)
from tests.bench.figures import Figure, command, in_turn, timed
from tests.engine.harness import make_slow_provider

__all__ = ["MEASURES"]

SHORT = "name: bench\nruntime: yaml\noutputs: {answer: '42'}\n"
LONG = """\
name: bench
runtime: yaml
plugins: {{providers: [{{name: slow, path: provider}}]}}
resources:
  thing: {{type: slow:index:Thing, properties: {{begun: {gate}/begun, open: {gate}/open}}}}
"""
LONG_S = 10.0
# The clone, install, select and up of one stack; `$1` is the stack's name.
SCRIPT = """\
set -e
git clone -q "file://$SOURCE" "clone-$1-$2"
cd "clone-$1-$2"
{install}
pulumi stack select --create "organization/bench/$1"
pulumi up --yes --skip-preview --non-interactive --suppress-progress
"""
STACKS, EACH, PARTS, WORKERS = 20, 2, 2, 2
# To ask costs both sides some milliseconds of the machine that is measured. The end that the
# measure ends with is to be seen soon; those before are seen as the reconciler sees them.
ASK_SOON_S = 0.04
ASK_MANY_S = POLL_SHORTEST.total_seconds()


class ByHand:
    """What a person would do, with a backend and a home of their own."""

    def __init__(self, root: Path, source: Path, *, install: bool = True) -> None:
        self._home = root / "hand"
        (self._home / "backend").mkdir(parents=True)
        script = SCRIPT.format(install="pulumi install" if install else ":")
        self._script = self._home / "deploy.sh"
        self._script.write_text(script)
        self._environment = {
            "PATH": f"{pulumi().directory}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self._home),
            "SOURCE": str(source),
            "PULUMI_HOME": str(self._home / "pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self._home / 'backend'}",
            "PULUMI_CONFIG_PASSPHRASE": "bench",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def one(self, stack: str, number: int) -> None:
        words = ("sh", self._script, stack, str(number))
        command(*words, cwd=self._home, environment=self._environment)

    def all(self, stacks: list[str]) -> None:
        """Deploy every stack as often as asked, two at a time; each stack's runs in order."""
        runs = "; ".join(f"sh {self._script} $0 {number}" for number in range(EACH))
        line = f"echo {' '.join(stacks)} | xargs -n1 -P{WORKERS} sh -c 'set -e; {runs}'"
        command("sh", "-c", line, cwd=self._home, environment=self._environment)


def deploy(engine: Served, stack: str, source: Path, *, install: bool = True) -> None:
    """Deploy one stack, and ask until that has ended."""
    place = StackRef("acme", "bench", stack)
    request = request_for(source, install=install)
    made = engine.client.create(place, request)
    wait(engine, place, made.id, ASK_SOON_S)


def wait(engine: Served, place: StackRef, deployment_id: str, ask_every_s: float) -> None:
    while True:
        found = engine.client.get(place, deployment_id)
        if found is not None and found.status.ended:
            assert found.status == "succeeded", found
            return
        time.sleep(ask_every_s)


def short(root: Path, runner: str, target: str) -> Figure:
    source, numbers = make_repository(root / "repository", SHORT), count()
    hand = ByHand(root, source)
    with serving(root / "engine", "--runner", runner) as engine:
        ours, theirs = in_turn(
            lambda: deploy(engine, "dev", source), lambda: hand.one("dev", next(numbers))
        )
    return Figure(f"a 0.3 s program ({runner}), over the same by hand", ours, theirs, target)


def long(root: Path) -> Figure:
    """Measure a program whose one resource takes ten seconds, in a new stack each time."""
    gate = root / "gate"
    gate.mkdir()
    source = root / "repository"
    make_slow_provider(source / "provider")
    make_repository(source, LONG.format(gate=gate))
    hand = ByHand(root, source, install=False)
    ours_numbers, theirs_numbers = count(), count()
    options = ("--runner", "bubblewrap", "--allow-write", str(gate))
    with serving(root / "engine", *options) as engine, opening(gate):
        ours, theirs = in_turn(
            lambda: deploy(engine, f"s{next(ours_numbers)}", source, install=False),
            lambda: hand.one(f"s{next(theirs_numbers)}", 0),
            rounds=3,
        )
    return Figure("a 10 s program (bubblewrap), over the same by hand", ours, theirs, "<= 1.03")


@contextmanager
def opening(gate: Path) -> Iterator[None]:
    """Open the gate ten seconds after something has come to it, again and again."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.005):
            if (gate / "begun").exists():
                (gate / "begun").unlink()
                (gate / "open").unlink(missing_ok=True)
                done.wait(LONG_S)
                (gate / "open").touch()
                # Nothing waits for it any more after a moment, and the next one must.
                done.wait(0.5)
                (gate / "open").unlink(missing_ok=True)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def many(root: Path) -> Figure:
    """Measure in parts, in turn with the same by hand: a machine's speed changes in a minute."""
    source = make_repository(root / "repository", SHORT)
    hand, request = ByHand(root, source), request_for(source)

    def ours(engine: Served, stacks: list[str]) -> None:
        places = [StackRef("acme", "bench", stack) for stack in stacks]
        made = [(p, engine.client.create(p, request).id) for _ in range(EACH) for p in places]
        for place, deployment_id in made[:-WORKERS]:
            wait(engine, place, deployment_id, ASK_MANY_S)
        for place, deployment_id in made[-WORKERS:]:
            wait(engine, place, deployment_id, ASK_SOON_S)

    took, spent = [0.0, 0.0], [0.0, 0.0]
    with serving(root / "engine", "--workers", str(WORKERS)) as engine:
        deploy(engine, "warm", source)
        hand.one("warm", 0)
        for first in range(0, STACKS, STACKS // PARTS):
            stacks = [f"s{n}" for n in range(first, first + STACKS // PARTS)]
            before = spent_s(engine.pid) + time.process_time()
            took[0] += timed(partial(ours, engine, stacks))
            spent[0] += spent_s(engine.pid) + time.process_time() - before
            before = children_s()
            took[1] += timed(partial(hand.all, stacks))
            spent[1] += children_s() - before
    return Figure(
        f"{STACKS * EACH} deployments on {STACKS} stacks, 2 at a time, over xargs -P2",
        took[0],
        took[1],
        "<= 1.10",
        f"processor time {spent[0]:.1f} over {spent[1]:.1f} s = {spent[0] / spent[1]:.2f}",
    )


def children_s() -> float:
    """Return the processor time of what this process has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


MEASURES: tuple[Callable[[Path], Figure], ...] = (
    lambda root: short(root, "bubblewrap", "<= 1.15"),
    lambda root: short(root, "process", ""),
    long,
    many,
)
