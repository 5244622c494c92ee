"""`reconciler engine stack`: takes stacks over from elsewhere, and hands them out."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.api.types import StackRef
from reconciler.cli.access import local_entry
from reconciler.cli.engine import data_directory
from reconciler.cli.engine_database import database_of
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.adoption import Place

__all__ = ["run"]

# An export of a large stack has some ten megabytes.
LARGEST_EXPORT_BYTES = 512 * 1024 * 1024


def run(options: argparse.Namespace) -> int:
    """Take a stack over, or hand one out."""
    parts = options.stack.split("/")
    if len(parts) != 3 or not all(map(StackRef.is_name, parts)):  # noqa: PLR2004 - its three parts
        raise UsageError(f"{options.stack!r} is not ORGANIZATION/PROJECT/STACK")
    stack = StackRef(*parts)
    with _place(options) as place:
        if options.verb == "stack import":
            return _import(options, place, stack)
        return _export(options, place, stack)


def _import(options: argparse.Namespace, place: Place, stack: StackRef) -> int:
    from reconciler.engine.adoption import Source, adopt  # noqa: PLC0415 - costs 300 ms

    passphrase = None
    if options.passphrase_file is not None:
        passphrase = _read_private(options.passphrase_file)
    source = Source(
        export=b"" if options.file is None else _read(options.file),
        backend=options.source or "",
        stack=options.from_stack,
        passphrase=passphrase,
    )
    adopted = adopt(place, stack, source, renew=options.new_passphrase)
    came = str(options.file or _without_password(options.source))
    place.store.audit.append(
        local_entry("stack import", str(stack), stack.organization, f"from {came}")
    )
    print(f"{stack}: {adopted.resources} resources")
    if adopted.kept:
        print("It keeps its passphrase, which its configuration in the repository needs.")
    else:
        print("It has a new passphrase: secrets in its configuration have to be set again.")
    return 0


def _export(options: argparse.Namespace, place: Place, stack: StackRef) -> int:
    from reconciler.engine.adoption import hand_out  # noqa: PLC0415 - costs 300 ms

    export, passphrase = hand_out(place, stack, show_secrets=options.show_secrets)
    # Written down before it is handed out.
    place.store.audit.append(
        local_entry("stack export", str(stack), stack.organization, f"to {options.file}")
    )
    _write_new(options.file, export)
    print(f"{options.file}: {len(export)} bytes, mode 0600")
    if options.passphrase_to is not None:
        _write_new(options.passphrase_to, passphrase.encode())
        print(f"{options.passphrase_to}: its passphrase, for PULUMI_CONFIG_PASSPHRASE_FILE")
    elif not options.show_secrets:
        print("Its secrets open with its passphrase: --passphrase-to FILE")
    return 0


@contextmanager
def _place(options: argparse.Namespace) -> Iterator[Place]:
    from reconciler.engine.adoption import Place  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import Layout  # noqa: PLC0415 - the same
    from reconciler.engine.sealing import box_of, key_file  # noqa: PLC0415 - the same
    from reconciler.engine.store import Store  # noqa: PLC0415 - the same

    layout = Layout(data_directory(options).absolute())
    layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(database_of(options) or layout.database)
    try:
        yield Place(
            layout=layout,
            store=store,
            box=box_of(store, key_file(options.key_file, layout.key)),
            backend=options.backend,
            environment=dict(os.environ),
        )
    finally:
        store.close()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_EXPORT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_EXPORT_BYTES:
        raise UsageError(f"{path} is larger than {LARGEST_EXPORT_BYTES} bytes")
    return content


def _read_private(path: Path) -> str:
    content = _read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path} can be read by others; `chmod 600` it")
    return content.decode(errors="replace").rstrip("\r\n")


def _write_new(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from error


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - only here

    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place, query="", fragment="").geturl()
