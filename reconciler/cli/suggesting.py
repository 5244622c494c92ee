"""A parser that says which command or option was probably meant."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Parser"]

_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name what is nearest to what was written."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what a command does not know is an error of that command, with its usage."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self._subparsers is None and "_ARGCOMPLETE" not in os.environ:
            self.error(f"unrecognized arguments: {' '.join(rest)}{self._hint(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """End with the usage and the message, and with what was probably meant."""
        wrong = _CHOICE.search(message)
        if wrong is not None:
            message += _nearest(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)

    def _hint(self, rest: Sequence[str]) -> str:
        known = [text for action in self._actions for text in action.option_strings]
        for text in rest:
            hint = _nearest(text.partition("=")[0], known) if text.startswith("--") else ""
            if hint:
                return hint
        place = next((text for text in rest if Path(text).is_dir()), "")
        return f"; give the directory as --directory {place}" if place else ""


def _nearest(text: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only a mistake needs it

    near = difflib.get_close_matches(text, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
