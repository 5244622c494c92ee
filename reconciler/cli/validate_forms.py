"""The forms in which `reconciler validate` tells of mistakes, but for SARIF's.

What a problem's path holds is a person's doing: in a form for programs it is written so that no
name of a file can be taken for anything else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.model import Problem

__all__ = ["as_github", "as_json", "as_text", "plain", "relative_to", "root_of"]


def as_text(problems: Sequence[Problem]) -> str:
    """Return a line for each, as compilers do: `file:line:col: /pointer: message`."""
    return "\n".join(map(str, problems))


def as_json(problems: Sequence[Problem]) -> str:
    """Return a list of objects; `line` and `column` are null where the whole file is meant."""
    body = [
        {
            "path": plain(str(problem.path)),
            "line": problem.line or None,
            "column": problem.column or None,
            "pointer": plain(problem.pointer),
            "kind": str(problem.kind),
            "message": plain(problem.message),
        }
        for problem in problems
    ]
    return json.dumps(body, indent=2, ensure_ascii=False)


def as_github(problems: Sequence[Problem], root: Path) -> str:
    """Return workflow commands, by which GitHub Actions shows each beside its line.

    `root` is the repository's, to which GitHub's paths are relative.
    """
    return "\n".join(_annotation(problem, root) for problem in problems)


def _annotation(problem: Problem, root: Path) -> str:
    properties = {"file": plain(relative_to(problem.path, root))}
    if problem.line:
        properties |= {"line": str(problem.line), "col": str(max(problem.column, 1))}
    properties["title"] = f"{problem.kind} (reconciler validate)"
    given = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    at = f"{problem.pointer}: " if problem.pointer else ""
    return f"::error {given}::{_data(plain(at + problem.message))}"


def _data(text: str) -> str:
    """Escape what would end a workflow command, as GitHub's own toolkit does."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def root_of(folder: Path) -> Path:
    """Return the root of the repository that a folder is in; itself where it is in none."""
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            return parent
    return folder


def relative_to(path: Path, root: Path) -> str:
    """Return a path from the root, with `/`; the whole path where it is not below."""
    whole = Path(os.path.normpath(Path.cwd() / path))
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else whole.as_posix()


def plain(text: str) -> str:
    """Return a text that every encoding can write: a name may hold bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
