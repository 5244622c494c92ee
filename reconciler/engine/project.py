"""The directory of a program inside a clone: found, checked, and read without trusting it.

Whoever wrote the repository could write links in it, and its pre-run commands can put others
in place. So nothing here follows a link out of the clone, and each use looks anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

import yaml

from reconciler.engine.steps import LARGEST_PULUMI_ENV_BYTES

__all__ = [
    "PULUMI_ENV",
    "ProjectError",
    "check",
    "empty_pulumi_env",
    "head_commit",
    "locate",
    "read_pulumi_env",
]

# A YAML program is in this file as a whole; one that is larger is generated or no program.
LARGEST_PROJECT_FILE_BYTES = 4 * 1024 * 1024

_LARGEST_REF_BYTES = 4096
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml")
PULUMI_ENV = "PULUMI_ENV"


class ProjectError(Exception):
    """The clone does not hold the program that was asked for; says what would be right."""


def locate(clone: Path, repo_dir: str) -> Path:
    """Return the program's directory, which lies inside the clone; ProjectError otherwise."""
    shown = repo_dir or "the repository's root"
    try:
        root = clone.resolve(strict=True)
        directory = (clone / repo_dir).resolve(strict=True)
    except (OSError, RuntimeError):
        raise ProjectError(f"repoDir: {shown} is not in the repository") from None
    # A command may have put a link in the place of the clone itself.
    if root != clone.parent.resolve() / clone.name:
        raise ProjectError("the repository's directory was replaced by a link")
    if not directory.is_relative_to(root):
        raise ProjectError(f"repoDir: {shown} leads out of the repository by a link")
    if not directory.is_dir():
        raise ProjectError(f"repoDir: {shown} is no directory")
    return directory


def check(directory: Path, project: str) -> None:
    """See that the directory holds the project of that name; ProjectError otherwise."""
    for name in _PROJECT_FILES:
        content = _read_inside(directory / name, LARGEST_PROJECT_FILE_BYTES)
        if content is None:
            continue
        found = _project_name(content, name)
        if found != project:
            raise ProjectError(
                f"{name} is of project {found[:100]!r}, and the stack is of project {project!r}; "
                "repoDir may name the wrong directory"
            )
        return
    raise ProjectError(
        f"there is no {' or '.join(_PROJECT_FILES)} in this directory; "
        "repoDir says where in the repository the program is"
    )


def head_commit(clone: Path) -> str:
    """Return the commit that is checked out, from git's own files; empty where they differ.

    A process for this alone would cost more than the rest of a small checkout.
    """
    try:
        head = _read_inside(clone / ".git" / "HEAD", _LARGEST_REF_BYTES) or b""
        if head.startswith(b"ref: "):
            name = head[5:].strip().decode()
            head = _read_inside(clone / ".git" / name, _LARGEST_REF_BYTES) or b""
        text = head.strip().decode()
    except (ProjectError, UnicodeDecodeError, ValueError):
        return ""
    return text if _COMMIT.fullmatch(text) else ""


def empty_pulumi_env(directory: Path) -> None:
    """Make PULUMI_ENV an empty file, whatever stands there."""
    path = directory / PULUMI_ENV
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise ProjectError(f"{PULUMI_ENV} cannot be made: {error.strerror}") from None


def read_pulumi_env(directory: Path) -> str:
    """Return what a command wrote to PULUMI_ENV; a removed one is empty."""
    content = _read_inside(directory / PULUMI_ENV, LARGEST_PULUMI_ENV_BYTES)
    try:
        return "" if content is None else content.decode()
    except UnicodeDecodeError:
        raise ProjectError(f"{PULUMI_ENV} is not UTF-8 text") from None


def _read_inside(path: Path, limit: int) -> bytes | None:
    """Read a regular file that is no link; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        raise ProjectError(f"{path.name} is a link or cannot be read") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ProjectError(f"{path.name} is no file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ProjectError(f"{path.name} is larger than {limit} bytes")
    return content


def _project_name(content: bytes, file_name: str) -> str:
    """Return the value of the top level's `name`, from the stream of events: nothing is built.

    So neither depth nor aliases can make this expensive.
    """
    depth = 0
    expect_key = True
    key = ""
    try:
        for event in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                continue
            if depth == 1 and isinstance(event, yaml.NodeEvent):
                if expect_key:
                    key = event.value if isinstance(event, yaml.ScalarEvent) else ""
                    expect_key = False
                else:
                    if key == "name" and isinstance(event, yaml.ScalarEvent):
                        return str(event.value)
                    expect_key = True
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ProjectError(f"{file_name} is not YAML") from None
    raise ProjectError(f"{file_name} has no 'name'")
