"""Submodules and files of Git LFS, where the engine is set to get them."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret
from reconciler.engine.config import SourceSettings
from tests.fakes.fetching import Fetcher, source_of
from tests.fakes.git_server import IDENTITY, GitServer, git, make_repository, serve

pytestmark = pytest.mark.real

TOKEN = "t0ken-c4nary-0b1c"
AUTH: GitAuth[Secret] = GitAuth(access_token=Secret(TOKEN))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repositories `r`, `lib` and `inner`."""
    for name in ("r", "lib", "inner"):
        make_repository(tmp_path / "served" / "acme" / name)
    with serve(tmp_path / "served") as served:
        yield served


def add_submodule(repository: Path, path: str, url: str, of: Path) -> None:
    """Add one without asking anybody: the entry and the file say all there is."""
    commit = git(of, "rev-parse", "HEAD")
    with (repository / ".gitmodules").open("a") as file:
        file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(repository, "add", ".gitmodules")
    git(repository, "commit", "--quiet", "--message", path)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_submodules_of_submodules_are_got(tmp_path: Path, server: GitServer, scheme: str) -> None:
    """Relative and whole URLs work, each at its commit; without the option they stay empty."""
    folder = server.root / "acme"
    base = server.url if scheme == "http" else f"file://{server.root}"
    add_submodule(folder / "lib", "deep/inner", "../inner", folder / "inner")
    add_submodule(folder / "r", "lib with space", f"{base}/acme/lib", folder / "lib")
    add_submodule(folder / "r", "again", "../lib", folder / "lib")
    source = source_of(f"{base}/acme/r")
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True))
    got = fetcher.get(source)
    assert got.reason == "", got.log
    for path in ("again", "lib with space"):
        assert (got.work / path / "file").read_text() == "main 2\n"
        assert (got.work / path / "deep" / "inner" / "file").read_text() == "main 2\n"
    assert git(got.work, "status", "--porcelain") == ""
    without = Fetcher(tmp_path / "other").get(source)
    assert without.reason == ""
    assert list((without.work / "again").iterdir()) == []


def test_credentials_go_along_to_the_same_host_only(tmp_path: Path, server: GitServer) -> None:
    """A submodule elsewhere is asked for without them."""
    server.credentials = f"x-access-token:{TOKEN}"
    folder = server.root / "acme"
    make_repository(tmp_path / "elsewhere" / "lib")
    with serve(tmp_path / "elsewhere") as other:
        add_submodule(folder / "r", "lib", "../lib", folder / "lib")
        add_submodule(folder / "r", "other", f"{other.url}/lib", tmp_path / "elsewhere" / "lib")
        fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True))
        got = fetcher.get(replace(source_of(f"{server.url}/acme/r"), auth=AUTH))
        assert got.reason == "", got.log
        assert {given for _, given in other.seen} == {""}
        assert (got.work / "lib" / "file").exists()
        assert (got.work / "other" / "file").exists()


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% {mark}",
        "--upload-pack=touch {mark}",
        "ssh://-oProxyCommand=touch${{IFS}}{mark}/x",
        "ssh://git@127.0.0.1/x",
        "/etc",
        "https://me:c4nary@127.0.0.1/x",
        "",
    ],
)
def test_hostile_urls_of_submodules_run_nothing(
    tmp_path: Path, server: GitServer, url: str
) -> None:
    """What is no URL of a source is none of a submodule's either."""
    mark = tmp_path / "mark"
    folder = server.root / "acme"
    add_submodule(folder / "r", "lib", url.format(mark=mark), folder / "lib")
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True))
    got = fetcher.get(source_of(f"{server.url}/acme/r"))
    assert "submodule 'lib'" in got.reason
    assert "c4nary" not in got.reason + got.log
    assert not mark.exists()


def test_a_commit_that_is_gone_fails(tmp_path: Path, server: GitServer) -> None:
    """A submodule at a commit that its repository has not fails the step."""
    folder = server.root / "acme"
    add_submodule(folder / "r", "lib", "../lib", folder / "inner")
    git(folder / "inner", "commit", "--quiet", "--allow-empty", "--message", "only here")
    add_submodule(folder / "r", "inner", "../lib", folder / "inner")
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True))
    got = fetcher.get(source_of(f"{server.url}/acme/r"))
    assert "could not be fetched" in got.reason


