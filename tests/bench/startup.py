"""What starting costs: the command itself, and a pass that finds nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.engines import make_repository
from tests.bench.figures import Figure, command, in_turn

__all__ = ["MEASURES"]

PROGRAM = "name: bench\nruntime: yaml\noutputs: {answer: '42'}\n"


def python(*arguments: str, cwd: Path) -> Callable[[], None]:
    return lambda: command(sys.executable, *arguments, cwd=cwd)


def start_up(_: Path) -> Figure:
    here = Path.cwd()
    ours, theirs = in_turn(
        python("-m", "reconciler", "--help", cwd=here), python("-c", "pass", cwd=here), 10
    )
    return Figure("reconciler --help, over python -c pass", ours, theirs, "<= 100 ms")


def no_change(root: Path) -> Figure:
    """Measure a pass that finds nothing to do, over reading the same files and no more."""
    make_repository(root / "repository", PROGRAM)
    specs = root / "specs"
    specs.mkdir()
    for number in range(4):
        (specs / f"s{number}.yaml").write_text(
            f"stack: acme/bench/s{number}\n"
            "sourceContext: {git: {repoUrl: ../repository}}\n"
            "operationContext: {options: {skipInstallDependencies: true}}\n"
        )
    flags = ("--data", str(root / "state"))
    once = python("-m", "reconciler", "run", "--once", "specs", *flags, cwd=root)
    once()
    ours, theirs = in_turn(once, python("-m", "reconciler", "validate", "specs", cwd=root))
    return Figure("run --once over 4 specs, no change, over validate", ours, theirs, "")


MEASURES: tuple[Callable[[Path], Figure], ...] = (start_up, no_change)
