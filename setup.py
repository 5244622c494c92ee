"""Writes down which commit a package is built from, where the source tree can tell."""

from __future__ import annotations

import subprocess  # noqa: TID251 - asking git for the commit
from contextlib import suppress
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithCommit(build_py):
    """Puts `commit.txt` beside the modules; `reconciler version` reads it."""

    def run(self) -> None:
        """Build, and write it."""
        super().run()
        told = _commit()
        if told and not self.editable_mode:
            path = Path(self.build_lib) / "reconciler/commit.txt"
            path.write_text(f"{told}\n")


def _commit() -> str:
    """Return the commit of this tree; empty where it is none's, as in an unpacked archive."""
    if not (ROOT / ".git").exists():
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            timeout=10,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
    return ""


setup(cmdclass={"build_py": BuildWithCommit})
