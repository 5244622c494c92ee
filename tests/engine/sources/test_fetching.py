"""Sources are got from every kind of git server, with real git."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.api.types import BasicAuth, GitAuth, GitSource, Secret
from tests.fakes.fetching import Fetcher, source_of
from tests.fakes.git_server import GitServer, git, make_repository, serve

pytestmark = pytest.mark.real

TOKEN = "t0ken-c4nary-5d2f"
MARK = "marker-of-an-attack"


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """An engine's part that gets sources."""
    return Fetcher(tmp_path / "engine")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repository `r` and its branches."""
    make_repository(tmp_path / "served" / "r", ("main", "feature/x"))
    with serve(tmp_path / "served") as served:
        yield served


@pytest.mark.parametrize("written", ["feature/x", "refs/heads/feature/x"])
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_branch_has_head_on_it(
    fetcher: Fetcher, server: GitServer, written: str, scheme: str
) -> None:
    """HEAD is on the branch, the history is shallow, and the remote is called origin."""
    url = f"{server.url}/r" if scheme == "http" else f"file://{server.root}/r"
    got = fetcher.get(source_of(url, branch=written))
    assert got.reason == "", got.log
    assert (got.work / "file").read_text() == "feature/x 2\n"
    assert git(got.work, "symbolic-ref", "HEAD") == "refs/heads/feature/x"
    assert git(got.work, "rev-list", "--count", "HEAD") == "1"
    assert git(got.work, "remote", "get-url", "origin") == url
    assert git(got.work, "status", "--porcelain") == ""
    assert "HEAD is now at" in got.log
    assert len(fetcher.kept()) == (1 if scheme == "http" else 0)


@pytest.mark.parametrize("how", [[], ["--annotate", "--message=one"]])
@pytest.mark.parametrize("written", ["v1.0", "refs/tags/v1.0"])
def test_a_tag_is_checked_out_detached(
    fetcher: Fetcher, server: GitServer, how: list[str], written: str
) -> None:
    """A tag, with a message of its own or without, gives its commit."""
    git(server.root / "r", "tag", *how, "v1.0")
    for url in (f"{server.url}/r", f"file://{server.root}/r"):
        got = fetcher.get(source_of(url, tag=written))
        assert got.reason == "", got.log
        assert (got.work / "file").read_text() == "main 2\n"
        assert git(got.work, "branch", "--show-current") == ""
        assert git(got.work, "tag", "--list") == "v1.0"


def commits_of(server: GitServer) -> list[str]:
    return git(server.root / "r", "rev-list", "--reverse", "main").split()


@pytest.mark.parametrize("digits", [7, 12, 40])
@pytest.mark.parametrize("kind", ["today's", "old", "dumb", "file"])
def test_a_commit_is_checked_out_from_every_kind_of_server(
    fetcher: Fetcher, server: GitServer, kind: str, digits: int
) -> None:
    """Servers that give no single commit (old, dumb) are asked for everything instead."""
    url = f"{server.url}/r/.git"
    if kind == "old":
        server.protocol = 0
    elif kind == "dumb":
        server.dumb = True
        git(server.root / "r", "update-server-info")
    elif kind == "file":
        url = f"file://{server.root}/r"
    # The newest first makes a shallow mirror, which then has to reach further back.
    for commit, content in zip(commits_of(server)[::-2], ("main 2\n", "main 0\n"), strict=True):
        got = fetcher.get(source_of(url, commit=commit[:digits].upper()))
        assert got.reason == "", got.log
        assert git(got.work, "rev-parse", "HEAD") == commit
        assert git(got.work, "branch", "--show-current") == ""
        assert (got.work / "file").read_text() == content
    assert len(fetcher.kept()) == (0 if kind == "file" else 1)


def test_a_branch_of_a_dumb_server_is_fetched_whole(fetcher: Fetcher, server: GitServer) -> None:
    """Where shallow is not possible, the whole history comes; the clone is shallow all the same."""
    server.dumb = True
    git(server.root / "r", "update-server-info")
    got = fetcher.get(source_of(f"{server.url}/r/.git", branch="main"))
    assert got.reason == "", got.log
    assert git(got.work, "rev-list", "--count", "HEAD") == "1"
    assert git(fetcher.kept()[0], "rev-list", "--count", "--all") == "3"


@pytest.mark.parametrize(
    "asked", [{"branch": "nope"}, {"tag": "nope"}, {"commit": "0" * 40}, {"commit": "0" * 8}]
)
def test_what_is_not_there_fails(
    fetcher: Fetcher, server: GitServer, asked: dict[str, str]
) -> None:
    """A missing branch, tag or commit ends with git's own words, and leaves no mirror."""
    for url in (f"{server.url}/r", f"file://{server.root}/r"):
        got = fetcher.get(source_of(url, **asked))
        assert "repository could not be" in got.reason
        assert "fatal" in got.log or "error" in got.log
    assert fetcher.kept() == []


def test_a_tag_that_is_named_like_a_commit_is_not_taken_for_it(
    fetcher: Fetcher, server: GitServer
) -> None:
    """A short commit is that commit, whatever tags there are."""
    commits = commits_of(server)
    git(server.root / "r", "tag", commits[0][:8], commits[2])
    for url in (f"{server.url}/r", f"file://{server.root}/r"):
        got = fetcher.get(source_of(url, commit=commits[0][:8]))
        assert got.reason == "", got.log
        assert git(got.work, "rev-parse", "HEAD") == commits[0]


