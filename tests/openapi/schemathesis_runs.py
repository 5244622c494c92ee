"""Runs schemathesis over a document, against an engine that starts no deployments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import Api
from tests.openapi.narrowing import URL

__all__ = [
    "RULES_BEYOND_THE_SCHEMA",
    "STACK_FOR_CREATES",
    "STACK_FOR_SETTINGS",
    "Target",
    "run",
    "run_accepted",
    "target",
]

STACK = "acme/web/dev"
# One whose settings stay, so that creates may leave things out, and one whose are changed.
STACK_FOR_CREATES, STACK_FOR_SETTINGS = "acme/web/creates", "acme/web/settings"
# Random requests to each operation, beside those at the borders of what it takes.
EXAMPLES = 2

# As many as a stack may have schedules, over the three operations that make one.
ACCEPTED_EXAMPLES = 15

# A whole run takes a minute of processor time; the limit is for a machine under load.
LIMIT_S = 1500

# What a schema cannot say of these bodies: which URLs and refs git takes, that one revision
# excludes the others, that settings fill in what is left out, which cron lines and times are
# any. A body that fits the schema may therefore be refused; that one that does not is refused
# is checked for them too. What is accepted of them, `run_accepted` calls.
RULES_BEYOND_THE_SCHEMA = (
    "CreateAPIDeploymentHandlerV2",
    "CreateAPIDeploymentHandlerV2Preview",
    "ReplaceDeploymentSettings",
    "PatchDeploymentSettings",
    "CreateScheduledDeployment",
    "UpdateScheduledDeployment",
    "CreateScheduledDriftDeployment",
    "UpdateScheduledDriftDeployment",
    "CreateScheduledTTLDeployment",
    "UpdateScheduledTTLDeployment",
)

CONFIG = """\
base-url = "{url}"
headers = {{ Authorization = "token {token}", Accept = "application/json" }}
continue-on-failure = true

[parameters]
"path.orgName" = "acme"
"path.projectName" = "web"
"path.stackName" = "{stack}"
"path.deploymentId" = "{deployment}"
"path.version" = 1
# Nobody's: by an id that it was told, a run would revoke the token that it calls with.
"path.tokenId" = "9e5e1331-a018-4845-8714-1598ba8dc52e"
{more}

[generation]
allow-x00 = {nul}
deterministic = true
max-examples = {examples}
no-shrink = true

[phases.stateful]
enabled = false

[phases.coverage]
unexpected-methods = ["DELETE", "PATCH", "TRACE"]

[output.sanitization]
enabled = false

# It goes on for as long as its deployment does; tests/engine/test_log_stream.py calls it.
[[operations]]
include-operation-id = "StreamDeploymentLogs"
enabled = false

[[operations]]
include-operation-id = {rules}
checks.positive_data_acceptance.enabled = false
"""


@dataclass(frozen=True, slots=True)
class Target:
    """An engine, a token of its administrator, and the id of a deployment of STACK."""

    url: str
    token: str
    deployment: str
    schedule: str


@contextmanager
def target(data: Path) -> Iterator[Target]:
    """Give an engine with a stack that has settings, so that a create may leave all out."""
    # The runs present thousands of wrong tokens.
    config = EngineConfig(data=data, port=0, workers=0, failed_logins=1_000_000)
    with server.running(config) as engine:
        ann = Caller(organization="acme", user="ann", email="", role=Role.ADMIN)
        token = engine.tokens.create(ann, None)
        api = Api(engine.url, token, "today")
        source = {"git": {"repoUrl": URL, "branch": "main"}}
        for stack in (STACK, STACK_FOR_CREATES):
            path = f"{engine.url}{api.path(stack)}"
            answer = api.session.put(f"{path}/settings", json={"sourceContext": source}, timeout=60)
            assert answer.status_code == 200, answer.text
        made = api.post(api.path(STACK), {"operation": "update"}).json()
        body = {"scheduleCron": "0 3 * * *", "request": {"operation": "update"}}
        schedule = api.post(f"{api.path(STACK_FOR_CREATES)}/schedules", body).json()
        yield Target(engine.url, token, made["id"], schedule["id"])


def run(
    target: Target, document: object, place: Path, beyond: tuple[str, ...] = RULES_BEYOND_THE_SCHEMA
) -> dict[str, Any]:
    """Run all checks over a document and return the report.

    What fits the document is not checked to be accepted by the operations `beyond`. An
    assertion fails with all that was found.
    """
    config = CONFIG.format(
        url=target.url,
        token=target.token,
        stack=STACK.rpartition("/")[2],
        deployment=target.deployment,
        more="",
        nul="true",
        examples=os.environ.get("OPENAPI_EXAMPLES") or EXAMPLES,
        rules=json.dumps(beyond),
    )
    report = _run(config, document, place)
    # Had it been revoked by one of the calls, the others would all have been refused.
    assert Api(target.url, target.token).get("/api/user")["id"] == "ann"
    return report


def run_accepted(target: Target, document: object, place: Path, stack: str) -> int:
    """Call a document's operations with what fits it: all is accepted. Returns how many calls."""
    config = CONFIG.format(
        url=target.url,
        token=target.token,
        stack=stack.rpartition("/")[2],
        deployment=target.deployment,
        more=f'"path.scheduleID" = "{target.schedule}"',
        nul="false",
        examples=ACCEPTED_EXAMPLES,
        rules="[]",
    )
    only = ("--mode", "positive", "--phases", "fuzzing", "--checks", "positive_data_acceptance")
    return int(_run(config, document, place, *only)["test_cases"]["generated"])


def _run(config: str, document: object, place: Path, *options: str) -> dict[str, Any]:
    place.mkdir(parents=True, exist_ok=True)
    (place / "document.json").write_text(json.dumps(document))
    (place / "schemathesis.toml").write_text(config)
    report = place / "report.json"
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", "schemathesis.toml", "run", "document.json"),
            *("--report", "json", "--report-json-path", str(report)),
            *options,
        ],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert report.exists(), answer.stdout + answer.stderr
    found: dict[str, Any] = json.loads(report.read_bytes())
    assert (found["failures"], answer.returncode) == ([], 0), answer.stdout[-20_000:]
    assert found["complete"]
    return found