def test_submodules_without_end_are_bounded(tmp_path: Path, server: GitServer) -> None:
    """A repository that is its own submodule stops at a depth."""
    folder = server.root / "acme"
    for _ in range(8):
        repository = folder / "r"
        git(repository, "rm", "--quiet", "--cached", "--ignore-unmatch", "self")
        (repository / ".gitmodules").unlink(missing_ok=True)
        add_submodule(repository, "self", "../r", repository)
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(submodules=True))
    got = fetcher.get(source_of(f"{server.url}/acme/r"))
    assert "levels deep" in got.reason


# ---------------------------------------------------------------- Git LFS

LARGE = b"large " * 50_000


@pytest.fixture
def large(server: GitServer) -> Path:
    """A repository with a file in Git LFS."""
    repository = server.root / "acme" / "r"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(server.root), **IDENTITY}
    (repository / "file.bin").write_bytes(LARGE)
    for arguments in (
        ["lfs", "install", "--local", "--skip-repo"],
        ["lfs", "track", "*.bin"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "large"],
    ):
        subprocess.run(
            ["git", *arguments], cwd=repository, env=environment, check=True, capture_output=True
        )
    return repository


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_large_files_are_got(tmp_path: Path, server: GitServer, large: Path, scheme: str) -> None:
    """The file is there in the place of its pointer; without the option the pointer is."""
    url = f"{server.url}/acme/r" if scheme == "http" else f"file://{large}"
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(lfs=True))
    got = fetcher.get(source_of(url))
    assert got.reason == "", got.log
    assert (got.work / "file.bin").read_bytes() == LARGE
    without = Fetcher(tmp_path / "other").get(source_of(url))
    assert without.reason == ""
    assert (without.work / "file.bin").read_bytes().startswith(b"version https://git-lfs")


def test_large_files_of_a_private_repository(
    tmp_path: Path, server: GitServer, large: Path
) -> None:
    """The credential opens the files as well, and is nowhere afterwards."""
    assert large.exists()
    server.credentials = f"x-access-token:{TOKEN}"
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(lfs=True))
    argv: list[str] = []
    fetcher.during = lambda _, command: argv.extend(command.argv)
    got = fetcher.get(GitSource(repo_url=f"{server.url}/acme/r", branch="main", auth=AUTH))
    assert got.reason == "", got.log
    assert (got.work / "file.bin").read_bytes() == LARGE
    encoded = base64.b64encode(f"x-access-token:{TOKEN}".encode())
    assert TOKEN not in got.log + " ".join(argv)
    for path in fetcher.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert TOKEN.encode() not in content, path
            assert encoded not in content, path


def test_a_repository_cannot_say_where_its_large_files_are(
    tmp_path: Path, server: GitServer, large: Path
) -> None:
    """A file `.lfsconfig` counts for nothing, and credentials do not go where files lie."""
    server.credentials = f"x-access-token:{TOKEN}"
    with serve(server.root) as other:
        (large / ".lfsconfig").write_text(f"[lfs]\n\turl = {other.url}/acme/r.git/info/lfs\n")
        git(large, "add", ".lfsconfig")
        git(large, "commit", "--quiet", "--message", "elsewhere")
        source: GitSource[Secret] = GitSource(
            repo_url=f"{server.url}/acme/r", branch="main", auth=AUTH
        )
        fetcher = Fetcher(tmp_path / "engine", SourceSettings(lfs=True))
        got = fetcher.get(source)
        assert got.reason == "", got.log
        assert (got.work / "file.bin").read_bytes() == LARGE
        assert other.seen == []
        server.lfs_files = other.url
        assert fetcher.get(source).reason == ""
        assert {given for _, given in other.seen} == {""}


def test_large_files_that_are_gone_fail_the_step(
    tmp_path: Path, server: GitServer, large: Path
) -> None:
    """A pointer without its file is no source; the reason says which part failed."""
    for path in (large / ".git" / "lfs" / "objects").glob("*/*/*"):
        path.unlink()
    fetcher = Fetcher(tmp_path / "engine", SourceSettings(lfs=True))
    got = fetcher.get(source_of(f"{server.url}/acme/r"))
    assert "Git LFS" in got.reason
