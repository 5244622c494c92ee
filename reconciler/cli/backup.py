"""`reconciler engine backup` and `reconciler engine restore`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reconciler.cli.access import note
from reconciler.cli.engine import data_directory

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Write a backup, or make a data directory of one."""
    return _back_up(options) if options.verb == "backup" else _restore(options)


def _back_up(options: argparse.Namespace) -> int:
    from reconciler.engine.backup import Contents, back_up  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import Layout  # noqa: PLC0415 - the same
    from reconciler.engine.sealing import key_file  # noqa: PLC0415 - the same

    layout = Layout(data_directory(options).absolute())
    target: Path = options.file.absolute()
    key = key_file(options.key_file, layout.key)
    contents = Contents(key=options.with_key, logs=options.with_logs)
    made = back_up(layout, target, key, contents)
    detail = ("with" if contents.key else "without") + " the key"
    note(layout.database, "backup", str(target), detail)
    print(f"{target}: {made.size_bytes} bytes, mode 0600")
    if contents.key:
        print(
            "The key is in it: who reads this file reads every secret. Keep it as you keep those."
        )
    else:
        print(f"The key is not in it: keep {key} elsewhere, without it no secret can be read.")
    if made.stateless:
        print(
            "The state of these stacks is not in it, but in a bucket, a database or a directory "
            f"of --backend: back that up as well, with its own tools: {', '.join(made.stateless)}"
        )
    return 0


def _restore(options: argparse.Namespace) -> int:
    from reconciler.engine.backup import restore  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import Layout  # noqa: PLC0415 - the same

    layout = Layout(data_directory(options).absolute())
    restored = restore(options.file, layout)
    note(layout.database, "restore", str(options.file.absolute()), f"{restored.stacks} stacks")
    print(f"{layout.data}: {restored.stacks} stacks")
    if not restored.contents.key:
        print(
            f"The key was not in the backup: put it at {layout.key}, mode 0600, or give --key-file."
        )
    if restored.stateless:
        names = ", ".join(restored.stateless)
        print(f"Their state is not in the backup, but elsewhere or made since: {names}")
    for fault in restored.faults:
        print(f"the audit log: {fault}", file=sys.stderr)
    return 1 if restored.faults else 0
