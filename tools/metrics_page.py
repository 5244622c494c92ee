"""Writes docs/metrics.md's tables of what there is to measure, from the tables of the code.

python -m tools.metrics_page            writes them
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reconciler.metrics import Measure, of_engine, of_loop

__all__ = ["PAGE", "whole"]

PAGE = Path(__file__).resolve().parents[1] / "docs/metrics.md"
_TABLES = {
    "of the reconciler": of_loop.MEASURES,
    "of the engine": of_engine.MEASURES,
}


def whole(text: str) -> str:
    """Return the page with its tables as they should be; what is between them stays."""
    for what, measures in _TABLES.items():
        begin, end = f"<!-- {what}: made by tools/metrics_page.py -->\n", f"<!-- end {what} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + "\n" + _table(measures) + "\n" + end + after
    return text


def _table(measures: Iterable[Measure]) -> str:
    lines = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    lines += [
        f"| `{m.name}` | {m.kind} | {_labels(m)} | {m.about} |".replace("  ", " ") for m in measures
    ]
    return "\n".join(lines) + "\n"


def _labels(measure: Measure) -> str:
    found = []
    for label in measure.labels:
        values = ", ".join(label.values) or label.about
        found.append(f"`{label.name}`: {values}")
    return "; ".join(found)


if __name__ == "__main__":
    PAGE.write_text(whole(PAGE.read_text()))
