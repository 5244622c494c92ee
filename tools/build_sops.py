"""Builds the pinned sops for the tests, once, outside the source tree.

sops is in neither Debian nor PyPI, and is built from its Go module. Does nothing where it is
built already.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from reconciler.pulumi_cli import cache_directory
from tools.go_build import ROOT, GoProgram, build, find_go, without_go

__all__ = ["location", "main"]

MODULE = ROOT / "tools/sops"
PACKAGE = "github.com/getsops/sops/v3/cmd/sops"


def main() -> int:
    """Build it where it is missing, and say where it is."""
    target = location()
    if not os.access(target, os.X_OK):
        go = find_go((MODULE,), target.parent.parent)
        if go is None:
            print(without_go("sops", (MODULE,)) + "and try again", file=sys.stderr)
            return 1
        print(f"building sops into {target.parent}; this takes some minutes, once", flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            build(go, GoProgram(module=MODULE, package=PACKAGE), Path(folder) / "sops")
            (Path(folder) / "sops").rename(target)
    print(f"{target.parent.name} is in {target.parent}")
    return 0


def location() -> Path:
    """Return where it is, once it is built."""
    text = (MODULE / "go.mod").read_text()
    match = re.search(r"github\.com/getsops/sops/v3 (v\S+)", text)
    if match is None:
        raise SystemExit(f"{MODULE / 'go.mod'} does not pin sops")
    return cache_directory(os.environ).parent / f"sops-{match[1]}" / "sops"


if __name__ == "__main__":
    sys.exit(main())
