"""The examples of the API's documentation, called with curl: each answer has the same shape."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.engine.server import Engine
from tests.engine.harness import Api, Gate, make_repository

pytestmark = pytest.mark.real

STACK = "my-org/aws-ts-s3/dev"

# The body of the documentation's create example, with its comma too many marked.
CREATE = """{
"sourceContext": {
"git": {
"repoURL": "https://github.com/pulumi/deploy-demos.git",
"branch": "refs/heads/demo",
"repoDir": "pulumi-programs/aws-ts-s3"
}
},
"operationContext": {
"operation": "update",
"preRunCommands": [
"echo \\"hello world\\""%s
],
"environmentVariables": {
"AWS_REGION": "us-west-2",
"AWS_ACCESS_KEY_ID": "$AWS_ACCESS_KEY_ID",
"AWS_SECRET_ACCESS_KEY": "$AWS_SECRET_ACCESS_KEY",
"AWS_SESSION_TOKEN": "$AWS_SESSION_TOKEN"
}
}
}"""

UNSET = "0001-01-01T00:00:00Z"
TEXT, NUMBER = "text", "number"
CREATED, MICRO, NANO = "created time", "microseconds", "nanoseconds"
USER = {"name": TEXT, "githubLogin": TEXT, "avatarUrl": TEXT, "email": TEXT}
SUMMARY = {
    "id": "uuid",
    "created": CREATED,
    "modified": CREATED,
    "status": TEXT,
    "version": NUMBER,
    "requestedBy": USER,
}
RUN_STEP = {"name": TEXT, "status": TEXT, "started": MICRO, "lastUpdated": MICRO}
UNSET_STEP = {"name": TEXT, "status": TEXT, "started": UNSET, "lastUpdated": UNSET}

FORMS = {
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    CREATED: r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}",
    MICRO: r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    NANO: r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z",
}


def shape(value: object) -> object:
    """Return a value with every text and number replaced by what kind it is of."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, str) and value != UNSET:
        return next((name for name, form in FORMS.items() if re.fullmatch(form, value)), TEXT)
    return NUMBER if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.fixture(scope="module")
