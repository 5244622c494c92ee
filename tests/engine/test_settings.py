"""Deployment settings over the wire: set, patched, shown, forgotten, and inherited by creates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import LIMIT_S, Api

pytestmark = pytest.mark.real

CANARY = "canary-7d1f"
URL = "https://example.com/acme/infra.git"
BODY: dict[str, Any] = {
    "sourceContext": {
        "git": {
            "repoUrl": URL,
            "branch": "main",
            "repoDir": "web",
            "gitAuth": {"basicAuth": {"userName": "ann", "password": {"secret": CANARY + "-git"}}},
        }
    },
    "operationContext": {
        "preRunCommands": ["make"],
        "environmentVariables": {"REGION": "eu", "KEY": {"secret": CANARY + "-key"}},
        "options": {"skipInstallDependencies": True},
    },
}
SDK = {"Accept": "application/json"}
CLI = {"Accept": "application/vnd.pulumi+9"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that starts no deployments."""
    config = EngineConfig(data=tmp_path_factory.mktemp("engine"), port=0, workers=0)
    with server.running(config) as running:
        yield running


@pytest.fixture(scope="module")
def make_api(engine: Engine) -> Callable[[str], Api]:
    """Makes callers of organization acme, by their role."""

    def make(role: str) -> Api:
        caller = Caller(organization="acme", user="ann", email="", role=Role(role))
        return Api(engine.url, engine.tokens.create(caller, None), "today")

    return make


@pytest.fixture(scope="module")
def api(make_api: Callable[[str], Api]) -> Api:
    """A caller that may deploy."""
    return make_api("deploy")


class Settings:
    """The settings of one stack, as one caller calls them."""

    def __init__(self, api: Api, stack: str) -> None:
        self.api = api
        self.base = api.path(stack)
        self.path = f"{self.base}/settings"

    def call(self, method: str, body: object = None, **more: Any) -> requests.Response:
        path = f"{self.api.url}{self.path}{more.pop('rest', '')}"
        return self.api.session.request(method, path, json=body, timeout=LIMIT_S, **more)

    def good(self, method: str, body: object = None, **more: Any) -> Any:
        answer = self.call(method, body, **more)
        assert answer.status_code == 200, answer.text
        assert CANARY not in answer.text
        return answer.json()

    def refused(self, method: str, body: object) -> tuple[int, str]:
        answer = self.call(method, body)
        assert answer.status_code >= 400, answer.text
        assert CANARY not in answer.text
        return answer.status_code, answer.json()["message"]

    def created(self, **body: object) -> dict[str, Any]:
        """Create a deployment with this body and return it as a GET shows it."""
        answer = self.api.post(self.base, {"operation": "update", **body})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = self.api.get(f"{self.base}/{answer.json()['id']}")
        return found


@pytest.fixture
def settings(api: Api, stack: str) -> Settings:
    """The settings of a stack of its own."""
    return Settings(api, stack)


def variables(deployment: dict[str, Any]) -> dict[str, str | None]:
    shown = deployment["configuration"]["environmentVariables"]
    return {v["name"]: v.get("value") for v in shown if not v["name"].startswith("PULUMI_")}


def test_they_are_set_shown_and_forgotten(settings: Settings) -> None:
    """What is set is shown again with ciphertexts for secrets, until it is deleted."""
    assert settings.call("GET").status_code == 404
    shown = settings.good("PUT", BODY)
    assert shown["version"] == 1
    assert shown["source"] == "api"
    git = shown["sourceContext"]["git"]
    assert git["gitAuth"]["basicAuth"]["userName"] == "ann"
    assert set(git["gitAuth"]["basicAuth"]["password"]) == {"ciphertext"}
    context = shown["operationContext"]
    assert context["environmentVariables"]["REGION"] == "eu"
    assert set(context["environmentVariables"]["KEY"]) == {"ciphertext"}
    assert context["options"] == {"skipInstallDependencies": True}
    assert settings.good("GET")["sourceContext"]["git"]["branch"] == "main"
    assert settings.good("DELETE") is True
    assert settings.call("GET").status_code == 404
    assert settings.good("DELETE") is False


