"""The options of `reconciler engine token` and `reconciler engine audit`."""

from __future__ import annotations

from pathlib import Path

from reconciler.cli import engine_database
from reconciler.cli.options import Commands, Options, command, count, duration, engine_data

__all__ = ["add"]


def add(verbs: Commands) -> None:
    """Add the commands below `reconciler engine`."""
    _token(verbs)
    _audit(verbs)
    _backup(verbs)
    _stack(verbs)


def _token(verbs: Commands) -> None:
    token = verbs.add_parser("token", help="access tokens: make, list and revoke them")
    commands = token.add_subparsers(metavar="VERB", required=True)
    create = command(commands, "create", "access", "make a token and print it, and nothing else")
    create.add_argument("--organization", required=True, metavar="ORG", help="what it opens")
    create.add_argument("--user", default="", metavar="NAME", help="whose it is")
    create.add_argument("--email", default="", help="that person's address")
    create.add_argument("--name", default="", metavar="TEXT", help="what it is for")
    create.add_argument(
        "--role", choices=("admin", "deploy", "read"), default="deploy", help="default: %(default)s"
    )
    create.add_argument(
        "--expires", type=duration, metavar="TIME", help="such as 90d; default: never"
    )
    engine_data(create)
    engine_database.add(create)
    create.set_defaults(verb="token create")

    listing = command(commands, "list", "access", "list the tokens that were made")
    listing.add_argument("--organization", default="", metavar="ORG", help="only this one's")
    listing.add_argument("--user", default="", metavar="NAME", help="only this person's")
    listing.add_argument("--all", action="store_true", help="expired and revoked ones too")
    listing.add_argument("-o", "--output", choices=("table", "json"), default="table")
    engine_data(listing)
    engine_database.add(listing)
    listing.set_defaults(verb="token list")

    revoke = command(commands, "revoke", "access", "make tokens worthless, at once and for ever")
    revoke.add_argument(
        "ids",
        nargs="*",
        metavar="ID",
        help="what `token list` shows; `-` reads the token itself from standard input",
    )
    revoke.add_argument("--organization", default="", metavar="ORG", help="with --user: of what")
    revoke.add_argument("--user", default="", metavar="NAME", help="all of this person's tokens")
    engine_data(revoke)
    engine_database.add(revoke)
    revoke.set_defaults(verb="token revoke")


def _audit(verbs: Commands) -> None:
    audit = verbs.add_parser("audit", help="the audit log: who did what, and was it changed")
    commands = audit.add_subparsers(metavar="VERB", required=True)
    listing = command(commands, "list", "access", "show the newest entries of the audit log")
    listing.add_argument("--organization", default="", metavar="ORG", help="only of this one")
    listing.add_argument("--user", default="", metavar="NAME", help="only what this person did")
    listing.add_argument("--count", type=count, default=50, metavar="N", help="default: 50")
    listing.add_argument("-o", "--output", choices=("table", "json"), default="table")
    engine_data(listing)
    engine_database.add(listing)
    listing.set_defaults(verb="audit list")

    verify = command(
        commands, "verify", "access", "check the audit log's chain; prints its end, to be noted"
    )
    verify.add_argument(
        "--noted", default="", metavar="END", help="what `audit verify` printed at an earlier time"
    )
    engine_data(verify)
    engine_database.add(verify)
    verify.set_defaults(verb="audit verify")

    export = command(commands, "export", "access", "write the audit log as lines of JSON")
    export.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="default: standard output"
    )
    engine_data(export)
    engine_database.add(export)
    export.set_defaults(verb="audit export")


def _backup(verbs: Commands) -> None:
    backup = command(
        verbs, "backup", "backup", "write the engine's data into one file, while it runs"
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="must not be there yet")
    backup.add_argument(
        "--with-key", action="store_true", help="the key too: then the file opens every secret"
    )
    backup.add_argument("--with-logs", action="store_true", help="the deployments' logs too")
    backup.add_argument(
        "--key-file", type=Path, metavar="FILE", help="where the key is; default: in the data"
    )
    engine_data(backup)
    backup.set_defaults(verb="backup")

    restore = command(verbs, "restore", "backup", "make a data directory of a backup")
    restore.add_argument("file", type=Path, metavar="FILE", help="what `backup` has written")
    engine_data(restore)
    restore.set_defaults(verb="restore")


def _stack(verbs: Commands) -> None:
    stack = verbs.add_parser("stack", help="take stacks over from elsewhere, and hand them out")
    commands = stack.add_subparsers(metavar="VERB", required=True)
    taking = command(commands, "import", "engine_stack", "take a stack over, with its state")
    taking.add_argument("stack", metavar="ORG/PROJECT/STACK", help="what it is called here")
    source = taking.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--file", type=Path, metavar="FILE", help="what `pulumi stack export` has written"
    )
    source.add_argument(
        "--from", dest="source", metavar="URL", help="the backend that has it, such as file:///DIR"
    )
    taking.add_argument(
        "--from-stack",
        default="",
        metavar="NAME",
        help="its name there; default: organization/PROJECT/STACK",
    )
    taking.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="its passphrase, which it keeps"
    )
    taking.add_argument(
        "--new-passphrase", action="store_true", help="encrypt its secrets with a new one"
    )
    _of_the_engine(taking)
    taking.set_defaults(verb="stack import")

    giving = command(commands, "export", "engine_stack", "hand a stack out, with its state")
    giving.add_argument("stack", metavar="ORG/PROJECT/STACK", help="which one")
    giving.add_argument("file", type=Path, metavar="FILE", help="must not be there yet")
    giving.add_argument(
        "--show-secrets", action="store_true", help="its secrets in plain text, for other providers"
    )
    giving.add_argument(
        "--passphrase-to", type=Path, metavar="FILE", help="write its passphrase there, mode 0600"
    )
    _of_the_engine(giving)
    giving.set_defaults(verb="stack export")


def _of_the_engine(parser: Options) -> None:
    parser.add_argument(
        "--backend", default="", metavar="URL", help="as `engine serve` has it; default: the data"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="where the key is; default: in the data"
    )
    engine_data(parser)
    engine_database.add(parser)
