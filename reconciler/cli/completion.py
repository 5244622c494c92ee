"""`reconciler completion`: what a shell needs to complete our commands, options and names of specs.

The shell asks this program itself what may come next (argcomplete), so that it is never behind.
Only then is anything of this imported.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.cli.options import DIRECTORY

__all__ = ["SHELLS", "complete", "run", "spec_names"]

SHELLS: Final = ("bash", "fish", "zsh")

# A person does not look through more, and a shell would take seconds to show them.
MOST_NAMES: Final = 2000
# How an argument that takes the name of a spec, or names, is called.
_NAMED: Final = frozenset({("name", "NAME"), ("names", "DIR | NAME")})
_ENDINGS: Final = (".yaml", ".yml")


def run(options: argparse.Namespace) -> int:
    """Print what the shell is to run when it starts."""
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - only here

    print(shellcode(["reconciler"], shell=options.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks, and end; its question is in the environment."""
    import argcomplete  # noqa: PLC0415 - only a shell that asks needs it

    _complete_names(parser)
    argcomplete.autocomplete(parser, always_complete_options="long")


def _complete_names(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 - argparse shows them in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for below in action.choices.values():
                _complete_names(below)
        elif (action.dest, action.metavar) in _NAMED and not action.option_strings:
            action.completer = _names  # type: ignore[attr-defined]


def _names(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    directory = getattr(parsed_args, "directory", None) or DIRECTORY
    found = []
    for name in spec_names(directory):
        if name.startswith(prefix):
            found.append(name)
            if len(found) == MOST_NAMES:
                break
    return found


def spec_names(directory: Path) -> Iterator[str]:
    """Yield the names of the files that would be specs, without reading one."""
    for folder, below, files in os.walk(directory):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for file in sorted(files):
            stem, ending = os.path.splitext(file)  # noqa: PTH122 - ten times as quick
            if ending in _ENDINGS and not file.startswith((".", "_")):
                yield os.path.normpath(os.path.join(os.path.relpath(folder, directory), stem))  # noqa: PTH118 - the same
