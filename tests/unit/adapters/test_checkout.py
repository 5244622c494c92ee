from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters import checkout as checkout_module
from reconciler.adapters.checkout import Checkout, Origin, load, status_line
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.git_process import Git, Repository
from reconciler.adapters.specs import scan
from reconciler.api.types import GitAuth, Secret
from reconciler.clock import SystemClock
from reconciler.model import Catalog
from tests.fakes.git_server import git, serve
from tests.fakes.world import SimClock
from tests.waiting import eventually

pytestmark = pytest.mark.real

LIMIT_S = 60.0
CANARY = "hunter2-canary"


def judge(folder: Path) -> Catalog:
    return scan(folder, SecretRules())


def spec(stack: str, more: str = "") -> str:
    url = "https://example.com/acme/infra.git"
    git_source = f"sourceContext: {{git: {{repoUrl: {url}, branch: main}}}}"
    return f"stack: acme/{stack}/prod\n{git_source}\n{more}"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with two specs below deployments.d."""
    path = tmp_path / "served" / "infra"
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, {"deployments.d/web.yaml": spec("web"), "deployments.d/eu/db.yaml": spec("db")})
    return path


def commit(path: Path, files: dict[str, str]) -> str:
    """Write files, remove those without a text, and commit."""
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if text:
            (path / name).write_text(text)
        else:
            (path / name).unlink()
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--allow-empty", "--message", "x")
    return git(path, "rev-parse", "HEAD")


def make(
    work: Path, *, branch: str = "main", path: str = "deployments.d", url: str = ""
) -> Checkout:
    home = work.parents[1] / "home"
    where = url or f"file://{work}"
    repository = Repository(url=where)
    origin = Origin(url=where, branch=branch, path=path, repository=lambda: repository)
    return Checkout(origin, home, Git(home / "known_hosts"), SimClock(), judge)


def pulled(checkout: Checkout) -> bool:
    """Pull and apply; whether another commit is in force."""
    checkout.pull()
    return checkout.apply()


def names(checkout: Checkout) -> list[str]:
    return [spec.name for spec in judge(checkout.folder).specs]


def test_specs_come_from_a_commit(work: Path) -> None:
    """A directory of the branch is read at one path, and another commit comes by `apply` alone."""
    checkout = make(work)
    assert pulled(checkout)
    folder = checkout.folder
    assert names(checkout) == ["eu/db", "web"]
    assert checkout.state.commit == git(work, "rev-parse", "HEAD")
    before = {spec.name: spec for spec in judge(folder).specs}
    new = commit(work, {"deployments.d/new.yaml": spec("new"), "README.md": "x"})
    assert checkout.pull()
    assert names(checkout) == ["eu/db", "web"]
    assert checkout.apply()
    assert checkout.folder == folder
    assert names(checkout) == ["eu/db", "new", "web"]
    assert checkout.state.commit == new
    assert {spec.name: spec for spec in judge(folder).specs}["web"] == before["web"]
    assert not checkout.pull()
    assert not checkout.apply()
    assert [p.name for p in (checkout.home / "worktrees").iterdir()] == [new]
    assert not (folder.parent / "README.md").exists()


def test_the_root_of_a_repository(work: Path) -> None:
    """The directory may be the root; what is no spec is passed over there as anywhere."""
    commit(work, {"top.yaml": spec("top")})
    checkout = make(work, path="")
    assert pulled(checkout)
    assert names(checkout) == ["deployments.d/eu/db", "deployments.d/web", "top"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"deployments.d/web.yaml": "stack: [\n"}, "deployments.d/web.yaml:2:1: "),
        ({"deployments.d/web.yaml": spec("web", "schedule: []\n")}, "did you mean 'schedules'?"),
        ({"deployments.d/_defaults.yaml": "nonsense: 1\n"}, "more that were good"),
        ({"deployments.d/web.yaml": "", "deployments.d/eu/db.yaml": ""}, "no directory"),
    ],
)
def test_a_broken_commit_changes_nothing(work: Path, files: dict[str, str], said: str) -> None:
    """Where a good spec would be broken, or all are gone, the last good commit stays in force."""
    checkout = make(work)
    pulled(checkout)
    good = checkout.state.commit
    bad = commit(work, files)
    assert checkout.pull()
    assert not checkout.apply()
    assert checkout.state.commit == good
    assert names(checkout) == ["eu/db", "web"]
    line = status_line(checkout.state)
    assert f"at {good[:12]} since" in line
    assert f"{bad[:12]} is not taken since" in line
    assert said in line
    assert str(checkout.home) not in line
    assert load(checkout.home) == checkout.state
    assert not checkout.pull()  # told once
    again = make(work)
    assert again.restore()
    again.pull()
    assert not again.apply()
    assert names(again) == ["eu/db", "web"]
    git(work, "revert", "--no-edit", "HEAD")
    assert pulled(again)
    assert again.state.refused is None
    assert "not taken" not in status_line(again.state)


def test_a_new_broken_spec_stops_nobody(work: Path) -> None:
    """A spec that was never good is Invalid by itself; so is one that was broken before."""
    checkout = make(work)
    commit(work, {"deployments.d/bad.yaml": "stack: [\n"})
    assert pulled(checkout)
    commit(work, {"deployments.d/bad.yaml": "stack: {\n", "deployments.d/c.yaml": spec("c")})
    assert pulled(checkout)
    assert names(checkout) == ["c", "eu/db", "web"]


def test_a_server_that_is_away(work: Path) -> None:
    """Without the server the last good commit stays, and it is said since when; then it goes on."""
    checkout = make(work)
    pulled(checkout)
    away = work.with_name("away")
    work.rename(away)
    assert checkout.pull()
    assert not checkout.apply()
    assert names(checkout) == ["eu/db", "web"]
    assert "cannot be fetched since 2" in status_line(checkout.state)
    since = checkout.state.unreachable
    assert not checkout.pull()
    assert checkout.state.unreachable == since
    away.rename(work)
    assert checkout.pull()
    assert "cannot be fetched" not in status_line(checkout.state)
    git(work, "branch", "--move", "main", "other")
    assert checkout.pull()
    assert "couldn't find remote ref" in status_line(checkout.state)
    assert names(checkout) == ["eu/db", "web"]


def test_nothing_to_begin_with(work: Path) -> None:
    """Without a server at the start nothing is in force, and the line says so."""
    checkout = make(work, branch="nowhere")
    checkout.pull()
    assert not checkout.apply()
    assert not checkout.restore()
    assert "nothing is in force; cannot be fetched since" in status_line(checkout.state)


def test_what_a_commit_has_removed(work: Path) -> None:
    """A file is removed by a commit that descends from the last with it; a forced push is none."""
    checkout = make(work)
    pulled(checkout)
    first = checkout.state.commit
    commit(work, {"README.md": "x"})
    second = commit(work, {"deployments.d/web.yaml": ""})
    assert pulled(checkout)
    assert checkout.removed_by_commit("web")
    assert not checkout.removed_by_commit("eu/db")
    assert not checkout.removed_by_commit("never")
    again = make(work)
    assert again.restore()
    assert again.removed_by_commit("web")
    git(work, "reset", "--quiet", "--hard", first)
    assert pulled(again)
    assert not again.removed_by_commit("web")
    git(work, "checkout", "--quiet", "--orphan", "new")
    other = commit(work, {"deployments.d/web.yaml": ""})
    git(work, "branch", "--force", "main", other)
    assert pulled(again)
    assert names(again) == ["eu/db"]
    assert not again.removed_by_commit("web")
    git(work, "branch", "--force", "main", commit(work, {"x": "y"}))
    assert pulled(again)
    assert not again.removed_by_commit("web")
    git(work, "branch", "--force", "main", second)
    assert pulled(again)
    assert again.removed_by_commit("web")


def test_another_branch_and_back(work: Path) -> None:
    """A branch without half of the specs, and back, removes nothing by a commit."""
    git(work, "checkout", "--quiet", "-b", "half", git(work, "rev-list", "--max-parents=0", "main"))
    commit(work, {"deployments.d/web.yaml": ""})
    git(work, "checkout", "--quiet", "main")
    commit(work, {"README.md": "x"})
    checkout = make(work)
    pulled(checkout)
    half = make(work, branch="half")
    assert half.restore()
    assert pulled(half)
    assert names(half) == ["eu/db"]
    assert not half.removed_by_commit("web")
    assert half.state.branch == "half"
    back = make(work)
    assert back.restore()
    assert pulled(back)
    assert names(back) == ["eu/db", "web"]
    assert not back.removed_by_commit("web")
    assert back.state.removed == {}


def test_a_crash_in_between(work: Path) -> None:
    """What is on disk is made as directory.json says: a link not changed, a worktree not there."""
    checkout = make(work)
    pulled(checkout)
    old = checkout.state.commit
    new = commit(work, {"deployments.d/new.yaml": spec("new")})
    pulled(checkout)
    (checkout.home / "current").unlink()
    (checkout.home / "current").symlink_to(Path("worktrees") / old)
    again = make(work)
    assert again.restore()
    assert names(again) == ["eu/db", "new", "web"]
    (checkout.home / "worktrees" / new).rename(checkout.home / "gone")
    again = make(work)
    assert again.restore()
    assert names(again) == ["eu/db", "new", "web"]
    (checkout.home / "directory.json").write_text('{"commit": "../../x"')
    assert not make(work).restore()
    body = json.loads(json.dumps({"repo": "", "branch": "", "path": "", "since": ""}))
    body |= {"commit": "../x", "refused": None, "unreachable": None, "removed": {}}
    (checkout.home / "directory.json").write_text(json.dumps(body))
    assert not make(work).restore()


@pytest.mark.parametrize("way", ["lock", "pack", "half"])
def test_a_copy_that_is_broken(work: Path, way: str) -> None:
    """What a crash has left of the copy is made anew; what is in force stays meanwhile."""
    checkout = make(work)
    pulled(checkout)
    copy = checkout.home / "git"
    if way == "lock":
        (copy / "refs/asked/head.lock").touch()
    elif way == "pack":
        for pack in (copy / "objects/pack").iterdir():
            pack.chmod(0o600)
            pack.write_bytes(b"x")
    else:
        (copy / "HEAD").unlink()
    commit(work, {"deployments.d/new.yaml": spec("new"), "deployments.d/web.yaml": ""})
    again = make(work)
    assert again.restore()
    assert names(again) == ["eu/db", "web"]
    assert pulled(again)
    assert names(again) == ["eu/db", "new"]
    assert again.state.unreachable is None
    assert not again.removed_by_commit("web") or way == "lock"


def test_a_disk_that_is_full(work: Path) -> None:
    """Where the state cannot be written the commit is not put in force, and is later."""
    checkout = make(work)
    pulled(checkout)
    commit(work, {"deployments.d/new.yaml": spec("new")})
    checkout.pull()
    state = checkout.home / "directory.json"
    kept = state.read_bytes()
    state.unlink()
    state.mkdir()
    assert not checkout.apply()
    assert names(checkout) == ["eu/db", "web"]
    state.rmdir()
    state.write_bytes(kept)
    assert checkout.apply()
    assert names(checkout) == ["eu/db", "new", "web"]


def test_limits_and_links(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads out is no spec, and too many files are not checked out."""
    (tmp_path / "outside.yaml").write_text(spec("outside"))
    (work / "deployments.d/out.yaml").symlink_to(tmp_path / "outside.yaml")
    commit(work, {})
    checkout = make(work)
    assert pulled(checkout)
    assert names(checkout) == ["eu/db", "web"]
    monkeypatch.setattr(checkout_module, "MOST_FILES", 3)
    commit(work, {"deployments.d/more.yaml": spec("more")})
    assert not pulled(checkout)
    assert "holds 4 files" in status_line(checkout.state)


