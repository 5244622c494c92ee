"""`reconciler status`: how every spec stands, from the status files; asks nobody."""

from __future__ import annotations

import argparse

from reconciler.adapters.checkout import status_line
from reconciler.cli import table, wiring

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print a table or JSON; with --exit-code 1 unless all are Ready or Suspended."""
    where = wiring.place(options)
    if where.checkout is not None and options.output == "table":
        print(status_line(where.checkout.state) + "\n")
    found = table.rows(where.specs.scan(), where.statuses)
    print(table.as_json(found) if options.output == "json" else table.as_text(found))
    return 1 if options.exit_code and not all(row.settled_well for row in found) else 0
