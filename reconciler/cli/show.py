"""`reconciler show`: a spec with its defaults, where each value comes from, and what would be sent.

It reads nothing but the files, and asks git where the source points to: no secret is looked up
but what git itself needs, and none is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.adapters.credentials import SecretReader, SecretRules
from reconciler.adapters.gitrefs import Revision, Wanted, resolve_url
from reconciler.adapters.spec_layers import Origins, pointer_of
from reconciler.adapters.spec_schema import SPEC
from reconciler.adapters.spec_sops import ENCRYPTED
from reconciler.adapters.spec_walk import name_of, walk
from reconciler.adapters.specs import Explained, explain, read_file
from reconciler.adapters.state_directory import StateDirectory, locate
from reconciler.api.create_body import request_to_json
from reconciler.api.dialects import Dialect
from reconciler.api.types import (
    MARKER_PREFIX,
    EnvironmentVariable,
    GitSource,
    Operation,
    Secret,
    map_secrets,
)
from reconciler.api.wire import Pointer
from reconciler.cli import git_options, host
from reconciler.cli.spelling import ENDINGS, nearest, spellings
from reconciler.clock import SystemClock
from reconciler.errors import SecretUnavailableError, UsageError
from reconciler.model import Problem, Spec

__all__ = ["run"]

# Its name is made anew for each deployment.
MARKER = f"{MARKER_PREFIX}<owner>_<run>_<digest>"

_PLAIN = re.compile(r"([0-9]+[dhms])+\Z|[A-Za-z_./][\w./@%+=, ()$<>-]*(:[\w./@%+=,()$<>-]+)*\Z")
_LOOKS_OTHERWISE = re.compile(r"(true|false|yes|no|on|off|null|y|n)\Z|.*\s\Z|.* #", re.IGNORECASE)


def run(options: argparse.Namespace) -> int:
    """Print the whole spec and its request; 1 where the spec has a mistake."""
    directory: Path = options.directory
    path = _file(directory, options.name)
    rules = host.rules(options, host.config(options))
    read = read_file(path, directory, rules)
    found = explain(path, directory)
    if not isinstance(read, Spec) or not isinstance(found, Explained):
        _complain(read if not isinstance(read, Spec) else ())
        return 1
    dialect = Dialect(options.dialect)
    source, unknown = _resolved(read, rules, options)
    body = _body(read, source, dialect)
    if options.output == "json":
        print(json.dumps(_object(read, found, body, dialect), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_text(read, found, body, dialect, directory)))
    if unknown:
        sys.stderr.write(f"the commit cannot be looked up: {unknown}\n")
    return 0


def _complain(problems: tuple[Problem, ...]) -> None:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")


def _file(directory: Path, name: str) -> Path:
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory; give the one that holds the specs")
    for each in spellings(name, directory):
        if each.startswith(("/", "..")):
            continue
        for ending in ENDINGS:
            path = directory / f"{each}{ending}"
            if os.path.lexists(path):
                return path
    hint = nearest(name, map(name_of, walk(directory).files))
    raise UsageError(f"there is no spec named '{name}' in {directory}{hint}")


def _resolved(
    spec: Spec, rules: SecretRules, options: argparse.Namespace
) -> tuple[GitSource[Secret], str]:
    """Return the source that would be asked for, secrets masked, and what is not known of it."""
    source = map_secrets(spec.request, lambda reference: Secret(f"[secret: {reference}]")).source
    source = replace(source, repo_url=resolve_url(source.repo_url, spec.base))
    if source.commit or not spec.pinned:
        return source, ""
    reader = SecretReader(rules, os.environ, SystemClock())
    try:
        asked = spec.request.source
        known = map_secrets(replace(spec.request, environment=()), reader.read).source
        wanted = Wanted(source=replace(known, repo_url=asked.repo_url), base=spec.base)
    except SecretUnavailableError as error:
        return source, str(error)
    repositories = git_options.repositories(
        options, StateDirectory(locate(options.data, os.environ))
    )
    try:
        head = repositories.refs.head(spec.name, wanted)
    finally:
        repositories.close()
    if not isinstance(head, Revision):
        return source, head.message
    return replace(source, branch="", tag="", commit=head.commit), ""


def _body(spec: Spec, source: GitSource[Secret], dialect: Dialect) -> dict[str, object]:
    masked = map_secrets(spec.request, lambda reference: Secret(f"[secret: {reference}]"))
    mark: EnvironmentVariable[Secret] = EnvironmentVariable(name=MARKER, value="1")
    request = replace(
        masked,
        source=source,
        environment=(*masked.environment, mark),
        operation=Operation.PREVIEW if spec.dry_run else masked.operation,
    )
    return request_to_json(request, dialect)


def _object(
    spec: Spec, found: Explained, body: dict[str, object], dialect: Dialect
) -> dict[str, object]:
    return {
        "name": spec.name,
        "file": str(spec.path),
        "stack": str(spec.stack),
        "spec": found.tree,
        "origins": {
            pointer_of(pointer): f"{origin.path}:{origin.line}"
            for pointer, origin in found.origins.leaves(found.tree)
        },
        "request": {"method": "POST", "path": dialect.stack_path(spec.stack), "body": body},
    }


def _text(
    spec: Spec, found: Explained, body: dict[str, object], dialect: Dialect, directory: Path
) -> Iterator[str]:
    order = list(SPEC.shape.keys)
    tree = dict(sorted(found.tree.items(), key=lambda item: order.index(item[0])))
    lines = list(_yaml(tree, (), 0, found.origins))
    width = max((len(line) for line, _ in lines if len(line) <= _WIDEST), default=0)
    for line, pointer in lines:
        if pointer is None:
            yield line
            continue
        origin = found.origins.of(pointer)
        file = origin.path.relative_to(directory) if directory.parts else origin.path
        yield f"{line:{width}}  # {file}:{origin.line}"
    yield ""
    yield f"POST {dialect.stack_path(spec.stack)}"
    yield json.dumps(body, indent=2, ensure_ascii=False)


# Origins stand in one column, but behind lines that are longer than this.
_WIDEST = 80


def _yaml(
    value: Any, pointer: Pointer, depth: int, origins: Origins
) -> Iterator[tuple[str, Pointer | None]]:
    """Yield the lines of an object or a list, each with the place of what it says."""
    indent = "  " * depth
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _item(f"{indent}{_scalar(key)}:", below, (*pointer, key), origins)
        return
    for index, below in enumerate(value):
        here = (*pointer, index)
        if isinstance(below, dict) and below:
            first, *rest = _yaml(below, here, depth + 1, origins)
            yield f"{indent}- {first[0].lstrip()}", first[1]
            yield from rest
        else:
            yield from _item(f"{indent}-", below, here, origins)


def _item(
    head: str, value: Any, pointer: Pointer, origins: Origins
) -> Iterator[tuple[str, Pointer | None]]:
    if isinstance(value, (dict, list)) and value:
        yield head, None
        depth = (len(head) - len(head.lstrip())) // 2 + 1
        yield from _yaml(value, pointer, depth, origins)
    else:
        yield f"{head} {_scalar(value)}", pointer


def _scalar(value: object) -> str:
    if isinstance(value, str) and value.startswith(ENCRYPTED):
        return "(encrypted by sops)"
    if isinstance(value, str) and _PLAIN.match(value) and not _LOOKS_OTHERWISE.match(value):
        return value
    return json.dumps(value, ensure_ascii=False)
