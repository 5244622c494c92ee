"""A parser that says which command or option was probably meant, and whose help is short.

What a command is about comes first in its help; groups of options that it has in common with
others stand behind, and those that few need are shown by `--help-all` alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

__all__ = ["Parser"]

_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
_NO_COMMAND = re.compile(r"required: (?:COMMAND|VERB)\Z")
# A word that is less like a known one is no slip of the finger.
_NEAR: Final = 0.7

_STATUS = "`reconciler status` says how every spec stands"
_RUN = "`reconciler run` does what the specs say, `reconciler trigger NAME` runs one of them now"
_TRIGGER = "`reconciler trigger NAME` runs it again now"
_STOP = (
    "`reconciler cancel NAME` ends what runs, `reconciler suspend NAME` has nothing more started"
)
_REMOVE = "remove the spec's file: its reconcile.onDelete says what becomes of the stack"
_PLAN = "`reconciler plan` says what would be done"
_VALIDATE = "`reconciler validate` checks the files"
# What people call a command who know other programs.
_INSTEAD: Final[Mapping[str, str]] = {
    **dict.fromkeys(("list", "ls", "get", "ps", "stacks"), _STATUS),
    **dict.fromkeys(("apply", "deploy", "up", "update", "sync", "reconcile"), _RUN),
    **dict.fromkeys(("start", "serve", "daemon"), _RUN),
    **dict.fromkeys(("retry", "rerun", "restart", "redeploy"), _TRIGGER),
    **dict.fromkeys(("stop", "abort", "kill", "pause", "disable"), _STOP),
    **dict.fromkeys(("unpause", "continue", "enable"), "`reconciler resume NAME` goes on"),
    **dict.fromkeys(("delete", "remove", "rm", "destroy", "down"), _REMOVE),
    **dict.fromkeys(("preview", "diff"), _PLAN),
    **dict.fromkeys(("check", "lint"), _VALIDATE),
    "refresh": "`reconciler trigger NAME --operation refresh` does it",
    "describe": "`reconciler why NAME` says how it stands, `reconciler show NAME` what it asks for",
}


class _HelpAll(argparse.Action):
    """`--help-all`: shows every option there is, and ends."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Print it."""
        del namespace, values, option_string
        if isinstance(parser, Parser):
            parser.shows_all = True
        parser.print_help()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name what is nearest to what was written.

    `set_aside` are titles of groups that only `--help-all` shows.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.shows_all = False
        self._set_aside: tuple[str, ...] = ()

    def set_aside(self, *titles: str) -> None:
        """Show these groups of options only with `--help-all`."""
        self._set_aside = titles
        text = "show the options that few need, too"
        self.add_argument(
            "--help-all", action=_HelpAll, nargs=0, default=argparse.SUPPRESS, help=text
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what a command does not know is an error of that command."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self._subparsers is None and "_ARGCOMPLETE" not in os.environ:
            self.error(f"unrecognized arguments: {' '.join(rest)}{self._hint(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """End with the message, with what was probably meant, and where all of it is told."""
        wrong = _CHOICE.search(message)
        if wrong is not None and message.startswith("argument COMMAND"):
            instead = _INSTEAD.get(wrong[1], "")
            near = _nearest(wrong[1], _words(wrong[2])) if not instead else f"; {instead}"
            message = f"there is no command '{wrong[1]}'{near}"
        elif wrong is not None:
            message += _nearest(wrong[1], _words(wrong[2]))
        elif _NO_COMMAND.search(message):
            self.print_help(sys.stderr)
            sys.stderr.write("\n")
        self.exit(2, f"{self.prog}: error: {message}\nsee `{self.prog} --help`\n")

    def _hint(self, rest: Sequence[str]) -> str:
        known = [text for action in self._actions for text in action.option_strings]
        for text in rest:
            hint = _nearest(text.partition("=")[0], known) if text.startswith("--") else ""
            if hint:
                return hint
        place = next((text for text in rest if Path(text).is_dir()), "")
        return f"; give the directory as --directory {place}" if place else ""

    # ------------------------------------------------------------ help

    def format_usage(self) -> str:
        """Return the usage: of options those alone that are this command's own."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        return formatter.format_help()

    def format_help(self) -> str:
        """Return the help, without the groups that are set aside."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        formatter.add_text(self.description)
        aside = () if self.shows_all else self._set_aside
        for group in self._action_groups:
            if group.title in aside:
                continue
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)  # noqa: SLF001 - argparse does so itself
            formatter.end_section()
        formatter.add_text(self.epilog)
        if aside:
            formatter.add_text(f"More options, of {_listed(aside)}: `{self.prog} --help-all`")
        return formatter.format_help()

    def _add_usage(self, formatter: argparse.HelpFormatter) -> None:
        grouped = {
            id(action)
            for group in self._action_groups
            if group not in (self._positionals, self._optionals)
            for action in group._group_actions  # noqa: SLF001 - argparse does so itself
        }
        own = [a for a in self._actions if id(a) not in grouped]
        if len(own) < len(self._actions):
            rest = argparse.Action([], "rest", nargs="?", metavar="OPTION…")
            own = [
                *(a for a in own if a.option_strings),
                rest,
                *(a for a in own if not a.option_strings),
            ]
        formatter.add_usage(self.usage, own, self._mutually_exclusive_groups)


def _listed(titles: Sequence[str]) -> str:
    plain = [title.partition(",")[0] for title in titles]
    return " and ".join([", ".join(plain[:-1]), plain[-1]] if len(plain) > 1 else plain)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text)


def _nearest(text: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only a mistake needs it

    # Two dashes are no likeness.
    plain = {each.lstrip("-"): each for each in known}
    near = difflib.get_close_matches(text.lstrip("-"), plain, n=1, cutoff=_NEAR)
    return f"; did you mean {plain[near[0]]}?" if near else ""
