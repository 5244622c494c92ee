"""The command `reconciler`."""

from __future__ import annotations

import sys

from reconciler.cli.parser import run

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
