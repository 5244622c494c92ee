"""What a spec leaves open, looked up in real repositories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretReader, SecretRules
from reconciler.adapters.git_process import Git
from reconciler.adapters.gitchanges import GitChanges
from reconciler.adapters.gitrefs import GitRefs, Helpers
from reconciler.api.types import (
    DeploymentRequest,
    EnvironmentVariable,
    GitAuth,
    GitSource,
    Operation,
    StackRef,
)
from reconciler.git.urls import OwnRepository
from reconciler.model import ReasonCode, SecretReference, Spec
from reconciler.resolver import Resolver
from tests.fakes.git_server import GitServer, git, make_repository, serve
from tests.fakes.world import SimClock

pytestmark = pytest.mark.real

TOKEN = SecretReference("fromEnv", "RECONCILER_SECRET_TOKEN")
CANARY = "hunter2-canary"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "infra"
    make_repository(path)
    git(path, "config", "uploadpack.allowFilter", "true")
    return path


@pytest.fixture
def server(work: Path) -> Iterator[GitServer]:
    with serve(work.parent) as served:
        yield served


def make(tmp_path: Path, own: OwnRepository | None = None, secret: str = CANARY) -> Resolver:
    clock = SimClock()
    caller = Git(tmp_path / "known_hosts")
    changes = GitChanges(caller, tmp_path / "sources", lambda: b"k")
    refs = GitRefs(Helpers(git=caller, fingerprints=changes, clock=clock, jitter=lambda: 0.0))
    reader = SecretReader(SecretRules(), {TOKEN.name: secret} if secret else {}, clock)
    return Resolver(refs, reader, b"k" * 32, own)


def spec(
    url: str, path: Path = Path("/specs/web.yaml"), *, branch: str = "", tag: str = ""
) -> Spec:
    asked: GitSource[SecretReference] = GitSource(repo_url=url, branch=branch, tag=tag)
    return Spec(
        name="web",
        path=path,
        stack=StackRef("acme", "web", "prod"),
        request=DeploymentRequest(source=asked),
    )


def test_what_is_sent_is_pinned(tmp_path: Path, work: Path) -> None:
    """The commit that was found is asked for; without `pin` the branch or tag, by its name."""
    resolver = make(tmp_path)
    url = f"file://{work}"
    commit = git(work, "rev-parse", "HEAD")
    following = spec(url, branch="main")
    desired = resolver.desired(following)
    assert (desired.commit, desired.source, desired.blocked) == (commit, commit, None)
    sent = resolver.request(following, Operation.UPDATE, commit, "MARK").source
    assert (sent.commit, sent.branch) == (commit, "")
    sent = resolver.request(replace(following, pin=False), Operation.UPDATE, commit, "MARK").source
    assert (sent.commit, sent.branch) == ("", "main")
    shown = replace(following, pin=False, needs_approval=True)
    sent = resolver.request(shown, Operation.UPDATE, commit, "MARK").source
    assert (sent.commit, sent.branch) == (commit, ""), "a person approves what was shown"
    # What is checked out there has no name to ask for.
    here = replace(spec("."), path=work / "web.yaml", pin=False)
    sent = resolver.request(here, Operation.UPDATE, commit, "MARK").source
    assert (sent.commit, sent.branch, sent.repo_url) == (commit, "", url)


def test_a_dry_run_wants_a_preview(tmp_path: Path, work: Path) -> None:
    """What only looks is other than what is meant: without `dryRun` the update is still to come."""
    resolver = make(tmp_path)
    whole = spec(str(work))
    looking = replace(whole, dry_run=True)
    resolver.expect((looking,))
    assert resolver.desired(looking).fields["operation"] == "preview"
    assert resolver.desired(whole).fields["operation"] == "update"
    assert resolver.desired(looking).digest != resolver.desired(whole).digest


def test_slow_secrets_of_several_specs_are_asked_together(tmp_path: Path) -> None:
    """Two commands of two specs, each of which waits for the other, both tell their secret."""
    meet = "touch {0}/{1}; while [ ! -e {0}/{2} ]; do sleep 0.01; done; echo {1}"
    argv = {
        name: ("/bin/sh", "-c", meet.format(tmp_path, name, other))
        for name, other in (("a", "b"), ("b", "a"))
    }
    clock = SimClock()
    caller = Git(tmp_path / "known_hosts")
    changes = GitChanges(caller, tmp_path / "sources", lambda: b"k")
    refs = GitRefs(Helpers(git=caller, fingerprints=changes, clock=clock, jitter=lambda: 0.0))
    secrets = SecretReader(SecretRules(commands=argv), {"PATH": os.environ["PATH"]}, clock)
    resolver = Resolver(refs, secrets, b"k" * 32)
    specs = []
    for name in argv:
        of = SecretReference("fromCommand", name)
        source: GitSource[SecretReference] = GitSource(
            repo_url="https://x.invalid", commit="a" * 40
        )
        variable: EnvironmentVariable[SecretReference] = EnvironmentVariable(name="X", value=of)
        request = DeploymentRequest(source=source, environment=(variable,))
        specs.append(replace(spec("."), name=name, request=request))
    resolver.expect(specs)
    assert [resolver.desired(each).blocked for each in specs] == [None, None]
    for name in argv:
        (tmp_path / name).unlink()
    resolver.prepare(specs)
    assert not any((tmp_path / name).exists() for name in argv), "they are known for a while"
    clock.time += timedelta(minutes=5)
    resolver.prepare(specs)
    assert [resolver.desired(each).blocked for each in specs] == [None, None]


def test_paths_that_count(tmp_path: Path, work: Path) -> None:
    """With `sourcePaths` a commit elsewhere changes the commit, and not what counts as a change."""
    resolver = make(tmp_path)
    some = replace(spec(f"file://{work}", branch="main"), source_paths=("web/**",))
    first = resolver.desired(some)
    git(work, "commit", "--quiet", "--allow-empty", "--message", "new")
    second = make(tmp_path).desired(some)
    assert second.commit != first.commit
    assert second.source == first.source != first.commit


def test_the_own_repository(tmp_path: Path, work: Path) -> None:
    """A path to the root of the specs' own checkout is its repository; any other is a path."""
    root = tmp_path / "current"
    (root / "deployments.d").mkdir(parents=True)
    own = OwnRepository(root=root, url=f"file://{work}", branch="main")
    resolver = make(tmp_path, own)
    commit = git(work, "rev-parse", "HEAD")
    here = spec("..", root / "deployments.d/web.yaml")
    assert resolver.desired(here).commit == commit
    sent = resolver.request(here, Operation.UPDATE, commit, "MARK").source
    assert (sent.repo_url, sent.commit) == (own.url, commit)
    git(work, "tag", "v1", "HEAD~1")
    tagged = spec("..", root / "deployments.d/web.yaml", tag="v1")
    assert resolver.desired(tagged).commit == git(work, "rev-parse", "v1")
    other = resolver.desired(spec("../other", root / "deployments.d/web.yaml"))
    assert other.blocked is not None
    assert f"file://{root}/other cannot be asked" in other.blocked.message


def test_credentials_are_looked_up(tmp_path: Path, server: GitServer, work: Path) -> None:
    """`gitAuth` opens a private repository; where its secret is missing, that is what is told."""
    server.credentials = f"x-access-token:{CANARY}"
    closed = spec(f"{server.url}/infra/.git", branch="main")
    source = replace(closed.request.source, auth=GitAuth(access_token=TOKEN))
    private = replace(closed, request=replace(closed.request, source=source))
    resolver = make(tmp_path)
    resolver.expect([private])
    assert resolver.desired(private).commit == git(work, "rev-parse", "HEAD")
    refused = make(tmp_path).desired(closed).blocked
    assert refused is not None
    assert refused.code is ReasonCode.SOURCE_UNAVAILABLE
    without = make(tmp_path, secret="")
    without.expect([private])
    missing = without.desired(private).blocked
    assert missing is not None
    assert missing.code is ReasonCode.SECRET_UNAVAILABLE
    wrong = make(tmp_path, secret="wrong-canary").desired(private).blocked
    assert wrong is not None
    assert "Authentication failed" in wrong.message
    assert "wrong-canary" not in wrong.message
