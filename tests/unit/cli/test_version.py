"""`version`, from a work tree and from a package."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import __version__

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[3]


def printed(*arguments: str) -> str:
    command = [sys.executable, "-m", "reconciler", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


def test_the_versions() -> None:
    """It tells itself with its commit, Python, and the Pulumi that it would use."""
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    first, python, pulumi = printed("version").splitlines()
    assert first == f"reconciler {__version__} (commit {commit[:12]})"
    assert python.startswith(f"Python {platform.python_version()}, Linux ")
    assert pulumi.startswith("Pulumi v3.")
    facts = json.loads(printed("version", "-o", "json"))
    assert (facts["version"], facts["commit"]) == (__version__, commit)
    assert pulumi == f"Pulumi {facts['pulumi']}, in {facts['pulumiDirectory']}"


def test_the_option_tells_the_same() -> None:
    """`--version` and `version` are one."""
    assert printed("--version") == printed("version")
