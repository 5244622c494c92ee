"""Schedules over the API, and what they start on an engine that runs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import tokens
from tests.engine.harness import Api, EngineProcess
from tests.waiting import eventually

pytestmark = pytest.mark.real

A_SECOND = timedelta(seconds=1)


def path(stack: str, kind: str = "") -> str:
    return f"/api/stacks/{stack}/deployments/{kind}schedules"


def request(repository: Path, operation: str = "preview", **more: object) -> dict[str, object]:
    git = {"repoUrl": f"file://{repository}", "branch": "main"}
    return {"operation": operation, "sourceContext": {"git": git}, **more}


def soon(seconds: float = 0.5) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def made(api: Api, where: str, body: object) -> dict[str, Any]:
    answer = api.post(where, body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_scheduled_once_runs_once(api: Api, stack: str, repository: Path) -> None:
    """A deployment at a time starts then, and the schedule and its history say so."""
    api.post(f"/api/stacks/{stack.rpartition('/')[0]}", {"stackName": stack.rpartition("/")[2]})
    body = {"scheduleOnce": soon(), "request": request(repository)}
    schedule = made(api, path(stack), body)
    assert schedule["kind"] == "deployment"
    assert (schedule["lastExecuted"], schedule["paused"]) == ("", False)
    history = f"{path(stack)}/{schedule['id']}/history"

    def started() -> list[dict[str, Any]]:
        return list(api.get(history)["scheduleHistoryEvents"])

    (event,) = eventually(started, "the schedule fires")
    assert api.ended(stack, event["deploymentId"])["status"] == "succeeded"
    assert api.get(history)["scheduleHistoryEvents"][0]["result"] == "succeeded"
    shown = api.get(f"{path(stack)}/{schedule['id']}")
    assert shown["lastExecuted"] == event["executed"]
    assert shown["nextExecution"] == ""
    assert len(api.get(api.path(stack))) == 1
    assert api.speaking("today").get(f"/api/stacks/{stack}/deployments/metadata")["hasSchedules"]


def test_schedules_of_all_kinds_are_managed_alike(api: Api, stack: str, repository: Path) -> None:
    """Each kind is made and replaced by its own path, and read, held and ended by one."""
    settings = {"sourceContext": request(repository)["sourceContext"]}
    assert api.post(f"/api/stacks/{stack}/deployments/settings", settings).status_code == 200
    secret = {"environmentVariables": {"KEY": {"secret": "canary"}}}
    bodies: dict[str, dict[str, object]] = {
        "": {"scheduleCron": "0 3 * * *", "request": {"operation": "update"}},
        "drift/": {"scheduleCron": "H */4 * * *", "autoRemediate": True},
        "ttl/": {"timestamp": "2099-01-01T00:00:00+01:00", "deleteAfterDestroy": True},
    }
    bodies[""]["request"] = {"operation": "update", "operationContext": secret}
    ids = {kind: made(api, path(stack, kind), body)["id"] for kind, body in bodies.items()}
    listed = api.get(path(stack))["schedules"]
    assert [s["id"] for s in listed] == list(ids.values())
    raw, drift, ttl = (s["definition"]["request"] for s in listed)
    assert "canary" not in str(raw)
    assert raw["operationContext"]["environmentVariables"]["KEY"].keys() == {"ciphertext"}
    assert drift["operation"] == "detect-drift"
    assert drift["operationContext"]["options"] == {"remediateIfDriftDetected": True}
    assert ttl["operation"] == "destroy"
    assert ttl["operationContext"]["options"] == {"deleteAfterDestroy": True}
    assert listed[2]["scheduleOnce"] == listed[2]["nextExecution"] == "2098-12-31 23:00:00.000"
    # What is shown can be given back.
    again = made(api, f"{path(stack)}/{ids['']}", {"scheduleCron": "5 4 * * *", "request": raw})
    assert again["scheduleCron"] == "5 4 * * *"
    for kind, schedule_id in ids.items():
        assert api.post(f"{path(stack)}/{schedule_id}/pause").content == b""
        assert api.get(f"{path(stack)}/{schedule_id}")["paused"]
        assert api.post(f"{path(stack)}/{schedule_id}/resume").status_code == 200
        assert not api.get(f"{path(stack)}/{schedule_id}")["paused"]
        assert made(api, f"{path(stack, kind)}/{schedule_id}", bodies[kind])["id"] == schedule_id
        for _ in range(2):
            gone = api.session.delete(f"{api.url}{path(stack)}/{schedule_id}", timeout=60)
            assert (gone.status_code, gone.content) == (200, b"")
    assert api.get(path(stack)) == {"schedules": []}


def test_no_secret_of_a_schedule_is_shown(api: Api, stack: str) -> None:
    """Credentials given as bare texts, what looks like a secret, and what nobody reads stay in."""
    api.post("/api/stacks/acme/web", {"stackName": stack.rpartition("/")[2]})
    auths: list[dict[str, object]] = [
        {"accessToken": "canary"},
        {"sshAuth": {"sshPrivateKey": "canary-key", "password": "canary"}},
        {"basicAuth": {"userName": "ann", "password": "canary", "token": "canary"}},
    ]
    for auth in auths:
        url = "https://example.com/r.git"
        body = {
            "operation": "preview",
            "note": "canary",
            "sourceContext": {"git": {"repoUrl": url, "branch": "main", "gitAuth": auth}},
            "operationContext": {"environmentVariables": {"DB_PASSWORD": "canary", "A": "a"}},
            "executorContext": {"executorImage": {"reference": "r", "credentials": None}},
        }
        image: dict[str, object] = {"username": "ann", "password": "canary"}
        with_image = body | {
            "executorContext": {"executorImage": {"reference": "r", "credentials": image}}
        }
        for asked in (body, with_image):
            schedule = made(api, path(stack), {"scheduleCron": "0 3 * * *", "request": asked})
            assert "canary" not in str(schedule)
            shown = api.get(f"{path(stack)}/{schedule['id']}")
            assert "canary" not in str(shown)
            variables = shown["definition"]["request"]["operationContext"]["environmentVariables"]
            assert variables["A"] == "a"
            assert variables["DB_PASSWORD"].keys() == {"ciphertext"}
    assert "canary" not in str(api.get(path(stack)))


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("", {}, "one of scheduleCron and scheduleOnce"),
        ("", {"scheduleCron": "0 3 * * *", "scheduleOnce": "2099-01-01T00:00:00Z"}, "both are set"),
        ("", {"scheduleCron": "0 25 * * *"}, "scheduleCron: the hour field '25'"),
        ("", {"scheduleCron": 5}, "scheduleCron: is a number"),
        ("", {"scheduleOnce": "2099-01-01"}, "scheduleOnce: is no time with a zone"),
        ("", {"scheduleOnce": "2020-01-01T00:00:00Z"}, "scheduleOnce: 2020-01-01T00:00:00+00:00"),
        ("", {"scheduleCron": "0 3 * * *", "request": []}, "request: is a list"),
        ("", {"scheduleCron": "0 3 * * *"}, "request.operation: is required"),
        (
            "",
            {"scheduleCron": "0 3 * * *", "request": {"operation": "fly"}},
            "request.operation: 'fly' is none of update",
        ),
        ("drift/", {"autoRemediate": "yes"}, "autoRemediate: is a string"),
        ("drift/", {}, "scheduleCron: is required"),
        ("drift/", {"scheduleCron": "0 3 * * *"}, "no deployment settings"),
        ("ttl/", {}, "timestamp: is required"),
        ("ttl/", {"timestamp": "soon"}, "timestamp: is no time with a zone"),
    ],
)
def test_what_cannot_be_scheduled_is_told_by_its_path(
    api: Api, kind: str, body: dict[str, object], told: str
) -> None:
    """A mistake in a schedule is a 400 that names the field and what would be right."""
    api.post("/api/stacks/acme/web", {"stackName": "unscheduled"})
    answer = api.post(path("acme/web/unscheduled", kind), body)
    assert answer.status_code == 400
    assert told in answer.json()["message"]


def test_schedules_of_others_are_not_there(api: Api, stack: str) -> None:
    """Unknown stacks and schedules, and those of other stacks, are 404."""
    body = {"scheduleCron": "0 3 * * *"}
    assert api.post(path("acme/web/nobody"), body).status_code in {400, 404}
    assert api.refused(path("acme/web/nobody"))[0] == 404
    assert api.refused(path("other/web/dev"))[0] == 404
    api.post("/api/stacks/acme/web", {"stackName": stack.rpartition("/")[2]})
    for way in ("", "/history"):
        assert api.refused(f"{path(stack)}/none{way}")[0] == 404
    for way in ("/pause", "/resume"):
        assert api.post(f"{path(stack)}/none{way}").status_code == 404


def test_killed_again_and_again_every_slot_is_taken_once(tmp_path: Path, repository: Path) -> None:
    """Of 20 schedules in two seconds, with the engine killed three times, each fires once."""
    engine = EngineProcess(tmp_path / "data", tmp_path)
    try:
        token = tokens.create(
            tmp_path / "data",
            organization="acme",
            user="u",
            email="",
            role="admin",
            expires=None,
        )
        api = Api(engine.url, token)
        api.post("/api/orgs/acme/deployments/pause")
        stacks = [f"acme/web/s{number}" for number in range(20)]
        for stack in stacks:
            api.post("/api/stacks/acme/web", {"stackName": stack.rpartition("/")[2]})
        begin = datetime.now(UTC) + timedelta(seconds=2)
        ids = []
        for number, stack in enumerate(stacks):
            # Where making them takes longer than that, the last ones come a little later.
            when = max(begin + timedelta(seconds=number / 10), datetime.now(UTC) + A_SECOND)
            body = {"scheduleOnce": when.isoformat(), "request": request(repository)}
            ids.append(made(api, path(stack), body)["id"])
        for part in (6, 12, 19):
            eventually(lambda: api.get(api.path(stacks[part])), f"schedule {part} fires")  # noqa: B023
            engine.kill()
            engine = EngineProcess(tmp_path / "data", tmp_path)
            api = Api(engine.url, token)
        for stack, schedule_id in zip(stacks, ids, strict=True):
            eventually(lambda: api.get(api.path(stack)), f"{stack} has fired")  # noqa: B023
            (deployment,) = api.get(api.path(stack))
            (event,) = api.get(f"{path(stack)}/{schedule_id}/history")["scheduleHistoryEvents"]
            assert event["deploymentId"] == deployment["id"]
    finally:
        engine.stop()
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
