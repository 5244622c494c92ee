"""`reconciler engine token` and `reconciler engine audit`: beside an engine or without one."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from reconciler.cli.engine import data_directory
from reconciler.cli.engine_database import database_of
from reconciler.cli.person import who
from reconciler.clock import SystemClock
from reconciler.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from reconciler.engine.store import AuditEntry, Link, Store, StoredToken

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out one verb."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "token create": _create,
        "token list": _list,
        "token revoke": _revoke,
        "audit list": _audit_list,
        "audit verify": _audit_verify,
        "audit export": _audit_export,
    }
    return verbs[options.verb](options)


# ---------------------------------------------------------------- tokens


def _create(options: argparse.Namespace) -> int:
    from reconciler.engine import tokens  # noqa: PLC0415 - costs 300 ms

    data = data_directory(options)
    try:
        token = tokens.create(
            data,
            organization=options.organization,
            user=options.user or options.organization,
            email=options.email,
            role=options.role,
            expires=options.expires,
            name=options.name,
            by=who(),
            database=database_of(options),
        )
    except OSError as error:
        raise UsageError(f"{data} cannot be used: {error.strerror}; give --data DIR") from error
    print(token)
    return 0


def _list(options: argparse.Namespace) -> int:
    from reconciler.engine.tokens import is_good  # noqa: PLC0415 - costs 300 ms

    now = SystemClock().now()
    with open_store(options) as store:
        found = store.tokens.all(options.organization, options.user)
    shown = [token for token in found if options.all or is_good(token, now)]
    if options.output == "json":
        print(json.dumps([_token_json(token, now) for token in shown], indent=2))
        return 0
    rows = [("ID", "NAME", "ORGANIZATION", "USER", "ROLE", "EXPIRES", "LAST USED", "STATE")]
    rows += [
        (
            token.id,
            token.name,
            token.organization,
            token.user,
            token.role,
            _day(token.expires, "never"),
            _day(token.last_used, "never"),
            _state(token, now),
        )
        for token in shown
    ]
    print_table(rows)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from reconciler.engine.store import AuditNote  # noqa: PLC0415 - costs 300 ms

    if bool(options.ids) == bool(options.user) or (options.user and not options.organization):
        raise UsageError("say which: one ID or more, or --organization ORG --user NAME")
    missing = 0
    with open_store(options) as store:
        for token, given in _meant(store, options):
            done = False
            if token is not None:
                entry = local_entry("token revoke", token.id, token.organization)
                with store.audit.noting(AuditNote(entry)):
                    done = store.tokens.revoke(token.id)
            if done and token is not None:
                print(f"revoked {token.id} of {token.user} in {token.organization}")
            else:
                missing += 1
                print(f"{given}: there is no such token to revoke", file=sys.stderr)
    return 1 if missing else 0


def _meant(store: Store, options: argparse.Namespace) -> Iterator[tuple[StoredToken | None, str]]:
    """Yield the tokens to revoke, each with what to call it where it is not there."""
    from reconciler.engine.tokens import Tokens  # noqa: PLC0415 - costs 300 ms

    if options.user:
        for token in store.tokens.all(options.organization, options.user):
            if not token.revoked:
                yield token, token.id
    for given in options.ids:
        if given == "-":
            read = sys.stdin.readline().strip()
            yield Tokens(store, SystemClock()).find(read), "the token that was read"
        else:
            yield store.tokens.by_id(given), given[:100]


def _state(token: StoredToken, now: datetime) -> str:
    if token.revoked:
        return "revoked"
    return "good" if token.expires is None or now < token.expires else "expired"


def _token_json(token: StoredToken, now: datetime) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "organization": token.organization,
        "user": token.user,
        "email": token.email,
        "role": token.role,
        "created": token.created.isoformat(),
        "createdBy": token.created_by,
        "expires": token.expires and token.expires.isoformat(),
        "lastUsed": token.last_used and token.last_used.isoformat(),
        "state": _state(token, now),
    }


# ---------------------------------------------------------------- the audit log


def _audit_list(options: argparse.Namespace) -> int:
    from reconciler.engine.store import AuditQuery  # noqa: PLC0415 - costs 300 ms

    query = AuditQuery(organization=options.organization, user=options.user, count=options.count)
    with open_store(options) as store:
        found = store.audit.entries(query)
    if options.output == "json":
        print(json.dumps([_entry_json(link) for link in found], indent=2))
        return 0
    rows = [("WHEN", "WHO", "FROM", "WHAT", "RESULT", "DETAIL")]
    for link in reversed(found):
        entry = link.entry
        what = f"{entry.action.split(' ')[0]} {entry.target}"
        if entry.address == "local":
            what = f"{entry.action} {entry.target}"
        when = entry.at.strftime("%Y-%m-%d %H:%M:%SZ")
        rows.append((when, entry.user, entry.address, what, entry.result, entry.detail))
    print_table(rows)
    return 0


def _audit_verify(options: argparse.Namespace) -> int:
    from reconciler.engine.store import ChainEnd  # noqa: PLC0415 - costs 300 ms

    noted = None
    if options.noted:
        match = re.fullmatch(r"(\d{1,15}):([0-9a-f]{64})", options.noted)
        if match is None:
            raise UsageError("--noted is what `audit verify` printed: NUMBER:HASH")
        noted = ChainEnd(sequence=int(match[1]), hash=match[2])
    with open_store(options) as store:
        end, faults = store.audit.verify(noted)
    for fault in faults:
        print(f"reconciler: {fault}", file=sys.stderr)
    print(end)
    return 1 if faults else 0


def _audit_export(options: argparse.Namespace) -> int:
    with open_store(options) as store:
        if options.file is None:
            _write_lines(store, sys.stdout)
            return 0
        try:
            descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise UsageError(f"{options.file} cannot be made: {error.strerror}") from error
        with os.fdopen(descriptor, "w") as file:
            _write_lines(store, file)
            file.flush()
            os.fsync(file.fileno())
    return 0


def _write_lines(store: Store, file: TextIO) -> None:
    file.writelines(json.dumps(_entry_json(link)) + "\n" for link in store.audit.links())


def _entry_json(link: Link) -> dict[str, object]:
    values = asdict(link.entry)
    values["at"] = link.entry.at.isoformat()
    return {"sequence": link.sequence, **values, "previous": link.previous, "hash": link.hash}


# ---------------------------------------------------------------- what others use, too


@contextmanager
def open_store(options: argparse.Namespace) -> Iterator[Store]:
    """Open the shared database, or that of a data directory which an engine has made."""
    from reconciler.engine.config import Layout  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.store import Store  # noqa: PLC0415 - the same

    shared = database_of(options)
    path = Layout(data_directory(options).absolute()).database
    if shared is None and not path.exists():
        raise ReconcilerError(f"{path.parent} holds no engine's data; give --data DIR")
    try:
        store = Store(path if shared is None else shared)
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error.strerror}") from error
    try:
        yield store
    finally:
        store.close()


def local_entry(action: str, target: str, organization: str = "", detail: str = "") -> AuditEntry:
    """Return the audit entry of a command that was run on this host."""
    from reconciler.engine.store import AuditEntry  # noqa: PLC0415 - costs 300 ms

    return AuditEntry(
        at=SystemClock().now(),
        organization=organization,
        user=who(),
        token="",
        address="local",
        action=action,
        target=target,
        result="done",
        detail=detail,
    )


def note(database: Path, action: str, target: str, detail: str = "") -> None:
    """Write down what a command beside an engine has done."""
    from reconciler.engine.store import Store  # noqa: PLC0415 - costs 300 ms

    store = Store(database)
    try:
        store.audit.append(local_entry(action, target, detail=detail))
    finally:
        store.close()


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns as wide as they need."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


def _day(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else moment.strftime("%Y-%m-%d %H:%MZ")
