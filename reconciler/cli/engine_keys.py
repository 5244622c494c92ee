"""`reconciler engine keys`: what an engine signs and encrypts with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.access import note
from reconciler.cli.engine import data_directory
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.oidc.issuer import Issuer

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Show, change or print keys."""
    if options.verb == "rotate-secrets":
        return _rotate_secrets(options)
    from reconciler.engine.oidc.beside import issuer_of  # noqa: PLC0415 - costs 300 ms

    url = getattr(options, "public_url", "")
    done = ""
    with issuer_of(data_directory(options), options.key_file, url) as issuer:
        match options.verb:
            case "list":
                _list(issuer)
            case "rotate":
                new = issuer.rotate()
                done = new.id
                print(f"{new.id} signs from {new.signs_from:%Y-%m-%d %H:%M:%SZ}")
            case "withdraw":
                if not issuer.withdraw(options.key):
                    raise UsageError(f"there is no key {options.key!r}: `engine keys list`")
                done = options.key
                print(f"{options.key} is withdrawn")
            case _:
                documents = {"openid-configuration": issuer.configuration()}
                print(json.dumps(documents | {"jwks": issuer.key_set()}, indent=2))
    if done:
        note(_database(options), f"keys {options.verb}", done)
    return 0


def _database(options: argparse.Namespace) -> Path:
    from reconciler.engine.config import Layout  # noqa: PLC0415 - costs 300 ms

    return Layout(data_directory(options).absolute()).database


def _list(issuer: Issuer) -> None:
    for key, state in issuer.states():
        print(f"{key.id}  {state:9}  signs from {key.signs_from:%Y-%m-%d %H:%M:%SZ}")


def _rotate_secrets(options: argparse.Namespace) -> int:
    from reconciler.engine import embedded, sealing  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import Layout  # noqa: PLC0415 - the same
    from reconciler.engine.oidc.beside import store_of  # noqa: PLC0415 - the same

    data = data_directory(options)
    if not data.is_dir():
        raise UsageError(f"{data} holds no engine's data; give --data DIR")
    with embedded.only_engine(Layout(data.absolute())), store_of(data) as (store, layout):
        path = sealing.key_file(options.key_file, layout.key)
        changed = sealing.change_key(store, path)
    note(_database(options), "keys rotate-secrets", str(path), f"{changed.renewed} secrets")
    print(f"{changed.renewed} secrets are encrypted with a new key in {path}")
    if changed.damaged:
        print(f"{changed.damaged} open with no key of that file, and were left as they are")
    return 0