def test_a_create_inherits_them(settings: Settings) -> None:
    """By default a create has the settings under it, and none of them where it says so."""
    settings.good("PUT", BODY)
    made = settings.created()
    assert made["configuration"]["source"]["git"] == {
        "repoURL": URL,
        "branch": "main",
        "repoDir": "web",
    }
    assert variables(made) == {"REGION": "eu", "KEY": None}
    steps = [step["name"] for step in made["jobs"][0]["steps"]]
    assert steps[2:] == ["Pre-run command 1", "Pulumi operation"]
    own = settings.created(
        sourceContext={"git": {"branch": "next"}},
        operationContext={"environmentVariables": {"REGION": None, "MORE": "x"}},
    )
    assert own["configuration"]["source"]["git"]["branch"] == "next"
    assert variables(own) == {"KEY": None, "MORE": "x"}
    bare = settings.created(
        inheritSettings=False, sourceContext={"git": {"repoUrl": URL, "branch": "main"}}
    )
    assert variables(bare) == {}
    answer = settings.api.post(settings.base, {"operation": "update", "inheritSettings": False})
    assert answer.status_code == 400
    assert "sourceContext.git.repoUrl: is required" in answer.json()["message"]


def test_the_preview_api_has_no_settings(settings: Settings) -> None:
    """A create of the preview API inherits nothing: that API knows no settings."""
    settings.good("PUT", BODY)
    preview = settings.api.speaking("preview")
    path = settings.base.replace("/api/stacks/", "/api/preview/")
    answer = preview.post(path, {"operationContext": {"operation": "update"}})
    assert answer.status_code == 400
    assert "sourceContext.git.repoUrl: is required" in answer.json()["message"]


def test_a_patch_changes_what_it_names(settings: Settings) -> None:
    """POST is a JSON merge patch, and makes settings where there are none."""
    shown = settings.good("POST", {"sourceContext": {"git": {"repoUrl": URL, "branch": "main"}}})
    assert shown["version"] == 1
    variables_of = ["operationContext", "environmentVariables"]
    patch: dict[str, Any] = {
        variables_of[0]: {variables_of[1]: {"A": "1", "B": {"secret": CANARY}}}
    }
    settings.good("POST", patch)
    patch = {variables_of[0]: {variables_of[1]: {"A": None}, "preRunCommands": ["a"]}}
    shown = settings.good("POST", patch)
    assert shown["version"] == 3
    assert set(shown["operationContext"]["environmentVariables"]) == {"B"}
    shown = settings.good("POST", {"operationContext": None})
    assert "operationContext" not in shown
    assert shown["sourceContext"]["git"]["branch"] == "main"
    # A pair that cannot be is refused, and nothing is changed; with a null it can.
    status, message = settings.refused("POST", {"sourceContext": {"git": {"commit": "a" * 40}}})
    assert status == 400
    assert "sourceContext.git.commit" in message
    patch = {"sourceContext": {"git": {"commit": "a" * 40, "branch": None}}}
    assert settings.good("POST", patch)["sourceContext"]["git"]["commit"] == "a" * 40


def test_a_ciphertext_can_be_given_back(settings: Settings, engine: Engine) -> None:
    """What was shown, or made by /encrypt, stands for its secret: in settings and in creates."""
    settings.good("PUT", BODY)
    shown = settings.good("GET")
    again = settings.good("PUT", {k: v for k, v in shown.items() if k not in {"version", "source"}})
    assert again["version"] == 2
    sealed = settings.good("POST", {"secret": CANARY + "-sealed"}, rest="/encrypt")
    assert set(sealed) == {"ciphertext"}
    made = settings.created(operationContext={"environmentVariables": {"SEALED": sealed}})
    assert variables(made)["SEALED"] is None
    assert stored_request(engine, made["id"])["operationContext"]["environmentVariables"] == {
        "KEY": {"secret": CANARY + "-key"},
        "REGION": "eu",
        "SEALED": {"secret": CANARY + "-sealed"},
    }


