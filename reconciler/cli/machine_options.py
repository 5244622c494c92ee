"""The commands about the machine that all this runs on: `doctor`, `version` and beside them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from reconciler.cli.options import (
    Commands,
    api_place,
    command,
    data,
    directory,
    duration,
    secrets,
)

__all__ = ["ShowVersion", "add"]

_VERSION = "tell the versions of this program and of what it uses"


def add(commands: Commands) -> None:
    """Add them all."""
    _doctor(commands)
    _version(commands)
    _install_systemd(commands)
    _completion(commands)


class ShowVersion(argparse.Action):
    """`--version`: prints what `version` prints, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, **named: object) -> None:
        del named
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=_VERSION)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Print it."""
        del namespace, values, option_string
        from reconciler.cli import version  # noqa: PLC0415 - only this option needs it

        print("\n".join(version.lines()))
        parser.exit()


def _doctor(commands: Commands) -> None:
    text = "look at this machine, and say what is not right and what to do"
    parser = command(commands, "doctor", "doctor", text)
    directory(parser)
    data(parser)
    parser.add_argument(
        "--engine-data",
        type=Path,
        metavar="DIR",
        help="the data directory of an `engine serve` on this machine",
    )
    api_place(parser)
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="the key of the engine's stored secrets"
    )
    secrets(parser)
    parser.add_argument(
        "--runner",
        choices=("bubblewrap", "container", "kubernetes", "process"),
        help="what deployments are to run in; default: what would be chosen by itself",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=timedelta(seconds=10),
        metavar="TIME",
        help="how long any check may take; default: 10s",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def _version(commands: Commands) -> None:
    parser = command(commands, "version", "version", _VERSION)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def _install_systemd(commands: Commands) -> None:
    text = "show the systemd units of a build host, or put them where systemd finds them"
    parser = command(commands, "install-systemd", "install_systemd", text)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--dry-run", action="store_true", help="show the files, write nothing: the default"
    )
    ways.add_argument("--install", action="store_true", help="write the files")
    parser.add_argument(
        "--user", action="store_true", help="for your own manager (systemctl --user)"
    )
    parser.add_argument(
        "--specs",
        type=Path,
        metavar="DIR",
        help="the directory of specs; default: /etc/reconciler/deployments.d",
    )
    parser.add_argument(
        "--api-url",
        metavar="URL",
        help="an API elsewhere, so that no engine is needed here; default: the engine's unit",
    )
    parser.add_argument(
        "--api-token",
        type=Path,
        metavar="FILE",
        help="where the token will be; default: /etc/reconciler/api-token",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="where the engine listens; default: %(default)s",
    )
    parser.add_argument(
        "--program", type=Path, metavar="FILE", help="this program; default: the one on PATH"
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="put the files below it, as for a package"
    )


def _completion(commands: Commands) -> None:
    text = "print what a shell needs to complete commands, options and names of specs"
    parser = command(commands, "completion", "completion", text)
    parser.add_argument("shell", choices=("bash", "fish", "zsh"), help="the shell")
