"""Repositories that are asked beside the loop: many, slow, broken and changing ones."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from reconciler.adapters import gitrefs
from reconciler.adapters.git_process import Git
from reconciler.adapters.gitchanges import GitChanges
from reconciler.adapters.gitrefs import GitRefs, Helpers, Pace, Revision, Unavailable, Wanted
from reconciler.api.types import GitSource, Secret
from reconciler.clock import SystemClock
from reconciler.git.urls import identity
from tests import waiting
from tests.fakes.git_server import GitServer, git, make_repository, serve

pytestmark = pytest.mark.real

LIMIT_S = 90.0
eventually = partial(waiting.eventually, limit_s=LIMIT_S)
# So long that nothing happens by itself in a test, unless it says otherwise.
NEVER = timedelta(hours=1)


class Watched:
    """Repositories that are watched, and the names that were told of."""

    def __init__(self, folder: Path, pace: Pace) -> None:
        self.git = Git(folder / "known_hosts")
        helpers = Helpers(
            git=self.git,
            fingerprints=GitChanges(self.git, folder / "sources", lambda: b"k"),
            clock=SystemClock(),
            jitter=lambda: 0.5,
        )
        self.refs = GitRefs(helpers, pace)
        self.told: set[str] = set()
        self.refs.watch(self.told.update)

    def head(self, name: str, wanted: Wanted) -> Revision | Unavailable:
        return self.refs.head(name, wanted)

    def eventually(self, name: str, wanted: Wanted, condition: Callable[[str], bool]) -> str:
        """Wait until what is known of it, its commit or its message, is as expected."""
        found = [""]

        def known() -> bool:
            head = self.head(name, wanted)
            found[0] = head.commit if isinstance(head, Revision) else head.message
            return condition(found[0])

        eventually(known, f"{name}: {found}")
        return found[0]

    def close(self) -> None:
        self.refs.close()
        self.git.close()


def follow(url: str, *, tag: str = "", paths: tuple[str, ...] = ()) -> Wanted:
    source: GitSource[Secret] = GitSource(repo_url=url, branch="" if tag else "main", tag=tag)
    return Wanted(source=source, base=Path("/"), paths=paths)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path, Pace(poll_interval=NEVER, first_wait_s=5.0))
    yield made
    made.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "infra"
    make_repository(path)
    return path


@pytest.fixture
def server(work: Path) -> Iterator[GitServer]:
    with serve(work.parent) as served:
        yield served


@pytest.fixture
def hanging() -> Iterator[str]:
    """A host that takes connections, and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(200)
        yield f"http://127.0.0.2:{listener.getsockname()[1]}"


def test_hundreds_of_repositories(
    tmp_path: Path, work: Path, server: GitServer, hanging: str
) -> None:
    """300 are asked once each, while 20 of another host hang; then a change tells all names."""
    names = [f"r{number}" for number in range(300)]
    for name in names:
        (work.parent / name).symlink_to(work / ".git")
    git(work, "update-server-info")
    server.dumb = True  # one request for each, answered without a process of its own
    watched = Watched(tmp_path, Pace(poll_interval=NEVER, first_wait_s=0.0))
    wanted = {f"slow{n}": follow(f"{hanging}/{n}") for n in range(20)}
    wanted |= {name: follow(f"{server.url}/{name}") for name in names}
    try:
        watched.refs.expect(wanted)
        commit = git(work, "rev-parse", "HEAD")

        def all_known() -> bool:
            found = [watched.head(name, wanted[name]) for name in names]
            return all(isinstance(f, Revision) and f.commit == commit for f in found)

        eventually(all_known, "300 commits")
        slow = watched.head("slow3", wanted["slow3"])
        assert isinstance(slow, Unavailable)
        assert slow.message.startswith(f"{hanging}/3 ")
        asked = [path for path, _ in server.seen if "info/refs" in path]
        assert len(asked) == len(set(asked)) == 300
        git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
        git(work, "update-server-info")
        watched.told.clear()
        watched.refs.refresh(identity(f"{server.url}/{name}") for name in names)
        eventually(lambda: watched.told >= set(names), "300 names")
        commit = git(work, "rev-parse", "HEAD")
        assert all_known()
    finally:
        watched.close()


def test_newcomers_hold_up_a_pass_once(tmp_path: Path, hanging: str) -> None:
    """Twelve repositories that hang, as after a change of their token, cost a second together."""
    watched = Watched(tmp_path, Pace(poll_interval=NEVER, first_wait_s=0.0))
    try:
        watched.refs._patient_until -= 60.0  # the start was a minute ago
        begun = time.monotonic()
        for number in range(12):
            assert isinstance(
                watched.head(f"s{number}", follow(f"{hanging}/{number}")), Unavailable
            )
        assert 0.5 < time.monotonic() - begun < 6
    finally:
        watched.close()


def test_a_server_that_fails(watched: Watched, work: Path, server: GitServer) -> None:
    """A 500 is Unavailable since when it began, and what was known is told; then it goes on."""
    url = f"{server.url}/infra/.git"
    wanted = follow(url)
    commit = git(work, "rev-parse", "HEAD")
    head = watched.head("web", wanted)
    assert head == Revision(commit=commit, source=commit, again_at=None)
    server.status = 500
    watched.refs.refresh()
    message = watched.eventually("web", wanted, lambda text: "error: 500" in text)
    assert watched.told == {"web"}
    assert message.startswith(f"{url} cannot be asked: ")
    assert message.endswith(f"Z; it was at {commit[:12]})")
    watched.told.clear()
    watched.refs.refresh()
    asked = len(server.seen)
    eventually(lambda: len(server.seen) > asked, "a second question")
    # Who comes meanwhile hears the same, and asks nobody.
    late = watched.head("late", wanted)
    assert isinstance(late, Unavailable)
    server.status = 0
    watched.refs.refresh()
    watched.eventually("web", wanted, lambda text: text == commit)
    assert watched.told == {"web", "late"}


