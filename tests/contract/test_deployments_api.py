"""One suite for the model of the API in memory and for the real engine, in both dialects.

It is what keeps the model honest: the simulated world stands on it.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from reconciler.api.client import ApiClient
from reconciler.api.dialects import Dialect
from reconciler.api.types import (
    Deployment,
    DeploymentRequest,
    EndingKind,
    EnvironmentVariable,
    GitSource,
    JobStatus,
    LogLine,
    Secret,
    StackRef,
    StepStatus,
)
from reconciler.engine import tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import running
from reconciler.errors import RefusedError
from tests.fakes.deployments_api import TOKEN, FakeApi

STACK = StackRef("acme", "contract", "dev")
LIMIT_S = 60.0
MARKER = "RECONCILER_RUN_me_{}_dddddddd"


@dataclass
class Api:
    """An API under test, and how one waits in its world."""

    client: ApiClient
    url: str
    repository: str
    pass_time: Callable[[], None]
    session: Callable[[], requests.Session]
    # The step that a command which takes its time is in: the model knows no commands.
    waits_in: str

    def request(self, marker: str = "", *commands: str) -> DeploymentRequest[Secret]:
        variables: tuple[EnvironmentVariable[Secret], ...] = ()
        if marker:
            variables = (EnvironmentVariable(name=MARKER.format(marker), value="1"),)
        return DeploymentRequest(
            source=GitSource(repo_url=self.repository, branch="main"),
            pre_run_commands=commands,
            environment=variables,
            skip_install_dependencies=True,
        )

    def until(self, deployment_id: str, condition: Callable[[Deployment], bool]) -> Deployment:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            found = self.client.get(STACK, deployment_id)
            if found is not None and condition(found):
                return found
            self.pass_time()
        raise AssertionError(f"never came: {deployment_id}")

    def ended(self, deployment_id: str) -> Deployment:
        return self.until(deployment_id, lambda d: d.status.ended)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    (path / "Pulumi.yaml").write_text("name: contract\nruntime: yaml\n")
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=path, check=True)
    return path


def model(dialect: Dialect) -> Iterator[Api]:
    now = [datetime(2026, 3, 2, 12, tzinfo=UTC)]

    def session() -> requests.Session:
        made = requests.Session()
        made.mount("http://", fake)
        return made

    def pass_time() -> None:
        now[0] += timedelta(seconds=1)

    fake = FakeApi(now=lambda: now[0], duration=timedelta(seconds=5))
    client = ApiClient("http://localhost", lambda: Secret(TOKEN), dialect, session())
    yield Api(
        client,
        "http://localhost",
        "https://example.com/r.git",
        pass_time,
        session,
        "Pulumi operation",
    )


def engine(dialect: Dialect, repository: Path, data: Path) -> Iterator[Api]:
    wait = threading.Event()
    with running(EngineConfig(data=data, port=0, local_repositories=True)) as served:
        token = tokens.create(
            data, organization="acme", user="ada", email="", role="deploy", expires=None
        )
        client = ApiClient(served.url, lambda: Secret(token), dialect)
        url = f"file://{repository}"

        def pass_time() -> None:
            wait.wait(0.02)

        yield Api(client, served.url, url, pass_time, requests.Session, "Pre-run command 1")


def cases(*dialects: Dialect) -> list[object]:
    """Return the APIs under test, as parameters of `api`."""
    return [
        pytest.param((kind, dialect), id=f"{kind}-{dialect}", marks=marks)
        for kind, marks in (("model", ()), ("engine", (pytest.mark.real,)))
        for dialect in dialects
    ]


@pytest.fixture(params=cases(*Dialect))
def api(request: pytest.FixtureRequest, repository: Path, tmp_path: Path) -> Iterator[Api]:
    kind, dialect = request.param
    yield from model(dialect) if kind == "model" else engine(dialect, repository, tmp_path / "d")


def test_the_life_of_deployments(api: Api) -> None:
    """Versions count per stack, one runs after the other, and all ways to ask agree."""
    assert api.client.latest_version(STACK) == 0
    made = [api.client.create(STACK, api.request(str(i))) for i in range(3)]
    assert [m.version for m in made] == [1, 2, 3]
    assert made[1].console_url.endswith(f"/{STACK}/deployments/2")
    ended = [api.ended(m.id) for m in made]
    assert [d.status for d in ended] == [JobStatus.SUCCEEDED] * 3
    starts = [
        min(s.started for s in d.steps if s.status is not StepStatus.NOT_STARTED) for d in ended
    ]
    ends = [max(s.last_updated for s in d.steps) for d in ended]
    assert starts[1] >= ends[0]
    assert starts[2] >= ends[1]
    assert api.client.by_version(STACK, 2) == api.client.get(STACK, made[1].id)
    assert api.client.by_version(STACK, 4) is None
    assert api.client.by_version(STACK, 0) is None
    assert api.client.get(StackRef("acme", "contract", "other"), made[0].id) is None
    assert api.client.get(STACK, "00000000-0000-0000-0000-000000000000") is None
    assert api.client.latest_version(STACK) == 3
    assert ended[0].latest_version == 3
    assert ended[0].marker == MARKER.format(0)
    assert ended[0].steps[-1].name == "Pulumi operation"


def test_a_known_marker_is_answered_with_the_first(api: Api) -> None:
    """A create that comes twice makes one deployment."""
    first = api.client.create(STACK, api.request("same"))
    again = api.client.create(STACK, api.request("same"))
    assert (first.id, first.version) == (again.id, again.version)
    api.ended(first.id)
    assert api.client.create(STACK, api.request("same")).id == first.id
    assert api.client.latest_version(STACK) == 1
    other = StackRef("acme", "contract", "other")
    assert api.client.create(other, api.request("same")).id != first.id


@pytest.mark.parametrize("api", cases(Dialect.TODAY), indirect=True)
def test_the_organization_is_listed_newest_first(api: Api) -> None:
    """Today's dialect lists all stacks of an organization, page by page."""
    other = StackRef("acme", "contract", "other")
    ids = [api.client.create(stack, api.request()).id for stack in (STACK, other, STACK)]
    pages = [api.client.list_organization("acme", page, 2) for page in (1, 2, 3)]
    assert [d.id for page in pages for d in page] == ids[::-1]
    assert pages[0][1].stack == other
    assert api.client.latest_version(STACK) == 2
    for page, size in ((0, 10), (1, 0), (1, 101)):
        with pytest.raises(RefusedError) as refused:
            api.client.list_organization("acme", page, size)
        assert refused.value.status == 400


