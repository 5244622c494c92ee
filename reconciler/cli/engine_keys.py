"""`reconciler engine keys`: what an engine signs and encrypts with."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from reconciler.cli.access import local_entry
from reconciler.cli.engine import data_directory
from reconciler.cli.engine_database import database_of
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.oidc.beside import Keys
    from reconciler.engine.oidc.issuer import Issuer

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Show, change or print keys."""
    from reconciler.engine import embedded  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import Layout  # noqa: PLC0415 - the same
    from reconciler.engine.oidc.beside import opened  # noqa: PLC0415 - the same

    layout, database = Layout(data_directory(options).absolute()), database_of(options)
    if options.verb == "rotate-secrets":
        if not layout.data.is_dir():
            raise UsageError(f"{layout.data} holds no engine's data; give --data DIR")
        with embedded.only_engine(layout), opened(layout, options.key_file, database) as keys:
            _rotate_secrets(keys)
        return 0
    with opened(layout, options.key_file, database) as keys:
        _signing(options, keys)
    return 0


def _signing(options: argparse.Namespace, keys: Keys) -> None:
    issuer = keys.issuer(getattr(options, "public_url", ""))
    match options.verb:
        case "list":
            _list(issuer)
        case "rotate":
            new = issuer.rotate()
            keys.store.audit.append(local_entry("rotate signing key", new.id))
            print(f"{new.id} signs from {new.signs_from:%Y-%m-%d %H:%M:%SZ}")
        case "withdraw":
            if not issuer.withdraw(options.key):
                raise UsageError(f"there is no key {options.key!r}: `engine keys list`")
            keys.store.audit.append(local_entry("withdraw signing key", options.key))
            print(f"{options.key} is withdrawn")
        case _:
            documents = {"openid-configuration": issuer.configuration()}
            print(json.dumps(documents | {"jwks": issuer.key_set()}, indent=2))


def _list(issuer: Issuer) -> None:
    for key, state in issuer.states():
        print(f"{key.id}  {state:9}  signs from {key.signs_from:%Y-%m-%d %H:%M:%SZ}")


def _rotate_secrets(keys: Keys) -> None:
    changed = keys.change()
    entry = local_entry("rotate secrets", str(keys.path), detail=f"{changed.renewed} secrets")
    keys.store.audit.append(entry)
    print(f"{changed.renewed} secrets are encrypted with a new key in {keys.path}")
    if changed.damaged:
        print(f"{changed.damaged} open with no key of that file, and were left as they are")