def stored_request(engine: Engine, deployment_id: str) -> Any:
    """Return a deployment's request as it is kept, decrypted in a process of its own."""
    code = """\
import sys
from pathlib import Path
from reconciler.engine.config import Layout
from reconciler.engine.secrets_box import open_box
from reconciler.engine.store import Store
layout = Layout(Path(sys.argv[1]))
store = Store(layout.database)
box = open_box(layout.key, create=False)
sealed = store.deployments.request(sys.argv[2])
print(box.decrypt(sealed, f"request/{sys.argv[2]}").decode())
"""
    arguments = [sys.executable, "-c", code, str(engine.layout.data), deployment_id]
    answer = subprocess.run(arguments, check=True, capture_output=True, timeout=LIMIT_S)
    return json.loads(answer.stdout)


def test_a_ciphertext_is_of_one_stack(settings: Settings, api: Api) -> None:
    """Another stack's ciphertext, and what is none, are refused with their place."""
    sealed = settings.good("POST", {"secret": CANARY}, rest="/encrypt")
    other = Settings(api, "acme/web/other")
    for wrong in (sealed["ciphertext"], "x", "eA==", 5, ["eA=="]):
        variables = {"A": {"ciphertext": wrong}}
        status, message = other.refused(
            "PUT", {"operationContext": {"environmentVariables": variables}}
        )
        assert status == 400
        assert message.startswith("operationContext.environmentVariables.A.ciphertext: ")
    body: dict[str, Any] = {"operation": "update", **BODY}
    body["operationContext"] = {"environmentVariables": {"A": sealed}}
    answer = api.post(other.base, body)
    assert answer.status_code == 400
    assert "environmentVariables.A.ciphertext" in answer.json()["message"]


def test_what_looks_secret_is_kept_as_one(settings: Settings) -> None:
    """A plain value that looks like a secret is shown as a ciphertext, as in a deployment."""
    body = {"operationContext": {"environmentVariables": {"DB_PASSWORD": CANARY, "REGION": "eu"}}}
    found = settings.good("PUT", body)["operationContext"]["environmentVariables"]
    assert found["REGION"] == "eu"
    assert set(found["DB_PASSWORD"]) == {"ciphertext"}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "object"),
        ({"sourceContext": 5}, "sourceContext: "),
        ({"sourceContext": {"git": {"repoDir": "../x"}}}, "sourceContext.git.repoDir: "),
        ({"sourceContext": {"git": {"repoUrl": "ext::sh"}}}, "sourceContext.git.repoU"),
        ({"sourceContext": {"git": {"branch": "a", "tag": "b"}}}, "sourceContext.git.tag: "),
        ({"sourceContext": {"template": {"sourceUrl": "x"}}}, "sourceContext.template: "),
        ({"sourceContext": {"hg": {"repoUrl": "x"}}}, "sourceContext.hg: "),
        ({"gitHub": {"repository": "a/b"}}, "gitHub: there is no such integration"),
        ({"vcs": {"provider": "gitlab"}}, "vcs: there is no such integration"),
        ({"agentPoolID": "pool"}, "agentPoolID: there are no agent pools"),
        ({"operationContext": {"role": {"id": "x"}}}, "operationContext.role: "),
        ({"operationContext": {"operation": "update"}}, "operationContext.operation: "),
        ({"operationContext": {"preRunCommands": "x"}}, "operationContext.preRunCommands: "),
        ({"operationContext": {"preRunCommands": [""]}}, "operationContext.preRunCommands[0]: "),
        ({"operationContext": {"environmentVariables": {"1": "x"}}}, "environmentVariables.1: "),
        (
            {"operationContext": {"environmentVariables": {"RECONCILER_RUN_a_b_c": ""}}},
            "environmentVariables.RECONCILER_RUN_a_b_c: ",
        ),
        ({"cacheOptions": {"enable": "yes"}}, "cacheOptions.enable: "),
        ({"executorContext": {"executorRootPath": {}}}, "executorContext.executorRootPath: "),
        # What is empty is refused as well where it is of another kind.
        ({"sourceContext": ""}, "sourceContext: is a string"),
        ({"sourceContext": {"git": ""}}, "sourceContext.git: is a string"),
        ({"sourceContext": {"git": {"gitAuth": ""}}}, "sourceContext.git.gitAuth: is a string"),
        ({"operationContext": []}, "operationContext: is a list"),
        ({"operationContext": {"options": ""}}, "operationContext.options: is a string"),
        ({"operationContext": {"oidc": {"aws": ""}}}, "operationContext.oidc.aws: is a string"),
        ({"executorContext": ""}, "executorContext: is a string"),
        ({"cacheOptions": ""}, "cacheOptions: is a string"),
    ],
)
def test_what_no_create_could_use_is_refused(settings: Settings, body: object, place: str) -> None:
    """Settings are held to the rules of a create when they are set, and name the field."""
    status, message = settings.refused("PUT", body)
    assert status == 400
    assert place in message
    assert settings.call("GET").status_code == 404