def test_cancel(api: Api) -> None:
    """A queued and a running deployment can be cancelled, an ended one cannot."""
    running_one = api.client.create(STACK, api.request("a", "sleep 600"))
    queued = api.client.create(STACK, api.request("b"))
    api.until(running_one.id, lambda d: d.status is JobStatus.RUNNING)
    assert api.client.cancel(STACK, queued.id)
    withdrawn = api.client.get(STACK, queued.id)
    assert withdrawn is not None
    assert withdrawn.status is JobStatus.FAILED
    assert {s.status for s in withdrawn.steps} == {StepStatus.NOT_STARTED}
    log = api.client.logs(STACK, queued.id)
    assert (log.lines, log.next_token) == ((), "")
    assert api.client.cancel(STACK, running_one.id)
    for deployment_id in (running_one.id, queued.id):
        found = api.ended(deployment_id)
        assert found.status is JobStatus.FAILED
        if api.client.dialect is Dialect.TODAY:
            assert found.ending is not None
            assert found.ending.kind is EndingKind.CANCELED
        assert not api.client.cancel(STACK, deployment_id)
    assert not api.client.cancel(STACK, "00000000-0000-0000-0000-000000000000")


def test_logs(api: Api) -> None:
    """The log is told to its end, as a whole and step by step."""
    made = api.client.create(STACK, api.request())
    token = ""
    lines: list[LogLine] = []
    for _ in range(3000):
        page = api.client.logs(STACK, made.id, token)
        lines += page.lines
        token = page.next_token
        if not token:
            break
        if not page.lines:
            api.pass_time()
    assert not token, "the log has no end"
    found = api.ended(made.id)
    assert any(line.line for line in lines)
    source = next(i for i, s in enumerate(found.steps) if s.name == "Get source")
    step = api.client.step_logs(STACK, made.id, source, 0)
    assert step.lines
    assert step.next_offset is None
    assert api.client.step_logs(STACK, made.id, source, len(step.lines)).lines == ()


def test_a_log_with_nothing_new_gives_the_same_token(api: Api) -> None:
    """While it runs and says nothing, whoever follows gets no lines, and the token they had."""
    made = api.client.create(STACK, api.request("", "sleep 600"))

    def waits(found: Deployment) -> bool:
        return any(s.name == api.waits_in and s.status is StepStatus.RUNNING for s in found.steps)

    step = next(i for i, s in enumerate(api.until(made.id, waits).steps) if s.name == api.waits_in)
    first = api.client.logs(STACK, made.id)
    assert [line.header for line in first.lines if line.header][-1] == api.waits_in
    assert "Get Source" in {line.header for line in first.lines}
    again = api.client.logs(STACK, made.id, first.next_token)
    assert (again.lines, again.next_token) == ((), first.next_token)
    page = api.client.step_logs(STACK, made.id, step, 0)
    assert page.next_offset == len(page.lines)
    assert not any(line.header for line in page.lines)
    assert api.client.cancel(STACK, made.id)
    api.ended(made.id)
    assert api.client.logs(STACK, made.id, first.next_token).next_token == ""


def test_logs_that_are_none(api: Api) -> None:
    """A token that was never given and no step are mistakes; a step may not be there."""
    made = api.client.create(STACK, api.request())
    api.ended(made.id)
    asked: list[tuple[int, Callable[[], object]]] = [
        (400, lambda: api.client.logs(STACK, made.id, "x")),
        (400, lambda: api.client.step_logs(STACK, made.id, -1, 0)),
        (404, lambda: api.client.step_logs(STACK, made.id, 9, 0)),
    ]
    for status, ask in asked:
        with pytest.raises(RefusedError) as refused:
            ask()
        assert refused.value.status == status
    unknown = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(RefusedError) as refused:
        api.client.logs(STACK, unknown)
    assert refused.value.status == 404


def test_refusals(api: Api) -> None:
    """A bad request is a 400 that names the field, a wrong token a 401."""
    nowhere: DeploymentRequest[Secret] = DeploymentRequest(
        source=GitSource(repo_url=api.repository)
    )
    with pytest.raises(RefusedError, match=r"sourceContext\.git: .*branch") as refused:
        api.client.create(STACK, nowhere)
    assert refused.value.status == 400
    stranger = ApiClient(api.url, lambda: Secret("wrong"), api.client.dialect, api.session())
    with pytest.raises(RefusedError) as refused:
        stranger.get(STACK, "x")
    assert refused.value.status == 401
