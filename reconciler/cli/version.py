"""`reconciler version`: which program this is, and what it uses."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess  # noqa: TID251 - asking git for the commit of a work tree
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import reconciler
from reconciler import __version__
from reconciler.pulumi_cli import PulumiCli, find

__all__ = ["commit", "lines", "run"]

# A pulumi answers in 0.2 s; nobody waits longer for a version.
PULUMI_LIMIT_S = 5.0
GIT_LIMIT_S = 5.0

SHORT = 12


def run(options: argparse.Namespace) -> int:
    """Print it."""
    if options.output == "json":
        print(json.dumps(_facts(), indent=2))
    else:
        print("\n".join(lines()))
    return 0


def lines() -> list[str]:
    """Return what is printed for people."""
    facts = _facts()
    built = f" (commit {facts['commit'][:SHORT]})" if facts["commit"] else ""
    pulumi = f"Pulumi {facts['pulumi']}, in {facts['pulumiDirectory']}"
    return [
        f"reconciler {facts['version']}{built}",
        f"Python {facts['python']}, {facts['platform']}",
        pulumi if facts["pulumi"] else "no usable Pulumi: `reconciler doctor` says more",
    ]


def _facts() -> dict[str, str]:
    """Return everything as texts; what is not known is empty."""
    pulumi = find(os.environ, PULUMI_LIMIT_S)
    return {
        "version": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "pulumi": pulumi.version if isinstance(pulumi, PulumiCli) else "",
        "pulumiDirectory": str(pulumi.directory) if isinstance(pulumi, PulumiCli) else "",
    }


def commit() -> str:
    """Return the commit that this program was built from; empty where nobody has written it down.

    The build writes it into the package; pip does where it installed from a repository; and a
    work tree tells it itself.
    """
    with suppress(OSError):
        return (files(reconciler) / "commit.txt").read_text().strip()
    with suppress(importlib.metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        said = importlib.metadata.distribution("reconciler").read_text("direct_url.json")
        return str(json.loads(said or "{}")["vcs_info"]["commit_id"])
    root = Path(reconciler.__file__).resolve().parents[1]
    if not (root / ".git").exists() or not (root / "pyproject.toml").exists():
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", root, "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            timeout=GIT_LIMIT_S,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
    return ""
