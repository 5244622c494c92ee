"""Builds the pinned Pulumi CLI and its YAML language host, once, outside the source tree.

Pulumi is in neither Debian nor PyPI, and is built from its Go modules: two, since in one the
two programs do not compile together. Does nothing where a usable Pulumi is there already.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from reconciler.pulumi_cli import PROGRAMS, VERSION, PulumiCli, cache_directory, find
from tools.go_build import ROOT, GoProgram, build, find_go, without_go

# Pulumi is told its own version when it is linked.
VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
MODULES = {PROGRAMS[0]: ROOT / "tools/pulumi/cli", PROGRAMS[1]: ROOT / "tools/pulumi/yaml"}


def main() -> int:
    """Build what is missing, and say where it is."""
    found = find()
    if isinstance(found, PulumiCli):
        print(f"pulumi {found.version} is in {found.directory}")
        return 0
    target = cache_directory(os.environ)
    go = find_go(tuple(MODULES.values()), target.parent)
    if go is None:
        way = "install Pulumi, so that it is on PATH"
        text = without_go("pulumi", tuple(MODULES.values()), way)
        print(f"{text}and run `make setup` again", file=sys.stderr)
        return 1
    print(f"building pulumi {VERSION} into {target}; this takes some minutes, once", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "bin"
        for name, module in MODULES.items():
            program = GoProgram(
                module=module, package="tool", variables=((VERSION_VARIABLE, VERSION),)
            )
            build(go, program, made / name)
        made.chmod(0o755)
        if target.exists():  # half of it, or of another time
            shutil.rmtree(target)
        made.rename(target)
    print(f"pulumi {VERSION} is in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
