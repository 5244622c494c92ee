"""The command line: every command, its options, and which module carries it out.

Only this module is imported to show a help text; a command's module is imported when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from reconciler.cli import (
    access_options,
    checkout_options,
    console_options,
    engine_database,
    kubernetes_options,
    listen_options,
    machine_options,
    runner_options,
    schedule_options,
    signal_options,
    source_options,
    webhook_options,
)
from reconciler.cli.options import (
    API,
    DIRECTORY,
    ENGINE,
    FILES,
    RECONCILING,
    REPOSITORIES,
    SPECS_BRANCH,
    Commands,
    DirectoryOrNames,
    Options,
    group,
)
from reconciler.cli.options import api_place as _api_place
from reconciler.cli.options import command as _command
from reconciler.cli.options import count as _count
from reconciler.cli.options import data as _data
from reconciler.cli.options import directory as _directory
from reconciler.cli.options import duration as _duration
from reconciler.cli.options import engine_data as _engine_data
from reconciler.cli.options import secrets as _secrets_into
from reconciler.cli.suggesting import Parser
from reconciler.errors import AnotherInstanceError, ReconcilerError, UsageError

__all__ = ["build", "run"]

EXIT_USAGE = 2
EXIT_FAILED = 1
EXIT_ANOTHER_INSTANCE = 75
EXIT_INTERRUPTED = 130

# A repository on the other side of the world answers in about a second.
SHORTEST_POLL = timedelta(seconds=5)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are one line on standard error."""
    if arguments[:1] == ["help"]:  # of a command, or of all of them
        arguments = [*arguments[1:], "--help"]
    parser = build()
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("reconciler.cli.completion").complete(parser)
    options = parser.parse_args(arguments)
    # A help text needs none of it.
    from reconciler import log_output  # noqa: PLC0415

    try:
        form = log_output.chosen(getattr(options, "log_format", "people"), os.environ)
        options.log_format = form
        log_output.configure(form, os.environ)
        module = importlib.import_module(f"reconciler.cli.{options.module}")
        command: Callable[[argparse.Namespace], int] = module.run
        return command(options)
    except UsageError as error:
        return _fail(error, EXIT_USAGE)
    except AnotherInstanceError as error:
        return _fail(error, EXIT_ANOTHER_INSTANCE)
    except ReconcilerError as error:
        return _fail(error, EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(error: Exception, code: int) -> int:
    from reconciler import log_output  # noqa: PLC0415 - a help text needs none of it

    log_output.tell_problem(f"reconciler: {error}")
    return code


def build() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser: argparse.ArgumentParser = Parser(
        prog="reconciler",
        description="GitOps for Pulumi: committed YAML becomes Pulumi deployments.",
    )
    parser.add_argument("--version", action=machine_options.ShowVersion, nargs=0)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _init(commands)
    _import(commands)
    _validate(commands)
    _show(commands)
    _plan(commands)
    _why(commands)
    _run(commands)
    _status(commands)
    _schedule(commands)
    _logs(commands)
    _trigger(commands)
    _cancel(commands)
    _approve(commands)
    _adopt(commands)
    _suspend(commands)
    _engine(commands)
    machine_options.add(commands)
    return parser


def _init(commands: Commands) -> None:
    text = "write a first spec, with comments, for the program of this directory"
    _directory(_command(commands, "init", "init", text))


def _import(commands: Commands) -> None:
    text = "turn request bodies, curl commands, settings and the operator's stacks into specs"
    parser = _command(commands, "import", "import_specs", text)
    parser.add_argument("files", nargs="+", metavar="FILE", help="- is standard input")
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        default=DIRECTORY,
        metavar="DIR",
        help="where to write the specs; default: %(default)s",
    )
    parser.add_argument(
        "--stack", default="", metavar="ORG/PROJECT/STACK", help="for input that names none"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the specs, write nothing")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 where something is not carried over"
    )


