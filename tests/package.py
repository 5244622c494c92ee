"""The package as it is handed out: a wheel, built from a clone of the work tree as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "build_wheel", "clone", "uv"]

ROOT = Path(__file__).resolve().parents[1]
BUILD_LIMIT_S = 300


def uv(*arguments: str | Path) -> str:
    """Run uv, and return what it printed."""
    done = subprocess.run(
        [Path(sys.executable).parent / "uv", *arguments],
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clone(target: Path) -> Path:
    """Clone the repository, with the files as they are in the work tree, committed."""
    subprocess.run(["git", "clone", "--quiet", ROOT, target], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = set(filter(None, listed.stdout.decode().split("\0")))
    for old in target.rglob("*"):
        relative = str(old.relative_to(target))
        if old.is_file() and not relative.startswith(".git/") and relative not in names:
            old.unlink()
    for name in names:
        source, there = ROOT / name, target / name
        if source.exists() or source.is_symlink():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.unlink(missing_ok=True)
            shutil.copy2(source, there, follow_symlinks=False)
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for arguments in (["add", "--all"], [*who, "commit", "--quiet", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=target, check=True)
    return target


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a clone in `folder`, and return its path."""
    source = clone(folder / "source")
    python = ("--python", sys.executable, "--no-build-isolation")
    uv("build", "--quiet", "--wheel", *python, "--out-dir", folder / "dist", source)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel
