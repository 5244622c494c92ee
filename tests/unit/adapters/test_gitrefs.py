from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.git_process import Git
from reconciler.adapters.gitchanges import GitChanges
from reconciler.adapters.gitrefs import (
    GitRefs,
    Helpers,
    Pace,
    Revision,
    Unavailable,
    Wanted,
    resolve_url,
)
from reconciler.api.types import BasicAuth, GitAuth, GitSource, Secret
from tests.factories import NOW
from tests.fakes.git_server import GitServer, git, make_repository, serve
from tests.fakes.world import SimClock

pytestmark = pytest.mark.real
POLL = timedelta(seconds=60)
CANARY = "hunter2-canary"
SINCE = f"{NOW:%Y-%m-%d %H:%M}Z"
TOKEN: GitAuth[Secret] = GitAuth(access_token=Secret(CANARY))


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


@pytest.fixture
def refs(clock: SimClock) -> GitRefs:
    return make(clock)


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    path = tmp_path / "infra"
    return path, make_repository(path, ("main", "other"))


@pytest.fixture
def server(repository: tuple[Path, list[str]]) -> Iterator[GitServer]:
    with serve(repository[0].parent) as served:
        yield served


def make(clock: SimClock) -> GitRefs:
    """Asks in the way of a command, with no dice."""
    git = Git(Path("/nonexistent"))
    changes = GitChanges(git, Path("/nonexistent"), lambda: b"")
    helpers = Helpers(git=git, fingerprints=changes, clock=clock, jitter=lambda: 0.0)
    return GitRefs(helpers, Pace(poll_interval=POLL))


def head(refs: GitRefs, source: GitSource[Secret], base: Path) -> Revision | Unavailable:
    """Ask for a spec that is named after what it follows."""
    name = f"{source.repo_url} {source.branch} {source.tag} {source.auth is None}"
    return refs.head(name, Wanted(source=source, base=base))


def source(
    url: str, branch: str = "", commit: str = "", tag: str = "", auth: GitAuth[Secret] | None = None
) -> GitSource[Secret]:
    return GitSource(repo_url=url, branch=branch, commit=commit, tag=tag, auth=auth)


def commit_of(found: Revision | Unavailable) -> str:
    assert isinstance(found, Revision), found
    return found.commit


def message_of(found: Revision | Unavailable) -> str:
    assert isinstance(found, Unavailable), found
    return found.message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("..", "file:///srv/repo"),
        (".", "file:///srv/repo/deployments.d"),
        ("../../other repo", "file:///srv/other%20repo"),
        ("./a%20b", "file:///srv/repo/deployments.d/a%2520b"),
        ("https://example.com/x.git", "https://example.com/x.git"),
        ("file:///x", "file:///x"),
    ],
)
def test_relative_urls(url: str, expected: str) -> None:
    """A relative URL is a path from the spec's directory; any other stays as it is."""
    assert resolve_url(url, Path("/srv/repo/deployments.d")) == expected


def test_a_commit_is_itself(refs: GitRefs, tmp_path: Path) -> None:
    """A commit needs no look at the repository, which may not even be there."""
    found = head(refs, source("https://nowhere.invalid/x.git", commit="abcdef0"), tmp_path)
    assert found == Revision(commit="abcdef0", source="abcdef0", again_at=None)


def test_branches_and_tags(
    refs: GitRefs, clock: SimClock, repository: tuple[Path, list[str]]
) -> None:
    """A branch is its head, however it is written, and an annotated tag the commit it is on."""
    path, commits = repository
    git(path, "tag", "light", commits[0])
    git(path, "tag", "--annotate", "--message", "x", "v1", commits[1])
    url = f"file://{path}"
    found = head(refs, source(url, branch="main"), path)
    assert found == Revision(commit=commits[2], source=commits[2], again_at=clock.now() + POLL)
    assert commit_of(head(refs, source(url, branch="refs/heads/other"), path)) == commits[5]
    assert commit_of(head(refs, source(url, tag="light"), path)) == commits[0]
    assert commit_of(head(refs, source(url, tag="v1"), path)) == commits[1]


