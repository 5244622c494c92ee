"""A directory of specs that is a branch of a repository, as the options say."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

from reconciler.adapters.checkout import Checkout, Origin
from reconciler.adapters.git_process import Git, Repository
from reconciler.adapters.state_directory import StateDirectory
from reconciler.api.types import BasicAuth, GitAuth, GitSource, Secret, SshAuth
from reconciler.cli.checkout_options import USER
from reconciler.clock import SystemClock
from reconciler.errors import UsageError
from reconciler.files import read_regular
from reconciler.git.urls import Reach, over_ssh, refuse
from reconciler.model import Catalog

__all__ = ["checkout", "home"]

LARGEST_CREDENTIAL = 64 << 10


def home(options: argparse.Namespace, root: StateDirectory) -> Path:
    """Return where a checkout is kept: the same for every branch, as statuses belong to specs."""
    text = f"{options.repo}\0{_path(options)}"
    return root.root / "checkouts" / hashlib.sha256(text.encode()).hexdigest()[:16]


def checkout(
    options: argparse.Namespace,
    root: StateDirectory,
    git: Git,
    judge: Callable[[Path], Catalog],
) -> Checkout:
    """Return what the options say; UsageError where they cannot be."""
    source: GitSource[Secret] = GitSource(
        repo_url=options.repo, branch=options.branch, auth=_auth(options)
    )
    reason = refuse(over_ssh(source), Reach(local=True))
    if reason:
        raise UsageError(f"--repo, --branch: {reason}")
    origin = Origin(
        url=options.repo,
        branch=options.branch.removeprefix("refs/heads/"),
        path=_path(options),
        repository=lambda: Repository(url=options.repo, auth=_auth(options)),
    )
    return Checkout(origin, home(options, root), git, SystemClock(), judge)


def _path(options: argparse.Namespace) -> str:
    text: str = options.path
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if text.startswith("/") or ".." in parts or "\0" in text:
        raise UsageError(f"--path {text!r} is no directory in a repository, such as deployments.d")
    return "/".join(parts)


def _auth(options: argparse.Namespace) -> GitAuth[Secret] | None:
    """Read the credential; anew each time, as it may be changed."""
    if options.repo_key_file is not None:
        passphrase: Path | None = options.repo_passphrase_file
        password = None if passphrase is None else _read(passphrase)
        return GitAuth(ssh=SshAuth(private_key=_read(options.repo_key_file), password=password))
    if options.repo_token_file is None:
        return None
    password = _read(options.repo_token_file)
    if options.repo_user == USER:
        return GitAuth(access_token=password)
    return GitAuth(basic=BasicAuth(user_name=options.repo_user, password=password))


def _read(path: Path) -> Secret:
    try:
        return Secret(read_regular(path.resolve(), LARGEST_CREDENTIAL).decode().strip("\r\n"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text") from None
