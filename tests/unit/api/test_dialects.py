from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.dialects import (
    Dialect,
    created_from_json,
    deployment_from_json,
    deployment_to_json,
    list_from_json,
    list_to_json,
    log_lines_from_json,
    log_lines_to_json,
)
from reconciler.api.types import (
    UNSET_TIME,
    Created,
    Deployment,
    Ending,
    EndingKind,
    GitSource,
    Job,
    JobStatus,
    LogLine,
    Operation,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
    User,
)

STACK = StackRef("acme", "web", "dev")
MOMENT = datetime(2022, 10, 17, 22, 12, 34, 834000, tzinfo=UTC)
WHOLE = Deployment(
    id="d-1",
    version=2,
    status=JobStatus.FAILED,
    created=MOMENT,
    modified=MOMENT + timedelta(seconds=1),
    requested_by=User(name="Ada", github_login="ada", email="ada@example.com"),
    operation=Operation.UPDATE,
    stack=STACK,
    jobs=(
        Job(
            status=JobStatus.FAILED,
            started=MOMENT,
            last_updated=MOMENT,
            steps=(
                Step(
                    name="Get source",
                    status=StepStatus.FAILED,
                    started=MOMENT,
                    last_updated=MOMENT,
                ),
                Step(name="Pulumi operation"),
            ),
        ),
    ),
    latest_version=3,
    environment=(
        ShownVariable(name="REGION", value="eu"),
        ShownVariable(name="TOKEN", secret=True),
        ShownVariable(name="RECONCILER_RUN_me_r1_dddddddd", value="1"),
    ),
    source=GitSource(repo_url="https://example.com/r.git", branch="main", repo_dir="infra"),
    initiator="api",
    ending=Ending(kind=EndingKind.CANCELED, message="ada canceled it"),
)

moments = st.one_of(
    st.just(UNSET_TIME),
    st.datetimes(
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - the same
        timezones=st.just(UTC),
    ),
)
seconds = st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
steps = st.builds(
    Step,
    name=st.text(),
    status=st.sampled_from(StepStatus),
    started=moments,
    last_updated=moments,
)
jobs = st.builds(
    Job,
    status=st.sampled_from(JobStatus),
    started=moments,
    last_updated=moments,
    steps=st.lists(steps, max_size=3).map(tuple),
)
shown = st.one_of(
    st.builds(ShownVariable, name=st.text(), value=st.text()),
    st.builds(ShownVariable, name=st.text(), secret=st.just(value=True)),
)
deployments = st.builds(
    replace,
    st.just(WHOLE),
    id=st.text(min_size=1),
    version=st.integers(1, 2**40),
    status=st.sampled_from(JobStatus),
    created=seconds,
    modified=seconds,
    operation=st.one_of(st.none(), st.sampled_from(Operation)),
    jobs=st.lists(jobs, max_size=2).map(tuple),
    environment=st.lists(shown, max_size=3).map(tuple),
    ending=st.one_of(
        st.none(), st.builds(Ending, kind=st.sampled_from(EndingKind), message=st.text())
    ),
)


def over_the_wire(value: object) -> Any:
    return json.loads(json.dumps(value))


@given(deployments)
def test_a_deployment_comes_back_whole_in_todays_dialect(deployment: Deployment) -> None:
    """What a server writes of a deployment, a client reads."""
    body = over_the_wire(deployment_to_json(deployment, Dialect.TODAY))
    assert deployment_from_json(body, "acme") == deployment


@given(deployments)
def test_the_preview_dialect_leaves_out_what_it_has_no_words_for(deployment: Deployment) -> None:
    """Operation, stack, initiator and ending are today's; everything else comes back."""
    body = over_the_wire(deployment_to_json(deployment, Dialect.PREVIEW))
    without = replace(deployment, operation=None, stack=None, initiator="", ending=None)
    assert deployment_from_json(body, "acme") == without


def test_a_deployment_of_the_preview_dialect_key_by_key() -> None:
    """A GET has these keys and no others; a secret has no key `value`."""
    body = deployment_to_json(WHOLE, Dialect.PREVIEW)
    assert set(body) == {
        *("id", "created", "modified", "status", "version", "requestedBy"),
        *("jobs", "latestVersion", "configuration"),
    }
    assert body["created"] == "2022-10-17 22:12:34.834"
    assert body["requestedBy"] == {
        "name": "Ada",
        "githubLogin": "ada",
        "avatarUrl": "",
        "email": "ada@example.com",
    }
    assert body["configuration"] == {
        "environmentVariables": [
            {"name": "REGION", "value": "eu", "secret": False},
            {"name": "TOKEN", "secret": True},
            {"name": "RECONCILER_RUN_me_r1_dddddddd", "value": "1", "secret": False},
        ],
        "source": {
            "git": {
                "repoURL": "https://example.com/r.git",
                "branch": "main",
                "repoDir": "infra",
            }
        },
    }


