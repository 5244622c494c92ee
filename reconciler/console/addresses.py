"""Where the console's pages are, below the address that it is shown at. Pure, and light."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

__all__ = ["BASE", "address"]

BASE: Final = "/console"


def address(kind: str, name: str, version: int = 0) -> str:
    """Return where a page of an item is, or with a version one of its deployments."""
    number = f"{version}/" if version else ""
    return f"{BASE}/{kind}/{number}{quote(name, safe='/')}"
