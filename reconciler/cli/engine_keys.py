"""`reconciler engine keys`: the keys of an engine, beside it whether it runs or not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli.engine import data_directory
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.oidc.issuer import Issuer

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Show, change or print the keys that identity tokens are signed with."""
    with _issuer(options) as issuer:
        match options.verb:
            case "list":
                _list(issuer)
            case "rotate":
                new = issuer.rotate()
                print(f"{new.id} signs from {new.signs_from:%Y-%m-%d %H:%M:%SZ}")
            case "withdraw":
                if not issuer.withdraw(options.key):
                    raise UsageError(f"there is no key {options.key!r}: `engine keys list`")
                print(f"{options.key} is withdrawn")
            case _:
                documents = {"openid-configuration": issuer.configuration()}
                print(json.dumps(documents | {"jwks": issuer.key_set()}, indent=2))
    return 0


def _list(issuer: Issuer) -> None:
    for key, state in issuer.states():
        print(f"{key.id}  {state:9}  signs from {key.signs_from:%Y-%m-%d %H:%M:%SZ}")


@contextmanager
def _issuer(options: argparse.Namespace) -> Iterator[Issuer]:
    from reconciler.engine.oidc.beside import issuer_of  # noqa: PLC0415 - costs 300 ms

    with issuer_of(data_directory(options), getattr(options, "public_url", "")) as issuer:
        yield issuer
