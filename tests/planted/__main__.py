"""Plants each bug in a copy of the project and runs the tests that should find it.

`python -m tests.planted` prints found/planted; with names, only bugs whose name holds one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.planted.bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("reconciler", "tests", "schemas", "pyproject.toml", "deployments.d", "examples", "tools")
OPTIONS = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-rf", "--no-header")
LIMIT_S = 900


def copy(folder: Path) -> None:
    """Copy the project."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy(source, folder / name)


def plant(bug: Bug, folder: Path) -> None:
    """Put one bug into a copy; a bug that no longer fits is a mistake here."""
    path = folder / bug.file
    text = path.read_text()
    assert text.count(bug.good) == 1, f"{bug.name}: its place in {bug.file} has changed"
    path.write_text(text.replace(bug.good, bug.bad))


def failing(tests: Iterable[str], bug: Bug | None = None) -> str:
    """Return the first of the tests that fails, with the bug; empty where none does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        if bug is not None:
            plant(bug, folder)
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "SHORT_HISTORIES": "4",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode and not lines:
        raise RuntimeError(f"the tests did not run: {done.stdout}{done.stderr}"[-2000:])
    return lines[0].removeprefix("FAILED ").split(" - ")[0] if lines else ""


def main(words: list[str]) -> int:
    """Plant them all; 1 where one was not found, or where a test fails without any bug."""
    bugs = [b for b in BUGS if not words or any(word in b.name for word in words)]
    red = failing(dict.fromkeys(test for bug in bugs for test in bug.tests))
    if red:
        sys.stdout.write(f"nothing can be told: without any bug this fails: {red}\n")
        return 1
    count = 0
    for bug in bugs:
        where = failing(bug.tests, bug)
        count += bool(where)
        sys.stdout.write(f"{'found ' if where else 'MISSED'}  {bug.name}  {where}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{count}/{len(bugs)} found\n")
    return 0 if count == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