def test_today_adds_the_operation_the_stack_and_why_it_ended() -> None:
    """What reads `failed` says in today's dialect that it was canceled."""
    body = deployment_to_json(WHOLE, Dialect.TODAY)
    assert body["pulumiOperation"] == "update"
    assert (body["projectName"], body["stackName"]) == ("web", "dev")
    assert body["ending"] == {"kind": "canceled", "message": "ada canceled it"}
    assert "ending" not in deployment_to_json(replace(WHOLE, ending=None), Dialect.TODAY)


def test_the_two_lists() -> None:
    """The preview dialect's is a bare array of summaries, today's has pages, jobs and stacks."""
    preview: Any = list_to_json([WHOLE], Dialect.PREVIEW, 10, 1)
    assert [set(item) for item in preview] == [
        {"id", "created", "modified", "status", "version", "requestedBy"}
    ]
    today: Any = list_to_json([WHOLE], Dialect.TODAY, 10, 25)
    assert (today["itemsPerPage"], today["total"]) == (10, 25)
    (from_preview,) = list_from_json(over_the_wire(preview))
    (from_today,) = list_from_json(over_the_wire(today), "acme")
    assert (from_preview.id, from_preview.version) == ("d-1", 2)
    assert from_today == replace(WHOLE, latest_version=0, environment=(), source=None)
    assert list_from_json([]) == list_from_json({"deployments": []}) == ()


def test_the_marker_is_a_variables_name() -> None:
    """Who asked for a deployment is told by the name of a variable, or by none."""
    assert WHOLE.marker == "RECONCILER_RUN_me_r1_dddddddd"
    assert replace(WHOLE, environment=WHOLE.environment[:2]).marker == ""


@pytest.mark.parametrize("key", ["repoURL", "repoUrl"])
def test_both_spellings_of_the_url_are_read(key: str) -> None:
    """Servers write either."""
    body: Any = over_the_wire(deployment_to_json(WHOLE, Dialect.TODAY))
    body["configuration"]["source"]["git"] = {key: "https://x/r", "commit": "abc"}
    source = deployment_from_json(body).source
    assert source is not None
    assert (source.repo_url, source.commit) == ("https://x/r", "abc")


def test_what_a_newer_server_says_is_read_as_far_as_it_is_known() -> None:
    """Unknown keys, operations and endings are no reason to fail; nulls are absent."""
    body: Any = over_the_wire(deployment_to_json(WHOLE, Dialect.TODAY))
    body |= {"new": 1, "pulumiOperation": "teleport", "ending": {"kind": "eaten"}}
    body |= {"jobs": None, "requestedBy": None, "latestVersion": None, "configuration": None}
    found = deployment_from_json(body)
    assert (found.operation, found.ending, found.jobs, found.source) == (None, None, (), None)
    assert found.stack is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": "eaten"},
        {"version": "1"},
        {"version": True},
        {"created": "soon"},
        {"jobs": {}},
        {"configuration": []},
        {"id": None, "version": None},
    ],
)
def test_an_answer_of_another_shape_is_none(change: dict[str, object]) -> None:
    """What cannot be understood raises one of the errors that the client knows."""
    body: Any = over_the_wire(deployment_to_json(WHOLE, Dialect.TODAY)) | change
    with pytest.raises((ValueError, TypeError, KeyError)):
        deployment_from_json(body)
    with pytest.raises((ValueError, TypeError, KeyError)):
        list_from_json({"deployments": [body]})


def test_the_answer_to_a_create() -> None:
    """An id is required; a server may leave the version and the console out."""
    assert created_from_json({"id": "x", "version": 4, "consoleUrl": "u"}) == Created(
        id="x", version=4, console_url="u"
    )
    assert created_from_json({"id": "x"}) == Created(id="x", version=0)
    with pytest.raises(KeyError):
        created_from_json({})


@given(
    st.lists(
        st.one_of(
            st.builds(LogLine, header=st.text(min_size=1)),
            st.builds(LogLine, line=st.text(), timestamp_ns=st.integers(0, 4 * 10**18)),
        )
    ).map(tuple)
)
def test_log_lines_come_back(lines: tuple[LogLine, ...]) -> None:
    """A log keeps its headers, line endings and nanoseconds."""
    assert log_lines_from_json(over_the_wire(log_lines_to_json(lines))) == lines


def test_a_header_has_the_unset_time_and_no_line() -> None:
    """Headers and lines have keys of their own."""
    lines = (LogLine(header="Get Source"), LogLine(line="a\r\n", timestamp_ns=1))
    assert log_lines_to_json(lines) == [
        {"header": "Get Source", "timestamp": "0001-01-01T00:00:00Z"},
        {"line": "a\r\n", "timestamp": "1970-01-01T00:00:00.000000001Z"},
    ]


def test_the_paths_of_a_stack() -> None:
    """Each dialect has its own path."""
    assert Dialect.PREVIEW.stack_path(STACK) == "/api/preview/acme/web/dev/deployments"
    assert Dialect.TODAY.stack_path(STACK) == "/api/stacks/acme/web/dev/deployments"