def curl(engine: Engine, make_token: Callable[..., str]) -> Callable[..., tuple[int, Any]]:
    """Calls the engine as the documentation does, and returns status and body."""
    token = make_token("my-org")

    def call(method: str, path: str, *options: str) -> tuple[int, Any]:
        answer = subprocess.run(
            [
                *("curl", "-sS", f"-X{method}", "-H", "Content-Type: application/json"),
                *("-H", f"Authorization: token {token}", "-w", "\n%{http_code}"),
                *("--location", f"{engine.url}/api/preview/{path}"),
                *options,
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        body, _, status = answer.stdout.rpartition("\n")
        return int(status), json.loads(body) if body else None

    return call


@pytest.fixture(scope="module")
def held(
    engine: Engine,
    make_token: Callable[..., str],
    gate: Gate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A deployment of that stack that is in its first pre-run command, until the tests end."""
    repository = make_repository(tmp_path_factory.mktemp("seed"), project="aws-ts-s3")
    api = Api(engine.url, make_token("my-org"))
    command = f"seq 1 10; {gate.waits('seed')}; exit 1"
    variables = {"AWS_REGION": "us-west-2", "AWS_SECRET_ACCESS_KEY": "$AWS_SECRET_ACCESS_KEY"}
    made = api.create(STACK, repository, preRunCommands=[command], environmentVariables=variables)[
        "id"
    ]
    gate.begun("seed")
    yield made
    gate.open("seed")
    api.ended(STACK, made)


def test_create_with_the_comma_too_many(curl: Callable[..., tuple[int, Any]]) -> None:
    """The example letter for letter is no JSON: 400 says where, and what is too many."""
    status, body = curl("POST", f"{STACK}/deployments", "-d", CREATE % ",")
    assert status == 400
    assert body["code"] == 400
    assert "line 13, column 1" in body["message"]
    assert "comma" in body["message"]


@pytest.mark.usefixtures("held")
def test_create(curl: Callable[..., tuple[int, Any]]) -> None:
    """Without the comma it is accepted, queued behind what runs, and hides its credentials."""
    status, body = curl("POST", f"{STACK}/deployments", "-d", CREATE % "")
    assert status == 202
    assert shape(body) == {"id": "uuid", "version": NUMBER, "consoleUrl": TEXT}
    path = f"{STACK}/deployments/{body['id']}"
    found = curl("GET", path)[1]
    assert found["status"] == "not-started"
    shown = {v["name"]: v for v in found["configuration"]["environmentVariables"]}
    assert shown["AWS_REGION"] == {"name": "AWS_REGION", "value": "us-west-2", "secret": False}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert shown[name] == {"name": name, "secret": True}
    assert found["configuration"]["source"]["git"] == {
        "repoURL": "https://github.com/pulumi/deploy-demos.git",
        "branch": "refs/heads/demo",
        "repoDir": "pulumi-programs/aws-ts-s3",
    }
    assert curl("POST", f"{path}/cancel") == (200, None)


def test_get_by_id_and_by_version(curl: Callable[..., tuple[int, Any]], held: str) -> None:
    """A running deployment has exactly the fields of the example, each in its form."""
    status, body = curl("GET", f"{STACK}/deployments/{held}")
    assert status == 200
    steps = [RUN_STEP, RUN_STEP, RUN_STEP, RUN_STEP, UNSET_STEP]
    job = {"status": TEXT, "started": MICRO, "lastUpdated": MICRO, "steps": steps}
    configuration = body.pop("configuration")
    assert shape(body) == SUMMARY | {"jobs": [job], "latestVersion": NUMBER}
    assert [s["name"] for s in body["jobs"][0]["steps"]] == [
        "Download deployment executor",
        "Get source",
        "Download dependencies",
        "Pre-run command 1",
        "Pulumi operation",
    ]
    assert body["status"] == body["jobs"][0]["status"] == "running"
    assert body["requestedBy"]["githubLogin"] == "norm"
    shown = configuration["environmentVariables"]
    assert [(v["name"], v["secret"], "value" in v) for v in shown] == [
        ("AWS_REGION", False, True),
        ("AWS_SECRET_ACCESS_KEY", True, False),
        ("PULUMI_ACCESS_TOKEN", True, False),
        ("PULUMI_BACKEND_URL", False, True),
        ("PULUMI_CI_BUILD_ID", False, True),
        ("PULUMI_CI_BUILD_NUMBER", False, True),
        ("PULUMI_CI_SYSTEM", False, True),
    ]
    assert shape(configuration["source"]) == {"git": {"repoURL": TEXT, "branch": TEXT}}
    again = curl("GET", f"{STACK}/deployments/version/1")[1]
    assert again == body | {"configuration": configuration, "latestVersion": again["latestVersion"]}


def test_list(curl: Callable[..., tuple[int, Any]], held: str) -> None:
    """A list is an array of summaries with exactly six fields, the oldest first."""
    status, body = curl("GET", f"{STACK}/deployments?page=1&pageSize=5")
    assert status == 200
    assert shape(body) == [SUMMARY] * len(body)
    assert body[0]["id"] == held
    assert [d["version"] for d in body] == sorted(d["version"] for d in body)


def test_streaming_logs(curl: Callable[..., tuple[int, Any]], held: str) -> None:
    """Headers and lines in the example's forms, and a token that gives what follows."""
    status, body = curl("GET", f"{STACK}/deployments/{held}/logs")
    assert status == 200
    assert set(body) == {"lines", "nextToken"}
    header, line = {"header": TEXT, "timestamp": UNSET}, {"timestamp": NANO, "line": TEXT}
    assert shape(body["lines"][:2]) == [header, line]
    assert all(shape(entry) in (header, line) for entry in body["lines"])
    headers = [entry["header"] for entry in body["lines"] if "header" in entry]
    assert headers == [
        "Download deployment executor",
        "Get Source",
        "Download Dependencies",
        "Pre-run command 1",
    ]
    assert body["nextToken"] == "0.3.11"
    follow = curl("GET", f"{STACK}/deployments/{held}/logs?nextToken=0.3.4")[1]
    assert [entry["line"] for entry in follow["lines"]] == [f"{n}\n" for n in range(4, 11)]


def test_step_logs(curl: Callable[..., tuple[int, Any]], held: str) -> None:
    """The example's address, slash included: ten lines of a step and where to go on."""
    status, body = curl("GET", f"{STACK}/deployments/{held}/logs/?step=4&count=10&offset=0")
    assert status == 200
    assert body["nextOffset"] == 10
    assert shape(body["lines"]) == [{"timestamp": NANO, "line": TEXT}] * 10


@pytest.mark.usefixtures("held")
def test_cancel(curl: Callable[..., tuple[int, Any]]) -> None:
    """A cancel is 200 without a body, and 404 where there is nothing to cancel."""
    status, body = curl("POST", f"{STACK}/deployments", "-d", CREATE % "")
    assert status == 202
    path = f"{STACK}/deployments/{body['id']}/cancel"
    assert curl("POST", path) == (200, None)
    status, error = curl("POST", path)
    assert (status, shape(error)) == (404, {"code": NUMBER, "message": TEXT})


def test_no_token(engine: Engine) -> None:
    """Without a token every example is 401 and an error of the API's form."""
    answer = subprocess.run(
        ["curl", "-sS", f"{engine.url}/api/preview/{STACK}/deployments"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(answer.stdout)["code"] == 401


# The documentation's sources, each as it stands there.
PUBLIC = """{
"git": {
"repoURL": "https://github.com/pulumi/examples.git",
"branch": "refs/heads/master",
"repoDir": "aws-ts-s3-folder"%s
}
}"""
ACCESS_TOKEN = """,
"gitAuth": {
"accessToken": {
"secret": "myAccessToken"
}
}"""
SSH = """,
"gitAuth": {
"sshAuth": {
"privateKey": {
"secret": "myPrivateKey"
},
"password": {
"secret": "myPassword"
}
}
}"""
BASIC = """,
"gitAuth": {
"basicAuth": {
"userName": "myUserName",
"password": {
"secret": "myPassword"
}
}
}"""

# And its operations.
SIMPLE = """{
"preRunCommands": [
"go get sigs.k8s.io/kind@v0.16.0"
],
"operation": "update",
"environmentVariables": {
"AWS_REGION": "us-east-2",
"CUSTOM_VARIABLE": "foo",
"MY_PASSWORD": {
"secret": "my-secret-password"
}
}
}"""
POETRY = """{
"preRunCommands": [
"curl -sSL https://install.python-poetry.org | python3",
"poetry install"
],
"operation": "update",
"environmentVariables": {
"POETRY_HOME": "/usr/local"
},
"options": {
"skipInstallDependencies": true
}
}"""
NODE = """{
"preRunCommands": [
"node --version",
"curl -o- https://raw.githubusercontent.com/nvm-sh/nvm/v0.39.2/install.sh | bash",
". ~/.bashrc && nvm use 17 && yarn"
],
"operation": "update",
"environmentVariables": {
"NVM_DIR": "/usr/local/bin",
"NODE_VERSION": "17"
},
"options": {
"skipInstallDependencies": true
}
}"""
OIDC = """{
"operation": "refresh",
"environmentVariables": {
"AWS_REGION": "us-west-2"
},
"oidc": {
"aws": {
"roleArn": "arn:aws:iam::123456789000:role/pulumi-deploy-role",
"sessionName": "pulumi-deploy-session"
}
}
}"""
IMAGE = """{
"executorImage": "pulumi/pulumi-nodejs:latest"
}"""


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    "auth", ["", ACCESS_TOKEN, SSH, BASIC], ids=["public", "token", "ssh", "basic"]
)
def test_each_source(curl: Callable[..., tuple[int, Any]], auth: str) -> None:
    """A source with each way to get in is accepted and shown, but for what lets it in."""
    body = f'{{"sourceContext": {PUBLIC % auth}, "operationContext": {{"operation": "preview"}}}}'
    status, made = curl("POST", f"{STACK}/deployments", "-d", body)
    assert status == 202, made
    path = f"{STACK}/deployments/{made['id']}"
    found = curl("GET", path)[1]
    assert found["configuration"]["source"] == {
        "git": {
            "repoURL": "https://github.com/pulumi/examples.git",
            "branch": "refs/heads/master",
            "repoDir": "aws-ts-s3-folder",
        }
    }
    assert "my" not in json.dumps(found).replace("my-org", "")
    assert curl("POST", f"{path}/cancel") == (200, None)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize(
    ("context", "steps", "shown"),
    [
        (
            SIMPLE,
            ["Download dependencies", "Pre-run command 1"],
            {"AWS_REGION": "us-east-2", "CUSTOM_VARIABLE": "foo", "MY_PASSWORD": None},
        ),
        (
            POETRY,
            ["Pre-run command 1", "Pre-run command 2"],
            {"POETRY_HOME": "/usr/local"},
        ),
        (
            NODE,
            ["Pre-run command 1", "Pre-run command 2", "Pre-run command 3"],
            {"NVM_DIR": "/usr/local/bin", "NODE_VERSION": "17"},
        ),
    ],
    ids=["simple", "poetry", "node"],
)
def test_each_operation(
    curl: Callable[..., tuple[int, Any]],
    context: str,
    steps: list[str],
    shown: dict[str, str | None],
) -> None:
    """Each operation is accepted, with its steps, and shows what is no secret."""
    body = f'{{"sourceContext": {PUBLIC % ""}, "operationContext": {context}}}'
    status, made = curl("POST", f"{STACK}/deployments", "-d", body)
    assert status == 202, made
    path = f"{STACK}/deployments/{made['id']}"
    found = curl("GET", path)[1]
    assert [step["name"] for step in found["jobs"][0]["steps"]] == [
        "Download deployment executor",
        "Get source",
        *steps,
        "Pulumi operation",
    ]
    variables = {
        v["name"]: v.get("value")
        for v in found["configuration"]["environmentVariables"]
        if not v["name"].startswith("PULUMI_")
    }
    assert variables == shown
    assert curl("POST", f"{path}/cancel") == (200, None)


def test_oidc(curl: Callable[..., tuple[int, Any]]) -> None:
    """An engine that no cloud can reach says so, and what would let it give credentials."""
    body = f'{{"sourceContext": {PUBLIC % ""}, "operationContext": {OIDC}}}'
    status, error = curl("POST", f"{STACK}/deployments", "-d", body)
    assert status == 400
    assert error["message"].startswith("operationContext.oidc: ")


@pytest.mark.usefixtures("held")
def test_an_image(curl: Callable[..., tuple[int, Any]]) -> None:
    """An image is accepted where something runs it, else refused, naming both ways out."""
    context = '{"operation": "update"}'
    body = (
        f'{{"sourceContext": {PUBLIC % ""}, "operationContext": {context}, '
        f'"executorContext": {IMAGE}}}'
    )
    status, answer = curl("POST", f"{STACK}/deployments", "-d", body)
    if status == 202:
        assert curl("POST", f"{STACK}/deployments/{answer['id']}/cancel") == (200, None)
        return
    assert status == 400
    assert answer["message"].startswith("executorContext.executorImage: ")
    assert "podman" in answer["message"]
    assert "--images ignore" in answer["message"]
