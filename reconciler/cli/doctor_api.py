"""Asks the API that the options name whose the token is, once; the token is never in a fact."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from reconciler.api.types import Secret
from reconciler.checkup import Clocks, Contact
from reconciler.cli.doctor_host import Places
from reconciler.cli.embedded import running_in
from reconciler.clock import SystemClock
from reconciler.errors import LostError, RefusedError, UsageError
from reconciler.masking import Redactor

__all__ = ["contact"]


def contact(where: Places) -> Contact:
    """Ask the API, or the embedded engine where that runs; it is not started."""
    if where.api_url:
        return _remote(where)
    engine = running_in(where.engine)
    if engine is None:
        return Contact(url="", embedded=True, running=False)
    token = _read(str(where.engine / "embedded.token"))
    asked = Contact(url=engine.url, embedded=True)
    return _ask(asked, token) if isinstance(token, Secret) else replace(asked, lost=token)


def _remote(where: Places) -> Contact:
    from reconciler.api.client import check_url  # noqa: PLC0415 - costs 100 ms

    try:
        check_url(where.api_url)
    except UsageError as error:
        # A URL may hold credentials.
        return Contact(url="the API", refused_url=str(error))
    asked = Contact(url=where.api_url)
    if where.token_file is not None:
        token = _read(str(where.token_file))
    else:
        value = os.environ.get("PULUMI_ACCESS_TOKEN", "")
        missing = "no token is given: set PULUMI_ACCESS_TOKEN, or give --token-file"
        token = Secret(value) if value else missing
    return _ask(asked, token) if isinstance(token, Secret) else replace(asked, no_token=token)


def _read(path: str) -> Secret | str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - it is text from an option
            value = file.read(1 << 16).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        return f"the token cannot be read: {path}: {reason}"
    return Secret(value) if value else f"the token's file is empty: {path}"


def _ask(asked: Contact, token: Secret) -> Contact:
    from reconciler.api.client import ApiClient  # noqa: PLC0415 - costs 100 ms

    client = ApiClient(asked.url, lambda: token)
    mask = Redactor((token.value,)).mask_text
    begun_s = time.monotonic()
    found = asked
    try:
        identity = client.identity()
        found = replace(
            asked,
            user=mask(identity.user),
            organizations=frozenset(map(mask, identity.organizations)),
            role=identity.role,
        )
    except RefusedError as error:
        found = replace(asked, status=error.status, words=mask(error.message))
    except LostError as error:
        found = replace(asked, lost=mask(error.message))
    if client.server_time is None:
        return found
    took_s = time.monotonic() - begun_s
    clocks = Clocks(theirs=client.server_time, ours=SystemClock().now(), took_s=took_s)
    return replace(found, clocks=clocks)
