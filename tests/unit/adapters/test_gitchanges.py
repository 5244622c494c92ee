from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters import gitchanges
from reconciler.adapters.git_process import Bounds, Git, GitFailedError, Repository
from reconciler.adapters.gitchanges import GitChanges
from reconciler.api.types import GitAuth, Secret
from tests.fakes.git_server import GitServer, git, serve

pytestmark = pytest.mark.real

MAIN = "refs/heads/main"
WEB = ("web/**", "!web/docs/**")
CANARY = "hunter2-canary"
LARGE = 300_000


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with a web and a docs directory, and a file that is large."""
    path = tmp_path / "served" / "infra"
    (path / "web" / "docs").mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "config", "uploadpack.allowFilter", "true")
    (path / "web" / "large").write_bytes(os.urandom(LARGE))
    commit(path, "web/index.ts", "web/docs/x.md", "README.md")
    return path


@pytest.fixture
def server(work: Path) -> Iterator[GitServer]:
    with serve(work.parent) as served:
        yield served


@pytest.fixture
def changes(tmp_path: Path) -> GitChanges:
    return GitChanges(Git(tmp_path / "known_hosts"), tmp_path / "sources", lambda: b"k" * 32)


def commit(path: Path, *files: str, text: str = "") -> str:
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_text(text or file)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "x")
    return git(path, "rev-parse", "HEAD")


def of(
    changes: GitChanges,
    server: GitServer,
    at: str,
    *,
    ref: str = MAIN,
    paths: tuple[str, ...] = WEB,
) -> str:
    found, fingerprint = changes.of(Repository(url=f"{server.url}/infra/.git"), ref, at, paths)
    assert found == at
    return fingerprint


def test_a_commit_elsewhere_is_no_change(
    changes: GitChanges, server: GitServer, work: Path
) -> None:
    """A commit counts where it changes a file that is meant: content, mode, name, or removal."""
    before = of(changes, server, git(work, "rev-parse", "HEAD"))
    assert of(changes, server, commit(work, "README.md", "web/docs/x.md", text="new")) == before
    seen = {before}
    after = of(changes, server, commit(work, "web/index.ts", text="new"))
    assert after not in seen
    seen.add(after)
    (work / "web/index.ts").chmod(0o755)
    after = of(changes, server, commit(work))
    assert after not in seen
    seen.add(after)
    git(work, "mv", "web/index.ts", "web/main.ts")
    after = of(changes, server, commit(work))
    assert after not in seen
    seen.add(after)
    (work / "web/main.ts").unlink()
    assert of(changes, server, commit(work)) not in seen


def test_a_forced_push_is_judged_by_what_it_comes_to(
    changes: GitChanges, server: GitServer, work: Path
) -> None:
    """Another history with the same files is no change; a revert takes a change back."""
    first = git(work, "rev-parse", "HEAD")
    before = of(changes, server, first)
    commit(work, "web/index.ts", text="one")
    two = of(changes, server, commit(work, "web/index.ts", text="two"))
    git(work, "reset", "--quiet", "--soft", first)
    assert of(changes, server, commit(work)) == two  # squashed
    git(work, "checkout", "--quiet", "--orphan", "new")
    git(work, "branch", "--delete", "--force", "main")
    git(work, "checkout", "--quiet", "-b", "main")
    assert of(changes, server, commit(work)) == two  # without any history in common
    assert of(changes, server, commit(work, "web/index.ts")) == before


def test_only_directories_are_fetched(
    changes: GitChanges, server: GitServer, work: Path, tmp_path: Path
) -> None:
    """Where the server can leave files out they are; a commit that is known is not asked for."""
    at = git(work, "rev-parse", "HEAD")
    first = of(changes, server, at)
    assert server.sent < LARGE / 2
    asked = len(server.seen)
    assert of(changes, server, at) == first
    assert of(changes, server, at, paths=("**",)) != first
    assert len(server.seen) == asked
    again = GitChanges(Git(tmp_path / "x"), tmp_path / "sources", lambda: b"k" * 32)
    assert of(again, server, at) == first
    assert len(server.seen) == asked


@pytest.mark.parametrize("way", ["no filter", "old protocol", "dumb"])
def test_other_servers(changes: GitChanges, server: GitServer, work: Path, way: str) -> None:
    """Servers without filters, of the old protocol and of files alone give the same answer."""
    expected = of(changes, server, git(work, "rev-parse", "HEAD"), paths=("web/index.ts",))
    if way == "no filter":
        git(work, "config", "uploadpack.allowFilter", "false")
    elif way == "old protocol":
        server.protocol = 0
    else:
        server.dumb = True
    at = commit(work, "README.md", text="new")
    git(work, "update-server-info")
    assert of(changes, server, at, paths=("web/index.ts",)) == expected
    anew = commit(work, "web/index.ts", text="new")
    git(work, "update-server-info")
    assert of(changes, server, anew, paths=("web/index.ts",)) != expected


def test_a_tag_is_looked_into(changes: GitChanges, server: GitServer, work: Path) -> None:
    """An annotated tag is the commit that it is on."""
    git(work, "tag", "--annotate", "--message", "x", "v1")
    at = git(work, "rev-parse", "HEAD")
    assert of(changes, server, at, ref="refs/tags/v1") == of(changes, server, at)


def test_a_branch_that_moves_meanwhile(changes: GitChanges, server: GitServer, work: Path) -> None:
    """Where the branch has gone on since it was asked, the newer commit is the answer."""
    old = git(work, "rev-parse", "HEAD")
    new = commit(work, "web/index.ts", text="new")
    repository = Repository(url=f"{server.url}/infra/.git")
    found, fingerprint = changes.of(repository, MAIN, old, WEB)
    assert found == new
    assert fingerprint == of(changes, server, new)


def test_a_copy_that_is_broken(
    changes: GitChanges, server: GitServer, work: Path, tmp_path: Path
) -> None:
    """A copy that git cannot use is made anew."""
    of(changes, server, git(work, "rev-parse", "HEAD"))
    (copy,) = [p for p in (tmp_path / "sources").iterdir() if p.is_dir()]
    (copy / "HEAD").write_text("nonsense")
    for pack in (copy / "objects/pack").iterdir():
        pack.chmod(0o600)
        pack.write_bytes(b"x")
    at = commit(work, "web/index.ts", text="new")
    assert len(of(changes, server, at)) == 64


def test_limits(
    changes: GitChanges, server: GitServer, work: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is larger than it may be is said, and leaves nothing; the longest unused copy goes."""
    git(work, "config", "uploadpack.allowFilter", "false")
    bounds = Bounds(file_bytes=100 * 1024)
    monkeypatch.setattr(gitchanges, "FETCH", bounds)
    with pytest.raises(GitFailedError, match="it is larger than"):
        of(changes, server, git(work, "rev-parse", "HEAD"))
    assert [p for p in (tmp_path / "sources").iterdir() if p.is_dir()] == []
    monkeypatch.setattr(gitchanges, "FETCH", Bounds())
    monkeypatch.setattr(gitchanges, "LARGEST_SUM_BYTES", 2 * LARGE)
    for name in ("a", "b", "c"):
        subprocess.run(["cp", "-r", work, work.parent / name], check=True)
        repository = Repository(url=f"{server.url}/{name}/.git")
        changes.of(repository, MAIN, git(work, "rev-parse", "HEAD"), WEB)
    assert len([p for p in (tmp_path / "sources").iterdir() if p.is_dir()]) == 1


def test_no_credential_is_kept(
    changes: GitChanges, server: GitServer, work: Path, tmp_path: Path
) -> None:
    """A copy belongs to a credential, and nothing of that is in its files or names."""
    server.credentials = f"x-access-token:{CANARY}"
    auth: GitAuth[Secret] = GitAuth(access_token=Secret(CANARY))
    repository = Repository(url=f"{server.url}/infra/.git", auth=auth)
    at = git(work, "rev-parse", "HEAD")
    changes.of(repository, MAIN, at, WEB)
    with pytest.raises(GitFailedError, match="could not read Username"):
        of(changes, server, at)
    for path in (tmp_path / "sources").rglob("*"):
        assert CANARY not in path.name
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()