def test_each_client_gets_the_form_it_reads(settings: Settings) -> None:
    """Pulumi's own clients get objects with the keys they need; older ones and people texts."""
    settings.good("PUT", BODY)
    plain = {"isSecret": False, "value": "eu", "plaintext": "eu", "secret": ""}
    for headers, expected in (
        (SDK, plain),
        (CLI, plain),
        ({"Accept": "application/vnd.pulumi+8"}, "eu"),
        ({}, "eu"),
    ):
        shown = settings.good("GET", headers=headers)["operationContext"]["environmentVariables"]
        assert shown["REGION"] == expected
        assert shown["KEY"]["ciphertext"]
        assert shown["KEY"].get("secret", "") == ""
        # In whichever form it is shown, it can be given back.
        body = {"operationContext": {"environmentVariables": shown}}
        settings.good("POST", body)
        shown = settings.good("GET")["operationContext"]["environmentVariables"]
        assert shown["REGION"] == "eu"


def test_who_may_not_deploy_may_not_set(settings: Settings, make_api: Callable[[str], Api]) -> None:
    """A token to read sees settings, without their secrets, and changes nothing."""
    settings.good("PUT", BODY)
    reading = Settings(make_api("read"), settings.base.removeprefix("/api/stacks/")[:-12])
    assert reading.good("GET")["sourceContext"]["git"]["repoUrl"] == URL
    for method, rest in (("PUT", ""), ("POST", ""), ("DELETE", ""), ("POST", "/encrypt")):
        assert reading.call(method, {"secret": "x"}, rest=rest).status_code == 403


def test_an_empty_value_is_not_encrypted(settings: Settings) -> None:
    """There is nothing to encrypt in an empty value, nor in what is no text."""
    nothings: list[object] = [{"secret": ""}, {}, "", None, [], {"secret": 5}, {"ciphertext": "x"}]
    for nothing in nothings:
        assert settings.call("POST", nothing, rest="/encrypt").status_code == 400
    for value in ("x", {"secret": "x"}, {"isSecret": True, "value": "x"}):
        assert settings.good("POST", value, rest="/encrypt")["ciphertext"]


def test_no_secret_is_on_the_disk(settings: Settings, engine: Engine) -> None:
    """No byte of a secret is in any file of the engine's, as it is or in hexadecimal."""
    settings.good("PUT", BODY)
    secret = (CANARY + "-key").encode()
    pattern = f"{secret.decode()}|{secret.hex()}"
    # In a process of its own: SQLite's locks are lost when this one closes the database.
    grep = ["grep", "-arlE", pattern, str(engine.layout.data)]
    found = subprocess.run(grep, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (found.returncode, found.stdout) == (1, "")


def test_the_cache_is_cleared(settings: Settings, engine: Engine) -> None:
    """What was downloaded for the organization is gone, and nothing of another's."""
    path = settings.api.url + settings.base + "/cache"
    assert settings.api.session.delete(path, timeout=LIMIT_S).status_code == 404
    settings.good("PUT", {})
    plugins, others = engine.layout.plugins("acme"), engine.layout.plugins("other")
    for directory in (plugins, others):
        (directory / "resource-aws-v7").mkdir(parents=True, exist_ok=True)
    assert settings.api.session.delete(path, timeout=LIMIT_S).status_code == 200
    assert list(plugins.iterdir()) == []
    assert [path.name for path in others.iterdir()] == ["resource-aws-v7"]
    assert {path.name for path in plugins.parent.iterdir()} == {"acme", "other"}
