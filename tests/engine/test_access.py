"""Who gets in, and what the others are told: nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from reconciler.engine import tokens
from reconciler.engine.server import Engine
from tests.engine.harness import LIMIT_S, Api

pytestmark = pytest.mark.real

ABSENT = "9e5e1331-a018-4845-8714-1598ba8dc52e"
ROUTES = [
    (method, prefix + rest)
    for prefix in (
        "/api/preview/acme/web/guarded/deployments",
        "/api/stacks/acme/web/guarded/deployments",
    )
    for method, rest in (
        ("POST", ""),
        ("GET", ""),
        ("GET", f"/{ABSENT}"),
        ("GET", "/version/1"),
        ("GET", f"/{ABSENT}/logs"),
        ("GET", f"/{ABSENT}/logs/?step=1"),
        ("POST", f"/{ABSENT}/cancel"),
    )
] + [
    ("GET", "/api/orgs/acme/deployments"),
    ("GET", "/api/stacks/acme/web/guarded"),
    ("POST", "/api/stacks/acme/web"),
    *(
        (method, "/api/stacks/acme/web/guarded/deployments/settings")
        for method in ("GET", "PUT", "POST", "DELETE")
    ),
    ("POST", "/api/stacks/acme/web/guarded/deployments/settings/encrypt"),
    ("GET", "/api/openapi/pulumi-spec.json"),
    ("GET", "/api/user"),
    ("GET", "/api/user/organizations/default"),
    ("GET", "/api/capabilities"),
    ("GET", "/api/cli/version"),
]


def ask(engine: Engine, method: str, path: str, authorization: str | None) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return requests.request(method, engine.url + path, headers=headers, data="{}", timeout=LIMIT_S)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_a_valid_token(
    engine: Engine, make_token: Callable[..., str], method: str, path: str
) -> None:
    """A missing, malformed, unknown or expired token, or another scheme, is 401 everywhere."""
    good = make_token()
    expired = tokens.create(
        engine.layout.data,
        organization="acme",
        user="u",
        email="",
        role="admin",
        expires=timedelta(0),
    )
    wrong = (
        None,
        "",
        "token",
        "token ",
        f"Bearer {good}",
        good,
        f"token {good}x",
        f"token {expired}",
    )
    for authorization in wrong:
        answer = ask(engine, method, path, authorization)
        assert answer.status_code == 401, authorization
        assert answer.json()["code"] == 401
        assert good not in answer.text
    assert ask(engine, method, path, f"token {good}").status_code != 401


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if "acme" in r[1]])
def test_another_organization_does_not_exist(
    engine: Engine, make_token: Callable[..., str], method: str, path: str
) -> None:
    """What another organization has answers 404, as what nobody has."""
    body = '{"stackName": "x"}' if path == "/api/stacks/acme/web" else None
    token = make_token("other")
    headers = {"Authorization": f"token {token}"}
    data = body or json.dumps(
        {
            "operation": "update" if "stacks" in path else None,
            "sourceContext": {"git": {"repoURL": "https://example.com/r", "branch": "x"}},
            "operationContext": {} if "stacks" in path else {"operation": "update"},
        }
    )
    answer = requests.request(
        method, engine.url + path, headers=headers, data=data, timeout=LIMIT_S
    )
    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "message": "not found"}


def test_a_reader_changes_nothing(
    engine: Engine, api: Api, make_token: Callable[..., str], stack: str, repository: Path
) -> None:
    """A token with role read sees everything of its organization and is refused the rest."""
    made = api.create(stack, repository, operation="preview")["id"]
    reader = Api(engine.url, make_token(role="read"))
    assert reader.deployment(stack, made)["id"] == made
    body = reader.body({"repoURL": f"file://{repository}", "branch": "main"})
    for answer in (
        reader.post(reader.path(stack), body),
        reader.post(f"{reader.path(stack)}/{made}/cancel"),
        reader.post("/api/stacks/acme/web", {"stackName": "x"}),
    ):
        assert answer.status_code == 403
    api.ended(stack, made)


def test_what_does_not_exist(engine: Engine, api: Api) -> None:
    """Unknown addresses and wrong methods have errors of the same form."""
    assert api.refused("/api/nothing")[0] == 404
    assert api.refused("/api/preview/acme/-web/x/deployments")[0] == 404
    assert api.refused("/api/preview/acme/web/%2e%2e/deployments")[0] == 404
    assert api.post("/healthz").status_code == 405
    assert api.post("/healthz").json()["code"] == 405
    assert requests.get(engine.url + "/healthz", timeout=LIMIT_S).status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sourceContext": None}, "sourceContext.git.repoUrl: is required"),
        ({"operationContext": {"operation": "explode"}}, "operationContext.operation: 'explode'"),
        ({"operationContext": {}}, "operationContext.operation: is required"),
        ({"operationContext": [1]}, "operationContext: is a list"),
        ({"executorContext": {"executorImage": "--privileged"}}, "executorContext.executorImage"),
        (
            {"operationContext": {"operation": "update", "oidc": {"aws": {"roleArn": "x"}}}},
            "operationContext.oidc",
        ),
    ],
)
def test_refusals_name_the_field(
    api: Api, stack: str, change: dict[str, object], words: str
) -> None:
    """A create that cannot be is 400 with the field's path, and nothing is queued."""
    body: dict[str, object] = {
        "sourceContext": {"git": {"repoURL": "https://example.com/r.git", "branch": "main"}},
        "operationContext": {"operation": "update"},
    }
    answer = api.post(api.path(stack), body | change)
    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert api.get(api.path(stack)) == []


