"""Nobody gets in without a right to, by any route: those that come later, too.

The routes are the application's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from starlette.routing import Route

from reconciler.engine.http.app import OPERATIONS, build_app
from reconciler.engine.server import Engine
from reconciler.engine.service import Service
from tests.engine.harness import LIMIT_S, Api

pytestmark = pytest.mark.real

# What anybody may ask. A new one is written down here, with a reason.
PUBLIC = {
    "GET /healthz",  # load balancers have no token
    "GET /oidc/.well-known/openid-configuration",  # clouds check identity tokens by it
    "GET /oidc/.well-known/jwks",  # the same
}
# What changes something and is anybody's own.
OWN = {"POST /api/user/tokens", "DELETE /api/user/tokens/{token}"}


@dataclass(frozen=True)
class Known:
    """What is there in organization acme: a deployment, and somebody's token."""

    deployment: str
    token: str

    def fill(self, path: str, organization: str) -> str:
        """Return an address of a route, of things that are there in acme."""
        values = {
            "organization": organization,
            "project": "web",
            "stack": "guarded",
            "deployment": self.deployment,
            "version": "1",
            "token": self.token,
        }
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: values.get(m[1], "x"), path)


def routes() -> Iterator[tuple[str, str]]:
    for route in build_app(cast("Service", None)).routes:
        assert isinstance(route, Route), route
        for method in sorted(route.methods or ()):
            yield method, route.path


ALL = list(routes())
GUARDED = [r for r in ALL if " ".join(r).replace("HEAD ", "GET ") not in PUBLIC]
OF_AN_ORGANIZATION = [r for r in GUARDED if "{organization}" in r[1]]
CHANGING = [r for r in GUARDED if r[0] not in {"GET", "HEAD"} and " ".join(r) not in OWN]


@pytest.fixture(scope="module")
def known(admin: Api) -> Known:
    source = {"repoURL": "https://example.com/r.git", "branch": "main"}
    made = admin.post(admin.path("acme/web/guarded"), admin.body(source))
    assert made.status_code == 202, made.text
    token = admin.post("/api/user/tokens", {"description": "a canary"}).json()
    return Known(deployment=made.json()["id"], token=token["id"])


@pytest.fixture(scope="module")
def reader(make_token: Callable[..., str]) -> str:
    return make_token(role="read")


@pytest.fixture(scope="module")
def bad(engine: Engine, admin: Api, make_token: Callable[..., str]) -> list[str | None]:
    """Everything that a header can say which lets nobody in."""
    made = admin.post("/api/user/tokens", {"description": "revoked"}).json()
    revoked, good = made["tokenValue"], make_token(role="admin")
    assert Api(engine.url, revoked).get("/api/user")["id"] == "ann"
    url = f"{engine.url}/api/user/tokens/{made['id']}"
    assert admin.session.delete(url, timeout=LIMIT_S).status_code == 204
    assert ask(engine, "GET", "/api/user", f"token {good}").status_code == 200
    return [
        None,
        "",
        "token",
        "token ",
        good,
        f"Bearer {good}",
        f"Basic {good}",
        f"token {good}x",
        f"token {good[:-1]}",
        f"token {revoked}",
        f"token {make_token(expires=timedelta(0))}",
    ]


def ask(engine: Engine, method: str, path: str, authorization: str | None) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    body = {"operation": "update", "stackName": "x", "name": "x"}
    return requests.request(
        method, engine.url + path, headers=headers, data=json.dumps(body), timeout=LIMIT_S
    )


def told(answer: requests.Response) -> tuple[int, Any]:
    return answer.status_code, None if answer.request.method == "HEAD" else answer.json()


def test_what_is_public_is_written_down() -> None:
    """The routes that need no token are those of this module's list, and no other."""
    assert {f"{o.method} {o.path}" for o in OPERATIONS if o.public} == PUBLIC


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nobody_gets_in_without_a_good_token(
    engine: Engine, bad: list[str | None], known: Known, method: str, path: str
) -> None:
    """No token, another scheme, no token of ours, a revoked and an expired one: all alike."""
    address = known.fill(path, "acme")
    answers = [ask(engine, method, address, authorization) for authorization in bad]
    assert {str(told(answer)) for answer in answers} == {str(told(answers[0]))}
    assert answers[0].status_code == 401
    assert answers[0].headers["WWW-Authenticate"] == "token"


@pytest.mark.parametrize(("method", "path"), OF_AN_ORGANIZATION)
def test_what_others_have_is_as_what_nobody_has(
    engine: Engine, make_token: Callable[..., str], known: Known, method: str, path: str
) -> None:
    """An admin of another organization is told the same of what is there and of what is not."""
    stranger = f"token {make_token('other', 'admin')}"
    hidden = ask(engine, method, known.fill(path, "acme"), stranger)
    absent = ask(engine, method, known.fill(path, "nowhere"), stranger)
    assert told(hidden) == told(absent)
    assert hidden.status_code == 404
    assert hidden.headers.keys() == absent.headers.keys()
    if method != "HEAD":
        assert hidden.json() == {"code": 404, "message": "not found"}


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_a_reader_changes_nothing(
    engine: Engine, reader: str, known: Known, method: str, path: str
) -> None:
    """A token with role read is refused by every route that changes something."""
    answer = ask(engine, method, known.fill(path, "acme"), f"token {reader}")
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize(
    ("method", "path"), [(o.method, o.path) for o in OPERATIONS if o.role == "admin"]
)
def test_what_is_for_admins_is_for_nobody_else(
    engine: Engine, make_token: Callable[..., str], known: Known, method: str, path: str
) -> None:
    """What needs the role admin is refused to all other roles."""
    for role in ("read", "deploy"):
        token = make_token(role=role)
        answer = ask(engine, method, known.fill(path, "acme"), f"token {token}")
        assert answer.status_code == 403, role


def test_an_address_without_a_route_tells_nothing(engine: Engine, admin: Api) -> None:
    """Without a token an unknown address is 401, as a known one is."""
    for path in ("/", "/api/nothing", "/api/stacks/acme/web/guarded/nothing"):
        assert ask(engine, "GET", path, None).status_code == 401
        assert ask(engine, "GET", path, f"token {admin.token}").status_code == 404
    assert ask(engine, "PATCH", "/api/user", None).status_code == 401


def test_nothing_of_all_that_was_done(admin: Api, known: Known) -> None:
    """After all these calls the deployment is the only one, and the token is good."""
    listed = admin.speaking("today").get("/api/stacks/acme/web/guarded/deployments")
    assert [d["id"] for d in listed["deployments"]] == [known.deployment]
    assert known.token in [t["id"] for t in admin.get("/api/user/tokens")["tokens"]]
    assert listed["deployments"][0]["status"] == "not-started"


def test_a_revoked_token_ends_what_it_follows(engine: Engine, admin: Api, known: Known) -> None:
    """Who follows a log is out at the next question once the token is revoked."""
    made = admin.post("/api/user/tokens", {"description": "to be revoked"}).json()
    follower = Api(engine.url, made["tokenValue"])
    path = f"{follower.path('acme/web/guarded')}/{known.deployment}/logs"
    assert "nextToken" in follower.get(path)
    gone = admin.session.delete(f"{engine.url}/api/user/tokens/{made['id']}", timeout=LIMIT_S)
    assert gone.status_code == 204
    assert follower.refused(path)[0] == 401


def test_the_page_of_threats_names_tests_that_are_there() -> None:
    """Each test that docs/security.md names exists."""
    root = Path(__file__).resolve().parents[2]
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (root / "docs/security.md").read_text()))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (root / name).is_file()] == []
