"""What is done and what is refused is in the audit log, and no token is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.engine import server, tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import Engine
from tests.engine.harness import LIMIT_S, Api
from tests.waiting import eventually

pytestmark = pytest.mark.real

BODY = {
    "operation": "update",
    "sourceContext": {"git": {"repoUrl": "https://example.com/r.git", "branch": "main"}},
    "operationContext": {"environmentVariables": {"S": {"secret": "canary-of-a-secret"}}},
}
DEPLOYMENTS = "/api/stacks/acme/web/audited/deployments"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that starts nothing, and whose limits are soon met."""
    config = EngineConfig(
        data=tmp_path_factory.mktemp("audited"), port=0, workers=0, failed_logins=30
    )
    with server.running(config) as running:
        yield running


def make_token(engine: Engine, role: str, organization: str = "acme") -> str:
    return tokens.create(
        engine.layout.data,
        organization=organization,
        user="ann",
        email="",
        role=role,
        expires=None,
        by="root",
    )


@pytest.fixture(scope="module")
def admin(engine: Engine) -> Api:
    return Api(engine.url, make_token(engine, "admin"), "today")


def cli(engine: Engine, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "reconciler", "engine"),
            *arguments,
            *("--data", str(engine.layout.data)),
        ],
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def newest(engine: Engine) -> Callable[[], list[dict[str, Any]]]:
    """Returns the entries of the audit log, as the command shows them, the newest first."""

    def look() -> list[dict[str, Any]]:
        done = cli(engine, "audit", "list", "--count", "1000", "-o", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return look


Newest = Callable[[], list[dict[str, Any]]]


def test_what_was_done_and_refused_is_there(engine: Engine, admin: Api, newest: Newest) -> None:
    """A create, a refused create, a call of a reader and one of a stranger: each one entry."""
    before = len(newest())
    reader = Api(engine.url, make_token(engine, "read"))
    stranger = Api(engine.url, make_token(engine, "admin", "other"))
    assert admin.post(DEPLOYMENTS, BODY).status_code == 202
    assert admin.post(DEPLOYMENTS, {}).status_code == 400
    assert admin.session.get(engine.url + DEPLOYMENTS, timeout=LIMIT_S).status_code == 200
    assert reader.post(DEPLOYMENTS, BODY).status_code == 403
    assert stranger.refused(DEPLOYMENTS)[0] == 404
    found = newest()
    told = [(e["action"].split()[0], e["result"], e["organization"]) for e in found]
    assert told[: len(found) - before] == [
        ("GET", "refused 404", "other"),
        ("POST", "refused 403", "acme"),
        ("POST", "refused 400", "acme"),
        ("POST", "done", "acme"),
        ("token", "done", "other"),
        ("token", "done", "acme"),
    ]
    create = found[3]
    assert create["action"] == ("POST /api/stacks/{organization}/{project}/{stack}/deployments")
    assert create["target"] == DEPLOYMENTS
    assert (create["user"], create["address"]) == ("ann", "127.0.0.1")
    assert create["detail"] == "acme/web/audited version 1"
    mine = {t["id"] for t in admin.get("/api/user/tokens")["tokens"]}
    assert create["token"] in mine


def test_who_had_no_good_token_is_there(engine: Engine, admin: Api, newest: Newest) -> None:
    """An unknown token is nobody's entry; a revoked one tells whose it was."""
    made = admin.post("/api/user/tokens", {"description": "soon gone"}).json()
    gone = admin.session.delete(f"{engine.url}/api/user/tokens/{made['id']}", timeout=LIMIT_S)
    assert gone.status_code == 204
    for token in ("rct_unknown", made["tokenValue"]):
        header = {"Authorization": f"token {token}"}
        url = f"{engine.url}/api/user/tokens/{made['tokenValue']}"
        answer = requests.delete(url, headers=header, timeout=LIMIT_S)
        assert answer.status_code == 401
    revoked, unknown, delete, create = newest()[:4]
    assert (unknown["user"], unknown["token"], unknown["result"]) == ("", "", "refused 401")
    assert (revoked["user"], revoked["token"]) == ("ann", made["id"])
    assert revoked["target"] == "/api/user/tokens/rct_…"
    assert delete["target"].endswith(made["id"])
    assert made["id"] in create["detail"]
    content = json.dumps(newest(), ensure_ascii=False)
    assert made["tokenValue"] not in content
    assert "canary-of-a-secret" not in content


def test_commands_beside_the_engine_are_there(engine: Engine, newest: Newest) -> None:
    """Tokens are listed and revoked beside the engine; what was done is in the log."""
    token = make_token(engine, "deploy", "third")
    caller = Api(engine.url, token)
    assert caller.get("/api/user")["id"] == "ann"
    listed = json.loads(
        cli(engine, "token", "list", "--organization", "third", "-o", "json").stdout
    )
    assert [(t["user"], t["role"], t["state"]) for t in listed] == [("ann", "deploy", "good")]
    assert listed[0]["lastUsed"]
    table = cli(engine, "token", "list").stdout
    assert listed[0]["id"] in table
    assert token not in table
    assert cli(engine, "token", "revoke", listed[0]["id"]).returncode == 0
    assert caller.refused("/api/user")[0] == 401
    again = cli(engine, "token", "revoke", listed[0]["id"])
    assert again.returncode == 1
    assert "no such token" in again.stderr
    entries = [e for e in newest() if e["address"] == "local"]
    assert entries[0]["action"] == "token revoke"
    assert entries[0]["target"] == listed[0]["id"]
    assert cli(engine, "token", "list", "--organization", "third").stdout.count("\n") == 1
    assert "revoked" in cli(engine, "token", "list", "--organization", "third", "--all").stdout


def test_a_token_that_was_found_is_revoked_by_itself(engine: Engine) -> None:
    """`revoke -` reads the token, which then stands in no list of processes."""
    token = make_token(engine, "deploy", "fourth")
    done = cli(engine, "token", "revoke", "-", given=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert Api(engine.url, token).refused("/api/user")[0] == 401
    other = make_token(engine, "deploy", "fourth")
    who = ("--organization", "fourth", "--user", "ann")
    assert cli(engine, "token", "revoke", *who).returncode == 0
    assert Api(engine.url, other).refused("/api/user")[0] == 401
    assert cli(engine, "token", "revoke").returncode == 2


def test_admins_read_their_organization_s_log(admin: Api) -> None:
    """Over the API an admin sees the organization's entries, page by page, and no other's."""
    for number in range(105):
        assert admin.post(f"/api/stacks/acme/p{number}", {"stackName": "x"}).status_code == 200
    first = admin.get("/api/orgs/acme/auditlogs")
    assert len(first["auditLogEvents"]) == 100
    event = first["auditLogEvents"][0]
    assert event["event"] == "POST /api/stacks/{organization}/{project}"
    assert event["description"] == "/api/stacks/acme/p104 done"
    assert event["user"]["githubLogin"] == "ann"
    second = admin.get("/api/orgs/acme/auditlogs", continuationToken=first["continuationToken"])
    assert second["auditLogEvents"][4]["description"] == "/api/stacks/acme/p0 done"
    assert admin.get("/api/orgs/acme/auditlogs", userFilter="bob")["auditLogEvents"] == []
    assert admin.get("/api/orgs/acme/auditlogs", startTime=1)["auditLogEvents"] == []
    assert admin.refused("/api/orgs/other/auditlogs")[0] == 404


def test_the_chain_is_verified_and_exported(engine: Engine, tmp_path: Path) -> None:
    """`verify` prints the chain's end, which it knows again; `export` writes all of it."""
    done = cli(engine, "audit", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    end = done.stdout.strip()
    make_token(engine, "read", "fifth")
    assert cli(engine, "audit", "verify", "--noted", end).returncode == 0
    forged = f"{end.partition(':')[0]}:{'0' * 64}"
    done = cli(engine, "audit", "verify", "--noted", forged)
    assert done.returncode == 1
    assert "is not the one that was noted" in done.stderr
    file = tmp_path / "audit.jsonl"
    assert cli(engine, "audit", "export", str(file)).returncode == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert file.stat().st_mode & 0o077 == 0


def test_invalid_tokens_are_held_up_and_good_ones_are_not(
    engine: Engine, admin: Api, newest: Newest
) -> None:
    """After too many invalid tokens an address is told to wait; whose token is good is let in."""
    assert admin.get("/api/user")["id"] == "ann"
    header = {"Authorization": "token rct_guess"}
    answers = [
        requests.get(f"{engine.url}/api/user", headers=header, timeout=LIMIT_S) for _ in range(40)
    ]
    assert answers[0].status_code == 401
    held = answers[-1]
    assert held.status_code == 429
    assert 1 <= int(held.headers["Retry-After"]) <= 3
    assert held.json()["code"] == 429
    assert admin.get("/api/user")["id"] == "ann"
    assert requests.get(f"{engine.url}/api/user", timeout=LIMIT_S).status_code == 401
    assert requests.get(f"{engine.url}/healthz", timeout=LIMIT_S).status_code == 200
    # Far fewer entries than refusals.
    assert sum(e["result"] in {"refused 401", "refused 429"} for e in newest()[:60]) < 30


# ---------------------------------------------------------------- answers without a thread


def created(admin: Api) -> str:
    """Make a deployment and return its address."""
    made = admin.post(DEPLOYMENTS, BODY)
    assert made.status_code == 202, made.text
    return f"{DEPLOYMENTS}/{made.json()['id']}"


def test_a_get_looks_each_token_up(engine: Engine, admin: Api) -> None:
    """Its first use is written down, and revoked by another process it is worthless at once."""
    address = created(admin)
    made = admin.post("/api/user/tokens", {"description": "for one call"}).json()
    caller = Api(engine.url, made["tokenValue"])

    def is_written_down() -> bool:
        # A call writes it only where nobody else writes at that moment: it waits for none. And
        # for some seconds after the invalid tokens of other tests all from here are put off.
        answer = caller.session.get(engine.url + address, timeout=LIMIT_S)
        assert answer.status_code in {200, 429}, answer.text
        (listed,) = [t for t in admin.get("/api/user/tokens")["tokens"] if t["id"] == made["id"]]
        return bool(listed["lastUsed"] > 0)

    eventually(is_written_down, "the use of a token is written down")
    assert cli(engine, "token", "revoke", made["id"]).returncode == 0
    assert caller.refused(address)[0] == 401


HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_get_waits_for_no_write(engine: Engine, admin: Api) -> None:
    """While another process writes, deployments are answered, and so is all that needs no write."""
    address = created(admin)
    assert admin.get(address)["version"] >= 1
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(engine.layout.database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for path in (address, f"{DEPLOYMENTS}/version/1", "/healthz"):
            answer = admin.session.get(engine.url + path, timeout=5)
            assert answer.status_code == 200, answer.text


def test_the_whole_name_of_what_was_asked_for_is_there(admin: Api, newest: Newest) -> None:
    """What follows a question mark or a hash in a name is part of it."""
    answer = admin.session.delete(f"{admin.url}/api/user/tokens/a%3Fb%23c", timeout=LIMIT_S)
    assert answer.status_code == 404
    assert newest()[0]["target"] == "/api/user/tokens/a?b#c"
