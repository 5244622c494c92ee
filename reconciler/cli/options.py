"""What the parts of the command line share: how a command is made, and how values are read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # What `add_subparsers` returns has no public name.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
    # A group of options adds them as a parser does.
    Options = argparse._ActionsContainer  # noqa: SLF001
else:
    Commands = Options = object

__all__ = [
    "API",
    "DIRECTORY",
    "ENGINE",
    "FILES",
    "RECONCILING",
    "REPOSITORIES",
    "SPECS_BRANCH",
    "Commands",
    "DirectoryOrNames",
    "NamedDirectory",
    "Options",
    "api_place",
    "command",
    "count",
    "data",
    "directory",
    "duration",
    "engine_data",
    "group",
    "moment",
    "number",
    "secrets",
]

# Where the specs are, where no other directory is named.
DIRECTORY: Final = Path("deployments.d")

# The groups that several commands have in common, as they are called in a help text.
FILES: Final = "files and directories"
SPECS_BRANCH: Final = "specs that are a branch of a repository"
API: Final = "the API"
RECONCILING: Final = "reconciling"
REPOSITORIES: Final = "repositories"
ENGINE: Final = "the embedded engine, used where no API is named"

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DirectoryOrNames(argparse.Action):
    """Takes the directory of the specs, where the first word is one, and names of some of them.

    Where it is given as an option, all words are names.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Set `directory`, and `names`: none of them means all."""
        del parser, option_string
        words = [str(value) for value in values or ()]
        namespace.words = tuple(words)
        if not _is_named(namespace):
            namespace.directory = DIRECTORY
            if words and (Path(words[0]).is_dir() or not DIRECTORY.is_dir()):
                namespace.directory = Path(words.pop(0))
        namespace.names = words


class NamedDirectory(argparse.Action):
    """`--directory` of a command that also takes the directory without it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Set it, whatever was taken for it before."""
        del option_string
        if getattr(namespace, "placed", False):
            parser.error("give the directory once, with --directory or without")
        namespace.directory = Path(str(values))
        namespace.named = True
        if hasattr(namespace, "words"):
            namespace.names = list(namespace.words)


class _PlacedDirectory(argparse.Action):
    """The directory of the specs, in its place."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Set it, where it was given."""
        del option_string
        if values is self.default:
            return
        if _is_named(namespace):
            parser.error("give the directory once, with --directory or without")
        namespace.placed = True
        namespace.directory = values


def _is_named(namespace: argparse.Namespace) -> bool:
    return bool(getattr(namespace, "named", False))


def directory(parser: Options, *, named_only: bool = False) -> None:
    """Add the directory of the specs: in its place, and as `--directory`, or the latter alone."""
    text = "the directory of specs; default: %(default)s"
    if not named_only:
        parser.add_argument(
            "directory",
            nargs="?",
            action=_PlacedDirectory,
            type=Path,
            default=DIRECTORY,
            metavar="DIR",
            help=text,
        )
        text = "the same; DIR may stand alone"
    parser.add_argument(
        "--directory",
        action=NamedDirectory,
        type=Path,
        default=DIRECTORY,
        metavar="DIR",
        help=text,
    )


def group(parser: argparse.ArgumentParser, title: str) -> Options:
    """Return the parser's group of this title, made where there is none yet."""
    for each in parser._action_groups:  # noqa: SLF001 - argparse shows them in no other way
        if each.title == title:
            return each
    return parser.add_argument_group(title)


def command(commands: Commands, name: str, module: str, text: str) -> argparse.ArgumentParser:
    """Add a command that a module of `reconciler.cli` carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    parser.set_defaults(module=module)
    return parser


def data(parser: Options) -> None:
    """Add `--data`."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the state directory; default: $STATE_DIRECTORY, or ~/.local/state/reconciler",
    )


def engine_data(parser: Options) -> None:
    """Add `--data` of a command about the engine: what it names is not the reconciler's."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the engine's data; default: engine in $STATE_DIRECTORY, or in "
        "~/.local/state/reconciler",
    )


def api_place(parser: Options) -> None:
    """Add the options that say which API is used, and as whom."""
    parser.add_argument(
        "--api-url",
        metavar="URL",
        help="the API to use; default: $RECONCILER_API_URL, or the embedded engine",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="default: $PULUMI_ACCESS_TOKEN"
    )


def secrets(parser: Options) -> None:
    """Add the options that say where secrets may be read, and what this host allows."""
    parser.add_argument(
        "--secrets-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="fromFile secrets may be below it, as below /run/secrets; may be repeated",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="what this host allows, and its limits; default: /etc/reconciler/config.yaml",
    )


def duration(text: str) -> timedelta:
    """Read a time such as 30s."""
    number, unit = text[:-1], text[-1:]
    if not number.isdigit() or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give one such as 30s, 10m, 2h, 7d")
    try:
        return timedelta(**{_UNITS[unit]: int(number)})
    except (OverflowError, ValueError):
        raise argparse.ArgumentTypeError(f"{number[:20]!r} is no number for a time") from None


def moment(text: str) -> datetime:
    """Read a date or a time in ISO 8601; without an offset it is UTC's."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is no time; give one such as 2027-03-28 or 2027-03-28T01:00Z"
        raise argparse.ArgumentTypeError(message) from None


def count(text: str) -> int:
    """Read a number from 1 upwards."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 upwards")
    return int(text)


def number(text: str) -> int:
    """Read a number from 0 upwards."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 upwards")
    return int(text)