def test_a_private_repository(work: Path, tmp_path: Path) -> None:
    """A credential opens it over http, and is in no file below the state directory."""
    with serve(work.parent) as server:
        server.credentials = f"x-access-token:{CANARY}"
        auth: GitAuth[Secret] = GitAuth(access_token=Secret(CANARY))
        url = f"{server.url}/infra/.git"
        home = tmp_path / "home"
        origin = Origin(
            url=url, branch="main", path="deployments.d",
            repository=lambda: Repository(url=url, auth=auth),
        )  # fmt: skip
        checkout = Checkout(origin, home, Git(home / "x"), SimClock(), judge)
        assert pulled(checkout)
        assert names(checkout) == ["eu/db", "web"]
        sent = server.sent
        checkout.pull()
        assert server.sent - sent < 2000
    for path in home.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_it_pulls_by_itself(work: Path) -> None:
    """New commits are found at the interval, or at once where a hint comes."""
    home = work.parents[1] / "home"
    repository = Repository(url=f"file://{work}")
    origin = Origin(
        url=repository.url, branch="main", path="deployments.d", repository=lambda: repository
    )
    told: list[str] = []
    often = Checkout(origin, home, Git(home / "x"), SystemClock(), judge)
    pulled(often)
    often.watch(timedelta(seconds=0.05), lambda: told.append("often"))
    commit(work, {"deployments.d/a.yaml": spec("a")})
    eventually(lambda: told == ["often"], "the interval")
    often.close()
    assert often.apply()
    seldom = Checkout(origin, home, Git(home / "x"), SystemClock(), judge)
    assert seldom.restore()
    seldom.watch(timedelta(hours=1), lambda: told.append("seldom"))
    commit(work, {"deployments.d/b.yaml": spec("b")})
    seldom.hint()
    eventually(lambda: told == ["often", "seldom"], "the hint")
    assert seldom.apply()
    assert names(seldom) == ["a", "b", "eu/db", "web"]
    seldom.close()
