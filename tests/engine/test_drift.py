"""Drift of real files, deleted and changed behind Pulumi's back; and the end of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.server import Engine
from tests.engine.files_program import make_files_repository
from tests.engine.harness import NO_INSTALL, Api, Gate
from tests.waiting import eventually

pytestmark = pytest.mark.real


@dataclass
class Deployed:
    """A stack with two real files."""

    api: Api
    stack: str
    repository: Path
    first: Path
    second: Path

    def run(self, operation: str, **options: object) -> dict[str, Any]:
        """Run an operation to its end."""
        asked = {"operation": operation, "options": NO_INSTALL | options}
        made = self.api.create(self.stack, self.repository, **asked)
        return self.api.ended(self.stack, made["id"])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/api/stacks/{self.stack}/drift/status")
        return found

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/api/stacks/{self.stack}/drift/runs")[
            "driftRuns"
        ]
        return found

    def state(self, engine: Engine) -> Path:
        organization, project, stack = self.stack.split("/")
        base = engine.layout.backend(organization) / ".pulumi" / "stacks"
        return base / project / f"{stack}.json"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Path:
    """A repository whose program has two files in the gate's directory."""
    return make_files_repository(tmp_path_factory.mktemp("files") / "repository", gate)


@pytest.fixture
def deployed(api: Api, stack: str, files: Path, gate: Gate) -> Deployed:
    """That program, deployed to a stack of its own."""
    name = stack.rpartition("/")[2]
    made = Deployed(
        api=api.speaking("today"),
        stack=stack,
        repository=files,
        first=gate.directory / f"{name}.first",
        second=gate.directory / f"{name}.second",
    )
    ended = made.run("update")
    assert ended["status"] == "succeeded", api.log(stack, ended["id"])
    assert made.first.read_text() == "one"
    return made


def test_drift_is_found_and_remediated(deployed: Deployed) -> None:
    """A deleted and a changed file are drift; nothing is touched until it is remediated."""
    assert deployed.status() == {
        "driftDetected": False,
        "latestDriftRun": "",
        "runInProgress": False,
    }
    clean = deployed.run("detect-drift")
    assert clean["status"] == "succeeded"
    assert clean["pulumiOperation"] == "detect-drift"
    assert not deployed.status()["driftDetected"]
    deployed.first.unlink()
    deployed.second.write_text("changed")
    looked = deployed.run("detect-drift")
    assert looked["status"] == "succeeded"
    assert not deployed.first.exists()
    assert deployed.status() == {
        "driftDetected": True,
        "latestDriftRun": looked["id"],
        "runInProgress": False,
    }
    log = deployed.api.log(deployed.stack, looked["id"])
    assert any("Drift: 1 to delete, 1 to update" in line for line in log)
    fixed = deployed.run("remediate-drift")
    assert fixed["status"] == "succeeded"
    assert (deployed.first.read_text(), deployed.second.read_text()) == ("one", "two")
    assert not deployed.status()["driftDetected"]
    newest, found, first = deployed.runs()
    assert [run["id"] for run in (newest, found, first)] == [
        *(fixed["id"], looked["id"], clean["id"]),
    ]
    assert (first["driftDetected"], found["driftDetected"]) == (False, True)
    assert found["deploymentVersion"] == looked["version"]
    assert found["detectUpdate"]["status"] == "succeeded"
    changes = found["detectUpdate"]["resourceChanges"]
    assert {key: changes[key] for key in ("delete", "update")} == {"delete": 1, "update": 1}
    assert newest["remediateUpdate"]["status"] == "succeeded"
    one = deployed.api.get(f"/api/stacks/{deployed.stack}/drift/runs/{looked['id']}")
    assert one == found
    assert deployed.api.refused(f"/api/stacks/{deployed.stack}/drift/runs/none")[0] == 404
    paged = deployed.api.get(f"/api/stacks/{deployed.stack}/drift/runs", page=2, pageSize=2)
    assert (len(paged["driftRuns"]), paged["total"], paged["itemsPerPage"]) == (1, 3, 2)