def test_what_moves_is_told(watched: Watched, work: Path) -> None:
    """A new commit, a forced push, a moved tag, a branch that goes and comes: each is told."""
    url = f"file://{work}"
    branch, tag = follow(url), follow(url, tag="v1")
    git(work, "tag", "--annotate", "--message", "x", "v1")
    watched.refs.expect({"branch": branch, "tag": tag})
    first = git(work, "rev-parse", "HEAD")
    for name, wanted in (("branch", branch), ("tag", tag)):
        head = watched.head(name, wanted)
        assert isinstance(head, Revision)
        assert head.commit == first
    git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
    second = git(work, "rev-parse", "HEAD")
    watched.refs.refresh()
    watched.eventually("branch", branch, lambda text: text == second)
    assert watched.told == {"branch"}
    watched.told.clear()
    git(work, "tag", "--force", "v1")
    watched.refs.refresh()
    watched.eventually("tag", tag, lambda text: text == second)
    assert watched.told == {"tag"}
    git(work, "reset", "--quiet", "--hard", "HEAD~2")
    watched.refs.refresh()
    watched.eventually("branch", branch, lambda text: text == git(work, "rev-parse", "HEAD"))
    git(work, "branch", "--move", "main", "other")
    watched.refs.refresh()
    message = watched.eventually("branch", branch, lambda text: "no branch 'main'" in text)
    assert message.startswith(f"{url} has no branch 'main' (since 2")
    git(work, "branch", "--move", "other", "main")
    git(work, "tag", "--delete", "v1")
    watched.refs.refresh()
    watched.eventually("branch", branch, lambda text: len(text) == 40)
    watched.eventually("tag", tag, lambda text: "has no tag 'v1'" in text)


def test_it_asks_by_itself(tmp_path: Path, work: Path) -> None:
    """At the interval a new commit is found without anybody asking for it."""
    watched = Watched(tmp_path, Pace(poll_interval=timedelta(seconds=0.1)))
    try:
        wanted = follow(f"file://{work}")
        assert isinstance(watched.head("web", wanted), Revision)
        git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
        eventually(lambda: watched.told == {"web"}, "the name")
        head = watched.head("web", wanted)
        assert isinstance(head, Revision)
        assert head.commit == git(work, "rev-parse", "HEAD")
    finally:
        watched.close()


def test_only_what_counts_is_told(watched: Watched, work: Path, server: GitServer) -> None:
    """With paths a commit elsewhere changes the commit and not the source; both are told."""
    git(work, "config", "uploadpack.allowFilter", "true")
    url = f"{server.url}/infra/.git"
    web, everything = follow(url, paths=("web/**",)), follow(url)
    watched.refs.expect({"web": web, "all": everything})
    first = watched.head("web", web)
    assert isinstance(first, Revision)
    assert len(first.source) == 64
    (work / "file").write_text("new")
    git(work, "commit", "--quiet", "--all", "--message", "new")
    commit = git(work, "rev-parse", "HEAD")
    watched.refs.refresh()
    watched.eventually("web", web, lambda text: text == commit)
    second = watched.head("web", web)
    assert second == Revision(commit=commit, source=first.source, again_at=None)
    (work / "web").mkdir()
    (work / "web" / "index.ts").write_text("new")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--all", "--message", "new")
    watched.refs.refresh()
    watched.eventually("web", web, lambda text: text == git(work, "rev-parse", "HEAD"))
    third = watched.head("web", web)
    assert isinstance(third, Revision)
    assert third.source != first.source
    other = watched.head("all", everything)
    assert isinstance(other, Revision)
    assert other.source == other.commit == third.commit


def test_many_hints_are_few_questions(
    watched: Watched, work: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that is sent a hundred times, or for others, has git asked hardly at all."""
    url = f"{server.url}/infra/.git"
    wanted = follow(url)
    assert isinstance(watched.head("web", wanted), Revision)

    def questions() -> int:
        return sum("info/refs" in path for path, _ in server.seen)

    assert questions() == 1
    monkeypatch.setattr(gitrefs, "HINTS_APART", timedelta(hours=1))
    for _ in range(100):
        watched.refs.refresh([identity(url)])
        watched.refs.refresh(["example.com/other", ""])
    monkeypatch.setattr(gitrefs, "HINTS_APART", timedelta(0))
    assert questions() == 1
    git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
    watched.refs.refresh([identity(url.replace("infra/.git", "Infra"))])
    watched.refs.refresh([identity(url)])
    watched.eventually("web", wanted, lambda text: text == git(work, "rev-parse", "HEAD"))
    assert questions() <= 3


def test_who_is_gone_is_forgotten(watched: Watched, work: Path, server: GitServer) -> None:
    """A repository that no spec follows any more is not asked, nor is one of a changed spec."""
    wanted = follow(f"{server.url}/infra/.git")
    watched.refs.expect({"a": wanted, "b": wanted})
    assert isinstance(watched.head("a", wanted), Revision)
    watched.refs.expect({}, ["a"])
    watched.refs.expect({"b": follow(f"file://{work}")})
    assert isinstance(watched.head("b", follow(f"file://{work}")), Revision)
    asked = len(server.seen)
    git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
    watched.refs.refresh()
    eventually(lambda: watched.told == {"b"}, "the other name")
    assert len(server.seen) == asked