AUTHS: dict[str, tuple[GitAuth[Secret], str]] = {
    "token": (GitAuth(access_token=Secret(TOKEN)), f"x-access-token:{TOKEN}"),
    "token from a file": (GitAuth(access_token=Secret(f"{TOKEN}\n")), f"x-access-token:{TOKEN}"),
    "plain token": (GitAuth(access_token=TOKEN), f"x-access-token:{TOKEN}"),
    "basic": (
        GitAuth(basic=BasicAuth(user_name="me", password=Secret(f"{TOKEN}$(x) %s"))),
        f"me:{TOKEN}$(x) %s",
    ),
    "secret user": (
        GitAuth(basic=BasicAuth(user_name=Secret("me"), password=Secret(TOKEN))),
        f"me:{TOKEN}",
    ),
}


@pytest.mark.parametrize(("auth", "wanted"), AUTHS.values(), ids=AUTHS.keys())
def test_credentials_open_a_private_repository(
    fetcher: Fetcher, server: GitServer, auth: GitAuth[Secret], wanted: str
) -> None:
    """They reach the server, and neither arguments, output nor what is left on disk."""
    server.credentials = wanted
    argv: list[str] = []
    fetcher.during = lambda _, command: argv.extend((*command.argv, repr(command)))
    got = fetcher.get(GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth))
    assert got.reason == "", got.log
    assert TOKEN not in got.log
    assert TOKEN not in " ".join(argv)
    for path in fetcher.root.rglob("*"):
        assert path.is_symlink() or not path.is_file() or TOKEN.encode() not in path.read_bytes()
        assert TOKEN not in path.name


@pytest.mark.parametrize("auth", [None, GitAuth(access_token=Secret("wrong"))])
def test_wrong_credentials_fail_without_a_question(
    fetcher: Fetcher, server: GitServer, auth: GitAuth[Secret] | None
) -> None:
    """Nobody is there to answer a prompt, so there is none; the server is asked once."""
    server.credentials = "me:right"
    got = fetcher.get(GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth))
    assert got.reason == "the repository could not be fetched"
    assert "wrong" not in got.log
    assert len(server.seen) == (1 if auth is None else 2)


def test_a_redirect_is_not_followed(fetcher: Fetcher, server: GitServer) -> None:
    """Neither a request nor the credentials reach the address a server points to."""
    with serve(server.root) as other:
        other.credentials = f"x-access-token:{TOKEN}"
        server.redirect = other.url
        auth: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))
        got = fetcher.get(GitSource(repo_url=f"{server.url}/r", branch="main", auth=auth))
        assert "give the address that it has moved to" in got.reason
        assert other.seen == []
        assert server.seen != []


def test_nothing_of_the_repository_or_the_host_is_run(fetcher: Fetcher, tmp_path: Path) -> None:
    """Hooks, configuration, filters and submodules of the repository, the host and HOME rest."""
    mark = tmp_path / MARK
    hook = f"#!/bin/sh\ntouch {mark}\n"
    repository = tmp_path / "r"
    make_repository(repository)
    inner = tmp_path / "inner"
    make_repository(inner)
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", str(inner), "sub")
    (repository / ".gitattributes").write_text("* filter=bad\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "more")
    templates = tmp_path / "templates"
    for hooks in (repository / ".git" / "hooks", templates / "hooks"):
        hooks.mkdir(parents=True, exist_ok=True)
        for name in ("post-checkout", "post-merge", "reference-transaction", "pre-receive"):
            (hooks / name).write_text(hook)
            (hooks / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {templates}\n[core]\nhooksPath = {templates}/hooks\n"
        f"fsmonitor = touch {mark}\n"
        f'[filter "bad"]\nsmudge = touch {mark}\nrequired = true\n'
        f'[url "ext::touch {mark} "]\ninsteadOf = file\n'
        f"[uploadpack]\npackObjectsHook = touch {mark}; git\n"
    )
    fetcher.environment |= {
        "HOME": str(home),
        "GIT_TEMPLATE_DIR": str(templates),
        "GIT_EXTERNAL_DIFF": f"touch {mark}",
        "GIT_SSH_COMMAND": f"touch {mark}",
        "SSH_ASKPASS": f"touch {mark}",
    }
    got = fetcher.get(source_of(f"file://{repository}"))
    assert got.reason == "", got.log
    assert not mark.exists()
    assert list((got.work / "sub").iterdir()) == []


def test_a_repository_of_another_user_is_read(fetcher: Fetcher, tmp_path: Path) -> None:
    """A file source may belong to the person whose repository it is, not to the engine's user."""
    repository = tmp_path / "r"
    make_repository(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534)
    got = fetcher.get(source_of(f"file://{repository}"))
    assert got.reason == "", got.log


def test_a_local_repository_with_odd_letters_is_read(fetcher: Fetcher, tmp_path: Path) -> None:
    """What a URL has to escape is unescaped; nothing of it is read by a shell."""
    repository = tmp_path / "a b;$(x)'%41"
    make_repository(repository)
    url = f"file://{tmp_path}/a%20b;$(x)'%2541"
    got = fetcher.get(source_of(url))
    assert got.reason == "", got.log


def test_a_local_repository_cannot_be_written(fetcher: Fetcher, tmp_path: Path) -> None:
    """Git sees a local source, and cannot change it."""
    repository = tmp_path / "r"
    make_repository(repository)
    before = {p: p.stat().st_mtime_ns for p in repository.rglob("*")}
    assert fetcher.get(source_of(f"file://{repository}")).reason == ""
    assert {p: p.stat().st_mtime_ns for p in repository.rglob("*")} == before
