"""The package as it is handed out: a wheel, built from a clone of the work tree as it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["ROOT", "build_wheel", "clone", "commit", "lend_environment", "pack_needed", "uv"]

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
    commit(target)
    return target


def commit(folder: Path) -> None:
    """Commit everything in a clone as it is."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["add", "--all"], [*who, "commit", "--quiet", "--allow-empty", "-mx"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def lend_environment(folder: Path) -> None:
    """Have in a clone what `make setup` would install: the environment of these tests."""
    venv = folder / ".venv"
    venv.mkdir()
    for item in Path(sys.prefix).iterdir():
        if item.name != ".installed":
            (venv / item.name).symlink_to(item)
    (venv / ".installed").touch()


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a clone in `folder`, and return its path."""
    source = clone(folder / "source")
    python = ("--python", sys.executable, "--no-build-isolation")
    uv("build", "--quiet", "--wheel", *python, "--out-dir", folder / "dist", source)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def pack_needed(folder: Path, name: str = "reconciler") -> None:
    """Pack what a package needs as wheels again, from where it is installed: nothing is fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    for needed in {package for package, _ in _needed(Requirement(name), set())}:
        _pack(distribution(needed), folder)


def _needed(wanted: Requirement, seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Add what a requirement needs to what was seen, by name and extra; return all of it."""
    for text in distribution(wanted.name).requires or ():
        needed = Requirement(text)
        for extra in ("", *wanted.extras):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                keys = {(needed.name, each) for each in ("", *needed.extras)}
                if not keys <= seen:
                    seen |= keys
                    _needed(needed, seen)
    return seen


def _pack(found: Distribution, folder: Path) -> None:
    lines = (found.read_text("WHEEL") or "").splitlines()
    each = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tags = "-".join(".".join(dict.fromkeys(part)) for part in zip(*each, strict=True))
    name = found.name.replace("-", "_")
    with zipfile.ZipFile(folder / f"{name}-{found.version}-{tags}.whl", "w") as wheel:
        for file in found.files or ():
            # What the installer has added is not the wheel's.
            if ".." not in file.parts and file.suffix != ".pyc" and file.name != "INSTALLER":
                wheel.write(str(file.locate()), str(file))
