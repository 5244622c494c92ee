"""`reconciler init`: a first spec for the program of this repository; nothing is overwritten."""

from __future__ import annotations

import argparse
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from reconciler.adapters import yaml_reader
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.git_process import Git, GitFailedError
from reconciler.adapters.specs import scan
from reconciler.adapters.yaml_faults import YamlFault, one_line
from reconciler.adapters.yaml_reader import Shape
from reconciler.api.types import StackRef
from reconciler.cli.import_specs import schema_beside
from reconciler.cli.options import DIRECTORY
from reconciler.errors import ReconcilerError, UsageError
from reconciler.files import read_regular, write_new
from reconciler.importing.first_spec import IGNORED, FirstSpec, text
from reconciler.importing.source import without_user

__all__ = ["run"]

# What an editor checks specs and a `_defaults.yaml` by: the name beside them, and in the package.
# The package's own schema of a spec would not do: it wants what a `_defaults.yaml` says again.
_SCHEMAS: Final = {
    ".deployment.schema.json": "editor.schema.json",
    ".defaults.schema.json": "defaults.schema.json",
}
# A project file is 1 KB; one of this size is none.
MAX_BYTES: Final = 1 << 20
_SSH: Final = re.compile(r"(?:ssh://)?(?:[\w.-]+@)?([\w.-]+)(?::[0-9]+/|[:/])(?!/)(.+)\Z")
_TEXT: Final = Shape(types=frozenset({"string", "null"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    """What git says: the root, the URL of origin (or empty), the branch, and program folders."""

    root: Path
    origin: str
    branch: str
    programs: tuple[str, ...]


def run(options: argparse.Namespace) -> int:
    """Write a spec, `.gitignore` and the schemas for editors, where they are not yet."""
    directory: Path = options.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{directory} cannot be made: {error.strerror}") from error
    for name, source in _SCHEMAS.items():
        if not schema_beside(directory, name):
            content = resources.files("reconciler").joinpath(f"schemas/{source}")
            _write(directory / name, content.read_bytes())
    _write(directory / ".gitignore", IGNORED.encode())
    _check_ignored(directory / ".gitignore")
    spec = _look(directory)
    path = directory / f"{'-'.join(spec.stack.split('/')[1:])}.yaml"
    owner = _owner(directory, spec.stack)
    if owner:
        print(f"{owner}: kept: it is the spec of {spec.stack}")
    else:
        _write(path, text(spec).encode())
        for remark in spec.remarks:
            print(f"  {remark}")
    shown = "" if directory == DIRECTORY else f" {directory}"
    print(
        f"next: look {owner or path} over, then\n"
        f"  reconciler plan{shown}          what it would do\n"
        f"  reconciler run --once{shown}    do it, here, with an engine of its own\n"
        f"  git add {directory}"
    )
    return 0


def _write(path: Path, content: bytes) -> None:
    try:
        write_new(path, content)
    except FileExistsError:
        print(f"{path}: kept as it is")
    except OSError as error:
        raise ReconcilerError(f"{path} cannot be written: {error.strerror}") from error
    else:
        print(f"{path}: written")


def _check_ignored(path: Path) -> None:
    """Say what is missing in a `.gitignore` that somebody else wrote."""
    try:
        lines = set(read_regular(path.resolve(), MAX_BYTES).decode("utf-8", "replace").split())
    except OSError:
        lines = set()
    missing = [line for line in IGNORED.splitlines() if line[0] != "#" and line not in lines]
    if missing:
        print(f"  add to it: {' '.join(missing)}")


def _owner(directory: Path, stack: str) -> str:
    """Return the file of the spec that a stack belongs to, or an empty text."""
    catalog = scan(directory, SecretRules())
    owners = {str(spec.stack): str(spec.path) for spec in catalog.specs}
    owners |= {str(b.stack): str(b.problem.path) for b in catalog.broken.values() if b.stack}
    return owners.get(stack, "")


def _look(directory: Path) -> FirstSpec:
    """Find out what can be known of a program here."""
    schema = schema_beside(directory)
    here = Path(os.path.realpath(directory)).parent  # as git says where it is
    repository = _repository(here)
    if repository is None or not repository.programs:
        where = "no git repository" if repository is None else "no Pulumi.yaml"
        return FirstSpec(
            stack="acme/web/dev",
            repo_url="https://example.com/acme/infra.git",
            branch="main",
            repo_dir="web",
            schema=schema,
            remarks=(f"There is {where} here: all of this is an example. Change it.",),
        )
    folder, *others = repository.programs
    program = repository.root / folder
    url, remarks = _url(repository, directory)
    if others:
        shown = ", ".join(f"{other or '.'}" for other in others[:5])
        remarks += (one_line(f"There are other programs too: {shown}"),)
    organization = _organization(repository.origin)
    stack = f"{organization}/{_project(program, repository)}/{_stack(program)}"
    return FirstSpec(
        stack=stack,
        repo_url=url,
        branch="" if url.startswith(".") else repository.branch,
        repo_dir=folder,
        schema=schema,
        remarks=remarks,
    )


def _repository(folder: Path) -> _Repository | None:
    git = Git(Path("/nonexistent"))

    def said(*arguments: str) -> str:
        with suppress(GitFailedError):
            return git.here(folder, arguments).strip("\n")
        return ""

    root = said("rev-parse", "--show-toplevel")
    if not root:
        return None
    listed = ("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--full-name")
    try:
        found = git.here(Path(root), (*listed, "--", "Pulumi.yaml", "*/Pulumi.yaml"))
        files = found.split("\0")
    except GitFailedError:
        files = []
    folders = sorted({file.rpartition("/")[0] for file in files if file})
    near = os.path.relpath(folder, root)
    near = "" if near == "." else near
    # What is nearest to where the command was called is meant, most likely.
    folders.sort(key=lambda f: (f != near, f.count("/") + bool(f), f))
    followed = said("symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    return _Repository(
        root=Path(root),
        origin=said("config", "--local", "--get", "remote.origin.url"),
        branch=said("symbolic-ref", "--quiet", "--short", "HEAD")
        or followed.removeprefix("origin/")
        or "main",
        programs=tuple(folders),
    )


def _url(repository: _Repository, directory: Path) -> tuple[str, tuple[str, ...]]:
    """Return the URL of a repository, and what is to be said about it."""
    origin = repository.origin
    scheme = urlsplit(origin).scheme if "://" in origin else ""
    if scheme in {"http", "https"}:
        url = without_user(origin)[0].partition("?")[0]
        left_out = ("The URL of origin holds a user or a token, which is left out here.",)
        return url, () if url == origin else left_out
    if scheme == "file":
        return origin, ()
    if origin.startswith("/"):
        return f"file://{quote(origin)}", ()
    match = _SSH.match(origin) if scheme in {"", "ssh"} else None
    if match and not origin.startswith("."):
        message = "origin is reached over ssh; this is the same over https."
        return f"https://{match[1]}/{match[2]}", (message,)
    relative = os.path.relpath(repository.root, directory.resolve())
    url = relative if relative.startswith(".") else f"./{relative}"
    return url, ("This very repository, and the branch that is checked out in it.",)


def _organization(origin: str) -> str:
    """Return who the repository belongs to, where its URL says so."""
    path = origin.removesuffix(".git").rstrip("/").replace(":", "/").split("/")
    remote = "@" in origin or origin.startswith(("http://", "https://", "ssh://"))
    owner = path[-2] if remote and len(path) > 2 else ""  # noqa: PLR2004 - host, owner, name
    return owner if StackRef.is_name(owner) else "acme"


def _project(program: Path, repository: _Repository) -> str:
    """Return the name that Pulumi.yaml gives the project."""
    name: object = ""
    with suppress(OSError):
        content = read_regular(program / "Pulumi.yaml", MAX_BYTES)
        document = yaml_reader.read(content, Shape(keys={"name": _TEXT}))
        if not isinstance(document, YamlFault) and isinstance(document.tree, dict):
            name = document.tree.get("name")
    if isinstance(name, str) and StackRef.is_name(name):
        return name
    return repository.root.name if StackRef.is_name(repository.root.name) else "web"


def _stack(program: Path) -> str:
    """Return a stack that the program has a configuration for."""
    with suppress(OSError):
        names = [
            p.name.split(".", 1)[1].removesuffix(".yaml") for p in program.glob("Pulumi.*.yaml")
        ]
        known = sorted(n for n in names if StackRef.is_name(n) and not n.endswith(".deploy"))
        if known:
            return "dev" if "dev" in known else known[0]
    return "dev"
