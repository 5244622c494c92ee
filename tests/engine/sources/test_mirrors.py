"""Mirrors: shared by runs, kept apart by credential, bounded, and made anew when they break."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.api.types import GitAuth, GitSource, Secret
from reconciler.engine.config import SourceSettings
from reconciler.engine.sources.mirrors import Kept, Mirrors, surplus
from tests.fakes.fetching import Fetcher, Got, source_of
from tests.fakes.git_server import GitServer, git, make_repository, serve

pytestmark = pytest.mark.real


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """An engine's part that gets sources."""
    return Fetcher(tmp_path / "engine")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with the repository `r` and its branches."""
    make_repository(tmp_path / "served" / "r", ("main", "feature", "other"))
    with serve(tmp_path / "served") as served:
        yield served


def commit(server: GitServer, text: str) -> str:
    repository = server.root / "r"
    (repository / "file").write_text(text)
    git(repository, "commit", "--quiet", "--all", "--message", "more")
    return git(repository, "rev-parse", "HEAD")


def test_the_second_fetch_brings_only_what_is_new(fetcher: Fetcher, server: GitServer) -> None:
    """A repository is fetched once; what a branch has gained comes on top of it."""
    big = server.root / "r" / "big"
    big.write_bytes(b"".join(bytes([n % 251, n // 251 % 251]) * 7 for n in range(60000)))
    git(server.root / "r", "add", "--all")
    commit(server, "with a big file\n")
    source = source_of(f"{server.url}/r")
    assert fetcher.get(source).reason == ""
    first = server.sent
    new = commit(server, "and more\n")
    got = fetcher.get(source)
    assert got.reason == "", got.log
    assert git(got.work, "rev-parse", "HEAD") == new
    assert (got.work / "big").read_bytes() == big.read_bytes()
    assert server.sent - first < first / 3
    assert len(fetcher.kept()) == 1


def test_the_server_is_asked_every_time(fetcher: Fetcher, server: GitServer) -> None:
    """A credential that is no longer good gets nothing out of the mirror, nor a commit of it."""
    server.credentials = "x-access-token:good"
    whole = git(server.root / "r", "rev-parse", "main")
    auth: GitAuth[Secret] = GitAuth(access_token=Secret("good"))
    for asked in ({"branch": "main"}, {"commit": whole}, {"commit": whole[:8]}):
        source = replace(source_of(f"{server.url}/r", **asked), auth=auth)
        server.credentials = "x-access-token:good"
        assert fetcher.get(source).reason == ""
        server.credentials = "x-access-token:changed"
        got = fetcher.get(source)
        assert got.reason == "the repository could not be fetched"
        assert not (got.work / "file").exists()


def test_nobody_reads_through_anothers_mirror(fetcher: Fetcher, server: GitServer) -> None:
    """Another credential, organization or URL has a mirror of its own."""
    good: GitAuth[Secret] = GitAuth(access_token=Secret("good"))
    server.credentials = "x-access-token:good"
    source: GitSource[Secret] = GitSource(repo_url=f"{server.url}/r", branch="main", auth=good)
    assert fetcher.get(source).reason == ""
    assert len(fetcher.kept()) == 1
    other: GitAuth[Secret] = GitAuth(access_token=Secret("other"))
    assert fetcher.get(replace(source, auth=other)).reason != ""
    assert fetcher.get(replace(source, auth=None)).reason != ""
    assert len(fetcher.kept()) == 1
    assert fetcher.get(source, organization="other").reason == ""
    assert fetcher.get(replace(source, repo_url=f"{server.url}/r/.git")).reason == ""
    assert len(fetcher.kept()) == 3


def test_a_name_of_a_mirror_tells_nothing(tmp_path: Path) -> None:
    """Two engines name the mirror of one credential differently; parts do not run together."""
    one, other = Mirrors(tmp_path / "a", 0), Mirrors(tmp_path / "b", 0)
    assert one.name("acme", "u", "p") == Mirrors(tmp_path / "a", 0).name("acme", "u", "p")
    assert one.name("acme", "u", "p") != other.name("acme", "u", "p")
    assert one.name("acme", "up", "") != one.name("acme", "u", "p")
    assert (tmp_path / "a" / "key").stat().st_mode & 0o077 == 0


def damage(mirror: Path, harm: str) -> None:
    """Do to a mirror what disks, crashes and people do."""
    folder = mirror / "objects" / "pack"
    pack = next(folder.glob("*.pack"))
    half = pack.stat().st_size // 2
    pack.chmod(0o600)
    match harm:
        case "objects":
            pack.write_bytes(pack.read_bytes()[:half] + bytes(half))
        case "half a pack":
            pack.write_bytes(pack.read_bytes()[:half])
        case "no pack":
            for path in folder.iterdir():
                path.unlink()
        case "HEAD" | "shallow":
            (mirror / harm).write_text("nonsense\n")
        case "refs":
            for path in (mirror / "refs" / "asked").iterdir():
                path.write_bytes(b"\0" * 41)
        case "lock":
            (mirror / "shallow.lock").touch()
            (folder / "tmp_pack_x").write_bytes(b"left over")
        case "file":
            (mirror.parent / "current").write_text("../../../etc")
        case _:
            delete_below(mirror)


def delete_below(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.chmod(0o700)
            path.write_bytes(b"hostile")
            path.unlink()


HARMS = ("objects", "half a pack", "no pack", "HEAD", "shallow", "refs", "lock", "file", "empty")


@pytest.mark.parametrize("harm", HARMS)
def test_a_broken_mirror_is_made_anew(fetcher: Fetcher, server: GitServer, harm: str) -> None:
    """Whatever the disk has done to it, the next deployment gets its source."""
    source = source_of(f"{server.url}/r")
    assert fetcher.get(source).reason == ""
    damage(fetcher.kept()[0], harm)
    new = commit(server, "after the harm\n") if harm in {"lock", "refs"} else ""
    got = fetcher.get(source)
    assert got.reason == "", got.log
    if new:
        assert git(got.work, "rev-parse", "HEAD") == new
    assert git(got.work, "fsck", "--full") == ""
    assert len(fetcher.kept()) == 1
    assert not list(fetcher.mirrors.glob("*/git-*/objects/pack/tmp_*"))
    again = fetcher.get(source)
    assert again.reason == ""
    assert "of no use" not in again.log


def test_a_mirror_outlives_a_server_that_is_gone(fetcher: Fetcher, server: GitServer) -> None:
    """What fails because of the other side costs no mirror."""
    source = source_of(f"{server.url}/r")
    assert fetcher.get(source).reason == ""
    kept = fetcher.kept()
    server.status = 503
    assert fetcher.get(source).reason == "the repository could not be fetched"
    assert fetcher.get(source_of(f"{server.url}/r", branch="nope")).reason != ""
    assert fetcher.kept() == kept
    server.status = 0
    assert fetcher.get(source).reason == ""
    assert fetcher.kept() == kept


def test_many_runs_use_one_mirror_at_once(fetcher: Fetcher, server: GitServer) -> None:
    """Runs of several branches and commits each get their own, while the branches move."""
    commits = git(server.root / "r", "rev-list", "--all").split()
    asked = [{"branch": b} for b in ("main", "feature", "other")] + [{"commit": c} for c in commits]
    results: list[tuple[dict[str, str], Got]] = []

    def get(one: dict[str, str]) -> None:
        results.append((one, fetcher.get(source_of(f"{server.url}/r", **one))))

    for turn in range(2):
        threads = [threading.Thread(target=get, args=(one,)) for one in asked]
        for thread in threads:
            thread.start()
        commit(server, f"while it goes on {turn}\n")
        for thread in threads:
            thread.join()
    assert len(results) == 2 * len(asked)
    for one, got in results:
        assert got.reason == "", got.log
        if "commit" in one:
            assert git(got.work, "rev-parse", "HEAD") == one["commit"]
        else:
            assert git(got.work, "symbolic-ref", "--short", "HEAD") == one["branch"]
        assert git(got.work, "status", "--porcelain") == ""
    assert len(fetcher.kept()) == 1


def test_a_branch_may_take_the_place_of_a_folder_of_branches(
    fetcher: Fetcher, server: GitServer
) -> None:
    """`x` deleted and `x/y` made, and the other way round, is nothing to the mirror."""
    repository = server.root / "r"
    url = f"{server.url}/r"
    assert fetcher.get(source_of(url, branch="feature")).reason == ""
    first = git(repository, "rev-list", "--reverse", "main").split()[0]
    assert fetcher.get(source_of(url, commit=first[:8])).reason == ""
    git(repository, "branch", "--move", "feature", "feature/y")
    assert fetcher.get(source_of(url, branch="feature/y")).reason == ""
    assert fetcher.get(source_of(url, commit=first[:9])).reason == ""
    assert len(fetcher.kept()) == 1


def test_a_force_push_is_followed(fetcher: Fetcher, server: GitServer) -> None:
    """A branch that goes back, or elsewhere, is at what it is at."""
    source = source_of(f"{server.url}/r")
    assert fetcher.get(source).reason == ""
    git(server.root / "r", "reset", "--quiet", "--hard", "HEAD~1")
    commit(server, "another history\n")
    got = fetcher.get(source)
    assert got.reason == "", got.log
    assert (got.work / "file").read_text() == "another history\n"


def test_a_worn_mirror_is_made_anew(
    fetcher: Fetcher, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many fetches a new mirror with what is needed now takes the old one's place."""
    monkeypatch.setattr("reconciler.engine.sources.mirrors.MOST_PACKS", 2)
    source = source_of(f"{server.url}/r")
    seen = set()
    for number in range(5):
        new = commit(server, f"number {number}\n")
        got = fetcher.get(source)
        assert git(got.work, "rev-parse", "HEAD") == new
        (mirror,) = fetcher.kept()
        seen.add(mirror)
    assert len(seen) == 2


