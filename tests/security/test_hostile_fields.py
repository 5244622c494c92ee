"""What stands in a field is data: it leads to no file outside, and no shell runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from starlette.routing import Route

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import read_file
from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.http.app import build_app
from reconciler.engine.service import Service
from reconciler.engine.tokens import Caller, Role
from reconciler.model import Spec
from tests.engine.harness import PROGRAM, Api, Gate, commit_all, git, make_repository
from tests.postgres_server import PostgresServer

CLIMBING = (
    "..",
    "../",
    "../..",
    "../../../../etc",
    "/etc",
    "//etc",
    "a/../../b",
    "a/../b",
    "./../a",
    "a/..",
    "..\\",
    "a\\..\\..\\b",
    "\\etc",
    "\x00",
    "a\x00/../b",
    "%2e%2e",
    "%2E%2E/a",
    "%2e./a",
    "a%2f..%2f..%2fb",
    "..%5ca",
    "%2fetc",
    "a/" * 2500,
    "a" * 5000,
    "\uff0e\uff0e",
    "\uff0e\uff0e/a",
    ".\uff0e/a",
    "\u2024\u2024/a",
    "~",
    "~root",
    "-C",
    ".git",
    "a/.GIT/hooks",
)


@pytest.mark.parametrize("dialect", ["preview", "today"])
def test_no_path_climbs_out_over_the_api(admin: Api, dialect: str) -> None:
    """A repoDir that leads out of the repository, however it is written, is 400 and says where."""
    api = admin.speaking(dialect)
    for number, path in enumerate(CLIMBING):
        stack = f"acme/web/{dialect}{number}"
        source = {"repoURL": "https://example.com/r.git", "branch": "main", "repoDir": path}
        answer = api.post(api.path(stack), api.body(source))
        assert answer.status_code == 400, path[:40]
        assert "sourceContext.git.repoDir" in answer.json()["message"]
        assert "root:" not in answer.text
        assert len(answer.text) < 1000
        assert admin.session.get(f"{admin.url}/api/stacks/{stack}", timeout=60).status_code == 404


def test_no_path_climbs_out_in_a_spec(tmp_path: Path) -> None:
    """The same in a spec is a mistake with its place, and the spec is none."""
    for path in CLIMBING:
        source = {"repoUrl": "https://example.com/r.git", "branch": "main", "repoDir": path}
        spec = tmp_path / "web.yaml"
        spec.write_text(json.dumps({"stack": "acme/web/prod", "sourceContext": {"git": source}}))
        found = read_file(spec, tmp_path, SecretRules())
        assert not isinstance(found, Spec), path[:40]
        told = "\n".join(map(str, found))
        assert "repoDir" in told, told[:300]
        assert "root:" not in told


def test_a_hostile_name_of_a_stack_is_nobody_s(admin: Api) -> None:
    """An organization, project or stack that is no name is not there, and makes no directory."""
    for name in ("%252e%252e", "a%2fb", "%00", "$(touch%20M)", "-rf", "%ef%bc%8e"):
        for path in (f"{name}/web/prod", f"acme/{name}/prod", f"acme/web/{name}"):
            answer = admin.post(f"/api/stacks/{path}/deployments", {})
            assert answer.status_code == 404, path


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[tuple[Api, str]]:
    """An administrator of an engine on PostgreSQL, and a deployment of acme/web/dev."""
    data = tmp_path_factory.mktemp("shared")
    url = DatabaseUrl.parse(postgres.make_database(), may_hold_password=True)
    config = EngineConfig(data=data, port=0, workers=0, database=url)
    with server.running(config) as engine:
        ann = Caller(organization="acme", user="ann", email="", role=Role.ADMIN)
        api = Api(engine.url, engine.tokens.create(ann, None))
        source = {"repoURL": "https://example.com/r.git", "branch": "main"}
        made = api.post(api.path("acme/web/dev"), api.body(source))
        yield api, made.json()["id"]


def test_a_name_with_a_nul_is_nobody_s(shared: tuple[Api, str]) -> None:
    """Also where the database takes no such text, it is not there, and no fault of the engine."""
    api, _ = shared
    for route in build_app(cast("Service", None)).routes:
        assert isinstance(route, Route), route
        names = {"organization": "acme", "project": "web", "stack": "dev"}
        path = re.sub(r"\{(\w+)\}", lambda m: names.get(m[1], "%00x"), route.path)  # noqa: B023
        for method in sorted(route.methods or ()) if "%00" in path else ():
            answer = api.session.request(method, api.url + path, json={}, timeout=60)
            assert answer.status_code == 404, (method, path, answer.text)
    assert api.refused(f"{api.path('acme/web/dev')}/x%3F%00")[0] == 404
    for query in ("organization", "project", "continuationToken"):
        answer = api.session.get(f"{api.url}/api/user/stacks?{query}=%00/a/b", timeout=60)
        assert answer.status_code in {200, 400}, answer.text
        assert answer.json().get("stacks", []) == []


def test_a_number_of_any_length_is_a_number_or_a_mistake(shared: tuple[Api, str]) -> None:
    """Digits beyond all bounds are refused, wherever in them the large ones stand."""
    api, deployment = shared
    path = api.path("acme/web/dev")
    for digits in ("9" * 30, "0" * 19 + "1" + "9" * 30, "0" * 19 + "1" * 5000):
        assert api.refused(f"{path}/version/{digits}")[0] == 404
        for name in ("offset", "count", "step"):
            query = {"step": "1", name: digits}
            assert api.refused(f"{path}/{deployment}/logs", **query)[0] == 400
        assert api.refused(path, page=digits)[0] == 400


# ---------------------------------------------------------------- data is run by no shell


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Api]:
    """A caller, whose own name is hostile, of an engine that deploys."""
    config = EngineConfig(
        data=tmp_path_factory.mktemp("deploying"),
        port=0,
        workers=2,
        local_repositories=True,
        allow_write=(gate.directory,),
    )
    with server.running(config) as engine:
        token = tokens.create(
            engine.layout.data,
            organization="acme",
            user=attacks(gate)[0],
            email=attacks(gate)[1],
            role="deploy",
            expires=None,
        )
        yield Api(engine.url, token)


def attacks(gate: Gate) -> tuple[str, ...]:
    """Return what makes the marker where a shell reads it, without a space."""
    touch = f"touch${{IFS}}{gate.directory}/M"
    return (
        f"$({touch})",
        f"`{touch}`",
        f";{touch};",
        f"x||{touch}",
        f"x&{touch}&",
        f"';{touch};'",
        f'";{touch};"',
        f"'$({touch})'",
    )


@pytest.mark.real
def test_no_shell_reads_a_field_that_is_no_command(api: Api, gate: Gate, tmp_path: Path) -> None:
    """A branch, a folder, variables and names full of shell are deployed, and make no marker."""
    repository = make_repository(tmp_path / "it's$(a)`r`;")
    values = {f"V{number}": text for number, text in enumerate(attacks(gate))}
    values |= {"LINES": f"a\ntouch {gate.directory}/M\n", "SPACES": f"; touch {gate.directory}/M"}
    folders = attacks(gate)[:3]
    for folder in folders:
        below = repository / folder
        below.mkdir(parents=True)
        (below / "Pulumi.yaml").write_text(PROGRAM.replace("{project}", "web"))
    commit_all(repository)
    made = {}
    for number, folder in enumerate(folders):
        branch = f"b{attacks(gate)[number + 3]}"
        git(repository, "branch", branch)
        stack = f"acme/web/hostile{number}"
        made[stack] = api.create(
            stack,
            repository,
            source={"branch": f"refs/heads/{branch}", "repoDir": folder},
            operation="preview",
            options={"skipInstallDependencies": True},
            environmentVariables=values,
            preRunCommands=[f'printf %s "$V0$LINES" >{gate.directory}/seen{number}'],
        )["id"]
    for number, (stack, deployment) in enumerate(made.items()):
        assert api.ended(stack, deployment)["status"] == "succeeded", api.log(stack, deployment)
        seen = (gate.directory / f"seen{number}").read_text()
        assert seen == values["V0"] + values["LINES"]
    assert not (gate.directory / "M").exists()
