"""The options of a directory of specs that is a branch of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.options import Options

__all__ = ["USER", "add"]

# Whose a token is, where the forge does not care.
USER = "x-access-token"


def add(parser: Options) -> None:
    """Add them."""
    parser.add_argument(
        "--repo",
        default="",
        metavar="URL",
        help="take the specs from a branch of this repository in place of DIR",
    )
    parser.add_argument("--branch", default="main", help="of --repo; default: %(default)s")
    parser.add_argument(
        "--path",
        default="deployments.d",
        metavar="DIR",
        help="the directory of specs in --repo; default: %(default)s",
    )
    parser.add_argument(
        "--repo-token-file", type=Path, metavar="FILE", help="a token or password for --repo"
    )
    parser.add_argument("--repo-user", default=USER, metavar="NAME", help="whose it is")
    parser.add_argument(
        "--repo-key-file", type=Path, metavar="FILE", help="a private key for --repo, over ssh"
    )
    parser.add_argument(
        "--repo-passphrase-file", type=Path, metavar="FILE", help="what opens that key"
    )