def test_a_program_cannot_reach_the_mirror_from_its_clone(
    fetcher: Fetcher, server: GitServer
) -> None:
    """The clone has objects of its own: no link, no alternate, nothing of the mirror's path."""
    source = source_of(f"{server.url}/r")
    got = fetcher.get(source)
    (mirror,) = fetcher.kept()
    inodes = {path.stat().st_ino for path in mirror.rglob("*")}
    for path in (got.work / ".git").rglob("*"):
        assert not path.is_symlink()
        assert path.stat().st_ino not in inodes
        assert path.is_dir() or str(fetcher.mirrors).encode() not in path.read_bytes()
    delete_below(got.work)
    again = fetcher.get(source)
    assert (again.work / "file").read_text() == "main 2\n"
    assert "of no use" not in again.log


def test_the_longest_unused_go_first() -> None:
    """Eviction takes from the oldest use on, and no more than it must."""
    kept = [
        Kept(name=name, size=size, used=used)
        for name, size, used in (("a", 5, 3), ("b", 4, 1), ("c", 3, 2))
    ]
    assert surplus(kept, 12) == ()
    assert surplus(kept, 11) == ("b",)
    assert surplus(kept, 5) == ("b", "c")
    assert surplus(kept, 4) == ("b", "c", "a")
    assert surplus(kept, 100, most=2) == ("b",)
    assert surplus((), 0) == ()


