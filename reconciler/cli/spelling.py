"""How a person may write the name of a spec, and which one was probably meant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

__all__ = ["ENDINGS", "nearest", "spellings"]

ENDINGS: Final = (".yaml", ".yml")


def spellings(text: str, directory: Path) -> Iterator[str]:
    """Yield the names that may be meant: as it is written, then as the path of a spec's file.

    A shell completes paths: `deployments.d/web.yaml` is `web`, from wherever it is seen.
    """
    yield text
    below = os.path.relpath(text, directory) if text else ""
    inside = [below] if below and not below.startswith("..") else []
    for each in [text, *inside]:
        stem, ending = os.path.splitext(each)  # noqa: PTH122 - a name may be no path at all
        if ending in ENDINGS:
            yield stem
    yield from inside


def nearest(text: str, known: Iterable[str]) -> str:
    """Return what to add to an error where a known name is near; else nothing."""
    near = get_close_matches(text, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
