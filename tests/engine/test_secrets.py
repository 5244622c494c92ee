"""No secret is to be found in a log, an answer, an argument list or a file at rest."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest

from reconciler.engine.server import Engine
from tests.engine.harness import NO_INSTALL, Api, Gate
from tests.engine.served import served

pytestmark = pytest.mark.real

CANARY = "canary-3f9d7c1e"


def test_secrets_are_masked_in_logs(api: Api, stack: str, repository: Path) -> None:
    """A secret is masked however a program prints it; what only looks like one, too."""
    made = api.create(
        stack,
        repository,
        preRunCommands=[
            'echo "plain $MINE"; printf "%s" "${MINE:0:6}"; sleep 0.05; echo "${MINE:6}"',
            'printf "%s" "$MINE" | base64; printf "%s" "$MINE" | xxd -p || true; false || true',
            'echo "looks $API_TOKEN"; echo "access $PULUMI_ACCESS_TOKEN"',
            'echo "pass $PULUMI_CONFIG_PASSPHRASE"; echo "LATER_SECRET=later-3f9d7c1e" >PULUMI_ENV',
            'echo "later $LATER_SECRET"',
            'echo "DATABASE=postgres://ann:hunter%2F3f9d7c1e@db/x" >PULUMI_ENV',
            'echo "part ${DATABASE#*ann:}"; echo hunter/3f9d7c1e',
        ],
        environmentVariables={
            "MINE": {"secret": CANARY},
            "API_TOKEN": "token-3f9d7c1e",
        },
    )["id"]
    api.ended(stack, made)
    log = "".join(api.log(stack, made))
    encoded = base64.b64encode(CANARY.encode()).decode()
    for text in (CANARY, encoded, CANARY.encode().hex(), "-3f9d7c1e", "hunter"):
        assert text not in log
    for word in ("plain", "looks", "access", "pass", "later"):
        assert f"{word} [secret]\n" in log
    shown = api.deployment(stack, made)["configuration"]["environmentVariables"]
    assert {"name": "MINE", "secret": True} in shown
    assert {"name": "API_TOKEN", "secret": True} in shown


def test_nothing_at_rest_holds_a_secret(
    api: Api, engine: Engine, gate: Gate, stack: str, repository: Path
) -> None:
    """While a deployment with secrets runs, no file of the engine and no argument shows one."""
    name = stack.rpartition("/")[2]
    auth = {"accessToken": {"secret": f"{CANARY}-git"}}
    made = api.create(
        stack,
        repository,
        preRunCommands=[gate.waits(name), "exit 1"],
        environmentVariables={"MINE": {"secret": f"{CANARY}-rest"}},
        source={"gitAuth": auth},
    )["id"]
    gate.begun(name)
    for path in engine.layout.data.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert CANARY.encode() not in path.read_bytes(), path
    for path in (*engine.layout.data.glob("*"), *engine.layout.logs.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert CANARY.encode() not in entry.read_bytes()
        except OSError:
            continue
    for caller in (api, api.speaking("today")):
        answer = caller.session.get(f"{caller.url}{caller.path(stack)}/{made}", timeout=30)
        assert CANARY not in answer.text
        assert "gitAuth" not in answer.text
    gate.open(name)
    api.ended(stack, made)


def test_a_secret_in_the_url_is_refused_unseen(api: Api, stack: str) -> None:
    """A URL with a password in it is 400, and the answer does not repeat it."""
    source = {"repoURL": f"https://ann:{CANARY}@example.com/r.git", "branch": "main"}
    answer = api.post(api.path(stack), api.body(source))
    assert answer.status_code == 400
    assert "gitAuth" in answer.json()["message"]
    assert CANARY not in answer.text


def test_a_log_can_be_followed_while_it_is_written(
    api: Api, gate: Gate, stack: str, repository: Path
) -> None:
    """A line is there to be read while its command still runs."""
    name = stack.rpartition("/")[2]
    made = api.create(
        stack, repository, preRunCommands=[f"echo first; {gate.waits(name)}; exit 1"]
    )["id"]
    gate.begun(name)
    path = f"{api.path(stack)}/{made}/logs"
    pause = threading.Event()
    for _ in range(200):
        page = api.get(path)
        if page["lines"][-1].get("line") == "first\n":
            break
        pause.wait(0.02)
    assert page["lines"][-1]["line"] == "first\n"
    assert page["nextToken"] == "0.3.2"
    assert api.get(path, nextToken="0.3.2") == {"lines": [], "nextToken": "0.3.2"}
    today = api.speaking("today")
    found = today.get(f"{today.path(stack)}/{made}/logs", continuationToken="0.3.2")
    assert found == {"lines": [], "nextToken": "0.3.2", "__type": "DeploymentLogs"}
    gate.open(name)
    api.ended(stack, made)


def test_a_command_exports_no_more_secrets_than_can_be_masked(
    api: Api, stack: str, repository: Path
) -> None:
    """Thousands of values that look secret fail the step, and cost the engine nothing."""
    export = "for n in $(seq 6000); do echo TOKEN_${n}_KEY=value-$n; done >PULUMI_ENV"
    made = api.create(stack, repository, preRunCommands=[export])["id"]
    assert api.ended(stack, made)["status"] == "failed"
    assert "PULUMI_ENV: more than 2000 values look like secrets" in "".join(api.log(stack, made))


def test_what_a_proxy_is_shown_is_in_no_log(tmp_path: Path, repository: Path) -> None:
    """A program is given the engine's proxies, with their passwords; its log shows none."""
    proxies = {
        "HTTPS_PROXY": f"http://robot:{CANARY}%2Fs@127.0.0.1:9",
        "ALL_PROXY": f"robot:{CANARY}-all@127.0.0.1:9",
        "NO_PROXY": "localhost,127.0.0.1",
    }
    with served(tmp_path / "engine", environment=proxies) as engine:
        api, stack = engine.api(), "acme/web/proxied"
        commands = ["env", 'echo "${HTTPS_PROXY#*robot:}" "${ALL_PROXY#*:}"', f"echo {CANARY}/s"]
        made = api.create(stack, repository, preRunCommands=commands, options=NO_INSTALL)["id"]
        assert api.ended(stack, made)["status"] == "succeeded"
        log = "".join(api.log(stack, made))
        assert "NO_PROXY=localhost,127.0.0.1\n" in log
        assert CANARY not in log