def test_mirrors_are_bounded(fetcher: Fetcher, server: GitServer) -> None:
    """Beyond the size of all mirrors the longest unused are deleted; the newest stays."""
    one = fetcher.get(source_of(f"{server.url}/r"))
    assert one.reason == ""
    size = int(next(fetcher.mirrors.glob("*/size")).read_text())
    assert size > 4096
    fetcher.settings = SourceSettings(mirrors_bytes=int(2.5 * size))
    for organization in ("a", "b", "c", "d"):
        assert fetcher.get(source_of(f"{server.url}/r"), organization).reason == ""
    assert len(fetcher.kept()) == 2
    newest = fetcher.kept()
    before = len(server.seen)
    assert fetcher.get(source_of(f"{server.url}/r"), "d").reason == ""
    assert fetcher.kept() == newest
    assert len(server.seen) > before


def test_a_mirror_in_use_is_not_deleted(fetcher: Fetcher, server: GitServer) -> None:
    """Eviction passes over what somebody copies from."""
    source = source_of(f"{server.url}/r")
    assert fetcher.get(source).reason == ""
    mirrors = Mirrors(fetcher.mirrors, 0)
    name = fetcher.kept()[0].parent.name
    with mirrors.using(name, lambda: None):
        mirrors.evict()
        assert len(fetcher.kept()) == 1
    mirrors.evict()
    assert fetcher.kept() == []
    assert fetcher.get(source).reason == ""