def _validate(commands: Commands) -> None:
    parser = _command(commands, "validate", "validate", "check spec files, and say what is wrong")
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="default: deployments.d"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "github", "sarif"), default="text"
    )
    _directory(parser, named_only=True)
    _secrets(parser)


def _show(commands: Commands) -> None:
    text = "show a spec with its defaults, and the request that it makes"
    parser = _command(commands, "show", "show", text)
    _name(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    _secrets(parser)
    _data(group(parser, FILES))
    _dialect(group(parser, API))
    _git(parser)


def _plan(commands: Commands) -> None:
    text = "say what the next pass would do, and why"
    parser = _command(commands, "plan", "plan", text)
    _directory(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help="exit 2 where something would be done"
    )
    _looking(parser)
    _limits(parser)
    _set_aside(parser, RECONCILING)


def _why(commands: Commands) -> None:
    text = "say why a spec did or did not run, and what would make it run"
    parser = _command(commands, "why", "why", text)
    _name(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    _looking(parser)
    _limits(parser)
    _set_aside(parser, RECONCILING)


def _run(commands: Commands) -> None:
    text = "keep the stacks as the specs say; with --once, until nothing is left to do"
    parser = _command(commands, "run", "run", text)
    _directory(parser)
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    webhook_options.add(parser)
    signal_options.add(parser)
    console_options.add(parser)
    parser.set_defaults(pulls=True)
    _reconciling(parser)


def _status(commands: Commands) -> None:
    parser = _command(commands, "status", "status", "say how every spec stands, or some")
    parser.add_argument(
        "names",
        nargs="*",
        action=DirectoryOrNames,
        metavar="DIR | NAME",
        help="the directory of specs, by default deployments.d, and the specs in it to tell of",
    )
    _directory(parser, named_only=True)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--watch", action="store_true", help="show it again when it changes")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit 1 unless all are Ready or Suspended"
    )
    _state(parser)
    _secrets(parser)


def _schedule(commands: Commands) -> None:
    parser = _command(commands, "schedule", "schedule", "say what will run when")
    _directory(parser)
    schedule_options.add(parser)
    _state(parser)
    _secrets(parser)


def _logs(commands: Commands) -> None:
    parser = _command(commands, "logs", "logs", "show a deployment's log")
    _name(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    parser.add_argument("--version", type=int, metavar="N", help="default: the latest known")
    _looking(parser)
    _set_aside(parser)


def _trigger(commands: Commands) -> None:
    parser = _command(commands, "trigger", "by_hand", "run an operation on one stack now")
    _name(parser)
    parser.add_argument(
        "--operation",
        choices=("update", "preview", "refresh", "destroy"),
        help="default: the spec's own",
    )
    _by_hand(parser)
    parser.set_defaults(kind="trigger")


def _cancel(commands: Commands) -> None:
    parser = _command(commands, "cancel", "by_hand", "cancel what runs on one stack")
    _name(parser)
    _by_hand(parser)
    parser.set_defaults(kind="cancel", operation=None)


def _approve(commands: Commands) -> None:
    text = "approve what waits for a person"
    parser = _command(commands, "approve", "approve", text)
    _name(parser, nargs="?")
    parser.add_argument(
        "--mass", default="", metavar="ID", help="a change or removal of very many specs at once"
    )
    _by_hand(parser)


def _adopt(commands: Commands) -> None:
    parser = _command(commands, "adopt", "adopt", "take a stack over as it is")
    _name(parser, nargs="?")
    _all(parser, "all that wait for it; they are listed first")
    parser.add_argument("--yes", action="store_true", help="with --all: do not ask")
    _by_hand(parser)


def _suspend(commands: Commands) -> None:
    texts = {
        "suspend": ("start nothing for a spec, or for all, until it is resumed", "all specs"),
        "resume": ("end a suspension by hand", "end the suspension of all specs"),
    }
    for verb, (text, every) in texts.items():
        parser = _command(commands, verb, "suspend", text)
        _name(parser, nargs="?")
        _all(parser, every)
        _state(parser)
        _secrets(parser)
        parser.set_defaults(asks=True, suspends=verb == "suspend")


def _engine(commands: Commands) -> None:
    parser = commands.add_parser("engine", help="the self-hosted server of the Deployments API")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    serve = _command(verbs, "serve", "engine", "serve the Pulumi Deployments API on this host")
    serve.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="default: %(default)s; port 0 takes a free one",
    )
    _engine_process(serve)
    listen_options.add(serve)
    serve.add_argument("--embedded", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(verb="serve")
    text = "run deployments for the servers of a shared database, on this host"
    worker = _command(verbs, "worker", "engine", text)
    _engine_process(worker)
    worker.set_defaults(verb="worker")
    access_options.add(verbs)
    _engine_keys(verbs)


def _engine_process(parser: Options) -> None:
    """Add what servers and workers have in common."""
    _engine_data(parser)
    engine_database.add(parser)
    engine_database.add_work(parser)
    engine_database.add_logs(parser)
    signal_options.add(parser)
    _engine_options(parser)
    _key_file(parser)
    source_options.add(parser, _duration)
    kubernetes_options.add(parser, _duration)
    parser.add_argument(
        "--local-repositories",
        action="store_true",
        help="allow file:// sources and inner addresses; a server that only its own machine "
        "reaches allows them anyway",
    )
    parser.add_argument(
        "--backend",
        default="",
        metavar="URL",
        help="where Pulumi's state is kept: file:///DIR, s3://, azblob://, gs:// or postgres://; "
        "default: the data directory",
    )
    parser.add_argument(
        "--public-url",
        type=_public_url,
        default="",
        metavar="URL",
        help="where others reach it, such as https://engine.example.com; makes it an OIDC issuer",
    )
    parser.add_argument(
        "--aws-sts-url",
        type=_public_url,
        default="",
        metavar="URL",
        help="where to ask for AWS's credentials; default: AWS's own endpoint of the region",
    )


def _engine_keys(verbs: Commands) -> None:
    keys = verbs.add_parser("keys", help="the keys that an engine signs and encrypts with")
    key_verbs = keys.add_subparsers(metavar="VERB", required=True)
    texts = {
        "list": "show the keys that identity tokens are signed with",
        "rotate": "make a new key to sign with; the old one is shown until its tokens have expired",
        "withdraw": "take a signing key away at once: what it has signed is refused from now on",
        "export": "print the issuer's documents, to be served elsewhere",
        "rotate-secrets": "encrypt all stored secrets with a new key, while no engine runs",
    }
    for verb, text in texts.items():
        parser = _command(key_verbs, verb, "engine_keys", text)
        parser.set_defaults(verb=verb)
        if verb == "withdraw":
            parser.add_argument("key", metavar="KEY", help="its id, as `list` shows it")
        if verb == "export":
            parser.add_argument(
                "--public-url",
                type=_public_url,
                required=True,
                metavar="URL",
                help="where they will be served",
            )
        _engine_data(parser)
        engine_database.add(parser)
        _key_file(parser)


def _key_file(parser: Options) -> None:
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="the key of the stored secrets; default: the systemd credential engine.key, or "
        "engine.key in the data directory",
    )


# ---------------------------------------------------------------- options in common


def _name(parser: Options, nargs: str | None = None) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs=nargs,
        default="",
        help="the spec: its path below DIR without .yaml",
    )
    _directory(parser, named_only=True)