def test_two_ways_in_are_one_too_many(api: Api, stack: str) -> None:
    """Two kinds of git credentials are 400, and the answer shows neither."""
    auth = {
        "accessToken": {"secret": "canary-1"},
        "basicAuth": {"userName": "a", "password": {"secret": "canary-2"}},
    }
    source = {"repoURL": "https://example.com/r.git", "branch": "main", "gitAuth": auth}
    answer = api.post(api.path(stack), api.body(source))
    assert answer.status_code == 400
    assert "gitAuth" in answer.json()["message"]
    assert "canary" not in answer.text


def test_bodies_have_limits(api: Api, stack: str) -> None:
    """Too large is 413, too deep and no JSON 400; the engine goes on."""
    url = api.url + api.path(stack)
    for data, status in (
        (b"x" * (4 * 1024 * 1024 + 1), 413),
        (b'{"a":' * 100_000, 400),
        (b"[" * 1000 + b"]" * 1000, 400),
        (b"nonsense", 400),
        (b"[]", 400),
    ):
        answer = api.session.post(url, data=data, timeout=LIMIT_S)
        assert answer.status_code == status
        assert answer.json()["code"] == status


def test_the_cli_s_own_body_is_taken(api: Api, stack: str, repository: Path) -> None:
    """A packed body with an empty inner operation and a null pool, as the CLI sends it."""
    body = {
        "operation": "preview",
        "inheritSettings": True,
        "executorContext": {"workingDirectory": ""},
        "sourceContext": {
            "git": {"repoUrl": f"file://{repository}", "branch": "main", "repoDir": "."}
        },
        "operationContext": {
            "preRunCommands": [],
            "operation": "",
            "environmentVariables": {"A": "b", "S": {"secret": "canary"}},
        },
        "agentPoolID": None,
    }
    today = api.speaking("today")
    answer = today.session.post(
        today.url + today.path(stack),
        data=gzip.compress(json.dumps(body).encode()),
        headers={"Content-Encoding": "gzip", "X-Pulumi-Deployment-Initiator": "automation-api"},
        timeout=LIMIT_S,
    )
    assert answer.status_code == 202
    ended = api.ended(stack, answer.json()["id"])
    assert ended["status"] == "succeeded"
    assert ended["initiator"] == "automation-api"


def test_a_method_that_is_not_served_names_those_that_are(api: Api) -> None:
    """405 says in Allow which methods the address has, over all of its routes."""
    path = f"{api.url}/api/stacks/acme/web/dev/deployments"
    answer = api.session.delete(path, timeout=LIMIT_S)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert answer.json() == {"code": 405, "message": "this address is for GET and HEAD and POST"}
