"""Plants each bug in a copy of the project and runs the tests that should find it.

`python -m tests.planted` prints found/planted; with names, only bugs whose name holds one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.planted.bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("reconciler", "tests", "schemas", "pyproject.toml", "deployments.d", "examples", "tools")
OPTIONS = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-rf", "--no-header")
LIMIT_S = 900


def plant(bug: Bug, folder: Path) -> None:
    """Copy the project with one bug in it; a bug that no longer fits is a mistake here."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy(source, folder / name)
    path = folder / bug.file
    text = path.read_text()
    assert text.count(bug.good) == 1, f"{bug.name}: its place in {bug.file} has changed"
    path.write_text(text.replace(bug.good, bug.bad))


def found(bug: Bug) -> str:
    """Return the first test that fails with the bug; empty where none does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(bug, folder)
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "SHORT_HISTORIES": "4",
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, *bug.tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode and not lines:
        raise RuntimeError(f"{bug.name}: the tests did not run: {done.stdout}{done.stderr}"[-2000:])
    return lines[0].removeprefix("FAILED ").split(" - ")[0] if lines else ""


def main(words: list[str]) -> int:
    """Plant them all; 1 where one was not found."""
    bugs = [b for b in BUGS if not words or any(word in b.name for word in words)]
    count = 0
    for bug in bugs:
        where = found(bug)
        count += bool(where)
        sys.stdout.write(f"{'found ' if where else 'MISSED'}  {bug.name}  {where}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{count}/{len(bugs)} found\n")
    return 0 if count == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