def _all(parser: Options, text: str) -> None:
    parser.add_argument("--all", dest="everything", action="store_true", help=text)


def _set_aside(parser: argparse.ArgumentParser, *more: str) -> None:
    """Leave to `--help-all` what few need in a command that is about something else."""
    if isinstance(parser, Parser):
        parser.set_aside(*more, SPECS_BRANCH, REPOSITORIES, ENGINE)


def _state(parser: argparse.ArgumentParser) -> None:
    files = group(parser, FILES)
    _data(files)
    files.add_argument(
        "--status-dir",
        type=Path,
        metavar="DIR",
        help="for status files; default: beside the specs, with --repo the state directory",
    )
    checkout_options.add(group(parser, SPECS_BRANCH))


def _secrets(parser: argparse.ArgumentParser) -> None:
    _secrets_into(group(parser, FILES))


def _api(parser: argparse.ArgumentParser) -> None:
    api = group(parser, API)
    _api_place(api)
    _dialect(api)
    api.add_argument(
        "--settle",
        type=_duration,
        metavar="TIME",
        help="how long an unanswered create may still come through; default: 30s, 2s embedded",
    )


def _dialect(parser: Options) -> None:
    parser.add_argument(
        "--dialect",
        choices=("today", "preview"),
        default="today",
        help="which form of the API it speaks; default: %(default)s",
    )