def test_a_ref_that_only_ends_so(refs: GitRefs, repository: tuple[Path, list[str]]) -> None:
    """Another branch whose name ends the same is not taken for it."""
    path, commits = repository
    git(path, "branch", "refs/heads/lost", commits[0])
    assert message_of(head(refs, source(f"file://{path}", branch="lost"), path)) == (
        f"file://{path} has no branch 'lost' (since {SINCE})"
    )


def test_what_is_not_there(refs: GitRefs, clock: SimClock, tmp_path: Path) -> None:
    """A missing tag, or a repository without a commit, is said and looked for again."""
    git(tmp_path, "init", "--quiet")
    missing = head(refs, source(f"file://{tmp_path}", tag="v1"), tmp_path)
    assert message_of(missing) == f"file://{tmp_path} has no tag 'v1' (since {SINCE})"
    assert missing.again_at == clock.now() + POLL
    assert "has no commit yet" in message_of(head(refs, source("."), tmp_path))


def test_what_is_checked_out(refs: GitRefs, repository: tuple[Path, list[str]]) -> None:
    """A relative URL without a branch follows what is checked out, detached or not."""
    path, commits = repository
    (path / "deployments.d").mkdir()
    base = path / "deployments.d"
    assert commit_of(head(refs, source(".."), base)) == commits[2]
    git(path, "checkout", "--quiet", "other")
    refs.refresh()
    assert commit_of(head(refs, source(".."), base)) == commits[5]
    git(path, "checkout", "--quiet", "--detach", commits[0])
    refs.refresh()
    assert commit_of(head(refs, source(".."), base)) == commits[0]
    assert commit_of(head(refs, source("..", branch="main"), base)) == commits[2]


def test_odd_paths(refs: GitRefs, tmp_path: Path) -> None:
    """A repository whose path holds spaces, percent signs and more is found."""
    path = tmp_path / "a b%20c #ü"
    commits = make_repository(path)
    assert commit_of(head(refs, source("."), path)) == commits[2]


def test_one_call_for_all(
    refs: GitRefs, clock: SimClock, server: GitServer, repository: tuple[Path, list[str]]
) -> None:
    """Within the interval a repository is asked once for each new name, then once for all."""
    _, commits = repository
    url = f"{server.url}/infra/.git"
    base = Path("/")

    def calls() -> int:
        return sum("info/refs" in path for path, _ in server.seen)

    for _ in range(3):
        assert commit_of(head(refs, source(url, branch="main"), base)) == commits[2]
    assert calls() == 1
    assert commit_of(head(refs, source(url, branch="other"), base)) == commits[5]
    assert calls() == 2
    clock.time += POLL
    for branch in ("main", "other"):
        head(refs, source(url, branch=branch), base)
    assert calls() == 3
    refs.refresh()
    head(refs, source(url, branch="main"), base)
    assert calls() == 4


def test_a_moved_branch_is_seen(
    refs: GitRefs, clock: SimClock, repository: tuple[Path, list[str]]
) -> None:
    """A new commit is seen when the interval is over, not before."""
    path, commits = repository
    asked = source(f"file://{path}", branch="main")
    assert commit_of(head(refs, asked, path)) == commits[2]
    git(path, "commit", "--quiet", "--allow-empty", "--message", "new")
    assert commit_of(head(refs, asked, path)) == commits[2]
    clock.time += POLL
    assert commit_of(head(refs, asked, path)) == git(path, "rev-parse", "HEAD")


def test_a_clock_that_is_set_back(
    refs: GitRefs, clock: SimClock, repository: tuple[Path, list[str]]
) -> None:
    """A repository is not left alone for a day because the clock was a day ahead."""
    path, _ = repository
    asked = source(f"file://{path}", branch="main")
    assert isinstance(head(refs, asked, path), Revision)
    clock.time -= timedelta(days=1)
    git(path, "commit", "--quiet", "--allow-empty", "--message", "new")
    assert commit_of(head(refs, asked, path)) == git(path, "rev-parse", "HEAD")