def test_a_schedule_remediates_what_it_finds(deployed: Deployed) -> None:
    """`remediateIfDriftDetected`, which a drift schedule asks for, undoes drift in one run."""
    deployed.first.unlink()
    ended = deployed.run("detect-drift", remediateIfDriftDetected=True)
    assert ended["status"] == "succeeded"
    assert deployed.first.read_text() == "one"
    (run,) = deployed.runs()
    assert run["driftDetected"]
    assert run["detectUpdate"]["resourceChanges"]["delete"] == 1
    assert run["remediateUpdate"]["resourceChanges"]["create"] == 1
    assert not deployed.status()["driftDetected"]
    # Nothing to do: no second operation.
    again = deployed.run("detect-drift", remediateIfDriftDetected=True)
    assert again["status"] == "succeeded"
    assert "remediateUpdate" not in deployed.runs()[0]


def test_a_look_that_fails_is_no_drift(deployed: Deployed) -> None:
    """Where the look itself fails, the deployment does, and nothing is said of drift."""
    deployed.first.unlink()
    broken = {"PULUMI_CONFIG_PASSPHRASE": "x", "PULUMI_OPTION_TARGET": "urn:nothing"}
    made = deployed.api.create(
        deployed.stack,
        deployed.repository,
        operation="detect-drift",
        options=NO_INSTALL,
        preRunCommands=["rm Pulumi.yaml"],
        environmentVariables=broken,
    )
    assert deployed.api.ended(deployed.stack, made["id"])["status"] == "failed"
    (run,) = deployed.runs()
    assert (run["status"], run["driftDetected"]) == ("failed", False)
    assert not deployed.status()["driftDetected"]


def test_a_destroyed_stack_goes_away(deployed: Deployed, engine: Engine) -> None:
    """With `deleteAfterDestroy` state and settings go too; what it ran can still be read."""
    api, stack = deployed.api, deployed.stack
    assert deployed.state(engine).exists()
    ended = deployed.run("destroy", deleteAfterDestroy=True)
    assert ended["status"] == "succeeded", api.log(stack, ended["id"])
    assert not deployed.first.exists()
    assert not deployed.state(engine).exists()
    assert api.refused(f"/api/stacks/{stack}")[0] == 404
    assert api.deployment(stack, ended["id"])["status"] == "succeeded"
    assert api.log(stack, ended["id"])[-1] == "the stack was deleted\n"
    again = deployed.run("update")
    assert again["status"] == "succeeded"
    assert again["version"] == ended["version"] + 1


def test_a_destroy_that_fails_deletes_nothing(deployed: Deployed, engine: Engine) -> None:
    """A stack whose destroy was canceled stays, with its state."""
    made = deployed.api.create(
        deployed.stack,
        deployed.repository,
        operation="destroy",
        options=NO_INSTALL | {"deleteAfterDestroy": True},
        preRunCommands=["exit 1"],
    )
    assert deployed.api.ended(deployed.stack, made["id"])["status"] == "failed"
    assert deployed.state(engine).exists()
    assert deployed.api.get(f"/api/stacks/{deployed.stack}")["stackName"]


def test_a_stack_s_time_to_live_ends_it(deployed: Deployed) -> None:
    """A TTL schedule destroys the stack at its time and takes it away, itself included."""
    api, stack = deployed.api, deployed.stack
    git = {"repoUrl": f"file://{deployed.repository}", "branch": "main"}
    settings = {
        "sourceContext": {"git": git},
        "operationContext": {"options": {"skipInstallDependencies": True}},
    }
    assert api.post(f"/api/stacks/{stack}/deployments/settings", settings).status_code == 200
    when = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    ttl = {"timestamp": when, "deleteAfterDestroy": True}
    assert api.post(f"/api/stacks/{stack}/deployments/ttl/schedules", ttl).status_code == 200

    def gone() -> bool:
        answer = api.session.get(f"{api.url}/api/stacks/{stack}", timeout=60)
        return answer.status_code == 404

    eventually(gone, "the stack goes away")
    assert not deployed.first.exists()