def _limits(parser: argparse.ArgumentParser) -> None:
    group(parser, RECONCILING).add_argument(
        "--max-concurrent",
        type=_count,
        metavar="N",
        help="deployments in flight at once; default: the host's config, or 50",
    )


def _git(parser: argparse.ArgumentParser) -> None:
    repositories = group(parser, REPOSITORIES)
    repositories.add_argument(
        "--poll-interval",
        type=_poll_interval,
        metavar="TIME",
        help="how often a repository is asked where its branches are; default: the host's "
        "config, or 60s",
    )
    repositories.add_argument(
        "--known-hosts",
        type=Path,
        metavar="FILE",
        help="host keys that ssh may trust; default: known_hosts in the state directory",
    )
    repositories.add_argument(
        "--repository-ca",
        type=Path,
        metavar="FILE",
        help="certificates that https may trust, besides the host's own",
    )


def _poll_interval(text: str) -> timedelta:
    found = _duration(text)
    if found < SHORTEST_POLL:
        raise argparse.ArgumentTypeError(f"{text!r} is too often; give 5s or more")
    return found


def _engine_options(parser: Options) -> None:
    parser.add_argument(
        "--cancel-grace",
        type=_duration,
        default=timedelta(minutes=10),
        metavar="TIME",
        help="how long a cancelled operation may take to end by itself; default: 10m",
    )
    runner_options.add(parser, _duration)
    parser.add_argument(
        "--hide",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="deployed programs are not to see it (bubblewrap); may be repeated",
    )
    parser.add_argument(
        "--allow-write",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="deployed programs may write below it; may be repeated",
    )


def _looking(parser: argparse.ArgumentParser) -> None:
    """Add what a command needs that looks at the specs, their statuses and the API."""
    _state(parser)
    _secrets(parser)
    _api(parser)
    _git(parser)
    _embedded(parser)


def _embedded(parser: argparse.ArgumentParser) -> None:
    _engine_options(group(parser, ENGINE))


def _reconciling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=_duration,
        default=timedelta(hours=1),
        metavar="TIME",
        help="when not running as a daemon: how long to wait for the end; default: 1h",
    )
    _state(parser)
    _secrets(parser)
    _api(parser)
    _limits(parser)
    group(parser, RECONCILING).add_argument(
        "--owner", metavar="NAME", help="who reconciles: letters and digits; default: made once"
    )
    _git(parser)
    _embedded(parser)


def _by_hand(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        action="store_true",
        help="where a daemon takes it up: follow what it does, to the end or --timeout",
    )
    _reconciling(parser)
    parser.set_defaults(asks=True)
    _set_aside(parser, RECONCILING)


def _public_url(text: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 - only few commands need it

    if not text:
        return ""
    message = f"{text!r} is no address such as https://engine.example.com"
    try:
        parts = urlsplit(text)
        bad = parts.query or parts.fragment or parts.username is not None or parts.port == 0
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or bad or " " in text:
        raise argparse.ArgumentTypeError(message)
    return text.rstrip("/")