def test_threads_share_one_call(server: GitServer) -> None:
    """Many threads that ask for the same are answered by one call."""
    refs = make(SimClock())
    asked = source(f"{server.url}/infra/.git", branch="main")
    threads = [threading.Thread(target=head, args=(refs, asked, Path("/"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("info/refs" in path for path, _ in server.seen) == 1


@pytest.mark.parametrize(
    ("auth", "pair"),
    [
        (TOKEN, f"x-access-token:{CANARY}"),
        (GitAuth(basic=BasicAuth(user_name="ada", password=Secret(CANARY))), f"ada:{CANARY}"),
        (
            GitAuth(basic=BasicAuth(user_name=Secret("ada"), password=Secret(CANARY))),
            f"ada:{CANARY}",
        ),
    ],
)
def test_credentials(
    auth: GitAuth[Secret], pair: str, refs: GitRefs, server: GitServer,
    repository: tuple[Path, list[str]],
) -> None:  # fmt: skip
    """A private repository opens to the token or the password, and to nobody without."""
    server.credentials = pair
    url = f"{server.url}/infra/.git"
    asked = source(url, branch="main", auth=auth)
    assert commit_of(head(refs, asked, Path("/"))) == repository[1][2]
    header = "Basic " + base64.b64encode(pair.encode()).decode()
    # git offers a credential when it is asked for one.
    assert {given for _, given in server.seen} == {"", header}
    assert "could not read Username" in message_of(
        head(refs, source(url, branch="main"), Path("/"))
    )


def test_credentials_are_not_in_the_arguments(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other users of the host can see of the process holds no secret."""
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/argv\nexec /usr/bin/git "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    asked = source(f"{server.url}/infra/.git", branch="main", auth=TOKEN)
    commit_of(head(make(SimClock()), asked, Path("/")))
    argv = (tmp_path / "argv").read_text()
    assert "ls-remote" in argv
    assert CANARY not in argv
    assert base64.b64encode(f"x-access-token:{CANARY}".encode()).decode() not in argv


def test_credentials_do_not_follow_a_redirect(
    refs: GitRefs, server: GitServer, tmp_path: Path
) -> None:
    """A server that sends us elsewhere does not get our credential sent there too."""
    with serve(tmp_path) as other:
        server.redirect = other.url
        asked = source(f"{server.url}/infra/.git", branch="main", auth=TOKEN)
        assert isinstance(head(refs, asked, Path("/")), Unavailable)
        assert other.seen == []


def test_failures_wait_longer_and_longer(refs: GitRefs, clock: SimClock, tmp_path: Path) -> None:
    """A repository that fails is asked after 1, 2, 4 … minutes, at most 16; it says since when."""
    asked = source(f"file://{tmp_path}/missing", branch="main")
    waits = []
    for _ in range(7):
        found = head(refs, asked, tmp_path)
        assert isinstance(found, Unavailable)
        assert "cannot be asked" in found.message
        assert found.since == NOW
        assert found.message.endswith(f"(since {SINCE})")
        assert head(refs, asked, tmp_path) == found
        waits.append((found.again_at - clock.now()).total_seconds() / 60)
        clock.time = found.again_at
    assert waits == [1, 2, 4, 8, 16, 16, 16]
    commits = make_repository(tmp_path / "missing")
    assert commit_of(head(refs, asked, tmp_path)) == commits[2]


def test_no_configuration_of_the_host(
    refs: GitRefs,
    repository: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user's git configuration cannot send us elsewhere."""
    path, commits = repository
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[url "file:///nowhere"]\n  insteadOf = file://{path}\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.sshCommand=false'")
    assert commit_of(head(refs, source(f"file://{path}", branch="main"), path)) == commits[2]
