"""A program with two real files, for what is found and done behind Pulumi's back."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.engine.harness import Gate, make_repository

__all__ = ["make_files_repository"]

_PROVIDER = Path(__file__).resolve().parents[2] / "examples" / "provider"
_PROGRAM = """\
name: {project}
runtime: yaml
plugins:
  providers:
    - {name: localfile, path: provider}
resources:
  first:
    type: localfile:File
    properties: {path: "MADE/${pulumi.stack}.first", content: one}
  second:
    type: localfile:File
    properties: {path: "MADE/${pulumi.stack}.second", content: two}
"""


def make_files_repository(directory: Path, gate: Gate) -> Path:
    """Make a repository whose program has the files `STACK.first` and `STACK.second` there."""
    shutil.copytree(_PROVIDER, directory / "provider")
    provider = directory / "provider" / "pulumi-resource-localfile"
    provider.write_text(provider.read_text().replace("/usr/bin/env python3", sys.executable))
    return make_repository(directory, program=_PROGRAM.replace("MADE", str(gate.directory)))
